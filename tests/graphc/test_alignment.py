"""What is read again and again begins on a cache line: constants, first values, what is restored."""

import sys

import numpy as np
import pytest

import graphc as gc
from graphc.alignment import LARGE_PAGE, LINE, aligned, new_aligned, new_memory
from graphc.conversion import as_array

X = np.random.default_rng(0).standard_normal((200, 50)).astype(np.float32)


def begins_on_a_line(array):
    return array.ctypes.data % LINE == 0


@pytest.mark.parametrize("shape", [(), (0,), (3,), (1024,), (1025,), (7, 0, 9), (33, 65), (5, 6, 77)])
@pytest.mark.parametrize("dtype", ["bool", "int8", "float32", "float64"])
def test_new_arrays_are_whole_and_writable(shape, dtype):
    arrays = [new_aligned(shape, np.dtype(dtype)) for _ in range(5)]
    for number, array in enumerate(arrays):
        assert (array.shape, array.dtype, array.flags.c_contiguous) == (shape, dtype, True)
        assert array.nbytes < 1024 or begins_on_a_line(array)
        array[...] = number % 2
    for number, array in enumerate(arrays):
        assert (array == number % 2).all()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere NumPy asks for no large pages")
@pytest.mark.parametrize(
    ("size", "is_large"),
    [
        (1, False),
        (1 << 20, False),
        (784 * 512 * 4, True),
        (LARGE_PAGE, True),
        (LARGE_PAGE + 64, False),
        (9 << 20, True),
    ],
)
def test_large_pages_are_for_what_fills_them(size, is_large):
    memory = new_memory(size)
    assert memory.nbytes == size
    assert begins_on_a_line(memory)
    if is_large:
        assert memory.ctypes.data % LARGE_PAGE == 0
        assert memory.base.nbytes >= 4 << 20  # of which on NumPy asks for them
    else:
        assert memory.base.nbytes <= size + LINE


def test_arenas_that_are_not_small_are_whole_large_pages():
    x = gc.placeholder("float32", [None, 512], name="rows")
    y = gc.exp(gc.matmul(gc.exp(x), np.eye(512, dtype=np.float32)))
    with gc.Session(backend="llvm", threads=1) as session:
        lowered = session.compile(y, [x]).native.lowered
        sizes = []
        for rows in (7, 300, 700, 4000):
            value = np.full((rows, 512), rows, np.float32)
            np.testing.assert_allclose(
                session.run(gc.log(y), {x: value / 1000})[0, 0], np.exp(rows / 1000), 1e-5
            )
            session.run(y, {x: value / 1000})
            (state,) = session.compile(y, [x]).native._call.states
            sizes.append(int(state.words[lowered.arena.capacity]))
    assert sizes[0] < sizes[1] == sizes[2] < sizes[3]
    assert all(size % LARGE_PAGE == 0 for size in sizes[1:])


def test_what_lies_on_a_line_is_not_copied():
    held = np.zeros(5000, np.float32)
    begin = -held.ctypes.data % LINE // 4
    on, off = held[begin : begin + 4000], held[begin + 1 : begin + 4001]
    assert aligned(on) is on
    assert begins_on_a_line(aligned(off))
    assert aligned(off[:10]).base is held  # small
    transposed = X.T[:, 1:]
    np.testing.assert_array_equal(aligned(transposed), transposed)


@pytest.mark.parametrize(
    "value", [X, X.T, X[::2, 1:], np.asfortranarray(X), X.astype(">f4"), X.view(np.recarray)]
)
def test_constants_are_private_copies_on_lines(value):
    array, natural = as_array(value)
    assert natural.name == "float32"
    assert begins_on_a_line(array) or type(value) is not np.ndarray
    assert not array.flags.writeable
    assert not np.shares_memory(array, value)
    np.testing.assert_array_equal(array, np.asarray(value))


def test_variables_begin_on_lines(tmp_path):
    v = gc.Variable(X, name="v")
    w = gc.Variable(gc.random.normal((200, 50), seed=1), name="w")
    add = v.assign_add(w)
    with gc.Session(backend="llvm") as session:
        session.run(gc.global_variables_initializer())
        for _ in range(3):
            assert all(map(begins_on_a_line, session._state.variables.values()))
            session.run(add)
        session.save(tmp_path / "kept.npz")
        session.restore(tmp_path / "kept.npz")
        assert all(map(begins_on_a_line, session._state.variables.values()))
        assert session.run(v).flags.writeable
