"""The shortest ways from arrays to results, and many runs at once."""

import gc as garbage
import threading
import weakref

import numpy as np
import pytest

import graphc as gc


def test_runs_beyond_the_words_there_are_wait_for_one_another(monkeypatch):
    monkeypatch.setattr("runtime.llvm_backend.table.call.MOST_STATES", 2)
    x = gc.placeholder("float32", (3,), name="x")
    gate = threading.Barrier(6)
    y = gc.py_func(lambda v: v + 1, [x], ("float32", (3,))) * 2.0
    session = gc.Session(backend="llvm", threads=1)
    step = session.make_callable(y, [x])
    step(np.zeros(3, np.float32))
    monkeypatch.setattr(gc.Session, "_walk", lambda *_: pytest.fail("a run was walked"))
    results = {}

    def work(number):
        gate.wait()
        results[number] = [step(np.full(3, number + i, np.float32)) for i in range(20)]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(6):
        for i, result in enumerate(results[number]):
            np.testing.assert_array_equal(result, np.full(3, 2 * (number + i + 1), np.float32))


@pytest.mark.parametrize("kind", [None, list, tuple])
def test_the_shortest_way_gives_what_the_first_run_gave(kind):
    x, s = gc.placeholder("float32", (4,), name="x"), gc.placeholder("float32", (), name="s")
    tensors = [x * 2.0, gc.sum(x), s + 1.0]
    session = gc.Session(backend="llvm", threads=1)
    feeds = {x: np.arange(4, dtype=np.float32), s: np.float32(3)}
    feeds[s] = np.array(3, np.float32)
    for fetched in tensors if kind is None else [kind(tensors)]:
        first, second, third = (session.run(fetched, dict(feeds)) for _ in range(3))
        for a, b in ((first, second), (first, third)):
            assert type(a) is type(b)
            for u, v in zip([a] if kind is None else a, [b] if kind is None else b, strict=True):
                assert type(u) is type(v)
                np.testing.assert_array_equal(u, v)
        if kind is None and first.shape == ():
            assert isinstance(second, np.float32)
    assert session.compile_count == (3 if kind is None else 1)


def test_runs_on_the_shortest_way_count_and_end_with_the_session():
    x = gc.placeholder("float32", (2,), name="x")
    y, drawn = x + 1.0, gc.random.uniform((3,), seed=4)
    a, b = gc.Session(backend="llvm", threads=1), gc.Session(backend="llvm", threads=1)
    step = a.make_callable(y, [x])
    for i in range(3):
        step(np.zeros(2, np.float32))
        a.run(y, {x: np.zeros(2, np.float32)})
        b.run([y], {x: np.full(2, i, np.float32)})
        b.run(y, {x: np.full(2, i, np.float32)})
    np.testing.assert_array_equal(a.run(drawn), b.run(drawn))  # the draws follow the count of runs
    a.close()
    with pytest.raises(gc.errors.SessionClosedError):
        step(np.zeros(2, np.float32))
    with pytest.raises(gc.errors.SessionClosedError):
        a.run(y, {x: np.zeros(2, np.float32)})


def test_variables_on_the_shortest_way_are_those_of_now():
    x, v = gc.placeholder("float32", (2,), name="x"), gc.Variable(np.ones(2, np.float32), name="v")
    y, more = x * v, v.assign(v + 1.0)
    session = gc.Session(backend="llvm", threads=1)
    with pytest.raises(gc.errors.UninitializedError):
        session.run(y, {x: np.ones(2, np.float32)})
    step = session.make_callable(y, [x])
    with pytest.raises(gc.errors.UninitializedError):
        step(np.ones(2, np.float32))
    session.run(gc.global_variables_initializer())
    for i in range(3):
        for _ in range(2):
            np.testing.assert_array_equal(session.run(y, {x: np.ones(2, np.float32)}), np.full(2, i + 1.0))
            np.testing.assert_array_equal(step(np.ones(2, np.float32)), np.full(2, i + 1.0))
        session.run(more)
    session.close()
    with pytest.raises(gc.errors.SessionClosedError):
        step(np.ones(2, np.float32))


@pytest.mark.parametrize("native", [True, False])
def test_a_step_that_is_held_by_nobody_lets_go_of_its_session(monkeypatch, native):
    if not native:
        monkeypatch.setattr("runtime.llvm_backend.table.builtin.find_trouble", lambda: "a reason")
    x = gc.placeholder("float32", (2,), name="x")
    session = gc.Session(backend="llvm", threads=1)
    step, dies = session.make_callable(x + 1.0, [x]), weakref.ref(session)
    for given in (np.ones(2, np.float32), [1, 1], np.ones(2, np.float32)):
        np.testing.assert_array_equal(step(given), [2, 2])
    with pytest.raises(gc.errors.FeedError, match="1 values are to be fed"):
        step()
    with pytest.raises(gc.errors.FeedError, match="shape"):
        step(np.ones(3, np.float32))
    garbage.collect()
    garbage.disable()
    try:
        del session
        assert dies() is not None
        del step
        assert dies() is None
    finally:
        garbage.enable()


def test_a_step_that_its_session_holds_is_collected_with_it():
    x = gc.placeholder("float32", (2,), name="x")
    session = gc.Session(backend="llvm", threads=1)
    session.step = session.make_callable(gc.py_func(lambda v: v, [x], ("float32", (2,))) + x, [x])
    for _ in range(3):
        session.step(np.ones(2, np.float32))
    dies = weakref.ref(session)
    del session
    garbage.collect()
    assert dies() is None


def test_a_step_that_many_threads_lead_at_once_gives_what_it_should():
    x = gc.placeholder("float32", (), name="x")
    session = gc.Session(backend="llvm", threads=1)
    for _ in range(20):
        step, gate, results = session.make_callable([x + 1.0], [x]), threading.Barrier(4), []

        def work(step, gate, results):
            gate.wait()
            for i in range(50):
                results.append(step(np.array(i, np.float32)) == [i + 1])

        threads = [threading.Thread(target=work, args=(step, gate, results)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [True] * 200
