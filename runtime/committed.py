"""Committed: what the runs of a session have left behind."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from runtime.backend import Array


@dataclass(frozen=True, slots=True)
class State:
    """What a session has committed. Replaced as a whole, so that a reader sees all of a run or none."""

    variables: MappingProxyType[str, Array]
    run_count: int


EMPTY = State(MappingProxyType({}), 0)
