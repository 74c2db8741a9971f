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


class _Thread(local):
    def __init__(self) -> None:
        self.heard: Heard | None = None
        self.open: list[str] = []
        self.wall = self.cpu = 0.0  # when the innermost open stage was entered, or came to be again


_thread = _Thread()
_SILENCE = nullcontext()


def stage(name: str) -> AbstractContextManager[None]:
    """Times what runs inside, in this thread, as the stage `name`."""
    return _SILENCE if _thread.heard is None else _Timed(name)


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
    outer = _thread.heard, _thread.open, _thread.wall, _thread.cpu
    _thread.heard, _thread.open = Heard(counts_too), []
    try:
        yield _thread.heard
    finally:
        _thread.heard, _thread.open, _thread.wall, _thread.cpu = outer


class _Timed:
    """The time of a stage that somebody listens to."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        heard, names = _thread.heard, _thread.open
        assert heard is not None
        heard.entered[self._name] += 1
        _turn(heard, names)
        names.append(self._name)

    def __exit__(self, *_: object) -> None:
        assert _thread.heard is not None
        _turn(_thread.heard, _thread.open)
        _thread.open.pop()


def _turn(heard: Heard, names: list[str]) -> None:
    """Gives the time since the last turn to the stage that is open."""
    wall = time.perf_counter()
    cpu = time.process_time() if heard.counts_too else 0.0  # it asks the system
    if names:
        heard.wall[names[-1]] = heard.wall.get(names[-1], 0.0) + wall - _thread.wall
        if heard.counts_too:
            heard.cpu[names[-1]] = heard.cpu.get(names[-1], 0.0) + cpu - _thread.cpu
    _thread.wall, _thread.cpu = wall, cpu
