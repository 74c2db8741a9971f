"""Shapes whose sizes only the run knows: -1 among them, sizes that nothing gives, shapes of other tensors."""

import numpy as np
import pytest

import graphc as gc

A = np.arange(6.0)


def run(fetches, feeds=None):
    with gc.Session() as session:
        return session.run(fetches, feeds)


@pytest.fixture
def x():
    return gc.placeholder("float64", ("k",), name="x")


@pytest.fixture
def shape():
    return gc.placeholder("int32", (2,), name="shape")


@pytest.mark.parametrize("given", [[3, -1], [-1, 2], [2, 3], [-1, 6]])
def test_a_shape_is_fed_with_the_rest_left_open(each_backend, x, shape, given):
    y = gc.reshape(x, shape)
    (slope,) = gc.gradients(gc.sum(y * y), [x])
    found, towards_x = run([y, slope], {x: A, shape: given})
    np.testing.assert_array_equal(found, A.reshape(given))
    np.testing.assert_array_equal(towards_x, 2 * A)


def test_the_rest_beside_sizes_of_every_kind(each_backend, x):
    n = gc.placeholder("int64", ())
    shapes = [
        [n, 2],
        [gc.shape(x)[0] // 2, n],
        ["k", n],
        gc.concat([gc.expand_dims(n, 0), [3]], 0),
        gc.Variable([2, -1], name="v"),
    ]
    any_rank = gc.placeholder("float64")
    made = [gc.reshape(x, given) for given in shapes] + [gc.reshape(any_rank, [3, n])]
    with gc.Session() as session:
        session.run(gc.global_variables_initializer())
        found = session.run(made, {x: A, any_rank: A, n: -1})
    assert [y.shape for y in found] == [(3, 2), (3, 2), (6, 1), (2, 3), (2, 3), (3, 2)]


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ([-1, -1], gc.ShapeError, "reshape: sizes differ"),
        ([4, -1], gc.ShapeError, "reshape: sizes differ"),
        ([-2, -3], gc.ShapeError, "a size is not negative: -2"),
        ([0, -1], gc.DivisionError, "divided by zero"),
    ],
)
def test_a_shape_that_does_not_fit_is_refused(each_backend, x, shape, given, error, text):
    with pytest.raises(error, match=text):
        run(gc.reshape(x, shape), {x: A, shape: given})


def test_no_elements(each_backend, x, shape):
    y = gc.reshape(x, shape)
    assert run(y, {x: [], shape: [-1, 3]}).shape == (0, 3)
    assert run(y, {x: [], shape: [0, 5]}).shape == (0, 5)


def test_a_slice_to_the_end_is_fed(each_backend, shape):
    grid = np.arange(20.0).reshape(4, 5)
    x, n = gc.placeholder("float64", (None, None)), gc.placeholder("int64", ())
    y, z = gc.slice(x, [1, 1], shape), gc.slice(x, shape, [n, 2])
    np.testing.assert_array_equal(run(y, {x: grid, shape: [-1, 2]}), grid[1:, 1:3])
    np.testing.assert_array_equal(run(y, {x: grid, shape: [1, -1]}), grid[1:2, 1:])
    np.testing.assert_array_equal(run(z, {x: grid, shape: [2, 3], n: -1}), grid[2:, 3:5])
    with pytest.raises(gc.ShapeError, match="a size is not negative: -2"):
        run(y, {x: grid, shape: [-2, 2]})


def test_full_like_checks_sizes_that_the_run_knows(each_backend):
    x, value = gc.placeholder("float32", (3, None)), gc.placeholder("float32", (None, 3))
    y = gc.full_like(x, value)
    row = np.float32([[1, 2, 3]])
    np.testing.assert_array_equal(run(y, {x: np.zeros((3, 3)), value: row}), np.repeat(row, 3, 0))
    with pytest.raises(gc.ShapeError, match="broadcast_to: sizes differ"):
        run(y, {x: np.zeros((3, 1)), value: row})


@pytest.mark.parametrize(
    "make", [lambda: gc.eye("n"), lambda: gc.one_hot(3, "n"), lambda: gc.zeros(("n", 2)) + 1.0]
)
def test_a_name_that_nothing_gives_is_refused(each_backend, make):
    with pytest.raises(gc.GraphError, match=r"the size n of .*, which nothing that is fed"):
        run(make())


# Shapes that are vectors of a length only the run knows.


@pytest.fixture
def any_length():
    return gc.placeholder("int32", (None,), name="sizes")


@pytest.mark.parametrize("given", [[2, 3], [-1], [3, 1, -1], [6]])
def test_a_shape_of_any_length_reshapes(each_backend, x, any_length, given):
    y = gc.reshape(x, any_length)
    assert y.shape is None
    slope = gc.gradients(gc.sum(y * y), [x])[0]
    found, towards_x = run([y + 1.0, slope], {x: A, any_length: given})
    np.testing.assert_array_equal(found, A.reshape(given) + 1, strict=True)
    np.testing.assert_array_equal(towards_x, 2 * A, strict=True)


@pytest.mark.parametrize("given", [[2, 6], [6], [3, 1, -1]])
def test_a_shape_of_any_length_is_broadcast_to(each_backend, x, any_length, given):
    wide, full = gc.broadcast_to(x, any_length, name="wide"), gc.full(any_length, 2.0)
    assert wide.name == "wide"
    slope = gc.gradients(gc.sum(wide * wide), [x])[0]
    found, towards_x = run([wide, slope], {x: A, any_length: given})
    times = found.size // 6
    np.testing.assert_array_equal(found, np.broadcast_to(A, (*given[:-1], 6)), strict=True)
    np.testing.assert_array_equal(towards_x, 2 * A * times, strict=True)
    filled = run(full, {any_length: [2, 3]})
    np.testing.assert_array_equal(filled, np.full((2, 3), 2.0, np.float32), strict=True)


def test_a_shape_of_no_sizes_makes_a_number(each_backend, x, any_length):
    found = run([gc.reshape(x, any_length), gc.ones(any_length)], {x: [5.0], any_length: []})
    assert [value.shape for value in found] == [(), ()]


def test_the_shape_of_a_tensor_of_unknown_rank_is_a_shape(each_backend, x):
    like = gc.placeholder("float32")
    found = run(gc.reshape(x, gc.shape(like)), {x: A, like: np.zeros((3, 2))})
    np.testing.assert_array_equal(found, A.reshape(3, 2), strict=True)


@pytest.mark.parametrize(
    ("call", "given", "text"),
    [
        (gc.reshape, [2, 2], r"the shape \[6\] does not have the elements of \[2, 2\]"),
        (gc.reshape, [-2, -3], r"does not have the elements of \[-2, -3\]"),
        (gc.broadcast_to, [2, 2], r"the shape \[6\] does not broadcast to \[2, 2\]"),
        (gc.broadcast_to, [-1, 6], r"the shape \[6\] does not broadcast to \[-1, 6\]"),
    ],
)
def test_a_shape_of_any_length_that_does_not_fit_is_named(each_backend, x, any_length, call, given, text):
    with pytest.raises(gc.ShapeError, match=text):
        run(call(x, any_length), {x: A, any_length: given})


# How many of the largest.


@pytest.mark.parametrize("k", [0, 1, 3, 5])
@pytest.mark.parametrize("dtype", ["float64", "int32"])
def test_as_many_of_the_largest_as_a_tensor_says(each_backend, k, dtype):
    values = np.array([[3, 1, 2, 3, 0], [5, 5, 5, 7, 8]], dtype)
    if dtype == "float64":
        values[0, 2], values[0, 4] = np.nan, np.inf
    count = gc.placeholder("int64", ())
    data = gc.constant(values)
    found, expected = run([gc.top_k(data, count, name="best"), gc.top_k(data, k)], {count: k})
    for late, early in zip(found, expected, strict=True):
        np.testing.assert_array_equal(late, early, strict=True)


def test_the_slope_of_as_many_of_the_largest_as_a_tensor_says(each_backend):
    x, count = gc.placeholder("float64", (None,)), gc.placeholder("int32", ())
    slope = gc.gradients(gc.sum(gc.top_k(x, count)[0] ** 2), [x])[0]
    np.testing.assert_array_equal(run(slope, {x: [1.0, 3.0, 2.0], count: 2}), [0.0, 6.0, 4.0])


def test_more_of_the_largest_than_there_are_is_an_error(each_backend):
    count = gc.placeholder("int32", ())
    with pytest.raises(gc.GraphError):
        run(gc.top_k(gc.constant([1.0, 2.0]), count)[0], {count: 3})
