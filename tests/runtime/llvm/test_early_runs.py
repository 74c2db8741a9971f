"""Runs that come before the engine is compiled give what all runs give, and do not wait for it."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import graphc as gc
from graphc.errors import GraphError
from runtime.llvm_backend.engine import compiler, llvm, objects, parts
from runtime.llvm_backend.engine.library import Module, load
from runtime.llvm_backend.native import native_program
from runtime.llvm_backend.table.pool import pool
from runtime.llvm_backend.table.steploop import CHUNK, DONE, PAUSED, POSITION, run_function
from runtime.llvm_backend.table.steptable import RunWords, TableBuilder
from runtime.llvm_backend.table.walking import walk

ROOT = Path(__file__).resolve().parents[3]
X = np.random.default_rng(3).standard_normal((33, 20)).astype(np.float32)


@pytest.fixture
def coming(monkeypatch):
    """The parts of the engine come once the list is empty."""
    waited_for = ["all of it"]
    monkeypatch.setattr(parts.Part, "is_coming", lambda part: bool(waited_for))
    monkeypatch.setattr(parts.Part, "is_loaded", property(lambda part: not waited_for))
    return waited_for


def training():
    x = gc.placeholder("float32", [None, 20], name="x")
    w = gc.Variable(np.linspace(-1, 1, 60, dtype=np.float32).reshape(20, 3), name="w")
    b = gc.Variable(np.zeros(3, np.float32), name="b")
    loss = gc.mean(gc.square(gc.nn.softmax(gc.nn.relu(x @ w + b) * 0.5, axis=-1) - 0.25))
    step = gc.train.Adam(0.01).minimize(loss)
    with gc.control_dependencies([step]):
        after = w + 0.0
    return [loss, step, after], x


def loops():
    x = gc.placeholder("float32", [None, 20], name="x")
    state = gc.while_loop(lambda i, s: i < 7, lambda i, s: (i + 1, gc.tanh(s) * 1.5), (gc.constant(0), x))[1]
    chosen = gc.cond(gc.sum(state) > 0, lambda: state - 1.0, lambda: state + 1.0)
    return [gc.cumsum(chosen, axis=0), gc.argsort(x, axis=1), gc.concat([x, state], axis=0)], x


def draws():
    x = gc.placeholder("float32", [None, 20], name="x")
    return [x + gc.random.normal((20,), seed=1), gc.random.uniform((3, 4), seed=2)], x


def steps_in_python():
    x = gc.placeholder("float32", [None, 20], name="x")
    seen = gc.py_func(lambda a: a[::-1].copy(), [gc.exp(x)], [x.type])[0]
    return [gc.sum(seen, axis=0), seen * 2.0], x


def late_sizes():
    x = gc.placeholder("float32", [None, 20], name="x")
    return [gc.boolean_mask(x, gc.sum(x, axis=1) > 0) * 2.0, gc.unique(gc.cast(x * 3.0, "int32"))[0]], x


def flat(results):
    return [np.asarray(value).tobytes() for value in results if value is not None]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("define", [training, loops, draws, steps_in_python, late_sizes])
def test_the_bits_are_those_of_all_runs(define, threads, coming):
    given = [X, X[:7], X[:1], X]
    results = []
    for early in (True, False):
        coming[:] = ["all of it"] if early else []
        with gc.Graph().as_default():
            fetches, x = define()
            with gc.Session(backend="llvm", threads=threads, seed=4) as session:
                session.run(gc.global_variables_initializer())
                call = session.make_callable(fetches, [x])
                results.append([flat(call(a)) for a in given] + [flat(session.run(fetches, {x: given[1]}))])
                executable = session.compile(fetches, [x])
                assert executable.native.early_runs == executable.record["early_runs"] == 5 * early
    assert results[0] == results[1]


def test_a_run_that_fails_says_the_same(coming):
    texts = []
    for early in (True, False):
        coming[:] = ["all of it"] if early else []
        with gc.Graph().as_default():
            x, i = gc.placeholder("float32", [None, 20]), gc.placeholder("int32", [None])
            taken = gc.gather(gc.exp(x), i)
            with gc.Session(backend="llvm") as session:
                with pytest.raises(GraphError) as failed:
                    session.run(taken, {x: X, i: [1, 99]})
                texts.append(str(failed.value))
                np.testing.assert_allclose(session.run(taken, {x: X, i: [1, 0]}), np.exp(X[[1, 0]]), 1e-6)
            with gc.Session(backend="llvm", check_numerics=True) as session:
                with pytest.raises(GraphError) as failed:
                    session.run(gc.log(x - x) * 2.0, {x: X})
                texts.append(str(failed.value))
                with pytest.raises(GraphError) as failed:
                    session.run(taken, {x: X[:, :3], i: [0]})
                texts.append(str(failed.value))
    assert texts[:3] == texts[3:]


def test_a_callable_changes_over_once_the_engine_is_there(coming):
    with gc.Graph().as_default():
        x = gc.placeholder("float32", [None, 20])
        y = gc.exp(x) * 2.0
        with gc.Session(backend="llvm") as session:
            call = session.make_callable(y, [x])
            first = call(X)
            native = session.compile(y, [x]).native
            assert native.is_early()
            assert native.early_runs == 1
            coming.clear()
            assert not native.is_early()
            before = session._native_runs.value
            for _ in range(3):
                np.testing.assert_array_equal(call(X), first)
            assert native.early_runs == 1
            assert session._native_runs.value == before + 2  # the first of them found the way
            assert all(state.words[6] == pool(session.threads).fork for state in native._call.states)


def test_whoever_measures_waits(coming, monkeypatch):
    monkeypatch.setattr(native_program, "wait", lambda threads: coming.clear())
    with gc.Graph().as_default():
        x = gc.placeholder("float32", [None, 20])
        with gc.Session(backend="llvm") as session:
            session.run(gc.exp(x), {x: X})
            profile = session.profile(gc.exp(x), {x: X}, runs=2)
    assert profile.executable.native.early_runs == 0
    assert not coming


def test_many_threads_before_the_engine_is_there(coming):
    with gc.Graph().as_default():
        x = gc.placeholder("float32", [None, 20])
        y = gc.cumsum(gc.exp(x) @ gc.transpose(x), axis=0)
        with gc.Session(backend="llvm") as session:
            call, found = session.make_callable(y, [x]), []
            expected = [call(X[:n]) for n in range(1, 9)]

            def work(n):
                for turn in range(20):
                    found.append((n, np.array_equal(call(X[:n]), expected[n - 1])))
                    if n == 8 and turn == 10:
                        coming.clear()

            threads = [threading.Thread(target=work, args=(n,)) for n in range(1, 9)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert len(found) == 160
    assert all(good for _, good in found)


COUNTING = """
define void @kernel(ptr %block, i64 %chunk) {
  %counts = load ptr, ptr %block
  %at = getelementptr i64, ptr %counts, i64 %chunk
  %old = load i64, ptr %at
  %new = add i64 %old, 1
  store i64 %new, ptr %at
  ret void
}
define void @whole(ptr %block) {
  call void @kernel(ptr %block, i64 0)
  ret void
}
"""


@pytest.mark.parametrize("asked", range(20))
@pytest.mark.parametrize("threads", [1, 2])
def test_the_native_loop_goes_on_where_a_walk_was_left(asked, threads):
    counting = load([Module("counting in chunks", COUNTING, ("kernel", "whole"))])
    function, whole = (counting.address("counting in chunks", name) for name in ("kernel", "whole"))
    builder = TableBuilder()
    block, chunks, i = builder.block((0,)), builder.constant(5), builder.word()
    with builder.counted(i, builder.constant(2)):
        builder.kernel(whole, block)
        builder.parallel(function, block, chunks)
        builder.joint([(function, block, 0, 3), (function, block, 3, 4), (function, block, 4, 5)], [0, 1, 3])
    table = builder.build([counting])
    state, counts = RunWords(table), np.zeros(5, np.int64)
    if threads > 1:
        state.use_pool(pool(threads).fork, pool(threads).state)
    state.words[block] = counts.ctypes.data
    state.begin()
    answers = iter([True] * asked)
    status = walk(state.words, state.address, table.steps, lambda: next(answers, False))
    if asked < 10 or threads == 1:
        assert status == PAUSED
    while status == PAUSED:
        status = run_function()(state.address, table.address)
    assert status == DONE
    assert (counts == [6, 4, 4, 4, 4]).all()
    assert state.words[CHUNK] == 0
    assert state.words[POSITION] == table.steps.nbytes - 64


def test_what_is_for_later_is_made_in_order_and_taken_by_whoever_needs_it(monkeypatch):
    gate, made, usual = threading.Event(), [], sys.getswitchinterval()
    compile_past_lock = compiler._compile_past_lock

    def slow(machine, text):
        if "first" in text:
            gate.wait()
        return compile_past_lock(machine, text)

    monkeypatch.setattr(compiler, "_compile_past_lock", slow)
    texts = {name: f"define void @{name}() {{\n  ret void\n}}\n" for name in ("first", "second", "third")}
    jobs = [
        compiler.begin_later((name, text, llvm.QUICK), lambda job: made.append(job.name))
        for name, text in texts.items()
    ]
    assert all(map(compiler.is_coming, jobs))
    assert sys.getswitchinterval() < usual
    assert compiler.finish(jobs[2:]) == [jobs[2].image]
    assert made == ["third"]
    assert [compiler.is_coming(job) for job in jobs] == [True, True, False]
    gate.set()
    for job in jobs:
        job.done.wait()
    assert made == ["third", "first", "second"]
    assert all(job.image for job in jobs)
    while compiler._working:
        time.sleep(0.001)
    with compiler._books:
        assert sys.getswitchinterval() == usual


def test_what_no_thread_works_on_is_not_coming(monkeypatch):
    monkeypatch.setattr(compiler._Worker, "start", lambda worker: compiler._working.discard(worker))
    module = Module("nobody's", "define void @kernel() {\n  ret void\n}\n; of nobody\n")
    objects.expect([module], later=True)
    assert not objects.is_coming(module)
    assert objects.make_objects([module])


def python(code, folder, before=""):
    own = {"PYTHONPATH": str(ROOT), "GRAPHC_CACHE": str(folder), "GRAPHC_BACKEND": "llvm"}
    done = subprocess.run(
        [sys.executable, "-c", before + BEGUN + code],
        env={**os.environ, **own}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


BEGUN = """
import os, sys, threading
import numpy as np
import graphc as gc
from runtime.llvm_backend.engine import built
built.FOLDER = ""
x = gc.placeholder("float32", [None, 4])
y = gc.exp(x) @ gc.transpose(x)
fed = np.ones((3, 4), np.float32)
expected = np.exp(fed) @ fed.T
session = gc.Session(threads=2)
call = session.make_callable(y, [x])
def right(): return bool(np.allclose(call(fed), expected))
from runtime.llvm_backend.engine import llvm
from runtime.llvm_backend.table import engine
"""
HELD = """
import threading
from runtime.llvm_backend.engine import compiler
held, start = threading.Event(), compiler._Worker.start
compiler._Worker.start = lambda self: threading.Thread(target=lambda: held.wait() and start(self)).start()
"""
SETTLED = """
good = right()
early = session.compile(y, [x]).native.early_runs
'held' in vars() and held.set()
engine.wait(2)
print(good, early, right() and right(), engine.is_coming(2), llvm._load.cache_info().currsize)
"""


def test_a_first_run_waits_for_its_kernels_alone_and_the_next_process_for_nothing(tmp_path):
    assert python(SETTLED, tmp_path, HELD)[:2] == (0, "True 1 True False 1\n")
    loads = "0" if objects.host().architecture == "x86_64" and sys.platform == "linux" else "1"
    assert python(SETTLED, tmp_path)[:2] == (0, f"True 0 True False {loads}\n")


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("", 0),
        ("sys.exit(3)", 3),
        ("raise ValueError", 1),
        ("os._exit(4)", 4),
        ("threading.Thread(target=lambda: [right() for _ in range(10**9)], daemon=True).start()", 0),
        ("threading.Thread(target=lambda: [right() for _ in range(9)]).start()", 0),
        ("del session, call; import gc as garbage; garbage.collect()", 0),
    ],
)
def test_a_process_ends_while_the_engine_is_compiled(end, code, tmp_path):
    status, _, errors = python(f"assert right()\n{end}", tmp_path)
    assert status == code, errors
    assert "Fatal" not in errors
    if code in (0, 3):
        assert len(list(tmp_path.glob("*.object"))) >= 4  # three of the engine, and kernels


def test_a_daemon_thread_that_makes_a_session_takes_nothing_down(tmp_path):
    code = """
def work():
    with gc.Graph().as_default():
        a = gc.placeholder("float32", [5])
        gc.Session(threads=2).run(gc.exp(a) * 3.0, {a: np.ones(5, np.float32)})
    done.set()
done = threading.Event()
thread = threading.Thread(target=work, daemon=True); thread.start(); done.wait()
"""
    status, _, errors = python(code, tmp_path)
    assert (status, errors) == (0, "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_child_runs_though_the_engine_stayed_with_its_parent(tmp_path):
    code = """
good = right()
child = os.fork()
if not child:
    os._exit(0 if all(right() for _ in range(5)) else 1)
good = good and right() and os.waitpid(child, 0)[1] == 0
child = os.fork()
if not child:
    a = gc.placeholder("float32", [5])
    os._exit(0 if gc.Session(threads=2).run(gc.sum(a), {a: np.ones(5, np.float32)}) == 5 else 1)
print(good and os.waitpid(child, 0)[1] == 0)
"""
    assert python(code, tmp_path)[:2] == (0, "True\n")


def test_where_no_thread_can_compile_a_first_run_waits(tmp_path):
    before = """
from runtime.llvm_backend.engine import llvm
llvm._open_known = llvm._open_by_llvmlite = lambda: None
"""
    code = "while engine.is_coming(2): pass" + SETTLED.replace(
        "llvm._load.cache_info().currsize", "llvm.calls()"
    )
    status, text, errors = python(code, tmp_path, before)
    assert (status, text) == (0, "True 0 True False None\n"), errors


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_ctrl_c_ends_an_endless_loop_in_a_walk(coming):
    with gc.Graph().as_default():
        x = gc.placeholder("float32", [4])
        y = gc.while_loop(lambda s: gc.sum(s) < 1e9, lambda s: gc.minimum(s * 1.5, 1e3), (x,))[0]
        with gc.Session(backend="llvm") as session:
            timer = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT))
            timer.start()
            begin = time.monotonic()
            with pytest.raises(KeyboardInterrupt):
                session.run(y, {x: np.ones(4, np.float32)})
            assert time.monotonic() - begin < 20
            np.testing.assert_array_equal(session.run(y, {x: np.full(4, 1e9, np.float32)}), 1e9)


def test_a_process_ends_though_a_thread_of_the_compiler_failed(tmp_path):
    fails = """
from runtime.llvm_backend.engine import llvm
def calls(): raise MemoryError
llvm.calls = calls
"""
    status, _, errors = python("", tmp_path, fails)
    assert status == 0
    assert "MemoryError" in errors
