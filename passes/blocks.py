"""Blocks: a contraction, the rows that are made of it and the contraction of those, as one kernel: attention.

In between stand arrays as large as all scores, which nobody else needs; in one kernel a few rows of them
are in the cache at a time. Such a chain is left as it is where others need what is in between (the gradient
of attention does), which is the typed reason ``result`` in the record, or where the backend has no code for
its rows (``op``).
"""

from __future__ import annotations

from collections import Counter

from graphc.function import Function
from graphc.ops.region import fused
from graphc.ops.state import pick
from graphc.sizes import Size
from graphc.tensor import Tensor
from passes.grouping import count_users, enclose, fuse_alone, refuse
from passes.record import Decision, decide
from passes.target import Target
from passes.weight import parts_of


def fuse_blocks(function: Function, target: Target) -> Function:
    """`function` with the chains that the backend makes one kernel of in `fused` nodes. Linear."""
    nodes = function.nodes()
    picks: dict[Tensor, list[Tensor]] = {}
    for node in nodes:
        if node.op is pick and node.inputs[0].op is fused:
            picks.setdefault(node.inputs[0], []).append(node)
    if not picks:
        return function  # nothing is made of rows
    users: Counter[Tensor] | None = None  # counted where they are asked for
    contracts = _Contractions(target)
    groups: list[list[Tensor]] = []
    walked: list[tuple[Size, ...]] = []
    for node in nodes:
        for operand in dict.fromkeys(node.inputs):
            if operand.op is not pick or operand.inputs[0] not in picks or not contracts.has(node):
                continue
            chain = _chain(operand, contracts)
            if chain is None:
                continue
            users = users or count_users(function)
            if any(users[each] > 1 for each in chain):
                refuse(chain[-1], node, "result")
                continue
            behind = picks.get(node, [])
            group = [*chain, node, *behind]
            if not target.contracts(fuse_alone(group, behind or [node], chain[-1].result.sizes)):
                refuse(chain[-1], node, "op")
            elif decide(Decision("fuse", fused.name, True, "block", node.loc, {}, tuple(group)), node):
                groups.append(group)
                walked.append(chain[-1].result.sizes)
                break
    return enclose(function, nodes, groups, walked) if groups else function


def _chain(operand: Tensor, contracts: _Contractions) -> list[Tensor] | None:
    """What stands before `operand` of a contraction: a contraction, rows of it, and the picks."""
    rows = operand.inputs[0]
    if len(parts_of(rows.type)) != 1 or contracts.has(rows):
        return None
    shape = operand.result.shape
    for scores in rows.inputs:
        if scores.result.shape != shape or len(shape or ()) < 2:
            continue
        below = scores.inputs[0] if scores.op is pick else scores
        if below.op is fused:
            if contracts.has(below) and len(parts_of(below.type)) == 1:
                return [below, scores, rows, operand]
        elif scores.op is not pick and contracts.has(scores):
            return [scores, rows, operand]
    return None


class _Contractions:
    """Which nodes are contractions, by themselves or with an epilogue; each is looked at once."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._known: dict[Tensor, bool] = {}

    def has(self, node: Tensor) -> bool:
        """Whether `node` is one."""
        found = self._known.get(node)
        if found is None:
            found = self._known[node] = self._find(node)
        return found

    def _find(self, node: Tensor) -> bool:
        if node.op is not fused:
            return self._target.contracts(node)
        body = node.attrs["body"]
        return any(n.inputs and n.op is not fused and self._target.contracts(n) for n in body.nodes())
