"""Native loops and branches: steps of the same table, and the same numbers as NumPy's walk of the bodies."""

import numpy as np
import pytest

import graphc as gc
from graphc.sizes import Symbol
from runtime.llvm_backend.native import native_loops
from runtime.llvm_backend.native.outcomes import Outcomes

N = 3


def kinds(session, fetches, feeds):
    """What runs the loops and branches of a run, bodies in bodies too."""
    record = session.compile(fetches, feeds).record
    assert record["native"]["reason"] is None
    return [step["kernel"] for step in record["steps"] if step["op"] in ("loop", "cond")]


def agree(fetches, *fed, variables=(), exact=True):
    """Runs natively, all regions being native, and on NumPy, with each of `fed`; gives the last results."""
    found = None
    with gc.Session(backend="llvm", seed=4) as session, gc.Session(backend="numpy", seed=4) as reference:
        for opened in (session, reference):
            opened.run([v.initializer for v in variables])
        regions = kinds(session, fetches, list(fed[0]))
        assert regions
        assert set(regions) == {"llvm"}
        for feeds in fed:
            found, expected = session.run(fetches, feeds), reference.run(fetches, feeds)
            for a, b in zip(found, expected, strict=True):
                assert (np.shape(a), np.asarray(a).dtype) == (np.shape(b), np.asarray(b).dtype)
                np.testing.assert_allclose(a, b, rtol=0 if exact else 1e-10, atol=0 if exact else 1e-12)
        for v in variables:
            np.testing.assert_allclose(session.run(v), reference.run(v), rtol=1e-12)
    return found


def rows(*lengths, width=N):
    return [np.random.default_rng(n).integers(-4, 5, (n, width)).astype(float) for n in lengths]


LENGTHS = (0, 1, 2, 5, 8)


def walked():
    return gc.placeholder("float64", ("n", N), name="xs"), gc.placeholder("float64", (N,), name="start")


# What is carried and stacked, in every way that it can come about.

BODIES = {
    "made": lambda c, x: (c * 0.5 + x, c - x),
    "carried on as it is": lambda c, x: (c, c + x),
    "a slice": lambda c, x: (x, c),
    "the slice stacked": lambda c, x: (c + x, x),
    "stacked and carried": lambda c, x: (lambda y: (y, y))(c * 0.5 + x),
    "a view of what is made": lambda c, x: (lambda y: (gc.reshape(y, (N,)), gc.reshape(y, (1, N))))(c - x),
    "a constant": lambda c, x: (gc.constant([1.0, 2.0, 3.0], "float64"), c + x),
    "a constant stacked": lambda c, x: (c + x, gc.constant([1.0, 2.0, 3.0], "float64")),
    "a range stacked": lambda c, x: (c + x, gc.arange(4)),
    "nothing stacked": lambda c, x: (c * 0.5 + x, None),
    "an integer beside": lambda c, x: (c + x, gc.cast(x, "int32")),
    "a test": lambda c, x: (c + x, c > x),
}


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_scan(body, reverse):
    xs, start = walked()
    last, ys = gc.scan(body, start, xs, reverse=reverse)
    fetches = [last] if ys is None else [last, ys]
    agree(fetches, *({xs: array, start: [1.0, -2.0, 0.5]} for array in rows(*LENGTHS, 3)))


TURNS = {
    "turned": lambda a, b, c: (b, c, a + 1.0),
    "swapped": lambda a, b, c: (b, a, c),
    "all one": lambda a, b, c: (lambda y: (y, y, y))(a + b * c),
    "one as it was": lambda a, b, c: (a, a + b, c - a),
    "shifted": lambda a, b, c: (a * 0.5, a, b),
    "made and handed on": lambda a, b, c: (b - a, a, b - a),
}


@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS)
def test_values_that_change_places(turn):
    xs, start = walked()
    begin = (start, start * 2.0, start - 1.0)
    scanned = gc.scan(lambda c, x: (turn(*c), c[0] + x), begin, xs)
    limit = gc.placeholder("int32", (), name="limit")
    looped = gc.while_loop(lambda i, *c: i < limit, lambda i, *c: (i + 1, *turn(*c)), (0, *begin))
    agree(
        [*scanned[0], scanned[1], *looped],
        *({xs: a, start: [1.0, -2.0, 0.5], limit: len(a)} for a in rows(*LENGTHS)),
    )


def test_known_sizes():
    xs = gc.placeholder("float32", (4, 2, 3), name="xs")
    last, ys = gc.scan(lambda c, x: (gc.tanh(c + x), c @ gc.transpose(x)), gc.ones((2, 3)), xs)
    agree([last, ys, gc.map_fn(lambda x: gc.sum(x, axis=0), xs)], {xs: np.ones((4, 2, 3))})


def test_while_with_trips_that_the_data_decide():
    x = gc.placeholder("float64", ("n",), name="x")
    y = gc.while_loop(lambda y: gc.sum(y) < 50.0, lambda y: y * 2.0 + 1.0, x)
    most = gc.while_loop(lambda y: gc.sum(y) < 50.0, lambda y: y * 2.0 + 1.0, x, maximum_iterations=2)
    never = gc.while_loop(lambda y: gc.constant(False), lambda y: y + 1.0, x)
    agree([y, most, never], *({x: np.full(n, v)} for n, v in ((1, 1.0), (2, 3.0), (3, 100.0), (1, 49.0))))


# Bodies in bodies.


def test_loops_in_loops_and_branches():
    xs, start = walked()
    which = gc.placeholder("bool", (), name="which")

    def inner(c, x):
        total = gc.scan(lambda a, b: (a + b * 0.5, a), gc.sum(c), x)[1]
        return gc.cond(gc.sum(total) > 0.0, lambda: c + total, lambda: gc.cond(which, lambda: c, lambda: x))

    def outer(c, x):
        c = gc.while_loop(
            lambda c: gc.sum(c * c) < 40.0, lambda c: inner(c, x) + 1.0, c, maximum_iterations=3
        )
        return c * 0.5, gc.cond(which, lambda: (x, c * 2.0), lambda: (c, x))

    last, (a, b) = gc.cond(
        gc.logical_not(which), lambda: gc.scan(outer, start, xs), lambda: gc.scan(outer, -start, xs)
    )
    agree(
        [last, a, b],
        *({xs: x, start: [1.0, -2.0, 0.5], which: w} for x in rows(*LENGTHS) for w in (True, False)),
    )


BRANCHES = {
    "made": (lambda x, y: x + y, lambda x, y: x * y),
    "given": (lambda x, y: x, lambda x, y: y),
    "a constant": (lambda x, y: gc.constant([1.0, 2.0, 3.0], "float64"), lambda x, y: x - y),
    "a view": (lambda x, y: gc.reshape(gc.reshape(x + y, (1, N)), (N,)), lambda x, y: gc.reshape(y, (N,))),
    "twice": (lambda x, y: (x, x), lambda x, y: (lambda z: (z, z))(x + y)),
    "nothing native": (lambda x, y: gc.cumprod(x) if hasattr(gc, "cumprod") else x, lambda x, y: y),
}


@pytest.mark.parametrize("branches", BRANCHES.values(), ids=BRANCHES)
def test_branches(branches):
    x, y = gc.placeholder("float64", (N,), name="x"), gc.placeholder("float64", (N,), name="y")
    z = gc.cond(gc.sum(x) > 0.0, lambda: branches[0](x, y), lambda: branches[1](x, y))
    fetches = [*z] if isinstance(z, tuple) else [z]
    agree([*fetches, x * 1.0], {x: [1.0, 2, 3], y: [4.0, 5, 6]}, {x: [-1.0, -2, -3], y: [4.0, 5, 6]})


# Gradients, draws, variables.


def test_gradients():
    xs, start = walked()
    w = gc.Variable(np.random.default_rng(0).normal(size=(N, N)) / 3, name="w")

    def step(c, x):
        c = gc.tanh(gc.reshape(gc.reshape(c, (1, N)) @ w, (N,)) + x)
        return c, gc.cond(gc.sum(c) > 0.0, lambda: c * 2.0, lambda: gc.exp(c))

    for options in ({}, {"reverse": True}, {"checkpoint_every": 2}):
        last, ys = gc.scan(step, start, xs, **options)
        total = gc.sum(last) + gc.sum(ys * ys)
        fetches = [total, *gc.gradients(total, [xs, start, w])]
        agree(
            fetches,
            *({xs: x / 4.0, start: [1.0, -2.0, 0.5]} for x in rows(*LENGTHS)),
            variables=[w],
            exact=False,
        )


def test_draws_and_variables():
    xs, start = walked()
    v = gc.Variable([1.0, 2.0, 3.0], "float64", name="v")

    def step(c, x):
        new = v.assign(v * 0.5 + x)
        return c + new * gc.random.uniform((N,), "float64"), gc.random.normal((2,), "float64") + v[0]

    last, ys = gc.scan(step, start, xs)
    kept = gc.while_loop(
        lambda i: gc.sum(v) > 1.0, lambda i: i + v.assign(v * 0.5)[0], gc.constant(0.0, "float64")
    )
    agree([last, ys], *({xs: x, start: [1.0, -2.0, 0.5]} for x in rows(*LENGTHS)), variables=[v])
    agree([kept], {}, variables=[v])


# Failure.


def failing(xs, start, **options):
    return gc.scan(lambda c, x: (c + gc.cast(10 // gc.cast(x, "int64"), "float64"), c), start, xs, **options)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_kernel_that_fails_is_named_with_its_step_and_nothing_is_committed(reverse):
    xs, start = walked()
    v = gc.Variable(1.0, name="v")
    last, _ = failing(xs, start, reverse=reverse)
    array = np.ones((5, N))
    with gc.Session(backend="llvm") as session:
        session.run(v.initializer)
        fetches = [last, v.assign_add(1.0)]
        assert set(kinds(session, fetches, [xs, start])) == {"llvm"}
        session.run(fetches, {xs: array, start: np.zeros(N)})
        array[3, 1] = 0.0
        with pytest.raises(gc.DivisionError, match=r"floor_divide(.|\n)*test_native_regions.py(.|\n)*step 3"):
            session.run(fetches, {xs: array, start: np.zeros(N)})
        assert session.run(v) == 2.0


@pytest.mark.parametrize("reverse", [False, True])
def test_what_a_step_in_python_raises_tells_the_steps_of_all_loops(reverse):
    def refuse(x):
        if x[0] == 7.0:
            raise ValueError("seven")
        return x

    xs, start = walked()
    called = gc.py_func

    def step(c, x):
        inner = gc.scan(
            lambda a, b: (a + called(refuse, [x + b], ("float64", (N,))), a), c, gc.eye(2, N) * 0.0
        )
        return inner[0], c

    last, _ = gc.scan(step, start, xs, reverse=reverse)
    array = np.ones((5, N))
    array[1, 0] = 7.0
    with gc.Session(backend="llvm") as session:
        assert set(kinds(session, last, [xs, start])) == {"llvm"}
        with pytest.raises(ValueError, match="seven") as caught:
            session.run(last, {xs: array, start: np.zeros(N)})
    places = [note for note in caught.value.__notes__ if "of the loop" in note]
    assert [note.split(" of")[0] for note in places] == ["in step 0", "in step 1"]


@pytest.mark.parametrize("native", [True, False])
def test_python_that_a_failing_kernel_would_call_twice_is_walked(native):
    xs, start = walked()
    calls = []

    def note(x):
        calls.append(1)
        return x

    def step(c, x):
        c = c + (x if native else gc.cast(10 // gc.cast(x, "int64"), "float64"))
        return c, gc.py_func(note, [c], ("float64", (N,)))

    fetches = list(gc.scan(step, start, xs))
    with gc.Session(backend="llvm") as session:
        reason = session.compile(fetches, [xs, start]).record["native"]["reason"]
        assert reason == (None if native else "a failing run would print or call Python twice")
        session.run(fetches, {xs: np.ones((4, N)), start: np.zeros(N)})
    assert len(calls) == 4


# What is walked, and says so.


def test_a_loop_whose_shapes_grow_is_walked():
    x = gc.placeholder("float64", ("n",), name="x")
    grown = gc.while_loop(
        lambda y: gc.shape(y)[0] < 5, lambda y: gc.concat([y, y]), x, shape_invariants=[None]
    )
    with gc.Session(backend="llvm") as session:
        record = session.compile([grown], [x]).record
        assert record["native"]["reason"] is None
        (region,) = record["native"]["regions"]
        assert "change from step to step" in region["reason"]
        assert session.run(grown, {x: [1.0, 2.0]}).tolist() == [1.0, 2.0] * 4


def test_a_body_with_sizes_of_its_own_is_walked_as_one_step():
    xs, start = walked()
    last, _ = gc.scan(lambda c, x: (c + gc.sum(gc.boolean_mask(x, x > 0.0)), None), start, xs)
    with gc.Session(backend="llvm") as session:
        executable = session.compile([last], [xs, start])
        native = executable.record["native"]
        assert (native["reason"], native["returns"]) == (None, 1)
        assert [region["reason"] for region in native["regions"]] == [
            "a size of boolean_mask is known only at the run"
        ]
        assert kinds(session, [last], [xs, start]) == ["region"]
        found = session.run(last, {xs: np.ones((4, N)), start: np.zeros(N)})
    assert found.tolist() == [12.0] * N


# Memory.


def test_values_of_bodies_lie_in_the_arena():
    xs, start = walked()
    last, ys = gc.scan(lambda c, x: (gc.tanh(gc.cumsum(c) + x), gc.sort(x)), start, xs)
    with gc.Session(backend="llvm", threads=1) as session:
        executable = session.compile([last, ys], [xs, start])
        for n in (4, 50):
            session.run([last, ys], {xs: np.ones((n, N)), start: np.zeros(N)})
            needed = executable.native.arena_bytes({Symbol("n"): n})
            assert needed < 4096  # some values of N numbers, and no step's after another


def test_what_a_step_makes_is_not_copied():
    xs, start = walked()
    last, ys = gc.scan(lambda c, x: (lambda y: (y, y * x))(gc.tanh(c + x)), start, xs)
    with gc.Session(backend="llvm") as session:
        program = session.compile([last, ys], [xs, start]).native
        table = program._call.table.steps
    in_the_loop = [int(step[1]) for step in table if step[0] in (1, 2)]
    assert len(in_the_loop) - len(set(in_the_loop)) == 0  # one kernel, and the copy of the last value


# Planted faults.


def test_a_value_handed_on_before_it_is_read_is_caught(monkeypatch):
    monkeypatch.setattr(native_loops, "_alternating", lambda body, outcomes, carried: [])
    xs, start = walked()
    last, _ = gc.scan(lambda c, x: ((c[1], c[0] + x), None), (start, start * 2.0), xs)
    with pytest.raises((AssertionError, KeyError)):
        agree([*last], {xs: rows(5)[0], start: [1.0, -2.0, 0.5]})


def test_a_result_made_in_the_place_of_another_is_caught(monkeypatch):
    monkeypatch.setattr(Outcomes, "is_made", lambda self, number: True)
    xs, start = walked()
    last, ys = gc.scan(lambda c, x: (c + x, c), start, xs)
    with pytest.raises(AssertionError):
        agree([last, ys], {xs: rows(5)[0], start: [1.0, -2.0, 0.5]})


def test_slices_that_stay_where_they_are_are_caught(monkeypatch):
    monkeypatch.setattr(native_loops, "product", lambda sizes: 0)
    xs, start = walked()
    last, ys = gc.scan(lambda c, x: (c * 0.5 + x, c), start, xs)
    with pytest.raises(AssertionError):
        agree([last, ys], {xs: rows(5)[0], start: [1.0, -2.0, 0.5]})
