"""What is reduced over all axes: one kernel, and the numbers of its meaning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc as gc

SHAPES = [(3, 5), (1, 7), (7, 1), (1, 1), (4, 3, 2), (0, 4), (130, 1200), (2, 3, 40_000)]


def _losses(x: Any, y: Any) -> list[Any]:
    loss = gc.losses.mean_squared_error(labels=y, predictions=x)
    return [loss, gc.gradients(loss, [x])[0], gc.sum(gc.square(x)), gc.sum(gc.abs(x - y), keepdims=True)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_numbers_are_those_of_the_meaning(shape: tuple[int, ...], known: bool, dtype: str) -> None:
    arrays = np.random.default_rng(2).standard_normal((2, *shape)).astype(dtype)
    names = shape if known else tuple(f"n{i}" for i in range(len(shape)))
    found = []
    for backend, threads in (("numpy", 1), ("llvm", 1), ("llvm", 3)):
        with gc.Graph().as_default() as graph:
            x, y = (gc.placeholder(dtype, names) for _ in range(2))
            with gc.Session(graph=graph, backend=backend, threads=threads) as session:
                found.append(session.run(_losses(x, y), dict(zip((x, y), arrays, strict=True))))
    near = {"float16": 2e-3, "float32": 2e-6, "float64": 1e-13}[dtype]
    for a, b, c in zip(*found, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_array_equal(b, c)
        np.testing.assert_allclose(b, a, rtol=near, atol=near)


@pytest.mark.parametrize("what", ["forward", "backward", "both"])
def test_a_mean_squared_error_is_one_node(what: str) -> None:
    x, y = (gc.placeholder("float32", (130, 1201), name=name) for name in "xy")
    loss = gc.losses.mean_squared_error(labels=y, predictions=x)
    slope = gc.gradients(loss, [x])[0]
    fetched = {"forward": [loss], "backward": [slope], "both": [loss, slope]}[what]
    with gc.Session(backend="llvm") as session:
        steps = session.compile(fetched, [x, y]).record["steps"]
    assert [step["op"] for step in steps if step["kernel"] != "view"] == ["fused"]


def test_none_among_no_elements_is_the_error_of_its_shape() -> None:
    x = gc.placeholder("float32", ("n", 3), name="x")
    with gc.Session(backend="llvm") as session:
        assert session.run(gc.max(gc.exp(x)), {x: np.zeros((2, 3))}) == 1
        with pytest.raises(gc.ShapeError, match=r"shape \[0, 3\]"):
            session.run(gc.max(gc.exp(x)), {x: np.zeros((0, 3))})


def test_in_a_body_it_is_one_row_too() -> None:
    x = gc.placeholder("float64", (4, 5), name="x")
    _, total = gc.while_loop(
        lambda i, t: i < 3,
        lambda i, t: (i + 1, t + gc.sum(gc.square(x + t))),
        [0, gc.constant(np.float64(0))],
    )
    value = np.random.default_rng(0).random((4, 5)) * 0.1
    expected = 0.0
    for _ in range(3):
        expected += ((value + expected) ** 2).sum()
    with gc.Session(backend="llvm") as session:
        assert np.isclose(session.run(total, {x: value}), expected, rtol=1e-12)
