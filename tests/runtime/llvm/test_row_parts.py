"""Rows that are parts of longer rows: slices that kernels read where they lie."""

import numpy as np
import pytest

import graphc as gc
from passes.fusion import takes_part
from runtime.llvm_backend.rows import row_plan as rows


@pytest.fixture(autouse=True)
def graph():
    with gc.Graph(seed=2).as_default() as opened:
        yield opened


def both(fetches, feeds):
    with gc.Session(backend="llvm") as fast, gc.Session(backend="numpy") as reference:
        return fast.run(fetches, feeds), reference.run(fetches, feeds)


def agree(fetches, feeds):
    for a, b in zip(*both(fetches, feeds), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


def array(*shape, dtype="float64"):
    return np.random.default_rng(len(shape)).normal(size=shape).astype(dtype)


@pytest.mark.parametrize("shape", [(12,), (1, 12), (5, 12), (3, 1, 12), (2, 3, 12), (5, 140)])
def test_gates(shape):
    z = gc.placeholder("float64", shape, name="z")
    c = gc.placeholder("float64", (*shape[:-1], shape[-1] // 4), name="c")
    i, f, g, o = gc.split(z, 4, -1)
    new = gc.sigmoid(f) * c + gc.sigmoid(i) * gc.tanh(g)
    last = gc.sigmoid(o) * gc.tanh(new)
    fetches = [new, last, *gc.gradients(gc.sum(last * new), [z, c])]
    agree(fetches, {z: array(*shape), c: array(*shape[:-1], shape[-1] // 4)})
    with gc.Session(backend="llvm") as session:
        steps = session.compile([new, last], [z, c]).record["steps"]
    assert [s["op"] for s in steps if s["kernel"] == "llvm"] == ["fused"]


def test_parts_that_others_read_too():
    z = gc.placeholder("float64", (4, 10), name="z")
    part, other = z[:, 2:7], z[:, 5:10]
    fetches = [
        part * other + part,
        part,
        gc.transpose(part) @ other,
        gc.sum(gc.exp(part), axis=-1),
        gc.softmax(other) if hasattr(gc, "softmax") else gc.nn.softmax(other),
        gc.exp(z)[:, 1:3] + z[:, 3:5],
    ]
    agree(fetches, {z: array(4, 10)})


def test_a_part_is_a_result_of_the_kernel_that_reads_it():
    z = gc.placeholder("float64", (4, 10), name="z")
    part = z[:, 2:7]
    fetches = [part * 2.0, part, gc.sum(gc.exp(part), axis=-1)]
    agree(fetches, {z: array(4, 10)})
    with gc.Session(backend="llvm") as session:
        steps = session.compile(fetches, [z]).record["steps"]
    assert [s["op"] for s in steps if s["kernel"] == "llvm"] == ["fused"]


def test_slices_that_are_no_parts():
    z = gc.placeholder("float64", (6, 10), name="z")
    slices = [z[1:5], z[:, ::2], z[::-1], z[:, 3:4], z[2:4, 1:5], z[:, ::-1]]
    for each in slices:
        assert not takes_part(each)
    agree([gc.tanh(each) * 2.0 for each in slices], {z: array(6, 10)})


def test_sizes_known_at_the_run_are_no_parts():
    z = gc.placeholder("float64", ("n", 10), name="z")
    for n in (0, 1, 5):
        agree([gc.tanh(z[:, 2:6]) * z[:, 4:8]], {z: array(n, 10)})


def test_long_rows_and_other_dtypes():
    for dtype in ("float32", "float64", "int32", "bool"):
        z = gc.placeholder(dtype, (3, 301), name=f"z_{dtype}")
        value = array(3, 301) > 0 if dtype == "bool" else (array(3, 301) * 9).astype(dtype)
        a, b = z[:, 1:150], z[:, 150:299]
        made = gc.logical_and(a, b) if dtype == "bool" else a * b + a
        found, expected = both(made, {z: value})
        np.testing.assert_array_equal(found, expected)


def test_one_long_row_of_a_longer_one():
    z = gc.placeholder("float64", (1, 300_000), name="z")
    agree([gc.sum(gc.abs(z[:, 7:200_007]), axis=-1)], {z: array(1, 300_000)})


def test_a_part_read_from_the_beginning_is_caught(monkeypatch):
    real = rows._Frame.access

    def access(self, operand, user):
        found = real(self, operand, user)
        return found and rows.replace(found, start=0)

    monkeypatch.setattr(rows._Frame, "access", access)
    z = gc.placeholder("float64", (7, 11), name="z")  # sizes of no other test: kernels are kept
    with pytest.raises(AssertionError):
        agree([gc.tanh(z[:, 3:8]) + z[:, 1:6]], {z: array(7, 11)})
