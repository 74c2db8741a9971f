"""Rows that are parts of longer rows: slices that kernels read where they lie."""

import numpy as np
import pytest

import graphc as gc
from passes.fusion import takes_part
from runtime.llvm_backend.rows import row_plan as rows
from tests.runtime.llvm.levels import run_at_level


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
    slices = [z[1:5], z[:, ::5], z[::-1], z[:, 3:4], z[2:4, 1:5], z[::2, ::2]]
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


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int8", "int64", "bool"])
@pytest.mark.parametrize("step", [2, 3, 4, -1, -2, -4])
def test_parts_of_some_steps(dtype, step):
    for shape in ((5, 23), (1, 64), (3, 1, 301), (2, 5), (70_001,)):
        z = gc.placeholder(dtype, shape)
        value = array(*shape) > 0 if dtype == "bool" else (array(*shape) * 9).astype(dtype)
        with gc.Session(backend="llvm") as session:
            made = gc.not_equal(z[..., ::step], z[..., ::-step][..., ::-1])
            wanted = value[..., ::step] != value[..., ::-step][..., ::-1]
            np.testing.assert_array_equal(session.run(made, {z: value}), wanted)


@pytest.mark.parametrize("shape", [(9,), (64,), (1, 5), (5, 1), (4, 7), (2, 3, 6)])
def test_whole_rows_backwards_are_read_where_they_lie(shape):
    """The part has its operand's sizes, and other elements than the operand has there."""
    x, y = (gc.placeholder("float64", shape) for _ in range(2))
    feeds = {x: array(*shape), y: np.cos(array(*shape))}
    total = x + y
    back = total[..., ::-1]
    agree([back], feeds)
    agree([gc.flip(total > x, -1), gc.tanh(back) * total, gc.sum(back * x, -1)], feeds)
    agree(gc.gradients(gc.sum(gc.exp(back) * x), [x, y]), feeds)


@pytest.mark.parametrize("level", ["", "x86-64-v2", "x86-64-v3"])
def test_parts_of_some_steps_end_with_their_memory(level):
    run_at_level(level, _AT_THE_END)


_AT_THE_END = """
import ctypes, mmap
import numpy as np
import graphc as gc
page = mmap.PAGESIZE
memory = mmap.mmap(-1, 3 * page)
base = np.frombuffer(memory, np.uint8).ctypes.data
for guard in (0, 2 * page):
    assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(base + guard), page, 0) == 0
for dtype in ("int8", "float32", "float64"):
    whole = np.frombuffer(memory, np.uint8)[page : 2 * page].view(dtype)
    whole[:] = np.arange(len(whole)) % 100
    for size in (7, 33, 65, 130, 257):
        for x in (whole[-size:], whole[:size]):
            for step in (2, 3, 4, -1, -2, -3):
                z = gc.placeholder(dtype, (size,))
                with gc.Session(backend="llvm") as session:
                    found = session.run([z[::step] + z[::step], gc.sum(z[::step] * z[::step])], {z: x})
                part = x[::step]
                np.testing.assert_array_equal(found[0], part + part)
                np.testing.assert_array_equal(found[1], np.sum(part * part))
"""


def test_one_row_of_steps_is_cut_for_all_threads():
    x = array(1 << 19, dtype="float32")
    z = gc.placeholder("float32", x.shape)
    fetches = [z[::2] * z[1::2], z[1:] - z[:-1], gc.sum(z[::3] * z[::3])]
    found = []
    for threads in (1, 2, 4):
        with gc.Session(backend="llvm", threads=threads) as session:
            found.append(session.run(fetches, {z: x}))
            kernels = session.compile(fetches, [z]).kernels
    assert all(kernel.plan.is_flat or kernel.plan.is_split for kernel in kernels)
    np.testing.assert_array_equal(found[0][0], x[::2] * x[1::2])
    np.testing.assert_array_equal(found[0][1], x[1:] - x[:-1])
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_part_read_from_the_beginning_is_caught(monkeypatch):
    real = rows._Frame.access

    def access(self, operand, user):
        found = real(self, operand, user)
        return found and found._replace(start=0)

    monkeypatch.setattr(rows._Frame, "access", access)
    z = gc.placeholder("float64", (7, 11), name="z")  # sizes of no other test: kernels are kept
    with pytest.raises(AssertionError):
        agree([gc.tanh(z[:, 3:8]) + z[:, 1:6]], {z: array(7, 11)})


def test_a_part_that_begins_where_only_the_run_knows_is_no_row_of_a_kernel():
    x, b, w = (
        gc.placeholder("float64", (None,)),
        gc.placeholder("float64", (4,)),
        gc.placeholder("float64", (5,)),
    )
    slope = gc.gradients(gc.sum(gc.concat([x[:1], gc.exp(b)], 0) * w), [b])
    agree(slope, {x: array(3), b: array(4), w: array(5)})
