"""Fork and join: the native functions of a pool of threads.

    i64 fork(ptr pool, ptr fn, ptr ctx, i64 begin, i64 end, ptr words)

calls ``fn(ctx, chunk)`` for each chunk from `begin` to below `end`, on the calling thread and on what
workers are awake, and returns `end`. Where the clock of `words` (`polling`; null: none) ran out before, it
returns the first chunk that nobody began, plus 2**32 times the number of chunks at the end that are done.
Chunks are claimed one by one from a ticket, a single word:

    generation : 32 | above : 16 | next : 16

The caller takes chunk `next`, and workers the one below `above`, each from its own end: what a thread took of
some weights in one call it takes in the next, and finds in its cache. Of a job of several tickets all take
`next`. A caller finishes alone where no worker gets to run: on one core, on a busy one, after a fork. A
worker claims by compare-and-swap of the ticket it has seen, and what it read of the job before is of the same
generation if that succeeds. Workers wait in `worker(pool)`: awake for the nanoseconds that stand in the word
SPIN, then asleep on the generation. A caller that finds the pool at work, perhaps its own, runs its chunks
alone.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from runtime.llvm_backend.engine.llvm import QUICK
from runtime.llvm_backend.engine.machine import architecture, host
from runtime.llvm_backend.engine.objects import Module
from runtime.llvm_backend.table.polling import c_library, clock_imports, due_text

# A pool's state, in bytes; what different threads write stands on different cache lines.
TICKET, FUNCTION, CONTEXT, BASE, DOWN, FINISHED, SLEEPERS, STOP, BUSY, WORKERS, SPIN = (
    *(0, 64, 72, 80, 88, 128, 192, 196, 256, 320, 328),
)
STATE_BYTES = 384
HALF = 32  # bits of each half of what `fork` gives
MOST_CHUNKS = 1 << 15  # of one ticket; longer jobs take several
_PAUSES = 64  # between looks at the clock: on CPUs one takes from 5 to 50 ns
_FUTEX = {"x86_64": 202, "aarch64": 98, "riscv64": 98}  # number of the system call, by uname
_PAUSE = {
    "x86_64": ("call void @llvm.x86.sse2.pause()", "declare void @llvm.x86.sse2.pause()\n"),
    "aarch64": ("call void @llvm.aarch64.hint(i32 1)", "declare void @llvm.aarch64.hint(i32)\n"),
}
_WAIT, _WAKE = 128, 129  # FUTEX_WAIT and FUTEX_WAKE, private to the process: linux/futex.h


def workers_can_be() -> bool:
    """Whether this system has what workers sleep on; where it has not, all runs on the calling thread."""
    return sys.platform.startswith("linux") and architecture() in _FUTEX


NAME = "fork join"
_ALONE = """
define internal i64 @alone(ptr %fn, ptr %ctx, i64 %begin, i64 %end, ptr %words) {
entry:
  %polls = icmp ne ptr %words, null
  br label %top
top:
  %i = phi i64 [%begin, %entry], [%next, %ask], [%next, %one]
  %some = icmp slt i64 %i, %end
  br i1 %some, label %one, label %over
one:
  call void %fn(ptr %ctx, i64 %i)
  %next = add i64 %i, 1
  br i1 %polls, label %ask, label %top
ask:
  %late = call i1 @due(ptr %words)
  br i1 %late, label %leave, label %top
leave:
  ret i64 %next
over:
  ret i64 %end
}
"""

_SERIAL = """
define i64 @fork(ptr %pool, ptr %fn, ptr %ctx, i64 %begin, i64 %end, ptr %words) {
  %reached = call i64 @alone(ptr %fn, ptr %ctx, i64 %begin, i64 %end, ptr %words)
  ret i64 %reached
}
"""

# What both the worker and the fork look at.
_FIELDS = """\
  %fn.at = getelementptr i8, ptr %pool, i64 {FUNCTION}
  %ctx.at = getelementptr i8, ptr %pool, i64 {CONTEXT}
  %base.at = getelementptr i8, ptr %pool, i64 {BASE}
  %down.at = getelementptr i8, ptr %pool, i64 {DOWN}
  %finished.at = getelementptr i8, ptr %pool, i64 {FINISHED}
  %sleepers.at = getelementptr i8, ptr %pool, i64 {SLEEPERS}
  %spin.at = getelementptr i8, ptr %pool, i64 {SPIN}
  %generation.at = getelementptr i8, ptr %pool, i64 4
"""

# A pause, and now and then a look at the clock: `again` while one waits awake, `late` when the time is over.
_AWAKE = """\
pause:
  {pause}
  %k.next = add i64 %k, 1
  %since.look = and i64 %k, {looks}
  %looks = icmp eq i64 %since.look, 0
  br i1 %looks, label %look, label %{again}
look:
  %now = call i64 @now()
  %waited = sub i64 %now, %begun
  %awake = icmp ult i64 %waited, %spin
  br i1 %awake, label %{again}, label %{late}
"""

_WORKER = """
define void @worker(ptr %pool) {{
entry:
{fields}  %stop.at = getelementptr i8, ptr %pool, i64 {STOP}
  br label %top
top:
  %ticket = load atomic i64, ptr %pool acquire, align 8
  %next = and i64 %ticket, 65535
  %upper = lshr i64 %ticket, 16
  %above = and i64 %upper, 65535
  %some = icmp ult i64 %next, %above
  br i1 %some, label %claim, label %wait
claim:
  %fn = load atomic ptr, ptr %fn.at monotonic, align 8
  %ctx = load atomic ptr, ptr %ctx.at monotonic, align 8
  %base = load atomic i64, ptr %base.at monotonic, align 8
  %down = load atomic i64, ptr %down.at monotonic, align 8
  %downwards = icmp ne i64 %down, 0
  %upper.taken = sub i64 %ticket, 65536
  %lower.taken = add i64 %ticket, 1
  %taken = select i1 %downwards, i64 %upper.taken, i64 %lower.taken
  %pair = cmpxchg ptr %pool, i64 %ticket, i64 %taken acq_rel monotonic
  %mine = extractvalue {{i64, i1}} %pair, 1
  br i1 %mine, label %work, label %top
work:
  %highest = sub i64 %above, 1
  %claimed = select i1 %downwards, i64 %highest, i64 %next
  %chunk = add i64 %base, %claimed
  call void %fn(ptr %ctx, i64 %chunk)
  %before = atomicrmw add ptr %finished.at, i64 1 release
  br label %top
wait:
  %stop = load atomic i32, ptr %stop.at acquire, align 4
  %ends = icmp ne i32 %stop, 0
  br i1 %ends, label %exit, label %spins
spins:
  %spin = load i64, ptr %spin.at
  %begun = call i64 @now()
  br label %spinning
spinning:
  %k = phi i64 [1, %spins], [%k.next, %pause], [%k.next, %look]
  %seen = load atomic i64, ptr %pool acquire, align 8
  %changed = icmp ne i64 %seen, %ticket
  br i1 %changed, label %top, label %pause
{spinning}sleep:
  %s1 = atomicrmw add ptr %sleepers.at, i32 1 seq_cst
  %generation = lshr i64 %ticket, 32
  %slept = call i64 (i64, ...) @syscall(i64 {futex}, ptr %generation.at, i64 {wait}, i64 %generation,
    ptr null)
  %s2 = atomicrmw sub ptr %sleepers.at, i32 1 seq_cst
  br label %top
exit:
  ret void
}}

define void @stop(ptr %pool) {{
  %stop.at = getelementptr i8, ptr %pool, i64 {STOP}
  %generation.at = getelementptr i8, ptr %pool, i64 4
  store atomic i32 1, ptr %stop.at seq_cst, align 4
  %old = atomicrmw add ptr %pool, i64 4294967296 seq_cst
  %rc = call i64 (i64, ...) @syscall(i64 {futex}, ptr %generation.at, i64 {wake}, i64 2147483647, ptr null)
  ret void
}}
"""

_FORK = """
define i64 @fork(ptr %pool, ptr %fn, ptr %ctx, i64 %begin, i64 %end, ptr %words) {{
entry:
{fields}  %busy.at = getelementptr i8, ptr %pool, i64 {BUSY}
  %workers.at = getelementptr i8, ptr %pool, i64 {WORKERS}
  %polls = icmp ne ptr %words, null
  %all = sub i64 %end, %begin
  %several = icmp sgt i64 %all, 1
  %workers = load atomic i64, ptr %workers.at monotonic, align 8
  %helped = icmp sgt i64 %workers, 0
  %worthwhile = and i1 %several, %helped
  br i1 %worthwhile, label %lock, label %alone
lock:
  %lock.pair = cmpxchg ptr %busy.at, i64 0, i64 1 acq_rel monotonic
  %locked = extractvalue {{i64, i1}} %lock.pair, 1
  br i1 %locked, label %open, label %alone
alone:
  %reached = call i64 @alone(ptr %fn, ptr %ctx, i64 %begin, i64 %end, ptr %words)
  ret i64 %reached

open:
  %base = phi i64 [%begin, %lock], [%base.next, %joined]
  %left = sub i64 %end, %base
  %fits = icmp ult i64 %left, {most}
  %chunks = select i1 %fits, i64 %left, i64 {most}
  store atomic ptr %fn, ptr %fn.at monotonic, align 8
  store atomic ptr %ctx, ptr %ctx.at monotonic, align 8
  store atomic i64 %base, ptr %base.at monotonic, align 8
  %down = zext i1 %fits to i64
  store atomic i64 %down, ptr %down.at monotonic, align 8
  store atomic i64 0, ptr %finished.at monotonic, align 8
  %old = load atomic i64, ptr %pool monotonic, align 8
  %g.old = lshr i64 %old, 32
  %g.new = add i64 %g.old, 1
  %g = shl i64 %g.new, 32
  %c = shl i64 %chunks, 16
  %ticket.new = or i64 %g, %c
  %x = atomicrmw xchg ptr %pool, i64 %ticket.new seq_cst
  %sleepers = load atomic i32, ptr %sleepers.at seq_cst, align 4
  %asleep = icmp sgt i32 %sleepers, 0
  br i1 %asleep, label %wake, label %claims
wake:
  %others = sub i64 %chunks, 1
  %rc = call i64 (i64, ...) @syscall(i64 {futex}, ptr %generation.at, i64 {wake}, i64 %others, ptr null)
  br label %claims

claims:
  %ticket = load atomic i64, ptr %pool acquire, align 8
  %next = and i64 %ticket, 65535
  %upper = lshr i64 %ticket, 16
  %above = and i64 %upper, 65535
  %some = icmp ult i64 %next, %above
  br i1 %some, label %claim, label %join
claim:
  %taken = add i64 %ticket, 1
  %pair = cmpxchg ptr %pool, i64 %ticket, i64 %taken acq_rel monotonic
  %mine = extractvalue {{i64, i1}} %pair, 1
  br i1 %mine, label %work, label %claims
work:
  %chunk = add i64 %base, %next
  call void %fn(ptr %ctx, i64 %chunk)
  %before = atomicrmw add ptr %finished.at, i64 1 release
  br i1 %polls, label %ask, label %claims
ask:
  %late = call i1 @due(ptr %words)
  br i1 %late, label %close, label %claims
close:
  ; No chunk of this ticket can be claimed any more: it has another generation, and none to give.
  %g.closed = add i64 %g, 4294967296
  %closed = atomicrmw xchg ptr %pool, i64 %g.closed seq_cst
  %closed.low = and i64 %closed, 65535
  %closed.upper = lshr i64 %closed, 16
  %closed.above = and i64 %closed.upper, 65535
  %closed.high = sub i64 %chunks, %closed.above
  %claimed = add i64 %closed.low, %closed.high
  br label %join

join:
  %goal = phi i64 [%chunks, %claims], [%claimed, %close]
  %low = phi i64 [%chunks, %claims], [%closed.low, %close]
  %high = phi i64 [0, %claims], [%closed.high, %close]
  %spin = load i64, ptr %spin.at
  %finished.first = load atomic i64, ptr %finished.at acquire, align 8
  %whole.first = icmp eq i64 %finished.first, %goal
  br i1 %whole.first, label %joined, label %waits
waits:
  %begun = call i64 @now()
  br label %joining
joining:
  %k = phi i64 [1, %waits], [%k.next, %pause], [%k.next, %look], [0, %yield]
  %finished = load atomic i64, ptr %finished.at acquire, align 8
  %whole = icmp eq i64 %finished, %goal
  br i1 %whole, label %joined, label %pause
{joining}yield:
  %yielded = call i32 @sched_yield()
  br label %joining
joined:
  %stays = icmp eq i64 %goal, %chunks
  %below = select i1 %stays, i64 %chunks, i64 %low
  %last = select i1 %stays, i64 0, i64 %high
  %base.next = add i64 %base, %below
  %unfinished = icmp slt i64 %base.next, %end
  %goes_on = and i1 %stays, %unfinished
  br i1 %goes_on, label %open, label %unlock
unlock:
  store atomic i64 0, ptr %busy.at release, align 8
  %last.part = shl i64 %last, {HALF}
  %both = or i64 %base.next, %last.part
  ret i64 %both
}}
"""

# The entry for other native code: void parallel(ptr fn, ptr ctx, i64 chunks).
_PARALLEL = """
@pool = external global i8
declare i64 @fork(ptr, ptr, ptr, i64, i64, ptr)
define void @parallel(ptr %fn, ptr %ctx, i64 %chunks) {
  %all = call i64 @fork(ptr @pool, ptr %fn, ptr %ctx, i64 0, i64 %chunks, ptr null)
  ret void
}
"""


def fork_module() -> Module:
    """The module of `fork` and, where workers can be, of `worker` and `stop`."""
    if not workers_can_be():
        return Module(NAME, due_text() + _ALONE + _SERIAL, ("fork",), effort=QUICK)
    pause, declaration = _PAUSE.get(host().architecture, ("", ""))
    values: dict[str, object] = {
        "FUNCTION": FUNCTION,
        "CONTEXT": CONTEXT,
        "BASE": BASE,
        "DOWN": DOWN,
        "HALF": HALF,
        "FINISHED": FINISHED,
        "BUSY": BUSY,
        "SLEEPERS": SLEEPERS,
        "STOP": STOP,
        "WORKERS": WORKERS,
        "SPIN": SPIN,
        "futex": _FUTEX[architecture()],
        "wait": _WAIT,
        "wake": _WAKE,
        "most": MOST_CHUNKS,
    }
    for again, late in (("spinning", "sleep"), ("joining", "yield")):
        values[again] = _AWAKE.format(pause=pause, looks=_PAUSES - 1, again=again, late=late)
    declared = "declare i64 @syscall(i64, ...)\ndeclare i32 @sched_yield()\n" + declaration
    shared = _FIELDS.format(**values)
    text = declared + due_text() + _ALONE + (_WORKER + _FORK).format(fields=shared, **values)
    return Module(NAME, text, ("fork", "worker", "stop"), effort=QUICK)


def fork_imports() -> dict[str, int]:
    """What that imports."""
    return clock_imports() | (c_library("syscall", "sched_yield") if workers_can_be() else {})


def parallel_module(imports: Mapping[str, int]) -> Module:
    """The module of ``void parallel(ptr fn, ptr ctx, i64 chunks)``; `imports` are `fork` and its `pool`."""
    return Module("parallel", _PARALLEL, ("parallel",), imports, QUICK)
