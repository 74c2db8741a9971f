"""Variables in bodies: assigned in nests, read behind dependencies, and differentiated."""

import numpy as np
import pytest

import graphc as gc

pytestmark = pytest.mark.usefixtures("each_backend")


def run(fetches, *variables, feeds=None, **options):
    """What `fetches` and then, in the next run, `variables` are; the same with passes and without."""
    found = []
    for pipeline in ((), None):
        with gc.Session(pipeline=pipeline, **options) as session:
            session.run(gc.global_variables_initializer())
            found.append((session.run(fetches, feeds), session.run(list(variables))))
    plain, optimised = found
    np.testing.assert_equal(optimised, plain)
    return plain


def repeat(times, step, start):
    """``start = step(start)`` so many times, by a while_loop."""
    return gc.while_loop(lambda i, y: i < times, lambda i, y: (i + 1, step(y)), (0, start))[1]


def test_a_variable_assigned_in_an_inner_loop_goes_on_from_step_to_step():
    total, step = gc.Variable(10.0, name="total"), gc.Variable(1.0, name="step")

    def outer(y):
        doubled = step.assign(step * 2.0)

        def inner(z):
            with gc.control_dependencies([total.assign_add(doubled)]):
                return z + total

        return repeat(2, inner, y)

    value, size, right = 10.0, 1.0, 0.0
    for _ in range(3):
        size *= 2
        for _ in range(2):
            value += size
            right += value
    assert run(repeat(3, outer, 0.0), step, total) == (right, [size, value])


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_nests_of_loops_and_branches_count(depth):
    v = gc.Variable(0, name="v")

    def nest(depth, y):
        if depth == 0:
            return gc.cond(y >= 0, lambda: v.assign_add(1), lambda: y)
        return repeat(2, lambda z: nest(depth - 1, z), y)

    assert run(nest(depth, 0), v) == (2**depth, [2**depth])


def test_a_read_made_outside_is_a_value():
    v = gc.Variable(1.0, name="v")
    before = v.value()

    def step(y):
        with gc.control_dependencies([v.assign_add(1.0)]):
            return y + before * 10.0 + v

    assert run(repeat(3, step, 0.0), v) == (30 + 2 + 3 + 4, [4])
    both = gc.cond(before > 0, lambda: v.assign(v + before), lambda: before)
    assert run(both, v) == (2, [2])


@pytest.mark.parametrize("kind", ["cond", "while_loop", "scan"])
def test_a_region_in_a_body_sees_what_the_body_has_assigned_before_it(kind):
    v = gc.Variable(2.0, name="v")

    def reads(y):
        if kind == "cond":
            return gc.cond(y >= 0, lambda: y + v, lambda: y)
        if kind == "while_loop":
            return repeat(1, lambda z: z + v, y)
        return gc.scan(lambda c, z: (c + v * z, None), y, gc.ones(1))[0]

    def step(y):
        with gc.control_dependencies([v.assign_add(1.0)]):
            return reads(y)

    assert run(repeat(3, step, 0.0), v) == (3 + 4 + 5, [5])


def test_a_read_behind_a_branch_that_assigns():
    v = gc.Variable(1.0, name="v")

    def step(c, z):
        new = gc.cond(z > 1.5, lambda: v.assign_add(z), lambda: v * 1.0)
        with gc.control_dependencies([new]):
            return c + v, new

    (carry, ys), last = run(gc.scan(step, 0.0, gc.constant([1.0, 2.0, 3.0])), v)
    assert (carry, ys.tolist(), last) == (10, [1, 3, 6], [6])


def test_a_read_in_a_body_behind_an_assignment_outside():
    v = gc.Variable(1.0, name="v")
    new = v.assign(5.0)

    def step(y):
        with gc.control_dependencies([new]):
            return y + v

    assert run(repeat(2, step, 0.0), v) == (10, [5])


def test_gradients_reach_reads_that_have_dependencies():
    v = gc.Variable(2.0, name="v")

    def step(y):
        with gc.control_dependencies([gc.check(y > 0, "positive")]):
            return y * v

    y = repeat(3, step, 1.0)
    (slope,) = gc.gradients(y, [v])
    (curve,) = gc.gradients(slope, [v])
    assert run([y, slope, curve]) == ([8, 12, 12], [])


@pytest.mark.parametrize("kind", ["loop", "branch"])
def test_each_read_of_a_variable_counts_once_in_a_slope_taken_where_it_is_assigned(kind):
    v = gc.Variable(4.0, name="v")

    def descend():
        (slope,) = gc.gradients(v * v * v + 2.0 * v, [v])  # 3 v v + 2
        with gc.control_dependencies([v.assign_sub(slope / 10.0)]):
            return gc.identity(slope)

    if kind == "loop":
        slopes = gc.scan(lambda c, x: (c, descend()), 0.0, gc.zeros((2,)))[1]
        after = 4.0 - 5.0 - 0.5
        assert run(slopes, v)[0].tolist() == [50.0, 5.0]
        assert run(slopes, v)[1] == [after]
    else:
        slope = gc.cond(gc.placeholder_with_default(True), descend, lambda: gc.constant(0.0))
        assert run(slope, v) == (50.0, [-1.0])


def test_training_steps_in_a_loop():
    v = gc.Variable(8.0, name="v")

    def step(i):
        with gc.control_dependencies([gc.train.SGD(0.25).minimize(v * v)]):
            return i + 1

    assert run(gc.while_loop(lambda i: i < 3, step, 0), v) == (3, [1.0])


def test_gradients_through_assignments_that_inner_bodies_read():
    v, x = gc.Variable(2.0, name="v"), gc.placeholder("float32", (), name="x")

    def step(y):
        with gc.control_dependencies([v.assign(v * x)]):
            return gc.scan(lambda c, z: (c + v * z, None), y, gc.constant([1.0, 2.0]))[0]

    y = repeat(2, step, 0.0)  # 3 v x + 3 v x x
    assert run([y, *gc.gradients(y, [v, x])], v, feeds={x: 3.0}) == ([72, 36, 42], [18])


def test_a_failure_in_an_inner_loop_commits_nothing():
    v = gc.Variable(0, name="v")

    def inner(y):
        with gc.control_dependencies([gc.check(v.assign_add(1) < 5, "too many")]):
            return y + 1

    y = repeat(3, lambda y: repeat(2, inner, y), 0)
    with gc.Session() as session:
        session.run(gc.global_variables_initializer())
        with pytest.raises(gc.CheckError) as caught:
            session.run(y)
        assert "in step 0 of the loop" in str(caught.value)
        assert "in step 2 of the loop" in str(caught.value)
        assert session.run(v) == 0


@pytest.mark.parametrize("kind", ["cond", "while_loop"])
def test_a_region_that_assigns_nothing_this_time_keeps_what_came_before_it(kind):
    v = gc.Variable(1.0, name="v")
    new = v.assign(5.0)
    if kind == "cond":
        y = gc.cond(new < 0, lambda: v.assign_add(1.0), lambda: new * 1.0)
    else:
        y = gc.while_loop(lambda y: y < 0, lambda y: v.assign_add(y), new)
    assert run(y, v) == (5, [5])


def assigning(kind, v, x):
    """A region that adds `x` to `v`, twice where it is a loop; its results tell nothing of that."""

    def add(y):
        with gc.control_dependencies([v.assign_add(x)]):
            return y * 2.0

    if kind == "cond":
        return gc.cond(x > 0, lambda: add(x), lambda: x)
    if kind == "operation":
        return gc.cond(x > 0, lambda: gc.group(v.assign_add(x)), lambda: gc.group(v.assign(x)))
    if kind == "while_loop":
        return repeat(2, add, x)
    carry, ys = gc.scan(lambda c, a: (add(c), a), x, gc.stack([x, x]))
    return {"scan": carry, "stacked": gc.sum(ys)}[kind]


KINDS = ("cond", "operation", "while_loop", "scan", "stacked")
TIMES = dict.fromkeys(KINDS, 2) | {"cond": 1, "operation": 1}


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_variable_is_assigned_again_behind_a_region_that_assigned_it(kind, inside):
    v, w, x = gc.Variable(0.0, name="v"), gc.Variable(5.0, name="w"), gc.constant(3.0)

    def both():
        with gc.control_dependencies([assigning(kind, v, x)]):
            return v.assign(v * 10.0 + w.assign(1.0))

    right = TIMES[kind] * 30.0 + 1.0
    assert run(gc.cond(x > 0, both, lambda: x) if inside else both(), v, w) == (right, [right, 1.0])


@pytest.mark.parametrize("second", KINDS)
@pytest.mark.parametrize("first", KINDS)
def test_regions_that_assign_one_variable_follow_each_other(first, second):
    v, x = gc.Variable(0.0, name="v"), gc.constant(3.0)
    with gc.control_dependencies([assigning(first, v, x)]):
        grown = v.assign(v * 10.0)
    with gc.control_dependencies([grown]):
        last = assigning(second, v, x)
    assert run(last, v)[1] == [TIMES[first] * 30.0 + TIMES[second] * 3.0]


@pytest.mark.parametrize("kind", KINDS)
def test_regions_without_an_order_may_not_assign_one_variable(kind):
    v, x = gc.Variable(0.0, name="v"), gc.constant(3.0)
    for other in (lambda: v.assign(1.0), lambda: assigning(kind, v, x)):
        fetches = gc.group(assigning(kind, v, x), other())
        with gc.Session() as session, pytest.raises(gc.StateError, match="in no order"):
            session.run(fetches)


def test_a_region_assigns_several_variables_that_are_assigned_again():
    variables = [gc.Variable(float(i), name=f"v{i}") for i in range(3)]

    def add(y):
        with gc.control_dependencies([v.assign_add(1.0) for v in variables]):
            return y * 2.0

    with gc.control_dependencies([repeat(2, add, 1.0)]):
        again = gc.group([v.assign(v * 10.0) for v in variables])
    assert run(again, *variables)[1] == [20.0, 30.0, 40.0]
