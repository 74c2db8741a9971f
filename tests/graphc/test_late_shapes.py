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
