"""Arrays put side by side: any number of them, by one kernel where they are alike."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gc
from runtime.llvm_backend.loops import joins


def assert_as_meant(y, feeds, threads=2):
    session = gc.Session(backend="llvm", threads=threads)
    found = session.run(y, feeds)
    if found.size:
        assert "meaning" not in session.compile(y, list(feeds)).native.kinds.values()
    np.testing.assert_array_equal(found, gc.Session(backend="numpy").run(y, feeds))


def slices(shape, count, dtype="float32"):
    """That many values of `shape`, each made by a kernel, of one that is fed."""
    x = gc.placeholder(dtype, (count, *shape), name="x")
    value = np.arange(np.prod(x.shape)).reshape(x.shape).astype(dtype)
    return [gc.reshape(part, shape) * 2 for part in gc.split(x, count)], {x: value}


@pytest.mark.parametrize("dtype", ["int8", "float16", "float32", "float64"])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(("shape", "count"), [((3, 5), 2), ((1, 1), 70), ((4, 300), 7), ((0, 3), 4)])
def test_many_that_are_alike(dtype, axis, shape, count):
    parts, feeds = slices(shape, count, dtype)
    assert_as_meant(gc.stack(parts, axis), feeds)
    if axis < 2:
        assert_as_meant(gc.concat(parts, axis), feeds)


@pytest.mark.parametrize("chunk", [1, 16, 100])
def test_chunks_are_rows_operands_or_segments(monkeypatch, chunk):
    monkeypatch.setattr(joins, "CHUNK_BYTES", chunk)
    monkeypatch.setattr(joins, "SEGMENT", 2 * chunk + 6)
    for shape in ((9,), (6, 3), (2, 1, 3)):
        parts, feeds = slices(shape, 5)
        for axis in range(len(shape)):
            assert_as_meant(gc.stack(parts, axis), feeds)
            assert_as_meant(gc.concat(parts, axis), feeds)


def test_neighbours_of_one_size_between_others():
    x = gc.placeholder("float32", (6, "n"), name="x")
    widths = (1, 1, 2, 2, 2, 0, 1, 3)
    parts, at = [], 0
    for width in widths:
        parts.append(gc.sin(x[:, at : at + width] if width else x[:, :0]))
        at = (at + width) % 4
    feeds = {x: np.random.default_rng(0).normal(size=(6, 9)).astype(np.float32)}
    session = gc.Session(backend="llvm", threads=2)
    found = session.run(gc.concat(parts, 1), feeds)
    meant = gc.Session(backend="numpy").run(gc.concat(parts, 1), feeds)
    np.testing.assert_allclose(found, meant, atol=1e-6)


@pytest.mark.parametrize("inner", [1, 4])
def test_slices_that_are_joined_where_they_lie(inner):
    x = gc.placeholder("float32", (12, 6, inner), name="x")
    feeds = {x: np.arange(12 * 6 * inner).reshape(x.shape).astype(np.float32)}
    rows = [x[i] for i in (3, 0, 7, 7, 11)]
    pairs = [x[i : i + 2] for i in (10, 0, 4)]
    columns = [x[:, i] for i in range(5)]
    for axis in (0, 1, 2):
        assert_as_meant(gc.stack(rows, axis), feeds)
        assert_as_meant(gc.stack([*columns, columns[0] + 1, columns[1] + 1], axis), feeds)
        singles = [x[1:2], x[2:3]] if axis == 0 else []
        assert_as_meant(gc.concat([*pairs, *singles, *pairs], axis), feeds)


def test_sizes_that_are_fed():
    x = gc.placeholder("float32", ("n", "m"), name="x")
    parts = [x + float(i) for i in range(9)]
    for n, m in ((1, 1), (3, 70), (200, 4), (0, 3)):
        feeds = {x: np.random.default_rng(n).normal(size=(n, m)).astype(np.float32)}
        for axis in (0, 1):
            assert_as_meant(gc.concat([*parts, x, x], axis), feeds)
            assert_as_meant(gc.stack(parts, axis), feeds)


def test_a_thousand_take_one_kernel_and_one_step():
    steps = {}
    for count in (4, 1000):
        x = gc.placeholder("float32", (count + 1, 3), name="x")
        parts = [x[i] for i in range(count)]
        session = gc.Session(backend="llvm", threads=2)
        executable = session.compile([gc.stack(parts), gc.concat(parts)], [x])
        value = np.random.default_rng(0).normal(size=(count + 1, 3)).astype(np.float32)
        found = session.run([gc.stack(parts), gc.concat(parts)], {x: value})
        np.testing.assert_array_equal(found[0], value[:count])
        np.testing.assert_array_equal(found[1], value[:count].reshape(-1))
        joined = [s for s in executable.bound.steps if s.node.op.name in ("stack", "concat")]
        assert all(len(executable.native.runs[step]) == 1 for step in joined)
        steps[count] = len(joined)
    assert steps[1000] == steps[4]
