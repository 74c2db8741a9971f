"""What `gradients` means: which paths count, what has no gradient, slopes at ties and singular points."""

import numpy as np
import pytest

import graphc as gc


def run(fetches, feeds=None):
    with gc.Session(backend="numpy") as session:
        session.run(gc.global_variables_initializer())
        return session.run(fetches, feeds)


def slope(y, x, order=1):
    """The `order`-th derivative of y towards x, run."""
    for _ in range(order):
        (y,) = gc.gradients(y, [x])
    return run(y)


def test_ys_are_summed_and_weighed():
    x = gc.constant([1.0, 2.0])
    y, z = x * x, 3.0 * x
    np.testing.assert_array_equal(run(gc.gradients([y, z], x)[0]), [5, 7])
    np.testing.assert_array_equal(run(gc.gradients([y, y], [x])[0]), [4, 8])
    weighed = gc.gradients([y, z], [x], grad_ys=[[1.0, 0.0], [0.0, 10.0]])
    np.testing.assert_array_equal(run(weighed[0]), [2, 30])


def test_xs_may_be_what_ys_are_made_of_on_the_way():
    x = gc.constant(2.0)
    y = x * x
    z = y * y * x
    found = run(gc.gradients(z, [z, y, x]))
    assert found == [1, 2 * 4 * 2, 5 * 2**4]


def test_stopped_tensors_count_as_constants():
    a = gc.constant(2.0)
    b = a * 3.0
    y = b * b * a
    assert run(gc.gradients(y, [a], stop_gradients=[b])) == [36]
    past, here = gc.gradients(b * b, [a, b], stop_gradients=[b])
    assert past is None
    assert run(here) == 12
    assert run(gc.gradients(b * b + a, [a, b], stop_gradients=[b])) == [1, 12]
    assert run(gc.gradients(b * gc.stop_gradient(b), [a])) == [18]


def test_what_has_no_gradient():
    x, stranger = gc.constant([1.0, 2.0]), gc.constant([[1.0]])
    whole = gc.cast(x, "int32")
    for y in (gc.cast(whole, "float32"), gc.cast(x > 1.0, "float32"), gc.stop_gradient(x), stranger * 2.0):
        assert gc.gradients(y, [x]) == [None]
    found = gc.gradients(gc.sum(x), [x, stranger], unconnected="zero")
    np.testing.assert_array_equal(run(found[1]), [[0.0]])


def test_all_reads_of_a_variable_add_up():
    w = gc.Variable([1.0, 2.0], name="w")
    y = w * w + w.value()
    (found,) = gc.gradients(y, [w])
    np.testing.assert_array_equal(run(found), [3, 5])
    (rows,) = gc.gradients(gc.gather(w, [1, 1, 0]), [w])
    np.testing.assert_array_equal(run(rows), [1, 2])  # dense


def test_ties_share():
    x = gc.constant([1.0, 3.0, 3.0, 3.0])
    for y in (gc.max(x), gc.sum(gc.max(x, axis=0, keepdims=True))):
        np.testing.assert_allclose(slope(y, x), [0, 1 / 3, 1 / 3, 1 / 3], rtol=1e-6)
    np.testing.assert_allclose(slope(gc.min(x[1:]), x), [0, 1 / 3, 1 / 3, 1 / 3], rtol=1e-6)
    a, b = gc.constant(2.0), gc.constant(2.0)
    for op in (gc.maximum, gc.minimum):
        assert run(gc.gradients(op(a, b), [a, b])) == [0.5, 0.5]
        assert slope(op(a, a), a) == 1
    zero = gc.constant(0.0)
    assert slope(gc.nn.relu(zero), zero) == slope(gc.abs(zero), zero) == 0


SINGULAR = {
    "sqrt": (lambda x: gc.sqrt(x), 0.25),
    "rsqrt": (lambda x: gc.rsqrt(x), -1 / 16),
    "log": (lambda x: gc.log(x), 0.25),
    "log1p": (lambda x: gc.log1p(x - 1.0), 0.25),
    "divide": (lambda x: 1.0 / x, -1 / 16),
    "reciprocal": (lambda x: gc.reciprocal(x), -1 / 16),
    "power": (lambda x: x**0.5, 0.25),
    "acosh": (lambda x: gc.acosh(x + 1.0), 1 / np.sqrt(24)),
    "entropy": (lambda x: x * gc.log(x), np.log(4) + 1),
    "product of three": (lambda x: x * gc.log(x) * x, 8 * np.log(4) + 4),
    "product with a quotient": (lambda x: gc.square(x) * (1.0 / x), 1.0),
    "product with a root": (lambda x: x * gc.rsqrt(gc.reshape(x, (3,))), 0.25),
    "relative entropy": (lambda x: x * gc.log(x / (x + x)), np.log(0.5)),
}


@pytest.mark.parametrize("name", SINGULAR)
def test_a_singular_slope_that_is_not_taken_is_zero(name):
    function, right = SINGULAR[name]
    x = gc.constant([4.0, 0.0, -2.0])
    np.testing.assert_allclose(slope(gc.sum(gc.where(x > 0, function(x), 0)), x), [right, 0, 0], rtol=1e-6)


def test_a_product_is_guarded_only_where_it_may_be_infinite():
    x, y, g = (gc.placeholder("float32", (3,)) for _ in range(3))

    def guards(z):
        return gc.show(gc.optimize(gc.gradients(z, [x], grad_ys=[g]))).count("guarded_multiply")

    assert guards(x * gc.log(y)) == 1
    finite = [y, y + 1.0, y / 2.0, gc.log(y + 1e-8), gc.rsqrt(y + 1e-5), gc.square(y) ** 2.0, gc.tanh(y)]
    for factor in finite:
        assert guards(x * factor) == 0


def test_a_guarded_slope_has_its_second_derivative():
    x = gc.constant(4.0)
    assert slope((gc.sqrt(x) - 2.0) ** 2, x, order=2) == pytest.approx(0.125)


def test_powers_at_zero():
    x, k = gc.constant(0.0), gc.constant(2.0)
    assert [slope(x**2, x, order) for order in (1, 2, 3)] == [0, 2, 0]
    assert slope(x**3, x, order=3) == 6
    assert slope(x**1.0, x) == 1
    for base in (0.0, -2.0):
        assert slope(gc.power(gc.constant(base), k), k) == 0
    zeros = gc.constant([2.0, 0.0, 3.0])
    np.testing.assert_array_equal(slope(gc.prod(zeros), zeros), [0, 6, 0])


def test_clip_passes_the_slope_at_its_bounds():
    x = gc.constant([-2.0, -1.0, 0.0, 1.0, 2.0])
    np.testing.assert_array_equal(slope(gc.sum(gc.clip(x, -1.0, 1.0)), x), [0, 1, 1, 1, 0])


def test_the_spread_of_equals_has_slope_zero():
    x = gc.constant([3.0, 3.0])
    np.testing.assert_array_equal(slope(gc.std(x), x), [0, 0])


def test_a_gradient_has_the_dtype_of_its_x():
    x = gc.constant(np.float16([1, 2]))
    (found,) = gc.gradients(gc.sum(gc.cast(x, "float64") * 3.0), [x])
    assert str(found.dtype) == "float16"
    np.testing.assert_array_equal(run(found), [3, 3])


@pytest.mark.parametrize(("m", "n"), [(1, 3), (3, 1), (3, 3), (1, 1)])
def test_what_broadcasting_repeats_is_summed(m, n):
    x, y = gc.placeholder("float32", (None,)), gc.placeholder("float32", (None,))
    slopes = gc.gradients(gc.sum(x * y), [x, y])
    a, b = np.arange(1, m + 1, dtype=np.float32), np.arange(2, n + 2, dtype=np.float32)
    found = run(slopes, {x: a, y: b})
    ones = np.ones(max(m, n), np.float32)
    np.testing.assert_allclose(found[0], b * ones if m > 1 else [(b * ones).sum()])
    np.testing.assert_allclose(found[1], a * ones if n > 1 else [(a * ones).sum()])


def test_reads_at_which_gradients_stop():
    v, w = gc.Variable(np.array([1.0, 2.0])), gc.Variable(np.array([3.0, 4.0]))
    read = v.value()
    z = gc.sum(read * v * w)
    for xs, stops, expected in [
        ([v], [read], [[3, 8]]),
        ([v, read], [read], [[3, 8], [3, 8]]),
        ([v, w], v, [[6, 16], [1, 4]]),
        ([v], [w], [[6, 16]]),
    ]:
        with gc.Session() as session:
            session.run(gc.global_variables_initializer())
            assert [g.tolist() for g in session.run(gc.gradients(z, xs, stop_gradients=stops))] == expected
    u = gc.Variable(np.array([2.0, 2.0]))
    assert gc.gradients(gc.sum((u * w) * 1.0), [w], stop_gradients=[u]) != [None]
    y = u * 3.0
    assert gc.gradients(gc.sum(y), [u], stop_gradients=[y]) == [None]
