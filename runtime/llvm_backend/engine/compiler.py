"""Compiler: LLVM text to object code, several modules at once and before they are needed.

LLVM asks for no more than a context and a target machine for each thread, so all cores compile: whoever
knows a text hands it in (`begin`) and goes on, and helps with what is left once it needs the code
(`finish`). LLVM itself is loaded by the first of these threads, while Python goes on too. The functions of
llvmlite's library that are called for that (`llvm.calls`) are no public interface: where they are not as
expected, llvmlite lets one thread at a time into LLVM, and one module is compiled after the other.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import itertools
import math
import os
import sys
import threading
import time
from _thread import start_new_thread
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import cache
from heapq import heappop, heappush

from graphc.errors import VerificationError
from passes.stages import stage
from runtime.llvm_backend.engine import llvm
from runtime.llvm_backend.engine.machine import host, open_target_machine

lock = threading.RLock()  # of the thread that is in LLVM beside the workers
_books = threading.Lock()  # of the four that follow
_added = threading.Condition(_books)  # told of each text
_queue: list[tuple[int, int, Job]] = []  # a heap, what takes longest first: so threads end together
_serial = itertools.count()
_working: set[_Worker] = set()
_wanted = threading.Event()  # set once somebody waits for code

_OBJECT_FILE = 1
# Seconds for which a thread keeps the GIL from others that want it, while some compile. Python's are 5 ms,
# which is what many a module takes in all, and a worker wants it between the calls of LLVM.
_HASTE = 5e-5
_PATIENCE = 1e-3  # seconds between looks whether all is done
_SOON = 1e-2  # seconds in which what is to be compiled comes, unless the graph is large

# LLVM takes 3 to 4 ms longer for its first text, whatever that is. This has some of all that kernels have.
_FIRST = """
define void @first(ptr %x, i64 %n) {
entry:
  br label %top
top:
  %i = phi i64 [0, %entry], [%next, %top]
  %at = getelementptr float, ptr %x, i64 %i
  %value = load <16 x float>, ptr %at, align 4
  %square = call <16 x float> @llvm.fma.v16f32(<16 x float> %value, <16 x float> %value, <16 x float> %value)
  %large = fcmp ogt <16 x float> %square, zeroinitializer
  %chosen = select <16 x i1> %large, <16 x float> %square, <16 x float> %value
  call void @llvm.masked.store.v16f32.p0(<16 x float> %chosen, ptr %at, i32 4, <16 x i1> %large)
  %next = add i64 %i, 16
  %more = icmp slt i64 %next, %n
  br i1 %more, label %top, label %done
done:
  ret void
}
declare <16 x float> @llvm.fma.v16f32(<16 x float>, <16 x float>, <16 x float>)
declare void @llvm.masked.store.v16f32.p0(<16 x float>, ptr, i32, <16 x i1>)
"""

Text = tuple[str, str, int]  # what messages call it, itself, the effort: `llvm.THOROUGH` or `llvm.QUICK`


class _Aside:
    """Work that is worth its time only while code is made, in steps; one thread at a time takes one."""

    def __init__(self, steps: Generator[None]) -> None:
        self._steps, self._gate = steps, threading.Lock()

    def step(self) -> bool:
        """Goes a step on; whether there was one, and no other thread at it."""
        if not self._gate.acquire(blocking=False):
            return False
        try:
            next(self._steps)
        except StopIteration:
            return False
        finally:
            self._gate.release()
        return True

    def stop(self) -> None:
        """Ends it, after the step that a thread is at."""
        with self._gate:
            self._steps.close()


_asides: dict[_Aside, None] = {}


@contextlib.contextmanager
def meanwhile(steps: Generator[None]) -> Iterator[None]:
    """What is waited for code in, while whoever has no code to make goes through `steps`; it ends them."""
    aside = _Aside(steps)
    _asides[aside] = None
    try:
        yield
    finally:
        _asides.pop(aside, None)
        aside.stop()


def _step_aside() -> bool:
    """Takes a step of something else; whether there was one."""
    return any(aside.step() for aside in tuple(_asides))


class Job:
    """A text on its way to object code.

    Attributes:
        effort: `llvm.THOROUGH` or `llvm.QUICK`.
        image: the object code; None before `done`, and where the text is not valid.
        done: set once nobody works on it any more.
    """

    __slots__ = ("_after", "done", "effort", "image", "name", "text")

    def __init__(self, name: str, text: str, effort: int, after: Callable[[Job], object] | None) -> None:
        self.name, self.text, self.effort, self._after = name, text, effort, after
        self.image: bytes | None = None
        self.done = threading.Event()

    def settle(self, image: bytes | None) -> None:
        """Notes what became of it."""
        self.image = image
        try:
            if self._after is not None:
                self._after(self)
        finally:
            self.done.set()


def begin(
    texts: Iterable[Text], after: Callable[[Job], object] | None = None, alone: bool = False
) -> list[Job]:
    """Jobs for each of `texts`, which other threads begin to work on.

    ``after(job)`` is called, on any thread, when one has ended. `alone`: a single one waits for `finish`.
    """
    jobs = [Job(*text, after) for text in texts]
    with _books:
        for job in jobs:
            _add(job)
        wanted = min(_count_cores() - 1, len(_queue))
        starting = [] if alone and len(jobs) == 1 else _idle_workers(wanted - len(_working))
    for worker in starting:
        worker.start()
    return jobs


def get_ready() -> None:
    """Has another thread load LLVM and use it for the first time, while the caller makes its first texts."""
    if _count_cores() > 1:
        with _books:
            starting = [] if _workers else _idle_workers(1)
        for worker in starting:
            worker.start()


def finish(jobs: Sequence[Job]) -> list[bytes]:
    """The object code of `jobs`, in order; the calling thread helps.

    Raises: VerificationError naming the first whose text is no valid LLVM module.
    """
    _wanted.set()
    with lock, stage("codegen"):
        for job in jobs:
            while not job.done.is_set():
                if not (_help() or _step_aside()):
                    job.done.wait()
        return [_compile(job) if job.image is None else job.image for job in jobs]


def _help() -> bool:
    """Compiles what is next in the queue; whether there was something.

    Whoever interrupts it leaves the job to others: they would wait for it for ever.
    """
    job = None
    try:
        with _books:
            if not _queue:
                return False
            job = _queue[0][2]
            heappop(_queue)
        if llvm.calls() is None:
            job.settle(_try(job))
        else:
            job.settle(_compile_past_lock(_own_machine(job.effort), job.text))
    except BaseException:
        if job is not None and not job.done.is_set():
            with _books:
                _add(job)
        raise
    return True


def _add(job: Job) -> None:
    weight = len(job.text) if job.effort == llvm.THOROUGH else len(job.text) // 8
    heappush(_queue, (-weight, next(_serial), job))
    _added.notify_all()  # in a forked child the threads of its parent seem to wait, too


def _is_any_wanted(patience: float = 0.0) -> bool:
    """Whether there are texts, or somebody waits for code; within so many seconds."""
    with _books:
        return _added.wait_for(lambda: bool(_queue) or _wanted.is_set(), patience)


class _Worker:
    """A thread that compiles what is in the queue, and ends when nothing is."""

    def __init__(self) -> None:
        self.machines: dict[int, int] = {}  # by effort, opened when they are first needed
        self.gate = threading.Lock()  # held while it is in LLVM

    def start(self) -> None:
        try:
            # Whoever starts a `threading.Thread` waits until that runs, and for the GIL.
            start_new_thread(self._work, ())
        except RuntimeError:  # the system gives no more threads, or the interpreter is ending
            with _books:
                _rest(self)

    def _work(self) -> None:
        try:
            self._compile_all()
        except BaseException:
            with _books:
                _rest(self)
            raise

    def _compile_all(self) -> None:
        with self.gate:
            able = llvm.calls() is not None
        for effort, patience in ((llvm.QUICK, 0.0), (llvm.THOROUGH, _SOON)):
            if able and not _is_any_wanted(patience):  # the second takes as long as a text that is waited for
                self._compile(_FIRST, effort)
            if able and not _is_any_wanted():
                with self.gate:
                    _own_machine(effort)  # of whoever is going to wait
        while True:
            while able and not _queue and _step_aside():
                pass
            with _books:
                if not able or not _queue:  # what is left then stays there for whoever needs it
                    _rest(self)
                    return
                job = heappop(_queue)[2]
            image = None
            try:
                image = self._compile(job.text, job.effort)
            finally:
                job.settle(image)

    def _compile(self, text: str, effort: int) -> bytes | None:
        with self.gate:
            if effort not in self.machines:
                self.machines[effort] = llvm.open_machine(host().level, effort)
            return _compile_past_lock(self.machines[effort], text)


_workers: list[_Worker] = []


def _idle_workers(number: int) -> list[_Worker]:
    """As many workers as that which are not working, and now are."""
    idle = (worker for worker in _workers if worker not in _working)
    found = list(itertools.islice(idle, max(number, 0)))
    while len(found) < number:
        found.append(_Worker())
        _workers.append(found[-1])
    if found and not _working:
        _usual[0] = sys.getswitchinterval()
        sys.setswitchinterval(min(_usual[0], _HASTE))
    _working.update(found)
    return found


_usual = [0.005]  # what Python's interval was before the first of those that are working


def _rest(worker: _Worker) -> None:
    """Notes that `worker` works no more."""
    _working.discard(worker)
    if not _working and math.isclose(sys.getswitchinterval(), _HASTE):  # else others have set it
        sys.setswitchinterval(_usual[0])


@atexit.register
def wait() -> None:
    """Waits until no thread compiles: as the process ends, LLVM is not taken apart beneath it."""
    while _working:
        time.sleep(_PATIENCE)


def _count_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# LLVM is not safe after a fork in the midst of it: a fork waits until none of us is in there.


def _stop_for_fork() -> None:
    lock.acquire()
    _books.acquire()
    for worker in _workers:
        worker.gate.acquire()


def _go_on() -> None:
    for worker in _workers:
        worker.gate.release()
    _books.release()
    lock.release()


def _go_on_without_workers() -> None:
    """Their threads stayed with the parent, and so does what they have begun."""
    _queue.clear()
    _asides.clear()
    for worker in tuple(_working):
        _rest(worker)
    _go_on()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(before=_stop_for_fork, after_in_parent=_go_on, after_in_child=_go_on_without_workers)


def _try(job: Job) -> bytes | None:
    with contextlib.suppress(VerificationError):  # raised when all are done, for the first of them
        return _compile(job)
    return None


def _compile(job: Job) -> bytes:
    binding = llvm.binding()
    context = binding.create_context()  # what a module made of constants and types goes with it
    try:
        module = binding.parse_assembly(job.text, context)
        module.verify()
    except RuntimeError as error:
        raise VerificationError(f"kernel {job.name}: its LLVM text is not valid: {error}") from None
    image: bytes = open_target_machine(job.effort).emit_object(module)
    module.close()
    return image


@cache
def _own_machine(effort: int) -> int:
    """That of the thread which holds `lock`."""
    return llvm.open_machine(host().level, effort)


def _compile_past_lock(machine: int, text: str) -> bytes | None:
    call = llvm.calls()
    assert call is not None
    image, messages = None, [ctypes.c_char_p() for _ in range(3)]  # verifying may leave one when all is well
    context = call["ContextCreate"]()
    module = call["ParseAssembly"](context, text.encode(), ctypes.byref(messages[0]))
    if not messages[0] and not call["VerifyModule"](module, ctypes.byref(messages[1])):
        emit = call["TargetMachineEmitToMemory"]
        buffer = emit(machine, module, _OBJECT_FILE, ctypes.byref(messages[2]))
        if buffer:
            image = ctypes.string_at(call["GetBufferStart"](buffer), call["GetBufferSize"](buffer))
            call["DisposeMemoryBuffer"](buffer)
    for message in messages:
        if message:
            call["DisposeString"](message)
    if module:
        call["DisposeModule"](module)
    call["ContextDispose"](context)
    return image
