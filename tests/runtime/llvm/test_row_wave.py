"""Rows whose loops are one: the same bits as with loops one after the other, and nothing counts twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import graphc as gc
from runtime.llvm_backend.native import patterns
from runtime.llvm_backend.rows import numerics, row_streams, row_wave
from runtime.llvm_backend.rows.row_loop import RowLoop
from runtime.llvm_backend.rows.row_notes import is_untouched
from runtime.llvm_backend.rows.row_plan import RowPlan, plan_rows
from runtime.llvm_backend.rows.row_wave import spare_rows, wave_groups

Rows = Callable[[Any], Any]


def _twice(x: Any) -> Any:
    """Three sums in a row, of which the first is needed by all that follow."""
    e = gc.exp(x - gc.max(x, -1, keepdims=True))
    total = gc.sum(e, -1, keepdims=True)
    f = gc.exp(e / total)
    return f / gc.sum(f, -1, keepdims=True) + total * gc.max(x, -1, keepdims=True)


KINDS: dict[str, Rows] = {
    "softmax": gc.nn.softmax,
    "log softmax": gc.nn.log_softmax,
    "of what is computed": lambda x: gc.nn.softmax(x * 2 - gc.square(x)),
    "logsumexp": lambda x: gc.logsumexp(x, -1),
    "with its sum": lambda x: gc.nn.softmax(x) + gc.logsumexp(x, -1, keepdims=True),
    "twice": _twice,
    "masked": lambda x: gc.nn.softmax(gc.where(x > 0.5, x, float("-inf"))),
}


@contextmanager
def _waves(monkeypatch: pytest.MonkeyPatch, smallest: int) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(row_wave, "_SMALLEST", smallest)
        patch.setattr(row_wave, "_SHORTEST", 1)
        yield


def _run(of_rows: Rows, x: np.ndarray[Any, Any], threads: int = 2) -> Any:
    with gc.Graph().as_default() as graph:
        given = gc.placeholder(x.dtype.name, shape=x.shape)
        return gc.Session(graph=graph, backend="llvm", threads=threads).run(of_rows(given), {given: x})


def _plans(of_rows: Rows, shape: tuple[int, ...]) -> list[RowPlan]:
    with gc.Graph().as_default() as graph:
        given = gc.placeholder("float32", shape=shape)
        function = gc.Session(graph=graph, backend="llvm").compile([of_rows(given)], [given]).function
    found = [plan for node in function.nodes() if node.op.name == "fused" and (plan := plan_rows(node))]
    assert found
    return found


# Sizes that no other test has: kernels of equal bodies and sizes are written once a process.
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [3, 16, 95, 272])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_a_wave_changes_no_bit(kind: str, length: int, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(length).standard_normal((1023, length)).astype(dtype)
    x[:, 0] += 1  # no row is masked wholly
    with _waves(monkeypatch, 1 << 40):
        in_turn = _run(KINDS[kind], np.concatenate([x, x[:1]]))[:-1]
    with _waves(monkeypatch, 0):
        assert any(map(wave_groups, _plans(KINDS[kind], x.shape)))
        for threads in (1, 2, 3):
            assert np.array_equal(_run(KINDS[kind], x, threads), in_turn)
        assert np.array_equal(_run(KINDS[kind], x[5:6]), in_turn[5:6])
        assert np.array_equal(_run(KINDS[kind], x[5:7]), in_turn[5:7])


@pytest.mark.parametrize("share", [3, 8])
def test_a_wave_that_is_streamed(share: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_streams, "_SMALLEST", 0)
    for module in (row_streams, patterns):
        monkeypatch.setattr(module, "share_streamed", lambda plan, threads: share)
    x = np.random.default_rng(share).standard_normal((1001 + share, 288), dtype=np.float32)
    with _waves(monkeypatch, 0):
        found = _run(gc.nn.softmax, x)
    exact = np.exp(x.astype(np.float64) - x.max(-1, keepdims=True))
    assert np.allclose(found, exact / exact.sum(-1, keepdims=True), rtol=1e-6, atol=0)


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_an_odd_number_stays_in_its_row(odd: float, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).standard_normal((7, 301), dtype=np.float32)
    places = [(0, 300), (3, 16), (6, 0)]
    for place in places:
        x[place] = odd
    with _waves(monkeypatch, 0):
        found = _run(gc.nn.softmax, x)
    with np.errstate(invalid="ignore"):
        exact = np.exp(x.astype(np.float64) - x.max(-1, keepdims=True))
        exact /= exact.sum(-1, keepdims=True)
    assert np.allclose(found, exact, rtol=1e-6, atol=0, equal_nan=True)


def test_a_wave_may_write_where_it_read(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(1).standard_normal((331, 257), dtype=np.float32)

    def chain(x: Any) -> Any:
        for _ in range(3):
            x = gc.nn.softmax(gc.matmul(x, np.eye(257, dtype=np.float32)) * 3)
        return gc.matmul(x, np.eye(257, dtype=np.float32))

    with _waves(monkeypatch, 0):
        found = _run(chain, x)
    exact = x.astype(np.float64)
    for _ in range(3):
        exact = np.exp(3 * exact - 3 * exact.max(-1, keepdims=True))
        exact /= exact.sum(-1, keepdims=True)
    assert np.allclose(found, exact, rtol=1e-5, atol=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("masks", [True, False])
@pytest.mark.parametrize("noted", [True, False])
def test_looks_see_rows_and_no_pretexts(
    kind: str, masks: bool, noted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = 29 + masks + 2 * noted  # so that no text is found that was written another way
    x = np.random.default_rng(2).standard_normal((rows, 303), dtype=np.float32) + 1
    if not masks:  # as where the rest of a row is walked one by one
        monkeypatch.setattr(RowLoop, "has_masks", False)
        monkeypatch.setattr(
            row_wave, "is_untouched", lambda node: node.op.name != "exp" and is_untouched(node)
        )
    if not noted:
        monkeypatch.setattr(numerics, "may_tell", lambda body, kinds: False)
    with _waves(monkeypatch, 0), gc.Graph().as_default() as graph:
        given = gc.placeholder("float32", shape=x.shape)
        fetched = KINDS[kind](given * 3e38)
        native = gc.Session(graph=graph, backend="llvm", check_numerics=True).compile(fetched, [given]).native
        assert native is not None
        for _ in range(2):
            assert native.call(x * np.float32(1e-38)) is not NotImplemented  # nothing is walked again
            for memory in native._arenas.values():  # what lies there before a run may be of any kind
                memory[: memory.nbytes // 4 * 4].view(np.uint32)[:] = 0x7FA00000  # a NaN that signals
        for row in (0, 1, 28):
            y = x * np.float32(1e-38)
            y[row, 77] = 7.0
            assert native.call(y) is NotImplemented


def test_which_rows_are_a_wave() -> None:
    (plan,) = _plans(gc.nn.softmax, (1024, 512))
    assert [len(group) for group in wave_groups(plan)] == [1, 1, 1]
    assert spare_rows(plan) == 1
    light = _plans(gc.nn.layer_norm, (1024, 512))
    small, short, long = (_plans(gc.nn.softmax, s) for s in ((64, 64), (1 << 15, 64), (16, 1 << 18)))
    for each in (*light, *small, *short, *long):
        assert not wave_groups(each)
        assert not spare_rows(each)
