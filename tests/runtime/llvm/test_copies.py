"""Copies: every way that elements are moved, at sizes around its vectors, blocks and segments."""

import ctypes
import itertools
import mmap
import sys

import numpy as np
import pytest

import graphc as gc
from runtime.llvm_backend.loops import movement_steps

DTYPES = ["bool", "int8", "float16", "float32", "int64"]


def array(dtype, *shape):
    return np.random.default_rng(1).integers(0, 100, shape).astype(dtype)


def moved(make, x, shape=None, threads=2):
    """What a graph makes of `x`, and the names of its kernels."""
    fed = gc.placeholder(str(x.dtype), x.shape if shape is None else shape)
    with gc.Session(backend="llvm", threads=threads) as session:
        result = make(fed)
        names = [kernel.name for kernel in session.compile([result], [fed]).kernels]
        return session.run(result, {fed: x}), names


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(16, 16), (17, 33), (64, 65), (130, 63), (200, 16)])
def test_squares_are_turned(dtype, size):
    x = array(dtype, *size)
    result, (name,) = moved(gc.transpose, x)
    assert name.endswith("turned")
    np.testing.assert_array_equal(result, x.T)
    unknown, _ = moved(gc.transpose, x, (None, None))
    np.testing.assert_array_equal(unknown, x.T)


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (1, 1), (1, 40), (40, 1), (3, 5), (15, 70)])
def test_sizes_that_are_no_whole_square(size):
    x = array("float32", *size)
    for shape in (size, (None, None)):
        result, _ = moved(gc.transpose, x, shape)
        np.testing.assert_array_equal(result, x.T)


@pytest.mark.parametrize("axes", [(0, 2, 1), (2, 0, 1), (1, 2, 0), (2, 1, 0), (1, 0, 2)])
def test_other_axes_stand_around_what_is_turned(axes):
    x = array("float32", 20, 34, 70)
    result, (name,) = moved(lambda fed: gc.transpose(fed, axes), x)
    assert name.endswith("rows" if axes[-1] == 2 else "turned")
    np.testing.assert_array_equal(result, x.transpose(axes))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [16, 17, 31, 100, 70_000])
def test_rows_are_mirrored(dtype, size):
    x = array(dtype, 3, size)
    result, (name,) = moved(lambda fed: gc.flip(fed, [1]), x)
    assert name.endswith("mirrored")
    np.testing.assert_array_equal(result, x[:, ::-1])
    both, _ = moved(lambda fed: gc.flip(fed, [0, 1]), x)
    np.testing.assert_array_equal(both, x[::-1, ::-1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("step", [2, 3, 5, 8, 9, -2, -3, -7])
def test_steps_are_picked_out_of_vectors(dtype, step):
    for size in (1, 2, 17, 31, 64, 65, 66, 129, 300, 70_000):
        x = array(dtype, 2, size)
        for shape in (x.shape, (None, None)):
            result, _ = moved(lambda fed: fed[:, ::step], x, shape)
            np.testing.assert_array_equal(result, x[:, ::step])


def test_the_way_says_how_elements_move():
    rows, three = array("float32", 100, 1000), array("float32", 1000, 3)
    for make, x, way in (
        (lambda fed: fed[:, ::2], rows, "stepped"),
        (lambda fed: fed[:, ::-3], rows, "stepped"),
        (lambda fed: fed[:, ::20], rows, "elements"),
        (lambda fed: fed[:, ::2], three, "cells"),
        (lambda fed: gc.flip(fed, [1]), three, "cells"),
        (lambda fed: gc.pad(fed, [[0, 0], [0, 1]]), three, "cells"),
        (lambda fed: gc.tile(fed, [1, 2]), three, "cells"),
        (gc.transpose, three, "stepped"),
        (gc.transpose, three.T.copy(), "cells"),
        (gc.transpose, array("float32", 1000, 6), "turned"),
    ):
        assert moved(make, x)[1][-1].endswith(way)


@pytest.mark.skipif(sys.platform == "win32", reason="protects pages as POSIX does")
def test_nothing_beyond_the_last_element_is_read():
    """Vectors that end where a page ends, and nothing is behind that."""
    page = mmap.PAGESIZE
    memory = mmap.mmap(-1, 2 * page)
    base = np.frombuffer(memory, np.uint8).ctypes.data
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mprotect(ctypes.c_void_p(base + page), page, 0) == 0
    for dtype in ("int8", "float32", "int64"):
        whole = np.frombuffer(memory, dtype, page // np.dtype(dtype).itemsize)
        for size in (33, 65, 130, 257):
            x = whole[-size:]
            for step in (2, 3, 4, -1, -2, -5):
                result, _ = moved(lambda fed, step=step: fed[::step], x)
                np.testing.assert_array_equal(result, x[::step])


@pytest.mark.parametrize(
    "widths",
    [
        [[1, 1], [1, 1], [1, 1]],
        [[0, 0], [2, 0], [0, 0]],
        [[3, 0], [0, 0], [0, 0]],
        [[0, 0], [0, 0], [0, 5]],
        [[0, 0], [0, 0], [0, 0]],
        [[0, 2], [1, 0], [0, 0]],
    ],
)
@pytest.mark.parametrize("size", [(4, 5, 6), (0, 2, 3), (2, 0, 3), (1, 1, 1), (2, 3, 50_000)])
def test_a_frame_of_zeros(widths, size):
    x = array("float32", *size) + np.float32(1)
    result, _ = moved(lambda fed: gc.pad(fed, widths), x)
    np.testing.assert_array_equal(result, np.pad(x, widths))
    unknown, _ = moved(lambda fed: gc.pad(fed, widths), x, (None, None, None))
    np.testing.assert_array_equal(unknown, np.pad(x, widths))


def test_a_frame_is_written_by_one_kernel():
    assert moved(lambda fed: gc.pad(fed, [[1, 1], [1, 1]]), array("float32", 5, 60))[1] == [
        "embed in a frame"
    ]


def test_slices_in_one_piece_and_with_steps():
    x = array("float32", 40, 90, 33)
    for cut in (np.s_[3:30, 5:80], np.s_[:, ::2], np.s_[::3, ::-1], np.s_[:, :, ::2], np.s_[5:6, 1:2, 2:]):
        result, _ = moved(lambda fed, cut=cut: fed[cut], x)
        np.testing.assert_array_equal(result, x[cut])


def test_a_turned_slice_is_read_where_it_lies():
    x = array("float32", 100, 200)
    result, names = moved(lambda fed: gc.transpose(fed[10:90, 20:180]), x)
    assert len(names) == 1
    np.testing.assert_array_equal(result, x[10:90, 20:180].T)


def test_threads_do_not_meet():
    x = array("int64", 300, 500)
    results = [moved(gc.transpose, x, threads=threads)[0] for threads in (1, 2, 4)]
    for result in results:
        np.testing.assert_array_equal(result, x.T)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("inner", [1, 3, 40])
def test_operands_are_joined_by_one_kernel(axis, inner):
    x = array("float32", 5, 7, inner)

    def joined(fed):
        parts = [fed, fed[2:3], fed[:0]] if axis == 0 else [fed, fed]
        return [gc.concat(parts, axis), gc.stack([fed] * 3, axis)]

    fed = gc.placeholder("float32", x.shape)
    for make, wanted in zip(
        joined(fed),
        [
            np.concatenate([x, x[2:3], x[:0]] if axis == 0 else [x, x], axis),
            np.stack([x] * 3, axis),
        ],
        strict=True,
    ):
        with gc.Session(backend="llvm") as session:
            assert len(session.compile([make], [fed]).kernels) == 1
            np.testing.assert_array_equal(session.run(make, {fed: x}), wanted)


def test_what_is_rolled_is_read_where_it_lies():
    x = array("float64", 30, 50)
    result, names = moved(lambda fed: gc.roll(fed, (3, -7), (0, 1)), x)
    assert set(names) == {"concat of i64, rows"}
    np.testing.assert_array_equal(result, np.roll(x, (3, -7), (0, 1)))


def test_transposes_are_joined_where_they_lie():
    x = array("float32", 40, 30)
    result, names = moved(lambda fed: gc.concat([gc.transpose(fed), gc.transpose(fed[::2, :])], 1), x)
    np.testing.assert_array_equal(result, np.concatenate([x.T, x[::2].T], 1))
    assert all(name.startswith("concat") for name in names)


def test_axes_are_one_only_where_they_lie_in_a_row_on_both_sides():
    x = array("float32", 2, 3, 4)
    result, _ = moved(lambda fed: gc.concat([fed, fed[::-1]], 1), x)
    np.testing.assert_array_equal(result, np.concatenate([x, x[::-1]], 1))


@pytest.mark.parametrize("step", [1, 2, -1, -3])
def test_slices_are_told_from_those_that_leave_the_array(step):
    """Types refuse them first, so nothing but this sees a bound that is one off."""
    for size, start, count in itertools.product(range(5), range(-1, 6), range(-1, 5)):
        inside = count >= 0 and all(0 <= start + i * step < size for i in range(count))
        told = movement_steps._inside([size], [start], [count], [step])
        assert all(number >= 0 for number in told) == inside, (size, start, count)
