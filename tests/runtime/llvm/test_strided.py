"""What contractions read where it lies: slices, and those without axes of size 1."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gc


def run(outputs, feeds):
    """The results, compared with those by meaning; the kinds of all steps by their op."""
    session = gc.Session(backend="llvm", threads=2)
    found = session.run(outputs, feeds)
    meant = gc.Session(backend="numpy").run(outputs, feeds)
    for a, b in zip(found, meant, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    executable = session.compile(outputs, list(feeds))
    kinds: dict[str, list[str]] = {}
    for step in executable.bound.steps:
        kinds.setdefault(step.node.op.name, []).append(executable.kind_of(step))
    return kinds


def fed(*shape):
    x = gc.placeholder("float32", shape, name="x")
    sizes = [3 if isinstance(size, str) else size for size in shape]
    return x, {x: np.random.default_rng(0).normal(size=sizes).astype(np.float32)}


def test_a_slice_without_its_axis_is_not_made_for_products_and_their_slopes():
    x, feeds = fed(2, 5, 3, 4, 6)  # batch, time, which, head, depth
    q, k, v = (gc.transpose(x[:, :, i], (0, 2, 1, 3)) for i in range(3))
    y = gc.nn.dot_product_attention(q, k, v)
    (slope,) = gc.gradients(gc.sum(y * y), [x])
    kinds = run([y, slope], feeds)
    assert kinds["strided_slice"] == ["view"] * len(kinds["strided_slice"])


def test_what_others_need_in_memory_is_made():
    x, feeds = fed(4, 3, 5)
    part = x[:, 1]
    kinds = run([part @ gc.transpose(part), gc.sin(part)], feeds)
    assert "view" not in kinds["strided_slice"]
    kinds = run([part @ gc.transpose(part), part], feeds)
    assert "view" not in kinds["strided_slice"]


@pytest.mark.parametrize("by", [gc.squeeze, lambda y: gc.reshape(y, (4, 1, 5))[:, 0], gc.identity])
def test_axes_come_and_go_one_after_the_other(by):
    x, feeds = fed(4, 3, 5)
    y = gc.squeeze(by(gc.expand_dims(gc.expand_dims(x[:, 2], 0), -1)))
    run([gc.einsum("ab,cb->ac", y, y)], feeds)


def test_an_axis_that_may_be_one_keeps_its_stride():
    x, feeds = fed("n", 3, 5)
    y = gc.expand_dims(x[:, 1], 1)  # [n, 1, 5]
    outputs = [gc.einsum("aib,cib->ac", y, y)]
    run(outputs, feeds)
    run(outputs, {x: feeds[x][:1]})


def test_a_reshape_that_moves_elements_apart_is_of_what_is_made():
    x, feeds = fed(4, 3, 6)
    y = gc.reshape(x[:, 1], (4, 2, 3))
    kinds = run([gc.einsum("abc,dbc->ad", y, y)], feeds)
    assert "view" not in kinds["strided_slice"]


def test_what_is_put_side_by_side_is_read_where_it_lies():
    x, feeds = fed(4, 3, 6)
    run([gc.stack([x[:, 2], x[:, 0]], 1), gc.concat([x[:, 1], x[:, 0]], 0)], feeds)


def test_parts_that_are_many_are_made_so_that_one_kernel_runs_them_all():
    x, feeds = fed(2, 9, 6)
    w = gc.constant(np.ones((6, 4), np.float32))
    kinds = run([x[:, i] @ w for i in range(9)], feeds)
    assert "view" not in kinds["strided_slice"]
