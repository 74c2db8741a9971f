"""Stages: heard by whoever listens, in this thread only, each without those within it."""

import itertools
import threading
from types import SimpleNamespace

import pytest

import graphc as gc
from passes import stages
from passes.stages import count, is_counted, is_heard, listening, stage


def test_a_stage_is_timed_without_those_within_it(monkeypatch):
    wall, cpu = iter([0.0, 1.0, 3.0, 7.0]), iter([0.0, 0.5, 0.75, 1.0])
    clock = SimpleNamespace(perf_counter=lambda: next(wall), process_time=lambda: next(cpu))
    monkeypatch.setattr(stages, "time", clock)
    with listening() as heard, stage("outer"), stage("inner"):
        pass
    assert list(heard.entered) == ["outer", "inner"]
    assert heard.wall == {"outer": 5.0, "inner": 2.0}
    assert heard.cpu == {"outer": 0.75, "inner": 0.25}


@pytest.mark.parametrize("counts_too", [True, False])
def test_no_time_is_counted_twice_however_deep_stages_are(monkeypatch, counts_too):
    wall, cpu = itertools.count(0.0), itertools.count(0.0, 10.0)  # a look is a second after the last, or ten
    clock = SimpleNamespace(perf_counter=lambda: next(wall), process_time=lambda: next(cpu))
    monkeypatch.setattr(stages, "time", clock)
    with listening(counts_too) as heard, stage("a"):
        with stage("b"):
            with stage("c"):
                pass
            with stage("c"), stage("d"):
                pass
        with stage("b"):
            pass
    # Twelve looks, one at each end of a stage: what lies between two of them belongs to the innermost.
    assert heard.wall == {"a": 3, "b": 4, "c": 3, "d": 1}
    assert heard.cpu == ({"a": 30, "b": 40, "c": 30, "d": 10} if counts_too else {})
    assert dict(heard.entered) == {"a": 1, "b": 2, "c": 2, "d": 1}


def test_what_is_counted_and_how_often_a_stage_was_entered():
    with listening() as heard:
        for _ in range(3):
            with stage("s"):
                count("things", 2)
    assert heard.counts == {"things": 6}
    assert heard.entered == {"s": 3}


def test_who_wants_times_alone_is_told_no_more():
    with listening(counts_too=False) as heard, stage("s"):
        assert is_heard()
        assert not is_counted()
        count("things", 2)
    assert heard.wall["s"] > 0
    assert not heard.counts
    assert not heard.cpu


def test_nobody_listening_nothing_is_kept():
    assert not is_heard()
    assert stage("s") is stage("t")
    count("things", 1)
    with listening() as heard:
        pass
    assert not heard.counts
    assert not heard.wall


def test_listeners_nest_and_the_outer_one_goes_on_after():
    with listening() as outer, stage("a"):
        with listening() as inner, stage("b"):
            pass
        assert is_heard()
    assert list(outer.wall) == ["a"]
    assert list(inner.wall) == ["b"]


def test_another_thread_is_not_heard():
    with listening() as heard:
        thread = threading.Thread(target=lambda: stage("elsewhere").__enter__())
        thread.start()
        thread.join()
    assert not heard.wall


def test_a_stage_that_fails_is_left():
    with listening() as heard:
        with pytest.raises(ValueError, match="no"), stage("a"):
            raise ValueError("no")
        with stage("b"):
            pass
    assert list(heard.wall) == ["a", "b"]


def test_compiling_passes_through_all_its_stages():
    x = gc.placeholder("float32", (None, 4), name="x")
    y = gc.tanh(x * 2.0) + x
    with gc.Session(backend="llvm") as session, listening() as heard:
        session.compile(y, [x])
    assert {"define", "simplify", "fuse", "schedule", "plan", "bind", "lowering", "IR text", "load"} <= set(
        heard.wall
    )


def test_nodes_are_counted_in_bodies_too():
    def nodes(depth):
        def branch():
            y = x
            for _ in range(depth):
                y = gc.tanh(y)
            return y

        with gc.Graph().as_default() as graph:
            x = gc.placeholder("float32", (4,), name="x")
            y = gc.cond(gc.sum(x) > 0.0, branch, lambda: gc.exp(x))
        with gc.Session(graph=graph, backend="numpy") as session, listening() as heard:
            session.compile(y, [x])
        return heard.counts["nodes"]

    assert nodes(10) == nodes(3) + 7
