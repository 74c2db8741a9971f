"""Pool: threads that stand ready for parallel kernels.

The workers are threads of Python that never come back from a native loop (`forkjoin`), so they hold no GIL,
and cost nothing while they sleep; the interpreter does not wait for them. A child after a fork has none of
them: its jobs run on the calling thread until `pool` is called there.
"""

from __future__ import annotations

import ctypes
import os
import threading
from _thread import LockType, allocate_lock, start_new_thread
from collections.abc import Callable
from functools import cache

from graphc.laziness import Lazy
from runtime.llvm_backend.engine.library import keep_for_ever, load
from runtime.llvm_backend.engine.parts import Part
from runtime.llvm_backend.table import forkjoin

SPIN = 30_000  # nanoseconds that threads wait awake. Two pools that wait longer ruin one another
CODE = Part(forkjoin.NAME, forkjoin.fork_module, forkjoin.fork_imports)
_WORDS = forkjoin.STATE_BYTES // 8

_lock = threading.RLock()
_pools: dict[int, Pool] = {}


def pool(threads: int) -> Pool:
    """The pool of `threads` threads, the calling one among them; there is one for each number."""
    with _lock:
        found = _pools.get(threads)
        if found is None:
            found = _pools[threads] = Pool(threads)
        found.start()
        return found


class Pool:
    """Threads for parallel kernels. Of several callers at once one gets the workers; the others run alone.

    Attributes:
        threads: how many there may be, with the calling one.
        state: the address of what its threads share.
        fork: the address of ``i64 fork(ptr state, ptr fn, ptr ctx, i64 begin, i64 end, ptr words)``.
        parallel: the address of ``void parallel(ptr fn, ptr ctx, i64 chunks)``, which calls
            ``void fn(ptr ctx, i64 chunk)`` for each chunk from 0, and returns when all are done.
    """

    def __init__(self, threads: int, spin: int = SPIN) -> None:
        self.threads = threads
        self._holder = (ctypes.c_int64 * (_WORDS + 8))()
        keep_for_ever(self._holder)  # threads and tables hold its address
        self.state = (ctypes.addressof(self._holder) + 63) & ~63
        self._words = (ctypes.c_int64 * _WORDS).from_address(self.state)
        self._words[forkjoin.SPIN // 8] = spin
        self._workers: list[LockType] = []  # each held until the worker has ended

    @property
    def fork(self) -> int:
        """Where it begins."""
        return CODE.address("fork")

    @Lazy
    def parallel(self) -> int:
        """Its entry for other native code."""
        entry = load([forkjoin.parallel_module({"pool": self.state, "fork": CODE.address("fork")})])
        return entry.pin().address("parallel", "parallel")

    @Lazy
    def _run(self) -> Callable[[int, int, int], None]:
        return ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(self.parallel)

    @property
    def workers(self) -> int:
        """How many threads stand ready beside the calling one."""
        return len(self._workers)

    def start(self) -> None:
        """Starts the workers that are not there; where a thread cannot be had, without it."""
        if not forkjoin.workers_can_be():
            return
        with _lock:
            while len(self._workers) < self.threads - 1:
                worker = allocate_lock()
                worker.acquire()
                try:  # whoever starts a `threading.Thread` waits until that runs
                    start_new_thread(_work, (_loop(), self.state, worker))
                except RuntimeError:  # the system gives no more threads, or the interpreter is ending
                    break
                self._workers.append(worker)
            self._words[forkjoin.WORKERS // 8] = len(self._workers)

    def run(self, function: int, context: int, chunks: int) -> None:
        """Calls the native ``function(context, chunk)`` for each chunk below `chunks`."""
        self._run(function, context, chunks)

    def stop(self) -> None:
        """Ends the workers; `start` has new ones. No job may be under way."""
        with _lock:
            if not self._workers:
                return
            self._words[forkjoin.WORKERS // 8] = 0
            ctypes.CFUNCTYPE(None, ctypes.c_void_p)(CODE.address("stop"))(self.state)
            for worker in self._workers:
                worker.acquire()
            self._reset()

    def _reset(self) -> None:
        """As if no worker had ever been; there is none."""
        self._workers = []
        spin = self._words[forkjoin.SPIN // 8]
        ctypes.memset(self.state, 0, forkjoin.STATE_BYTES)
        self._words[forkjoin.SPIN // 8] = spin

    def __repr__(self) -> str:
        return f"<graphc pool of {self.threads} threads>"


def _work(loop: Callable[[int], None], state: int, over: LockType) -> None:
    try:
        loop(state)
    finally:
        over.release()


@cache
def _loop() -> Callable[[int], None]:
    return ctypes.CFUNCTYPE(None, ctypes.c_void_p)(CODE.address("worker"))


def _begin_child() -> None:
    """The workers stayed with the parent, as did whoever was in a job."""
    for each in _pools.values():
        each._reset()
    _lock.release()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_begin_child)
