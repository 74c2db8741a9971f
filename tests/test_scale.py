"""Big graphs: 100,000 nodes in a chain, scopes within scopes, many outputs; counted, never timed."""

import sys

import numpy as np
import pytest

import graphc as gc
from graphc.text import as_function
from passes.differentiation import differentiate

LONG = 100_000
DEEP = 1_000
WIDE = 10_000


@pytest.fixture(autouse=True)
def default_recursion_limit():
    before = sys.getrecursionlimit()
    yield
    assert sys.getrecursionlimit() == before


@pytest.fixture(scope="module")
def chain():
    """A chain that grows by turns, and what it starts from."""
    with gc.Graph(seed=0).as_default() as graph:
        x = gc.placeholder("float64", (), name="x")
        y = x
        for i in range(LONG // 2):
            y = gc.sin(y * 1.0) if i % 2 else y + x
    return graph, x, y


def test_a_long_chain_builds_and_is_walked(chain):
    _, x, y = chain
    function = as_function(y)
    nodes = function.nodes()
    assert len(nodes) >= LONG
    assert nodes[0] is x
    assert nodes[-1] is y
    gc.verify(function)


def test_a_long_chain_prints_and_parses(chain):
    text = gc.show(chain[2])
    assert len(text.splitlines()) == len(as_function(chain[2]).nodes()) + 2
    assert gc.show(gc.parse(text)) == text


def test_a_long_chain_differentiates_in_linear_size(chain):
    graph, x, y = chain
    with graph.as_default():
        (slope,) = gc.gradients(y, [x])
    sizes = []
    function = as_function([slope])
    sizes.append(len(function.nodes()))
    answered = differentiate(function)
    sizes.append(len(answered.nodes()))
    assert sizes[1] < 4 * sizes[0]
    assert differentiate(answered) is answered


def test_a_long_chain_runs_with_its_gradient(chain):
    graph, x, y = chain
    with graph.as_default():
        (slope,) = gc.gradients(y, [x])
        with gc.Session(graph=graph, backend="numpy") as session:
            value, found = session.run([y, slope], {x: 0.5})
            session.run([y, slope], {x: 0.25})
            assert session.compile_count == 1
    right, by = 0.5, 1.0
    for i in range(LONG // 2):
        right, by = (np.sin(right), by * np.cos(right)) if i % 2 else (right + 0.5, by + 1)
    np.testing.assert_allclose(value, right, rtol=1e-9)
    np.testing.assert_allclose(found, by, rtol=1e-9)


def test_a_long_chain_of_control_dependencies():
    with gc.Graph().as_default(), gc.Session() as session:
        w = gc.Variable(0, name="w")
        step = w.initializer
        for _ in range(2_000):
            with gc.control_dependencies([step]):
                step = w.assign_add(1)
        assert session.run(step) == 2_000
        assert session.run(w) == 2_000


def test_scopes_within_scopes():
    with gc.Graph().as_default() as graph:
        scopes = []
        for _ in range(DEEP):
            scopes.append(gc.name_scope("s"))
            scopes[-1].__enter__()
        x = gc.placeholder("float32", (), name="x")
        y = gc.add(x, 1.0, name="y")
        for scope in reversed(scopes):
            scope.__exit__(None, None, None)
        assert x.name == "s/" * DEEP + "x"
        assert graph.get_tensor("s/" * DEEP + "y") is y
        text = gc.show(y)
        assert gc.show(gc.parse(text)) == text
        with gc.Session() as session:
            assert session.run(y.name, {x.name: 2.0}) == 3.0


def test_many_of_one_name():
    with gc.Graph().as_default() as graph:
        made = [gc.constant(i, name="c") for i in range(WIDE)]
    assert made[-1].name == f"c_{WIDE - 1}"
    assert graph.get_tensor(f"c_{WIDE // 2}") is made[WIDE // 2]


def test_many_outputs_and_inputs():
    with gc.Graph().as_default():
        xs = [gc.placeholder("float64", (), name=f"x{i}") for i in range(WIDE)]
        ys = [x * float(i) for i, x in enumerate(xs)]
        total = gc.add_n(ys)
        slopes = gc.gradients(total, xs)
        text = gc.show(ys)
        assert gc.show(gc.parse(text)) == text
        with gc.Session() as session:
            values = session.run([ys, total, slopes], dict(zip(xs, np.ones(WIDE), strict=True)))
    assert values[0] == list(range(WIDE))
    assert values[1] == WIDE * (WIDE - 1) / 2
    assert values[2] == list(range(WIDE))


def test_one_tensor_used_often():
    with gc.Graph().as_default():
        x = gc.placeholder("float64", (), name="x")
        y = gc.exp(x)
        ys = [y * float(i) for i in range(WIDE)]
        (slope,) = gc.gradients(ys, [x])
        with gc.Session() as session:
            assert session.run(slope, {x: 0.0}) == WIDE * (WIDE - 1) / 2


def test_many_variables():
    with gc.Graph().as_default():
        variables = [gc.Variable(float(i), name=f"v{i}") for i in range(2_000)]
        step = gc.train.SGD(1.0).minimize(gc.add_n([v * 2.0 for v in variables]))
        with gc.Session() as session:
            session.run(gc.global_variables_initializer())
            session.run(step)
            assert session.run(variables) == [i - 2.0 for i in range(2_000)]


def test_branches_within_branches():
    with gc.Graph().as_default():
        x = gc.placeholder("float64", (), name="x")

        def nested(depth):
            return x * 2.0 if not depth else gc.cond(x > float(depth), lambda: nested(depth - 1), lambda: x)

        y = nested(20)
        (slope,) = gc.gradients(y, [x])
        text = gc.show(y)
        assert gc.show(gc.parse(text)) == text
        with gc.Session() as session:
            assert session.run([y, slope], {x: 30.0}) == [60.0, 2.0]
