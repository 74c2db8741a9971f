"""Attention through the session: one kernel where nobody else needs its weights, and NumPy's numbers."""

import numpy as np
import pytest

import graphc as gc


def run(build, feeds, tolerance=2e-5):
    """Runs on both backends, on 1 and 3 threads; gives the kinds of the native steps."""
    graph = gc.Graph()
    with graph.as_default():
        names = [gc.placeholder(str(x.dtype), x.shape, name=f"p{i}") for i, x in enumerate(feeds)]
        fetches = build(*names)
    feed = dict(zip(names, feeds, strict=True))
    with gc.Session(graph=graph, backend="numpy") as session:
        expected = session.run(fetches, feed)
    found = []
    for threads in (1, 3):
        with gc.Session(graph=graph, backend="llvm", threads=threads) as session:
            executable = session.compile(fetches, names)
            found.append(session.run(fetches, feed))
    for a, b, c in zip(expected, *found, strict=True):
        np.testing.assert_array_equal(b, c)
        np.testing.assert_allclose(b, a, rtol=tolerance, atol=tolerance)
    return executable.record


def arrays(*shapes, dtype=np.float32):
    random = np.random.default_rng(0)
    return [random.standard_normal(shape).astype(dtype) for shape in shapes]


def blocks(record):
    (stage,) = (stage for stage in record["stages"] if stage["name"] == "fuse")
    return [d["accepted"] for d in stage["decisions"] if d["reason"] in ("block", "result")]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    ("queries", "keys", "scores"),
    [
        ((2, 3, 64, 16), (2, 3, 64, 16), True),
        ((2, 37, 20), (2, 37, 20), True),
        ((390, 9), (390, 9), True),
        ((3, 2, 5), (3, 2, 5), True),
        ((2, 1, 4), (2, 1, 4), False),
    ],
)
def test_attention_is_one_kernel(queries, keys, scores, causal):
    q, k, v = arrays(queries, keys, keys)
    record = run(lambda q, k, v: [gc.nn.dot_product_attention(q, k, v, causal=causal)], [q, k, v])
    assert any(blocks(record)) == scores
    assert not record["fallbacks"]


def test_masks_hide_keys_and_a_query_without_any_gives_zeros():
    q, k, v = arrays((2, 40, 8), (2, 50, 8), (2, 50, 12))
    mask = np.random.default_rng(0).random((40, 50)) < 0.5
    mask[3] = False
    record = run(
        lambda q, k, v, m: [gc.nn.dot_product_attention(q, k, v, mask=m) * 2.0 + 1.0], [q, k, v, mask]
    )
    assert any(blocks(record))


def test_heads_are_seen_through_transposes():
    (x,) = arrays((2, 24, 3 * 4 * 8))

    def build(x):
        heads = gc.transpose(gc.reshape(x, (2, 24, 3, 4, 8)), (2, 0, 3, 1, 4))
        made = gc.nn.dot_product_attention(heads[0], heads[1], heads[2], causal=True)
        return [gc.reshape(gc.transpose(made, (0, 2, 1, 3)), (2, 24, 32))]

    assert any(blocks(run(build, [x])))


def test_gradients_need_the_weights():
    q, k, v = arrays((2, 20, 8), (2, 20, 8), (2, 20, 8), dtype=np.float64)

    def build(q, k, v):
        made = gc.nn.dot_product_attention(q, k, v)
        return [made, *gc.gradients(gc.sum(gc.tanh(made)), [q, k, v])]

    record = run(build, [q, k, v], 1e-9)
    assert not any(blocks(record))
    assert len(blocks(record)) >= 1


def test_sizes_known_at_the_run():
    graph = gc.Graph()
    with graph.as_default():
        q, k, v = (gc.placeholder("float32", (2, "n", 8), name=name) for name in "qkv")
        y = gc.nn.dot_product_attention(q, k, v)
    with gc.Session(graph=graph, backend="llvm") as fast, gc.Session(graph=graph, backend="numpy") as exact:
        for n in (3, 130, 16, 1):
            feed = dict(zip((q, k, v), arrays(*[(2, n, 8)] * 3), strict=True))
            np.testing.assert_allclose(fast.run(y, feed), exact.run(y, feed), rtol=2e-5, atol=2e-5)


def test_other_rows_between_products_are_kernels_of_their_own():
    x, w = arrays((6, 30), (30, 30))
    run(lambda x, w: [gc.nn.layer_norm(x @ w) @ w, gc.cumsum(x @ w, axis=1) @ w], [x, w], 1e-3)
