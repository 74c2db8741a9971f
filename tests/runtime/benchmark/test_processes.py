"""Processes: what a job tells whatever becomes of it, under which limits, in which interpreter."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from runtime.benchmark import processes
from runtime.benchmark.processes import Interpreters, Limits, can_tell_memory, environment, run_job

LIMITS = Limits()


watched = pytest.mark.skipif(not can_tell_memory(), reason="the system does not tell")


def job(**more):
    return {
        "peer": "graphc-numpy",
        "family": "chain",
        "size": 4,
        "threads": 1,
        "parts": ["cold"],
        "seconds": 0.01,
        **more,
    }


def run(tmp_path, limits=LIMITS, **more):
    path = Interpreters((), str(tmp_path)).path_for("graphc")
    return run_job(job(**more), sys.executable, path, environment(str(tmp_path), 1), limits)


def test_a_job_over_its_limit_says_so(tmp_path):
    parts = run(tmp_path, Limits(seconds=0.05))
    assert parts["error"]["text"] == "over the limit of 0.05 s"


@watched
def test_a_job_over_its_memory_says_so(tmp_path):
    parts = run(tmp_path, Limits(seconds=60, megabytes=1), family="ones", size=300)
    assert parts["error"]["text"] == "over the limit of 1 MB"


def test_what_was_told_before_an_error_stays(tmp_path):
    parts = run(tmp_path, parts=["cold", "nonsense"])
    assert parts["cold"]["seconds"] > 0
    assert "nonsense" in parts["error"]["text"]


def test_a_process_that_dies_says_how(tmp_path):
    """What stands first on its path is not graphc."""
    for name in ("graphc", "runtime"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('not this one')\n")
    parts = run_job(job(), sys.executable, str(tmp_path), environment(str(tmp_path), 1), LIMITS)
    assert parts["error"]["text"].startswith("the process ended with status 1")


def test_adapters_need_nothing_of_graphc(tmp_path):
    """What is put next to another Python's libraries imports by itself, where there is no graphc."""
    path = Interpreters((), str(tmp_path)).path_for("jax")
    code = (
        "import sys, runtime.benchmark.worker as worker, runtime.benchmark.peers as peers;"
        "from runtime.benchmark.families import FAMILIES; FAMILIES['lstm'].make(2);"
        "print([m for m in ('graphc', 'passes', 'llvmlite') if m in sys.modules], worker.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=path, env={**os.environ, "PYTHONPATH": path},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.startswith("[] " + path)


# A worker that does what the test wants.


def run_code(tmp_path, code, limits=LIMITS):
    (tmp_path / "runtime" / "benchmark").mkdir(parents=True)
    for folder in (tmp_path / "runtime", tmp_path / "runtime" / "benchmark"):
        (folder / "__init__.py").touch()
    (tmp_path / "runtime" / "benchmark" / "worker.py").write_text(f"import os, sys, time\n{code}\n")
    return run_job(job(), sys.executable, str(tmp_path), environment(str(tmp_path), 1), limits)


LARGE, EXCEEDED = Limits(60, 200), "held = b'x' * (400 << 20); time.sleep(60)"  # once it has done its part


@watched
def test_what_was_told_before_a_limit_stays_and_a_line_that_is_not_whole_does_not(tmp_path):
    code = """print('{"part": "cold", "seconds": 1}\\n{"part": "h', end="", flush=True)"""
    assert run_code(tmp_path, f"{code}\n{EXCEEDED}", LARGE) == {
        "cold": {"seconds": 1}, "error": {"text": "over the limit of 200 MB"},
    }  # fmt: skip


def test_what_an_interpreter_greets_with_is_no_part(tmp_path):
    lines = ["welcome", "[1, 2]", '"part"', '{"part": 3}', '{"part": "cold", "seconds": 1}', "{}"]
    assert run_code(tmp_path, f"print({chr(10).join(lines)!r})") == {"cold": {"seconds": 1}}


def test_a_process_that_tells_nothing_says_so(tmp_path):
    found = run_code(tmp_path, "print('welcome'); sys.stderr.write('not today\\n')")
    assert found == {"error": {"text": "the process ended with status 0: not today"}}


def test_an_end_by_a_signal_has_the_last_line_it_wrote(tmp_path):
    found = run_code(tmp_path, "sys.stderr.write('one\\n[last]\\n'); sys.stderr.flush(); os.abort()")
    assert found["error"]["text"].startswith("the process ended with status ")
    assert found["error"]["text"].endswith("[last]")


@watched
def test_a_limit_ends_what_the_process_started_too(tmp_path):
    code = """
import subprocess
child = subprocess.Popen(["sleep", "60"])
open("child", "w").write(str(child.pid))"""
    assert "error" in run_code(tmp_path, f"{code}\n{EXCEEDED}", LARGE)
    child = (tmp_path / "child").read_text()
    for _ in range(500):
        try:
            state = Path("/proc", child, "stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return
        if ") Z " in state:  # ended, and nobody has asked how
            return
        time.sleep(0.02)
    pytest.fail("it lives on")


@watched
def test_megabytes_are_those_of_the_process():
    before = processes._megabytes(os.getpid())
    held = b"x" * (64 << 20)
    assert 50 < processes._megabytes(os.getpid()) - before < 80
    assert len(held) == 64 << 20
    assert processes._megabytes(-1) == 0


def test_what_a_process_sees(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("GRAPHC_CACHE", "elsewhere")
    seen = environment(str(tmp_path), 3, {"MORE": "1"})
    assert "PYTHONDONTWRITEBYTECODE" not in seen
    caches = ("GRAPHC_CACHE", "TORCHINDUCTOR_CACHE_DIR", "NUMBA_CACHE_DIR", "PYTENSOR_FLAGS")
    assert all(str(tmp_path) in seen[name] for name in caches)
    assert {seen["OMP_NUM_THREADS"], seen["OPENBLAS_NUM_THREADS"]} == {"3"}
    assert seen["MORE"] == "1"
    assert seen["PATH"] == os.environ["PATH"]


# Interpreters.


def test_a_library_is_looked_for_in_all_interpreters_and_not_in_this_folder(monkeypatch, tmp_path):
    looked = []
    real = subprocess.run

    def run(given, **how):
        looked.append(given[0])
        if given[0] == "slow":
            raise subprocess.TimeoutExpired(given, 60)
        return real(given, **how)

    monkeypatch.setattr(subprocess, "run", run)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "graphc_absent.py").touch()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(processes, "LIBRARIES", {"jax": "graphc_absent", "torch": "numpy"})
    interpreters = Interpreters(("slow", "/not/there", sys.executable), str(tmp_path))
    assert interpreters.find("jax") is None
    assert looked == [sys.executable, "slow", "/not/there", sys.executable]
    assert interpreters.find("torch") == sys.executable
    assert interpreters.find("graphc") == sys.executable


@pytest.mark.skipif(os.name != "posix", reason="ends groups of processes")
def test_who_was_interrupted_while_it_looked_ends_the_process_all_the_same():
    """The lock that `Popen.poll` takes is left held where a signal comes between that and its ``try``."""
    process = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True
    )
    with process, process._waitpid_lock:
        ended = threading.Thread(target=processes._end, args=(process,), daemon=True)
        ended.start()
        ended.join(20)
        assert not ended.is_alive()
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)
