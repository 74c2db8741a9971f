"""What loops give as they were given is not carried through them; a loop that gives nothing else is gone."""

import numpy as np
import pytest

import graphc as gc
from graphc.function import bodies


def loops(fetches):
    """How many loops are left, those in bodies too."""
    count, pending = 0, [gc.optimize(fetches)]
    while pending:
        for node in pending.pop().nodes():
            count += node.op.name == "loop"
            pending.extend(body for _, body in bodies(node))
    return count


def agree(fetches, feeds):
    found = []
    for pipeline in ((), None):
        with gc.Session(backend="numpy", pipeline=pipeline) as session:
            found.append(session.run(fetches, feeds))
    np.testing.assert_equal(found[1], found[0])


@pytest.mark.parametrize("reverse", [False, True])
def test_a_scan_whose_step_is_elementwise_over_time_is_no_loop(reverse):
    x = gc.placeholder("float64", ("n", 3), name="x")
    start = gc.placeholder("float64", (2,), name="start")
    last, ys = gc.scan(lambda c, row: (c, gc.tanh(row) * 2.0 + 1.0), start, x, reverse=reverse)
    fetches = [last, ys, *gc.gradients(gc.sum(ys * ys), [x])]
    assert loops(fetches) == 0
    for n in (0, 4):
        agree(fetches, {x: np.linspace(-1, 1, 3 * n).reshape(n, 3), start: [1, 2]})


def test_what_is_handed_on_leaves_the_rest_of_the_loop():
    x = gc.placeholder("float64", (4,), name="x")
    count, same, total = gc.while_loop(
        lambda i, a, s: i < 3, lambda i, a, s: (i + 1, a, s + gc.sum(a)), (0, x, x * 0.0)
    )
    assert loops(same) == 0
    assert loops([count, same, total]) == 1
    agree([count, same, total], {x: np.arange(4.0)})


def test_slices_that_change_places_stay():
    x, y = gc.placeholder("float64", (4,), name="x"), gc.placeholder("float64", (4,), name="y")
    (a, b), (ys, zs) = gc.scan(lambda c, z: ((c[1], c[0]), (z[1], c[0])), (x[0], y[0]), (x, y))
    agree([a, b, ys, zs], {x: np.arange(4.0), y: -np.arange(4.0)})
    squares = gc.while_loop(lambda c: c < 9, lambda c: c * c, gc.sum(x))
    agree(squares, {x: [1, 1, 0, 0]})


def test_a_loop_with_effects_still_runs():
    v = gc.Variable(0.0, name="v")
    same = gc.scan(lambda c, z: (c, v.assign_add(z)), gc.constant(1.0), gc.constant([1.0, 2.0]))[0]
    with gc.Session(backend="numpy") as session:
        session.run(gc.global_variables_initializer())
        assert session.run(same) == 1
        assert session.run(v) == 3


@pytest.mark.parametrize("goes_on", [lambda i: i >= 0, lambda i: gc.constant(True), lambda i: gc.equal(i, i)])
def test_a_loop_that_never_ends_gives_nothing(goes_on):
    """What it hands on is no result: a run stays in it, until Ctrl-C."""
    with gc.Graph().as_default():
        start = gc.placeholder("int32", ())
        (last,) = gc.while_loop(goes_on, lambda i: i * 1, [start])
        assert [node.op.name for node in gc.optimize(last).nodes()].count("loop") == 1


@pytest.mark.parametrize("kept", [0, 1])
@pytest.mark.parametrize("backend", ["numpy", "llvm"])
def test_of_results_whose_sizes_differ_by_branch_the_size_of_that_kept_is_kept(kept, backend):
    p, x, y = gc.placeholder("bool", ()), gc.placeholder("float32", ("n",)), gc.placeholder("float32", ("m",))
    parts = gc.cond(p, lambda: (x, gc.concat([x, x], 0)), lambda: (y, gc.concat([y, y, y], 0)))
    fetch = parts[kept] + gc.cumsum(gc.ones(gc.shape(parts[kept])), 0)
    with gc.Session(backend=backend) as session:
        for choice, count in ((True, (2, 4)[kept]), (False, (3, 9)[kept])):
            found = session.run(fetch, {p: choice, x: np.zeros(2), y: np.zeros(3)})
            np.testing.assert_array_equal(found, np.arange(1, count + 1, dtype=np.float32), strict=True)
