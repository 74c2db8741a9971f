"""Contractions with epilogues, through the session: the numbers of NumPy, and the same for any threads."""

import numpy as np
import pytest

import graphc as gc

ODD = [(1, 1, 1), (1, 17, 5), (17, 1, 3), (0, 4, 3), (5, 0, 2), (4, 3, 0), (33, 40, 65), (128, 70, 10)]


def agree(build, feeds, tolerance=2e-5, threads=(1, 2, 4)):
    """Runs on both backends; gives the executable of the last one."""
    graph = gc.Graph()
    with graph.as_default():
        placeholders = [gc.placeholder(str(x.dtype), x.shape, name=f"p{i}") for i, x in enumerate(feeds)]
        fetches = build(*placeholders)
    feed = dict(zip(placeholders, feeds, strict=True))
    with gc.Session(graph=graph, backend="numpy") as session:
        expected = session.run(fetches, feed)
    found = []
    for many in threads:
        with gc.Session(graph=graph, backend="llvm", threads=many) as session:
            found.append(session.run(fetches, feed))
    for result in found[1:]:
        for a, b in zip(found[0], result, strict=True):
            np.testing.assert_array_equal(a, b)
    for a, b in zip(expected, found[0], strict=True):
        size = max(1.0, float(np.max(np.abs(a), initial=0.0)))  # of the terms that may cancel
        np.testing.assert_allclose(b, a, rtol=tolerance, atol=tolerance * size)


def arrays(*shapes, dtype=np.float32, seed=0):
    random = np.random.default_rng(seed)
    return [random.standard_normal(shape).astype(dtype) for shape in shapes]


@pytest.mark.parametrize(("m", "k", "n"), ODD)
def test_layers_of_odd_sizes(m, k, n):
    def layer(x, w, b, r):
        z = x @ w + b
        return [gc.nn.relu(z), gc.nn.gelu(z) + r, z]

    agree(layer, arrays((m, k), (k, n), (n,), (m, n)))


@pytest.mark.parametrize(("m", "k", "n"), ODD)
def test_slopes_of_layers(m, k, n):
    def slope(g, w, h):
        return [gc.where(h > 0.0, gc.matmul(g, gc.transpose(w)), 0.0) * 2.0]

    agree(slope, arrays((m, k), (n, k), (m, n)))


def test_columns_and_batches_broadcast():
    def build(x, w, column, row, whole):
        z = x @ w
        return [gc.exp(z * 0.1 - column) + row, gc.maximum(z, whole)]

    agree(build, arrays((3, 7, 5), (5, 33), (7, 1), (1, 1, 33), (7, 33)))


def test_a_long_reduction_has_its_epilogue_after_the_parts():
    agree(lambda x, y, b: [gc.tanh((x @ y) * 1e-3 + b)], arrays((3, 200_000), (200_000, 5), (5,)), 1e-3)


def test_half_precision_ends_where_it_is_said():
    def build(x, w, b):
        return [gc.cast(x @ w + b, "float32") * 2.0, gc.nn.relu(x @ w + b)]

    agree(build, arrays((9, 20), (20, 35), (35,), dtype=np.float16), 2e-2)


def test_double_precision_and_sums_over_leading_axes():
    agree(lambda x, b: [gc.sum(x, axis=0) * 2.0 + b], arrays((70, 33), (33,), dtype=np.float64), 1e-12)


def test_transposed_operands_are_seen_and_not_made():
    def build(x, w, r):
        return [gc.nn.sigmoid(gc.transpose(x) @ w) * gc.transpose(r)]

    agree(build, arrays((12, 9), (12, 20), (20, 9)))


def test_a_batch_known_at_the_run():
    graph = gc.Graph()
    with graph.as_default():
        x = gc.placeholder("float32", ("n", 40), name="x")
        w = gc.placeholder("float32", (40, 70), name="w")
        b = gc.placeholder("float32", (70,), name="b")
        z = gc.nn.gelu(x @ w + b)
    (weights, bias) = arrays((40, 70), (70,))
    with gc.Session(graph=graph, backend="llvm") as fast, gc.Session(graph=graph, backend="numpy") as exact:
        for n in (1, 2, 7, 0, 64, 129, 3):
            (value,) = arrays((n, 40), seed=n)
            feed = {x: value, w: weights, b: bias}
            np.testing.assert_allclose(fast.run(z, feed), exact.run(z, feed), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("seed", range(12))
def test_random_epilogues(seed):
    random = np.random.default_rng(seed)
    m, k, n = (int(random.choice((1, 2, 5, 16, 17, 33, 50))) for _ in range(3))
    shapes = [(m, k), (k, n), *[[(n,), (m, 1), (m, n), (), (1, n)][i] for i in random.integers(0, 5, 4)]]

    def build(x, w, *others):
        value, results = x @ w, []
        for other in others:
            function = [gc.add, gc.multiply, gc.maximum, lambda a, b: gc.where(a > b, a, b * 0.5)]
            value = function[random.integers(0, 4)](value, other)
            value = [gc.tanh, gc.nn.relu, gc.square, gc.nn.sigmoid][random.integers(0, 4)](value)
            if random.random() < 0.4:
                results.append(value)
        return [*results, value]

    agree(build, arrays(*shapes, seed=seed), 1e-4, threads=(1, 2))
