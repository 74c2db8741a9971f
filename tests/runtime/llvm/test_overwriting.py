"""Overwriting: a kernel writes over an operand only where that is read before."""

import numpy as np

import graphc as gc
from graphc.ops.label import pick_class
from runtime import recognition
from runtime.llvm_backend.native import native_regions, overwriting
from runtime.llvm_backend.rows.row_code import RowKernel


def compiled(fetch, feeds):
    with gc.Session(backend="llvm") as session:
        return session.compile(fetch, feeds)


def overwrites(fetch, feeds):
    """For the last fused node: which operands each of its results may overwrite, by their names or ops."""
    kernels = [step.kernel for step in compiled(fetch, feeds).bound.steps]
    (plan,) = (kernel.plan for kernel in kernels if isinstance(kernel, RowKernel))
    return overwriting.find_overwrites(plan)


def test_a_chain_writes_over_its_operand():
    x = gc.placeholder("float32", ("n", 4), name="x")
    assert overwrites(gc.tanh(gc.sort(x) * 2.0), [x]) == {0: (0,)}


def test_what_is_broadcast_is_kept():
    x, row = gc.placeholder("float32", (3, 4), name="x"), gc.placeholder("float32", (4,), name="row")
    assert overwrites(gc.exp(gc.sort(x) + gc.sort(row)), [x, row]) == {0: (0,)}


def test_smaller_elements_are_kept():
    x = gc.placeholder("float32", (3, 4), name="x")
    assert overwrites(gc.cast(gc.sort(x), "float64") * 2.0, [x]) == {}


def later(x):
    """The first result is written in the loop that sums it; what it is made of is read in the next."""
    y = gc.sort(x)
    first = gc.tanh(y)
    return [first, y * gc.sum(first, axis=-1, keepdims=True)]


def test_a_single_row_is_written_over():
    x = gc.placeholder("float32", (1, 4), name="x")
    assert overwrites(gc.tanh(gc.sort(x)), [x]) == {0: (0,)}


def test_what_a_later_loop_reads_is_kept():
    x = gc.placeholder("float32", (3, 4), name="x")
    assert overwrites(later(x), [x]) == {1: (0,)}


def test_what_a_label_picks_from_behind_the_loop_is_kept():
    x, labels = gc.placeholder("float32", (3, 4), name="x"), gc.placeholder("int64", (3,), name="labels")
    y = gc.sort(x)
    first = gc.tanh(y)
    scale = gc.max(first, axis=-1, keepdims=True)
    assert overwrites([first, pick_class(y * scale, labels)], [x, labels]) == {}
    assert overwrites([first, gc.sum(first, axis=-1) * pick_class(y, labels)], [x, labels]) == {0: (0,)}


def test_a_kernel_that_overwrites_too_early_is_seen(monkeypatch):
    monkeypatch.setattr(native_regions, "find_overwrites", lambda plan: {0: (0,)})
    x = gc.placeholder("float32", (64, 64), name="x")
    first, second = later(x)
    fetch = gc.sort(first) @ gc.sort(second)
    values = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    with gc.Session(backend="llvm") as session, gc.Session(backend="numpy") as reference:
        a, b = session.run(fetch, {x: values}), reference.run(fetch, {x: values})
    assert not np.allclose(a, b, rtol=1e-3)


def test_an_arena_is_smaller(monkeypatch):
    x = gc.placeholder("float32", (64, 64), name="x")
    y = gc.sum(gc.cumsum(gc.tanh(gc.cumsum(x, axis=0)) * gc.cumsum(x, axis=1)))
    values = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    with gc.Session(backend="llvm") as session, gc.Session(backend="numpy") as reference:
        found, right = (each.run(y, {x: values}) for each in (session, reference))
    np.testing.assert_allclose(found, right, rtol=1e-4)
    small = compiled(y, [x]).native.arena_bytes({})
    recognition.forget()
    monkeypatch.setattr(native_regions, "find_overwrites", lambda plan: {})
    assert small + 64 * 64 * 4 == compiled(y, [x]).native.arena_bytes({})
