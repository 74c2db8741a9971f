"""History: the record of one request, a JSON document of what each pass made of the function.

    {"format": 1, "backend": ..., "fast_math": ..., "stages": [{
        "name": "simplify", "seconds": 0.001, "nodes": 12, "flops": "2*batch", "bytes": "8*batch",
        "counters": {"nodes_visited": ..., "rules_tried": ..., "rules_fired": ..., "nodes_made": ...},
        "decisions": [{"kind", "subject", "accepted", "reason", "at", "details"}],
        "delta": {"added": {id: node}, "changed": {id: node}, "removed": [id],
                  "inputs": [id], "outputs": [id], "effects": [id]}}]}

A node is ``{"op", "operands": [id], "attrs": {name: text or body}, "type", "name", "file", "line",
"source", "backward"}``; `passes.delta` reads the deltas back. Flops and bytes are numbers where all
sizes are known, else texts in the named sizes.
"""

from __future__ import annotations

import time
from typing import Any

from graphc.function import Function
from graphc.sizes import Size
from passes.cost import cost_of
from passes.delta import Deltas
from passes.pipeline import Prepared, Request, prepare
from passes.record import Log, recording
from passes.target import PLAIN, Target

FORMAT = 1


def record_of(request: Request, target: Target = PLAIN) -> dict[str, Any]:
    """What the passes make of `request`, stage by stage, as data for JSON.

    The passes are run for it, so that compiling costs nothing more where nobody asks.

    Raises: as `prepare`.
    """
    return prepare_recorded(request, target)[1]


def prepare_recorded(request: Request, target: Target) -> tuple[Prepared, dict[str, Any]]:
    """What `prepare` gives, and the record of how."""
    with recording() as log:
        recorder = _Recorder(log)
        prepared = prepare(request, target, recorder)
    document = {
        "format": FORMAT,
        "backend": target.backend,
        "fast_math": target.fast_math,
        "stages": recorder.stages,
    }
    return prepared, document


class _Recorder:
    """Called after each stage; `stages` are what it has heard."""

    def __init__(self, log: Log) -> None:
        self.stages: list[dict[str, Any]] = []
        self._log = log
        self._deltas = Deltas()
        self._function: Function | None = None
        self._counted = log.counters.as_dict()
        self._decided = 0
        self._begin = time.perf_counter()

    def __call__(self, name: str, function: Function) -> None:
        seconds = time.perf_counter() - self._begin
        counted = self._log.counters.as_dict()
        decisions = self._log.decisions[self._decided :]
        stage = {
            "name": name,
            "seconds": seconds,
            "nodes": self.stages[-1]["nodes"] if self.stages else 0,
            "flops": self.stages[-1]["flops"] if self.stages else 0,
            "bytes": self.stages[-1]["bytes"] if self.stages else 0,
            "counters": {key: counted[key] - self._counted[key] for key in counted},
            "decisions": [decision.as_dict() for decision in decisions],
            "delta": self._deltas.step(function),
        }
        if function is not self._function:
            cost = cost_of(function)
            stage["nodes"] = len(function.nodes())
            stage["flops"], stage["bytes"] = self._size(cost.flops), self._size(cost.bytes)
        self.stages.append(stage)
        self._function, self._counted = function, counted
        self._decided = len(self._log.decisions)
        self._begin = time.perf_counter()

    def _size(self, size: Size) -> int | str:
        return size if isinstance(size, int) else self._deltas.speller.size(size)
