"""Ranges of checked numbers hold whatever is computed from; what they say is finite is not looked at."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.op import OPS
from runtime.llvm_backend.rows import numerics, ranges

POINTS = np.float64([-np.inf, -3.4e38, -100, -1, -0.5, -0.0, 0, 1e-30, 0.5, 1, 2, 80, 3.4e38, np.inf])
INTERVALS = [(float(a), float(b)) for a, b in itertools.combinations_with_replacement(POINTS, 2)]


def _operand(n: int) -> Any:
    return [gc.placeholder("float32", (3,)) for _ in range(n)]


@pytest.mark.parametrize("name", sorted({*ranges._FIXED, *ranges._RULES}))
def test_results_lie_in_their_range(name: str) -> None:
    """Of operands at both ends of theirs, and between, as float64."""
    count = 1 if len(OPS[name].operands) == 1 else 2
    with gc.Graph().as_default():
        node = OPS[name](*_operand(count))
    meaning = OPS[name].meaning
    assert meaning is not None
    for given in itertools.product(INTERVALS[:: 1 if count == 1 else 7], repeat=count):
        low, high = ranges.range_of(node, given)
        inside = [POINTS[np.clip(POINTS, *both) == POINTS] for both in given]
        with np.errstate(all="ignore"):
            found = np.asarray(meaning(*np.meshgrid(*inside)))
        found = found[~np.isnan(found)]
        slack = 1e-12 * np.abs(found[np.isfinite(found)]).max(initial=0)
        assert found.min(initial=np.inf) >= low - slack, given
        assert found.max(initial=-np.inf) <= high + slack, given


@pytest.mark.parametrize("value", [0.0, 1.0, 0.9, -0.9, 1e-40, -3e38, 255.0, 256.0, 257.0])
def test_a_constant_is_in_its_range(value: float) -> None:
    with gc.Graph().as_default():
        low, high = ranges.range_of_input(gc.constant(value, "float32"))
        assert low <= float(np.float32(value)) <= high
        assert (low == 0) == (high == 0) == (value == 0)
        assert ranges.range_of_input(gc.constant([1.0, np.inf])) == ranges.ANY


@pytest.mark.parametrize("name", sorted(numerics._NAN - numerics._ALL - {"max", "min"}))
def test_nan_is_handed_on(name: str) -> None:
    count = 1 if len(OPS[name].operands) == 1 else 2
    meaning = OPS[name].meaning
    assert meaning is not None
    for place, other in itertools.product(range(count), [0.0, 1.0, np.inf, np.nan]):
        operands = [np.float32([other])] * count
        operands[place] = np.float32([np.nan])
        with np.errstate(all="ignore"):
            assert np.isnan(meaning(*operands)).all()


def _softly(x: Any) -> Any:
    y = x
    for _ in range(4):
        y = gc.tanh(y * 1.1 + 0.1) * 0.9 + gc.exp(-y * y)
    return y


def _share(x: Any, of_nothing: float) -> Any:
    return _part_of_sum(gc.abs(x), of_nothing)


def _part_of_sum(x: Any, of_nothing: float) -> Any:
    total = gc.sum(x, -1, keepdims=True)
    return x / gc.where(gc.equal(total, 0.0), of_nothing, total)


LOOKS: dict[str, tuple[Callable[[Any], Any], list[str]]] = {
    "softmax": (lambda x: gc.nn.softmax(x, -1), ["sub"]),
    "log softmax": (lambda x: gc.nn.log_softmax(x, -1), ["sub"]),
    "powers of what is not positive": (
        lambda x: gc.sum(gc.exp(x - gc.max(x, -1, keepdims=True)), -1),
        ["sub"],
    ),
    "powers of what may be": (lambda x: gc.sum(gc.exp(x - gc.min(x, -1, keepdims=True)), -1), ["sub", "sum"]),
    "a bounded sum": (lambda x: gc.tanh(gc.sum(gc.tanh(x), -1)), []),
    "a mean": (lambda x: gc.tanh(gc.mean(gc.tanh(x), -1)), ["mean"]),
    "a bounded chain": (_softly, ["add", "mul"]),  # of what is fed
    "a bounded result": (lambda x: gc.sigmoid(x) * 3.0 - gc.tanh(x), []),
    "a selection hides NaN": (lambda x: gc.where(x > 0, gc.tanh(x), 0.0) + gc.log(x), ["add"]),
    "an unbounded quotient": (lambda x: gc.tanh(1.0 / gc.sigmoid(x)), ["reciprocal"]),
    "a bounded quotient": (lambda x: gc.tanh(1.0 / (1.0 + gc.square(x))), ["add"]),
    "its root": (lambda x: gc.tanh(gc.rsqrt(gc.abs(x) + 1e-5)), ["add"]),
    "no share": (lambda x: gc.exp(x) / gc.sum(gc.exp(x), -1, keepdims=True), ["div", "sum"]),
    "a share of zero": (lambda x: _share(x, 0.0), ["div", "sum"]),
    "hidden, but shown": (lambda x: gc.sigmoid(x * x + 1) * gc.nn.relu(x - 2) + gc.exp(-x) / 2, ["add"]),
    "hidden for good": (
        lambda x: gc.where(gc.sigmoid(x * x) > 0.5, gc.nn.relu(x - 2), 1.0),
        ["square", "sub"],
    ),
    "a share": (lambda x: _share(x, 2.0), ["sum"]),
    "a share of what may be negative": (lambda x: _part_of_sum(gc.sin(x), 2.0), ["div"]),
}


@pytest.mark.parametrize("name", LOOKS)
def test_what_is_looked_at(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def find(body: Any, given: Any, _: bool) -> Any:
        found = numerics.find_looks(body, given, may_note=False)  # as where the CPU's notes are not read
        seen.extend(node.op.name for node in found.at)
        return found

    monkeypatch.setattr("runtime.llvm_backend.backend.find_looks", find)
    monkeypatch.setattr("runtime.llvm_backend.backend._texts", {})
    monkeypatch.setattr("runtime.llvm_backend.backend._kernels", {})
    make, wanted = LOOKS[name]
    with gc.Graph().as_default():
        x = gc.placeholder("float32", (5, 33))
        with gc.Session(check_numerics=True) as session:
            assert session.compile(make(x), [x]).native is not None
    assert sorted(seen) == wanted


CASES = {name: make for name, (make, _) in LOOKS.items()} | {
    "through tanh": lambda x: gc.tanh(x * 3e38 * 2.0) * 0.5,
    "a share of infinity": lambda x: gc.nn.softmax(gc.exp(x), -1),
    "a share of NaN": lambda x: gc.nn.softmax(gc.sqrt(x), -1),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("value", [0.0, -0.0, 1.0, -1.0, 89.0, -1e30, 3.4e38, -3.4e38])
def test_both_backends_name_the_same(name: str, value: float) -> None:
    """Whatever the row holds; a value that is fed is no failure."""
    for odd in (value, 0.5):
        x = np.full((2, 33), value, np.float32)
        x[1, 20] = odd
        found = []
        for backend in ("llvm", "numpy"):
            with gc.Graph().as_default() as graph:
                fed = gc.placeholder("float32", (2, 33))
                y = CASES[name](fed)
                session = gc.Session(graph=graph, backend=backend, check_numerics=True)
                try:
                    session.run(y, {fed: x})
                    found.append("")
                except gc.NumericsError as error:
                    found.append(str(error))
        assert found[0] == found[1]
