"""What is read again and again begins on a cache line: constants, first values, what is restored."""

import numpy as np
import pytest

import graphc as gc
from graphc.alignment import LINE, aligned, new_aligned
from graphc.conversion import as_array
from runtime.llvm_backend.engine import parts

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


@pytest.mark.parametrize("early", [False, True])
def test_variables_begin_on_lines(early, monkeypatch, tmp_path):
    monkeypatch.setattr(parts.Part, "is_coming", lambda part: early)
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
