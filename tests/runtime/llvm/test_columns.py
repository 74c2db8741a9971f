"""Reductions down columns that make their elements: the numbers of NumPy, and nothing whole in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gc

Array = np.ndarray[Any, Any]
SHAPES = [(300, 70), (257, 129), (9, 4099), (2051, 16), (128, 128), (16, 1030)]


def _arrays(shape: tuple[int, ...], dtype: str) -> list[Array]:
    random = np.random.default_rng(7)
    parts: list[tuple[int, ...]] = [shape, shape, shape[1:], (shape[0], *(1 for _ in shape[1:]))]
    return [random.standard_normal(part).astype(dtype) for part in parts]


def _run(build: Callable[..., Any], arrays: list[Array], threads: int = 2) -> tuple[Any, list[str]]:
    """The results, and the types of what steps make that is no view."""
    with gc.Graph().as_default() as graph:
        feeds = [gc.placeholder(str(x.dtype), shape=x.shape) for x in arrays]
        fetched = build(gc, *feeds)
        with gc.Session(graph=graph, backend="llvm", threads=threads) as session:
            results = session.run(fetched, dict(zip(feeds, arrays, strict=True)))
            steps = session.compile(fetched, feeds).record["steps"]
    assert {step["kernel"] for step in steps} <= {"llvm", "view"}
    return results, [step["type"] for step in steps if step["kernel"] == "llvm"]


def _mean(m: Any, x: Any) -> Any:
    return m.mean(x, 0, keepdims=True)


BUILDS: dict[str, Callable[..., Any]] = {
    "squares": lambda m, x, y, b, c: m.sum(m.square(x), 0),
    "a variance": lambda m, x, y, b, c: m.mean(m.square(x - _mean(m, x)), 0),
    "products": lambda m, x, y, b, c: m.sum(x * y, 0),
    "the gradient of a scale": lambda m, x, y, b, c: m.sum((x - c) * c * y, 0),
    "what holds in rows": lambda m, x, y, b, c: m.sum(x * b + 2.0, 0),
    "a mask": lambda m, x, y, b, c: m.sum(m.where(x > b, y, y * 0.0), 0),
    "exponentials": lambda m, x, y, b, c: m.sum(m.exp(x - 1.0), 0),
    "an extremum": lambda m, x, y, b, c: m.max(m.abs(x) - c, 0),
    "a product": lambda m, x, y, b, c: m.prod(1.0 + 0.01 * x, 0),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", BUILDS)
def test_elements_are_made_where_they_are_reduced(name: str, dtype: str) -> None:
    near = {"float32": 2e-6, "float64": 1e-13}[dtype]
    for shape in SHAPES:
        arrays = _arrays(shape, dtype)
        found, made = _run(BUILDS[name], arrays)
        with np.errstate(all="ignore"):
            exact = BUILDS[name](np, *(x.astype(np.float64) for x in arrays))
        assert np.allclose(found, exact, rtol=near, atol=near * shape[0])
        assert not any(f"[{shape[0]},{shape[1]}]" in type for type in made) or shape[0] * shape[1] <= 1 << 14


def test_all_axes_but_the_last() -> None:
    random = np.random.default_rng(3)
    x = random.standard_normal((6, 20, 7, 33)).astype(np.float32)
    b = random.standard_normal(33).astype(np.float32)

    def build(m: Any, x: Any, b: Any) -> Any:
        return m.sum(m.square(x - b), (0, 1, 2))

    found, made = _run(build, [x, b])
    assert np.allclose(found, build(np, x.astype(np.float64), b.astype(np.float64)), rtol=1e-6)
    assert made == ["(f32[33])"]


def test_numbers_along_one_of_two_axes_are_read_as_they_lie() -> None:
    random = np.random.default_rng(4)
    x = random.standard_normal((50, 20, 33)).astype(np.float32)
    c = random.standard_normal((50, 1, 33)).astype(np.float32)

    def build(m: Any, x: Any, c: Any) -> Any:
        return m.sum(x * c, (0, 1))

    found, _ = _run(build, [x, c])
    assert np.allclose(found, build(np, x.astype(np.float64), c.astype(np.float64)), rtol=1e-5, atol=1e-4)


def test_sizes_known_at_the_run() -> None:
    with gc.Graph().as_default() as graph:
        x = gc.placeholder("float32", shape=(None, "n"))
        total = gc.sum(gc.square(x - gc.mean(x, 0, keepdims=True)), 0)
        with gc.Session(graph=graph, backend="llvm", threads=2) as session:
            for shape in ((1, 1), (3, 1), (5, 7), (1000, 100), (20, 5000), (3, 0)):
                value = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
                exact = value.astype(np.float64).var(0) * shape[0]
                assert np.allclose(session.run(total, {x: value}), exact, rtol=1e-4, atol=1e-4)


def test_a_nan_is_the_extremum_of_what_is_made_of_it() -> None:
    x = np.ones((400, 50), np.float32)
    x[[0, 8, 399], [1, 2, 49]] = np.nan
    (largest, least), _ = _run(lambda m, x: (m.max(x * 2.0, 0), m.min(-x, 0)), [x])
    assert np.array_equal(largest, (x * 2).max(0), equal_nan=True)
    assert np.array_equal(least, (-x).min(0), equal_nan=True)


def test_the_same_bits_for_any_threads() -> None:
    arrays = _arrays((3000, 70), "float32")
    one, two = (_run(BUILDS["a variance"], arrays, threads)[0] for threads in (1, 2))
    assert one.tobytes() == two.tobytes()


def test_what_others_need_is_made_once_where_it_is_dear() -> None:
    def build(m: Any, x: Any, *_: Any) -> Any:
        y = m.exp(x)
        return m.sum(y, 0), m.sum(m.square(y), 0), y * 2.0

    arrays = _arrays((300, 70), "float32")
    found, made = _run(build, arrays)
    for each, exact in zip(found, build(np, *(x.astype(np.float64) for x in arrays)), strict=True):
        assert np.allclose(each, exact, rtol=1e-5)
    assert sum("[300,70]" in type for type in made) == 1


@pytest.mark.parametrize("number", [False, True])
def test_a_kernel_of_rows_stores_no_more_for_columns(number: bool) -> None:
    """It has the factors at hand: their product is one array, they would be two."""

    def build(m: Any, x: Any, y: Any, *_: Any) -> Any:
        p, q = (x, m.sum(y, 1, keepdims=True)) if number else (m.tanh(x), m.exp(y))
        return m.sum(p, 1) + m.sum(q, 1), m.sum(p * q * y, 0)

    arrays = _arrays((300, 70), "float32")
    found, made = _run(build, arrays)
    for each, exact in zip(found, build(np, *(x.astype(np.float64) for x in arrays)), strict=True):
        assert np.allclose(each, exact, rtol=1e-4, atol=1e-4)
    assert sum(type.count("[300,70]") for type in made) == 1
