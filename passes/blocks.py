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
from passes.grouping import enclose, fuse_alone
from passes.record import Decision, decide
from passes.target import Target
from passes.weight import parts_of


def fuse_blocks(function: Function, target: Target) -> Function:
    """`function` with the chains that the backend makes one kernel of in `fused` nodes. Linear."""
    nodes = function.nodes()
    users = Counter(operand for node in nodes for operand in set(node.inputs))
    users.update({*function.outputs, *function.effects})
    groups: list[list[Tensor]] = []
    walked: list[tuple[Size, ...]] = []
    for node in nodes:
        for operand in dict.fromkeys(node.inputs):
            chain = _chain(node, operand, target)
            if chain is None:
                continue
            if any(users[each] > 1 for each in chain):
                _refuse(node, chain, "result")
                continue
            behind = [n for n in nodes if node in n.inputs and n.op is pick] if node.op is fused else []
            group = [*chain, node, *behind]
            if not target.contracts(fuse_alone(group, behind or [node], chain[-1].result.sizes)):
                _refuse(node, chain, "op")
            elif decide(Decision("fuse", fused.name, True, "block", node.loc, {}, tuple(group)), node):
                groups.append(group)
                walked.append(chain[-1].result.sizes)
                break
    return enclose(function, nodes, groups, walked) if groups else function


def _chain(node: Tensor, operand: Tensor, target: Target) -> list[Tensor] | None:
    """What stands before `operand` of the contraction `node`: a contraction, rows of it, and the picks."""
    if operand.op is not pick or operand.inputs[0].op is not fused or not _is_contraction(node, target):
        return None
    rows = operand.inputs[0]
    if _is_contraction(rows, target):
        return None
    if len(parts_of(rows.type)) != 1:
        return None
    shape = operand.result.shape
    for scores in rows.inputs:
        if scores.result.shape != shape or len(shape or ()) < 2:
            continue
        if scores.op not in (pick, fused) and target.contracts(scores):
            return [scores, rows, operand]
        below = scores.inputs[0] if scores.op is pick else scores
        if below.op is fused and _is_contraction(below, target) and len(parts_of(below.type)) == 1:
            return [below, scores, rows, operand]
    return None


def _is_contraction(node: Tensor, target: Target) -> bool:
    if node.op is fused:
        body = node.attrs["body"]
        return any(n not in body.inputs and n.op is not fused and target.contracts(n) for n in body.nodes())
    return target.contracts(node)


def _refuse(node: Tensor, chain: list[Tensor], reason: str) -> None:
    subject = f"{chain[-1].op.name} with {node.op.name}"
    decide(Decision("fuse", subject, False, reason, node.loc, nodes=(chain[-1], node)))
