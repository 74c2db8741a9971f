"""Where nothing is built for a system the engine is compiled beside the kernels of a first run, once."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from runtime.llvm_backend.engine import compiler, llvm, objects

ROOT = Path(__file__).resolve().parents[3]


def test_what_was_begun_is_taken_by_whoever_needs_it_first(monkeypatch):
    gate, made, usual = threading.Event(), [], sys.getswitchinterval()
    compile_past_lock = compiler._compile_past_lock

    def slow(machine, text):
        if "first" in text:
            gate.wait()
        return compile_past_lock(machine, text)

    monkeypatch.setattr(compiler, "_compile_past_lock", slow)
    monkeypatch.setattr(compiler, "_count_cores", lambda: 2)
    jobs = []
    for name in ("first", "second", "third"):
        text = f"define void @{name}() {{\n  ret void\n}}\n"
        jobs += compiler.begin([(name, text, llvm.QUICK)], lambda job: made.append(job.name))
    while compiler._queue and compiler._queue[0][2] is jobs[0]:
        time.sleep(0.001)
    assert sys.getswitchinterval() < usual
    assert compiler.finish(jobs[2:]) == [jobs[2].image]
    assert "first" not in made
    gate.set()
    for job in jobs:
        job.done.wait()
    assert all(job.image for job in jobs)
    while compiler._working:
        time.sleep(0.001)
    with compiler._books:
        assert sys.getswitchinterval() == usual


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
from runtime.llvm_backend.engine import compiler, llvm
"""


def test_a_first_run_compiles_the_engine_and_the_next_process_nothing(tmp_path):
    code = "print(right(), right()); compiler.wait(); print(llvm._load.cache_info().currsize)"
    assert python(code, tmp_path)[:2] == (0, "True True\n1\n")
    assert len(list(tmp_path.glob("*.object"))) >= 5  # three of the engine, kernels, and the template
    loads = "0" if objects.host().architecture == "x86_64" and sys.platform == "linux" else "1"
    assert python(code, tmp_path)[:2] == (0, f"True True\n{loads}\n")


def test_the_engine_is_begun_when_a_session_is_made(tmp_path):
    code = "\nsession.close(); compiler.wait(); print(len(objects._coming))"
    before = """
import os
from runtime.llvm_backend.engine import objects
os.sched_getaffinity = lambda _: {0, 1}
"""
    assert python(code, tmp_path, before)[:2] == (0, "3\n")
    assert len(list(tmp_path.glob("*.object"))) == 3


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
    status, _, errors = python(end, tmp_path)
    assert status == code, errors
    assert "Fatal" not in errors
    if code in (0, 3):
        assert len(list(tmp_path.glob("*.object"))) >= 3  # those of the engine


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
child = os.fork()
if not child:
    os._exit(0 if all(right() for _ in range(5)) else 1)
good = right() and os.waitpid(child, 0)[1] == 0
child = os.fork()
if not child:
    a = gc.placeholder("float32", [5])
    os._exit(0 if gc.Session(threads=2).run(gc.sum(a), {a: np.ones(5, np.float32)}) == 5 else 1)
print(good and os.waitpid(child, 0)[1] == 0)
"""
    assert python(code, tmp_path)[:2] == (0, "True\n")


def test_where_no_thread_can_compile_the_first_run_does(tmp_path):
    before = """
from runtime.llvm_backend.engine import llvm
llvm._open_known = llvm._open_by_llvmlite = lambda: None
"""
    code = "print(right(), right(), llvm.calls())"
    assert python(code, tmp_path, before)[:2] == (0, "True True None\n")


def test_a_process_ends_though_a_thread_of_the_compiler_failed(tmp_path):
    fails = """
from runtime.llvm_backend.engine import llvm
def calls():
    os.write(1, b"it fails")  # the process may end before Python has written all of the traceback
    raise MemoryError
llvm.calls = calls
"""
    status, out, _ = python("", tmp_path, "import os" + fails)
    assert status == 0
    assert "it fails" in out
