"""Sizes of 0: a contraction over nothing is 0, one that gives nothing runs, on both backends."""

from itertools import combinations

import numpy as np
import pytest

import graphc as gc

EQUATIONS = ("nohw,nhwijc->ijco", "nhwo,whn->o", "abcd,dcba->", "abc,cbad->ad", "bhqd,bhkd->bhqk")


def run_in_used_memory(backend, fetches, feeds, shape):
    """`fetches`, where what NumPy allocates of `shape` is no zeros."""
    used = [np.full(shape, 7.0) for _ in range(10)]
    with gc.Session(backend=backend) as session:
        step = session.make_callable(fetches, list(feeds))
        del used
        return step(*feeds.values())


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("equation", EQUATIONS)
def test_einsum_where_axes_are_empty(equation, known):
    terms = equation.split("->")[0].split(",")
    letters = sorted(set("".join(terms)))
    for empty in [*letters, *combinations(letters, 2)]:
        arrays = [np.ones([0 if letter in empty else 3 for letter in term]) for term in terms]
        expected = np.einsum(equation, *arrays)
        with gc.Graph().as_default():
            xs = [gc.placeholder("float64", a.shape if known else (None,) * a.ndim) for a in arrays]
            y = gc.einsum(equation, *xs)
            for backend in gc.backends():
                found = run_in_used_memory(backend, y, dict(zip(xs, arrays, strict=True)), expected.shape)
                np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_filters_have_no_slope_from_an_empty_batch(layout, each_backend):
    x, filters = gc.placeholder("float64", (None,) * 4), np.ones((3, 3, 2, 4))
    w = gc.placeholder("float64", filters.shape)
    y = gc.nn.conv2d(x, w, data_format=layout)
    (slope,) = gc.gradients(gc.sum(y * y), [w])
    images = np.zeros((0, 5, 5, 2) if layout == "NHWC" else (0, 2, 5, 5))
    found = run_in_used_memory(each_backend, slope, {x: images, w: filters}, filters.shape)
    np.testing.assert_array_equal(found, np.zeros_like(filters))
