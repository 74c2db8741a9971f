"""Step loop: the native function that walks a table of steps (`steptable` says what is in one).

    i64 run(ptr words, ptr steps)

goes on at the step whose byte offset stands in ``words[POSITION]`` and returns a status. It keeps
nothing on its stack: whoever called may look for signals or run a step in Python, and call again.
It calls no function of Python's, so it needs no GIL.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache

from runtime.llvm_backend.engine.llvm import QUICK
from runtime.llvm_backend.engine.objects import Module
from runtime.llvm_backend.engine.parts import Part
from runtime.llvm_backend.table.forkjoin import HALF
from runtime.llvm_backend.table.joints import TOGETHER_TEXT
from runtime.llvm_backend.table.polling import c_library, clock_imports, due_text

# The first words of a run.
FLAG, VALUE, DETAIL, BUSY, POSITION, CHUNK, FORK, POOL = range(8)
HEADER = 16

# What `run` returns.
DONE, FAILED, PAUSED, PYTHON_STEP, REFUSED = range(5)

# The kinds of steps, in the order of the cases below.
KINDS = (
    *("end", "kernel", "parallel", "python", "jump", "branch", "unless", "until", "repeat", "count", "check"),
    *("at_most", "equal", "move", "add", "sub", "mul", "div", "mod", "maximum", "minimum", "load", "store"),
    *("joint", "part", "copy", "clear"),
)
STEP = 64  # bytes: kind, function, a, b, c, d, two spare

_NAME = "step loop"
_RUN = """
declare ptr @memcpy(ptr, ptr, i64)
declare ptr @memset(ptr, i32, i64)

define i64 @run(ptr %words, ptr %steps) {{
  %offset = alloca i64
  %position.at = getelementptr i64, ptr %words, i64 {position}
  %start = load i64, ptr %position.at
  store i64 %start, ptr %offset
  br label %step
next:
  %before = load i64, ptr %offset
  %after = add i64 %before, {step}
  store i64 %after, ptr %offset
  br label %step
step:
  %here = load i64, ptr %offset
  %s = getelementptr i8, ptr %steps, i64 %here
  %kind = load i64, ptr %s
  %usual = icmp eq i64 %kind, {KERNEL}
  br i1 %usual, label %kernel, label %unusual
kernel:
  %kernel.f.at = getelementptr i64, ptr %s, i64 1
  %kernel.a.at = getelementptr i64, ptr %s, i64 2
  %kernel.f = load ptr, ptr %kernel.f.at
  %kernel.a = load i64, ptr %kernel.a.at
  %kernel.block = getelementptr i8, ptr %words, i64 %kernel.a
  call void %kernel.f(ptr %kernel.block, i64 0)
  br label %next
unusual:
  %ends = icmp eq i64 %kind, {END}
  br i1 %ends, label %end, label %other
other:
  %f.at = getelementptr i64, ptr %s, i64 1
  %a.at = getelementptr i64, ptr %s, i64 2
  %b.at = getelementptr i64, ptr %s, i64 3
  %c.at = getelementptr i64, ptr %s, i64 4
  %d.at = getelementptr i64, ptr %s, i64 5
  %f = load ptr, ptr %f.at
  %a.offset = load i64, ptr %a.at
  %b.offset = load i64, ptr %b.at
  %c = load i64, ptr %c.at
  %d = load i64, ptr %d.at
  %a.word = getelementptr i8, ptr %words, i64 %a.offset
  %b.word = getelementptr i8, ptr %words, i64 %b.offset
  %d.word = getelementptr i8, ptr %words, i64 %d
  switch i64 %kind, label %end [
{cases}
  ]

end:
  %end.flag = load atomic i64, ptr %words acquire, align 8
  %end.failed = icmp ne i64 %end.flag, 0
  br i1 %end.failed, label %failed, label %done
done:
  store i64 %here, ptr %position.at
  ret i64 {DONE}
failed:
  store i64 %here, ptr %position.at
  ret i64 {FAILED}

joint:
  %parts = getelementptr i8, ptr %s, i64 {parts}
  store ptr %parts, ptr %a.word
  br label %parallel
part:
  br label %next

parallel:
  %g = phi ptr [%f, %other], [@together, %joint]
  %all.chunks = load i64, ptr %b.word
  %chunk.at = getelementptr i64, ptr %words, i64 {chunk}
  %held = load i64, ptr %chunk.at
  %first = and i64 %held, {low_half}
  %done.last = lshr i64 %held, {half}
  %chunks = sub i64 %all.chunks, %done.last
  %fork.at = getelementptr i64, ptr %words, i64 {fork}
  %fork = load ptr, ptr %fork.at
  %alone = icmp eq ptr %fork, null
  br i1 %alone, label %serial, label %shared
shared:
  %pool.at = getelementptr i64, ptr %words, i64 {pool}
  %pool = load ptr, ptr %pool.at
  %joined = call i64 %fork(ptr %pool, ptr %g, ptr %a.word, i64 %first, i64 %chunks, ptr %words)
  br label %left
serial:
  %i = phi i64 [%first, %parallel], [%i.next, %more]
  %some = icmp slt i64 %i, %chunks
  br i1 %some, label %one, label %left
one:
  call void %g(ptr %a.word, i64 %i)
  %i.next = add i64 %i, 1
  %tired = call i1 @due(ptr %words)
  br i1 %tired, label %left, label %more
more:
  br label %serial
left:
  %reached = phi i64 [%joined, %shared], [%i, %serial], [%i.next, %one]
  %reached.low = and i64 %reached, {low_half}
  %reached.last = lshr i64 %reached, {half}
  %open.end = sub i64 %chunks, %reached.last
  %rest = icmp slt i64 %reached.low, %open.end
  br i1 %rest, label %interrupted, label %all
all:
  store i64 0, ptr %chunk.at
  br label %next
interrupted:
  %last.before = shl i64 %done.last, {half}
  %held.next = add i64 %reached, %last.before
  store i64 %held.next, ptr %chunk.at
  store i64 %here, ptr %position.at
  ret i64 {PAUSED}

python:
  %python.flag = load atomic i64, ptr %words acquire, align 8
  %python.failed = icmp ne i64 %python.flag, 0
  br i1 %python.failed, label %failed, label %hand_over
hand_over:
  %resume = add i64 %here, {step}
  store i64 %resume, ptr %position.at
  %python.detail = getelementptr i64, ptr %words, i64 {detail}
  store i64 %c, ptr %python.detail
  ret i64 {PYTHON_STEP}

jump:
  br label %to_d
to_d:
  store i64 %d, ptr %offset
  br label %step
branch:
  %bool.at = load ptr, ptr %a.word
  %bool = load i8, ptr %bool.at
  %is_false = icmp eq i8 %bool, 0
  br i1 %is_false, label %to_d, label %next
unless:
  %u = load i64, ptr %a.word
  %is_zero = icmp eq i64 %u, 0
  br i1 %is_zero, label %to_d, label %next
until:
  %until.a = load i64, ptr %a.word
  %until.b = load i64, ptr %b.word
  %reached_limit = icmp sge i64 %until.a, %until.b
  br i1 %reached_limit, label %to_d, label %next
count:
  %counter = load i64, ptr %a.word
  %limit = load i64, ptr %b.word
  %counted = add i64 %counter, 1
  store i64 %counted, ptr %a.word
  %again = icmp slt i64 %counted, %limit
  br i1 %again, label %repeat, label %next
repeat:
  %repeat.flag = load atomic i64, ptr %words acquire, align 8
  %repeat.failed = icmp ne i64 %repeat.flag, 0
  br i1 %repeat.failed, label %failed, label %poll
poll:
  %late = call i1 @due(ptr %words)
  br i1 %late, label %paused, label %to_d
paused:
  store i64 %d, ptr %position.at
  ret i64 {PAUSED}

check:
  %check.flag = load atomic i64, ptr %words acquire, align 8
  %check.failed = icmp ne i64 %check.flag, 0
  br i1 %check.failed, label %failed, label %next
at_most:
  %at_most.a = load i64, ptr %a.word
  %at_most.b = load i64, ptr %b.word
  %fits = icmp sle i64 %at_most.a, %at_most.b
  br i1 %fits, label %next, label %refused
equal:
  %equal.a = load i64, ptr %a.word
  %equal.b = load i64, ptr %b.word
  %same = icmp eq i64 %equal.a, %equal.b
  br i1 %same, label %next, label %refused
refused:
  store i64 %here, ptr %position.at
  %refused.detail = getelementptr i64, ptr %words, i64 {detail}
  store i64 %c, ptr %refused.detail
  ret i64 {REFUSED}

move:
  %moved = load i64, ptr %a.word
  store i64 %moved, ptr %d.word
  br label %next
load:
  %from = load ptr, ptr %a.word
  %loaded = load i64, ptr %from
  store i64 %loaded, ptr %d.word
  br label %next
store:
  %value = load i64, ptr %a.word
  %to = load ptr, ptr %d.word
  store i64 %value, ptr %to
  br label %next
copy:
  %copy.from.at = getelementptr i64, ptr %a.word, i64 1
  %copy.bytes.at = getelementptr i64, ptr %a.word, i64 2
  %copy.to = load ptr, ptr %a.word
  %copy.from = load ptr, ptr %copy.from.at
  %copy.bytes = load i64, ptr %copy.bytes.at
  %copied = call ptr @memcpy(ptr %copy.to, ptr %copy.from, i64 %copy.bytes)
  br label %next
clear:
  %clear.bytes.at = getelementptr i64, ptr %a.word, i64 1
  %clear.to = load ptr, ptr %a.word
  %clear.bytes = load i64, ptr %clear.bytes.at
  %cleared = call ptr @memset(ptr %clear.to, i32 0, i64 %clear.bytes)
  br label %next
{arithmetic}
}}
"""

# Words belong to whoever turned BUSY from 0 to 1.
_CLAIM = """
define i32 @claim(ptr %words) {{
  %busy.at = getelementptr i64, ptr %words, i64 {busy}
  %pair = cmpxchg ptr %busy.at, i64 0, i64 1 acq_rel monotonic
  %mine = extractvalue {{i64, i1}} %pair, 1
  %result = zext i1 %mine to i32
  ret i32 %result
}}
"""

_OPERATION = """
{name}:
  %{name}.a = load i64, ptr %a.word
  %{name}.b = load i64, ptr %b.word
{lines}
  store i64 %{name}.r, ptr %d.word
  br label %next"""

# Division is Python's, rounded down; a divisor of 0 gives 0, as an empty axis has no parts.
_FLOOR = """\
  %{name}.zero = icmp eq i64 %{name}.b, 0
  %{name}.by = select i1 %{name}.zero, i64 1, i64 %{name}.b
  %{name}.q = sdiv i64 %{name}.a, %{name}.by
  %{name}.m = srem i64 %{name}.a, %{name}.by
  %{name}.uneven = icmp ne i64 %{name}.m, 0
  %{name}.x = xor i64 %{name}.m, %{name}.by
  %{name}.apart = icmp slt i64 %{name}.x, 0
  %{name}.down = and i1 %{name}.uneven, %{name}.apart
"""
_LINES = {
    "add": "  %add.r = add i64 %add.a, %add.b",
    "sub": "  %sub.r = sub i64 %sub.a, %sub.b",
    "mul": "  %mul.r = mul i64 %mul.a, %mul.b",
    "div": _FLOOR.format(name="div")
    + "  %div.one = zext i1 %div.down to i64\n"
    + "  %div.f = sub i64 %div.q, %div.one\n"
    + "  %div.r = select i1 %div.zero, i64 0, i64 %div.f",
    "mod": _FLOOR.format(name="mod")
    + "  %mod.add = select i1 %mod.down, i64 %mod.by, i64 0\n"
    + "  %mod.r = add i64 %mod.m, %mod.add",
    "maximum": "  %maximum.c = icmp sgt i64 %maximum.a, %maximum.b\n"
    "  %maximum.r = select i1 %maximum.c, i64 %maximum.a, i64 %maximum.b",
    "minimum": "  %minimum.c = icmp slt i64 %minimum.a, %minimum.b\n"
    "  %minimum.r = select i1 %minimum.c, i64 %minimum.a, i64 %minimum.b",
}
ARITHMETIC = tuple(_LINES)


def loop_module() -> Module:
    """The module of `run` and `claim`."""
    run = _RUN.format(
        position=POSITION,
        chunk=CHUNK,
        half=HALF,
        low_half=(1 << HALF) - 1,
        detail=DETAIL,
        fork=FORK,
        pool=POOL,
        step=STEP,
        parts=2 * STEP,
        END=KINDS.index("end"),
        KERNEL=KINDS.index("kernel"),
        cases="\n".join(
            f"    i64 {i}, label %{kind}" for i, kind in enumerate(KINDS) if kind not in ("end", "kernel")
        ),
        arithmetic="".join(_OPERATION.format(name=name, lines=lines) for name, lines in _LINES.items()),
        DONE=DONE,
        FAILED=FAILED,
        PAUSED=PAUSED,
        PYTHON_STEP=PYTHON_STEP,
        REFUSED=REFUSED,
    )
    text = due_text() + TOGETHER_TEXT + run + _CLAIM.format(busy=BUSY)
    return Module(_NAME, text, ("run", "claim"), effort=QUICK)


def loop_imports() -> dict[str, int]:
    """What that imports."""
    return clock_imports() | c_library("memcpy", "memset")


CODE = Part(_NAME, loop_module, loop_imports)


@cache
def run_function() -> Callable[[int, int], int]:
    """The loop as a function of the addresses of words and steps; it releases the GIL."""
    return ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p)(CODE.address("run"))


@cache
def claim_function() -> Callable[[int], int]:
    """Whether the words at an address were nobody's; now they are the caller's."""
    # With the GIL, where there is one: the native call claims words without atomic operations.
    return ctypes.PYFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)(CODE.address("claim"))
