"""Row kernels: every length around the edges of vectors and blocks, NaN anywhere, long rows in parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gc
from runtime.llvm_backend.rows.row_plan import PART

LENGTHS = [1, 2, 7, 15, 16, 17, 31, 33, 63, 64, 65, 127, 255, 257, 1000, 1024, 1025, 2049, 4999]
DTYPES = ["float16", "float32", "float64", "int8", "uint16", "int32", "int64"]


def _run(make: Callable[..., Any], *arrays: np.ndarray[Any, Any], threads: int = 2) -> Any:
    with gc.Graph().as_default() as graph:
        feeds = [gc.placeholder(str(x.dtype), shape=x.shape) for x in arrays]
        fetched = make(*feeds)
        session = gc.Session(graph=graph, backend="llvm", threads=threads)
        result = session.run(fetched, dict(zip(feeds, arrays, strict=True)))
        kinds = {step["kernel"] for step in session.compile(fetched, feeds).record["steps"]}
        assert "meaning" not in kinds
        return result


def _numbers(dtype: str, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    random = np.random.default_rng(5)
    if np.dtype(dtype).kind == "f":
        return random.standard_normal(shape).astype(dtype)
    return random.integers(0, 100, shape).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, 3])
def test_reductions_of_every_length(dtype: str, rows: int) -> None:
    for length in LENGTHS:
        x = _numbers(dtype, (rows, length))
        largest, least = _run(lambda x: (gc.max(x * 1, -1), gc.min(x, -1)), x)
        assert np.array_equal(largest, x.max(-1))
        assert np.array_equal(least, x.min(-1))
        total = _run(lambda x: gc.sum(x, -1), x)
        if x.dtype.kind != "f":
            assert np.array_equal(total, x.sum(-1))
            continue
        exact = x.astype(np.float64).sum(-1)
        mean = _run(lambda x: gc.mean(x, -1), x)
        near = {"float16": 1e-3, "float32": 4e-7, "float64": 1e-14}[dtype]
        scale = np.abs(x.astype(np.float64)).sum(-1)
        assert (np.abs(total - exact) <= near * scale).all()
        assert (np.abs(mean - exact / length) <= near * scale / length).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("length", [1, 16, 17, 64, 65, 100, 2 * PART + 77])
def test_one_nan_anywhere_is_the_extremum(dtype: str, length: int) -> None:
    for place in sorted({0, 1 % length, length // 2, length - 2, length - 1} & set(range(length))):
        x = np.linspace(-1, 1, length, dtype=dtype)
        x[place] = np.nan
        for found in _run(lambda x: (gc.max(x), gc.min(x), gc.sum(x), gc.mean(x * 2)), x):
            assert np.isnan(found), place
    x[...] = -np.inf
    assert _run(lambda x: (gc.max(x), gc.min(x)), x) == (-np.inf, -np.inf)


def test_a_sum_of_floats_is_as_good_as_a_pairwise_one() -> None:
    assert _run(gc.sum, np.ones(10_000_000, np.float32)) == 10_000_000
    x = np.full(3_000_001, 0.1, np.float32)
    assert np.isclose(_run(gc.sum, x), x.astype(np.float64).sum(), rtol=4e-7, atol=0)
    for length in (1000, 4097, 50_000):
        x = np.random.default_rng(length).random((1, length), dtype=np.float32)
        exact = x.astype(np.float64).sum()
        error = abs(float(_run(lambda x: gc.sum(x, -1), x)[0]) - exact)
        assert error <= abs(float(x[0].sum()) - exact) + np.spacing(np.float32(exact))


@pytest.mark.parametrize("length", [2 * PART, 2 * PART + 1, 3 * PART - 5, 5 * PART])
def test_a_long_row_is_cut_by_its_length_alone(length: int) -> None:
    x, y = _numbers("float32", (2, length))

    def several(x: Any, y: Any) -> Any:
        square = gc.square(x - y)
        return gc.sum(square), gc.max(x + 1.0), gc.sqrt(gc.mean(square)) * 2.0, square

    found = [_run(several, x, y, threads=threads) for threads in (1, 2, 4)]
    for other in found[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(found[0], other, strict=True))
    total, largest, root, square = found[0]
    exact = (x - y).astype(np.float64) ** 2
    assert np.array_equal(square, np.square(x - y))
    assert np.isclose(total, exact.sum(), rtol=1e-6)
    assert largest == x.max() + np.float32(1)
    assert np.isclose(root, 2 * np.sqrt(exact.mean()), rtol=1e-6)


def test_a_long_row_of_a_size_known_at_the_run() -> None:
    with gc.Graph().as_default() as graph:
        x = gc.placeholder("float32", shape=(None,))
        total = gc.sum(gc.exp(x) * 2.0)
        with gc.Session(graph=graph, backend="llvm", threads=2) as session:
            for length in (1, 5, 1000, PART, PART + 1, 3 * PART + 3, 17):
                value = _numbers("float32", (length,))
                exact = 2 * np.exp(value.astype(np.float64)).sum()
                assert np.isclose(session.run(total, {x: value}), exact, rtol=1e-6)


@pytest.mark.parametrize("length", [1, 15, 17, 64, 300, 2 * PART + 3])
def test_truths_counts_and_products(length: int) -> None:
    x = np.zeros(length, bool)

    def several(x: Any) -> Any:
        return gc.any(x), gc.all(x), gc.all(gc.logical_not(x)), gc.sum(x), gc.mean(x)

    assert _run(several, x) == (False, False, True, 0, 0.0)
    x[length - 1] = True
    assert _run(several, x) == (True, length == 1, False, 1, 1 / length)
    for dtype in ("int8", "uint32", "int64", "float32"):
        y = np.ones(length, dtype)
        y[length // 2] = 3
        assert _run(gc.prod, y) == 3
    z = np.random.default_rng(0).uniform(0.9, 1.1, length).astype(np.float16)
    assert np.isclose(_run(gc.prod, z), np.prod(z, dtype=np.float64), rtol=2e-3)


def test_softmax_of_every_length() -> None:
    for length in LENGTHS:
        x = _numbers("float32", (3, length)) * 30
        wide = x.astype(np.float64)
        grown = np.exp(wide - wide.max(-1, keepdims=True))
        found = _run(lambda x: gc.nn.softmax(x, -1), x)
        assert np.allclose(found, grown / grown.sum(-1, keepdims=True), rtol=2e-6, atol=1e-12)


SHAPES = [
    (1, 3),
    (1000, 40),
    (400, 17, 9),
    (7, 5),
    (8, 16),
    (9, 33),
    (100, 17),
    (3, 5, 40),
    (2000, 3),
    (33, 2049),
    (70, 4100),
]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32", "uint8"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_reductions_of_columns(dtype: str, shape: tuple[int, ...]) -> None:
    x = _numbers(dtype, shape)
    axes = tuple(range(len(shape) - 1))

    def several(x: Any) -> Any:
        return gc.sum(x, axes), gc.max(x, axes), gc.min(x, axes, keepdims=True)

    found = [_run(several, x, threads=threads) for threads in (1, 2, 4)]
    for other in found[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(found[0], other, strict=True))
    total, largest, least = found[0]
    assert np.array_equal(largest, x.max(axes))
    assert np.array_equal(least, x.min(axes, keepdims=True))
    if x.dtype.kind != "f":
        assert np.array_equal(total, x.sum(axes))
        return
    exact, scale = x.astype(np.float64).sum(axes), np.abs(x.astype(np.float64)).sum(axes)
    near = {"float16": 1e-3, "float32": 3e-7, "float64": 1e-14}[dtype]
    assert (np.abs(total - exact) <= near * scale).all()
    mean = _run(lambda x: gc.mean(x, axes), x)
    count = x.size // x.shape[-1]
    assert (np.abs(mean - exact / count) <= near * scale / count).all()


def test_a_nan_in_a_column_is_its_extremum() -> None:
    x = np.ones((37, 50), np.float32)
    x[[0, 8, 36], [1, 2, 49]] = np.nan
    with np.errstate(all="ignore"):
        wanted = x.max(0), x.min(0), x.sum(0)
    for found, exact in zip(
        _run(lambda x: (gc.max(x, 0), gc.min(x, 0), gc.sum(x, 0)), x), wanted, strict=True
    ):
        assert np.array_equal(found, exact, equal_nan=True)


def test_columns_of_sizes_known_at_the_run() -> None:
    with gc.Graph().as_default() as graph:
        x = gc.placeholder("float32", shape=(None, "n"))
        total = gc.sum(x * 1.0, 0) * 2.0
        with gc.Session(graph=graph, backend="llvm", threads=2) as session:
            for shape in ((1, 1), (3, 1), (5, 7), (1000, 100), (0, 4), (3, 0), (20, 5000)):
                value = _numbers("float32", shape)
                exact = 2 * value.astype(np.float64).sum(0)
                assert np.allclose(session.run(total, {x: value}), exact, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("axis", [(0, 2), 2])
def test_parts_of_a_product_neither_vanish_nor_overflow(axis: int | tuple[int, ...]) -> None:
    x = np.resize(np.array([1e-9, 1e9], np.float32), (2, 3, 32))  # 32 of each: 1e288
    assert np.allclose(_run(lambda x: gc.prod(x, axis), x), 1, rtol=1e-5, atol=0)


@pytest.mark.parametrize("backend", ["numpy", "llvm"])
def test_no_rows_of_no_elements_have_no_maximum(backend: str) -> None:
    with gc.Graph().as_default() as graph:
        x = gc.placeholder("float32", shape=(0, 0))
        session = gc.Session(graph=graph, backend=backend)
        zeros = np.zeros((0, 0), np.float32)
        with pytest.raises(gc.ShapeError):
            session.run(gc.max(x, -1), {x: zeros})
        assert session.run(gc.nn.softmax(x), {x: zeros}).shape == (0, 0)
        assert session.run(gc.sum(x * 2, -1), {x: zeros}).tolist() == []


@pytest.mark.parametrize(
    ("lines", "rows", "give"),
    [
        (("tanh(%x1) : f32[1,8]", "mul(%x0, %0) : f32[4,8]"), "4,8", "f32[1,8], f32[4,8]"),
        (("tanh(%x0) : f32[4,8]", "mul(%x1, %0) : f32[4,8]"), "6,8", "f32[4,8], f32[4,8]"),
        (
            ("sum(%x0, axis=(1,), keepdims=True) : f32[4,1]", "sum(%0, axis=(1,), keepdims=True) : f32[4,1]"),
            "4,8",
            "f32[4,1], f32[4,1]",
        ),
        (
            ("sum(%x0, axis=(1,), keepdims=True) : f32[4,1]", "neg(%0) : f32[4,1]"),
            "6,8",
            "f32[4,1], f32[4,1]",
        ),
    ],
    ids=["a row of its own", "more rows", "a sum of numbers", "more rows of sums"],
)
def test_what_is_no_walk_along_rows_is_no_kernel(lines, rows, give):
    """No pass makes such nodes, but a text may hold them."""
    first, second = give.rstrip(", ").split(", ")
    graph = gc.parse(f"""graph(%x: f32[4,8], %r: f32[1,8]) {{
      %0 = fused(%x, %r, body=graph(%x0: f32[4,8], %x1: f32[1,8]) {{
        %0 = {lines[0]}
        %1 = {lines[1]}
        return %0, %1
      }}, rows=[{rows}]) : ({first}, {second})
      %1 = pick(%0, index=0) : {first}
      %2 = pick(%0, index=1) : {second}
      return %1, %2
    }}""")
    random = np.random.default_rng(0)
    feeds = {"x": random.normal(size=(4, 8)), "r": random.normal(size=(1, 8))}
    found = []
    for backend in ("numpy", "llvm"):
        with gc.Session(graph=graph, backend=backend) as session:
            found.append(session.run(list(graph.function.outputs), feeds))
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, strict=True)
