"""Stages: where the time of compiling goes, for whoever listens. Nobody listening, a stage costs nothing.

A stage is timed without the stages within it, so that all of them add up to the whole.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from threading import local


@dataclass(slots=True)
class Heard:
    """What a listener heard.

    Attributes:
        counts_too: whether the listener wants more than `wall`.
        wall, cpu: seconds by stage; `cpu` is that of all threads of the process.
        entered: how often each stage was entered.
        counts: what the stages counted, such as the bytes of objects; it does not depend on any clock.
    """

    counts_too: bool = True
    wall: dict[str, float] = field(default_factory=dict)
    cpu: dict[str, float] = field(default_factory=dict)
    entered: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    _open: list[_Timed] = field(default_factory=list)


class _Thread(local):
    def __init__(self) -> None:
        self.heard: Heard | None = None


_thread = _Thread()
_SILENCE = nullcontext()


def stage(name: str) -> AbstractContextManager[None]:
    """Times what runs inside, in this thread, as the stage `name`."""
    heard = _thread.heard
    return _SILENCE if heard is None else _Timed(heard, name)


def count(name: str, amount: int) -> None:
    """Adds `amount` to what is counted under `name`, if anyone wants to know."""
    if _thread.heard is not None and _thread.heard.counts_too:
        _thread.heard.counts[name] += amount


def is_heard() -> bool:
    """Whether anyone listens."""
    return _thread.heard is not None


def is_counted() -> bool:
    """Whether anyone wants to know what is counted: what is dear to count is counted only then."""
    return _thread.heard is not None and _thread.heard.counts_too


@contextmanager
def listening(counts_too: bool = True) -> Iterator[Heard]:
    """Collects the stages of what runs inside, in this thread; without `counts_too` their `wall` alone."""
    outer, _thread.heard = _thread.heard, Heard(counts_too)
    try:
        yield _thread.heard
    finally:
        _thread.heard = outer


class _Timed:
    """The time of a stage that somebody listens to, but for that of the stages within it."""

    __slots__ = ("_cpu", "_cpu_within", "_heard", "_name", "_wall", "_wall_within")

    def __init__(self, heard: Heard, name: str) -> None:
        self._heard, self._name = heard, name
        self._wall_within = self._cpu_within = 0.0

    def __enter__(self) -> None:
        heard, name = self._heard, self._name
        heard.entered[name] += 1
        heard.wall.setdefault(name, 0.0)
        heard._open.append(self)
        self._wall = time.perf_counter()
        if heard.counts_too:
            self._cpu = time.process_time()  # it asks the system

    def __exit__(self, *_: object) -> None:
        heard, name = self._heard, self._name
        heard._open.pop()
        around = heard._open[-1] if heard._open else None
        wall = time.perf_counter() - self._wall
        heard.wall[name] += wall - self._wall_within
        if around is not None:
            around._wall_within += wall
        if heard.counts_too:
            cpu = time.process_time() - self._cpu
            heard.cpu[name] = heard.cpu.get(name, 0.0) + cpu - self._cpu_within
            if around is not None:
                around._cpu_within += cpu
