"""Fusion: what goes into one kernel, what does not and why, and that the numbers stay the same."""

import networkx
import numpy as np
import pytest

import graphc as gc
from graphc.function import Function
from graphc.op import OPS
from passes.fusion import MOST_NODES, REDUCTIONS, fuse
from passes.grouping import enclose
from passes.pipeline import Request, prepare
from passes.record import recording
from passes.target import Target

VIEWS = {"reshape", "broadcast_to", "expand_dims", "squeeze"}
ALL = frozenset(n for n, op in OPS.items() if op.family == "elementwise") | VIEWS
TARGET = Target("llvm", False, ALL | {op.name for op in REDUCTIONS})


def prepared(fetches, feeds):
    return prepare(Request(tuple(fetches), tuple(feeds)), Target()).function


def numbers(function, arrays):
    graph = gc.parse(*gc.show_with_data(function))
    names = [node.name or node.attrs["name"] for node in graph.function.inputs]
    with gc.Session(graph=graph) as session:
        return session.run(list(graph.function.outputs), dict(zip(names, arrays, strict=True)))


def checked(fetches, feeds, arrays):
    """The fused function, after a look at its validity and its numbers."""
    before = prepared(fetches, feeds)
    after = fuse(before, TARGET)
    gc.verify(after)
    assert fuse(after, TARGET) is after
    for a, b in zip(numbers(before, arrays), numbers(after, arrays), strict=True):
        np.testing.assert_array_equal(a, b)
    return after


def kernels(function):
    return [n for n in function.nodes() if n.op.name == "fused"]


def test_a_chain_becomes_one_node():
    x = gc.placeholder("float32", ("n",), name="x")
    after = checked([gc.tanh(x * 2.0 + 1.0)], [x], [np.linspace(-1, 1, 7, dtype=np.float32)])
    (kernel,) = kernels(after)
    assert [n.op.name for n in kernel.attrs["body"].nodes() if n.inputs] == ["mul", "add", "tanh"]


def test_a_softmax_is_one_node():
    x = gc.placeholder("float32", ("n", 5), name="x")
    y = gc.exp(x - gc.max(x, axis=-1, keepdims=True))
    after = checked(
        [y / gc.sum(y, axis=-1, keepdims=True)], [x], [np.random.default_rng(0).random((3, 5), np.float32)]
    )
    assert len(kernels(after)) == 1
    assert [n.op.name for n in after.nodes() if n.op.name not in ("placeholder", "pick")] == ["fused"]


def test_a_layer_norm_and_its_gradient_are_one_node_each():
    x = gc.placeholder("float64", ("n", 5), name="x")
    (slope,) = gc.gradients(gc.sum(gc.nn.layer_norm(x) ** 3), [x])
    after = checked([slope], [x], [np.random.default_rng(0).random((3, 5))])
    assert len(kernels(after)) == 1


def test_other_rows_are_not_fused():
    x = gc.placeholder("float32", (3, 5), name="x")
    y = gc.placeholder("float32", (5,), name="y")
    with recording() as log:
        after = checked(
            [gc.exp(x) + gc.exp(y) * 2.0], [x, y], [np.ones((3, 5), np.float32), np.ones(5, np.float32)]
        )
    assert len(kernels(after)) == 2
    assert ("mul with add", "rows") in {(d.subject, d.reason) for d in log.decisions if not d.accepted}


def test_a_sum_of_rows_that_meets_columns_is_not_fused():
    x = gc.placeholder("float32", (4, 4), name="x")
    y = gc.exp(x)
    after = checked([y - gc.sum(y, axis=1)], [x], [np.random.default_rng(0).random((4, 4), np.float32)])
    ops = [{n.op.name for n in kernel.attrs["body"].nodes() if n.inputs} for kernel in kernels(after)]
    assert ops == [{"exp", "sum"}, {"sub"}]


def test_what_stands_between_keeps_apart():
    x = gc.placeholder("float32", (4, 4), name="x")
    y = gc.exp(x)
    z = gc.exp(y @ y) + y * 2.0  # the product is of y, and the sum is of the product: no single kernel
    with recording() as log:
        after = checked([z], [x], [np.eye(4, dtype=np.float32)])
    assert len(kernels(after)) == 2
    assert "order" in {d.reason for d in log.decisions if d.kind == "fuse" and not d.accepted}


def test_long_chains_are_cut():
    x = gc.placeholder("float32", (3,), name="x")
    y = x
    for _ in range(200):
        y = gc.tanh(y)
    after = checked([y], [x], [np.ones(3, np.float32)])
    sizes = [sum(bool(n.inputs) for n in k.attrs["body"].nodes()) for k in kernels(after)]
    assert max(sizes) == MOST_NODES
    assert sum(sizes) == 200


def test_without_a_backend_that_fuses_nothing_changes():
    x = gc.placeholder("float32", (3,), name="x")
    function = Function((x,), (gc.tanh(x * 2.0),))
    assert fuse(function, Target()) is function


def grown(rng, x, reach, *ways):
    """Two of the last of 41 values: `x`, then each by one of `ways` from two of the `reach` before it."""
    values = [x]
    for _ in range(40):
        a, b = (values[i] for i in rng.integers(max(0, len(values) - reach), len(values), 2))
        values.append(ways[rng.integers(0, len(ways))](a, b))
    return [values[-1], values[-5]]


def centred(a, b):
    return a - gc.mean(b, axis=-1, keepdims=True)


def chosen(a, b):
    return gc.where(gc.greater(a, 0.3), b, gc.sum(a, axis=0))


def gated(a, b):
    return gc.tanh(a) * b


def is_acyclic(function):
    """Whether nothing needs itself."""
    needs = networkx.DiGraph((i, node) for node in function.nodes() for i in node.inputs)
    return networkx.is_directed_acyclic_graph(needs)


@pytest.mark.parametrize("seed", range(20))
def test_groups_of_random_graphs_stay_acyclic(seed):
    def product(a, b):
        return gc.matmul(a, gc.transpose(b)) @ b * 0.01

    def added(a, b):
        return a + gc.sum(b, axis=0, keepdims=True) * 0.1

    rng = np.random.default_rng(seed)
    x = gc.placeholder("float64", (3, 4), name="x")
    fetches = grown(rng, x, 41, product, centred, added, gated, gated)
    assert is_acyclic(checked(fetches, [x], [rng.random((3, 4))]))


def test_groups_that_need_one_another_are_an_error():
    x = gc.placeholder("float64", (3, 3), name="x")
    a = gc.exp(x)
    b = gc.sort(a)
    c = a + b
    function = Function((x,), (c,))
    with pytest.raises(gc.VerificationError, match="needs itself"):
        enclose(function, function.nodes(), [[a, c]], [(3, 3)])  # b stands between


def both_backends(fetches, feeds):
    first, second = (gc.Session(backend=backend).run(fetches, feeds) for backend in ("numpy", "llvm"))
    for a, b in zip(first, second, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b)


def test_groups_that_differ_in_what_they_give_share_no_body():
    x = h = gc.placeholder("float64", (4, 8), name="x")
    given = []
    for i in range(4):
        inner = gc.exp(h * 0.1) - 1.0
        h = (inner * 2.0) @ np.eye(8)
        given += [inner] if i % 2 else []
    both_backends([h, *given], {x: np.linspace(-1, 1, 32).reshape(4, 8)})


def test_groups_that_differ_in_types_share_no_body():
    given = [("float64", (4, 4), "x"), ("float32", (2, 4), "y"), ("int64", (3, 5), "z")]
    xs = [gc.placeholder(*each) for each in given]
    feeds = {x: np.arange(np.prod(x.shape)).reshape(x.shape) for x in xs}
    both_backends([gc.square(x) - abs(x) for x in xs], feeds)


def test_groups_of_other_lines_share_no_body():
    x, y = (gc.placeholder("float64", (4, 4), name=name) for name in "xy")
    first = gc.exp(x * 2.0)
    second = gc.exp(y * 2.0)
    after = fuse(prepared([first, gc.transpose(second)], [x, y]), TARGET)
    lines = [{n.loc.line for n in kernel.attrs["body"].nodes() if n.inputs} for kernel in kernels(after)]
    assert len(lines) == 2
    assert lines[0].isdisjoint(lines[1])
