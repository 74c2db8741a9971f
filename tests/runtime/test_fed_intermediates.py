"""Whatever can be fed: fed its own value, nothing changes; fed another, all that follows uses it."""

import numpy as np
import pytest

import graphc as gc
from graphc.function import topological
from graphc.nesting import flatten

FEEDS = {
    "x": np.random.default_rng(0).normal(size=(3, 6)),
    "y": [0, 1, 1],
    "u": [1.0, -2.0, 3.0, 1.0],
    "r": np.ones((2, 2)),
}


def everything():
    """A network with its gradients, bound sizes, bodies, an unknown rank and a draw."""
    x = gc.placeholder("float32", ("batch", 6), name="x")
    y = gc.placeholder("int64", ("batch",), name="y")
    u = gc.placeholder("float32", (None,), name="u")
    r = gc.placeholder("float32", name="r")
    w = gc.Variable(np.linspace(-1, 1, 24, dtype=np.float32).reshape(6, 4), name="w")
    h = gc.tanh(x @ w)
    losses = gc.losses.sparse_softmax_cross_entropy(labels=y, logits=h)
    slopes = gc.gradients(gc.mean(losses), [w, x, h])
    kept = gc.boolean_mask(u, u > 0)
    images = gc.reshape(x, [-1, 2, 3, 1])
    convolved = gc.nn.conv2d(images, gc.ones([2, 2, 1, 2]))
    ranked = gc.sum(r * 2.0) + gc.sum(r)
    return [
        (losses, slopes, gc.gradients(gc.sum(slopes[1] * slopes[1]), [x])),
        (gc.nonzero(u > 0), kept, gc.gradients(gc.sum(kept * kept), [u, kept])),
        (gc.unique(gc.cast(u, "int32"), return_inverse=True), gc.top_k(u, 2), gc.segment_sum(x, y)),
        (gc.reshape(x, [gc.shape(x)[0] * 2, -1]), x[1:, ::-1], gc.gather(w, y), gc.concat([u, u * 2.0], 0)),
        gc.cond(gc.sum(u) > 0, lambda: (gc.exp(u), w * 2.0), lambda: (u, w)),
        gc.while_loop(lambda i, s: i < 3, lambda i, s: (i + 1, s * 1.5), (0, h)),
        gc.scan(lambda c, v: (c + v, c * v), gc.zeros([6]), x),
        (ranked, gc.gradients(ranked, [r]), gc.random.normal([3], name="draw")),
        gc.gradients(gc.sum(convolved * convolved) + gc.sum(gc.nn.max_pool(images, 2, 1)), [x]),
    ]


@pytest.mark.parametrize("backend", gc.backends())
def test_a_tensor_fed_with_its_own_value_changes_nothing(backend):
    def run(fetches, feeds):
        with gc.Session(backend=backend) as session:
            session.run(gc.global_variables_initializer())
            return session.run(fetches, feeds)

    with gc.Graph(seed=0).as_default():
        for part in everything():
            wanted = flatten(part)
            tensors = [t for t in topological(wanted) if hasattr(t.type, "dtype") and t.name not in FEEDS]
            values = run(tensors, FEEDS)
            expected = run(wanted, FEEDS)
            for tensor, value in zip(tensors, values, strict=True):
                for given, right in zip(run(wanted, {**FEEDS, tensor: value}), expected, strict=True):
                    assert given.dtype == right.dtype, tensor
                    np.testing.assert_allclose(given, right, 1e-5, 1e-6, err_msg=repr(tensor))


@pytest.mark.parametrize("shape", [(), (2,), (1, 3)])
def test_an_intermediate_of_unknown_rank_is_fed(shape):
    with gc.Graph().as_default(), gc.Session() as session:
        r = gc.placeholder("float32", name="r")
        doubled = r * 2.0
        out = gc.tanh(doubled)
        slopes = [gc.gradients(gc.sum(out * out), [x])[0] for x in (doubled, r)]
        value = np.full(shape, 0.25, np.float32)
        t = np.tanh(value)
        np.testing.assert_allclose(session.run(out, {doubled: value}), t, 1e-6)
        slope = 2 * t * (1 - t * t)
        np.testing.assert_allclose(session.run(slopes[0], {doubled: value}), slope, 1e-6)
        np.testing.assert_allclose(session.run(slopes[1], {doubled: value, r: value * 9}), 2 * slope, 1e-6)
        np.testing.assert_allclose(
            session.run(slopes[1], {doubled: value}), 2 * slope, 1e-6
        )  # as r has its rank
        with pytest.raises(gc.FeedError, match="axes, not"):
            session.run([out, r], {doubled: value, r: np.ones((1, 1, 1, 1))})
