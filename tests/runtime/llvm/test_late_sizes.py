"""Sizes that steps give: what follows from them is native, in memory that grows with the run."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import graphc as gc

ROWS = (5, 50, 3, 500, 20, 1, 501)  # the memory of a run is too small for the next, or larger than needed


def draw(*shape):
    return np.random.default_rng(shape[0]).standard_normal(shape)


def expect_same(fetches, feed, given, returns):
    """Both backends give the same, by `run` and by a callable, at all sizes in any order."""
    results = {}
    for backend in gc.backends():
        with gc.Session(backend=backend) as session:
            call = session.make_callable(fetches, [feed])
            results[backend] = [session.run(fetches, {feed: x}) for x in given] + [call(x) for x in given]
            if backend == "llvm":
                record = session.compile(fetches, [feed]).record
                assert record["native"] == {"reason": None, "returns": returns, "regions": []}
    for expected, found in zip(results["numpy"], results["llvm"], strict=True):
        for a, b in zip(expected, found, strict=True):
            assert (np.shape(a), np.asarray(a).dtype) == (np.shape(b), np.asarray(b).dtype)
            np.testing.assert_allclose(b, a, rtol=1e-10, atol=1e-12)


def masked():
    """A loss of the rows with a positive sum, and its gradient."""
    x = gc.placeholder("float64", (None, 8), name="x")
    w = gc.constant(draw(8, 4))
    rows = gc.boolean_mask(x, gc.sum(x, axis=1) > 0.0)
    z = gc.tanh(rows @ w)
    loss = gc.sum(z * z)
    return x, rows, z, loss, gc.gradients(loss, [w])[0]


def test_rows_chosen_by_a_mask():
    x, _, z, loss, slope = masked()
    expect_same([loss, slope], x, [draw(n, 8) for n in ROWS], 0)
    expect_same([z], x, [draw(n, 8) for n in ROWS], 0)


def test_what_is_given_back_may_have_such_a_size():
    x, rows, z, loss, _ = masked()
    expect_same([z, loss, rows, z * 2.0], x, [draw(n, 8) for n in ROWS], 0)
    with gc.Session(backend="llvm") as session:
        alone = session.run(rows, {x: draw(50, 8)})
        assert alone.flags.owndata
        assert alone.flags.writeable
        np.testing.assert_array_equal(alone, draw(50, 8)[draw(50, 8).sum(1) > 0])


def test_one_size_follows_from_another():
    x = gc.placeholder("float64", (None,), name="x")
    (places,) = gc.nonzero(x > 0.0)
    chosen = gc.gather(x, places) * 3.0
    whole, inverse = gc.unique(gc.cast(chosen, "int64"), return_inverse=True)
    sums = gc.cumsum(gc.cast(whole, "float64"))
    expect_same([places, sums, inverse, gc.sum(chosen)], x, [draw(n) for n in (*ROWS, 0)], 0)


def iterated(x):
    """As many steps as `x` has elements."""
    count = gc.cast(gc.shape(x)[0], "int32")
    value, steps = gc.while_loop(
        lambda v, n: n < count, lambda v, n: (gc.sin(v) * 1.01 + x * 0.1, n + 1), (x, 0)
    )
    return value, steps


def test_gradients_of_while_loops_are_native():
    """Of both orders; what is remembered has a slice of another size in each run."""
    x = gc.placeholder("float64", (None,), name="x")
    value, steps = iterated(x)
    (first,) = gc.gradients(gc.sum(value * value), [x])
    (second,) = gc.gradients(gc.sum(first * first), [x])
    expect_same([value, steps, first, second], x, [draw(n) * 0.1 for n in (*ROWS, 0)], 0)


def test_memory_is_taken_again_only_for_more_steps(monkeypatch):
    from runtime.llvm_backend.native.late_memory import Lengthening

    taken = []
    run = Lengthening.run
    monkeypatch.setattr(Lengthening, "run", lambda self, *given: (taken.append(self), run(self, *given)))
    x = gc.placeholder("float64", (None,), name="x")
    (slope,) = gc.gradients(gc.sum(iterated(x)[0]), [x])
    with gc.Session(backend="llvm") as session:
        for n, more in ((100, True), (100, False), (30, False), (1000, True), (999, False)):
            taken.clear()
            session.run(slope, {x: draw(n) * 0.1})
            assert bool(taken) == more


def test_several_threads_at_once():
    x = gc.placeholder("float64", (None,), name="x")
    (slope,) = gc.gradients(gc.sum(iterated(x)[0]), [x])
    (places,) = gc.nonzero(x > 0.0)
    with gc.Session(backend="llvm") as session:

        def run(n):
            return session.run([slope, places], {x: draw(n) * 0.1})

        alone = [run(n) for n in ROWS]
        with ThreadPoolExecutor(8) as threads:
            for (a, b), (c, d) in zip(alone * 20, threads.map(run, ROWS * 20), strict=True):
                np.testing.assert_array_equal(a, c)
                np.testing.assert_array_equal(b, d)


def test_a_variable_takes_such_a_value():
    x = gc.placeholder("float64", (None,), name="x")
    kept = gc.Variable(np.zeros(3), name="kept")
    update = kept.assign(gc.boolean_mask(x, x > 0.0))
    with gc.Session(backend="llvm") as session:
        session.run(gc.global_variables_initializer())
        for x_fed in ([1.0, -1.0, 2.0, 3.0], [-1.0, 3.0, 4.0, 5.0, -1.0]):
            session.run(update, {x: x_fed})
            assert session.run(kept).tolist() == [v for v in x_fed if v > 0.0]
        with pytest.raises(gc.ShapeError):
            session.run(update, {x: [1.0, -1.0]})
        assert session.run(kept).tolist() == [3.0, 4.0, 5.0]
        assert session.compile([update], [x]).record["native"]["reason"] is None


def test_sizes_that_do_not_fit_fail_as_the_walk_says():
    x = gc.placeholder("float64", (None,), name="x")
    chosen, others = gc.boolean_mask(x, x > 0.0), gc.boolean_mask(x, x < 0.0)
    total = gc.sum(chosen * others)
    with gc.Session(backend="llvm") as session:
        assert session.compile(total, [x]).record["native"]["reason"] is None
        assert session.run(total, {x: [1.0, -2.0, 3.0, -4.0]}) == -14.0
        for rows in ([1.0, -2.0, 3.0, 4.0], [1.0, -2.0, 3.0, -4.0, 5.0]):
            with pytest.raises(gc.ShapeError, match=r"mul: sizes differ: .* = [23] and .* = [12]"):
                session.run(total, {x: rows})
        assert session.run(total, {x: [1.0, -2.0]}) == -2.0


def test_a_reduction_of_nothing_that_needs_something_fails():
    x = gc.placeholder("float64", (None,), name="x")
    most = gc.max(gc.boolean_mask(x, x > 0.0))
    with gc.Session(backend="llvm") as session:
        assert session.run(most, {x: [1.0, -2.0, 3.0]}) == 3.0
        with pytest.raises(gc.GraphError):
            session.run(most, {x: [-1.0]})


def test_what_is_not_native_says_why():
    x = gc.placeholder("float64", ("n",), name="x")
    grown = gc.while_loop(
        lambda y: gc.shape(y)[0] < 5, lambda y: gc.concat([y, y]), x, shape_invariants=[None]
    )
    with gc.Session(backend="llvm") as session:
        record = session.compile([gc.sum(grown)], [x]).record
        assert record["native"]["reason"] is None
        (region,) = record["native"]["regions"]
        assert region["op"] == "loop"
        assert "change from step to step" in region["reason"]
        assert "test_late_sizes.py" in region["at"]
        assert session.run(gc.sum(grown), {x: [1.0, 2.0]}) == 12.0


def test_nothing_is_printed_twice():
    x = gc.placeholder("float64", (None,), name="x")
    chosen = gc.boolean_mask(gc.identity(x), x > 0.0)
    shown = gc.print(gc.max(chosen), "most")
    with gc.Session(backend="llvm") as session:
        record = session.compile([shown, gc.max(chosen)], [x]).record
        assert record["native"]["reason"] == "a failing run would print or call Python twice"
