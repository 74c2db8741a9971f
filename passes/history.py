"""History: what each pass made of a function and why, stage by stage, as data for JSON.

docs/record.md says what stands where. `passes.delta` reads the states back.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from graphc.function import Function, Pairs, following, topological
from graphc.sizes import Size, Symbol
from graphc.tensor import Tensor
from passes.cost import cost_of
from passes.delta import Deltas, Node
from passes.lineage import Lineage
from passes.pipeline import Prepared, Request, prepare
from passes.reasons import REASONS
from passes.record import Log, recording, spell_place
from passes.target import PLAIN, Target

FORMAT = 2


def record_of(request: Request, target: Target = PLAIN) -> dict[str, Any]:
    """What the passes make of `request`, stage by stage, as data for JSON.

    The passes are run for it, so that compiling costs nothing more where nobody asks.

    Args:
        request: what is asked for.
        target: for what machine.

    Raises: as `prepare`.
    """
    return prepare_recorded(request, target)[2]


def prepare_recorded(
    request: Request, target: Target, known: Mapping[Symbol, int] | None = None
) -> tuple[Prepared, Deltas, dict[str, Any]]:
    """What `prepare` gives; the ids of its nodes, and the sizes; and the record of how."""
    with recording() as log, following() as pairs:
        recorder = _Recorder(log, pairs, Deltas(known))
        prepared = prepare(request, target, recorder)
    deltas = recorder.deltas
    document = {
        "format": FORMAT,
        "title": _title(request),
        "backend": target.backend,
        "fast_math": target.fast_math,
        "sizes": spell_sizes(deltas),
        "sizes_are": "assumed" if known is None else "fed",
        "reasons": REASONS,
        "stages": recorder.stages,
        "program": None,
        "kernels": [],
        "memory": None,
        "variables": [],
        "profile": None,
    }
    return prepared, deltas, document


def spell_sizes(deltas: Deltas) -> dict[str, int]:
    """The number of each symbol that was met, by how it is spelled."""
    from graphc.sizes import SizeExpr  # spelled as the size that it is

    return {
        deltas.speller.size(SizeExpr((((symbol,), 1),))): number
        for symbol, number in deltas.sizes.known.items()
    }


def _title(request: Request) -> str:
    """The names of what is fetched, as far as there is room."""
    names = [t.name or t.attrs.get("variable") or t.op.name for t in request.fetches]
    text = ", ".join(map(str, names[:4]))
    return f"{text}, ..." if len(names) > 4 else text or "nothing"


class _Recorder:
    """Called after each stage; `stages` are what it has heard."""

    def __init__(self, log: Log, pairs: Pairs, deltas: Deltas) -> None:
        self.stages: list[dict[str, Any]] = []
        self.deltas = deltas
        self._log, self._pairs = log, pairs
        self._function: Function | None = None
        self._counted = log.counters.as_dict()
        self._decided = self._changed = self._sloped = 0
        self._begin = time.perf_counter()

    def __call__(self, name: str, function: Function) -> None:
        seconds = time.perf_counter() - self._begin
        log, deltas = self._log, self.deltas
        counted = log.counters.as_dict()
        last = self.stages[-1] if self.stages else {"nodes": 0, "flops": 0, "bytes": 0}
        stage: dict[str, Any] = {
            "name": name,
            "seconds": seconds,
            "nodes": last["nodes"],
            "flops": last["flops"],
            "bytes": last["bytes"],
            "counters": {key: counted[key] - self._counted[key] for key in counted},
        }
        if function is not self._function:
            cost = cost_of(function)
            stage["nodes"] = len(function.nodes())
            stage["flops"], stage["bytes"] = self._size(cost.flops), self._size(cost.bytes)
        lineage = deltas.lineage(self._pairs, log.changes[self._changed :])
        delta = deltas.step(function, lineage)
        passing = _Passing(deltas, lineage)
        deltas.belongings.read(log.slopes[self._sloped :], lineage, deltas.ids, passing.id_of)
        stage["rewrites"] = self._rewrites(passing)
        stage["decisions"] = self._decisions(passing)
        stage["became"] = lineage.became(deltas.ids)
        deltas.settle_gradients(delta, stage["became"])
        stage["passing"] = passing.nodes
        stage["delta"] = delta
        self.stages.append(stage)
        self._function, self._counted = function, counted
        self._decided, self._changed = len(log.decisions), len(log.changes)
        self._sloped = len(log.slopes)
        self._pairs.clear()
        self._begin = time.perf_counter()

    def _decisions(self, passing: _Passing) -> list[dict[str, Any]]:
        log, since = self._log, self._decided
        return [
            {**decision.as_dict(), "nodes": [passing.id_of(node) for node in concerned]}
            for decision, concerned in zip(log.decisions[since:], log.concerned[since:], strict=True)
        ]

    def _rewrites(self, passing: _Passing) -> list[dict[str, Any]]:
        log, found = self._log, []
        changes = zip(log.changes[self._changed :], log.places[self._changed :], strict=True)
        for change, place in changes:
            if change.before is None or change.after is None:
                continue
            decision = change.decision
            before, inside = passing.begin(change.before)
            found.append(
                {
                    "rule": decision.subject if decision.kind == "rewrite" else decision.kind,
                    "equation": decision.reason,
                    "decision": place - self._decided,
                    "before": before,
                    "made": passing.make(change.after, inside),
                    "after": passing.id_of(change.after),
                    "inside": inside,
                    **spell_place(decision.loc),
                }
            )
        return found

    def _size(self, size: Size) -> int | str:
        return size if isinstance(size, int) else self.deltas.speller.size(size)


class _Passing:
    """The ids of nodes that one stage speaks of. `nodes` are those that live only within it."""

    def __init__(self, deltas: Deltas, lineage: Lineage) -> None:
        self.nodes: dict[str, Node] = {}
        self._deltas, self._lineage = deltas, lineage
        self._ids: dict[Tensor, str] = {}
        self._shown = set(lineage.before.values())
        self._inside: set[str] = set()

    def begin(self, node: Tensor) -> tuple[str, bool]:
        """The id of `node`, which is rewritten; and whether it is in a body."""
        id = self.id_of(node)
        if id not in self._shown:  # nothing has made it, so it is in no state
            self._inside.add(id)
            self._shown.add(id)
        return id, id in self._inside

    def make(self, node: Tensor, inside: bool) -> list[str]:
        """The ids of what there was not before `node` was made, operands first."""
        found = []
        for made in topological((node,), stop=self._is_shown):
            id = self.id_of(made)
            if id not in self._shown:
                self._shown.add(id)
                found.append(id)
                if inside:
                    self._inside.add(id)
        return found

    def _is_shown(self, node: Tensor) -> bool:
        known = self._known(node)
        return known is not None and known in self._shown

    def id_of(self, node: Tensor) -> str:
        """The id of `node`; a new one, by which it is in `nodes`, where no state has it."""
        known = self._known(node)
        if known is not None:
            return known
        for new in topological((node,), stop=lambda n: self._known(n) is not None):
            if self._known(new) is None:
                self._ids[new] = id = self._deltas.new_id()
                operands = {operand: self.id_of(operand) for operand in new.inputs}
                self.nodes[id] = self._deltas.spell(new, operands, self._lineage)
        return self._ids[node]

    def _known(self, node: Tensor) -> str | None:
        """The id that `node` has already."""
        if node in self._ids:
            return self._ids[node]
        before, after = self._lineage.before, self._deltas.ids
        found = before.get(node) or after.get(node)
        if found is None:
            for known in (before, self._ids):
                origin = self._lineage.origin_in(node, known)
                if origin is not None:
                    found = known[origin]
                    break
            else:
                heir = self._lineage.heir_in(node, after)
                found = None if heir is None else after[heir]
        if found is not None:
            self._ids[node] = found
        return found
