"""Sizes that a step of a loop binds: slopes of what they bound, which the step backwards binds again."""

import numpy as np
import pytest

import graphc as gc

pytestmark = pytest.mark.usefixtures("each_backend")
X = np.array([[0.1, -0.6, 0.9, 0.4], [0.7, 0.2, -0.3, 0.8], [-0.5, 0.3, 0.6, -0.2]])

STEPS = {
    "slice": lambda row, i: gc.sum(gc.sin(row[: i + 1])),
    "slice alone": lambda row, i: gc.sum(row[i:]),
    "reshape": lambda row, i: gc.sum(gc.square(gc.reshape(row[: 2 * i], [i, 2])[:, 0])),
    "segments": lambda row, i: gc.sum(gc.square(gc.segment_sum(row, [0, 1, 1, -1], num_segments=i + 2))),
    "zeros": lambda row, i: gc.sum(gc.exp(gc.concat([row, gc.zeros([i], dtype="float64")], 0))),
    "mask": lambda row, i: gc.sum(gc.square(row[row > 0.0])),
}


def unrolled(step, x):
    return sum(step(x[i], gc.constant(i)) for i in range(len(X)))


def looped(step, x):
    def body(i, total):
        return i + 1, total + step(x[i], i)

    return gc.while_loop(lambda i, _: i < len(X), body, (0, gc.constant(0.0, dtype="float64")))[1]


def scanned(step, x):
    zero = gc.constant(0.0, dtype="float64")
    return gc.scan(lambda total, xi: (total + step(*xi), None), zero, (x, np.arange(3)))[0]


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("loop", [looped, scanned])
def test_slopes_of_what_a_step_sizes(loop, name):
    x = gc.placeholder("float64", (None, 4), name="x")
    found = []
    for form in (loop, unrolled):
        y = form(STEPS[name], x)
        (slope,) = gc.gradients(y, [x])
        (curve,) = gc.gradients(gc.sum(gc.sin(slope)), [x], unconnected="zero")
        with gc.Session() as session:
            found.append(session.run([y, slope, curve], {x: X}))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


def test_slopes_through_a_branch_whose_sizes_differ_in_a_step():
    """The branches give one element and as many as are fed; backwards the choice is made again."""
    found = []
    for size in (None, 1):
        x, v = gc.placeholder("float64", (None, size), name="x"), gc.Variable(np.array([0.7]))

        def step(h, e, v=v):
            return gc.cond(gc.sum(e) > 0.0, lambda: h * v, lambda: gc.tanh(h) - e) + 0.1, None

        y = gc.scan(step, gc.constant(np.array([1.5])), x)[0]
        slopes = gc.gradients(gc.sum(gc.sin(y)), [x, v])
        curves = gc.gradients(gc.sum(slopes[0] * slopes[0]) + gc.sum(slopes[1]), [x, v], unconnected="zero")
        with gc.Session() as session:
            session.run(gc.global_variables_initializer())
            found.append(session.run([y, *slopes, *curves], {x: X[:, :1]}))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def test_a_body_binds_the_size_that_its_loop_binds(each_backend):
    """What meets that size inside is compared once the body knows it."""
    t, b, p, q = (gc.placeholder("float64", (None,)) for _ in range(4))
    likened = gc.map_fn(lambda each: gc.erf(gc.broadcast_to(b, gc.shape(p >= q))) * each, t)
    with gc.Session() as session:
        found = session.run(likened, {t: [1.0, 2.0], b: [0.0] * 3, p: [1.0] * 3, q: [2.0] * 3})
        np.testing.assert_array_equal(found, np.zeros((2, 3)))
        with pytest.raises(gc.ShapeError, match="sizes differ"):
            session.run(likened, {t: [1.0, 2.0], b: [0.0] * 2, p: [1.0] * 3, q: [2.0] * 3})


STACKED = {
    "less one": lambda kept: kept[:-1],
    "twice": lambda kept: gc.concat([kept, kept], 0),
    "padded": lambda kept: gc.pad(kept, [[1, 2]]),
    "outer": lambda kept: kept[1:, None] * kept[None, 1:],
}


@pytest.mark.parametrize("shape", [(3, 4), (None, None), None])
@pytest.mark.parametrize("name", STACKED)
def test_what_is_stacked_may_have_sizes_computed_of_those_of_a_step(name, shape):
    """The stack binds them anew, so that what it meets may be computed of them."""
    if name == "padded" and shape is None:
        pytest.skip("padding wants a rank")
    x, given = gc.placeholder("float64", shape), np.abs(X)[:, [0, 1, 3, 2]]

    def step(row):
        return STACKED[name](gc.boolean_mask(row, row > np.array([0.0, 0.0, 9.0, 0.0])))

    mapped = gc.map_fn(step, x)
    total, scanned = gc.scan(
        lambda t, row: (t + gc.sum(step(row)), step(row)), gc.constant(0.0, dtype="float64"), x
    )
    unrolled = gc.stack([step(gc.constant(row)) for row in given])
    flat = gc.reshape(mapped * mapped, [-1]) if shape else gc.square(mapped)
    (slope,) = gc.gradients(gc.sum(flat), x)
    (curve,) = gc.gradients(gc.sum(slope * slope * slope), x)
    with gc.Session() as session:
        found = session.run([mapped, scanned, unrolled, total, slope, curve], {x: given})
        one, two, expected, total, slope, curve = found
        np.testing.assert_array_equal(one, expected)
        np.testing.assert_array_equal(two, expected)
        np.testing.assert_allclose(total, expected.sum())
        eps = 1e-6
        for i, j in ((0, 0), (1, 3), (2, 1)):
            moved = [
                given + eps * sign * np.eye(3, 4, j - i)[:, :] * (np.arange(3) == i)[:, None]
                for sign in (1, -1)
            ]
            ends = [np.square(session.run(mapped, {x: m})).sum() for m in moved]
            np.testing.assert_allclose(slope[i, j], (ends[0] - ends[1]) / (2 * eps), rtol=1e-6, atol=1e-8)
        assert curve.shape == (3, 4)
        if shape != (3, 4):
            assert session.run(mapped, {x: given[:0]}).shape == (0,) * one.ndim


def test_steps_of_different_sizes_do_not_stack():
    x = gc.placeholder("float64", (None, 4))
    y = gc.map_fn(lambda row: gc.boolean_mask(row, row > 0.0)[:-1], x)
    with (
        gc.Session() as session,
        pytest.raises(gc.ShapeError, match=r"shapes, \[2\] and \[1\], which do not stack"),
    ):
        session.run(y, {x: X[1:]})
