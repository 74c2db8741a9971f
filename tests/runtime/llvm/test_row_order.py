"""The order of a row kernel's loops, and what its maxima forget: the same numbers, NaN where it belongs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gc
from runtime.llvm_backend.rows import row_writer
from runtime.llvm_backend.rows.nan_spread import forgetful
from runtime.llvm_backend.rows.row_order import asked_rows, split_phases
from runtime.llvm_backend.rows.row_plan import RowPlan, plan_rows

Rows = Callable[[Any], Any]


def _normal(x: Any) -> Any:
    return gc.nn.layer_norm(x, scale=gc.constant(2.0), offset=gc.constant(0.5))


KINDS: dict[str, Rows] = {
    "softmax": gc.nn.softmax,
    "log softmax": gc.nn.log_softmax,
    "logsumexp": lambda x: gc.logsumexp(x, -1),
    "norm": _normal,
    "softmax of norm": lambda x: gc.nn.softmax(_normal(x)),
    "norm of exp": lambda x: _normal(gc.exp(x)),
    "span": lambda x: gc.max(x, -1, keepdims=True) - x * gc.min(x, -1, keepdims=True),
}


def _session(of_rows: Rows, shape: tuple[int, ...], dtype: str = "float32") -> tuple[Any, Any, Any]:
    with gc.Graph().as_default() as graph:
        given = gc.placeholder(dtype, shape=shape)
        return given, of_rows(given), gc.Session(graph=graph, backend="llvm", threads=2)


def _plans(of_rows: Rows, shape: tuple[int, ...]) -> list[RowPlan]:
    given, fetched, session = _session(of_rows, shape)
    nodes = session.compile([fetched], [given]).function.nodes()
    found = [plan for node in nodes if node.op.name == "fused" and (plan := plan_rows(node)) is not None]
    assert found
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [1, 15, 64, 300])
def test_the_order_of_rows_changes_no_bit(kind: str, length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(length).standard_normal((45, length)).astype(np.float32)
    given, fetched, session = _session(KINDS[kind], x.shape)
    staggered = session.run(fetched, {given: x})
    monkeypatch.setattr(row_writer, "split_phases", lambda plan: (0, 0))
    given, fetched, session = _session(KINDS[kind], (44, length))  # another kernel than that of 45 rows
    in_turn = session.run(fetched, {given: x[:44]})
    assert np.array_equal(staggered[:44], in_turn)
    given, fetched, session = _session(KINDS[kind], (1, length))
    assert np.array_equal(session.run(fetched, {given: x[44:]}), staggered[44:])


def test_which_rows_are_staggered() -> None:
    assert all(split_phases(plan)[0] for plan in _plans(gc.nn.softmax, (50, 300)))
    assert not any(split_phases(plan)[0] for plan in _plans(lambda x: gc.sum(gc.exp(x), -1), (50, 300)))
    long = _plans(gc.nn.softmax, (50, 1 << 18))
    assert long
    assert not any(split_phases(plan)[0] or asked_rows(plan)[1] for plan in long)
    kept = _plans(KINDS["norm of exp"], (50, 300))
    assert not any(
        split_phases(plan)[0] for plan in kept if plan.kept and plan.kept[0] in plan.phases[0].vectors
    )


def test_the_loop_that_computes_most_asks_for_later_rows() -> None:
    (plan,) = _plans(gc.nn.softmax, (50, 300))
    phase, asked = asked_rows(plan)
    assert phase is not None
    assert "exp" in [node.op.name for node in phase.vectors]
    assert list(asked.values()) == [1]
    (short,) = _plans(gc.nn.softmax, (50, 30))
    assert asked_rows(short) == (None, {})


@pytest.mark.parametrize("kind", ["softmax", "log softmax", "logsumexp"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_nan_is_in_all_of_its_row_and_in_no_other(kind: str, dtype: str) -> None:
    assert all(forgetful(plan) for plan in _plans(KINDS[kind], (6, 71)))
    for place in (0, 15, 16, 63, 64, 70):
        x = np.random.default_rng(place).standard_normal((6, 71)).astype(dtype)
        x[1, place] = np.nan
        x[3] = np.nan
        x[4] = -np.inf
        x[5, place] = np.inf
        given, fetched, session = _session(KINDS[kind], x.shape, dtype)
        found = session.run(fetched, {given: x})
        _, meant, by_numpy = (given, fetched, gc.Session(graph=session.graph, backend="numpy"))
        expected = by_numpy.run(meant, {given: x})
        assert np.isnan(found[1]).all()
        assert np.isnan(found[3]).all()
        assert np.array_equal(np.isnan(found), np.isnan(expected))
        assert np.allclose(found, expected, rtol=1e-2 if dtype == "float16" else 1e-5, equal_nan=True)


def test_a_maximum_that_is_seen_remembers_nan() -> None:
    shapes = (6, 71)
    seen: dict[str, Rows] = {
        "a result": lambda x: gc.max(x * 2, -1),
        "not in a sum": KINDS["span"],
        "hidden": lambda x: gc.where(gc.max(x, -1, keepdims=True) > 0, x * 0 + 1, gc.nn.relu(x)),
    }
    for of_rows in seen.values():
        assert not any(forgetful(plan) for plan in _plans(of_rows, shapes))
    x = np.ones(shapes, np.float32)
    x[2, 70] = np.nan
    given, fetched, session = _session(KINDS["span"], shapes)
    assert np.array_equal(np.isnan(session.run(fetched, {given: x})).all(-1), np.arange(6) == 2)


@pytest.mark.parametrize("odd", [np.nan, -np.nan, np.inf, -np.inf])
def test_extrema_across_rows_and_of_windows_keep_nan(odd: float) -> None:
    def make(x: Any) -> list[Any]:
        return [gc.nn.max_pool(x, 2), gc.max(x, axis=(1, 3)), gc.min(x, axis=(0, 2)), gc.max(x, axis=2)]

    shape = (2, 8, 10, 40)
    with gc.Graph().as_default() as graph:
        given = gc.placeholder("float32", shape=shape)
        fetched = make(given)
        session = gc.Session(graph=graph, backend="llvm", threads=2)
        meant = gc.Session(graph=graph, backend="numpy")
    random = np.random.default_rng(3)
    for _ in range(5):
        x = random.standard_normal(shape).astype(np.float32)
        x[tuple(random.integers(0, size) for size in shape)] = odd
        for found, exact in zip(
            session.run(fetched, {given: x}), meant.run(fetched, {given: x}), strict=True
        ):
            assert np.array_equal(found, exact, equal_nan=True)


def test_staggered_rows_of_one_element_that_are_kept() -> None:
    x = gc.placeholder("float32", (7, 1))
    y = gc.nn.layer_norm(x)
    z = gc.max(y, 0, keepdims=True) * y
    fetches = [z, *gc.gradients(gc.sum(gc.sin(z)), [x])]
    for backend in gc.backends():
        with gc.Session(backend=backend) as session:
            for found in session.run(fetches, {x: np.arange(7.0).reshape(7, 1)}):
                np.testing.assert_array_equal(found, np.zeros((7, 1)))
