"""Packing: what is alive together never meets, for sizes near the guess and far from it; little is wasted."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

import graphc as gc
from graphc.sizes import evaluate, named, sole_symbol
from passes import memory
from passes.packing import (
    ALIGNMENT,
    ORDERS,
    Life,
    Slot,
    extent_of,
    guessed_peak,
    guessed_total,
    in_order,
    pack,
    places,
    stack,
)
from passes.record import recording, rewrite_limit
from passes.weight import guess_bytes

N, M = named("n"), named("m")
KNOWN = [{sole_symbol(N): n, sole_symbol(M): m} for n, m in [(32, 32), (1, 500), (500, 1), (0, 7), (33, 31)]]


def lives(seed, many=40):
    rng = np.random.default_rng(seed)
    found = []
    for number in range(many):
        first = int(rng.integers(0, 30))
        last = first + int(rng.integers(0, 6))
        size = (int(rng.integers(0, 5000)), N * 100, M * int(rng.integers(1, 300)) + 12)[rng.integers(0, 3)]
        found.append(Life((number, 0), size, guess_bytes(size), first, last))
    return found


def assert_apart(cells, packing, known):
    slots, slot_of = packing
    *begins, total = places(slots, lambda size: evaluate(size, known))
    assert evaluate(extent_of(slots), known) == total
    assert all(begin % ALIGNMENT == 0 for begin in begins)
    spans = {}
    for life in cells:
        begin = begins[slot_of[life.cell]]
        spans[life.cell] = begin, begin + evaluate(life.size, known)
        assert spans[life.cell][1] <= total
    for x, y in itertools.combinations(cells, 2):
        if x.first <= y.last and y.first <= x.last:
            (a, b), (c, d) = spans[x.cell], spans[y.cell]
            assert b <= c or d <= a or a == b or c == d, (x, y)


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: "-".join(map(str, known.values())))
@pytest.mark.parametrize("seed", range(6))
def test_what_is_alive_together_never_meets(seed, known):
    cells = lives(seed)
    assert_apart(cells, in_order(cells), known)
    for order in ORDERS:
        ordered = sorted(cells, key=order)
        assert_apart(cells, pack(ordered), known)
        if seed < 2:  # the extent of a stack of many symbols is a long size
            few = ordered[:10]
            assert_apart(few, stack(few), known)
            assert_apart(few, stack(few, {few[0].cell, few[3].cell}), known)


@pytest.mark.parametrize("seed", range(6))
def test_a_stack_wastes_little(seed):
    cells = lives(seed)
    least = guessed_peak(cells)
    best = min(guessed_total(stack(sorted(cells, key=order))[0]) for order in ORDERS)
    assert least <= best <= 1.15 * least


def test_a_large_cell_shares_its_place_with_two_at_once():
    cells = [Life((0, 0), 512, 512, 0, 1), Life((1, 0), 512, 512, 0, 2), Life((2, 0), 1024, 1024, 3, 4)]
    assert guessed_total(stack(cells)[0]) == guessed_peak(cells) == 1024
    assert min(guessed_total(pack(sorted(cells, key=order))[0]) for order in ORDERS) == 1536


def test_a_stack_shares_no_more_than_is_allowed():
    cells = [Life((0, 0), 512, 512, 0, 1), Life((1, 0), 512, 512, 0, 2), Life((2, 0), 1024, 1024, 3, 4)]
    step = SimpleNamespace(node=gc.exp(gc.placeholder("float32", (128,))))
    program = SimpleNamespace(steps=[step] * 5)
    with recording() as log:
        assert guessed_total(memory._packed(program, cells, True)[0]) == 1024
    assert [(d.kind, d.reason, d.details["first"]) for d in log.decisions] == [("share", "lifetimes", 3)]
    with rewrite_limit(0):
        assert guessed_total(memory._packed(program, cells, True)[0]) == 2048


def test_what_may_not_share_lies_above_all():
    cells = lives(1)
    alone = {cells[3].cell, cells[7].cell}
    slots, slot_of = stack(cells, alone)
    *begins, total = places(slots, guess_bytes)
    spans = [(begins[slot_of[c.cell]], begins[slot_of[c.cell]] + c.guess, c.cell) for c in cells]
    for begin, _, cell in spans:
        if cell in alone:
            assert all(end <= begin for _, end, other in spans if other not in alone)
    assert total > guessed_total(stack(cells)[0])


def test_a_row_of_slots_is_as_long_as_their_sum():
    slots = (Slot((10, 70), ()), Slot((64,), (1,)), Slot((1,), (1,)))
    assert places(slots, guess_bytes) == [0, 128, 192, 256]


def test_each_phase_lies_behind_the_one_before():
    slots = (Slot((64,), ()), Slot((10,), ()), Slot((1,), (), phase=2), Slot((1,), (1,), phase=2))
    assert (
        places(slots, guess_bytes)
        == [0, 0, 64, 128, 192]
        == [*places(slots, guess_bytes)[:4], extent_of(slots)]
    )
