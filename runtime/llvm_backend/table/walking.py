"""Walking: the step loop in Python, for runs that come before the native one (`steploop`) is compiled.

It does to the words what that does, so either goes on where the other left a run. Nothing is joined to
one: where there is no fork yet, a chunk runs after the other.
"""

from __future__ import annotations

import ctypes
import operator
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from runtime.llvm_backend.table.forkjoin import HALF
from runtime.llvm_backend.table.steploop import (
    CHUNK,
    DETAIL,
    DONE,
    FAILED,
    FLAG,
    FORK,
    KINDS,
    PAUSED,
    POOL,
    POSITION,
    PYTHON_STEP,
    REFUSED,
    STEP,
)

Words = np.ndarray[Any, np.dtype[np.int64]]
_word = ctypes.c_int64
_CHUNK = ctypes.CFUNCTYPE(None, _word, _word)
_FORK = ctypes.CFUNCTYPE(_word, *[_word] * 6)
_LOW = (1 << HALF) - 1
_COMPUTED: dict[str, Callable[[int, int], int]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": lambda a, b: a // b if b else 0,
    "mod": lambda a, b: a % b if b else 0,
    "maximum": max,
    "minimum": min,
    "move": lambda a, b: a,
    "load": lambda a, b: _word.from_address(a).value,
}
_REFUSED: dict[str, Callable[[int, int], bool]] = {"at_most": operator.gt, "equal": operator.ne}
_JUMPS: dict[str, Callable[[int, int], bool]] = {
    "jump": lambda a, b: True,
    "branch": lambda a, b: not ctypes.c_uint8.from_address(a).value,
    "unless": lambda a, b: not a,
    "until": operator.ge,
    "repeat": lambda a, b: True,
    "count": operator.lt,
}


def walk(words: Words, address: int, steps: Words, goes_on: Callable[[], bool]) -> int:
    """Walks `steps` on the `words` at that address, as `steploop.run` does, and returns its status.

    ``goes_on()`` is asked before each step and after each chunk; the run pauses where it says no.
    """
    here = words.item(POSITION) // STEP
    status = -1
    while status < 0:
        code, function, a, b, c, d, *_ = steps[here].tolist()
        kind, x, y, after = KINDS[code], words.item(a // 8), words.item(b // 8), here + 1
        if not goes_on():
            status = PAUSED
        elif kind in ("end", "python", "check", "repeat") and words.item(FLAG):
            status = FAILED
        elif kind == "end":
            status = DONE
        elif kind == "python":
            words[DETAIL], here, status = c, after, PYTHON_STEP
        elif kind == "kernel":
            _CHUNK(function)(address + a, 0)
        elif kind == "parallel":
            if not _run_chunks(words, address, function, a, y, goes_on):
                status = PAUSED
        elif kind == "joint":
            run = partial(_run_parts, words, address, steps, here + 2)
            if not _run_one_by_one(words, run, a, y, goes_on):
                status = PAUSED
        elif kind in _JUMPS:
            if kind == "count":
                words[a // 8] = x = x + 1
            if _JUMPS[kind](x, y):
                after = d // STEP
                if kind == "count" and words.item(FLAG):
                    status = FAILED
        elif kind in _REFUSED:
            if _REFUSED[kind](x, y):
                words[DETAIL], status = c, REFUSED
        elif kind in _COMPUTED:
            words[d // 8] = _wrapped(_COMPUTED[kind](x, y))
        elif kind == "store":
            _word.from_address(words.item(d // 8)).value = x
        elif kind == "copy":
            ctypes.memmove(x, words.item(a // 8 + 1), words.item(a // 8 + 2))
        elif kind == "clear":
            ctypes.memset(x, 0, words.item(a // 8 + 1))
        if status < 0:
            here = after
    words[POSITION] = here * STEP
    return status


def _wrapped(value: int) -> int:
    """`value` in 64 bits."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


def _run_chunks(
    words: Words, address: int, function: int, block: int, chunks: int, goes_on: Callable[[], bool]
) -> bool:
    """Runs the chunks of a parallel step that are left; False: the run pauses in the midst of them."""
    fork = words.item(FORK)
    if not fork:
        return _run_one_by_one(words, partial(_run_chunk, address, function), block, chunks, goes_on)
    first, last = _held(words)
    fork_join = _FORK(fork)
    reached = fork_join(words.item(POOL), function, address + block, first, chunks - last, address)
    return _note(words, reached & _LOW, last + (reached >> HALF), chunks)


def _run_one_by_one(
    words: Words, run: Callable[[int, int], None], block: int, chunks: int, goes_on: Callable[[], bool]
) -> bool:
    """``run(block, chunk)`` for the chunks that are left, on this thread; False: the run pauses before."""
    chunk, last = _held(words)
    while chunk < chunks - last:
        run(block, chunk)
        chunk += 1
        if not goes_on():
            break
    return _note(words, chunk, last, chunks)


def _run_chunk(address: int, function: int, block: int, chunk: int) -> None:
    _CHUNK(function)(address + block, chunk)


def _run_parts(words: Words, address: int, steps: Words, first: int, block: int, chunk: int) -> None:
    """A chunk of a joint step, whose parts begin at the step `first`: see `joints`."""
    start = block // 8 + 2 + chunk
    for part in range(words.item(start), words.item(start + 1)):
        _, function, own, begin, end, *_ = steps[first + part].tolist()
        for each in range(begin, end):
            _run_chunk(address, function, own, each)


def _held(words: Words) -> tuple[int, int]:
    """How many chunks are done at the beginning, and how many at the end."""
    held = words.item(CHUNK)
    return held & _LOW, held >> HALF


def _note(words: Words, done: int, last: int, chunks: int) -> bool:
    """Notes as much; whether those are all."""
    rest = done < chunks - last
    words[CHUNK] = done + (last << HALF) if rest else 0
    return not rest
