"""Polling: how native code notices that it has run for a while, and should let Python look for signals.

Code that runs without the GIL sees no Ctrl-C. So, at places where it can be left and entered again, it asks
``due(words)``: true once `INTERVAL` nanoseconds have passed since it was first asked. Reading the
clock takes 25 ns; the cycle counter of x86 takes a fifth of that and is asked before.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache

from runtime.llvm_backend.engine.machine import host

INTERVAL = 50_000_000
DEADLINE, TICK = 8, 9  # words of the run that it belongs to: see steptable
_PATIENCE = 1 << 24  # cycles: 3 to 8 ms

_DUE = """
define internal i1 @due(ptr %words) {{
entry:
  %deadline.at = getelementptr i64, ptr %words, i64 {deadline_word}
  %tick.at = getelementptr i64, ptr %words, i64 {tick_word}
{ticks}
look:
  %now = call i64 @now()
  %deadline = load i64, ptr %deadline.at
  %begun = icmp ne i64 %deadline, 0
  br i1 %begun, label %compare, label %begin
begin:
  %at = add i64 %now, {interval}
  store i64 %at, ptr %deadline.at
  ret i1 false
compare:
  %late = icmp sge i64 %now, %deadline
  br i1 %late, label %yes, label %no
yes:
  store i64 0, ptr %deadline.at
  ret i1 true
no:
  ret i1 false
}}
"""

_TICKS = """\
  %tick = call i64 @llvm.readcyclecounter()
  %last = load i64, ptr %tick.at
  %gone = sub i64 %tick, %last
  %long = icmp ugt i64 %gone, {patience}
  br i1 %long, label %note, label %no
note:
  store i64 %tick, ptr %tick.at
  br label %look"""

_NOW_POSIX = """
declare i32 @clock_gettime(i32, ptr)
define internal i64 @now() {{
  %time = alloca [2 x i64]
  %failed = call i32 @clock_gettime(i32 {monotonic}, ptr %time)
  %seconds = load i64, ptr %time
  %rest.at = getelementptr i64, ptr %time, i64 1
  %rest = load i64, ptr %rest.at
  %whole = mul i64 %seconds, 1000000000
  %now = add i64 %whole, %rest
  ret i64 %now
}}
"""

_NOW_WINDOWS = """
declare i64 @GetTickCount64()
define internal i64 @now() {
  %milliseconds = call i64 @GetTickCount64()
  %now = mul i64 %milliseconds, 1000000
  ret i64 %now
}
"""


def now_text() -> str:
    """The function `now`, in nanoseconds, for a module that has `clock_imports`."""
    if sys.platform == "win32":
        return _NOW_WINDOWS
    return _NOW_POSIX.format(monotonic=6 if sys.platform == "darwin" else 1)


def due_text() -> str:
    """The functions `due` and `now` for a module that has `clock_imports`."""
    counts = host().architecture == "x86_64"
    ticks = _TICKS.format(patience=_PATIENCE) if counts else "  br label %look"
    due = _DUE.format(deadline_word=DEADLINE, tick_word=TICK, interval=INTERVAL, ticks=ticks)
    return now_text() + due + ("declare i64 @llvm.readcyclecounter()\n" if counts else "")


def clock_imports() -> dict[str, int]:
    """The system's clock, by symbol."""
    if sys.platform == "win32":
        return {"GetTickCount64": address_of(ctypes.windll.kernel32.GetTickCount64)}
    return c_library("clock_gettime")


def c_library(*functions: str) -> dict[str, int]:
    """Where functions of the C library begin."""
    return {name: _find(name) for name in functions}


@cache
def _find(name: str) -> int:
    return address_of(getattr(ctypes.CDLL(None), name))


def address_of(function: object) -> int:
    """Where a function that ctypes found begins."""
    address = ctypes.cast(function, ctypes.c_void_p).value  # type: ignore[arg-type]  # any foreign function
    assert address is not None
    return address
