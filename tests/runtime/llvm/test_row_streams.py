"""Results that go past the caches: the same numbers, whichever chunks are streamed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import graphc as gc
from runtime.llvm_backend.engine.machine import host
from runtime.llvm_backend.native import patterns
from runtime.llvm_backend.rows import row_streams
from runtime.llvm_backend.rows.row_plan import plan_rows


@pytest.fixture(params=[1, 3, 8])
def share(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    near = replace(host(), far_l3=False)
    monkeypatch.setattr(row_streams, "host", lambda: near)
    monkeypatch.setattr(row_streams, "_SMALLEST", 0)
    monkeypatch.setattr(row_streams, "share_streamed", lambda plan, threads: request.param)
    monkeypatch.setattr(patterns, "share_streamed", lambda plan, threads: request.param)
    return int(request.param)


# Sizes that no other test has: kernels of equal bodies and sizes are written once a process.
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("threads", [1, 2])
def test_rows_that_are_streamed(share: int, dtype: str, threads: int) -> None:
    x = np.random.default_rng(share).standard_normal((777 + share, 96)).astype(dtype)
    with gc.Graph().as_default() as graph:
        given = gc.placeholder(dtype, shape=x.shape)
        soft, flat = gc.nn.softmax(given), gc.tanh(given) * 2 + 1
        session = gc.Session(graph=graph, backend="llvm", threads=threads)
        found = session.run([soft, flat, gc.sum(gc.square(flat), -1)], {given: x})
        again = session.run([soft], {given: x})
        assert any("!nontemporal" in k.text for k in session.compile([soft], [given]).kernels)
    wide = x.astype(np.float64)
    exact = np.exp(wide - wide.max(-1, keepdims=True))
    exact /= exact.sum(-1, keepdims=True)
    near = 4e-3 if dtype == "float16" else 1e-6
    assert np.allclose(found[0], exact, rtol=near, atol=0)
    assert np.array_equal(found[0], again[0])
    assert np.allclose(found[1], np.tanh(wide) * 2 + 1, rtol=near, atol=near)
    assert np.allclose(found[2], np.square(np.tanh(wide) * 2 + 1).sum(-1), rtol=near)


def test_only_what_is_large_and_not_read_again_is_streamed() -> None:
    x = np.random.default_rng(0).standard_normal((3_100_003,), dtype=np.float32)
    with gc.Graph().as_default() as graph:
        given = gc.placeholder("float32", shape=x.shape)
        session = gc.Session(graph=graph, backend="llvm", threads=2)
        assert np.array_equal(session.run(gc.abs(given) + 1, {given: x}), np.abs(x) + 1)
        small = gc.placeholder("float32", shape=(1000, 64))
        exe = session.compile([gc.nn.softmax(small)], [small])
        assert not any("!nontemporal" in k.text for k in exe.kernels)


@pytest.mark.parametrize(
    ("rows", "alone", "together"), [(2048, 0, 0), (3584, 4, 4), (4096, 6, 5), (6000, 8, 5), (8192, 8, 8)]
)
def test_how_much_goes_past_the_caches(
    rows: int, alone: int, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what is little more than they hold, a part of the result may stay, where several cores write."""
    large = replace(host(), l3=32 << 20)
    monkeypatch.setattr(row_streams, "host", lambda: large)
    with gc.Graph().as_default() as graph:
        x = gc.placeholder("float32", (rows, 1024))
        function = gc.Session(graph=graph, backend="llvm").compile(gc.nn.softmax(x), [x]).function
    (plan,) = [plan for node in function.nodes() if node.op.name == "fused" and (plan := plan_rows(node))]
    assert [row_streams.share_streamed(plan, threads) for threads in (1, 2)] == [alone, together]


@pytest.mark.parametrize(("l2", "claims"), [(1 << 10, True), (1 << 20, False)])
def test_where_l3_is_far_rows_are_asked_for_before_they_are_stored(
    l2: int, claims: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = replace(host(), far_l3=True, l2=l2, l3=1 << 16)
    monkeypatch.setattr(row_streams, "host", lambda: far)
    monkeypatch.setattr(row_streams, "_SMALLEST", 1 << 18)
    x = np.random.default_rng(0).standard_normal((1234, 80 if claims else 96)).astype("float32")
    with gc.Graph().as_default() as graph:
        given = gc.placeholder("float32", shape=x.shape)
        session = gc.Session(graph=graph, backend="llvm", threads=2)
        exe = session.compile([gc.nn.softmax(given)], [given])
        (text,) = [k.text for k in exe.kernels if "exp" in k.text]
        assert ("i32 1, i32 3, i32 1)" in text) == claims  # to be stored
        assert "!nontemporal" not in text
        flat = session.compile([gc.tanh(given) * 2 + 1], [given])
        assert not any("i32 1, i32 3, i32 1)" in k.text for k in flat.kernels)
        assert any("!nontemporal" in k.text for k in flat.kernels)
        found = session.run(gc.nn.softmax(given), {given: x})
    wide = np.exp(x.astype(np.float64))
    assert np.allclose(found, wide / wide.sum(-1, keepdims=True), rtol=1e-5)
