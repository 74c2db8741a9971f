"""Lengths of rows: where one is known only loops that run are written, and every result is the same."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gc
from runtime.llvm_backend import backend
from runtime.llvm_backend.engine import llvm
from runtime.llvm_backend.engine.machine import host
from runtime.llvm_backend.rows import row_kernel
from tests.runtime.llvm.levels import run_at_level

PROGRAM = """
import numpy as np
import graphc as gc
random = np.random.default_rng(7)
session = gc.Session(threads=1)
def totals(x):
    return [
        gc.nn.softmax(x, axis=-1), gc.sum(x, axis=-1), gc.mean(gc.exp(x), axis=-1),
        gc.min(x * 2.0, axis=-1) + gc.max(x, axis=-1), gc.sum(gc.cast(x * 0.1, "int16"), axis=-1),
    ]
any_size = gc.placeholder("float32", [None, None])
expected_of = session.make_callable(totals(any_size), [any_size])
for length in LENGTHS:
    given = random.standard_normal((3, length), dtype=np.float32)
    if length > 3:
        given[1, length - 1], given[2, 0] = np.nan, -np.inf
    x = gc.placeholder("float32", [3, length])
    found, expected = session.make_callable(totals(x), [x])(given), expected_of(given)
    for got, wanted in zip(found, expected):
        assert np.array_equal(got, wanted, equal_nan=True), (length, got, wanted)
"""
EDGES = (1, 4, 5, 8, 15, 16, 17, 32, 33, 48, 63, 64, 65, 128, 256, 257, 272, 300, 1024, 1040, 1100)


@pytest.mark.parametrize("level", ["", "x86-64-v2", "x86-64-v3"])
def test_a_known_length_gives_the_bits_of_any(level):
    run_at_level(level, PROGRAM.replace("LENGTHS", repr(EDGES)))


@pytest.fixture
def texts(monkeypatch):
    """Of row kernels, as they are written."""
    found = []

    def noting(*arguments):
        found.append(row_kernel.write_rows(*arguments))
        return found[-1]

    monkeypatch.setattr(backend, "write_rows", noting)
    return found


WIDTH = host().vector_bytes // 4  # floats in a vector


def test_lengths_that_need_the_same_loops_share_a_text(texts):
    for length in (8 * WIDTH, 12 * WIDTH, 5 * WIDTH // 8, 69 * WIDTH - 1):
        with gc.Graph().as_default() as graph:
            x = gc.placeholder("float32", [3, length])
            y = gc.nn.softmax(x, axis=-1)
            gc.Session(graph=graph, threads=1).run(y, {x: np.zeros((3, length), np.float32)})
    whole, same, shorter, longer = texts
    assert whole == same
    assert len(shorter) < len(longer) > len(whole)
    assert "masked" not in whole


SPLIT = """
import numpy as np
import graphc as gc
random = np.random.default_rng(7)
session = gc.Session(threads=2)
def totals(x):
    return [gc.sum(x), gc.max(x), gc.min(x * 2.0), gc.mean(gc.exp(x)), gc.sum(gc.cast(x * 0.1, "int16"))]
any_size = gc.placeholder("float32", [None])
expected_of = session.make_callable(totals(any_size), [any_size])
for length in (131136, 131137, 131328, 196608, 200000, 200001):
    given = random.standard_normal(length, dtype=np.float32)
    x = gc.placeholder("float32", [length])
    found, expected = session.make_callable(totals(x), [x])(given), expected_of(given)
    for got, wanted in zip(found, expected):
        assert np.array_equal(got, wanted), (length, got, wanted)
"""


@pytest.mark.parametrize("level", ["", "x86-64-v2", "x86-64-v3"])
def test_parts_of_a_known_length_give_the_bits_of_any(level):
    run_at_level(level, SPLIT)


def test_parts_that_are_whole_vectors_have_no_rest(texts):
    for length in (1 << 18, (1 << 18) + 256, (1 << 18) + 1):
        with gc.Graph().as_default() as graph:
            x = gc.placeholder("float32", [length])
            gc.Session(graph=graph, threads=1).run(gc.sum(x), {x: np.zeros(length, np.float32)})
    whole, same, longer = texts
    rest = 3 if host().masks else 4  # what is no whole vector goes one by one
    assert whole == same
    assert [text.partition("@finish")[0].count("phi i64") for text in (whole, longer)] == [2, rest]


@pytest.mark.skipif(not host().masks, reason="some lanes of a vector are dear to leave out")
def test_a_row_of_one_vector_stays_in_registers(texts):
    efforts = []
    for rows, length in ((None, 10), (64, 12), (4096, 12), (None, 17), (64, None)):
        with gc.Graph().as_default() as graph:
            x = gc.placeholder("float32", [rows, length])
            session = gc.Session(graph=graph, backend="llvm", threads=1)
            session.run(gc.nn.softmax(x, axis=-1), {x: np.zeros((rows or 3, length or 5), np.float32)})
            efforts += [k.effort for k in session.compile(gc.nn.softmax(x, axis=-1), [x]).native.kernels]
    moved = [tuple(text.count(f"call {word}") for word in LOADS_AND_STORES) for text in texts]
    assert moved == [(1, 1), (1, 1), (1, 1), *moved[3:]]
    assert moved[3] > (1, 1) < moved[4]
    assert efforts == [llvm.QUICK, llvm.QUICK, llvm.THOROUGH, llvm.THOROUGH, llvm.THOROUGH]


LOADS_AND_STORES = ("<16 x float> @llvm.masked.load", "void @llvm.masked.store")


def test_looks_and_labels_and_rows_that_end_in_numbers_take_effort(texts):
    with gc.Graph().as_default() as graph:
        x, i = gc.placeholder("float32", [None, 10]), gc.placeholder("int32", [None])
        loss = gc.losses.sparse_softmax_cross_entropy(labels=i, logits=x)
        given = {x: np.zeros((3, 10), np.float32), i: np.zeros(3, np.int32)}
        for fetch, looks in ((loss, False), (gc.logsumexp(x, axis=-1), False), (gc.nn.softmax(x), True)):
            session = gc.Session(graph=graph, backend="llvm", threads=1, check_numerics=looks)
            feeds = {key: value for key, value in given.items() if key is x or fetch is loss}
            session.run(fetch, feeds)
            kernels = session.compile(fetch, list(feeds)).native.kernels
            assert all(kernel.effort == llvm.THOROUGH for kernel in kernels if hasattr(kernel, "plan"))
