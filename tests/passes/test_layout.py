"""Layout: transposes meet, vanish or become letters; the numbers stay, and the work is linear."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import graphc as gc
from graphc.function import bodies
from passes.axis_order import chained, identity, inverse
from passes.layout import lay_out
from passes.optimization import optimize
from passes.pipeline import PIPELINE
from passes.record import recording, rewrite_limit
from passes.running import without
from passes.target import Target

EFFORT = settings(
    max_examples=150, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)


def transposes(function):
    """How many transposes there are, those of bodies among them."""
    found = 0
    for node in function.nodes():
        found += node.op is gc.ops.transpose
        found += sum(transposes(body) for _, body in bodies(node))
    return found


def parsed(text):
    return gc.parse(text).function


def random_axes(data, rank):
    return tuple(data.draw(st.permutations(range(rank))))


# Random graphs: products are of small whole numbers, so each sum is exact in any order.


def grow(data, pool):
    """One more tensor of `pool`: often a transpose."""
    kinds = ["transpose"] * 5 + ["unary", "add", "max", "sum", "reshape", "matmul", "einsum", "slice", "pad"]
    kinds += ["concat", "windows", "stack", "where", "cumulate", "expand"]
    kind = data.draw(st.sampled_from(kinds))
    x = data.draw(st.sampled_from(pool))
    rank = x.ndim
    axis = data.draw(st.integers(0, max(rank - 1, 0)))
    if kind == "transpose":
        return gc.transpose(x, random_axes(data, rank))
    if kind == "unary":
        return data.draw(st.sampled_from([gc.neg, gc.nn.relu, gc.abs, lambda t: gc.clip(t, -2, 3)]))(x)
    if kind in ("add", "where"):
        y = data.draw(st.sampled_from(pool))
        try:
            return x + y if kind == "add" else gc.where(gc.greater(x, y), x, y)
        except gc.GraphError:
            return x * 2
    if kind in ("max", "sum") and rank:
        axes = sorted(data.draw(st.sets(st.integers(0, rank - 1), min_size=1)))
        keep = data.draw(st.booleans())
        return (gc.max if kind == "max" else gc.sum)(x, axis=axes, keepdims=keep)
    if kind == "reshape":
        sizes = list(x.shape)
        if data.draw(st.booleans()) and rank > 1:
            at = data.draw(st.integers(0, rank - 2))
            sizes[at : at + 2] = [sizes[at] * sizes[at + 1]]
        elif rank and sizes[axis] % 2 == 0:
            sizes[axis : axis + 1] = [2, sizes[axis] // 2]
        return gc.reshape(x, sizes)
    if kind == "expand" and rank < 5:
        return gc.expand_dims(x, axis)
    if kind == "matmul" and rank >= 2:
        return gc.clip(gc.matmul(x, gc.transpose(x, (*range(rank - 2), rank - 1, rank - 2))), -4, 4)
    if kind == "einsum" and rank >= 2:
        letters = "abcdefg"[:rank]
        kept = "".join(data.draw(st.permutations(letters)))[: data.draw(st.integers(1, rank))]
        return gc.clip(gc.einsum(f"{letters},{letters}->{kept}", x, x), -4, 4)
    if kind == "slice" and rank and x.shape[axis] > 1:
        key = [slice(None)] * rank
        key[axis] = slice(1, None, data.draw(st.sampled_from([1, 2])))
        return x[tuple(key)]
    if kind == "pad" and rank:
        return gc.pad(x, [(1, 0) if i == axis else (0, 0) for i in range(rank)])
    if kind == "concat" and rank:
        return gc.concat([x, -x], axis=axis)
    if kind == "stack" and rank < 5:
        return gc.stack([x, x * 2], axis=axis)
    if kind == "cumulate" and rank:
        return gc.cumsum(x, axis=axis)
    if kind == "windows" and 2 <= rank < 5 and x.shape[axis] > 1:
        return gc.ops.windows(x, axes=(axis,), size=(2,), strides=(1,), dilations=(1,))
    return gc.clip(gc.square(x), -4, 4)


@EFFORT
@given(st.data())
def test_random_graphs_keep_their_numbers(data):
    with gc.Graph(seed=0).as_default():
        dtype = data.draw(st.sampled_from(["float64", "float32", "int64"]))
        x = gc.placeholder(dtype, (2, 3, 4), name="x")
        y = gc.placeholder(dtype, (3, 1), name="y")
        pool = [x, y]
        for _ in range(data.draw(st.integers(3, 12))):
            made = grow(data, pool)
            if made.ndim <= 6 and math.prod(made.shape) <= 4000:
                pool.append(made)
        fetches = data.draw(st.lists(st.sampled_from(pool[2:] or pool), min_size=1, max_size=3))
        if dtype == "float64" and data.draw(st.booleans()):
            total = gc.add_n([gc.sum(t) for t in fetches])
            fetches += gc.gradients(total, [x, y], unconnected="zero")
        rng = np.random.default_rng(0)
        feeds = {p: rng.integers(-2, 3, p.shape).astype(dtype) for p in (x, y)}
        text = gc.show(fetches)
        results = []
        for pipeline in ((), (lay_out,), None):
            with gc.Session(backend="numpy", pipeline=pipeline, verify=True) as session:
                results.append(session.run(fetches, feeds))
        function = optimize(fetches, pipeline=())
        once = lay_out(function)
    for found in results[1:]:
        for a, b in zip(found, results[0], strict=True):
            np.testing.assert_array_equal(a, b, err_msg=text)
    gc.verify(once)
    assert lay_out(once) is once, text
    if not any(node.op is gc.ops.windows for node in function.nodes()):  # for which transposes are made
        assert moved_bytes(once) <= moved_bytes(function), text


def moved_bytes(function):
    return sum(
        math.prod(node.shape) * node.dtype.itemsize
        for node in function.nodes()
        if node.op is gc.ops.transpose
        and [s for s in node.shape if s != 1]
        and [a for a in node.attrs["axes"] if node.inputs[0].shape[a] != 1]
        != sorted(a for a in node.attrs["axes"] if node.inputs[0].shape[a] != 1)
    )


@given(st.permutations(range(5)), st.permutations(range(5)))
def test_orders_are_those_of_transpose(p, q):
    x = np.zeros((2, 3, 4, 5, 6))
    p, q = tuple(p), tuple(q)
    assert x.transpose(chained(p, q)).shape == x.transpose(p).transpose(q).shape
    assert chained(p, inverse(p)) == identity(5)


# Networks.


def images(native, layers=3, train=False, batch_norm=True):
    """A network on NCHW images, whose layers are NCHW themselves or stand between conversions."""

    def between(f, x, *args):
        if native:
            return f(x, *args, data_format="NCHW")
        return gc.transpose(f(gc.transpose(x, (0, 2, 3, 1)), *args), (0, 3, 1, 2))

    rng = np.random.default_rng(0)
    x = gc.placeholder("float32", (4, 3, 8 << layers, 8 << layers), name="x")
    h, weights, channels = x, [], 3
    for i in range(layers):
        k = gc.Variable(rng.normal(0, 0.2, (3, 3, channels, 8)).astype("float32"), name=f"k{i}")
        b = gc.Variable(rng.normal(0, 0.2, (8, 1, 1)).astype("float32"), name=f"b{i}")
        weights += [k, b]
        channels = 8
        h = between(gc.nn.conv2d, h, k) + b
        if batch_norm:
            mean, variance = gc.nn.moments(h, (0, 2, 3), keepdims=True)
            h = gc.nn.batch_norm(h, mean=mean, variance=variance)
        h = between(gc.nn.max_pool if i % 2 else gc.nn.avg_pool, gc.nn.relu(h), 2)
    if not train:
        return [h], {x: rng.normal(size=x.shape).astype("float32")}
    loss = gc.mean(gc.square(h))
    return [loss, *gc.gradients(loss, weights)], {x: rng.normal(size=x.shape).astype("float32")}


@pytest.mark.parametrize(("train", "before"), [(False, 5), (True, 9)])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_conversions_of_images_vanish(train, before, batch_norm):
    with gc.Graph(seed=0).as_default():
        fetches, feeds = images(False, train=train, batch_norm=batch_norm)
        plain = optimize(fetches, pipeline=without(PIPELINE, "lay_out"))
        assert transposes(plain) >= before
        assert transposes(optimize(fetches)) == (1 if train else 2)
        close_with_and_without(fetches, feeds)


@pytest.mark.parametrize("train", [False, True])
def test_layers_of_nchw_run_in_nhwc(train):
    """One transpose at each edge; a training step, which gives no image back, has one at all."""
    with gc.Graph(seed=0).as_default():
        fetches, feeds = images(True, train=train)
        function = optimize(fetches)
        assert transposes(function) == (1 if train else 2)
        seen = [node for node in function.nodes() if node.op is gc.ops.windows]
        assert {node.attrs["axes"] for node in seen if node.dtype.is_floating} == {(1, 2)}
        close_with_and_without(fetches, feeds)


def close_with_and_without(fetches, feeds):
    """Sums of products of floats differ in their last bits where a product walks another layout."""
    found = []
    for pipeline in (without(PIPELINE, "lay_out"), None):
        with gc.Session(backend="numpy", pipeline=pipeline, verify=True) as session:
            session.run(gc.global_variables_initializer())
            found.append(session.run(fetches, feeds))
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def transformer(train, layers=2, batch=2, length=8, depth=16, heads=4):
    """As the benchmark's: queries, keys and values of all heads from one product, split by a transpose."""
    rng = np.random.default_rng(0)

    def weight(*shape):
        return gc.Variable(rng.normal(0, 0.2, shape).astype("float32"))

    x = gc.placeholder("float32", (batch, length, depth), name="x")
    h, weights = x, []
    for _ in range(layers):
        qkv, bias, out = weight(depth, 3 * depth), weight(3 * depth), weight(depth, depth)
        weights += [qkv, bias, out]
        z = gc.matmul(gc.nn.layer_norm(h), qkv) + bias
        z = gc.transpose(gc.reshape(z, (batch, length, 3, heads, depth // heads)), (2, 0, 3, 1, 4))
        a = gc.nn.dot_product_attention(z[0], z[1], z[2], causal=True)
        h = h + gc.matmul(gc.reshape(gc.transpose(a, (0, 2, 1, 3)), (batch, length, depth)), out)
    feeds = {x: rng.normal(size=x.shape).astype("float32")}
    if not train:
        return [h], feeds
    loss = gc.mean(gc.square(h))
    return [loss, *gc.gradients(loss, weights)], feeds


@pytest.mark.parametrize(("train", "before"), [(False, 4), (True, 8)])
def test_heads_are_split_by_letters(train, before):
    """Two transposes a layer, and two more in its gradient: none is left."""
    with gc.Graph(seed=0).as_default():
        fetches, feeds = transformer(train)
        assert transposes(optimize(fetches, pipeline=without(PIPELINE, "lay_out"))) == before
        assert transposes(optimize(fetches)) == 0
        close_with_and_without(fetches, feeds)


def test_bodies_are_laid_out():
    with gc.Graph(seed=0).as_default():
        x = gc.placeholder("float32", (3, 4), name="x")

        def step(i, t):
            return i + 1, gc.transpose(gc.nn.relu(gc.transpose(t)) + 1.0)

        _, last = gc.while_loop(lambda i, t: i < 5, step, [0, x])
        function = optimize([last], pipeline=())
        result = lay_out(function)
        assert transposes(function) == 2
        assert transposes(result) == 0
        gc.verify(result)
        assert gc.check_passes([last], {x: np.ones((3, 4), np.float32)}).ok


# The record.

MEETING = """graph(%x: f64[3,4], %y: f64[4,2]) {
  %0 = transpose(%x, axes=(1, 0)) : f64[4,3]
  %1 = relu(%0) : f64[4,3]
  %2 = transpose(%1, axes=(1, 0)) : f64[3,4]
  %3 = transpose(%y, axes=(1, 0)) : f64[2,4]
  %4 = matmul(%3, %1) : f64[2,3]
  return %2, %4
}"""


def decided(function):
    with recording() as log:
        lay_out(function)
    return [(d.subject, d.accepted, d.reason) for d in log.decisions]


def test_decisions_have_reasons():
    assert decided(parsed(MEETING)) == [("transpose", True, "met"), ("matmul", True, "absorbed")]
    bound = "graph(%x: f64[3,4]) {\n  %0 = transpose(%x, axes=(1, 0)) : f64[4,3]\n  return %0\n}"
    assert decided(parsed(bound)) == [("transpose", False, "op")]
    dear = bound.replace("return %0", "%1 = exp(%0) : f64[4,3]\n  return %1")
    assert decided(parsed(dear)) == [("transpose", False, "cost")]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_only_what_is_allowed_is_done(count):
    function = parsed(MEETING)
    with rewrite_limit(count):
        result = gc.verify(lay_out(function))
    assert (result is function) == (count == 0)
    values = [np.arange(12.0).reshape(3, 4) - 5, np.arange(8.0).reshape(4, 2)]
    for a, b in zip(run(function, values), run(result, values), strict=True):
        np.testing.assert_array_equal(a, b)


def run(function, values):
    found = dict(zip(function.inputs, values, strict=True))
    for node in function.nodes():
        if node not in found:
            found[node] = node.op.meaning(*(found[i] for i in node.inputs), **node.attrs)
    return [found[node] for node in function.outputs]


def test_lines_and_names_are_kept():
    with gc.Graph(seed=0).as_default():
        x = gc.placeholder("float32", (3, 4), name="x")
        y = gc.nn.relu(gc.transpose(x), name="middle")
        function = lay_out(optimize([gc.transpose(gc.matmul(y, x, name="product"))], pipeline=()))
    assert all(node.loc is not None for node in function.nodes())


# Linear time.


def chain(count, conversions):
    """Elementwise ops one after another, `conversions` of them between transposes."""
    with gc.Graph(seed=0).as_default():
        x = gc.placeholder("float32", (4, 5), name="x")
        h = x
        for i in range(count):
            inside = i % (count // conversions) == 0
            h = gc.transpose(gc.sin(gc.transpose(h))) if inside else gc.sin(h)
        return optimize([h], pipeline=())


def counted(function):
    with recording() as log:
        result = lay_out(function, Target())
    return result, log.counters.as_dict()


@pytest.mark.parametrize("conversions", [1, 100])
def test_counters_grow_linearly(conversions):
    """Each round visits each node once: one that changes something, and one that finds nothing."""
    for count in (1000, 10_000):
        function = chain(count, conversions)
        result, counters = counted(function)
        assert transposes(result) == 0
        assert counters["nodes_visited"] == len(function.nodes())
        assert counters["nodes_made"] == counters["nodes_made"] <= count


def test_nothing_is_visited_without_transposes():
    with gc.Graph(seed=0).as_default():
        x = gc.placeholder("float32", (4, 5), name="x")
        function = optimize([gc.sin(x) @ gc.cos(gc.reshape(x, (5, 4)))], pipeline=())
    result, counters = counted(function)
    assert result is function
    assert counters["nodes_visited"] == 0


def test_work_is_linear_where_one_value_has_many_users(calls_of):
    """Regions that share an operand do not each walk all of its users. That one is transposed once."""
    spent = []
    for count in (200, 800):
        with gc.Graph(seed=0).as_default():
            x = gc.placeholder("float32", (4, 5), name="x")
            ones = gc.ones((5, 2))
            scaled = [gc.transpose(x) * float(i + 2) for i in range(count)]
            function = optimize([gc.transpose(gc.sin(y)) @ ones for y in scaled], pipeline=())
        result, calls = calls_of(lambda function=function: lay_out(function))
        spent.append(calls)
        assert transposes(function) == 2 * count
        assert len({node.attrs["axes"] for node in result.nodes() if node.op is gc.ops.transpose}) <= 1
    assert spent[1] < 4.5 * spent[0]
