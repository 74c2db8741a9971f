"""Ranks that only the run knows: those of what a step in Python gives that declares a dtype alone."""

import numpy as np
import pytest

import graphc as gc

X = np.array([1.0, -2.0, 3.0])
pytestmark = pytest.mark.usefixtures("each_backend")


def run(fetches, feeds):
    with gc.Session() as session:
        return session.run(fetches, feeds)


def cube_in_python(type):
    """``x**3`` as a step in Python whose result is declared as `type`, with its gradient."""

    @gc.custom_gradient
    def cube(x):
        return gc.py_func(lambda a: a**3, [x], type), lambda dy: dy * 3 * x * x

    return cube


@pytest.mark.parametrize(
    "follow",
    [
        gc.sum,
        gc.mean,
        gc.min,
        gc.var,
        gc.nn.softmax,
        lambda y: gc.sum(y, axis=-1, keepdims=True),
        lambda y: gc.reshape(y, (-1,)) + gc.reshape(y, (1, -1)),
        lambda y: gc.cond(gc.sum(y) > 0.0, lambda: y * 2.0, lambda: y),
        lambda y: gc.expand_dims(y[-1], (0, 1)),
    ],
)
def test_values_of_a_rank_that_only_the_run_knows(follow):
    x = gc.placeholder("float64", (3,), name="x")
    results = [follow(gc.py_func(np.square, [x], type)) for type in ("float64", ("float64", (3,)))]
    np.testing.assert_allclose(*run(results, {x: X}), rtol=1e-14, strict=True)


@pytest.mark.parametrize(
    "follow",
    [
        gc.sum,
        gc.mean,
        gc.max,
        gc.logsumexp,
        lambda y: gc.sum(gc.tanh(y / 30.0) * 2.0 - 1.0),
        lambda y: gc.sum(gc.mean(y * y + 1.0, keepdims=True)),
        lambda y: gc.cond(gc.sum(y) > 0.0, lambda: gc.sum(y) * 2.0, lambda: gc.sum(y)),
        lambda y: gc.ensure_shape(y, (3,)) * X,
    ],
)
def test_slopes_through_a_rank_that_only_the_run_knows(follow):
    x = gc.placeholder("float64", (3,), name="x")
    found = []
    for type in ("float64", ("float64", (3,))):
        y = follow(cube_in_python(type)(x))
        found.append(run([y, *gc.gradients(y, [x])], {x: X}))
    for unknown, known in zip(*found, strict=True):
        np.testing.assert_allclose(unknown, known, rtol=1e-14, strict=True)


@pytest.mark.parametrize("follow", [gc.prod, gc.var, lambda y: gc.sum(y, -1), lambda y: y * X])
def test_a_slope_that_needs_a_rank_which_only_the_run_knows_says_so(follow):
    x = gc.placeholder("float64", (3,), name="x")
    y = follow(cube_in_python("float64")(x))
    with pytest.raises(gc.ShapeError, match=r"(?s)needs the rank of .*ensure_shape.*test_unknown_ranks.py:"):
        run(gc.gradients(y, [x])[0], {x: X})


@pytest.mark.parametrize(
    "take",
    [
        lambda x: x[..., 0],
        lambda x: x[..., [1, 0, -1]],
        lambda x: x[1, ...],
        lambda x: x[None],
        lambda x: x[..., None],
        lambda x: x[...],
        lambda x: x[..., 0, 1],
    ],
)
def test_an_index_of_a_fed_rank(take):
    x = gc.placeholder("float64", None, name="x")
    for fed in (np.arange(6.0).reshape(2, 3), np.arange(8.0).reshape(2, 2, 2)):
        np.testing.assert_array_equal(run(take(x), {x: fed}), take(fed), strict=True)
    for refused in (lambda: x[[0], [1]], lambda: x[..., gc.constant([True, False])]):
        with pytest.raises(gc.ShapeError, match="ensure_shape"):
            refused()


@pytest.mark.parametrize(
    "take",
    [
        lambda y: y[1:],
        lambda y: y[:, None],
        lambda y: y[0, 1],
        lambda y: y[:, :, 1],
        lambda y: y[::-1, 1:-1],
        lambda y: y[..., 1:, 0],
        lambda y: y[1:, ..., None, ::2],
        lambda y: y[None, -1, ..., -1:],
        lambda y: y[5:],
        lambda y: gc.flip(y, 1) * gc.flip(y, (0, -1)),
        lambda y: gc.matrix_transpose(y),
        lambda y: gc.pad(y, [(1, 0), (0, 2), (1, 1)], "reflect"),
        lambda y: gc.slice(y, (0, 1, 1), (-1, 2, 2)),
    ],
)
def test_what_is_taken_of_a_rank_that_is_fed(take):
    fed = np.arange(24.0).reshape(2, 3, 4)
    found = []
    for shape in (None, fed.shape):
        x = gc.placeholder("float64", shape)
        y = take(x)
        found.append(run([y, *gc.gradients(gc.sum(gc.sin(y)), [x])], {x: fed}))
    for unknown, known in zip(*found, strict=True):
        np.testing.assert_allclose(unknown, known, rtol=1e-14, strict=True)


def test_a_key_that_needs_the_rank_and_one_of_too_many_axes():
    x = gc.placeholder("float64")
    with pytest.raises(gc.ShapeError, match="ensure_shape"):
        x[[0, 1], [1, 0]]
    with pytest.raises(gc.ShapeError, match="axis 0 is out of range"):
        run(x[0, 0], {x: X})
