"""Naked functions compute what Python computes, and leave the registers of their caller."""

import ctypes
import os
import random
from unittest.mock import patch

import numpy as np
import pytest

from graphc.sizes import named
from runtime.llvm_backend.engine.library import Module, load
from runtime.llvm_backend.engine.machine import host
from runtime.llvm_backend.ir.naked import CONVENTION, Registers, Unwritable
from runtime.llvm_backend.ir.text import target_of
from runtime.llvm_backend.ir.writer import Writer

HAS = pytest.mark.skipif(not target_of(host()).assembly, reason="another kind of CPU")
MASKED = pytest.mark.skipif(not target_of(host()).masks, reason="a CPU without masks")
GIVEN = 9  # arguments besides the block: six are in registers, with it
OUT = 16  # the word that results are stored from


def called(registers, text, many=GIVEN):
    """A function of a block whose first words are the arguments, and that calls the naked one."""
    taken = [f"%a{i}" for i in range(many)]
    loads = [
        f"  {x}.at = getelementptr i64, ptr %block, i64 {i}\n  {x} = load i64, ptr {x}.at, align 8"
        for i, x in enumerate(taken)
    ]
    given = ", ".join(["ptr %block", *(f"i64 {x}" for x in taken)])
    module = f"""define internal {CONVENTION}void @inner({given}) naked noinline optnone nounwind {{
  call void asm sideeffect "{text}", ""()
  unreachable
}}
define void @kernel(ptr %block) nounwind {{
{chr(10).join(loads)}
  call {CONVENTION}void @inner({given})
  ret void
}}
"""
    with patch.dict(os.environ, GRAPHC_CACHE=""):
        library = load([Module("naked", module)])
    run = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(library.address("naked", "kernel"))

    def call(block):
        run(block.ctypes.data)
        return block[OUT:]

    call.library = library
    return call


def begun(words=()):
    """Registers, and the words that their functions have behind those of the arguments."""
    w = Writer(GIVEN)
    for word in words:
        w.word(word)
    return Registers(w, ["%block", *(f"%a{i}" for i in range(GIVEN))])


def stored(results):
    """A body that stores results, which are the block's first and then others."""

    def body(changed, names):
        block, *others = changed
        for i, x in enumerate([*others, *(names[x] for x in results)]):
            yield f"movq {x}, {8 * (OUT + i)}({block})"

    return body


WORDS = [named(f"w{i}") for i in range(4)]


@HAS
@pytest.mark.parametrize("seed", range(12))
def test_what_is_computed_is_what_python_computes(seed):
    draw = random.Random(seed)
    registers = begun(WORDS)
    numbers = [draw.randrange(-1000, 1000) for _ in range(GIVEN + len(WORDS))]
    values = [(f"%a{i}", numbers[i]) for i in range(GIVEN)]
    values += [(registers.word(word), numbers[GIVEN + i]) for i, word in enumerate(WORDS)]
    ways = {
        "add": lambda x, y: x + y,
        "sub": lambda x, y: x - y,
        "mul": lambda x, y: x * y,
        "min": min,
        "max": max,
    }
    for _ in range(8):
        name = draw.choice([*ways])
        few = [x for x in values if abs(x[1]) < 1 << 30]
        (x, of_x), (y, of_y) = draw.choice(few), draw.choice(few)
        if draw.random() < 0.5:
            y = of_y = draw.choice([-7, -1, 0, 1, 2, 3, 4, 5, 8, 9, 24, 1 << 20])
        if draw.random() < 0.3:
            (x, of_x), (y, of_y) = (y, of_y), (x, of_x)
        values.append((getattr(registers, name)(x, y), ways[name](of_x, of_y)))
    found = [x for x in dict.fromkeys(draw.sample(values, 6)) if isinstance(x[0], str)]
    results = dict(found)
    own = {x: results.pop(x) for x in list(results)[:2]}
    changed = ["%block", *own, 12]
    text = registers.write(stored(results), changed, list(results), ["%r10"] if seed % 2 else [])
    if seed % 2:
        assert "%r10" not in text
    block = np.zeros(64, np.int64)
    block[: len(numbers)] = numbers
    given = called(registers, text)(block)
    assert list(given[: len(own) + 1 + len(results)]) == [*own.values(), 12, *results.values()]


@HAS
@MASKED
@pytest.mark.parametrize("count", [-20, -1, 0, 1, 7, 8, 15, 16, 17, 40])
def test_a_mask_has_the_first_lanes(count):
    registers = begun()
    masks = [registers.mask("%a0", 16), registers.mask(registers.sub("%a0", 8), 16)]

    def body(changed, names):
        for i, mask in enumerate(masks):
            yield f"kmovw {names[mask]}, %eax"
            yield f"movq %rax, {8 * (OUT + i)}({changed[0]})"

    text = registers.write(body, ["%block"], masks, ["%rax"])
    block = np.zeros(64, np.int64)
    block[0] = count
    given = called(registers, text)(block)
    assert list(given[:2]) == [(1 << min(max(x, 0), 16)) - 1 for x in (count, count - 8)]


@HAS
def test_what_nobody_needs_is_not_computed():
    registers = begun(WORDS)
    registers.mul(registers.word(WORDS[0]), 48)
    twice = registers.mul("%a0", 2)
    assert registers.mul("%a0", 2) == twice
    text = registers.write(lambda changed, names: [f"body {names[twice]}"], ["%block"], [twice], [])
    first, body, *rest = text.split("\\0A")
    assert first == f"leaq (,%rsi,2), {body.removeprefix('body ')}"
    assert rest == ["vzeroupper", "retq"]


def test_there_are_fifteen_registers():
    def write(many):
        registers = begun(WORDS)
        needed = [registers.mul("%a0", 3 + i) for i in range(many)]
        return registers.write(lambda changed, names: list(names.values()), ["%block"], needed, [])

    text = write(14)
    used = text.split("\\0A")[-8 - 14 : -8]
    assert len({*used, "%rdi"}) == 15
    assert "%rsp" not in used
    with pytest.raises(Unwritable):
        write(15)


def test_what_only_llvm_has_is_not_written():
    registers = begun()
    for write in (
        lambda: registers.div("%a0", 3),
        lambda: registers.compare("slt", "%a0", "%a1"),
        lambda: registers.mask("%a0", 128),
        lambda: [registers.mask("%a0", 16) for _ in range(8)],
        lambda: registers.do("fence"),
    ):
        with pytest.raises(Unwritable):
            write()
