"""The record: what the passes did, decided and refused, as data that every report reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import local
from typing import Any

from graphc.location import Location


@dataclass(frozen=True, slots=True)
class Decision:
    """One thing that a pass did or refused to do, and why.

    Args:
        kind: what was decided, such as ``"fold"`` or ``"rewrite"``.
        subject: the op, or the rule.
        accepted: whether it was done.
        reason: why, one of the words that the pass lists in its docstring.
        loc: the user's line that it concerns.
        details: numbers that the reason speaks of.
    """

    kind: str
    subject: str
    accepted: bool
    reason: str
    loc: Location | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Counters:
    """Deterministic measures of the passes' work: the same on every machine."""

    nodes_visited: int = 0
    rules_tried: int = 0
    rules_fired: int = 0
    nodes_made: int = 0

    def as_dict(self) -> dict[str, int]:
        """The counters by name."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(slots=True)
class Log:
    """What is written while passes run: decisions in order, and counters."""

    decisions: list[Decision] = field(default_factory=list)
    counters: Counters = field(default_factory=Counters)


class _Thread(local):
    def __init__(self) -> None:
        self.log = Log()
        self.listening = False


_thread = _Thread()


@contextmanager
def recording() -> Iterator[Log]:
    """Collects what the passes that run inside, in this thread, decide and count."""
    outer, listening = _thread.log, _thread.listening
    _thread.log, _thread.listening = Log(), True
    try:
        yield _thread.log
    finally:
        _thread.log, _thread.listening = outer, listening


def decide(decision: Decision) -> None:
    """Writes down a decision, if anyone listens."""
    if _thread.listening:
        _thread.log.decisions.append(decision)


def counters() -> Counters:
    """The counters of the current recording (of nobody's, outside one)."""
    return _thread.log.counters
