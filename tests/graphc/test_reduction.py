"""Reductions against NumPy, where NumPy is exact; their slopes at ties, zeros and infinities."""

import numpy as np
import pytest

import graphc as gc

INF, NAN = np.inf, np.nan


def run(fetches, feeds=None):
    with gc.Session(backend="numpy") as session:
        return session.run(fetches, feeds)


def slope(function, value, order=1):
    x = gc.placeholder("float64", np.shape(value))
    y = x
    y = gc.sum(function(x))
    for _ in range(order):
        (g,) = gc.gradients(y, x)
        y = gc.sum(g * np.arange(1.0, np.size(value) + 1).reshape(np.shape(value))) if order > 1 else y
    return run(g, {x: value})


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda x: gc.sum(x), "f32[]"),
        (lambda x: gc.sum(x, 1), "f32[batch,4]"),
        (lambda x: gc.mean(x, [-1, 0], keepdims=True), "f32[1,3,1]"),
        (lambda x: gc.max(x, ()), "f32[batch,3,4]"),
        (lambda x: gc.argmax(x), "i64[]"),
        (lambda x: gc.argmin(x, -1, keepdims=True), "i64[batch,3,1]"),
        (lambda x: gc.any(x > 0, 0), "bool[3,4]"),
        (lambda x: gc.var(x, 1), "f32[batch,4]"),
        (lambda x: gc.std(gc.cast(x, "float16")), "f16[]"),
        (lambda x: gc.cumsum(x, -1, exclusive=True), "f32[batch,3,4]"),
        (lambda x: gc.cumprod(x), "f32[12*batch]"),
        (lambda x: gc.sum(gc.cast(x, "int8"), 0), "i64[3,4]"),
        (lambda x: gc.prod(gc.cast(x, "uint8"), 0), "u64[3,4]"),
        (lambda x: gc.mean(gc.cast(x, "int32"), 0), "f64[3,4]"),
        (lambda x: gc.reduce_logsumexp(x, 2), "f32[batch,3]"),
    ],
)
def test_symbolic_types(make, expected):
    x = gc.placeholder("float32", ("batch", 3, 4))
    assert str(make(x).type) == expected


@pytest.mark.parametrize("name", ["sum", "mean", "prod", "max", "min", "argmax", "argmin", "var", "std"])
@pytest.mark.parametrize("axis", [None, 0, -1, (0, 2)])
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("shape", [("a", "b", "c"), None])
def test_values(name, axis, keepdims, shape):
    if name.startswith("arg") and isinstance(axis, tuple):
        pytest.skip("one axis only")
    a = np.random.default_rng(0).normal(size=(2, 3, 4))
    x = gc.placeholder("float64", shape)
    made = getattr(gc, name)(x, axis=axis, keepdims=keepdims)
    expected = getattr(np, name)(a, axis=axis, keepdims=keepdims)
    np.testing.assert_allclose(run(made, {x: a}), expected, rtol=1e-14)


@pytest.mark.parametrize("shape", [(10_000_000,), (10_000_000, 1), (1, 10_000_000), (5, 2_000_000)])
def test_ten_million_ones_sum_exactly(shape):
    ones = gc.ones(shape)
    for axis, size in enumerate(shape):
        assert np.all(run(gc.sum(ones, axis)) == size)
    assert run(gc.sum(ones)) == 10_000_000
    assert run(gc.mean(ones)) == 1
    assert run(gc.sum(gc.ones((2048 * 3, 1), "float16"), 0)) == 2048 * 3


def test_not_a_number_and_nothing():
    a = np.array([[1, NAN, 3], [NAN, NAN, -1]])
    assert np.isnan(run(gc.max(a, 1))).all()
    assert run(gc.argmin(a, 1)).tolist() == [1, 0]
    assert run(gc.sum(np.zeros((0, 2)), 0)).tolist() == [0, 0]
    assert run(gc.prod(np.zeros((0,)))) == 1
    assert np.isnan(run(gc.mean(np.zeros((0, 2)), 0))).all()
    assert run(gc.max(np.zeros((0, 2)), 1)).shape == (0,)
    assert run(gc.all(np.zeros((0,), bool)))
    for bad in (gc.max, gc.min, gc.argmax, gc.argmin):
        with pytest.raises(gc.ShapeError):
            bad(np.zeros((0, 2)), 0)
        x = gc.placeholder("float32", ("n",))
        with pytest.raises(gc.ShapeError):
            run(bad(x), {x: np.zeros(0, np.float32)})
    with pytest.raises(gc.DTypeError):
        gc.any(np.array([1.0]))
    with pytest.raises(gc.ShapeError):
        gc.sum(a, 2)
    with pytest.raises(gc.ArgumentError):
        gc.sum(a, (0, -2))


def test_log_sum_exp():
    a = np.array([[-INF, -INF], [INF, 0], [NAN, 1], [1000, 1000], [-INF, 2]])
    np.testing.assert_allclose(run(gc.logsumexp(a, 1)), [-INF, INF, NAN, 1000 + np.log(2), 2])
    assert run(gc.logsumexp(np.zeros(0))) == -INF
    b = np.array([[-INF, -INF], [0.0, np.log(3)]])
    np.testing.assert_allclose(slope(lambda x: gc.logsumexp(x, 1), b), [[0, 0], [0.25, 0.75]])
    assert np.isfinite(slope(lambda x: gc.logsumexp(x, 1), b, order=2)).all()


def test_slopes_at_ties_and_zeros():
    assert slope(gc.max, [1.0, 3.0, 3.0, 2.0]).tolist() == [0, 0.5, 0.5, 0]
    assert slope(gc.min, [2.0, 2.0, 2.0, 2.0]).tolist() == [0.25] * 4
    assert slope(gc.std, [5.0, 5.0]).tolist() == [0, 0]
    assert slope(gc.norm, [0.0, 0.0]).tolist() == [0, 0]
    np.testing.assert_allclose(slope(gc.norm, [3.0, 4.0]), [0.6, 0.8])
    assert slope(gc.prod, [2.0, 0.0, 5.0]).tolist() == [0, 10, 0]
    assert slope(gc.prod, [[0.0, 3.0], [0.0, 5.0]]).tolist() == [[0, 0], [0, 0]]
    assert slope(lambda x: gc.prod(x, (0, 1)), [[0.0, 3.0], [7.0, 5.0]]).tolist() == [[105, 0], [0, 0]]


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_running_products_slope_through_zeros(exclusive, reverse):
    a = np.array([2.0, 0.0, 3.0, 0.0, 5.0])
    weights = np.arange(1.0, 6.0)

    def weighted(x):
        return (np_running(np.cumprod, x, 1, exclusive, reverse) * weights).sum()

    step = np.eye(5) * 1e-6
    measured = [(weighted(a + d) - weighted(a - d)) / 2e-6 for d in step]
    made = slope(lambda x: gc.cumprod(x, 0, exclusive, reverse) * weights, a)
    np.testing.assert_allclose(made, measured, atol=1e-6)


def np_running(function, a, neutral, exclusive, reverse):
    a = a[::-1] if reverse else a
    full = function(a)
    full = np.concatenate([[neutral], full[:-1]]) if exclusive else full
    return full[::-1] if reverse else full


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_running_values(exclusive, reverse):
    a = np.array([3, 1, 4, 1, 5], np.int16)
    for graphed, computed, neutral in ((gc.cumsum, np.cumsum, 0), (gc.cumprod, np.cumprod, 1)):
        made = run(graphed(a, 0, exclusive=exclusive, reverse=reverse))
        assert made.dtype == np.int64
        np.testing.assert_array_equal(made, np_running(computed, a, neutral, exclusive, reverse))


def test_mean_of_unknown_sizes_divides_by_their_number():
    for shape in (None, (None, None), ("a", "b")):
        x = gc.placeholder("float64", shape)
        (g,) = gc.gradients(gc.mean(x), x)
        np.testing.assert_allclose(run(g, {x: np.ones((3, 5))}), np.full((3, 5), 1 / 15))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_a_product_overflows_where_it_is_too_large_itself(each_backend, dtype):
    large = 2.0 ** (15 if dtype == "float16" else 120)
    rows = np.array([[large] * 4 + [1 / large] * 4, [large] * 4 + [0.0] * 4, [large] * 3 + [1 / large] * 5])
    x = gc.placeholder(dtype, rows.shape)
    whole = gc.placeholder(dtype, (8,))
    with gc.Session() as session:
        found = session.run(gc.prod(x, axis=1), {x: rows})
        np.testing.assert_array_equal(found, np.array([1.0, 0.0, large**-2], found.dtype))
        assert session.run(gc.prod(whole), {whole: rows[0]}) == 1.0
        assert session.run(gc.prod(whole), {whole: [large] * 8}) == np.inf
        folded = gc.prod(gc.constant(rows[1], dtype))
        assert session.run(folded) == 0.0


@pytest.mark.parametrize("dtype", ["float16", "float32", "int32"])
@pytest.mark.parametrize(
    "define",
    [
        gc.var,
        gc.std,
        gc.norm,
        lambda x, name: gc.norm(x, ord=1, name=name),
        lambda x, name: gc.tensordot(x, x, ((0,), (0,)), name=name),
    ],
)
def test_what_is_made_of_several_ops_bears_the_name(define, dtype):
    made = define(gc.ones((2, 3), dtype), name="made")
    assert made.name == "made"
    assert gc.get_default_graph().get_tensor("made") is made
