"""Sizes of 0 and below: sums of nothing are 0, what gives nothing runs, too long windows are refused."""

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


@pytest.mark.parametrize("dtype", ["float32", "int32"])
@pytest.mark.parametrize("axis", [None, 0, 1, [0, 1], [0, 2], 2])
def test_of_no_elements_there_is_no_largest(axis, dtype, each_backend):
    """Along rows, columns and whole arrays, whichever kernel that is; nor where there is nothing to give."""
    x = gc.placeholder(dtype, (None, None, 3))
    for reduce, shape in ((gc.max, (0, 4, 3)), (gc.min, (4, 0, 3)), (gc.max, (0, 0, 3))):
        chosen = shape if axis is None else np.take(shape, axis)
        with gc.Session() as session:
            for fetch in (reduce(x, axis=axis), reduce(x * 2, axis=axis) * 2):
                if 0 in np.atleast_1d(chosen):
                    with pytest.raises(gc.ShapeError, match="none to choose"):
                        session.run(fetch, {x: np.zeros(shape, dtype)})
                else:
                    assert session.run(fetch, {x: np.zeros(shape, dtype)}).size == 0


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("activation", [gc.nn.softmax, gc.nn.log_softmax])
def test_softmax_over_an_empty_axis_is_empty(activation, known, each_backend):
    for shape in ((3, 0), (0, 3), (2, 0, 3)):
        x = gc.placeholder("float32", shape if known else (None,) * len(shape))
        for axis in range(len(shape)):
            y = activation(x, axis=axis)
            slope = gc.gradients(gc.sum(y * y), x)
            with gc.Session() as session:
                for found in session.run([y, *slope], {x: np.zeros(shape, np.float32)}):
                    assert found.shape == shape


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("causal", [True, False])
def test_attention_without_keys_or_depth(known, causal, each_backend):
    """Who sees no key gets zeros; keys of no depth match all alike."""
    for queries, keys, depth in ((2, 0, 4), (0, 2, 4), (3, 3, 0)):
        arrays = [np.ones((2, *shape)) for shape in ((queries, depth), (keys, depth), (keys, 3))]
        fed = [gc.placeholder("float64", a.shape if known else (None,) * 3) for a in arrays]
        y = gc.nn.dot_product_attention(*fed, causal=causal)
        with gc.Session() as session:
            found, *slopes = session.run(
                [y, *gc.gradients(gc.sum(y), fed)], dict(zip(fed, arrays, strict=True))
            )
        np.testing.assert_allclose(found, np.full((2, queries, 3), float(keys > 0)), rtol=1e-12)
        assert all(np.isfinite(slope).all() for slope in slopes)


@pytest.mark.parametrize("dtype", ["float32", "int32"])
@pytest.mark.parametrize("shape", [(0, 4, 3), (4, 0, 3), (0, 0, 3), (2, 4, 3)])
def test_a_number_may_be_given_for_the_largest_of_no_elements(dtype, shape, each_backend):
    x, given = gc.placeholder(dtype, (None, None, 3)), np.ones(shape, dtype)
    for axis in (None, 0, 1, (0, 1), 2):
        y = gc.max(x * 2, axis=axis, empty=np.int32(-5)), gc.min(x, axis=axis, keepdims=True, empty=7)
        with gc.Session() as session:
            largest, smallest = session.run(y, {x: given})
        np.testing.assert_array_equal(largest, np.max(given * 2, axis, initial=-5))
        np.testing.assert_array_equal(smallest, np.min(given, axis, keepdims=True, initial=7))


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("fetch", ["images", "slope", "largest"])
def test_windows_longer_than_what_is_fed_are_refused(layout, fetch, each_backend):
    x, w = gc.placeholder("float32", (None,) * 4), gc.placeholder("float32", (None, None, 2, 3))
    y = gc.nn.conv2d(x, w, padding="VALID", data_format=layout)
    fetches = {
        "images": y,
        "slope": gc.gradients(gc.sum(y * y), [w])[0],
        "largest": gc.nn.max_pool(x, (3, 2), strides=1, padding="VALID", data_format=layout),
    }
    images = np.ones((2, 9, 1, 2) if layout == "NHWC" else (2, 2, 9, 1), np.float32)
    with gc.Session(backend=each_backend) as session, pytest.raises(gc.ShapeError):
        session.run(fetches[fetch], {x: images, w: np.ones((3, 2, 2, 3), np.float32)})


@pytest.mark.parametrize("convolve", [gc.nn.conv2d, gc.nn.depthwise_conv2d])
def test_filters_without_cells_are_refused_as_they_are_at_definition(convolve, each_backend):
    x, w = gc.placeholder("float32", (None,) * 4), gc.placeholder("float32", (None,) * 4)
    y = convolve(x, w, padding="VALID")
    with gc.Session() as session:
        for shape in ((0, 2, 3, 2), (2, 0, 3, 2)):
            with pytest.raises(gc.ShapeError, match="at least one cell along each axis, not"):
                session.run(y, {x: np.ones((1, 4, 4, 3)), w: np.ones(shape)})


def test_gather_along_an_axis_before_an_empty_one(each_backend):
    x, indices = gc.placeholder("float32", (2, 3, 0)), gc.placeholder("int64", (4,))
    with gc.Session() as session:
        found = session.run(gc.gather(x, indices, axis=1), {x: np.zeros((2, 3, 0)), indices: [0, 1, 2, 0]})
    assert found.shape == (2, 4, 0)


@pytest.mark.parametrize("known", [True, False])
def test_gather_without_rows_looks_at_its_indices(known, each_backend):
    given = np.zeros((0, 3, 2), np.float32)
    x, indices = (
        gc.placeholder("float32", given.shape if known else (None,) * 3),
        gc.placeholder("int64", (None,)),
    )
    y = gc.gather(x, indices, axis=1)
    with gc.Session() as session:
        assert session.run(y, {x: given, indices: np.arange(-3, 3)}).shape == (0, 6, 2)
        assert session.run(gc.shape(y), {x: given, indices: []}).tolist() == [0, 0, 2]
        for wrong in ([3], [0, -4], [*np.zeros(10_000, int), 7]):
            with pytest.raises(gc.IndexOutOfRangeError, match=f"index {wrong[-1]} is out of range"):
                session.run(y, {x: given, indices: wrong})
