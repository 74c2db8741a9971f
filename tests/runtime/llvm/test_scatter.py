"""Scatters: slices narrower and wider than the tiles that sums are kept in, with few updates and many."""

import numpy as np
import pytest

import graphc as gc


def added(dtype, slices, updates, inner, known=True, threads=2):
    """What the machine code gives, and what adding in float64 (or as integers) gives."""
    rng = np.random.default_rng(slices + updates + inner)
    before, given = (rng.integers(-5, 5, (n, inner)).astype(dtype) for n in (slices, updates))
    places = rng.integers(-slices, slices, updates)
    arrays = before, places, given
    feeds = {gc.placeholder(str(x.dtype), x.shape if known else (None,) * x.ndim): x for x in arrays}
    with gc.Session(backend="llvm", threads=threads) as session:
        result = gc.scatter_add(*feeds)
        assert session.compile([result], list(feeds)).kernels
        found = session.run(result, feeds)
    wide = before.astype(np.float64 if np.dtype(dtype).kind == "f" else dtype)
    np.add.at(wide, places, given.astype(wide.dtype))
    return found, wide.astype(dtype)


@pytest.mark.parametrize("inner", [0, 1, 7, 8, 63, 64, 65, 72, 129])
@pytest.mark.parametrize(("slices", "updates"), [(5, 40), (40, 5), (80, 5), (81, 5), (1, 3), (3, 0)])
def test_widths_around_the_tiles(slices, updates, inner):
    for known in (True, False):
        found, wanted = added("float32", slices, updates, inner, known)
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("dtype", ["float16", "float64", "int8", "int64"])
def test_other_dtypes(dtype):
    found, wanted = added(dtype, 6, 50, 100)
    np.testing.assert_array_equal(found, wanted)


def test_sums_are_of_float64_in_the_order_of_the_updates():
    given = np.repeat(np.array([[1.0], [1e17], [-1e17]], np.float32), 80, 1)
    x = gc.placeholder("float32", (5, 80))
    with gc.Session(backend="llvm", threads=1) as session:
        found = session.run(gc.scatter_add(x, [1, 1, 1], given), {x: np.zeros((5, 80), np.float32)})
    assert not found.any()  # 1 + 1e17 is 1e17; any other order leaves 1


@pytest.mark.parametrize("inner", [1, 7, 40, 80])
@pytest.mark.parametrize("slices", [2, 5, 48, 49])
def test_sums_lose_nothing_that_float64_holds(slices, inner):
    """Whether updates are fewer than slices or not."""
    given = np.repeat(np.array([[1e8], [1.0], [-1e8]], np.float32), inner, 1)
    x = gc.placeholder("float32", (slices, inner))
    with gc.Session(backend="llvm") as session:
        found = session.run(gc.scatter_add(x, [1, 1, 1], given), {x: np.zeros((slices, inner), np.float32)})
    assert found.sum(axis=1).tolist() == [0, inner, *[0] * (slices - 2)]


@pytest.mark.parametrize("inner", [3, 100])
@pytest.mark.parametrize("updates", [4, 200])
def test_bools_are_joined(inner, updates):
    x, given = gc.placeholder("bool", (5, inner)), gc.placeholder("bool", (updates, inner))
    feeds = {x: np.zeros((5, inner), bool), given: np.ones((updates, inner), bool)}
    with gc.Session(backend="llvm") as session:
        found = session.run(gc.scatter_add(x, [1] * updates, given), feeds)
    np.testing.assert_array_equal(found[:, 0], [False, True, False, False, False])


def test_slices_are_replaced_where_they_are_meant():
    x, given = gc.placeholder("float32", (5, 3)), gc.placeholder("float32", (2, 3))
    feeds = {x: np.zeros((5, 3)), given: np.ones((2, 3))}
    with gc.Session(backend="llvm") as session:
        found = session.run(gc.scatter_update(x, [1, 4], given), feeds)
    np.testing.assert_array_equal(found[:, 0], [0, 1, 0, 0, 1])


def test_a_large_unsigned_segment_is_no_negative_one():
    given, ids = gc.placeholder("float64", (3, 2)), gc.placeholder("uint64", (3,))
    feeds = {given: np.ones((3, 2)), ids: np.array([0, 2**63, 1], np.uint64)}
    with gc.Session(backend="llvm") as session, pytest.raises(gc.IndexOutOfRangeError):
        session.run(gc.segment_sum(given, ids, 5), feeds)


def test_any_number_of_threads_gives_the_same_bits():
    first, second, third = (added("float32", 30, 500, 130, threads=n)[0] for n in (1, 2, 4))
    assert first.tobytes() == second.tobytes() == third.tobytes()


@pytest.mark.parametrize("shape", [(5, 7), (3, 1, 9), (4, 70, 3)])
@pytest.mark.parametrize("spread", [False, True])
def test_elements_of_lines_are_added_where_they_were_taken(shape, spread):
    """With an index for each update, or one for several that lie along an axis of size 1."""
    rng = np.random.default_rng(0)
    for axis in range(len(shape)):
        sizes = [1 if spread and i != axis else n for i, n in enumerate(shape)]
        x, places = rng.integers(-4, 5, shape).astype(np.float32), rng.integers(0, shape[axis], sizes)
        with gc.Graph().as_default():
            given, at = gc.placeholder("float32", shape), gc.placeholder("int64", sizes)
            taken = gc.take_along_axis(given, at, axis=axis)
            (slope,) = gc.gradients(gc.sum(taken * taken), [given])
            with gc.Session(backend="llvm") as session:
                found = session.run(slope, {given: x, at: places})
        wide = np.broadcast_to(places, shape)
        counts = np.zeros(shape)
        whole = list(np.indices(shape))
        whole[axis] = wide
        np.add.at(counts, tuple(whole), 1)
        np.testing.assert_array_equal(found, 2 * x * counts)
