"""A run is a transaction: all of it happens, or nothing."""

import os
import threading
import time

import numpy as np
import pytest

import graphc as gc


@pytest.fixture(params=gc.backends())
def session(request):
    with gc.Graph(seed=3).as_default(), gc.Session(backend=request.param) as opened:
        yield opened


def test_assignments_take_effect_together_when_the_run_ends(session):
    a, b = gc.Variable(1.0, name="a"), gc.Variable(2.0, name="b")
    session.run(gc.global_variables_initializer())
    swap = [a.assign(b), b.assign(a)]
    assert session.run([swap, a, b]) == [[2.0, 1.0], 1.0, 2.0]
    assert session.run([a, b]) == [2.0, 1.0]
    with gc.control_dependencies([a.assign(10.0)]):
        after = a + 0.0
    assert session.run([after, a]) == [10.0, 2.0]


def test_what_is_no_tensor_takes_the_dtype_of_the_variable(session):
    v, ones = gc.Variable(np.zeros(3, np.float32)), np.ones(3, np.int64)
    session.run(v.initializer)
    for step, expected in (
        (v.assign(np.array([1.0, 2.0, 3.0])), [1, 2, 3]),
        (v.assign_add(ones), [2, 3, 4]),
        (v.assign_sub([0.5, 1, 2.0]), [1.5, 2, 2]),
        (v.scatter_update([0], np.array([7.0])), [7, 2, 2]),
        (v.scatter_add([0, 0], ones[:2]), [9, 2, 2]),
    ):
        assert session.run(step).tolist() == expected
    with pytest.raises(gc.DTypeError, match="cast it"):
        v.assign_add(gc.constant(np.ones(3)))


def test_a_failing_run_changes_nothing_and_does_not_count(session):
    w, index = gc.Variable([1.0, 2.0], name="w"), gc.placeholder("int64", (), name="index")
    draw = gc.random.uniform((2,))
    step = [w.assign_add([1.0, 1.0]), gc.gather(w, index), draw]
    session.run(w.initializer)
    with pytest.raises(gc.IndexOutOfRangeError):
        session.run(step, {index: 5})
    with pytest.raises(gc.CheckError, match="never"):
        session.run([w.assign_add([1.0, 1.0]), gc.check(gc.constant(False), "never")])
    assert session.run(w).tolist() == [1, 2]
    drawn = session.run(step, {index: 0})[2]
    with gc.Session() as other:
        other.run(w.initializer)
        other.run(w)
        np.testing.assert_array_equal(other.run(step, {index: 0})[2], drawn)


def test_ctrl_c_commits_nothing_and_passes_through(session, monkeypatch):
    from graphc.op import OPS

    w = gc.Variable(1.0, name="w")
    session.run(w.initializer)

    def interrupted(x):
        raise KeyboardInterrupt

    monkeypatch.setattr(OPS["tanh"], "meaning", interrupted)
    with pytest.raises(KeyboardInterrupt):
        session.run([w.assign(5.0), gc.tanh(gc.constant(1.0))])
    assert session.run(w) == 1.0


def test_a_foreign_exception_stays_itself_and_gains_a_note(session, monkeypatch):
    from graphc.op import OPS

    raised = MemoryError("no room")

    def failing(*_, **__):
        raise raised

    monkeypatch.setattr(OPS["unique"], "meaning", failing)
    with pytest.raises(MemoryError) as caught:
        session.run(gc.cond(gc.constant(True), lambda: gc.unique([1.0]), lambda: gc.constant([0.0])))
    assert caught.value is raised
    assert len(raised.__notes__) == 1
    assert "while running unique" in raised.__notes__[0]
    assert "test_transactions.py" in raised.__notes__[0]


def test_reading_before_initialising(session):
    w = gc.Variable([1.0], name="w")
    for fetches in (w, w * 2.0, w.assign_add([1.0])):
        with pytest.raises(gc.UninitializedError) as caught:
            session.run(fetches)
        text = str(caught.value)
        assert "variable 'w' has no value" in text
        assert "test_transactions.py" in text
        assert "gc.global_variables_initializer() or session.restore(path)" in text


def test_sessions_share_no_state(session):
    w = gc.Variable(0.0, name="w")
    session.run(w.initializer)
    with gc.Session() as other:
        other.run(w.initializer)
        other.run(w.assign(5.0))
        assert (session.run(w), other.run(w)) == (0.0, 5.0)


def test_each_run_draws_anew_and_a_seed_repeats(session):
    draw = gc.random.uniform((3,))
    runs = [session.run(draw) for _ in range(3)]
    assert len({r.tobytes() for r in runs}) == 3
    with gc.Session() as again, gc.Session(seed=1) as other:
        np.testing.assert_array_equal([again.run(draw) for _ in range(3)], runs)
        assert (other.run(draw) != runs[0]).any()


def test_threads_that_assign_are_serialised_and_readers_see_whole_commits(session):
    n = gc.Variable(np.zeros(100), name="n")
    m = gc.Variable(np.zeros(100), name="m")
    session.run(gc.global_variables_initializer())
    both = gc.group(n.assign_add(np.ones(100)), m.assign_sub(np.ones(100)))
    total = [n, m]
    torn, failed = [], []

    def work(body):
        try:
            for _ in range(50):
                body()
        except Exception as error:
            failed.append(error)

    def read():
        x, y = session.run(total)
        if (x != x[0]).any() or (x + y).any():
            torn.append((x, y))

    threads = [threading.Thread(target=work, args=(b,)) for b in (lambda: session.run(both), read) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not torn
    assert not failed
    assert session.run(n)[0] == 100


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork with threads: what is tested
def test_a_forked_child_still_works(session):
    w = gc.Variable(1.0, name="w")
    session.run(w.initializer)
    holding, done = threading.Event(), threading.Event()

    def hold():
        with session._writing:
            holding.set()
            done.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    holding.wait(10)
    child = os.fork()
    if child == 0:
        os._exit(0 if session.run(w.assign_add(1.0)) == 2.0 else 1)
    _, status = os.waitpid(child, 0)
    done.set()
    thread.join()
    assert os.waitstatus_to_exitcode(status) == 0


def test_cond_runs_one_branch_and_commits_what_it_assigns(session):
    w = gc.Variable(1.0, name="w")
    flag = gc.placeholder("bool", (), name="flag")
    result = gc.cond(flag, lambda: w.assign_add(1.0), lambda: w.assign(100.0))
    session.run(w.initializer)
    assert session.run(result, {flag: True}) == 2.0
    assert session.run(result, {flag: False}) == 100.0
    assert session.run(w) == 100.0


def test_what_a_run_stored_is_not_handed_out(session):
    v = gc.Variable(np.zeros(3, np.float32))
    session.run(v.initializer)
    for fetch in (v.assign_add(np.ones(3, np.float32)), v, v.value()):
        session.run(fetch)[:] = 7
        assert not session._state.variables[v.name].flags.writeable
    np.testing.assert_array_equal(session.run(v), [1, 1, 1])


def test_a_run_that_waited_for_another_sees_what_it_committed(session):
    v = gc.Variable(0.0)
    begun, waiting = threading.Event(), threading.Event()

    def slow(x):
        begun.set()
        waiting.wait(10)
        time.sleep(0.05)  # the other run reaches the lock
        return x

    first = v.assign(v + gc.py_func(slow, [gc.constant(1.0)], ("float32", ())))
    second = v.assign_add(10.0)
    session.run(v.initializer)
    session.compile(second)
    other = threading.Thread(target=session.run, args=(first,))
    other.start()
    begun.wait(10)
    waiting.set()
    session.run(second)
    other.join()
    assert session.run(v) == 11


def test_equal_effects_each_happen(session, capsys):
    x, calls = gc.constant(2.0), []

    def count(value):
        calls.append(value)
        return value

    steps = [gc.py_func(count, [x], ("float32", ())) for _ in range(2)]
    session.run([steps, [gc.print(x, "twice") for _ in range(2)]])
    assert len(calls) == 2
    assert "".join(capsys.readouterr()).count("twice") == 2


def test_effects_of_equal_regions_each_happen(session, capsys):
    flag = gc.placeholder("bool", ())

    def tell():
        with gc.control_dependencies([gc.print(gc.constant(2.0), "told")]):
            return gc.constant(1.0)

    session.run([gc.cond(flag, tell, lambda: gc.constant(0.0)) for _ in range(2)], {flag: True})
    assert "".join(capsys.readouterr()).count("told") == 2
