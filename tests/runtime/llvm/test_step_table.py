"""One native loop runs any table: chains, loops, branches, steps in Python, failures, Ctrl-C."""

import os
import random
import subprocess
import sys
import threading

import numpy as np
import pytest

from graphc.errors import VerificationError
from runtime.llvm_backend.engine.library import Module, load
from runtime.llvm_backend.table.polling import DEADLINE, TICK
from runtime.llvm_backend.table.steploop import (
    DETAIL,
    DONE,
    FAILED,
    FLAG,
    HEADER,
    PAUSED,
    REFUSED,
    VALUE,
    run_function,
)
from runtime.llvm_backend.table.steptable import FAIL_TEXT, RunWords, TableBuilder


def bits_of(value):
    """A number as a word."""
    return int(np.float64(value).view(np.int64))


# out[i] = x[i] * a + b for i < n; the block: out, x, n, a, b
SCALE = """
define void @kernel(ptr %block) {
entry:
  %x.at = getelementptr i64, ptr %block, i64 1
  %n.at = getelementptr i64, ptr %block, i64 2
  %a.at = getelementptr i64, ptr %block, i64 3
  %b.at = getelementptr i64, ptr %block, i64 4
  %out = load ptr, ptr %block
  %x = load ptr, ptr %x.at
  %n = load i64, ptr %n.at
  %a = load double, ptr %a.at
  %b = load double, ptr %b.at
  br label %top
top:
  %i = phi i64 [0, %entry], [%next, %body]
  %more = icmp slt i64 %i, %n
  br i1 %more, label %body, label %done
body:
  %from = getelementptr double, ptr %x, i64 %i
  %v = load double, ptr %from
  %m = fmul double %v, %a
  %r = fadd double %m, %b
  %to = getelementptr double, ptr %out, i64 %i
  store double %r, ptr %to
  %next = add i64 %i, 1
  br label %top
done:
  ret void
}
"""

# *out = *x < limit, of i64; the block: out (a byte), x, limit
LESS = """
define void @kernel(ptr %block) {
  %x.at = getelementptr i64, ptr %block, i64 1
  %limit.at = getelementptr i64, ptr %block, i64 2
  %out = load ptr, ptr %block
  %x = load ptr, ptr %x.at
  %limit = load i64, ptr %limit.at
  %v = load i64, ptr %x
  %c = icmp slt i64 %v, %limit
  %byte = zext i1 %c to i8
  store i8 %byte, ptr %out
  ret void
}
"""

# fails with code 7 and the value where *x is the bad value; the block: flag, x, bad
PICKY = (
    FAIL_TEXT
    + """
define void @kernel(ptr %block) {
  %x.at = getelementptr i64, ptr %block, i64 1
  %bad.at = getelementptr i64, ptr %block, i64 2
  %flag = load ptr, ptr %block
  %x = load ptr, ptr %x.at
  %bad = load i64, ptr %bad.at
  %v = load i64, ptr %x
  %c = icmp eq i64 %v, %bad
  br i1 %c, label %no, label %yes
no:
  call void @fail(ptr %flag, i64 7, i64 %v)
  ret void
yes:
  ret void
}
"""
)

# adds the number of the chunk, plus 1, to counts[chunk]; the block: counts
CHUNK = """
define void @kernel(ptr %block, i64 %chunk) {
  %counts = load ptr, ptr %block
  %at = getelementptr i64, ptr %counts, i64 %chunk
  %old = load i64, ptr %at
  %one = add i64 %chunk, 1
  %new = add i64 %old, %one
  store i64 %new, ptr %at
  ret void
}
"""


@pytest.fixture(scope="module")
def kernels():
    return load(
        [Module("scale", SCALE), Module("less", LESS), Module("picky", PICKY), Module("chunk", CHUNK)]
    )


def scale(builder, kernels, n, a, b):
    block = builder.block((0, 0, n, bits_of(a), bits_of(b)))
    builder.kernel(kernels.address("scale"), block)
    return block


def walk(table, state, python=None, position=0):
    state.begin(position)
    return table.run(state, python)


def test_a_chain_whose_sizes_change_between_runs(kernels):
    builder = TableBuilder()
    n, bytes_ = builder.word(), builder.word()
    x, arena, out = builder.word(), builder.word(), builder.word()
    first, second = (builder.block((0, 0, 0, bits_of(a), bits_of(b))) for a, b in ((2.0, 1.0), (-1.0, 0.5)))
    builder.compute("mul", bytes_, n, builder.constant(8))
    for to, source in (
        (first, arena),
        (first + 1, x),
        (first + 2, n),
        (second, out),
        (second + 1, arena),
        (second + 2, n),
    ):
        builder.move(to, source)
    builder.kernel(kernels.address("scale"), first)
    builder.kernel(kernels.address("scale"), second)
    table = builder.build([kernels])
    state = RunWords(table)
    for size in (0, 1, 5, 1000, 3):
        given, between, result = (np.full(size + 1, 9.0) for _ in range(3))
        given[:size] = np.arange(size)
        state.words[[n, x, arena, out]] = size, given.ctypes.data, between.ctypes.data, result.ctypes.data
        assert walk(table, state) == DONE
        np.testing.assert_array_equal(result[:size], -(given[:size] * 2 + 1) + 0.5)
        assert result[size] == between[size] == 9.0
        assert state.words[bytes_] == 8 * size


@pytest.mark.parametrize("trips", [0, 1, 2, 100])
def test_a_counted_loop(kernels, trips):
    builder = TableBuilder()
    counter, limit = builder.word(), builder.word(trips)
    with builder.counted(counter, limit):
        block = scale(builder, kernels, 1, 1.0, 1.0)
    table = builder.build([kernels])
    state = RunWords(table)
    x = np.zeros(1)
    state.words[[block, block + 1]] = x.ctypes.data
    for _ in range(2):
        x[:] = 0
        assert walk(table, state) == DONE
        assert x[0] == trips


def test_loops_in_loops_and_the_counter_as_an_argument():
    builder = TableBuilder()
    i, j, total = builder.word(), builder.word(), builder.word()
    ten, product = builder.constant(10), builder.word()
    with builder.counted(i, ten), builder.counted(j, i):
        builder.compute("mul", product, i, j)
        builder.compute("add", total, total, product)
    table = builder.build()
    state = RunWords(table)
    assert walk(table, state) == DONE
    assert state.words[total] == sum(i * j for i in range(10) for j in range(i))


@pytest.mark.parametrize(("value", "expected"), [(3, 1), (5, 2)])
def test_a_branch(kernels, value, expected):
    builder = TableBuilder()
    x, truth, result, after = builder.word(value), builder.word(), builder.word(), builder.word()
    block = builder.block((0, 0, 5))
    builder.point(block, truth)
    builder.point(block + 1, x)
    pointer = builder.word()
    builder.point(pointer, truth)
    builder.kernel(kernels.address("less"), block)
    with builder.when(pointer) as choice:
        builder.move(result, builder.constant(1))
    with choice.otherwise():
        builder.move(result, builder.constant(2))
    with builder.when(pointer):
        builder.move(after, builder.constant(1))
    table = builder.build([kernels])
    state = RunWords(table)
    assert walk(table, state) == DONE
    assert state.words[result] == expected
    assert state.words[after] == (expected == 1)


def while_less(builder, kernels, limit, start=0):
    """x = start; while x < limit: x += 1"""
    x, truth, pointer = builder.word(start), builder.word(), builder.word()
    block = builder.block((0, 0, limit))
    builder.point(block, truth)
    builder.point(block + 1, x)
    builder.point(pointer, truth)
    with builder.repeated() as exits:
        builder.kernel(kernels.address("less"), block)
        exits.append(builder.leave_unless(pointer))
        builder.compute("add", x, x, builder.constant(1))
    return x


@pytest.mark.parametrize("limit", [-1, 0, 1, 12345])
def test_a_loop_with_a_condition(kernels, limit):
    builder = TableBuilder()
    x = while_less(builder, kernels, limit)
    table = builder.build([kernels])
    state = RunWords(table)
    assert walk(table, state) == DONE
    assert state.words[x] == max(limit, 0)


def picky(builder, kernels, x, bad):
    block = builder.block((0, 0, bad))
    builder.point(block, FLAG)
    builder.point(block + 1, x)
    builder.kernel(kernels.address("picky"), block)


def test_a_failure_stops_at_the_back_edge(kernels):
    builder = TableBuilder()
    counter, limit, after = builder.word(), builder.constant(1000), builder.word()
    with builder.counted(counter, limit):
        picky(builder, kernels, counter, bad=17)
    builder.move(after, builder.constant(1))
    table = builder.build([kernels])
    state = RunWords(table)
    assert walk(table, state) == FAILED
    assert (state.words[FLAG], state.words[VALUE], state.words[counter]) == (7, 17, 18)
    assert state.words[after] == 0


@pytest.mark.parametrize("before", ["python", "check", "the end"])
def test_a_failure_stops_before_what_cannot_be_undone(kernels, before):
    builder = TableBuilder()
    x, cell, calls = builder.word(3), np.zeros(1, np.int64), []
    picky(builder, kernels, x, bad=3)
    if before != "the end":
        builder.python(0) if before == "python" else builder.check()
        builder.store(builder.constant(cell.ctypes.data), x)
    table = builder.build([kernels])
    state = RunWords(table)
    assert walk(table, state, lambda number, state: calls.append(number)) == FAILED
    assert (cell[0], calls) == (0, [])
    state.words[x] = 4
    assert walk(table, state, lambda number, state: calls.append(number)) == DONE
    assert (cell[0], calls) == (0 if before == "the end" else 4, [0] if before == "python" else [])


def test_a_step_in_python_between_kernels(kernels):
    builder = TableBuilder()
    counter = builder.word()
    with builder.counted(counter, builder.constant(5)):
        block = scale(builder, kernels, 1, 2.0, 0.0)
        builder.python(42)
    table = builder.build([kernels])
    state = RunWords(table)
    x, seen = np.ones(1), []
    state.words[[block, block + 1]] = x.ctypes.data

    def python(number, given):
        assert given is state
        seen.append((number, float(x[0])))
        x[0] += 1
        if len(seen) == 8:
            raise KeyError("the eighth")

    assert walk(table, state, python) == DONE
    assert seen == [(42, 2.0), (42, 6.0), (42, 14.0), (42, 30.0), (42, 62.0)]
    with pytest.raises(KeyError, match="the eighth"):
        walk(table, state, python)
    assert len(seen) == 8


def test_sizes_are_computed_as_python_computes_them():
    names = {
        "add": lambda a, b: a + b,
        "sub": lambda a, b: a - b,
        "mul": lambda a, b: a * b,
        "div": lambda a, b: a // b if b else 0,
        "mod": lambda a, b: a % b if b else 0,
        "maximum": max,
        "minimum": min,
    }
    builder = TableBuilder()
    a, b = builder.word(), builder.word()
    results = {name: builder.word() for name in names}
    for name, to in results.items():
        builder.compute(name, to, a, b)
    table = builder.build()
    state = RunWords(table)
    source = random.Random(0)
    pairs = [(x, y) for x in (-7, -1, 0, 1, 6, 7) for y in (-3, -1, 0, 1, 3)]
    pairs += [(source.randint(-(10**9), 10**9), source.randint(-99, 99)) for _ in range(50)]
    for x, y in pairs:
        state.words[[a, b]] = x, y
        assert walk(table, state) == DONE
        for name, expected in names.items():
            assert state.words[results[name]] == expected(x, y), (name, x, y)
    with pytest.raises(VerificationError, match="power"):
        builder.compute("power", a, a, b)


def test_what_does_not_hold_is_refused():
    builder = TableBuilder()
    a, b, after = builder.word(3), builder.word(3), builder.word()
    builder.at_most(a, b, 11)
    builder.equal(a, b, 12)
    builder.move(after, builder.constant(1))
    table = builder.build()
    state = RunWords(table)
    assert (walk(table, state), state.words[after]) == (DONE, 1)
    state.words[[a, after]] = 4, 0
    assert (walk(table, state), state.words[DETAIL], state.words[after]) == (REFUSED, 11, 0)
    state.words[a] = 2
    assert (walk(table, state), state.words[DETAIL], state.words[after]) == (REFUSED, 12, 0)


def test_loads_stores_and_places_to_begin_at():
    cells = np.array([5, 6], np.int64)
    builder = TableBuilder()
    x = builder.word()
    builder.load(x, builder.constant(cells.ctypes.data))
    builder.end()
    builder.mark("commit")
    builder.store(builder.constant(cells.ctypes.data + 8), x)
    table = builder.build()
    state = RunWords(table)
    assert walk(table, state) == DONE
    assert (state.words[x], list(cells)) == (5, [5, 6])
    assert walk(table, state, position=table.marks["commit"]) == DONE
    assert list(cells) == [5, 5]


def test_parallel_steps_run_each_chunk_once(kernels):
    builder = TableBuilder()
    chunks = builder.word()
    block = builder.word()
    builder.parallel(kernels.address("chunk"), block, chunks)
    table = builder.build([kernels])
    state = RunWords(table)
    for count in (0, 1, 2, 100):
        counts = np.zeros(101, np.int64)
        state.words[[chunks, block]] = count, counts.ctypes.data
        assert walk(table, state) == DONE
        np.testing.assert_array_equal(counts, [i + 1 if i < count else 0 for i in range(101)])


# counts[chunk] += 1, then makes the run look for signals at once; the block: counts, the words of the run
TIRING = """
define void @kernel(ptr %block, i64 %chunk) {{
  %counts = load ptr, ptr %block
  %words.at = getelementptr i64, ptr %block, i64 1
  %words = load ptr, ptr %words.at
  %at = getelementptr i64, ptr %counts, i64 %chunk
  %old = load i64, ptr %at
  %new = add i64 %old, 1
  store i64 %new, ptr %at
  %deadline = getelementptr i64, ptr %words, i64 {0}
  store i64 1, ptr %deadline
  %tick = getelementptr i64, ptr %words, i64 {1}
  store i64 0, ptr %tick
  ret void
}}
"""


def test_a_chunk_before_a_pause_is_not_run_again():
    """Nor is one of the next step left out: it begins with its first."""
    kernel = load([Module("tiring", TIRING.format(DEADLINE, TICK))])
    builder = TableBuilder()
    chunks = builder.constant(7)
    blocks = [builder.block((0, 0)) for _ in range(2)]
    for block in blocks:
        builder.point(block + 1, 0)
        builder.parallel(kernel.address("tiring"), block, chunks)
    table = builder.build([kernel])
    state, counts, pauses = RunWords(table), np.zeros((2, 7), np.int64), 0
    for block, own in zip(blocks, counts, strict=True):
        state.words[block] = own.ctypes.data
    state.begin()
    while (status := run_function()(state.address, table.address)) == PAUSED:
        pauses += 1
        ran = pauses + (pauses > 6)  # after its last chunk no step pauses
        np.testing.assert_array_equal(counts.reshape(14), [1] * ran + [0] * (14 - ran))
    assert (status, pauses) == (DONE, 12)
    np.testing.assert_array_equal(counts, 1)


# Of a step's chunks the first and the last that are left; then it makes the run pause.
BOTH_ENDS = """
define i64 @fork(ptr %pool, ptr %fn, ptr %ctx, i64 %begin, i64 %end, ptr %words) {
  call void %fn(ptr %ctx, i64 %begin)
  %last = sub i64 %end, 1
  %two = icmp slt i64 %begin, %last
  br i1 %two, label %other, label %all
other:
  call void %fn(ptr %ctx, i64 %last)
  %next = add i64 %begin, 1
  %reached = or i64 %next, 4294967296
  ret i64 %reached
all:
  ret i64 %end
}
"""


@pytest.mark.parametrize("chunks", [1, 2, 7, 8])
def test_a_step_that_pauses_again_and_again_keeps_what_was_done_at_both_ends(chunks):
    kernel = load([Module("tiring", TIRING.format(DEADLINE, TICK)), Module("ends", BOTH_ENDS, ("fork",))])
    builder = TableBuilder()
    block = builder.block((0, 0))
    builder.point(block + 1, 0)
    builder.parallel(kernel.address("tiring"), block, builder.constant(chunks))
    table = builder.build([kernel])
    state, counts, pauses = RunWords(table), np.zeros(chunks, np.int64), 0
    state.use_pool(kernel.address("ends", "fork"), 0)
    state.words[block] = counts.ctypes.data
    state.begin()

    while (status := run_function()(state.address, table.address)) == PAUSED:
        pauses += 1
        left = chunks - 2 * pauses
        np.testing.assert_array_equal(counts, [1] * pauses + [0] * left + [1] * pauses)
        assert left > 0
    assert status == DONE
    np.testing.assert_array_equal(counts, 1)


def test_runs_on_many_threads_have_words_of_their_own(kernels):
    builder = TableBuilder()
    limit = builder.word()
    x = while_less(builder, kernels, 200_000)
    builder.move(limit, x)
    table = builder.build([kernels])
    results = []

    def work(start):
        state = RunWords(table)
        state.words[x] = start
        results.append((walk(table, state), int(state.words[limit])))

    threads = [threading.Thread(target=work, args=(1000 * i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [(DONE, 200_000)] * 6


def test_a_builder_refuses_what_has_no_end():
    builder = TableBuilder()
    builder.jump()
    with pytest.raises(VerificationError, match="nowhere"):
        builder.build()
    builder = TableBuilder()
    with builder.when(HEADER) as choice:
        builder.python(1)
    builder.python(2)
    with pytest.raises(VerificationError, match="otherwise"), choice.otherwise():
        pass


INTERRUPTED = """
import os, signal, threading, time
from runtime.llvm_backend.table.steptable import RunWords, TableBuilder
builder = TableBuilder()
x = builder.word()
with builder.repeated():
    builder.compute("add", x, x, builder.constant(1))
table = builder.build()
state = RunWords(table)
sent = []
def send():
    time.sleep(0.3)
    sent.append(time.monotonic())
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=send).start()
state.begin()
try:
    table.run(state)
except KeyboardInterrupt:
    print(time.monotonic() - sent[0], state.words[x] > 1000)
"""


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_ctrl_c_ends_an_endless_native_loop():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout.split()[1] == "True"
