"""Forward products, Hessians, gradients of the user's own, steps in Python: against what is known."""

import numpy as np
import pytest

import graphc as gc

A = np.array([[2.0, 1.0, 0.5], [1.0, 3.0, -1.0], [0.5, -1.0, 4.0]])
X = np.array([0.3, -0.7, 1.1])
V = np.array([1.0, -2.0, 0.5])


def run(fetches, feeds=None):
    with gc.Session(backend="numpy") as session:
        session.run(gc.global_variables_initializer())
        return session.run(fetches, feeds)


def point(shape=(3,), name="x"):
    return gc.placeholder("float64", shape, name=name)


# jvp


def test_jvp_of_a_matrix_product():
    x, m = point(), point((3, 3), "m")
    y = gc.matmul(m, gc.expand_dims(x, 1))[:, 0]
    moved, still = gc.jvp([y, gc.exp(m)], [x, m], [V, None])
    found, zeros = run([moved, still], {x: X, m: A})
    np.testing.assert_allclose(found, A @ V)
    assert zeros.tolist() == np.zeros((3, 3)).tolist()
    both = gc.jvp(y, [x, m], [V, np.ones((3, 3))])
    np.testing.assert_allclose(run(both, {x: X, m: A}), A @ V + np.ones((3, 3)) @ X)


def test_jvp_is_the_slope_along_the_direction():
    def fn(x):
        rows = gc.sort(x * x) * gc.logsumexp(x) + gc.maximum(x, 0.2) ** 3
        return gc.where(rows > 0.5, gc.sqrt(gc.abs(rows)), gc.sin(rows)) + gc.cumsum(x, 0) / (
            1 + gc.nn.softmax(x)
        )

    x = point()
    moved = gc.jvp(fn(x), x, V)
    step = 1e-6
    measured = (run(fn(x), {x: X + step * V}) - run(fn(x), {x: X - step * V})) / (2 * step)
    np.testing.assert_allclose(run(moved, {x: X}), measured, rtol=1e-7)


def test_jvp_through_loops_and_branches():
    x = point()

    def step(c, z):
        c = gc.while_loop(lambda c: gc.sum(c * c) < 9, lambda c: c * 2.0 + gc.sin(c * z), c + z)
        return gc.cond(gc.sum(c) > 0, lambda: c * 0.3, lambda: -c), gc.sum(c)

    carry, ys = gc.scan(step, x, x)
    moved = gc.jvp([carry, ys], [x], [V])
    (slope,) = gc.gradients(moved[0], [x])
    h = 1e-6
    up, down = run([carry, ys], {x: X + h * V}), run([carry, ys], {x: X - h * V})
    for found, a, b in zip(run(moved, {x: X}), up, down, strict=True):
        np.testing.assert_allclose(found, (a - b) / (2 * h), rtol=1e-6)
    ones = np.ones(3)
    up, down = run(moved[0], {x: X + h * ones}), run(moved[0], {x: X - h * ones})
    np.testing.assert_allclose(np.sum(run(slope, {x: X})), np.sum(up - down) / (2 * h), rtol=1e-5)


def test_jvp_at_a_corner_where_zero_meets_infinity():
    x = point()
    moved = gc.jvp(gc.where(x > 0, gc.sqrt(x), 0.0), x, V)
    np.testing.assert_allclose(run(moved, {x: [4.0, 0.0, 1.0]}), [0.25, 0, 0.25])


def test_jvp_of_what_is_not_connected_is_zero():
    x = point()
    v = gc.Variable(np.float64(3.0), name="v")
    assert run(gc.jvp([x * 0 + v, gc.stop_gradient(x)], [x], [V]), {x: X})[1].tolist() == [0, 0, 0]
    assert run(gc.jvp(v * v, v, np.float64(2.0))) == 12


def test_jvp_refuses_what_does_not_fit():
    x = point()
    with pytest.raises(gc.ArgumentError, match="1 xs and 2"):
        gc.jvp(x, [x], [V, V])
    with pytest.raises(gc.ShapeError, match=r"f64\[2\]"):
        gc.jvp(x, x, [1.0, 2.0])
    with pytest.raises(gc.DTypeError):
        gc.jvp(x, x, gc.constant(V.astype(np.float32)))
    with pytest.raises(gc.DTypeError, match="float"):
        gc.jvp(gc.cast(x, "int32"), x, V)


# Hessians


def quadratic(x):
    return 0.5 * gc.sum(x * gc.matmul(A, gc.expand_dims(x, 1))[:, 0])


@pytest.mark.parametrize("shape", [(3,), (None,), ("n",)])
def test_hessian_of_a_quadratic_is_its_matrix(shape):
    x = point(shape)
    found = gc.hessian(quadratic(x), x)
    np.testing.assert_allclose(run(found, {x: X}), A, atol=1e-14)


def test_hessian_of_a_matrix_argument_and_of_several():
    m, x = point((2, None), "m"), point()
    y = gc.sum(gc.sin(m)) * gc.sum(x**3) + gc.sum(m[0] * m[1])
    by_m, by_x = gc.hessian(y, [m, x])
    values = np.array([[0.1, 0.4], [-0.2, 0.9]])
    found_m, found_x = run([by_m, by_x], {m: values, x: X})
    assert found_m.shape == (2, 2, 2, 2)
    expected = np.diag(-np.sin(values).ravel() * np.sum(X**3)) + np.kron([[0, 1], [1, 0]], np.eye(2))
    np.testing.assert_allclose(found_m.reshape(4, 4), expected, atol=1e-12)
    np.testing.assert_allclose(found_x, np.diag(6 * X * np.sin(values).sum()), atol=1e-12)


def test_hessian_through_a_scan():
    x = point()
    y = gc.scan(lambda c, z: (gc.tanh(c * z) + c * x[0], None), x[1], x)[0]
    (found,) = gc.hessian(y, [x])
    (slope,) = gc.gradients(y, [x])
    h = 1e-5
    columns = [
        (run(slope, {x: X + h * unit}) - run(slope, {x: X - h * unit})) / (2 * h) for unit in np.eye(3)
    ]
    np.testing.assert_allclose(run(found, {x: X}), np.stack(columns, 1), rtol=1e-6, atol=1e-8)


def test_hessian_of_what_is_linear_or_scalar():
    x, s = point(), point((), "s")
    assert run(gc.hessian(gc.sum(x), x), {x: X}).tolist() == np.zeros((3, 3)).tolist()
    assert run(gc.hessian(s**3, s), {s: 2.0}) == 12
    v = gc.Variable(np.float64(2.0), name="v")
    assert run(gc.hessian(v**3, v)) == 12


def test_hessian_vector_product():
    x = point()
    y = quadratic(x) + gc.sum(x**4)
    found = run(gc.hessian_vector_product(y, [x], [V])[0], {x: X})
    np.testing.assert_allclose(found, A @ V + 12 * X**2 * V)
    np.testing.assert_allclose(run(gc.hessian_vector_product(y, x, V), {x: X}), found)


def test_hessian_wants_a_scalar():
    x = point()
    with pytest.raises(gc.ShapeError, match="scalar"):
        gc.hessian(x, x)
    with pytest.raises(gc.ShapeError, match="scalar"):
        gc.hessian_vector_product(x, x, V)


# custom_gradient


@gc.custom_gradient
def log1pexp(x):
    e = gc.exp(x)
    return gc.log(1 + e), lambda dy: dy * (1 - 1 / (1 + e))


def test_custom_gradient_of_any_order():
    x = point(())
    y = log1pexp(x)
    values = [y]
    for _ in range(3):
        values += gc.gradients(values[-1], [x])
    s = 1 / (1 + np.exp(-0.7))
    expected = [np.log1p(np.exp(0.7)), s, s * (1 - s), s * (1 - s) * (1 - 2 * s)]
    np.testing.assert_allclose(run(values, {x: 0.7}), expected, rtol=1e-12)
    assert run(gc.gradients(y, [x])[0], {x: 100.0}) == 1  # the plain gradient is exp(100) / exp(100)


def test_custom_gradient_is_the_one_that_is_used():
    @gc.custom_gradient
    def reversal(x):
        return x, lambda dy: -dy

    x = point()
    y = reversal(x)
    assert run(gc.gradients(gc.sum(y * y), [x])[0], {x: X}).tolist() == (-2 * X).tolist()
    assert run(gc.gradients(gc.sum(y), [x])[0], {x: X, y: V}).tolist() == [-1, -1, -1]


def test_custom_gradient_with_several_values_and_none():
    w = gc.Variable(np.float64(5.0), name="w")

    @gc.custom_gradient
    def both(a, b, scale=1):
        def grad_fn(da, db):
            return da * scale * w, None

        return {"sum": (a + b) * w, "pair": [a * b]}, grad_fn

    a, b = point((), "a"), point((), "b")
    out = both(a, b, scale=10)
    slopes = gc.gradients([out["sum"], out["pair"][0]], [a, b, w])
    assert slopes[1] is None
    assert slopes[2] is None
    assert run([out["sum"], out["pair"][0], slopes[0]], {a: 2.0, b: 3.0}) == [25, 6, 50]


def test_custom_gradient_in_a_loop_while_a_variable_is_trained():
    w = gc.Variable(np.float64(2.0), name="w")

    @gc.custom_gradient
    def scaled(x):
        return x * w, lambda dy: dy * w * 10

    x = point(())
    y = gc.scan(lambda c, z: (scaled(c) + z, None), x, gc.zeros(3, "float64"))[0]
    (slope,) = gc.gradients(y, [x])
    train = w.assign(w + gc.stop_gradient(y) * 0)
    with gc.Session(backend="numpy") as session:
        session.run(gc.global_variables_initializer())
        found, value, _ = session.run([slope, y, train], {x: 1.0})
    assert (found, value) == (20.0**3, 8)


def test_custom_gradient_round_trips_as_text():
    x = point()
    y = gc.sum(log1pexp(x))
    text = gc.show([y, gc.gradients(y, [x])[0]])
    assert "override_gradient" in text
    again = gc.parse(text)
    assert gc.show(again) == text
    gc.verify(again.function)
    with gc.Session(graph=again, backend="numpy") as session:
        value, slope = session.run(list(again.function.outputs), {"x": X})
    np.testing.assert_allclose(value, np.log1p(np.exp(X)).sum())
    np.testing.assert_allclose(slope, 1 / (1 + np.exp(-X)))
    assert "override_gradient" not in gc.show(gc.optimize(y))


def test_custom_gradient_refuses_what_does_not_fit():
    x = point()
    for grad_fn, error in [
        (lambda dy: (dy, dy), gc.ArgumentError),
        (lambda dy: gc.sum(dy, axis=0, keepdims=True), gc.ShapeError),
        (lambda dy: gc.cast(dy, "float32"), gc.DTypeError),
    ]:
        with pytest.raises(error, match=f"defined at test_derivatives.py:{grad_fn.__code__.co_firstlineno}"):
            gc.custom_gradient(lambda x, grad_fn=grad_fn: (x * 2, grad_fn))(x)
    with pytest.raises(gc.ArgumentError, match="grad_fn"):
        gc.custom_gradient(lambda x: x)(x)


def test_check_gradient_finds_what_is_wrong():
    assert gc.check_gradient(log1pexp, X, order=2) < 1e-6

    @gc.custom_gradient
    def wrong(x):
        return x * x, lambda dy: dy * gc.where(x > 0, x, 2 * x)

    with pytest.raises(gc.CheckError, match=r"at \[0\] of argument 0 the gradient is"):
        gc.check_gradient(wrong, X)
    assert gc.check_gradient(lambda x, i: gc.gather(x, i) ** 2, X, [0, 2]) < 1e-6


# py_func


def test_py_func_runs_python():
    x = gc.placeholder("float32", (None,), name="x")
    y = gc.py_func(np.sort, [x], ("float32", (None,)))
    total, count = gc.py_func(lambda a: (a.sum(), np.int64(a.size)), [x], [("float32", ()), ("int64", ())])
    free = gc.py_func(lambda a: a[:1], x, "float32")
    assert free.shape is None
    found = run([y * 2, total + 1, count, free], {x: [3, 1, 2]})
    assert found[0].tolist() == [2, 4, 6]
    assert found[1:3] == [7, 3]
    assert found[3].tolist() == [3]


def test_py_func_gets_copies_and_gives_its_own():
    kept = []

    def spoil(a):
        a[:] = 0
        kept.append(a)
        return a

    x = gc.constant([1.0, 2.0])
    y = gc.py_func(spoil, [x], x)
    with gc.Session(backend="numpy") as session:
        first = session.run([x, y])
        kept[0][:] = 9
    assert first[0].tolist() == [1, 2]
    assert first[1].tolist() == [0, 0]


def test_py_func_with_a_gradient():
    @gc.custom_gradient
    def cube(x):
        return gc.py_func(lambda a: a**3, [x], x), lambda dy: dy * 3 * x * x

    x = point()
    y = cube(x)
    (slope,) = gc.gradients(y, [x])
    np.testing.assert_allclose(run([y, slope], {x: X}), [X**3, 3 * X**2])
    assert gc.gradients(gc.py_func(np.sin, [x], x), [x]) == [None]


NESTS = {
    "alone": lambda f, x: f(x),
    "mapped": lambda f, x: gc.map_fn(lambda row: f(row) * row, x),
    "scanned": lambda f, x: gc.scan(lambda c, row: (f(c) + row, None), np.float64(0.2), x)[0],
    "in a loop": lambda f, x: gc.while_loop(lambda i, a: i < 3, lambda i, a: (i + 1, f(a)), (0, x))[1],
    "in a branch": lambda f, x: gc.cond(gc.sum(x) > 0, lambda: f(x), lambda: x),
}


@pytest.mark.parametrize("backend", gc.backends())
@pytest.mark.parametrize(("nest", "steps"), list(zip(NESTS, (1, 3, 3, 3, 1), strict=True)))
def test_a_gradient_is_made_of_steps_in_python(nest, steps, backend):
    calls = []

    def slope(a):
        calls.append(a)
        return np.cos(a)

    @gc.custom_gradient
    def sine(x):
        return gc.py_func(np.sin, [x], x), lambda dy: dy * gc.py_func(slope, [x], x)

    x, at = point((None,)), np.array([0.3, 0.7, 1.1])
    y = gc.sum(NESTS[nest](sine, x))
    with gc.Session(backend=backend, threads=1) as session:
        found = session.run(gc.gradients(y, [x])[0], {x: at})
        assert len(calls) == steps
        ends = [session.run(y, {x: at + h}) for h in (*1e-6 * np.eye(3), *-1e-6 * np.eye(3))]
    np.testing.assert_allclose(found, np.subtract(ends[:3], ends[3:]) / 2e-6, rtol=1e-7)
    assert len(calls) == steps


def test_a_gradient_is_not_made_of_what_only_acts():
    @gc.custom_gradient
    def doubled(x):
        def slope(dy):
            gc.py_func(np.sin, [x], x)
            return 2 * dy

        return x * 2, slope

    with pytest.raises(gc.ArgumentError, match="has none but the steps in Python that it is made of"):
        doubled(point())


def test_py_func_checks_its_results():
    x = point()
    for fn, error, says in [
        (lambda a: a.astype(np.float32), gc.DTypeError, "float32, and float64 is declared"),
        (lambda a: a[:2], gc.ShapeError, r"shape \[2\], and f64\[3\] is declared"),
        (lambda a: (a, a), gc.ShapeError, r"shape \[2, 3\]"),
    ]:
        with pytest.raises(error, match=says):
            run(gc.py_func(fn, [x], x), {x: X})


def test_an_exception_in_py_func_keeps_its_type_and_names_the_line():
    def refuse(a):
        raise LookupError("not here")

    x = point()
    y = gc.py_func(refuse, [x], x)
    with pytest.raises(LookupError, match="not here") as caught:
        run(y, {x: X})
    notes = "\n".join(caught.value.__notes__)
    assert "while running call_python" in notes
    assert "y = gc.py_func(refuse, [x], x)" in notes


def test_py_func_as_text_and_as_file(tmp_path):
    x = point()
    y = gc.py_func(np.negative, [x], x)
    text = gc.show(y)
    again = gc.parse(text)
    assert gc.show(again) == text
    with gc.Session(graph=again, backend="numpy") as session:
        assert session.run(list(again.function.outputs), {"x": X})[0].tolist() == (-X).tolist()
    stranger = gc.parse(text.replace("negative", "stranger"))
    with gc.Session(graph=stranger, backend="numpy") as session:
        with pytest.raises(gc.UnknownNameError, match="register_py_func"):
            session.run(list(stranger.function.outputs), {"x": X})
        name = next(n for n in stranger.function.nodes() if n.op.name == "call_python").attrs["function"]
        gc.register_py_func(name, np.positive)
        assert session.run(list(stranger.function.outputs), {"x": X})[0].tolist() == X.tolist()
    with pytest.raises(gc.ArgumentError, match="no file can hold"):
        gc.save_graph(y, tmp_path / "graph.gcg")


def test_stop_gradient_stops():
    x = point()
    assert gc.gradients(gc.stop_gradient(x), [x]) == [None]
    (slope,) = gc.gradients(gc.sum(x * gc.stop_gradient(x)), [x])
    assert run(slope, {x: X}).tolist() == X.tolist()
