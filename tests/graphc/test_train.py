"""Optimizers against independent float64 NumPy implementations of PyTorch's rules; schedules; clipping."""

from __future__ import annotations

import math

import numpy as np
import pytest

import graphc as gc

STEPS = 7


def evaluate(fetches, feed_dict=None):
    with gc.Session() as session:
        session.run(gc.global_variables_initializer())
        return session.run(fetches, feed_dict)


# The rules once more, as loops over arrays: each takes lr and its options, and gives a function p, g -> p.


def sgd(lr):
    return lambda p, g: p - lr * g


def momentum(lr, momentum=0.9, nesterov=False):
    buf = None

    def step(p, g):
        nonlocal buf
        buf = g.copy() if buf is None else momentum * buf + g  # the first buffer is the gradient itself
        return p - lr * (g + momentum * buf if nesterov else buf)

    return step


def adam(lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
    m = v = 0.0
    t = 0

    def step(p, g):
        nonlocal m, v, t
        t += 1
        p = p - lr * weight_decay * p
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g * g
        m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
        return p - lr * m_hat / (np.sqrt(v_hat) + eps)

    return step


def adamw(lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01):
    return adam(lr, betas, eps, weight_decay)


def rmsprop(lr, alpha=0.99, eps=1e-8, momentum=0.0, centered=False):
    avg = mean = buf = 0.0

    def step(p, g):
        nonlocal avg, mean, buf
        avg = alpha * avg + (1 - alpha) * g * g
        spread = avg
        if centered:
            mean = alpha * mean + (1 - alpha) * g
            spread = avg - mean * mean
        direction = g / (np.sqrt(spread) + eps)
        if momentum:
            direction = buf = momentum * buf + direction
        return p - lr * direction

    return step


def adagrad(lr, initial_accumulator_value=0.0, eps=1e-10):
    total = initial_accumulator_value

    def step(p, g):
        nonlocal total
        total = total + g * g
        return p - lr * g / (np.sqrt(total) + eps)

    return step


def adadelta(lr=1.0, rho=0.9, eps=1e-6):
    avg = acc = 0.0

    def step(p, g):
        nonlocal avg, acc
        avg = rho * avg + (1 - rho) * g * g
        delta = np.sqrt(acc + eps) / np.sqrt(avg + eps) * g
        acc = rho * acc + (1 - rho) * delta * delta
        return p - lr * delta

    return step


RULES = [
    ("SGD", sgd, {"lr": 0.1}),
    ("Momentum", momentum, {"lr": 0.1}),
    ("Momentum", momentum, {"lr": 0.1, "momentum": 0.5, "nesterov": True}),
    ("Adam", adam, {}),
    ("Adam", adam, {"lr": 0.1, "betas": (0.5, 0.9), "eps": 1e-2}),
    ("Adam", adam, {"lr": 0.1, "betas": (0.0, 0.0)}),
    ("AdamW", adamw, {"lr": 0.05}),
    ("AdamW", adamw, {"lr": 0.05, "weight_decay": 0.3}),
    ("RMSProp", rmsprop, {"lr": 0.01}),
    ("RMSProp", rmsprop, {"lr": 0.01, "alpha": 0.9, "eps": 1e-3, "momentum": 0.8}),
    ("RMSProp", rmsprop, {"lr": 0.01, "alpha": 0.9, "centered": True, "eps": 1e-2}),
    ("Adagrad", adagrad, {"lr": 0.1}),
    ("Adagrad", adagrad, {"lr": 0.1, "initial_accumulator_value": 0.1, "eps": 1e-3}),
    ("Adadelta", adadelta, {}),
    ("Adadelta", adadelta, {"lr": 0.5, "rho": 0.7, "eps": 1e-3}),
]


@pytest.mark.parametrize(("name", "reference", "options"), RULES)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 2e-5)])
def test_rule_is_pytorchs(name, reference, options, dtype, tolerance):
    rng = np.random.default_rng(1)
    start = rng.normal(size=(2, 3))
    gradients = rng.normal(size=(STEPS, 2, 3))
    w = gc.Variable(start.astype(dtype), name="w")
    g = gc.placeholder(dtype, (2, 3))
    optimizer = getattr(gc.train, name)(**options)
    step = optimizer.apply_gradients([(g, w)])
    expected, rule = start, reference(**options)
    with gc.Session() as session:
        session.run(gc.global_variables_initializer())
        for gradient in gradients:
            session.run(step, {g: gradient.astype(dtype)})
            expected = rule(expected, gradient)
            np.testing.assert_allclose(session.run(w), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_slots_of_half_precision_variables_are_float32(dtype):
    w = gc.Variable([1.0, -2.0], dtype=dtype, name="w")
    optimizer = gc.train.Adam(0.125)
    step = optimizer.minimize(gc.sum(w * w))
    assert str(optimizer.get_slot(w, "v").dtype) == "float32"
    with gc.Session() as session:
        session.run(gc.global_variables_initializer())
        session.run(step)
        np.testing.assert_allclose(session.run(gc.cast(w, "float32")), [0.875, -1.875])  # lr against the sign


def test_bias_correction_is_exact_in_float32():
    w = gc.Variable(np.float32(0), name="w")
    step = gc.train.Adam(1.0, eps=0.0).apply_gradients([(np.float32(3), w)])
    with gc.Session() as session:
        session.run(gc.global_variables_initializer())
        session.run(step)
        assert session.run(w) == pytest.approx(-1, rel=2e-7)


def test_slots_are_named_after_variable_and_optimizer_and_made_once(graph):
    w = gc.Variable([1.0, 2.0], name="w")
    optimizer = gc.train.Adam()
    with gc.name_scope("training"):
        optimizer.minimize(gc.sum(w))
        optimizer.minimize(gc.sum(w * w))
    assert list(graph.variables) == ["w", "Adam/count", "w/Adam/m", "w/Adam/v"]
    assert [v.name for v in gc.trainable_variables()] == ["w"]
    assert [v.name for v in optimizer.variables()] == ["Adam/count", "w/Adam/m", "w/Adam/v"]
    gc.train.Adam().minimize(gc.sum(w))
    assert "w/Adam/m_1" in graph.variables


def test_variables_updated_together_share_their_count(graph):
    a, b, c = (gc.Variable([1.0, 2.0], name=name) for name in "abc")
    optimizer = gc.train.Adam(0.5)
    both, third = optimizer.minimize(gc.sum(a * b)), optimizer.minimize(gc.sum(c * c))
    every = optimizer.minimize(gc.sum(a * b * c))
    assert optimizer.get_slot(a, "count") is optimizer.get_slot(b, "count")
    assert optimizer.get_slot(c, "count").name == "Adam/count_1"
    assert len(optimizer.variables()) == 8
    corrections = [n for n in gc.optimize(both).nodes() if n.op.name == "power"]
    assert len(corrections) == 2
    with gc.Session() as session:
        session.run(gc.global_variables_initializer())
        session.run([both, third])  # of two counts, so that nothing is assigned twice
        session.run(third)
        session.run(every)
        assert session.run(["Adam/count", "Adam/count_1"]) == [2, 3]


@pytest.mark.parametrize("name", ["Adam", "AdamW"])
def test_updates_of_many_variables_and_dtypes_are_those_of_each(name):
    rng = np.random.default_rng(3)
    dtypes = ["float32", "float64", "float32", "float16"]
    starts = [rng.normal(size=(2, 3)).astype(dtype) for dtype in dtypes]
    gradients = [rng.normal(size=(2, 3)).astype(dtype) for dtype in dtypes]

    def trained(groups):
        with gc.Graph().as_default():
            variables = [gc.Variable(start, name=f"v{i}") for i, start in enumerate(starts)]
            steps = []
            for group in groups:
                pairs = [(gradients[i], variables[i]) for i in group]
                steps.append(getattr(gc.train, name)(0.1).apply_gradients(pairs))
            with gc.Session() as session:
                session.run(gc.global_variables_initializer())
                for _ in range(3):
                    session.run(steps)
                return session.run(variables)

    for one, other in zip(trained([range(4)]), trained([[0], [1], [2], [3]]), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_two_steps_of_one_optimizer_share_their_slots():
    w = gc.Variable(0.0, dtype="float64", name="w")
    optimizer = gc.train.Momentum(1.0, momentum=0.5)
    down, up = optimizer.minimize(w * 1.0), optimizer.minimize(w * -1.0)
    with gc.Session() as session:
        session.run(gc.global_variables_initializer())
        session.run(down)  # buf 1
        session.run(up)  # buf -0.5
        assert session.run(w) == -0.5


def test_updates_use_the_values_of_the_beginning_of_the_run():
    a, b = gc.Variable(1.0, name="a"), gc.Variable(2.0, name="b")
    step = gc.train.SGD(0.5).minimize(a * b)
    with gc.Session() as session:
        session.run(gc.global_variables_initializer())
        loss, _ = session.run([a * b, step])
        assert loss == 2
        assert session.run([a, b]) == [0.0, 1.5]


def test_a_loss_with_axes_counts_by_its_sum():
    w = gc.Variable([1.0, 2.0], name="w")
    step = gc.train.SGD(1.0).minimize(w * np.array([3, 4], np.float32))
    with gc.Session() as session:
        session.run(gc.global_variables_initializer())
        session.run(step)
        np.testing.assert_array_equal(session.run(w), [-2, -2])


def test_unconnected_variables_are_left_alone():
    w, other = gc.Variable(1.0, name="w"), gc.Variable(5.0, name="other")
    optimizer = gc.train.Adam()
    loss = w * w
    assert [(g is None, v) for g, v in optimizer.compute_gradients(loss)] == [(False, w), (True, other)]
    step = optimizer.minimize(loss)
    assert optimizer.get_slot(other, "m") is None
    with gc.Session() as session:
        session.run(gc.global_variables_initializer())
        session.run(step)
        assert session.run(other) == 5


def test_var_list_chooses():
    w, other = gc.Variable(1.0, name="w"), gc.Variable(5.0, name="other", trainable=False)
    step = gc.train.SGD(1.0).minimize(w * other, var_list=[other])
    with gc.Session() as session:
        session.run(gc.global_variables_initializer())
        session.run(step)
        assert session.run([w, other]) == [1, 4]


def test_global_step_counts_and_drives_a_schedule():
    w = gc.Variable(0.0, name="w")
    step = gc.train.get_or_create_global_step()
    assert gc.train.get_or_create_global_step() is step
    assert (step.name, str(step.dtype), step.trainable) == ("global_step", "int64", False)
    rate = gc.train.exponential_decay(1.0, step, 1, 0.5)
    train = gc.train.SGD(rate).minimize(w * -1.0, global_step=step)
    with gc.Session() as session:
        session.run(gc.global_variables_initializer())
        for _ in range(3):
            session.run(train)
        assert session.run([step, w]) == [3, 1.75]


def test_global_step_is_found_in_scopes():
    with gc.name_scope("a"):
        step = gc.train.get_or_create_global_step()
    assert step.name == "global_step"
    assert gc.train.get_or_create_global_step() is step


def test_learning_rate_may_be_fed():
    rate = gc.placeholder("float64", ())
    w = gc.Variable(np.float32(1), name="w")
    step = gc.train.Adam(rate).minimize(w * 2.0)
    with gc.Session() as session:
        session.run(gc.global_variables_initializer())
        session.run(step, {rate: 0.25})
        assert session.run(w) == pytest.approx(0.75, rel=1e-6)


def test_gradients_may_be_clipped_between():
    w = gc.Variable([3.0, 4.0], dtype="float64", name="w")
    optimizer = gc.train.SGD(1.0)
    (gradient, variable), *_ = optimizer.compute_gradients(0.5 * gc.sum(w * w))
    clipped, norm = gc.train.clip_by_global_norm([gradient], 1.0)
    step = optimizer.apply_gradients([(clipped[0], variable)])
    with gc.Session() as session:
        session.run(gc.global_variables_initializer())
        assert session.run([norm, step])[0] == 5
        np.testing.assert_allclose(session.run(w), [2.4, 3.2], rtol=1e-14)


@pytest.mark.parametrize("inside", [False, True])
def test_a_step_may_be_taken_in_a_branch(inside):
    w = gc.Variable(2.0, name="w")
    optimizer, outer = gc.train.Momentum(0.25), w * w
    asked = gc.placeholder("bool", ())

    def step():
        with gc.control_dependencies([optimizer.minimize(w * w if inside else outer)]):
            return gc.identity(outer)

    value = gc.cond(asked, step, lambda: outer)
    with gc.Session() as session:
        session.run(gc.global_variables_initializer())
        seen = [(session.run(value, {asked: now}), session.run(w)) for now in (False, True, False)]
    assert seen == [(4, 2), (4, 1), (1, 1)]


def test_minimize_works_from_outside_of_the_graph():
    with gc.Graph().as_default() as other:
        w = gc.Variable(1.0, name="w")
        loss = w * w
    step = gc.train.Adam(0.5).minimize(loss)
    assert "w/Adam/m" in other.variables
    with other.as_default():
        initialize = gc.global_variables_initializer()
    with gc.Session(graph=other) as session:
        session.run(initialize)
        session.run(step)
        assert session.run(w) == pytest.approx(0.5, rel=1e-6)


def test_slots_are_saved_and_restored(tmp_path):
    w = gc.Variable(1.0, dtype="float64", name="w")
    step = gc.train.Adam(0.1).minimize(w * w)
    path = tmp_path / "w.npz"
    with gc.Session() as session:
        session.run(gc.global_variables_initializer())
        session.run(step)
        session.save(path)
        session.run(step)
        expected = session.run(w)
    with gc.Session() as session:
        session.restore(path)
        session.run(step)
        assert session.run(w) == expected


# Bad input.


def unconnected():
    gc.Variable(1.0, name="w")
    gc.train.SGD(1.0).minimize(gc.sum(gc.constant([1.0]), name="loss"))


def twice():
    w = gc.Variable(1.0, name="w")
    gc.train.SGD(1.0).apply_gradients([(1.0, w), (2.0, w)])


def other_shape():
    gc.train.SGD(1.0).apply_gradients([(gc.zeros((1, 3)), gc.Variable([1.0, 2.0, 3.0], name="w"))])


def other_dtype():
    gc.train.SGD(1.0).apply_gradients([(gc.constant(1.0, "float64"), gc.Variable(1.0, name="w"))])


def float_step():
    w = gc.Variable(1.0, name="w")
    gc.train.SGD(1.0).minimize(w * w, global_step=gc.Variable(0.0, name="count"))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (unconnected, gc.ArgumentError, "'loss'.*towards none of the variables 'w'"),
        (twice, gc.ArgumentError, "variable 'w'.*is given twice"),
        (other_shape, gc.ShapeError, r"gradient of f32\[1,3\] does not fit variable 'w'"),
        (other_dtype, gc.DTypeError, r"gradient of f64\[\] does not fit variable 'w'"),
        (float_step, gc.ArgumentError, "global step is an integer variable.*'count'"),
        (lambda: gc.train.SGD(1.0).minimize(gc.constant(1.0)), gc.ArgumentError, "no variables"),
        (lambda: gc.train.SGD(1.0).minimize(1.0), gc.ArgumentError, "a loss is a tensor, not 1.0"),
        (
            lambda: gc.train.SGD(1.0).minimize(gc.constant(1.0), var_list=["w"]),
            gc.ArgumentError,
            "var_list holds variables, not 'w'",
        ),
        (lambda: gc.train.SGD(1.0).apply_gradients([]), gc.ArgumentError, "no gradient to apply"),
        (lambda: gc.train.SGD(1.0).apply_gradients([1]), gc.ArgumentError, "pairs of gradient and variable"),
        (lambda: gc.train.SGD(1.0).apply_gradients(None), gc.ArgumentError, "pairs .* wanted, not None"),
        (lambda: gc.train.SGD(-1.0), gc.ArgumentError, "lr is at least 0, not -1.0"),
        (lambda: gc.train.SGD("fast"), gc.ArgumentError, "lr is a number or a scalar tensor, not 'fast'"),
        (lambda: gc.train.SGD(gc.constant([1.0])), gc.ShapeError, "lr is a scalar, not f32"),
        (lambda: gc.train.Adam(betas=(0.9, 1.0)), gc.ArgumentError, "less than 1, not 1.0"),
        (lambda: gc.train.Adam(betas=0.9), gc.ArgumentError, "betas are two numbers"),
        (lambda: gc.train.clip_by_norm([1.0], -1), gc.ArgumentError, "a norm is at least 0"),
        (lambda: gc.train.clip_by_norm([1], 1.0), gc.DTypeError, "only floats are clipped"),
        (lambda: gc.train.exponential_decay(1.0, 0, 0, 0.5), gc.ArgumentError, "decay_steps is more than 0"),
        (lambda: gc.train.piecewise_constant(0, [1], [1.0]), gc.ArgumentError, "2 values, not 1"),
        (lambda: gc.train.piecewise_constant(0, [2, 1], [1.0, 2.0, 3.0]), gc.ArgumentError, "ascend"),
    ],
)
def test_bad_input(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_errors_name_the_users_line():
    gc.Variable(1.0, name="w")
    with pytest.raises(gc.ArgumentError, match=r"at test_train\.py:\d+: gc\.train\.SGD\(1\.0\)\.minimize"):
        gc.train.SGD(1.0).minimize(gc.constant(1.0))


def test_a_variable_that_is_not_trainable_needs_to_be_named():
    w = gc.Variable(1.0, trainable=False)
    with pytest.raises(gc.ArgumentError, match="no variables"):
        gc.train.SGD(1.0).minimize(w * w)


# Clipping.


def test_clip_by_value():
    np.testing.assert_array_equal(
        evaluate(gc.train.clip_by_value([-3.0, 0.5, 3.0, math.nan], -1.0, 1.0)), [-1, 0.5, 1, math.nan]
    )


@pytest.mark.parametrize(
    ("x", "n", "expected"),
    [
        ([3.0, 4.0], 1.0, [0.6, 0.8]),
        ([3.0, 4.0], 5.0, [3.0, 4.0]),
        ([0.1, 0.3], 7.0, [0.1, 0.3]),
        ([0.0, 0.0], 1.0, [0.0, 0.0]),
        ([0.0, 0.0], 0.0, [0.0, 0.0]),
        ([3.0, 4.0], 0.0, [0.0, 0.0]),
        ([math.inf, 1.0], 1.0, [math.nan, math.nan]),
        ([math.nan, 1.0], 1.0, [math.nan, math.nan]),
        ([3.0, 4.0], math.inf, [3.0, 4.0]),
    ],
)
def test_clip_by_norm(x, n, expected):
    got = evaluate(gc.train.clip_by_norm(np.array(x), n))
    np.testing.assert_allclose(got, expected, rtol=1e-15, atol=0)


def test_clip_by_global_norm_scales_together_and_keeps_none():
    xs = [np.array([[3.0]]), None, np.float64(4.0)]
    clipped, norm = gc.train.clip_by_global_norm(xs, 2.5)
    assert clipped[1] is None
    first, last, total = evaluate([clipped[0], clipped[2], norm])
    np.testing.assert_allclose([first.item(), last, total], [1.5, 2.0, 5.0])


def test_clip_by_global_norm_of_nothing():
    clipped, norm = gc.train.clip_by_global_norm([None], 1.0)
    assert clipped == [None]
    assert evaluate(norm) == 0


def test_half_precision_norms_do_not_overflow():
    clipped = gc.train.clip_by_norm(np.array([300, 400], np.float16), 5.0)
    assert str(clipped.dtype) == "float16"
    np.testing.assert_array_equal(evaluate(clipped), [3, 4])


def test_clipping_has_a_gradient_at_zero():
    x = gc.constant([0.0, 0.0], dtype="float64")
    (slope,) = gc.gradients(gc.train.clip_by_norm(x, 1.0), [x])
    np.testing.assert_array_equal(evaluate(slope), [1, 1])


# Schedules.


@pytest.mark.parametrize("step", [0, 1, 9, 10, 11, 25, 1000])
def test_schedules(step):
    s, clipped = step / 10, min(step / 10, 1.0)
    cycles = max(math.ceil(s), 1)
    t = gc.train
    expected = [
        (t.exponential_decay(0.5, step, 10, 0.9), 0.5 * 0.9**s),
        (t.exponential_decay(0.5, step, 10, 0.9, staircase=True), 0.5 * 0.9 ** math.floor(s)),
        (t.inverse_time_decay(0.5, step, 10, 2.0), 0.5 / (1 + 2 * s)),
        (t.inverse_time_decay(0.5, step, 10, 2.0, staircase=True), 0.5 / (1 + 2 * math.floor(s))),
        (
            t.cosine_decay(0.5, step, 10, alpha=0.1),
            0.5 * (0.9 * 0.5 * (1 + math.cos(math.pi * clipped)) + 0.1),
        ),
        (t.polynomial_decay(0.5, step, 10, 0.1, power=2.0), 0.4 * (1 - clipped) ** 2 + 0.1),
        (t.polynomial_decay(0.5, step, 10, 0.1, cycle=True), 0.4 * (1 - s / cycles) + 0.1),
        (
            t.piecewise_constant(step, [9, 10], [1.0, 0.5, 0.25]),
            1.0 if step <= 9 else 0.5 if step <= 10 else 0.25,
        ),
    ]
    tensors = [tensor for tensor, _ in expected]
    assert {str(tensor.dtype) for tensor in tensors} == {"float32"}
    np.testing.assert_allclose(evaluate(tensors), [value for _, value in expected], rtol=3e-7, atol=1e-9)


def test_whole_numbers_make_float_rates():
    assert evaluate(gc.train.exponential_decay(1, 1, 2, 0.25)) == 0.5


def test_schedules_keep_a_float64_rate():
    rate = gc.train.exponential_decay(np.float64(0.1), gc.constant(3), 7, 0.96)
    assert evaluate(rate) == pytest.approx(0.1 * 0.96 ** (3 / 7), rel=1e-15)


def test_a_variance_that_rounding_takes_below_zero_is_none(each_backend):
    """Of a slope that stays 0.3 the mean square falls below the square of the mean in some step."""
    w = gc.Variable([1.0], name="w")
    step = gc.train.RMSProp(0.01, alpha=0.5, centered=True, eps=1e-2).minimize(gc.sum(w * np.float32(0.3)))
    with gc.Session() as session:
        session.run(gc.global_variables_initializer())
        for _ in range(40):
            session.run(step)
        assert np.isfinite(session.run(w)).all()


def test_nothing_has_the_norm_0():
    clipped, norm = gc.train.clip_by_global_norm([], 1.0)
    with gc.Session() as session:
        assert clipped == []
        assert session.run(norm) == 0.0
