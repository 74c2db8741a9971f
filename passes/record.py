"""The record: what the passes did, decided and refused, as data that every report reads."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import local
from typing import Any

from graphc.freezing import frozen
from graphc.location import Location
from graphc.tensor import Tensor


@dataclass(frozen=True, slots=True)
class Decision:
    """One thing that a pass did or refused to do, and why.

    Args:
        kind: what was decided, such as ``"fold"`` or ``"rewrite"``.
        subject: the op, or the rule.
        accepted: whether it was done.
        reason: why, one of the words that the pass lists in its docstring; for a rule, its equation.
        loc: the user's line that it concerns.
        details: numbers that the reason speaks of.
        nodes: those that it concerns, where these are more than the one it is about.
    """

    kind: str
    subject: str
    accepted: bool
    reason: str
    loc: Location | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    nodes: tuple[Tensor, ...] = field(default=(), repr=False, compare=False)

    def as_dict(self) -> dict[str, Any]:
        """It as data for JSON."""
        return {
            "kind": self.kind,
            "subject": self.subject,
            "accepted": self.accepted,
            "reason": self.reason,
            **spell_place(self.loc),
            "details": dict(self.details),
        }


def spell_place(loc: Location | None) -> dict[str, Any]:
    """A place in the user's program as data for JSON."""
    if loc is None:
        return {"at": None, "file": None, "line": None}
    return {"at": str(loc), "file": os.path.basename(loc.filename), "line": loc.line}


@frozen
class Change:
    """A decision that was carried out, the node it concerned and what that became, where these are known."""

    decision: Decision
    before: Tensor | None
    after: Tensor | None


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


@frozen
class Slope:
    """That differentiating `forward` made `made`; `total`: they are the gradient with respect to it."""

    forward: Tensor
    made: tuple[Tensor, ...]
    total: bool


@dataclass(slots=True)
class Log:
    """What is written while passes run: decisions in order, those carried out, and counters.

    Attributes:
        concerned: for each decision the nodes that it concerns.
        places: for each change the place of its decision.
        slopes: what differentiation made of what.
    """

    decisions: list[Decision] = field(default_factory=list)
    concerned: list[tuple[Tensor, ...]] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    slopes: list[Slope] = field(default_factory=list)
    counters: Counters = field(default_factory=Counters)


class _Thread(local):
    def __init__(self) -> None:
        self.log = Log()
        self.listening = False
        self.allowed: int | None = None


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


@contextmanager
def rewrite_limit(count: int) -> Iterator[None]:
    """Inside, in this thread, the first `count` decisions to do something are carried out, no more.

    Bisecting over `count` finds the one rewrite that does harm.
    """
    outer, _thread.allowed = _thread.allowed, count
    try:
        yield
    finally:
        _thread.allowed = outer


def decide(decision: Decision, before: Tensor | None = None, after: Tensor | None = None) -> bool:
    """Writes down a decision, if anyone listens; says whether it may be carried out.

    False only for what is to be done beyond a `rewrite_limit`: then nothing may change.

    Args:
        decision: what is done or refused, and why.
        before: the node that it concerns.
        after: what that node becomes.
    """
    if decision.accepted and _thread.allowed is not None:
        if _thread.allowed <= 0:
            return False
        _thread.allowed -= 1
    if _thread.listening:
        log = _thread.log
        log.decisions.append(decision)
        log.concerned.append(decision.nodes or (() if before is None else (before,)))
        if decision.accepted:
            log.changes.append(Change(decision, before, after))
            log.places.append(len(log.decisions) - 1)
    return True


def note_slopes(forward: Tensor, made: Iterable[Tensor | None], total: bool = False) -> None:
    """Writes down what differentiating `forward` made, if anyone listens; see `Slope`."""
    if _thread.listening:
        found = tuple(node for node in made if node is not None)
        _thread.log.slopes.append(Slope(forward, found, total))


def is_watched() -> bool:
    """Whether decisions matter to anyone: they are written down, or limited."""
    return _thread.listening or _thread.allowed is not None


def counters() -> Counters:
    """The counters of the current recording (of nobody's, outside one)."""
    return _thread.log.counters
