"""Committed: what the runs of a session have left behind."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from graphc.freezing import frozen
from runtime.backend import Array


@frozen
class State:
    """What a session has committed. Replaced as a whole, so that a reader sees all of a run or none."""

    variables: MappingProxyType[str, Array]
    run_count: int

    def after(self, stored: Mapping[str, Array]) -> State:
        """What a run leaves behind that went well and assigned `stored`."""
        return State(MappingProxyType(self.variables | stored), self.run_count + 1)


EMPTY = State(MappingProxyType({}), 0)
