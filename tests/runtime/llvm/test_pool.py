"""Every chunk runs once and once only, whoever else is at work, sleeps, forks, or is interrupted."""

import ctypes
import os
import statistics
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from runtime.llvm_backend.engine.library import Module, load
from runtime.llvm_backend.table.forkjoin import MOST_CHUNKS, SLEEPERS, workers_can_be
from runtime.llvm_backend.table.pool import Pool, pool
from runtime.llvm_backend.table.steptable import RunWords, TableBuilder

# counts[chunk] += 1 after some turns; the context: counts, turns
COUNT = """
define void @kernel(ptr %ctx, i64 %chunk) {
entry:
  %turns.at = getelementptr i64, ptr %ctx, i64 1
  %counts = load ptr, ptr %ctx
  %turns = load i64, ptr %turns.at
  br label %top
top:
  %i = phi i64 [0, %entry], [%next, %top]
  %next = add i64 %i, 1
  %at = getelementptr i64, ptr %counts, i64 %chunk
  %old = load volatile i64, ptr %at
  %more = icmp slt i64 %next, %turns
  br i1 %more, label %top, label %done
done:
  %new = add i64 %old, 1
  store i64 %new, ptr %at
  ret void
}
"""

# chunk i runs a job of its own, with the context rows[i]
NESTED = """
declare void @parallel(ptr, ptr, i64)
declare void @count(ptr, i64)
define void @kernel(ptr %rows, i64 %chunk) {
  %at = getelementptr {ptr, i64}, ptr %rows, i64 %chunk
  call void @parallel(ptr @count, ptr %at, i64 50)
  ret void
}
"""

# ids[chunk] = the number of the thread
WHO = """
declare i64 @syscall(i64, ...)
define void @kernel(ptr %ids, i64 %chunk) {
  %id = call i64 (i64, ...) @syscall(i64 NUMBER)
  %at = getelementptr i64, ptr %ids, i64 %chunk
  store i64 %id, ptr %at
  ret void
}
"""


@pytest.fixture(scope="module")
def count():
    library = load([Module("count", COUNT)])
    return library.address("count"), library


def context(counts, turns=1):
    return (ctypes.c_int64 * 2)(counts.ctypes.data, turns)


def check(threads, function, chunks, turns=1):
    counts = np.zeros(chunks + 1, np.int64)
    given = context(counts, turns)
    pool(threads).run(function, ctypes.addressof(given), chunks)
    assert (counts[:chunks] == 1).all()
    assert counts[chunks] == 0


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("chunks", [0, 1, 2, 7, 1000, MOST_CHUNKS, 2 * MOST_CHUNKS + 5])
def test_each_chunk_runs_once(count, threads, chunks):
    for _ in range(3):
        check(threads, count[0], chunks)


def test_many_jobs_hot_and_asleep(count):
    for i in range(2000):
        check(2, count[0], 1 + i % 9)
    for _ in range(5):
        time.sleep(0.01)
        check(3, count[0], 40, turns=1000)


def test_eight_threads_at_once(count):
    failures = []

    def work():
        try:
            for i in range(200):
                check(2, count[0], 3 + i % 50, turns=20)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_job_within_a_job(count):
    shared = pool(2)
    imports = {"parallel": shared.parallel, "count": count[0]}
    nested = load([Module("nested", NESTED, imports=imports)])
    counts = np.zeros((10, 50), np.int64)
    rows = np.array([[row.ctypes.data, 1] for row in counts])
    shared.run(nested.address("nested"), rows.ctypes.data, 10)
    assert (counts == 1).all()


@pytest.mark.skipif(
    not workers_can_be() or os.uname().machine != "x86_64", reason="asks Linux for thread ids"
)
def test_workers_take_part():
    from runtime.llvm_backend.table.polling import address_of

    imports = {"syscall": address_of(ctypes.CDLL(None).syscall)}
    who = load([Module("who", WHO.replace("NUMBER", "186"), imports=imports)])
    ids, seen, until = np.zeros(5000, np.int64), set(), time.monotonic() + 30
    while len(seen) < 2 and time.monotonic() < until:
        pool(2).run(who.address("who"), ids.ctypes.data, len(ids))
        seen.update(ids.tolist())
    assert len(seen) == 2
    assert threading.get_native_id() in seen


@pytest.mark.skipif(not workers_can_be(), reason="there are no workers")
def test_workers_wait_awake_for_a_time_whatever_a_pause_takes(count):
    own = Pool(2)
    own.start()
    asleep = ctypes.c_int32.from_address(own.state + SLEEPERS)
    counts = np.zeros(2, np.int64)
    given = context(counts)
    waited = []
    try:
        for _ in range(25):
            while asleep.value:
                own.run(count[0], ctypes.addressof(given), 2)
            begun = time.perf_counter_ns()
            own.run(count[0], ctypes.addressof(given), 2)
            while not asleep.value:
                pass
            waited.append(time.perf_counter_ns() - begun)
    finally:
        own.stop()
    assert statistics.median(waited) >= 30_000


def test_stop_and_start(count):
    many = pool(5)
    check(5, count[0], 100)
    many.stop()
    assert many.workers == 0
    counts = np.zeros(10, np.int64)
    given = context(counts)
    many.run(count[0], ctypes.addressof(given), 10)
    assert (counts == 1).all()
    check(5, count[0], 100)
    assert many.workers == (4 if workers_can_be() else 0)


@pytest.mark.parametrize(("many", "turns"), [(4000, 60_000), (MOST_CHUNKS + 3000, 8000), (5, 60_000_000)])
def test_a_parallel_step_goes_on_after_pauses(count, many, turns):
    builder = TableBuilder()
    chunks = builder.word(many)
    block = builder.block((0, turns))
    builder.parallel(count[0], block, chunks)
    table = builder.build([count[1]])
    for threads in (1, 2):
        state = RunWords(table)
        shared = pool(threads)
        state.use_pool(shared.fork, shared.state)
        counts = np.zeros(many, np.int64)
        state.words[block] = counts.ctypes.data
        state.begin()
        assert table.run(state) == 0
        assert (counts == 1).all()
    check(2, count[0], 100)


def run_python(code):
    code = (
        "import ctypes, os, signal, sys, threading, time, warnings\n"
        "import numpy as np\n"
        "warnings.simplefilter('ignore')\n"
        "from runtime.llvm_backend.engine.library import Module, load\n"
        "from runtime.llvm_backend.table.pool import pool\n"
        "from runtime.llvm_backend.table.steptable import RunWords, TableBuilder\n"
        f"library = load([Module('count', '''{COUNT}''')])\n"
        "def job(shared, chunks=100, turns=100):\n"
        "    counts = np.zeros(chunks, np.int64)\n"
        "    given = (ctypes.c_int64 * 2)(counts.ctypes.data, turns)\n"
        "    shared.run(library.address('count'), ctypes.addressof(given), chunks)\n"
        "    return bool((counts == 1).all())\n" + code
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120
    )


FORKS = """
shared = pool(2)
assert job(shared)
stop = False
def churn():
    while not stop: job(shared)
threads = [threading.Thread(target=churn) for _ in range(2)]
for thread in threads: thread.start()
codes = []
for _ in range(10):
    child = os.fork()
    if child == 0:
        good = shared.workers == 0 and job(shared)
        good = good and pool(2) is shared and shared.workers == 1 and all(job(shared) for _ in range(50))
        os._exit(0 if good else 1)
    codes.append(os.waitpid(child, 0)[1])
stop = True
for thread in threads: thread.join()
print(codes, job(shared))
"""


@pytest.mark.skipif(not workers_can_be(), reason="has no workers")
def test_a_child_after_fork():
    done = run_python(FORKS)
    assert done.stdout.strip() == f"{[0] * 10} True", done.stderr


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("", 0),
        ("raise SystemExit(3)", 3),
        ("pool(3).stop()", 0),
        ("threading.Thread(target=lambda: [job(pool(3)) for _ in range(10**9)], daemon=True).start()", 0),
        (
            "child = os.fork()\n"
            "if not child: sys.exit(0 if job(pool(3)) else 1)\n"
            "assert os.waitpid(child, 0)[1] == 0",
            0,
        ),
    ],
)
def test_the_process_ends_cleanly(end, code):
    if "fork" in end and not hasattr(os, "fork"):
        pytest.skip("the system has no fork")
    done = run_python("assert job(pool(3))\n" + end)
    assert (done.returncode, done.stderr) == (code, "")


BUSY_CORES = """
def burn():
    while True: pass
children = []
for _ in range(os.cpu_count()):
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        burn()
    children.append(child)
good = all(job(pool(4), 64, 10_000) for _ in range(50))
for child in children: os.kill(child, signal.SIGKILL); os.waitpid(child, 0)
print(good)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_jobs_end_where_every_core_is_busy():
    done = run_python(BUSY_CORES)
    assert done.stdout.strip() == "True", done.stderr


INTERRUPTED = """
builder = TableBuilder()
chunks = builder.word(10**6)
counts = np.zeros(10**6, np.int64)
block = builder.block((counts.ctypes.data, 10**6))
builder.parallel(library.address('count'), block, chunks)
table = builder.build()
state = RunWords(table)
shared = pool(2)
state.use_pool(shared.fork, shared.state)
def send():
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=send, daemon=True).start()
state.begin()
try:
    table.run(state)
except KeyboardInterrupt:
    before = counts.sum()
    time.sleep(0.05)
    print(0 < before < 10**6, counts.sum() == before, counts.max(), job(shared))
"""


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_ctrl_c_ends_a_parallel_step():
    done = run_python(INTERRUPTED)
    assert done.stdout.split() == ["True", "True", "1", "True"], done.stderr
