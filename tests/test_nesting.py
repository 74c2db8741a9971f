"""Bodies within bodies, deeper than Python lets calls go: nothing done with a graph takes recursion."""

import gc as collector
import sys
import threading
from contextlib import contextmanager

import numpy as np
import pytest

import graphc as gc

DEPTH = 100
ROOM = 90  # calls, for what does not grow with the depth: two for each body are too many


@contextmanager
def limited(calls):
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(calls)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def here():
    frame, depth = sys._getframe(), 0
    while frame is not None:
        frame, depth = frame.f_back, depth + 1
    return depth


def nested_conds(v, depth):
    if depth == 0:
        return v * 2.0
    return gc.cond(v > float(depth), lambda: v - 1.0, lambda: nested_conds(v + 1.0, depth - 1))


def nested_loops(v, depth):
    if depth == 0:
        return v * 1.5
    step = lambda i, u: [i + 1, nested_loops(u + 1.0, depth - 1)]
    return gc.while_loop(lambda i, u: i < 1, step, [0, v])[1]


def nested_mixed(v, depth):
    if depth == 0:
        return v * 1.5
    if depth % 2:
        return gc.cond(gc.sum(v) > 1e6, lambda: v, lambda: nested_mixed(v + 1.0, depth - 1))
    return gc.scan(lambda c, x: (nested_mixed(c + x, depth - 1), None), v, np.ones(1, np.float32))[0]


NESTS = {  # what 0.5 becomes, and the slope
    nested_conds: (DEPTH / 2 - 0.5, 1.0),
    nested_loops: ((0.5 + DEPTH) * 1.5, 1.5),
    nested_mixed: ((0.5 + DEPTH) * 1.5, 1.5),
}


@pytest.fixture(params=NESTS, ids=lambda nest: nest.__name__)
def nest(request):
    x = gc.placeholder("float32", shape=(), name="x")
    with limited(100_000):
        y = request.param(x, DEPTH)
    return x, gc.identity(y, name="y"), *NESTS[request.param]


def seen(job):
    """What `job` gives within a few calls; once done on a small nest, so that all modules are there."""
    x = gc.placeholder("float32", shape=(), name="small")
    job(x, nested_mixed(x, 3))

    def deep(x, y):
        with limited(here() + ROOM):
            return job(x, y)

    return deep


@pytest.mark.parametrize("backend", gc.backends())
def test_a_deep_nest_runs(nest, backend):
    x, y, value, _ = nest

    def run(x, y):
        with gc.Session(backend=backend) as session:
            return session.run(y, {x: 0.5}), session.compile(y, [x]).peak_bytes()

    found, peak = seen(run)(x, y)
    assert found == pytest.approx(value)
    assert peak > 0


@pytest.mark.parametrize("backend", gc.backends())
def test_a_deep_nest_has_slopes(backend):
    depth = 50
    x = gc.placeholder("float32", shape=())
    with limited(100_000):
        ys = [nested_conds(x, depth), nested_loops(x, depth)]

    def run(x, *ys):
        slopes = [gc.gradients(y, x)[0] for y in ys]
        with gc.Session(backend=backend) as session:
            return session.run(slopes, {x: 0.5})

    seen(run)(x, ys[0])
    with limited(here() + ROOM):
        np.testing.assert_allclose(run(x, *ys), [1.0, 1.5])


def test_slopes_of_a_nest_are_as_large_as_it_is_deep():
    """The bodies of a gradient share those of what it is of: each is looked at once."""

    def bodies(depth):
        x = gc.placeholder("float32", shape=())
        with limited(100_000):
            (slope,) = gc.gradients(nested_loops(x, depth), x)
        found = set()
        pending = [gc.optimize(slope)]
        while pending:
            for node in pending.pop().nodes():
                inner = {v for v in node.attrs.values() if isinstance(v, gc.Function)} - found
                found |= inner
                pending += inner
        return len(found)

    assert bodies(40) < 2.2 * bodies(20)


def test_a_deep_nest_is_text_and_back(nest, tmp_path):
    x, y, value, _ = nest

    def go_round(x, y):
        text = gc.show(y)
        gc.save_graph(y, tmp_path / "y.graph")
        gc.dump(y, tmp_path / "y.gir")
        again = gc.show(gc.parse(text))
        return text, again, gc.load_graph(tmp_path / "y.graph"), (tmp_path / "y.gir").read_text()

    text, again, graph, dumped = seen(go_round)(x, y)
    assert text == again == dumped.rstrip("\n")
    with gc.Session(graph) as session:
        assert session.run("y", {"x": 0.5}) == pytest.approx(value)


@pytest.mark.parametrize("suffix", [".dot", ".svg", ".json", ".html", ".trace.json"])
def test_a_deep_nest_is_drawn_and_recorded(tmp_path, suffix):
    x = gc.placeholder("float32", shape=())
    with limited(100_000):
        y = nested_mixed(x, 60)
    path = tmp_path / f"y{suffix}"
    seen(lambda x, y: gc.dump(y, path))(x, y)
    assert path.stat().st_size > 100


@pytest.mark.parametrize("backend", gc.backends())
def test_a_deep_nest_is_verified_recorded_and_timed(backend):
    x = gc.placeholder("float32", shape=())
    with limited(100_000):
        y = nested_mixed(x, 60)

    def look(x, y):
        gc.optimize(y, verify=True)
        with gc.Session(backend=backend, check_numerics=True) as session:
            found = session.run(y, {x: 0.5})
            return found, session.compile(y, [x]).record, session.profile(y, {x: 0.5}).as_dict()

    found, record, times = seen(look)(x, y)
    assert found == pytest.approx(60.5 * 1.5)
    assert record["program"]["steps"]
    assert times["steps"]


@pytest.mark.parametrize("backend", gc.backends())
def test_a_rank_and_sizes_that_the_run_knows_reach_the_innermost_body(backend):
    for shape in (None, ("n",), (None,)):
        x = gc.placeholder("float32", shape=shape)
        with limited(100_000):
            y = nested_mixed(x, 120) + x

        def run(x, y):
            with gc.Session(backend=backend) as session:
                return session.run(y, {x: np.zeros(3, np.float32)})

        x_small = gc.placeholder("float32", shape=shape)
        run(x_small, nested_mixed(x_small, 3) + x_small)
        with limited(here() + ROOM):
            np.testing.assert_allclose(run(x, y), [180.0] * 3)


@pytest.mark.parametrize("backend", gc.backends())
def test_the_innermost_body_assigns(backend):
    v = gc.Variable(1.0)

    def nested(depth):
        if depth == 0:
            return v.assign_add(1.0)
        return gc.cond(v > 0.0, lambda: nested(depth - 1), lambda: v.value())

    def run(y):
        with gc.Session(backend=backend) as session:
            session.run(v.initializer)
            return session.run(y), session.run(v)

    run(nested(3))
    with limited(100_000):
        y = nested(120)
    with limited(here() + ROOM):
        assert run(y) == (2.0, 2.0)


@pytest.mark.parametrize("backend", gc.backends())
def test_an_error_in_the_innermost_body_names_its_line(backend):
    x = gc.placeholder("int32", shape=())

    def nested(v, depth):
        if depth == 0:
            return v // (x - x)
        return gc.cond(x > 0, lambda: nested(v, depth - 1), lambda: v)

    with limited(100_000):
        y = nested(x, DEPTH)
    session = gc.Session(backend=backend)
    with pytest.raises(gc.DivisionError) as caught, limited(here() + ROOM):
        session.run(y, {x: 1})
    assert "return v // (x - x)" in str(caught.value)


def test_a_deep_nest_is_freed():
    def make():
        x = gc.placeholder("float32", shape=())
        with limited(100_000), gc.Session() as session:
            y = nested_conds(x, 600)
            gc.optimize(y)
            session.run(y, {x: 0.5})

    failed = []
    hook, sys.unraisablehook = sys.unraisablehook, failed.append
    try:
        with gc.Graph().as_default():
            make()
        collector.collect()
    finally:
        sys.unraisablehook = hook
    assert not failed


@pytest.mark.parametrize("nested", [nested_conds, nested_loops])
def test_where_python_allows_no_deeper_calls_the_error_says_so_at_definition(nested):
    x = gc.placeholder("float32", shape=())
    says = r"Python's limit of \d+ calls .* in a body \d+ deep; sys.setrecursionlimit"
    with pytest.raises(gc.NestingError, match=says) as caught:
        nested(x, 5000)
    assert isinstance(caught.value, RecursionError)
    assert "test_nesting.py:" in str(caught.value)
    assert nested(x, 3) is not None  # nothing is left open behind it


def test_a_thread_runs_a_deep_nest(graph):
    """Threads have less of the machine's stack than the main one."""
    x = gc.placeholder("float32", shape=())
    with limited(100_000):
        y = nested_conds(x, 1000)
    found = []

    def run():
        for backend in gc.backends():
            with gc.Session(graph, backend=backend) as session:
                found.append(float(session.run(y, {x: 0.5})))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [499.5, 499.5]
