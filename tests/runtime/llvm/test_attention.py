"""Attention through the session: one kernel where nobody else needs its weights, and NumPy's numbers."""

import numpy as np
import pytest

import graphc as gc


def run(build, feeds, tolerance=2e-5, others=()):
    """Runs on both backends, on 1 and 3 threads, with `others` of the same shapes too; gives the record."""
    graph = gc.Graph()
    with graph.as_default():
        names = [gc.placeholder(str(x.dtype), x.shape, name=f"p{i}") for i, x in enumerate(feeds)]
        fetches = build(*names)
    found = []
    for options in ({"backend": "numpy"}, *({"backend": "llvm", "threads": threads} for threads in (1, 3))):
        with gc.Session(graph=graph, **options) as session:
            executable = session.compile(fetches, names)
            given = (dict(zip(names, each, strict=True)) for each in (feeds, *others))
            found.append([result for feed in given for result in session.run(fetches, feed)])
    for a, b, c in zip(*found, strict=True):
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


# Keys that no query of a block sees are not visited.


def attended(q, k, v, mask, fill=-np.inf):
    """In double, as the definition says it: also where hidden values are not finite."""
    scores = np.where(mask, np.einsum("...md,...nd->...mn", q, k, dtype=np.float64), fill)
    top = scores.max(-1, keepdims=True)
    weights = np.exp(scores - np.where(np.isinf(top), 0, top))
    total = weights.sum(-1, keepdims=True)
    return np.einsum("...mn,...nd->...md", weights / np.where(total == 0, 1, total), v)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("length", "depth"), [(256, 16), (300, 20), (384, 33), (512, 8)])
def test_hidden_keys_count_for_nothing(length, depth, dtype):
    q, k, v = arrays(*[(2, 3, length, depth)] * 3, dtype=dtype)
    rows, keys = np.arange(length)[:, None], np.arange(length)
    padding = np.arange(length) < np.array([length // 3, length, 0])[:, None]
    triangles = [
        rows >= keys,
        rows + 70 >= keys,
        (rows // 128) * 128 > keys,  # the first block of queries sees nothing
        np.zeros((length, length), bool),
    ]
    paddings = [padding[chosen, None, None, :] for chosen in ([0, 1], [2, 1])]
    scattered = [np.random.default_rng(1).random((2, 3, length, length)) < 0.01]
    for masks in (triangles, paddings, scattered):
        given, *others = ([q, k, v, mask] for mask in masks)
        record = run(
            lambda q, k, v, m: [gc.nn.dot_product_attention(q, k, v, mask=m, scale=1.0)],
            given,
            2e-4 if dtype == np.float32 else 1e-11,
            others,
        )
        assert any(blocks(record))


def test_hidden_values_that_are_not_finite_are_seen_all_the_same():
    q, k, v = arrays((2, 260, 12), (2, 260, 12), (2, 260, 20))
    v[0, 255, 3], v[1, 259, 19], k[1, 200, 2] = np.inf, np.nan, np.nan
    graph = gc.Graph()
    with graph.as_default():
        feeds = [gc.placeholder("float32", x.shape) for x in (q, k, v)]
        y = gc.nn.dot_product_attention(*feeds, causal=True, scale=1.0)
    with gc.Session(graph=graph, backend="llvm") as session:
        found = session.run(y, dict(zip(feeds, (q, k, v), strict=True)))
    with np.errstate(invalid="ignore"):
        expected = attended(q, k, v, np.tri(260, dtype=bool))
    assert np.isnan(found[0, 0, 3])  # 0 times infinity
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("place", [64, 127, 130])
def test_the_first_hidden_value_is_looked_at_too(place):
    q, k, v = arrays((2, 16, 12), (2, 131, 12), (2, 131, 20))
    mask = np.broadcast_to(np.arange(131) < 64, (16, 131)).copy()
    v[1, place, 19] = np.inf

    def build(q, k, v, m):
        return [gc.nn.dot_product_attention(q, k, v, mask=m, scale=1.0)]

    graph = gc.Graph()
    with graph.as_default():
        feeds = [gc.placeholder(x.dtype.name, x.shape) for x in (q, k, v, mask)]
        (y,) = build(*feeds)
    with gc.Session(graph=graph, backend="llvm") as session:
        found = session.run(y, dict(zip(feeds, (q, k, v, mask), strict=True)))
    assert np.isnan(found[1, :, 19]).all()  # 0 times infinity
    assert np.isfinite(found).sum() == found.size - 16


def test_scores_that_are_small_but_no_infinity_are_not_hidden():
    q, k, v = arrays(*[(256, 8)] * 3)
    seen = np.arange(256)[:, None] > np.arange(256)  # the first query sees nothing: all weigh alike

    def build(q, k, v, m):
        scores = gc.where(m, q @ gc.transpose(k), -1e30)
        return [gc.nn.softmax(scores) @ v]

    assert any(blocks(run(build, [q, k, v, seen], 1e-3)))


def test_the_last_key_that_a_block_sees_is_the_last_one_visited(monkeypatch):
    from runtime.llvm_backend.contractions import block_kernel

    real = block_kernel.write_seen
    monkeypatch.setattr(block_kernel, "write_seen", lambda w, *given: w.sub(real(w, *given), 1))
    q, k, v = arrays(*[(2, 256, 24)] * 3)
    graph = gc.Graph()
    with graph.as_default():
        feeds = [gc.placeholder("float32", x.shape) for x in (q, k, v)]
        y = gc.nn.dot_product_attention(*feeds, causal=True, scale=0.01)
    given = dict(zip(feeds, (q, k, v), strict=True))
    with gc.Session(graph=graph, backend="llvm") as session:
        found = session.run(y, given)
    expected = attended(q * 0.01, k, v, np.tri(256, dtype=bool))
    wrong = (np.abs(found - expected) > 1e-3).any((0, 2))
    assert np.flatnonzero(wrong).tolist() == [127, 255]
    with graph.as_default():
        report = gc.check_passes(y, given, backend="llvm")
    assert not report.ok
    assert report.finding.name == "llvm"
