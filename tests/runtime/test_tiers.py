"""Tiered sessions: the first run by meaning, then compiled, once both gave the same."""

import threading

import numpy as np
import pytest

import graphc as gc
from runtime.llvm_backend.backend import LlvmBackend
from runtime.tiers import TieredCompilation, _agree


def wait(session):
    """Until nothing is compiled any more."""
    for tier in list(session._compilation._tiers.values()):
        tier.thread.join()


def chosen(session):
    return [tier.chosen for tier in session._compilation._tiers.values()]


@pytest.fixture
def held(monkeypatch):
    """Compiling waits until the event is set."""
    event = threading.Event()
    whole = LlvmBackend.whole

    def waiting(self, *given, **more):
        assert event.wait(60)
        return whole(self, *given, **more)

    monkeypatch.setattr(LlvmBackend, "whole", waiting)
    yield event
    event.set()


def test_the_first_runs_do_not_wait_for_the_compiler(held):
    x = gc.placeholder("float32", (None, 3), name="x")
    y = gc.tanh(x * 2.0) + 1.0
    data = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)
    with gc.Session(tiered=True, backend="llvm") as session:
        step = session.make_callable(y, [x])
        with gc.Session(backend="numpy") as plain:
            expected = plain.run(y, {x: data})
        for _ in range(3):
            np.testing.assert_array_equal(step(data), expected)
            np.testing.assert_array_equal(session.run(y, {x: data}), expected)
        assert chosen(session) == [None]
        held.set()
        wait(session)
        np.testing.assert_array_equal(step(data), expected)  # made both ways
        assert chosen(session) == ["compiled"]
        np.testing.assert_allclose(step(data), expected, rtol=1e-6)
        assert session._compilation.direct((y,), (x,), lambda: None).native is not None


def test_assignments_take_effect_once_each(held):
    count = gc.Variable(0.0, name="count")
    more = count.assign_add(1.0)
    with gc.Session(tiered=True, backend="llvm") as session:
        session.run(gc.global_variables_initializer())
        assert session.run(more) == 1
        held.set()
        wait(session)
        assert [float(session.run(more)) for _ in range(4)] == [2, 3, 4, 5]
        assert set(chosen(session)) <= {"compiled", None}
        assert "compiled" in chosen(session)


def test_draws_are_those_of_a_session_without_tiers(held):
    draw = gc.random.normal((5,), seed=3)
    with gc.Session(seed=1, backend="llvm") as plain:
        held.set()
        expected = [plain.run(draw) for _ in range(4)]
    held.clear()
    with gc.Session(seed=1, tiered=True, backend="llvm") as session:
        found = [session.run(draw)]
        held.set()
        wait(session)
        found += [session.run(draw) for _ in range(3)]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_where_both_differ_the_meaning_stays_and_a_warning_says_so(monkeypatch):
    x = gc.placeholder("float32", (4,), name="x")
    y = gc.exp(x)
    data = np.ones(4, np.float32)
    monkeypatch.setattr("runtime.tiers.run_whole", lambda *given: ([np.zeros(4, np.float32)], {}))
    with gc.Session(tiered=True, backend="llvm") as session:
        session.run(y, {x: data})
        wait(session)
        with pytest.warns(RuntimeWarning, match=r"compiled code is not used: fetch 0 \(.*\) differs"):
            np.testing.assert_allclose(session.run(y, {x: data}), np.exp(data), rtol=1e-6)
        assert chosen(session) == ["meant"]
        np.testing.assert_allclose(session.run(y, {x: data}), np.exp(data), rtol=1e-6)


def test_where_what_is_assigned_differs_the_meaning_stays(monkeypatch):
    count = gc.Variable(0.0, name="count")
    more = count.assign_add(1.0)
    wrong = [np.float32(2.0)], {"count": np.float32(7.0)}
    monkeypatch.setattr("runtime.tiers.run_whole", lambda *given: wrong)
    with gc.Session(tiered=True, backend="llvm") as session:
        session.run(gc.global_variables_initializer())
        assert session.run(more) == 1
        wait(session)
        with pytest.warns(RuntimeWarning, match="what is assigned to 'count' differs"):
            assert session.run(more) == 2
        assert session.run(more) == 3


def test_what_is_seen_from_outside_is_not_run_twice():
    seen = []

    def note(x):
        seen.append(float(x))
        return x

    x = gc.placeholder("float32", (), name="x")
    y = gc.py_func(note, [x], ("float32", ()))
    with gc.Session(tiered=True, backend="llvm") as session:
        for i in range(4):
            session.run(y, {x: i})
            for thread in [tier.thread for tier in session._compilation._tiers.values() if tier.thread]:
                thread.join()
    assert seen == [0, 1, 2, 3]


def test_what_cannot_be_compiled_fails_in_the_run_that_asks(monkeypatch):
    def broken(self, *given, **more):
        raise RuntimeError("no compiler today")

    monkeypatch.setattr(LlvmBackend, "whole", broken)
    x = gc.placeholder("float32", (4,), name="x")
    with gc.Session(tiered=True, backend="llvm") as session:
        session.run(gc.exp(x), {x: np.ones(4, np.float32)})
        y = gc.sin(x)
        session.run(y, {x: np.ones(4, np.float32)})
        wait(session)
        with pytest.raises(RuntimeError, match="no compiler today"):
            session.run(y, {x: np.ones(4, np.float32)})


def test_a_failing_run_fails_as_without_tiers():
    x = gc.placeholder("int32", (2,), name="x")
    y = gc.gather(gc.constant([1.0, 2.0]), x)
    with gc.Session(tiered=True, backend="llvm") as session:
        session.run(y, {x: [0, 1]})
        wait(session)
        for _ in range(2):
            with pytest.raises(gc.GraphError):
                session.run(y, {x: [0, 5]})
        np.testing.assert_array_equal(session.run(y, {x: [1, 0]}), [2, 1])


def test_compile_waits():
    x = gc.placeholder("float32", (4,), name="x")
    with gc.Session(tiered=True, backend="llvm") as session:
        assert session.compile(gc.exp(x), [x]).native is not None


def test_tiers_are_off_by_default_and_nothing_on_numpy():
    with gc.Session(backend="llvm") as session:
        assert not isinstance(session._compilation, TieredCompilation)
    with gc.Session(tiered=True, backend="numpy") as session:
        assert not isinstance(session._compilation, TieredCompilation)
    with pytest.raises(gc.ArgumentError, match="memory_budget"):
        gc.Session(tiered=True, backend="llvm", memory_budget=1 << 20)


@pytest.mark.parametrize(
    ("x", "y", "same"),
    [
        ([1.0, np.nan, np.inf], [1.0, np.nan, np.inf], True),
        ([1.0, np.nan], [np.nan, 1.0], False),
        ([1.0, 1e-9], [1.0, 2e-9], True),
        ([1.0, 2.0], [1.0, 2.01], False),
        ([np.inf], [-np.inf], False),
        ([], [], True),
    ],
)
def test_what_counts_as_the_same(x, y, same):
    assert _agree(np.array(x, np.float32), np.array(y, np.float32)) is same


def test_integers_are_the_same_or_not():
    assert _agree(np.array([1, 2]), np.array([1, 2]))
    assert not _agree(np.array([1, 2]), np.array([1, 3]))
    assert not _agree(np.array([1, 2]), np.array([1.0, 2.0]))
    assert not _agree(np.array([1, 2]), np.array([[1, 2]]))


def test_locks_that_a_parent_held_are_renewed(held):
    """As after a fork: whoever held them is not there any more, nor is who was compiling."""
    x = gc.placeholder("float32", (3,))
    y = gc.tanh(x)
    with gc.Session(tiered=True, backend="llvm") as session:
        session.run(y, {x: np.zeros(3)})
        compilation = session._compilation
        (tier,) = compilation._tiers.values()
        waiting = tier.thread
        locks = [compilation._lock, compilation._meant._lock]
        compilation.renew_lock()
        assert tier.thread is None
        assert not {id(lock) for lock in locks} & {id(compilation._lock), id(compilation._meant._lock)}
        held.set()
        waiting.join()
        session.run(y, {x: np.zeros(3)})
        assert tier.thread is not None  # it compiles for itself, and nobody waits for it
        wait(session)


def test_without_threads_the_first_run_compiles(monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    x = gc.placeholder("float32", (3,))
    y = gc.tanh(x)
    with gc.Session(tiered=True, backend="llvm") as session:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            found = session.run(y, {x: [1.0, 2.0, 3.0]})
        np.testing.assert_allclose(found, np.tanh([1.0, 2.0, 3.0]), rtol=1e-6)
        assert chosen(session) == ["compiled"]
