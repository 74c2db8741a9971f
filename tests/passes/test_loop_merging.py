"""Merging loops: the loop of a gradient and the one that it remembers are one; others stay."""

import numpy as np

import graphc as gc
from passes.pipeline import DEFINED, Request, define
from passes.running import without
from passes.target import Target


def loops(fetches, feeds, steps=DEFINED):
    function = define(Request(tuple(fetches), tuple(feeds)), Target(), lambda *_: None, steps)
    return [node for node in function.nodes() if node.op.name == "loop"]


def recurrent():
    xs = gc.placeholder("float64", (4, 2), name="xs")
    last, _ = gc.scan(lambda c, x: (gc.tanh(c + x), None), gc.zeros((2,), "float64"), xs)
    return [last, *gc.gradients(gc.sum(last), [xs])], xs


def test_the_forward_loop_of_a_gradient_runs_once():
    fetches, xs = recurrent()
    assert len(loops(fetches, [xs], without(DEFINED, "merge_loops"))) == 3
    merged = loops(fetches, [xs])
    assert len(merged) == 2
    assert [len(node.type.elements) for node in merged] == [2, 2]  # the carry, and what is remembered of it


def test_merged_loops_give_the_same():
    fetches, xs = recurrent()
    value = {xs: np.random.default_rng(0).normal(size=(4, 2))}
    with gc.Session(backend="numpy") as session:
        last, slope = session.run(fetches, value)
    c, states = np.zeros(2), []
    for x in value[xs]:
        c = np.tanh(c + x)
        states.append(c)
    g, right = np.ones(2), np.empty((4, 2))
    for t in reversed(range(4)):
        g = right[t] = g * (1 - states[t] ** 2)
    np.testing.assert_allclose(last, c, rtol=1e-14)
    np.testing.assert_allclose(slope, right, rtol=1e-13)


def test_two_loops_of_a_user_stay_two():
    xs = gc.placeholder("float64", (4, 2), name="xs")
    start = gc.zeros((2,), "float64")
    fetches = [gc.scan(lambda c, x: (c + x, None), start, xs)[0] for _ in range(2)]
    assert len(loops(fetches, [xs])) == 2
