"""Epilogues: what the kernels of contractions take along, what they leave and why."""

import numpy as np
import pytest

import graphc as gc
from graphc.op import OPS
from passes.epilogues import MOST_ARRAYS, MOST_NODES, _Epilogues, fuse_epilogues
from passes.fusion import fuse
from passes.record import recording
from passes.target import Target
from tests.passes.test_fusion import (
    TARGET,
    centred,
    chosen,
    gated,
    grown,
    is_acyclic,
    kernels,
    numbers,
    prepared,
)

CONTRACTIONS = ("matmul", "einsum")
ELEMENTWISE = frozenset(name for name, op in OPS.items() if op.family == "elementwise")
FUSING = Target("llvm", False, TARGET.fusible, lambda node: node.op.name in CONTRACTIONS)
ALONE = Target("llvm", False, ELEMENTWISE, FUSING.contracts)


def fused(fetches, feeds, arrays=None, target=ALONE):
    """The bodies of the kernels, as names of ops, and the reasons why others were not taken."""
    before = prepared(fetches, feeds)
    with recording() as log:
        after = fuse_epilogues(before, target)
    gc.verify(after)
    if arrays is not None:
        for a, b in zip(numbers(before, arrays), numbers(after, arrays), strict=True):
            np.testing.assert_array_equal(a, b)
    names = [[n.op.name for n in k.attrs["body"].nodes() if n.inputs] for k in kernels(after)]
    return names, {d.reason for d in log.decisions if not d.accepted}


def square(name="x", size=4):
    return gc.placeholder("float64", (size, size), name=name)


def test_a_layer_is_one_node_whatever_its_batch():
    x, w = gc.placeholder("float64", ("n", 3), name="x"), square("w", 3)
    names, reasons = fused([gc.nn.relu(x @ w + 1.0)], [x, w], [np.ones((5, 3)), np.eye(3)])
    assert names == [["matmul", "add", "relu"]]
    assert not reasons


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (lambda x: (x @ x) + gc.sum(x @ x, axis=0), "order"),
        (lambda x: (x @ x)[:1] * 2.0, "op"),
        (lambda x: gc.sum(x @ x, axis=1), "op"),
        (lambda x: gc.expand_dims(x, 0) * (x @ x) + gc.zeros((2, 4, 4)), "shape"),
        (lambda x: gc.cast(x @ x, "bfloat16") * 3, "dtype"),
        (lambda x: _chain(x @ x, MOST_NODES + 1), "size"),
    ],
)
def test_what_is_left_out_has_a_reason(build, reason):
    x = square()
    _, reasons = fused([build(x)], [x], [np.random.default_rng(0).random((4, 4))])
    assert reason in reasons


def test_what_may_fail_is_no_epilogue():
    """The kernel of a contraction has nobody to tell."""
    x = gc.placeholder("int32", (4, 4), name="x")
    assert fused([(x @ x) // x], [x]) == ([], {"op"})


def _chain(x, many):
    for _ in range(many):
        x = gc.tanh(x)
    return x


def test_an_update_is_left_to_the_rows():
    x = square()
    others = [square(f"m{i}") for i in range(MOST_ARRAYS + 1)]
    y = x @ x
    for other in others:
        y = y + other
    arrays = [np.ones((4, 4)) * i for i in range(len(others) + 1)]
    names, reasons = fused([y], [x, *others], arrays)
    assert not names
    assert "traffic" in reasons


def test_of_what_is_too_much_the_kernel_takes_what_costs_nothing():
    x, w = square(), square("w")
    y = x @ w + 1.0
    many = [f(y) for f in (gc.tanh, gc.exp, gc.sin, gc.cos)[: MOST_ARRAYS + 1]]
    arrays = [np.eye(4), np.ones((4, 4))]
    names, reasons = fused([y, *many], [x, w], arrays)
    assert names == [["matmul", "add"]]
    assert "traffic" in reasons
    names, _ = fused([x @ w, y, *many], [x, w], arrays)  # the product itself would be one more array
    assert not names


def test_what_is_common_to_two_kernels_is_computed_once():
    x, y = square(), square("y")
    mask = gc.greater(y, 0.5)
    names, _ = fused([gc.where(mask, x @ x, 0.0), gc.where(mask, x @ y, 1.0)], [x, y])
    assert all("greater" not in each for each in names)
    assert len(names) == 2


def test_a_long_chain_is_looked_at_no_further_than_a_kernel_goes(monkeypatch):
    looked = []
    original = _Epilogues._comes_along
    monkeypatch.setattr(
        _Epilogues, "_comes_along", lambda self, *given: looked.append(1) or original(self, *given)
    )

    def count(length):
        looked.clear()
        x = square()
        y = x
        for i in range(length):  # no product takes its sum along: what else is added is too long
            for _ in range(MOST_NODES + 1):
                y = gc.tanh(y)
            y = y + x @ (x * float(i + 2))
        fuse_epilogues(prepared([y], [x]), ALONE)
        return len(looked)

    assert count(8) == 2 * count(4) > 0


def test_a_cycle_through_another_group_is_seen():
    x = square()
    a, b = x @ x, x @ (x + 1.0)
    low = gc.tanh(b)  # of b's group
    high = low + gc.tanh(a)  # with b, and needs a
    names, _ = fused([a * low, high], [x], [np.random.default_rng(0).random((4, 4))])
    assert names


def running_sums(x, many=1):
    """Ops that are in no kernel of a contraction."""
    for i in range(many):
        x = gc.cumsum(x, i % 2) * 0.5 if i % 8 == 7 else gc.cumsum(x, i % 2, reverse=True)
    return x


def test_a_way_that_is_too_long_to_be_searched_counts_as_one():
    x = square()
    product = x @ x
    y = gc.tanh(product) + running_sums(product, 200)
    names, reasons = fused([y], [x], [np.random.default_rng(0).random((4, 4)) * 1e-3])
    assert "order" in reasons
    assert ["matmul", "tanh"] in names


def test_a_cycle_through_a_group_that_waits_for_others_is_seen():
    x = square()
    first, second, third = x @ x, x @ (x + 1.0), x @ (x + 2.0)
    waits = gc.tanh(first) + running_sums(
        second
    )  # in the kernel of the first, which so comes after the second
    other = third * running_sums(x)
    last = gc.tanh(second) + running_sums(waits)  # not with the second
    names, reasons = fused([waits, other, last], [x], [np.random.default_rng(0).random((4, 4))])
    assert "order" in reasons
    assert len(names) == 3


@pytest.mark.parametrize("seed", range(30))
def test_groups_of_random_graphs_stay_acyclic(seed):
    def product(a, b):
        return gc.matmul(a, b) * 0.01

    def turned(a, b):
        return gc.matmul(gc.transpose(a), b)

    rng = np.random.default_rng(seed)
    x = gc.placeholder("float64", (3, 3), name="x")
    before = prepared(grown(rng, x, 12, product, centred, turned, chosen, gated, gated), [x])
    after = fuse(before, FUSING)
    gc.verify(after)
    assert fuse(after, FUSING) is after
    assert is_acyclic(after)
    array = rng.random((3, 3))
    for a, b in zip(numbers(before, [array]), numbers(after, [array]), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_kernel_bears_the_line_of_its_contraction():
    x, w = square(), square("w")
    scores = x @ w
    loss = gc.sum(gc.nn.relu(scores + 1.0))  # the mask of its gradient is computed in the same kernel
    before = prepared([loss, *gc.gradients(loss, [w])], [x, w])
    (kernel,) = kernels(fuse_epilogues(before, ALONE))
    assert "greater" in [n.op.name for n in kernel.attrs["body"].nodes()]
    assert kernel.loc == scores.loc
    assert not kernel.loc.backward


def test_a_group_of_rows_bears_a_line_that_is_no_gradient():
    x = square()
    h = gc.tanh(x)
    loss = gc.sum(h)
    before = prepared([h, *gc.gradients(loss, [x])], [x])
    (kernel,) = kernels(fuse(before, TARGET))
    assert any(n.loc and n.loc.backward for n in kernel.attrs["body"].nodes())
    assert kernel.loc == h.loc
