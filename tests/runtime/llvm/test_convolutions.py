"""Convolutions, pooling and all their gradients: native whatever the strides, and the numbers of NumPy."""

import itertools

import numpy as np
import pytest

import graphc as gc


def native(build, shapes, names=None):
    """Runs on both backends: no step in Python, the same numbers on 1 and 2 threads."""
    random = np.random.default_rng(0)
    arrays = [random.standard_normal(shape).astype(np.float32) for shape in shapes]
    graph = gc.Graph()
    with graph.as_default():
        feeds = [
            gc.placeholder("float32", (names or {}).get(i, x.shape), name=f"p{i}")
            for i, x in enumerate(arrays)
        ]
        y = build(*feeds)
        fetches = [y, *gc.gradients(gc.sum(gc.tanh(y)), feeds)]
    feed = dict(zip(feeds, arrays, strict=True))
    with gc.Session(graph=graph, backend="numpy") as session:
        expected = session.run(fetches, feed)
    found = []
    for threads in (1, 2):
        with gc.Session(graph=graph, backend="llvm", threads=threads) as session:
            executable = session.compile(fetches, feeds)
            steps = executable.record["program"]["steps"]
            kinds = {step["op"]: step["kind"] for step in steps if step["kind"] != "llvm"}

            assert "meaning" not in kinds.values(), kinds
            found.append(session.run(fetches, feed))
    for a, b, c in zip(expected, *found, strict=True):
        np.testing.assert_array_equal(b, c)
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("stride", "dilation", "padding"), [*itertools.product((1, 2, 3), (1, 2), ("SAME", "VALID"))]
)
def test_convolution(stride, dilation, padding):
    options = {"strides": stride, "dilations": dilation, "padding": padding}
    native(lambda x, w: gc.nn.conv2d(x, w, **options), [(2, 11, 10, 4), (2, 3, 4, 6)])


def test_convolution_of_planes_and_of_a_batch_known_at_the_run():
    native(lambda x, w: gc.nn.conv2d(x, w, data_format="NCHW"), [(2, 4, 9, 8), (3, 3, 4, 6)])
    native(lambda x, w: gc.nn.conv2d(x, w), [(3, 9, 8, 4), (3, 3, 4, 6)], {0: ("n", 9, 8, 4)})


@pytest.mark.parametrize(("stride", "padding"), [*itertools.product((1, 2), ("SAME", "VALID"))])
def test_groups_channels_and_transposes(stride, padding):
    options = {"strides": stride, "padding": padding}
    native(lambda x, w: gc.nn.conv2d(x, w, groups=2, **options), [(2, 9, 8, 4), (3, 3, 2, 6)])
    native(lambda x, w: gc.nn.depthwise_conv2d(x, w, **options), [(2, 9, 8, 4), (3, 3, 4, 2)])
    size = [n * stride if padding == "SAME" else (n - 1) * stride + 3 for n in (9, 8)]
    native(lambda x, w: gc.nn.conv2d_transpose(x, w, [2, *size, 5], **options), [(2, 9, 8, 4), (3, 3, 5, 4)])


@pytest.mark.parametrize(
    ("pool", "cells", "stride", "padding"),
    [*itertools.product(("max_pool", "avg_pool"), (2, 3), (1, 2, 3), ("SAME", "VALID"))],
)
def test_pooling(pool, cells, stride, padding):
    native(lambda x: getattr(gc.nn, pool)(x, cells, strides=stride, padding=padding), [(2, 9, 8, 3)])


@pytest.mark.parametrize("names", [None, {0: [None, 24, 24, 8]}], ids=["known", "at the run"])
def test_filters_that_lie_apart_are_laid_out_and_their_gradient_is_made_in_parts(names):
    """Long enough for both: 6,912 rows, and 16 million products of 2,304 sums."""

    def build(x, k):
        return gc.nn.conv2d(x, gc.transpose(k, (2, 3, 1, 0)), padding="SAME") * 0.1

    native(build, [(12, 24, 24, 8), (32, 8, 3, 3)], names)
