"""Sorts, selections, argmax give the bits of their meaning, of zeros and NaN too, whatever way sizes take."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphc as gc
from graphc.types import as_dtype
from runtime.llvm_backend.loops.loop_steps import loops_of
from tests.runtime.llvm.levels import run_at_level

DTYPES = [
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "bfloat16", "float32", "float64"),
]
# Around vectors, squares of them, and blocks; the last one is sorted in parts.
LENGTHS = (0, 1, 2, 15, 16, 17, 33, 128, 129, 255, 256, 257, 1000, 4097, 8193, 20_000, 70_001)


def drawn(shape, dtype, seed=0):
    """Numbers with many duplicates; of floats also infinities, zeros and NaN of both signs."""
    rng, held = np.random.default_rng(seed), as_dtype(dtype).numpy
    if held.kind != "f":
        info = np.iinfo(held) if held.kind != "b" else None
        low, high = (0, 1) if info is None else (max(info.min, -(10**6)), min(info.max, 10**6))
        found = rng.integers(low, high, shape, endpoint=True).astype(held)
        if info is not None:
            found[rng.random(shape) < 0.05] = info.min
            found[rng.random(shape) < 0.05] = info.max
        return found
    found = rng.standard_normal(shape).astype(held)
    for value in (np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 0.5):
        found[rng.random(shape) < 0.04] = value
    return found


def agree(fetches, feeds, threads=2):
    """The same bits by both backends, without a return into Python."""
    with gc.Session(threads=threads) as session, gc.Session(backend="numpy") as reference:
        found, expected = session.run(fetches, feeds), reference.run(fetches, feeds)
        for a, b in zip(found, expected, strict=True):
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            assert a.tobytes() == b.tobytes()
        native = session.compile(fetches, list(feeds)).record["native"]
        assert (native["reason"], native["returns"]) == (None, 0)


def orders(x, axis):
    """All sorts along an axis."""
    return [f(x, axis, descending) for f in (gc.sort, gc.argsort) for descending in (False, True)]


@pytest.mark.parametrize("dtype", DTYPES)
def test_lines_of_all_lengths(dtype):
    x = gc.placeholder(dtype, (None, "n"))
    fetches = orders(x, 1)
    for n in LENGTHS:
        agree(fetches, {x: drawn((3 if n < 5000 else 1, n), dtype, n)})


@pytest.mark.parametrize("dtype", ["bool", "int16", "uint64", "float16", "float32", "float64"])
def test_lines_side_by_side(dtype):
    x, y = gc.placeholder(dtype, ("n", None)), gc.placeholder(dtype, (None, "n", 3))
    fetches, others = orders(x, 0), orders(y, 1)
    for n in (0, 1, 2, 15, 17, 129, 1000):
        agree(fetches, {x: drawn((n, 1 + n % 40), dtype, n)})
        agree(others, {y: drawn((2, n, 3), dtype, n)})
    agree(fetches, {x: drawn((5000, 2), dtype)})


@pytest.mark.parametrize("n", LENGTHS)
def test_sizes_known_when_compiled(n):
    for dtype in ("float32", "float64", "uint8"):
        x = gc.placeholder(dtype, (2, n))
        y = gc.placeholder(dtype, (n, 2))
        agree([*orders(x, 1), *orders(y, 0)], {x: drawn((2, n), dtype, n), y: drawn((n, 2), dtype, n)})


@pytest.mark.parametrize("dtype", ["int8", "uint16", "float16", "bfloat16", "int32", "float32", "int64"])
def test_many_dense_lines_are_sorted_side_by_side(dtype):
    """Around vectors and squares of them, and more or fewer lines than fill one, known at the run only."""
    for n in (15, 16, 31, 33, 100, 257):
        x = gc.placeholder(dtype, ("lines", n))
        fetches = [gc.sort(x), gc.argsort(x), gc.sort(x, descending=True)]
        for lines in (0, 1, 15, 16, 33, 65):
            agree(fetches, {x: drawn((lines, n), dtype, seed=lines)})
        fixed = gc.placeholder(dtype, (40, n))
        agree([gc.sort(fixed)], {fixed: drawn((40, n), dtype)})


def test_operands_that_are_not_contiguous():
    x = gc.placeholder("float32", (None, None))
    values = drawn((600, 90), "float32")
    fetches = [*orders(x, 0), *orders(x, 1), *orders(gc.transpose(x), 1), *gc.top_k(x, 7)]
    agree(fetches, {x: values[::2, ::-3]})


@pytest.mark.parametrize(
    ("dtype", "k"),
    [*((dtype, 7) for dtype in DTYPES), *(("float32", k) for k in (0, 1, 100, 900, 3000)), ("float64", 900)],
)
def test_the_largest(dtype, k):
    x = gc.placeholder(dtype, (None, "n"))
    fetches = list(gc.top_k(x, k))
    for n in LENGTHS:
        if n >= k:
            agree(fetches, {x: drawn((3 if n < 5000 else 1, n), dtype, n)})
    known = gc.placeholder(dtype, (2, 4000))
    agree(list(gc.top_k(known, k)), {known: drawn((2, 4000), dtype)})
    if k:
        with gc.Session() as session, pytest.raises(gc.ShapeError, match="largest of only"):
            session.run(fetches, {x: drawn((2, k - 1), dtype)})


@pytest.mark.parametrize("n", [2, 9, 700, 5000, 70_001])
def test_keys_that_differ_in_their_last_bits(n):
    """Keys of 64 bits do not fit beside places: what is lost of them shows in such lines."""
    rng = np.random.default_rng(n)
    x, i, u = (gc.placeholder(dtype, (None, "n")) for dtype in ("float64", "int64", "uint64"))
    fetches = [y for each in (x, i, u) for y in orders(each, 1)[2:]]
    fetches += [y for each in (x, i, u) for y in gc.top_k(each, max(n // 2, 1))]
    close = rng.integers(0, 40, (3, n)).astype(np.uint64)
    for far in (0, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1):  # how far away the first one is
        whole = close + np.uint64(5 << 40)
        whole[1:, 0] = far
        numbers = 1.0 + close.astype(np.float64) * 2**-52
        numbers[1, 0], numbers[2, 0] = (-1e300, np.nan) if far else (1.0, -0.0)
        agree(fetches, {x: numbers, i: whole.view(np.int64), u: whole})


def places_of_extremes(x, rank):
    """Of the largest and the smallest elements, along each axis and of all."""
    return [f(x, axis=axis) for f in (gc.argmax, gc.argmin) for axis in (*range(rank), None)]


@pytest.mark.parametrize("dtype", DTYPES)
def test_places_of_extremes(dtype):
    x, y = gc.placeholder(dtype, (None, "n")), gc.placeholder(dtype, (2, "n", 5))
    fetches, others = places_of_extremes(x, 2), places_of_extremes(y, 3)
    for n in LENGTHS[1:]:
        agree(fetches, {x: drawn((3 if n < 5000 else 1, n), dtype, n)})
        agree(others, {y: drawn((2, n, 5), dtype, n)})
    agree(fetches, {x: drawn((200_000, 2), dtype)})
    agree(fetches, {x: drawn((600, 270), dtype)[::2, ::-3]})
    for n in (1, 7, 8, 16, 100):
        known = gc.placeholder(dtype, (3, n))
        agree(places_of_extremes(known, 2), {known: drawn((3, n), dtype, n)})


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_first_of_equal_ones_and_of_nan(dtype):
    x = gc.placeholder(dtype, (None, "n"))
    fetches = places_of_extremes(x, 2)
    special = (0.0, -0.0, np.inf, -np.inf, 1.0, np.nan)
    for n in (3, 40, 1000, 70_001):
        places = (0, n // 2, n - 1)
        values = np.zeros((len(special), len(places), len(special), n), dtype)
        values += np.reshape(special, (-1, 1, 1, 1)).astype(dtype)
        for i, place in enumerate(places):
            values[:, i, :, place] = special
        agree(fetches, {x: values.reshape(-1, n)})


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_lines_that_are_hard_to_select_from(dtype):
    n, k = 150_000, 50
    x = gc.placeholder(dtype, (1, None))
    fetches = list(gc.top_k(x, k))
    rising = np.arange(n).astype(dtype)[None]
    agree(fetches, {x: rising})
    agree(fetches, {x: rising[:, ::-1]})
    agree(fetches, {x: np.ones((1, n), dtype)})
    if dtype != "int32":
        for few in (3, 49, 50, 51, 60_000):
            some = rising.copy()
            some[0, :: n // few] = np.nan
            agree(fetches, {x: some})
        agree(fetches, {x: np.full((1, n), -np.inf, dtype)})


def test_long_lines_have_the_same_bits_for_all_threads():
    x = gc.placeholder("float32", (None, None))
    values = drawn((2, 300_000), "float32")
    fetches = [*orders(x, 1), *gc.top_k(x, 20), *gc.top_k(x, 5000), *places_of_extremes(x, 2)]
    bits = set()
    for threads in (1, 2, 4):
        with gc.Session(threads=threads) as session:
            bits.add(b"".join(np.asarray(y).tobytes() for y in session.run(fetches, {x: values})))
    assert len(bits) == 1
    agree(fetches, {x: values})


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_many_of_a_long_line_are_chosen_not_sorted(dtype):
    x = gc.placeholder(dtype, (2, 80_000))
    fetches = list(gc.top_k(x, 1000))
    ties = np.random.default_rng(1).integers(0, 3000, (2, 80_000)).astype(dtype)
    for values in (ties, np.sort(ties), np.sort(ties)[:, ::-1].copy(), ties * 0):
        agree(fetches, {x: values})
    with gc.Session(backend="llvm") as session:
        assert len(session.compile(fetches, [x]).kernels) == 2  # of parts, and what joins them


@settings(max_examples=10, deadline=None)
@given(
    dtype=st.sampled_from(DTYPES),
    n=st.integers(0, 700),
    rows=st.integers(0, 20),
    distinct=st.integers(1, 50),
    seed=st.integers(0, 2**31),
)
def test_random_lines(dtype, n, rows, distinct, seed):
    """Few distinct elements: stability shows."""
    pool = drawn((distinct,), dtype, seed)
    values = pool[np.random.default_rng(seed).integers(0, distinct, (rows, n))]
    with gc.Graph().as_default():
        x = gc.placeholder(dtype, (None, None))
        agree([*orders(x, 0), *orders(x, 1), *gc.top_k(x, min(n, 5))], {x: values})


def check_all():
    """Everything that is emitted by width."""
    for dtype in ("float32", "float64"):
        x = gc.placeholder(dtype, (None, None))
        fetches = [*orders(x, 0), *orders(x, 1), *gc.top_k(x, 9), *places_of_extremes(x, 2)]
        for shape in ((9, 50), (10, 9000), (2, 70_000)):
            agree(fetches, {x: drawn(shape, dtype)})


@pytest.mark.parametrize("level", ["x86-64-v2", "x86-64-v3"])
def test_narrower_vectors(level):
    run_at_level(level, "from tests.runtime.llvm.test_sorting import *; check_all()")


def test_a_long_line_is_several_chunks():
    """So that threads share it, and Ctrl-C is noticed between them."""
    x, y = gc.placeholder("float32", (1, 2_000_000)), gc.placeholder("float32", (2_000_000, 3))
    for found in (*orders(x, 1), *orders(y, 0), gc.argmax(x, 1), gc.argmax(y, 0), *gc.top_k(x, 5)):
        node = found.inputs[0] if found.op.name == "pick" else found
        assert loops_of(node)[0].chunks >= 16


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "int64"])
@pytest.mark.parametrize("op", [gc.sort, gc.argsort])
def test_a_line_of_nothing_has_room_for_the_network_that_is_run_on_it(op, dtype):
    none, one = (loops_of(op(gc.placeholder(dtype, (n,))))[0].scratch for n in (0, 1))
    assert none == one != 0
