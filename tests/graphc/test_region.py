"""cond: which branch runs, what it acts on, its types, its gradients."""

import collections

import numpy as np
import pytest

import graphc as gc

pytestmark = pytest.mark.usefixtures("each_backend")

Pair = collections.namedtuple("Pair", "left right")


def run(fetches, feeds=None):
    with gc.Session() as session:
        session.run(gc.global_variables_initializer())
        return session.run(fetches, feeds)


@pytest.fixture
def flag():
    return gc.placeholder("bool", (), name="flag")


def test_branches_keep_their_nesting(flag):
    out = gc.cond(
        flag, lambda: {"a": [1.0, 2], "b": Pair(True, ())}, lambda: {"a": [3.0, 4], "b": Pair(False, ())}
    )
    assert run(out, {flag: True}) == {"a": [1, 2], "b": Pair(True, ())}
    assert run(out, {flag: False}) == {"a": [3, 4], "b": Pair(False, ())}


@pytest.mark.parametrize("value", [True, np.bool_(False)])
def test_a_predicate_may_be_known(value):
    assert run(gc.cond(value, lambda: 1, lambda: 2)) == (1 if value else 2)


def test_only_one_branch_runs(flag):
    calls = []

    def note(name):
        return lambda: gc.py_func(lambda: calls.append(name) or np.float32(1), [], [("float32", ())])[0]

    run(gc.cond(flag, note("then"), note("else")), {flag: True})
    assert calls == ["then"]
    picked = gc.cond(flag, lambda: gc.constant([1.0, 2.0])[5 * gc.cast(flag, "int32")], lambda: 0.0)
    assert run(picked, {flag: False}) == 0
    with pytest.raises(gc.IndexOutOfRangeError):
        run(picked, {flag: True})


def test_both_branches_may_assign_one_variable(flag):
    v = gc.Variable(1.0, name="v")
    out = gc.cond(flag, lambda: v.assign(10.0), lambda: v.assign_add(5.0))
    with gc.Session() as session:
        session.run(gc.global_variables_initializer())
        assert session.run(out, {flag: False}) == 6
        assert session.run(v) == 6
        assert session.run(out, {flag: True}) == 10
        assert session.run(v) == 10


def test_a_branch_that_does_not_run_assigns_nothing(flag):
    v, w = gc.Variable(1.0, name="v"), gc.Variable(1.0, name="w")
    out = gc.cond(flag, lambda: v.assign(2.0), lambda: w.assign(3.0))
    with gc.Session() as session:
        session.run(gc.global_variables_initializer())
        session.run(out, {flag: False})
        assert session.run([v, w]) == [1, 3]


def test_operations_as_branches(flag):
    v = gc.Variable(1.0, name="v")
    out = gc.cond(flag, lambda: gc.group(v.assign(2.0)), lambda: gc.group())
    with gc.Session() as session:
        session.run(gc.global_variables_initializer())
        assert session.run(out, {flag: False}) is None
        assert session.run(v) == 1
        session.run(out, {flag: True})
        assert session.run(v) == 2


def test_effects_from_around_run_whichever_branch_is_taken(flag):
    v = gc.Variable(1.0, name="v")
    outside = v.assign(7.0)
    out = gc.cond(flag, lambda: outside * 2, lambda: gc.constant(0.0))
    with gc.Session() as session:
        session.run(gc.global_variables_initializer())
        assert session.run(out, {flag: False}) == 0
        assert session.run(v) == 7


def test_sizes_that_differ_are_unknown(flag):
    x = gc.placeholder("float32", (4,), name="x")
    y = gc.cond(flag, lambda: x[:2], lambda: gc.concat([x, x], 0))
    assert y.shape == (None,)
    for value, length in [(True, 2), (False, 8)]:
        total, size = run([gc.sum(y * 2 + gc.ones_like(y)), gc.shape(y)], {flag: value, x: np.ones(4)})
        assert size.tolist() == [length]
        assert total == 3 * length


def test_a_mismatch_names_both_branches(flag):
    x = gc.placeholder("float32", (3,), name="x")

    def then():
        return x

    for orelse, error in [
        (lambda: gc.cast(x, "float64"), gc.DTypeError),
        (lambda: gc.sum(x), gc.ShapeError),
        (lambda: (x, x), gc.ArgumentError),
        (lambda: None, gc.ArgumentError),
    ]:
        with pytest.raises(error) as caught:
            gc.cond(flag, then, orelse)
        for place in (then.__code__.co_firstlineno, orelse.__code__.co_firstlineno):
            assert f"test_region.py:{place}" in str(caught.value)


def test_a_predicate_is_one_truth():
    with pytest.raises(gc.DTypeError):
        gc.cond(gc.constant([True, False]), lambda: 1, lambda: 2)
    with pytest.raises(gc.DTypeError):
        gc.cond(gc.constant(1.0), lambda: 1, lambda: 2)
    with pytest.raises(gc.ArgumentError, match="functions"):
        gc.cond(True, 1, 2)


def test_a_tensor_made_in_a_branch_stays_there(flag):
    leaked = []
    gc.cond(flag, lambda: leaked.append(gc.constant(1.0) + 1) or 1.0, lambda: 2.0)
    with pytest.raises(gc.GraphMismatchError):
        gc.exp(leaked[0])


@pytest.mark.parametrize("value", [True, False])
def test_gradients_of_any_order(flag, value):
    x = gc.placeholder("float64", (), name="x")
    y = gc.cond(flag, lambda: x**4, lambda: gc.cond(x > 1, lambda: x * 3, lambda: gc.exp(2 * x)))
    values = [y]
    for _ in range(3):
        values += gc.gradients(values[-1], [x])
    e = np.exp(1.0)
    expected = [0.5**4, 4 * 0.5**3, 12 * 0.5**2, 24 * 0.5] if value else [e, 2 * e, 4 * e, 8 * e]
    np.testing.assert_allclose(run(values, {flag: value, x: 0.5}), expected)


def test_the_gradient_of_the_branch_not_taken_does_not_run(flag):
    x = gc.placeholder("float64", (), name="x")
    y = gc.cond(flag, lambda: x * 2, lambda: gc.log(x - x))
    assert run(gc.gradients(y, [x]), {flag: True, x: 3.0}) == [2]


def test_a_gradient_through_branches_of_different_sizes(flag):
    x = gc.placeholder("float64", (None,), name="x")
    y = gc.cond(flag, lambda: x[:1] * 2, lambda: gc.concat([x, x * x], 0))
    (slope,) = gc.gradients(gc.sum(y * y), [x])
    assert run(slope, {flag: True, x: [3.0, 4.0]}).tolist() == [24, 0]
    assert run(slope, {flag: False, x: [3.0, 4.0]}).tolist() == [6 + 4 * 27, 8 + 4 * 64]


def test_branches_draw_numbers_of_their_own(flag):
    out = gc.cond(flag, lambda: gc.random.uniform((2,)), lambda: gc.random.uniform((2,)))
    assert run(out, {flag: True}).tolist() != run(out, {flag: False}).tolist()


def test_cond_round_trips_as_text(flag):
    x = gc.placeholder("float32", ("n",), name="x")
    y = gc.cond(flag, lambda: x[:1], lambda: x * 2)
    text = gc.show(y)
    again = gc.parse(text)
    assert gc.show(again) == text
    with gc.Session(graph=again) as session:
        values = session.run(list(again.function.outputs), {"x": [1.0, 2.0], "flag": False})
    assert values[0].tolist() == [2, 4]


def test_what_branches_do_not_use_differentiably_is_not_connected(flag):
    x, z = gc.placeholder("float64", (), name="x"), gc.placeholder("float64", (), name="z")
    y = gc.cond(flag, lambda: x * gc.stop_gradient(z), lambda: x)
    assert gc.gradients(y, [z]) == [None]
    y = gc.while_loop(lambda i, c: i < 3, lambda i, c: (i + 1, c * gc.stop_gradient(z)), (0, x))[1]
    assert gc.gradients(y, [z]) == [None]


def test_effects_of_a_branch_happen_once_though_its_gradient_computes_again(flag, capfd):
    x = gc.placeholder("float64", (), name="x")

    def branch():
        with gc.control_dependencies([gc.print("here", x)]):
            y = gc.sin(x)
        return y * y

    y = gc.cond(flag, branch, lambda: x)
    (slope,) = gc.gradients(y, [x])
    (curve,) = gc.gradients(slope, [x])
    run([y, slope, curve], {flag: True, x: 0.5})
    captured = capfd.readouterr()
    assert (captured.out + captured.err).count("here") == 1


def test_branches_of_the_same_value_and_other_effects_stay_two(flag, capfd):
    def loud():
        gc.print("loud", flag)
        return gc.constant(2.0) * 3.0

    y = gc.cond(flag, loud, lambda: gc.constant(2.0) * 3.0)
    for value, count in ((True, 1), (False, 0)):
        assert run(y, {flag: value}) == 6
        captured = capfd.readouterr()
        assert (captured.out + captured.err).count("loud") == count


def test_several_results_may_differ_in_sizes_that_are_not_known(flag):
    x, y = (gc.placeholder("float64", (None,), name=name) for name in "xy")
    both = gc.cond(flag, lambda: [x, y, x], lambda: [y, x + 1.0, x])
    feeds = {x: [1.0], y: [2.0, 3.0]}
    for value, expected in ((True, [[1], [2, 3], [1]]), (False, [[2, 3], [2], [1]])):
        for found, wanted in zip(run(both, {**feeds, flag: value}), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_a_branch_assigns_what_has_an_unknown_size(flag):
    x = gc.placeholder("float64", (None,), name="x")
    v = gc.Variable(np.zeros(2), name="v")

    def store():
        v.assign(x)
        return gc.sum(x)

    total = gc.cond(flag, store, lambda: gc.sum(x) * 2.0)
    with gc.Session() as session:
        session.run(gc.global_variables_initializer())
        assert session.run(total, {flag: False, x: [1.0, 2.0]}) == 6
        np.testing.assert_array_equal(session.run(v), [0, 0])
        assert session.run(total, {flag: True, x: [1.0, 2.0]}) == 3
        with pytest.raises(gc.ShapeError, match="sizes differ"):
            session.run(total, {flag: True, x: [1.0, 2.0, 3.0]})
        np.testing.assert_array_equal(session.run(v), [1, 2])


def test_arguments_have_names():
    x = gc.constant(2.0)
    y = gc.cond(pred=x > 1.0, true_fn=lambda: x * 2.0, false_fn=lambda: x)
    held = gc.check(cond=y > 3.0, message="large")
    with gc.control_dependencies([held]), gc.Session() as session:
        assert session.run(y + 0.0) == 4.0


def test_second_derivatives_where_branches_in_branches_give_other_unknown_sizes(flag):
    """What computes them needs no value of the inner `cond`, which alone tells the size of that."""
    m, k = gc.placeholder("float64", (None, None)), gc.placeholder("float64", (3,))
    x = gc.scan(lambda c, row: (c, row * c), k, m)[1]
    s = gc.placeholder("float64", ())
    nested = gc.cond(flag, lambda: gc.cond(s > 0, lambda: gc.abs(x), lambda: gc.abs(m)), lambda: x * 1.0)
    fed = {s: 1.0, m: np.arange(12.0).reshape(4, 3) / 5, k: [0.5, 1.0, -2.0]}
    for value in (True, False):
        found = []
        for y in (nested, gc.abs(x) if value else x * 1.0):
            (slope,) = gc.gradients(gc.sum(gc.sin(y)), [m])
            (again,) = gc.gradients(gc.sum(gc.sin(slope)), [k], unconnected="zero")
            found.append([run(fetch, {**fed, flag: value}) for fetch in (y, slope, again)])
        for nest, plain in zip(*found, strict=True):
            np.testing.assert_allclose(nest, plain, rtol=1e-12)
