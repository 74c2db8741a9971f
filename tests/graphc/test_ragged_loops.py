"""Loop variables whose shapes change from step to step: what may change, and their gradients of any order."""

import numpy as np
import pytest

import graphc as gc

X = np.array([0.5, -0.3, 0.8])


def repeat(n, body, start):
    """`body` n times, in a loop or in Python."""
    if isinstance(n, int):
        for i in range(n):
            start = body(i, start)
        return start
    return gc.while_loop(
        lambda i, _: i < n, lambda i, a: (i + 1, body(i, a)), (0, start), None, (None, None)
    )[1]


def switched(i, then, orelse):
    """``then()`` where i is even, else ``orelse()``."""
    if isinstance(i, int):
        return orelse() if i % 2 else then()
    return gc.cond(gc.equal(i % 2, 0), then, orelse)


def mixed(n, x, w, m):
    def body(i, s):
        total = s["all"].sum() if isinstance(i, int) else gc.sum(s["all"])
        row = s["a"] * w
        return {"a": m.sin(s["a"] + total), "all": m.concat([s["all"], row[None]], 0)}

    return repeat(n, body, {"a": x, "all": x[None]})["all"]


def nested(n, x, w, m):
    def body(i, a):
        if isinstance(i, int):
            inner = repeat(i + 1, lambda _, b: m.concat([b[1:], b * w, b[:1]], 0), a)
        else:
            start = (0, a)
            step = lambda j, b: (j + 1, m.concat([b[1:], b * w, b[:1]], 0))
            inner = gc.while_loop(lambda j, _: j <= i, step, start, None, (None, None))[1]
        return m.concat([a, m.sin(inner)], 0)

    return repeat(n, body, x)


PROGRAMS = {
    "grows": lambda n, x, w, m: repeat(n, lambda i, a: m.concat([a * w, m.sin(a)], 0), x),
    "shrinks": lambda n, x, w, m: repeat(n, lambda i, a: a[1:] * a[:-1] * w, x),
    "as data says": lambda n, x, w, m: repeat(n, lambda i, a: m.concat([m.kept(a * w, a > 0), a * a], 0), x),
    "in a branch": lambda n, x, w, m: repeat(
        n, lambda i, a: switched(i, lambda: m.concat([a, a * w], 0), lambda: m.sin(a[1:])), x
    ),
    "beside one that stays": mixed,
    "in a loop in a loop": nested,
}


class InGraph:
    """The functions that programs use, as ops."""

    concat, sin, kept = gc.concat, gc.sin, gc.boolean_mask


class InPython:
    """The same in NumPy."""

    concat, sin = np.concatenate, np.sin

    @staticmethod
    def kept(x, mask):
        return x[mask]


def slope(function, x, step=1e-5):
    """Central differences of a function that gives a number."""
    basis = np.eye(x.size).reshape(x.size, *x.shape) * step
    return np.array([(function(x + d) - function(x - d)) / (2 * step) for d in basis]).reshape(x.shape)


@pytest.mark.parametrize("size", [3, None, "k"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_gradients_of_what_changes_its_shape(each_backend, name, size):
    program = PROGRAMS[name]
    x, w = gc.placeholder("float64", (size,)), gc.placeholder("float64", ())
    n = gc.placeholder("int32", ())
    y = program(n, x, w, InGraph)
    loss = gc.sum(gc.sin(y))
    slopes = gc.gradients(loss, [x, w])
    again = gc.gradients(gc.sum(slopes[0] * slopes[0]) + slopes[1], [x, w], unconnected="zero")
    with gc.Session() as session:
        for steps in (0, 1, 2):
            value, first, second = session.run([y, slopes, again], {x: X, w: 0.7, n: steps})
            np.testing.assert_allclose(value, program(steps, X, 0.7, InPython))

            def at(v, u, steps=steps):
                return np.sin(program(steps, v, u, InPython)).sum()

            def length(v, u):
                towards = slope(lambda q: at(q, u), v, 1e-4)
                return (towards**2).sum() + slope(lambda q: at(v, q), np.array(u), 1e-4)

            np.testing.assert_allclose(first[0], slope(lambda v: at(v, 0.7), X), rtol=1e-6, atol=1e-8)
            np.testing.assert_allclose(
                first[1], slope(lambda u: at(X, u), np.array(0.7)), rtol=1e-6, atol=1e-8
            )
            near = {"rtol": 2e-3, "atol": 1e-4}
            np.testing.assert_allclose(second[0], slope(lambda v: length(v, 0.7), X, 1e-4), **near)
            np.testing.assert_allclose(second[1], slope(lambda u: length(X, u), np.array(0.7), 1e-4), **near)


def test_none_for_a_variable_lets_all_of_its_sizes_change():
    x = gc.placeholder("float32", (None, 2))
    wide, fixed = gc.while_loop(
        lambda a, _: gc.size(a) < 30,
        lambda a, b: (gc.concat([gc.concat([a, a], 0)] * 2, 1), b * 2.0),
        (x, x),
        shape_invariants=(None, None),
    )
    assert fixed.result.sizes == x.result.sizes  # which the body leaves as it is
    with gc.Session() as session:
        for rows in (1, 3):
            found = session.run([wide, fixed], {x: np.ones((rows, 2))})
            assert [v.shape for v in found] == [(4, 8) if rows == 1 else (12, 8), (rows, 2)]


def test_without_invariants_and_for_ranks_nothing_may_change():
    x = gc.zeros((2,))
    with pytest.raises(
        gc.ShapeError, match=r"becomes f32\[4\]; shape_invariants says which sizes may change"
    ):
        gc.while_loop(lambda a: gc.size(a) < 9, lambda a: gc.concat([a, a], 0), [x])
    with pytest.raises(gc.ShapeError, match=r"becomes f32\[1,2\], of another rank"):
        gc.while_loop(lambda a: gc.size(a) < 9, lambda a: a[None], [x], shape_invariants=[None])
    with pytest.raises(gc.ArgumentError, match="are nested as the loop variables, not 'x'"):
        gc.while_loop(lambda a: gc.size(a) < 9, lambda a: a, [x], shape_invariants="x")
