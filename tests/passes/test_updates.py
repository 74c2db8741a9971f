"""Updates: small ones of variables wait until all else is computed, and others say why they do not."""

import numpy as np
import pytest

import graphc as gc
from graphc.ops.region import fused
from graphc.ops.state import assign
from passes import updates
from passes.fusion import fuse
from passes.reasons import REASONS
from passes.record import recording
from passes.scheduling import schedule
from tests.passes.test_fusion import TARGET, prepared


def model(sizes=((4, 3), (3, 5), (5, 2)), optimizer=None):
    """A training step of a chain of layers, and what it is fed."""
    x = gc.placeholder("float32", (6, sizes[0][0]), name="x")
    h = x
    for i, shape in enumerate(sizes):
        h = gc.tanh(h @ gc.Variable(np.full(shape, 0.1, np.float32), name=f"w{i}"))
    loss = gc.sum(h)
    return [loss, (optimizer or gc.train.Adam(0.1)).minimize(loss)], [x]


def scheduled(fetches, feeds):
    """The nodes in order, those that are updates, and the reasons why others are not."""
    function = fuse(prepared(fetches, feeds), TARGET)
    with recording() as log:
        nodes = schedule(function)
    place = {node: i for i, node in enumerate(nodes)}
    assert all(place[x] < place[node] for node in nodes for x in node.inputs)
    users = {}
    for node in nodes:
        for x in node.inputs:
            users.setdefault(x, []).append(node)
    behind = [
        n for n in nodes if n.op is fused and any(u.op is assign for p in users[n] for u in users.get(p, ()))
    ]
    return nodes, behind, {d.reason for d in log.decisions if d.kind == "fork" and not d.accepted}


def test_small_updates_stand_together_at_the_end():
    nodes, found, reasons = scheduled(*model())
    last = [node for node in nodes if node.op is fused][-3:]
    assert [len(node.type.elements) for node in last] == [3, 3, 3]
    assert set(last) <= set(found)
    assert not reasons
    first = nodes.index(last[0])
    assert not [n for n in nodes[first:] if n.op.family in ("contraction", "reduction")]


@pytest.mark.parametrize(("limit", "reason"), [("MOST_ELEMENTS", "bytes"), ("MOST_HELD", "held")])
def test_what_does_not_wait_has_a_reason(monkeypatch, limit, reason):
    monkeypatch.setattr(updates, limit, 1)
    nodes, _, reasons = scheduled(*model())
    assert reasons == {reason}
    assert reason in REASONS["fork"]
    products = [i for i, node in enumerate(nodes) if node.op.name in ("matmul", "einsum")]
    kernels = [i for i, node in enumerate(nodes) if node.op is fused]
    assert sum(products[-1] > i for i in kernels) > 1  # updates stand where they did


def test_an_update_that_another_needs_does_not_wait():
    w, v = (gc.Variable([1.0, 2.0, 3.0], name=name) for name in "wv")
    x = gc.placeholder("float32", (3, 3), name="x")
    new = w.assign(gc.exp(w) * 2.0)
    product = gc.matmul(x, gc.reshape(new, (3, 1)))  # so that the two are not one kernel
    step = gc.group(v.assign(gc.exp(v) + gc.reshape(product, (3,))), new)
    nodes, found, _ = scheduled([step], [x])
    assert len(found) == 2
    assert nodes.index(found[0]) < [n.op.name for n in nodes].index("matmul") < nodes.index(found[1])
    assert late(nodes) == []


def late(nodes):
    """The fused nodes that wait."""
    at = {node: i for i, node in enumerate(nodes)}
    found = updates.find_late(nodes, [[at[x] for x in n.inputs] for n in nodes], [1] * len(nodes))
    return [node for node in nodes if node.op is fused and at[node] in found]


def test_what_is_only_given_back_is_no_update():
    x, y = (gc.placeholder("float32", shape, name=name) for name, shape in (("x", (3, 4)), ("y", (5,))))
    variables = [gc.Variable(np.ones(n, np.float32), name=f"v{n}") for n in (6, 7)]
    given = [gc.tanh(x) * 2.0, gc.tanh(y) * 3.0]
    steps = [v.assign(gc.tanh(v) * 4.0) for v in variables]
    nodes, _, _ = scheduled([*given, gc.group(steps)], [x, y])
    assert sum(node.op is fused for node in nodes) == 4
    assert {node.type.elements[0].sizes for node in late(nodes)} == {(6,), (7,)}


def test_one_update_stays_where_it_is():
    nodes, _, _ = scheduled(*model(((4, 3),), gc.train.SGD(0.1)))
    assert late(nodes) == []


def test_updates_that_are_rows_do_not_wait():
    variables = [gc.Variable(np.ones((4, 4), np.float32), name=f"v{i}") for i in range(3)]
    nodes, _, _ = scheduled([gc.group(*[v.assign(gc.nn.softmax(v)) for v in variables])], [])
    assert late(nodes) == []


def test_gradients_that_wait_are_held_up_to_a_limit(monkeypatch):
    monkeypatch.setattr(updates, "MOST_HELD", 700)
    function = fuse(prepared(*model(((8, 8),) * 3)), TARGET)
    with recording() as log:
        schedule(function)
    assert sum(decision.reason == "held" for decision in log.decisions) == 1
