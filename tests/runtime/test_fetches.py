"""What may be fetched, in any nesting, and what may not."""

from collections import OrderedDict, defaultdict, namedtuple

import numpy as np
import pytest

import graphc as gc

Point = namedtuple("Point", "x y")


@pytest.fixture
def session():
    with gc.Graph().as_default(), gc.Session() as opened:
        yield opened


def test_the_result_has_the_nesting_of_the_fetches(session):
    a, b = gc.constant(1.0, name="a"), gc.constant([2, 3], name="b")
    v = gc.Variable(7.0, name="v")
    done = gc.group(v.initializer)
    session.run(done)
    fetched = session.run({"p": Point(a, (b, [a])), "o": done, "v": [v, "v", "a"], 5: [], "e": ()})
    assert list(fetched) == ["p", "o", "v", 5, "e"]
    assert fetched["p"].x == 1.0
    assert fetched["p"].y[1] == [1.0]
    np.testing.assert_array_equal(fetched["p"].y[0], [2, 3])
    assert fetched["o"] is None
    assert fetched["v"] == [7.0, 7.0, 1.0]
    assert (fetched[5], fetched["e"]) == ([], ())
    ordered = session.run(OrderedDict(z=a, y=a))
    assert type(ordered) is OrderedDict
    assert list(ordered) == ["z", "y"]
    kept = session.run(defaultdict(list, k=a))
    assert kept["k"] == 1.0
    assert kept["absent"] == []
    assert session.run([a]) == [1.0]
    assert session.run((a,)) == (1.0,)
    assert session.run([]) == []
    assert session.run(done) is None


def test_what_is_fed_may_be_fetched_and_twice(session):
    x = gc.placeholder("float32", (None,), name="x")
    first, second, again = session.run([x, "x", gc.exp(x)], {x: [0.0]})
    assert first.tolist() == second.tolist() == [0.0]
    assert again.tolist() == [1.0]


def test_names_used_twice(session):
    gc.constant(1, name="c")
    second = gc.constant(2, name="c")
    assert second.name == "c_1"
    assert session.run(["c", "c_1"]) == [1, 2]


@pytest.mark.parametrize(
    "wrong", [None, 3, 1.5, {1, 2}, np.ones(2), b"x", lambda: 0, iter([])], ids=lambda v: type(v).__name__
)
def test_other_things_cannot_be_fetched(session, wrong):
    for fetches in (wrong, [wrong], {"k": (wrong,)}):
        with pytest.raises(gc.FetchError, match=f"of type {type(wrong).__name__} cannot be fetched"):
            session.run(fetches)


def test_strangers(session):
    with gc.Graph().as_default():
        tensor = gc.constant(1.0, name="far")
        variable = gc.Variable(1.0, name="w")
    for stranger in (tensor, variable, [tensor]):
        with pytest.raises(gc.FetchError, match="another graph") as caught:
            session.run(stranger)
        assert isinstance(caught.value, gc.GraphMismatchError)
    gc.constant(1, name="mine")
    with pytest.raises(gc.FetchError, match="did you mean 'mine'") as caught:
        session.run("mime")
    assert isinstance(caught.value, gc.UnknownNameError)


def test_what_is_made_inside_a_body_stays_there(session):
    inside = []

    def branch():
        inside.append(gc.constant(2.0) * 3.0)
        return inside[0]

    result = gc.cond(gc.constant(True), branch, lambda: gc.constant(0.0))
    assert session.run(result) == 6.0
    with pytest.raises(gc.GraphMismatchError, match="inside a body"):
        session.run(inside[0])
    with pytest.raises(gc.FeedError, match="inside a body"):
        session.run(result, {inside[0]: 1.0})


def test_a_variable_is_fetched_without_what_is_to_run_before_others(session):
    v = gc.Variable(1.0)
    session.run(v.initializer)
    with gc.control_dependencies([v.assign(5.0)]):
        assert session.run(v) == 1.0
    assert session.run(v) == 1.0


def test_fetches_without_an_end(session):
    endless = []
    endless.append(endless)
    deep = gc.constant(1.0)
    for _ in range(30_000):
        deep = [deep]
    for wrong in (endless, deep, {"a": endless}):
        with pytest.raises(gc.FetchError, match="nested too deeply, or contain themselves"):
            session.run(wrong)


def test_a_value_without_an_end_is_no_array(session):
    endless = []
    endless.append(endless)
    deep = 1.0
    for _ in range(30_000):
        deep = [deep]
    x = gc.placeholder("float32", ())
    for wrong in (endless, deep):
        with pytest.raises(gc.FeedError, match="it is no array"):
            session.run(x, {x: wrong})
        with pytest.raises(gc.ArgumentError, match="is no array"):
            gc.add(x, wrong)
