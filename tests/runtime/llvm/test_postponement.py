"""What nobody waits for is done later, and before the process ends."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from runtime.llvm_backend.engine import postponement
from runtime.llvm_backend.engine.cache import ByteCache
from runtime.llvm_backend.engine.postponement import catch_up, postpone

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def patient(monkeypatch):
    """Nothing is done before it is asked for."""
    monkeypatch.setattr(postponement, "patience", 1000)
    yield
    catch_up()


def test_it_is_done_in_order_by_a_thread_or_by_who_catches_up(patient, monkeypatch):
    done, by = [], []

    def work(number):
        done.append(number)
        by.append(threading.get_ident())

    for number in range(3):
        postpone(lambda number=number: work(number))
    assert not done
    catch_up()
    assert done == [0, 1, 2]
    assert len(set(by)) == 1
    assert threading.get_ident() not in by
    assert postponement._thread is None
    monkeypatch.setattr(postponement, "patience", 0.001)
    came = threading.Event()
    postpone(came.set)
    assert came.wait(30)
    monkeypatch.setattr(postponement, "patience", 0)
    postpone(lambda: work(4))
    assert by[-1] == threading.get_ident()


def test_what_postpones_more_is_waited_for_too(patient):
    done = []
    postpone(lambda: postpone(lambda: done.append(1)))
    catch_up()
    assert done == [1]


def test_where_no_thread_starts_whoever_catches_up_does_it(patient, monkeypatch):
    def refuse(work, arguments):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(postponement.threads, "start_new_thread", refuse)
    done = []
    postpone(lambda: done.append(1))
    assert not done
    catch_up()
    assert done == [1]


def test_a_cache_has_in_memory_at_once_what_it_writes_later(patient, tmp_path):
    cache = ByteCache(str(tmp_path))
    cache.put("key", b"bytes")
    assert cache.get("key") == b"bytes"
    assert ByteCache(str(tmp_path)).get("key") is None
    catch_up()
    assert ByteCache(str(tmp_path)).get("key") == b"bytes"


CODE = """
import atexit, os, sys, threading
atexit.register(lambda: postponement.postpone(lambda: print("after the end")))
from runtime.llvm_backend.engine import postponement
postponement.patience = 1000
for number in range(3):
    postponement.postpone(lambda number=number: print(number))
"""


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("", "0 1 2 after the end"),
        ("sys.exit(0)", "0 1 2 after the end"),
        ("threading.Thread(target=lambda: postponement.postpone(lambda: print(3))).start()", None),
        ("sys.stdout.flush(); os.fork() or os._exit(0); os.wait()", "0 1 2 after the end"),
        ("os.fork() or (postponement.catch_up(), print('child'), sys.stdout.flush(), os._exit(0)); os.wait()",
         "child 0 1 2 after the end"),
    ],
)  # fmt: skip
def test_a_process_that_ends_waits_for_it_and_a_child_leaves_it_to_its_parent(end, said):
    if "fork" in end and not hasattr(os, "fork"):
        pytest.skip("no fork")
    done = subprocess.run(
        [sys.executable, "-c", CODE + end], env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    assert " ".join(done.stdout.split()) == (said or "0 1 2 3 after the end")
