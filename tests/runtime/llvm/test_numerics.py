"""Checked numbers: native programs look where they must, and the walk after names what NumPy would."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.op import OPS
from runtime.llvm_backend.rows import numerics

Array = np.ndarray[Any, Any]
ONES = np.ones((4, 33), np.float32)
SIGNS = np.where(np.arange(132) == 97, -1, 1).reshape(4, 33).astype(np.float32)
BIG = 3e38


def _outcome(backend: str, make: Callable[..., Any], arrays: tuple[Array, ...], threads: int = 2) -> Any:
    """What the checked session gives: values, or which op it names."""
    with gc.Graph().as_default() as graph:
        feeds = [gc.placeholder(str(x.dtype), shape=x.shape) for x in arrays]
        fetched = make(*feeds)
        session = gc.Session(graph=graph, backend=backend, threads=threads, check_numerics=True)
        if backend == "llvm":
            assert session.compile(fetched, feeds).native is not None
        try:
            return session.run(fetched, dict(zip(feeds, arrays, strict=True)))
        except gc.NumericsError as error:
            return str(error)


def _loop(x: Any, step: Callable[[Any], Any]) -> Any:
    return gc.while_loop(lambda i, s: i < 9, lambda i, s: (i + 1, step(s)), (0, x))[1]


FAILING = {
    "a log": (lambda x: gc.log(x) + 1.0, SIGNS),
    "behind a selection": (lambda x: gc.where(x > 0, gc.exp(x * -1000.0), 0.0), SIGNS),
    "behind tanh": (lambda x: gc.tanh(x * BIG * x * 10.0), ONES),
    "a quotient": (lambda x: x / gc.relu(x), SIGNS),
    "behind a quotient": (lambda x: x / gc.exp(x * -100.0), SIGNS),
    "behind relu": (lambda x: gc.relu(x * -BIG - gc.exp(x * 88.0) * 2.0), ONES),
    "a product of matrices": (lambda x: gc.relu(gc.matmul(x * BIG, gc.transpose(x, (1, 0)))), ONES),
    "a product that nobody reads on": (lambda x: gc.matmul(x * BIG, gc.transpose(x, (1, 0))) > 0.0, ONES),
    "a sum of rows": (lambda x: gc.tanh(gc.sum(x * BIG, -1)), ONES),
    "a sum over rows": (lambda x: gc.tanh(gc.sum(x * BIG, 0)), ONES),
    "behind a maximum": (lambda x: gc.max(gc.log(gc.relu(x)), -1), SIGNS),
    "float16": (lambda x: gc.relu(x * -60000.0 * 2.0), ONES.astype(np.float16)),
    "float64": (lambda x: gc.exp(x * 800.0) > 3.0, ONES.astype(np.float64)),
    "a long row": (lambda x: gc.sum(gc.minimum(1.0 / x, 5.0)), np.eye(1, 300_000, 1, np.float32)[0]),
    "within a loop": (lambda x: _loop(x, lambda s: gc.tanh(gc.log(s - 0.5))), ONES),
    "carried by a loop": (lambda x: _loop(x, lambda s: s * 1e10), ONES),
    "a running sum": (lambda x: gc.tanh(gc.cumsum(x * BIG, 0)), ONES),
}
FAILING |= {
    "beside a mask": (lambda x: gc.nn.softmax(gc.where(x > 0, x * BIG * 9.0, -np.inf), -1), SIGNS),
    "an additive mask": (lambda x: gc.tanh(gc.exp(x * 90.0) + gc.where(x > 0, 0.0, -np.inf)), SIGNS),
}
MASKED = {
    "softmax": lambda x: gc.nn.softmax(gc.where(x > 0, x * 3.0, -np.inf), -1) * 2.0,
    "additive": lambda x: gc.nn.softmax(x * 3.0 + gc.where(x > 0, 0.0, -np.inf), -1),
    "exp": lambda x: gc.exp(gc.where(x > 0, x * 3.0, -np.inf) - 4.0),
}
PASSING = {
    "nothing": (lambda x: gc.nn.softmax(x, -1), ONES),
    "a NaN that was fed": (lambda x: gc.exp(x) + 1.0, np.full(5, np.nan, np.float32)),
    "an infinite constant": (lambda x: gc.nn.softmax(gc.where(x > 0, x, -np.inf), -1), SIGNS),
    "a bounded function of a large number": (lambda x: gc.sigmoid(x * BIG) + gc.tanh(x * -BIG), ONES),
    "a loop": (lambda x: _loop(x, lambda s: gc.tanh(s * 1e30)), ONES),
    "a loop over infinity": (lambda x: _loop(x, gc.sqrt), np.full(3, np.inf, np.float32)),
}


@pytest.mark.parametrize("name", FAILING)
def test_what_is_not_finite_is_named_as_numpy_does(name: str) -> None:
    make, x = FAILING[name]
    found = _outcome("llvm", make, (x,))
    assert isinstance(found, str)
    wanted = _outcome("numpy", make, (x,))
    assert found == wanted
    assert "test_numerics.py" in found


@pytest.mark.parametrize("name", PASSING)
def test_what_is_finite_or_was_fed_passes(name: str) -> None:
    make, x = PASSING[name]
    found, wanted = (_outcome(backend, make, (x,)) for backend in ("llvm", "numpy"))
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


@pytest.mark.parametrize("name", MASKED)
def test_an_infinite_mask_costs_no_walk(name: str) -> None:
    with gc.Graph().as_default() as graph:
        x = gc.placeholder("float32", SIGNS.shape)
        y = MASKED[name](x)
        session = gc.Session(graph=graph, backend="llvm", check_numerics=True)
        native = session.compile(y, [x]).native
        assert native is not None
        assert native.call(SIGNS) is not NotImplemented
        assert native.call(np.full_like(SIGNS, BIG)) is NotImplemented


@pytest.mark.parametrize("length", [1, 15, 16, 17, 63, 65, 70_001])
def test_one_element_is_enough(length: int) -> None:
    for place in sorted({0, length // 2, length - 1}):
        x = np.ones(length, np.float32)
        x[place] = -1
        for make in (lambda x: gc.sqrt(x), lambda x: gc.tanh(gc.log(x)), lambda x: gc.any(gc.log(x) > 0.0)):
            assert "its result has" in str(_outcome("llvm", make, (x,)))


HIDING: dict[str, Callable[[Any], Any]] = {
    "sigmoid": lambda x: gc.sigmoid(x * x + 1) * x,
    "sigmoid, below": lambda x: gc.sigmoid(1 - x * x) - x,
    "relu": lambda x: gc.nn.relu(x * gc.abs(x)) + gc.exp(x * 0),
}


@pytest.mark.parametrize("name", HIDING)
@pytest.mark.parametrize("length", [1, 15, 33, 1024, 70_001])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_what_an_op_could_hide_it_shows(name: str, length: int, dtype: str) -> None:
    large = {"float32": -2e19, "float64": -2e200, "float16": -300.0}[dtype]
    with gc.Graph().as_default() as graph:
        given = gc.placeholder(dtype, (length,))
        session = gc.Session(graph=graph, backend="llvm", check_numerics=True)
        native = session.compile(HIDING[name](given), [given]).native
        assert native is not None
        x = np.linspace(-3, 3, length).astype(dtype)
        assert native.call(x) is not NotImplemented
        for place in sorted({0, length // 2, max(length - 40, 0), length - 1}):
            y = x.copy()
            y[place] = large
            assert native.call(y) is NotImplemented


def test_a_failing_run_commits_nothing() -> None:
    v = gc.Variable(np.float32([1, 2]), name="v")
    x = gc.placeholder("float32", ())
    step = v.assign(v * x)
    with gc.Session(backend="llvm", check_numerics=True) as session:
        session.run(gc.global_variables_initializer())
        session.run(step, {x: 2})
        with pytest.raises(gc.NumericsError):
            session.run(step, {x: 3e38})
        assert session.run(v).tolist() == [2, 4]


# The tables of ops, against what the ops mean.

_UNARY = [n for n in sorted(OPS) if OPS[n].family == "elementwise" and len(OPS[n].operands) == 1]


def _meaning(name: str, *operands: Array) -> Array:
    with np.errstate(all="ignore"):
        return np.asarray(OPS[name].meaning(*operands))


@pytest.mark.parametrize("name", sorted({"add", "sub", "mul", "div", "guarded_multiply", "maximum", *_UNARY}))
def test_what_hands_on_does_and_what_is_harmless_is(name: str) -> None:
    count = 1 if name in _UNARY else 2
    finite = np.float32([0, -0.0, 1, -1, 0.5, 1e-45, 3.4e38, -3.4e38, 100, -100])
    if name.startswith(("logical", "bitwise", "polygamma")) or name == "cast":
        pytest.skip("not of floats alone")
    odd = np.float32([np.nan, np.inf, -np.inf])
    hands_on = [name in numerics._ALL or (place == 0 and name in numerics._FIRST) for place in range(count)]
    for place, others in itertools.product(
        range(count), itertools.product([*finite, *odd], repeat=count - 1)
    ):
        operands = [np.broadcast_to(np.float32(x), 3) for x in others]
        operands.insert(place, odd)
        result = _meaning(name, *operands)
        if hands_on[place] and result.dtype.kind == "f":
            assert not np.isfinite(result).any(), (place, others)
    if name in numerics._HARMLESS:
        for operands in itertools.product(finite, repeat=count):
            result = _meaning(name, *(np.full(2, x) for x in operands))
            assert np.isfinite(result).all(), operands
