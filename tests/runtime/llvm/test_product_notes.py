"""Products whose numbers are checked: the CPU notes what they make, at any place, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import graphc as gc
from runtime.llvm_backend.engine.machine import host
from runtime.llvm_backend.ir.text import target_of
from tests.runtime.llvm.levels import run_at_level

Array = np.ndarray[Any, Any]
notes = pytest.mark.skipif(not target_of(host()).notes, reason="the CPU's notes are not read")
SHAPES = [  # whole vectors of any width with some left, of one row and of many, for the first four
    (3, 5, 7),
    (1, 300, 33),
    (17, 33, 65),
    (130, 257, 47),
    (1, 1, 1),
    (16, 16, 16),
    (70, 1, 70),
    (6, 900, 3),
]
FOLLOWED: dict[str, Callable[..., Any]] = {
    "alone": lambda x, w, b: x @ w,
    "hidden": lambda x, w, b: gc.relu(x @ w),
    "relu": lambda x, w, b: gc.relu(x @ w + b),
    "gelu": lambda x, w, b: gc.nn.gelu(x @ w + b),
    "slopes": lambda x, w, b: gc.sigmoid(x @ w) * gc.tanh(x @ w + b),
    "a quotient": lambda x, w, b: gc.tanh(1.0 / (x @ w + b)),
    "a logarithm": lambda x, w, b: gc.maximum(gc.log(gc.square(x @ w + b)), 0.0),
    "a choice": lambda x, w, b: gc.where(x @ w > 0.0, gc.exp(-(x @ w)), b),
    "left out": lambda x, w, b: gc.where(b < 0.0, (x @ w) * 2.0, 0.0),
    "normed": lambda x, w, b: gc.nn.layer_norm(x @ w + b),
    "shared": lambda x, w, b: (y := x @ w, gc.relu(y), gc.sum(gc.exp(-gc.abs(y)), 0)),
}


def _native(make: Callable[..., Any], *given: Array, threads: int = 2) -> Any:
    with gc.Graph().as_default() as graph:
        feeds = [gc.placeholder(str(x.dtype), x.shape) for x in given]
        session = gc.Session(graph=graph, backend="llvm", threads=threads, check_numerics=True)
        return session.compile(make(*feeds), feeds).native


def _operands(m: int, k: int, n: int, dtype: str) -> tuple[Array, Array, Array]:
    random = np.random.default_rng(m + k + n)
    return tuple(random.uniform(0.5, 2, shape).astype(dtype) for shape in ((m, k), (k, n), (n,)))


def check(kind: str, dtype: str, shapes: Sequence[tuple[int, int, int]] = SHAPES) -> None:
    """Any place is seen, and what was left in memory by what came before is not."""
    make, large = FOLLOWED[kind], 1e38 if dtype == "float32" else 1e308
    for m, k, n in shapes:
        x, w, b = _operands(m, k, n, dtype)
        native = _native(make, x, w, b)
        assert native.call(x, w, b) is not NotImplemented, (kind, m, k, n)
        assert native.call(x / large, w * (large / 10 / k), b) is not NotImplemented, (kind, m, k, n)
        assert native.call(x * (large / 10 / k), w / large, b) is not NotImplemented, (kind, m, k, n)
        for row, column in {(0, 0), (m // 2, n - 1), (m - 1, n // 2)}:
            y, v = x.copy(), w.copy()
            y[row, k - 1], v[k - 1, column] = -large, large
            assert native.call(y, v, b) is NotImplemented, (kind, m, k, n, row, column)
            assert native.call(x, w, b) is not NotImplemented


PROGRAM = """
from tests.runtime.llvm import test_product_notes as own
for kind in own.FOLLOWED:
    own.check(kind, "float32", own.SHAPES[:4])
"""


@pytest.mark.parametrize("kind", FOLLOWED)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_any_place_is_seen(kind: str, dtype: str) -> None:
    check(kind, dtype)


@pytest.mark.parametrize("level", ["x86-64-v2", "x86-64-v3"])
def test_any_place_is_seen_on_other_levels(level: str) -> None:
    run_at_level(level, PROGRAM)


@notes
def test_products_take_along_what_tells() -> None:
    """So nothing is looked at, and a product is as fast as it is without; what does not tell comes after."""
    given = _operands(64, 64, 64, "float32")
    for kind, count in {
        "alone": 1,
        "relu": 1,
        "gelu": 1,
        "slopes": 1,
        "a quotient": 2,
        "a logarithm": 2,
    }.items():
        kernels = _native(FOLLOWED[kind], *given).kernels
        assert len(kernels) == count, kind
        assert all("stmxcsr" in kernel.text for kernel in kernels if kind != "a logarithm"), kind
        assert not any("look at" in kernel.name for kernel in kernels), kind


def test_products_of_what_is_not_noted_are_looked_at() -> None:
    x, w, _ = _operands(40, 50, 60, "float16")
    native = _native(lambda x, w: x @ w > 0.0, x, w)
    assert native.call(x, w) is not NotImplemented
    x[7, 3] = 60000
    assert native.call(x, w) is NotImplemented


@pytest.mark.parametrize("kind", [kind for kind in FOLLOWED if kind != "shared"])
def test_what_a_product_makes_is_named(kind: str) -> None:
    x, w, b = _operands(9, 20, 33, "float32")
    x[4, 7], w[7, 32] = 3e38, 3e38
    messages = []
    for backend in ("llvm", "numpy"):
        with gc.Graph().as_default() as graph:
            feeds = [gc.placeholder("float32", each.shape) for each in (x, w, b)]
            session = gc.Session(graph=graph, backend=backend, check_numerics=True)
            with pytest.raises(gc.NumericsError) as raised:
                session.run(FOLLOWED[kind](*feeds), dict(zip(feeds, (x, w, b), strict=True)))
            messages.append(str(raised.value))
    assert messages[0] == messages[1]
    assert "matmul" in messages[0]
    assert "test_product_notes.py" in messages[0]


def test_an_iteration_of_a_loop_is_named() -> None:
    """A product in a loop, hidden by what follows it."""
    w = np.eye(16, dtype=np.float32) * 1e10
    messages = []
    for backend in ("llvm", "numpy"):
        with gc.Graph().as_default() as graph:
            x = gc.placeholder("float32", (4, 16))
            step = lambda i, s: (i + 1, gc.minimum(gc.relu(s @ gc.constant(w)), 3e38))
            y = gc.while_loop(lambda i, s: i < 9, step, (0, x))[1]
            session = gc.Session(graph=graph, backend=backend, check_numerics=True)
            assert np.isfinite(session.run(y, {x: np.zeros((4, 16))})).all()
            with pytest.raises(gc.NumericsError) as raised:
                session.run(y, {x: np.ones((4, 16))})
            messages.append(str(raised.value))
    assert messages[0] == messages[1]
    assert "matmul" in messages[0]


def test_a_slope_of_overlapping_windows_is_named_as_it_was_written() -> None:
    """Kernels see it as a product of windows; who names what is wrong walks what was asked for."""
    messages = []
    for backend in ("llvm", "numpy"):
        with gc.Graph().as_default() as graph:
            x = gc.placeholder("float32", (2, 8, 8, 3))
            filters = gc.constant(np.full((3, 3, 3, 5), 3e38, np.float32))
            (slope,) = gc.gradients(gc.sum(gc.nn.conv2d(x, filters, padding="valid")), [x])
            session = gc.Session(graph=graph, backend=backend, check_numerics=True)
            with pytest.raises(gc.NumericsError) as raised:
                session.run(gc.relu(slope), {x: np.zeros((2, 8, 8, 3))})
            messages.append(str(raised.value))
    assert messages[0] == messages[1]
