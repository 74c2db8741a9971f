"""Loops: what they compute, what they refuse, and their gradients of any order."""

import collections
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import graphc as gc
from graphc.function import bodies

pytestmark = pytest.mark.usefixtures("each_backend")

ROOT = Path(__file__).resolve().parent.parent.parent
Pair = collections.namedtuple("Pair", "left right")
X = np.array([0.3, -0.7, 1.1])


def run(fetches, feeds=None, backend=None):
    with gc.Session(backend=backend) as session:
        session.run(gc.global_variables_initializer())
        return session.run(fetches, feeds)


def derivatives(fn, x, order):
    """``fn``, the sum of its first slopes, of their slopes, and so on, at `x`."""
    point = gc.placeholder("float64", np.shape(x), name="x")
    values = [gc.sum(fn(point))]
    for _ in range(order):
        values.append(gc.sum(gc.gradients(values[-1], [point], unconnected="zero")[0]))
    return point, values


def agree_with_differences(fn, x, order=2, rtol=2e-6):
    """Each derivative up to `order` is the slope of the one before, along the direction of ones."""
    x, step = np.asarray(x, np.float64), 1e-5
    point, values = derivatives(fn, x, order)
    with gc.Session() as session:
        session.run(gc.global_variables_initializer())
        found = session.run(values, {point: x})
        up, down = (session.run(values, {point: x + sign * step}) for sign in (1, -1))
    for i in range(order):
        measured = (up[i] - down[i]) / (2 * step)
        np.testing.assert_allclose(found[i + 1], measured, rtol=rtol, atol=1e-7)
    return found


# What they compute.


def test_while_loop_keeps_the_nesting_of_its_variables():
    start = {"i": 0, "pair": Pair(1.0, [gc.constant([1.0, 2.0]), 3.0])}

    def body(i, pair):
        return {"i": i + 1, "pair": Pair(pair.left * 2, [pair.right[0] + 1, pair.right[1]])}

    last = gc.while_loop(lambda s: s["i"] < 3, lambda s: [body(s["i"], s["pair"])], [start])[0]
    values = run(last)
    assert values["i"] == 3
    assert isinstance(values["pair"], Pair)
    assert values["pair"].left == 8
    assert values["pair"].right[0].tolist() == [4, 5]


def test_a_dict_is_one_argument():
    last = gc.while_loop(
        lambda s: s["i"] < 3, lambda s: {"i": s["i"] + 1, "x": s["x"] * 2}, {"i": 0, "x": 1.0}
    )
    assert run(last) == {"i": 3, "x": 8.0}


def test_a_list_of_one_stays_a_list():
    last = gc.while_loop(lambda i: i < 5, lambda i: [i + 2], [0])
    assert isinstance(last, list)
    assert run(last) == [6]


def test_one_tensor_stays_a_tensor():
    assert run(gc.while_loop(lambda i: i < 5, lambda i: i + 2, gc.constant(0))) == 6


def test_no_trip_gives_what_came_in():
    assert run(gc.while_loop(lambda i, x: i < 0, lambda i, x: (i + 1, x * 2), (0, 3.0))) == (0, 3.0)
    carry, ys = gc.scan(lambda c, x: (c + x, c * x), 2.0, gc.zeros((0, 4))[:, 0])
    assert run(carry) == 2
    assert run(ys).shape == (0,)
    assert run(gc.map_fn(lambda x: gc.stack([x, x]), gc.zeros((0, 4)))).shape == (0, 2, 4)


@pytest.mark.parametrize("limit", [0, 1, 3, 100])
def test_maximum_iterations_bounds_the_steps(limit):
    last = gc.while_loop(lambda i: i < 7, lambda i: i + 1, 0, maximum_iterations=limit)
    bound = gc.placeholder("int64", (), name="limit")
    later = gc.while_loop(lambda i: i < 7, lambda i: i + 1, 0, maximum_iterations=bound)
    assert run([last, later], {bound: limit}) == [min(limit, 7)] * 2


def test_scan_walks_nestings_in_either_direction():
    xs = {"a": gc.constant([1.0, 2.0, 3.0]), "b": gc.constant([[1, 2], [3, 4], [5, 6]])}

    def step(carry, x):
        return {"total": carry["total"] + x["a"]}, (x["b"] * 2, carry["total"])

    for reverse, totals in [(False, [0, 1, 3]), (True, [5, 3, 0])]:
        carry, (doubled, seen) = run(gc.scan(step, {"total": 0.0}, xs, reverse=reverse))
        assert carry["total"] == 6
        assert doubled.tolist() == [[2, 4], [6, 8], [10, 12]]
        assert seen.tolist() == totals


def test_scan_without_ys_gives_none():
    carry, ys = gc.scan(lambda c, x: (c + x, None), 0.0, [1.0, 2.0])
    assert ys is None
    assert run(carry) == 3


def test_tensors_and_variables_around_are_seen():
    w, v = gc.placeholder("float32", (), name="w"), gc.Variable(10.0, name="v")
    ys = gc.map_fn(lambda x: gc.map_fn(lambda y: y * w + x + v, [1.0, 2.0]), [100.0, 200.0])
    assert run(ys, {w: 3.0}).tolist() == [[113, 116], [213, 216]]


def test_a_shape_may_grow_where_that_is_declared():
    x = gc.constant([1.0])
    _, grown = gc.while_loop(
        lambda i, x: i < 4,
        lambda i, x: (i + 1, gc.concat([x, x[-1:] * 2], 0)),
        (0, x),
        shape_invariants=((), (None,)),
    )
    assert grown.shape == (None,)
    assert run(gc.sum(grown)) == 31
    assert run(gc.shape(grown)).tolist() == [5]


def test_shape_invariants_nest_as_the_loop_variables_do():
    def body(s, i):
        return {"a": gc.concat([s["a"], [1.0]], 0), "b": [s["b"][0] + 1]}, i + 1

    start = ({"a": gc.zeros(2), "b": [gc.zeros(3)]}, 0)
    for invariants in [({"a": (None,), "b": [(3,)]}, ()), ({"a": (None,)}, None), ([(None,), None], None)]:
        out, _ = gc.while_loop(lambda s, i: i < 3, body, start, shape_invariants=invariants)
        values = run(out)
        assert values["a"].tolist() == [0, 0, 1, 1, 1]
        assert values["b"][0].tolist() == [3, 3, 3]
    with pytest.raises(gc.ArgumentError, match="2 loop variables and 1 shape_invariants"):
        gc.while_loop(lambda s, i: i < 3, body, start, shape_invariants=[None])
    with pytest.raises(gc.ShapeError, match="does not fit"):
        gc.while_loop(lambda s, i: i < 3, body, start, shape_invariants=({"a": (5,)}, None))


def test_a_growing_value_has_a_gradient_and_does_not_hinder_others():
    x = gc.placeholder("float64", (None,), name="x")
    _, y, grown = gc.while_loop(
        lambda i, y, h: i < 3,
        lambda i, y, h: (i + 1, y * y, gc.concat([h, y], 0)),
        (0, x, x),
        shape_invariants=((), None, (None,)),
    )
    assert run(gc.gradients(y, [x])[0], {x: [1.0, 2.0]}).tolist() == [8, 1024]
    assert run(gc.gradients(grown, [x])[0], {x: [1.0, 2.0]}).tolist() == [8, 38]


def test_unknown_sizes_that_meet_in_a_body_are_taken_as_equal():
    x, xs = gc.placeholder("float64", (None,), name="x"), gc.placeholder("float64", (None, None), name="xs")
    y = gc.scan(lambda c, z: (z * c, None), x, xs)[0]
    slopes = gc.gradients(y, [x, xs])
    found = run(slopes, {x: [1.0, 2.0], xs: [[1.0, 2.0], [3.0, 4.0]]})
    assert [v.tolist() for v in found] == [[3, 8], [[3, 8], [1, 4]]]
    with pytest.raises(gc.ShapeError):
        run(y, {x: [1.0, 2.0], xs: [[1.0, 2.0, 3.0]]})


def test_steps_that_depend_on_nothing_have_gradients():
    x = gc.placeholder("float64", (), name="x")
    y = gc.scan(lambda c, z: (x * x, None), x, gc.zeros(3))[0]
    z = gc.while_loop(lambda i, c: i < 3, lambda i, c: (i + 1, x * 2), (0, x))[1]
    assert run(gc.gradients(y, [x]) + gc.gradients(z, [x]), {x: 3.0}) == [6, 2]


def test_effects_happen_once_though_gradients_compute_again(capfd):
    v = gc.Variable(np.float64(1.0), name="v")
    x = gc.placeholder("float64", (), name="x")

    def step(c, z):
        gc.print(message="step")
        gc.check(z < 9)
        v.assign_add(c)
        return c * x * v.value(), None

    y = gc.scan(step, x, gc.zeros(3))[0]
    (slope,) = gc.gradients(y, [x])
    with gc.Session() as session:
        session.run(gc.global_variables_initializer())
        session.run([y, slope], {x: 2.0})
    assert capfd.readouterr().err.count("step") == 3


def test_a_variable_assigned_in_a_step_is_read_in_the_next():
    v = gc.Variable(1.0, name="v")

    def body(i, seen):
        value = v.value()
        with gc.control_dependencies([value]):
            v.assign(value * 2)
        return i + 1, seen + value

    _, seen = gc.while_loop(lambda i, seen: i < 4, body, (0, 0.0))
    with gc.Session() as session:
        session.run(gc.global_variables_initializer())
        assert session.run(seen) == 1 + 2 + 4 + 8
        assert session.run(v) == 16


def test_a_failing_loop_commits_nothing():
    v = gc.Variable(1.0, name="v")
    xs = gc.placeholder("float32", (None,), name="xs")

    def step(carry, x):
        v.assign_add(x)
        gc.check(x < 5, "too large", [x])
        return carry + 1, None

    steps, _ = gc.scan(step, 0, xs)
    with gc.Session() as session:
        session.run(gc.global_variables_initializer())
        with pytest.raises(gc.CheckError):
            session.run(steps, {xs: [1, 2, 9]})
        assert session.run(v) == 1
        session.run(steps, {xs: [1, 2]})
        assert session.run(v) == 4


# What they refuse.


def test_an_index_error_names_op_line_and_step():
    table, ids = gc.constant([1.0, 2.0]), gc.placeholder("int64", (None,), name="ids")
    picked = gc.map_fn(lambda i: gc.gather(table, i), ids)
    with pytest.raises(gc.IndexOutOfRangeError) as caught:
        run(picked, {ids: [0, 1, 0, 7]})
    message = str(caught.value)
    assert message.startswith("gather: ")
    assert "gc.map_fn(lambda i: gc.gather(table, i), ids)" in message
    assert "in step 3 of the loop at test_loops.py:" in message


def test_a_check_in_nested_loops_names_every_step():
    def inner(carry, x):
        gc.check(x < 30, "too large", [x])
        return carry + x, None

    outer = gc.scan(lambda c, row: gc.scan(inner, c, row), 0, gc.constant([[10, 20], [11, 40]]))[0]
    with pytest.raises(gc.CheckError) as caught:
        run(outer)
    assert str(caught.value).count("in step 1 of the loop at test_loops.py") == 2
    assert "too large; 40" in str(caught.value)


def test_an_error_of_python_itself_keeps_its_type_and_names_the_step():
    def refuse(x):
        raise LookupError(f"no {x}")

    ys = gc.map_fn(lambda x: gc.py_func(refuse, [x], [("float32", ())])[0], [1.0, 2.0])
    with pytest.raises(LookupError, match=r"no 1\.0") as caught:
        run(ys)
    assert "in step 0 of the loop at test_loops.py" in "\n".join(caught.value.__notes__)


@pytest.mark.parametrize(
    ("body", "error", "says"),
    [
        (
            lambda i, x: (i + 1, gc.cast(x, "float64")),
            gc.DTypeError,
            "loop variable 1 of f32[3] becomes f64[3]",
        ),
        (lambda i, x: (i + 1, x[:2]), gc.ShapeError, "f32[3] becomes f32[2]"),
        (lambda i, x: (i + 1, gc.sum(x)), gc.ShapeError, "another rank"),
        (lambda i, x: i + 1, gc.ArgumentError, "tensor"),
        (lambda i, x: (i + 1, [x]), gc.ArgumentError, "[tensor]"),
        (lambda i, x: (i + 1, None), gc.ArgumentError, "None"),
    ],
)
def test_a_body_that_does_not_fit_is_an_error_that_names_both_lines(body, error, says):
    x = gc.placeholder("float32", (3,), name="x")  # the line of the loop variable
    with pytest.raises(error) as caught:
        gc.while_loop(lambda i, x: i < 3, body, (0, x))
    message = str(caught.value)
    assert says in message
    first = body.__code__.co_firstlineno
    assert f"test_loops.py:{first}" in message
    if error is not gc.ArgumentError:
        assert f"test_loops.py:{x.loc.line}" in message


def test_a_body_that_does_not_fit_names_the_line_of_its_result():
    def body(i, x):
        later = i + 1
        return later, gc.concat([x, x], 0)

    with pytest.raises(gc.ShapeError) as caught:
        gc.while_loop(lambda i, x: i < 3, body, (0, gc.zeros(3)))
    assert f"test_loops.py:{body.__code__.co_firstlineno + 2}" in str(caught.value)


def test_scan_refuses_what_cannot_be_walked():
    with pytest.raises(gc.ShapeError, match="scalar"):
        gc.scan(lambda c, x: (c, x), 0.0, 1.0)
    with pytest.raises(gc.ShapeError, match="3 and 2"):
        gc.scan(lambda c, x: (c, None), 0.0, (gc.zeros(3), gc.zeros(2)))
    with pytest.raises(gc.ArgumentError, match="carry, y"):
        gc.scan(lambda c, x: c, 0.0, gc.zeros(3))


def test_a_condition_is_one_truth():
    with pytest.raises(gc.DTypeError, match="bool"):
        gc.while_loop(lambda i: i, lambda i: i + 1, 0)
    with pytest.raises(gc.DTypeError, match="bool"):
        gc.while_loop(lambda x: x < 1, lambda x: x + 1, gc.zeros(3))


def test_a_tensor_of_a_body_is_not_used_outside():
    leaked = []
    gc.map_fn(lambda x: leaked.append(x) or x, gc.zeros(3))
    with pytest.raises(gc.GraphMismatchError, match="inside a body"):
        leaked[0] + 1


# Gradients.


def test_gradients_of_any_order_through_a_while_loop_whose_trips_depend_on_data():
    def fn(x):
        return gc.while_loop(lambda y: gc.sum(y * y) < 50, lambda y: y * 1.3 + 0.1 * gc.sin(y), x)

    agree_with_differences(fn, X, order=4)


def test_gradients_through_loop_variables_that_reach_the_result_steps_later():
    def fn(x):
        def step(i, a, b, c, d):
            return i + 1, a * 1.5, b + gc.sin(a), c + b * b, d + c * a

        return gc.while_loop(lambda i, a, b, c, d: i < 5, step, (0, x, x * 0.0, x * 0.0, x * 0.0))[4]

    agree_with_differences(fn, X, order=3)


def test_gradients_through_a_bounded_while_loop():
    def fn(x):
        return gc.while_loop(lambda y: gc.sum(y * y) < 50, lambda y: y * 1.3, x * x, maximum_iterations=3)

    found = agree_with_differences(fn, X, order=3)
    np.testing.assert_allclose(found[0], np.sum(X * X) * 1.3**3)


@pytest.mark.parametrize("reverse", [False, True])
def test_gradients_of_any_order_through_scan(reverse):
    xs = np.linspace(-1, 1, 4)

    def fn(x):
        carry, ys = gc.scan(
            lambda c, z: (gc.tanh(c * x[0] + z), c * z * x), x[1], gc.constant(xs), reverse=reverse
        )
        return gc.sum(ys * ys) + carry

    agree_with_differences(fn, X, order=3)


def test_scan_agrees_with_the_unrolled_graph():
    w = gc.placeholder("float64", (3, 3), name="w")
    xs = gc.placeholder("float64", (5, 3), name="xs")

    def step(h, x):
        h = gc.tanh(gc.matmul(w, gc.expand_dims(h, 1))[:, 0] + x)
        return h, gc.sum(h * h)

    last, ys = gc.scan(step, gc.zeros(3, "float64"), xs)
    h, unrolled = gc.zeros(3, "float64"), []
    for x in gc.unstack(xs):
        h, y = step(h, x)
        unrolled.append(y)
    looped, plain = gc.sum(ys) + gc.sum(last), gc.add_n(unrolled) + gc.sum(h)
    rng = np.random.default_rng(0)
    feeds = {w: rng.normal(size=(3, 3)), xs: rng.normal(size=(5, 3))}
    for _ in range(3):
        a, b = run([looped, plain], feeds)
        np.testing.assert_allclose(a, b, rtol=1e-10)
        looped, plain = (sum(gc.sum(g * g) for g in gc.gradients(z, [w, xs])) for z in (looped, plain))


def test_gradients_through_scan_in_scan():
    def fn(x):
        rows = gc.stack([x, x * x])
        return gc.scan(lambda c, row: gc.scan(lambda d, z: (gc.sin(d) + z * d, None), c, row), x[0], rows)[0]

    agree_with_differences(fn, X, order=3)


def test_gradients_through_cond_in_while_in_scan():
    def inner(y):
        return gc.cond(gc.sum(y) > 1, lambda: y * 1.5, lambda: y * y + 0.5)

    def fn(x):
        def step(c, z):
            last = gc.while_loop(lambda y: gc.sum(y) < 5, inner, c * 0.1 + z * x)
            return gc.tanh(last), gc.sum(last)

        carry, ys = gc.scan(step, x, gc.constant([0.5, 1.0]))
        return gc.sum(carry) + gc.sum(ys)

    agree_with_differences(fn, np.array([0.4, 0.9, 0.6]), order=3)


@pytest.mark.parametrize("x", [0.4, 1.4])
def test_gradients_through_while_in_cond(x):
    def fn(x):
        return gc.cond(x > 1, lambda: gc.while_loop(lambda y: y < 9, lambda y: y * x, x), lambda: x * x * x)

    agree_with_differences(fn, x, order=3)


def test_gradient_towards_what_no_step_ran():
    x = gc.placeholder("float64", (), name="x")
    y = gc.while_loop(lambda y: y < 0, lambda y: y * x, x * 3)
    total = gc.scan(lambda c, z: (c * x * z, None), x, gc.zeros((0,), "float64"))[0]
    assert run(gc.gradients([y, total], [x]), {x: 2.0}) == [4.0]


def test_gradient_towards_captured_variables():
    v = gc.Variable(np.float64(2.0), name="v")
    y = gc.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, y * v), (0, gc.constant(1.0, "float64")))[1]
    (slope,) = gc.gradients(y, [v])
    (curve,) = gc.gradients(slope, [v])
    assert run([y, slope, curve]) == [8, 12, 12]


def test_gradients_taken_inside_a_body_of_what_is_around():
    x = gc.placeholder("float64", (), name="x")
    y = x * x * x
    slopes = gc.map_fn(lambda s: gc.gradients(y * s, [x])[0], gc.constant([1.0, 2.0], "float64"))
    assert run(slopes, {x: 2.0}).tolist() == [12, 24]
    curve = gc.gradients(gc.sum(slopes), [x])[0]
    assert run(curve, {x: 2.0}) == 6 * 2 * 3


def test_gradients_taken_inside_a_body():
    def newton(y):
        value = y * y * y - 2.0
        return y - value / gc.gradients(value, [y])[0]

    root = gc.while_loop(lambda y: gc.abs(y * y * y - 2.0) > 1e-12, newton, gc.constant(1.0, "float64"))
    assert run(root) == pytest.approx(2 ** (1 / 3), abs=1e-12)


def test_gradient_through_assigned_variables():
    v = gc.Variable(np.float64(1.0), name="v")
    x = gc.placeholder("float64", (), name="x")

    def body(i, y):
        with gc.control_dependencies([v.assign(v * x)]):
            return i + 1, y + v.value()

    _, y = gc.while_loop(lambda i, y: i < 3, body, (0, gc.constant(0.0, "float64")))
    (slope,) = gc.gradients(y, [x])
    assert run([y, slope], {x: 2.0}) == [2 + 4 + 8, 1 + 4 + 12]


@pytest.mark.parametrize("every", [1, 2, 3, 5, 100])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [0, 5, 6])
def test_checkpointed_scan_has_the_same_gradients(every, reverse, length):
    xs = gc.placeholder("float64", (None,), name="xs")
    w = gc.placeholder("float64", (), name="w")

    def loss(**kwargs):
        noise = gc.random.normal((), "float64", seed=3)

        def step(c, z):
            y = gc.sin(c * w + z) + gc.random.uniform((), "float64", seed=1) + noise
            return y, y * z

        carry, ys = gc.scan(step, w, xs, reverse=reverse, **kwargs)
        return carry + gc.sum(ys * ys)

    feeds = {xs: np.linspace(-1, 1, length), w: 0.7}
    plain, checkpointed = loss(), loss(checkpoint_every=every)
    for _ in range(3):
        a, b = run([plain, checkpointed], feeds)
        np.testing.assert_allclose(a, b, rtol=1e-11)
        plain, checkpointed = (
            sum(gc.sum(g * g) for g in gc.gradients(z, [w, xs], unconnected="zero"))
            for z in (plain, checkpointed)
        )


@pytest.mark.parametrize("every", [1, 2, 3, 100])
def test_checkpointed_while_loop_has_the_same_gradients(every):
    def fn(x, **kwargs):
        return gc.sum(
            gc.while_loop(lambda y: gc.sum(y * y) < 50, lambda y: y * 1.2 + 0.1 * gc.sin(y * x), x, **kwargs)
        )

    x = gc.placeholder("float64", (3,), name="x")
    plain, checkpointed = fn(x), fn(x, checkpoint_every=every)
    for _ in range(3):
        a, b = run([plain, checkpointed], {x: X})
        np.testing.assert_allclose(a, b, rtol=1e-11)
        plain, checkpointed = (gc.sum(gc.gradients(z, [x])[0] ** 2) for z in (plain, checkpointed))


def test_checkpointing_remembers_fewer_steps():
    x = gc.placeholder("float64", (100,), name="x")

    def peak(**kwargs):
        xs = gc.zeros((64,), "float64")
        y = gc.sum(gc.scan(lambda c, z: (gc.sin(c) + z, None), x, xs, **kwargs)[0])
        (slope,) = gc.gradients(y, [x])
        stacked = []
        pending = [gc.optimize(slope)]
        while pending:
            for node in pending.pop().nodes():
                pending.extend(body for _, body in bodies(node))
                if node.op.name == "loop":
                    stacked += [
                        t.shape[0] for t in node.type.elements if t.shape is not None and len(t.shape) == 2
                    ]
        return max(stacked)

    assert peak() == 64
    assert peak(checkpoint_every=8) == 8


# Random numbers in loops.


def test_every_step_draws_anew_and_the_gradient_draws_the_same():
    x = gc.placeholder("float64", (), name="x")
    drawn = []

    def step(c, z):
        noise = gc.random.normal((), "float64")
        drawn.append(noise)
        return c * noise, noise

    y, noises = gc.scan(step, x, gc.zeros(4, "float64"))
    (slope,) = gc.gradients(y, [x])
    y, noises, slope = run([y, noises, slope], {x: 1.5})
    assert len(set(noises.tolist())) == 4
    np.testing.assert_allclose(y, 1.5 * np.prod(noises))
    np.testing.assert_allclose(slope, np.prod(noises))


def test_nested_loops_draw_anew_in_every_pair_of_steps():
    def draws(n):
        return gc.map_fn(
            lambda _: gc.map_fn(lambda _: gc.random.uniform((), "float64"), gc.zeros(4)), gc.zeros(n)
        )

    values = run(draws(5))
    assert len(set(values.ravel().tolist())) == 20


# Long, deep, endless.


def test_a_body_of_ten_thousand_nodes():
    def body(i, x):
        for _ in range(10_000):
            x = x + 1.0
        return i + 1, x

    assert run(gc.while_loop(lambda i, x: i < 2, body, (0, 0.0))[1]) == 20_000


@pytest.mark.parametrize("order", [0, 1])
def test_a_nest_fifty_deep(order, calls_of):
    """Each level adds work of its own, and in gradients what it hands to the one within it."""
    spent = []
    for depth in (25, 50):
        with gc.Graph().as_default(), gc.Session(backend="numpy") as session:
            x, y = nested(depth, order)
            value, calls = calls_of(lambda session=session, x=x, y=y: session.run(y, {x: 2.0}))
        assert value == (3.0, 1.5)[order]
        spent.append(calls)
    assert spent[1] < 6 * spent[0]
    x, y = nested(50, order)
    text = gc.show(y)
    assert gc.show(gc.parse(text)) == text
    assert run(y, {x: 2.0}) == (3.0, 1.5)[order]


def nested(count, order):
    """`count` branches and loops one in another, or the gradient of that, with what is fed."""
    x = gc.placeholder("float64", (), name="x")

    def nest(depth, y):
        if depth == 0:
            return y * 1.5
        if depth % 2:
            return gc.cond(y > 0, lambda: nest(depth - 1, y), lambda: y)
        return gc.while_loop(lambda i, y: i < 1, lambda i, y: (i + 1, nest(depth - 1, y)), (0, y))[1]

    y = nest(count, x)
    for _ in range(order):
        (y,) = gc.gradients(y, [x])
    return x, y


def test_nesting_does_not_multiply_the_work_of_a_gradient():
    counts = []
    for depth in range(1, 6):
        x = gc.placeholder("float64", (), name="x")

        def nest(depth, c):
            if depth == 0:
                return gc.sin(c)
            return gc.scan(
                lambda c, z: (nest(depth - 1, c) * z, None), c, gc.constant([1.0, 2.0], "float64")
            )[0]

        (slope,) = gc.gradients(nest(depth, x), [x])
        count, pending = 0, [gc.optimize(slope)]
        while pending:
            for node in pending.pop().nodes():
                count += 1
                pending.extend(body for _, body in bodies(node))
        counts.append(count)
    growth = np.diff(counts)
    assert np.diff(growth).max() <= 20, counts  # a nest adds to the work, it does not double it


ENDLESS = """
import sys, graphc as gc
with gc.Graph(seed=0).as_default(), gc.Session() as session:
    v = gc.Variable(1.0, name="v")
    def body(i):
        v.assign_add(1.0)
        return i + 1
    forever = gc.while_loop(lambda i: i >= 0, body, 0)
    session.run(gc.global_variables_initializer())
    print("ready", flush=True)
    try:
        session.run(forever)
    except KeyboardInterrupt:
        print("stopped", session.run(v), flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_a_loop_that_never_ends_is_interrupted_and_commits_nothing():
    process = subprocess.Popen([sys.executable, "-c", ENDLESS], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.5)
        begin = time.perf_counter()
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "stopped 1.0\n"
        assert time.perf_counter() - begin < 2
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("choose", [False, True])
def test_a_cotangent_may_know_a_size_that_the_loop_does_not(choose):
    """Against the same with all sizes known: the scales give the cotangents a size."""
    found = []
    for size in (None, 2):
        x, c = (gc.placeholder("float64", (size,), name=name) for name in "xc")

        def step(y, c=c):
            return gc.cond(gc.sum(y) > 1.5, lambda: gc.tanh(c), lambda: y * 1.5) if choose else gc.tanh(y) * c

        y = gc.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, step(y)), (0, x))[1]
        slopes = gc.gradients(gc.sum(gc.sin(y) * np.array([1.0, 2.0])), [x, c])
        total = gc.sum(slopes[0] * np.array([0.5, 3.0])) + gc.sum(slopes[1] * slopes[1])
        curves = gc.gradients(total, [x, c], unconnected="zero")
        found.append(run([y, *slopes, *curves], {x: [0.3, 0.9], c: [1.1, -0.4]}))
    np.testing.assert_array_equal(*found)


def test_loops_round_trip_as_text():
    x = gc.placeholder("float64", ("n",), name="x")
    y = gc.while_loop(
        lambda y: gc.sum(y) < 50, lambda y: gc.cond(gc.sum(y) > 3, lambda: y * 2, lambda: y + 1), x
    )
    z = gc.scan(lambda c, v: (c + v, c * v), 0.0, gc.cast(y, "float32"), reverse=True)[1]
    text = gc.show([y, z])
    again = gc.parse(text)
    assert gc.show(again) == text
    expected = run([y, z], {x: [1.0, 2.0]})
    with gc.Session(graph=again) as session:
        found = session.run(list(again.function.outputs), {"x": [1.0, 2.0]})
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)
