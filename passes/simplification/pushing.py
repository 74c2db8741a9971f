"""Rules that let a broadcast go later: what repeats is computed once, and repeated at the end.

Broadcasts go towards the results and slices towards the inputs (`slicing`), so the two never turn in
circles; transposes and reshapes stay where they are unless two of them meet (`movement`).
"""

from __future__ import annotations

from graphc.op import OPS
from graphc.tensor import Tensor
from passes.match import is_certain
from passes.rewrite import Match, Rule, rule
from passes.simplification.matching import fits
from passes.simplification.vocabulary import broadcast_to

_ELEMENTWISE = tuple(op for op in OPS.values() if op.family == "elementwise" and op.operands)


def _without_broadcasts(match: Match) -> Tensor | None:
    """The node on what its operands repeat."""
    node = match.node
    sources = []
    for x in node.inputs:
        inside = x.op is broadcast_to and is_certain(x) and fits(x, node)
        sources.append(x.inputs[0] if inside else x)
    if all(source is x for source, x in zip(sources, node.inputs, strict=True)):
        return None
    if not all(fits(source, node) for source in sources):
        return None
    return node.op(*sources, **node.attrs)


@rule(*_ELEMENTWISE, of=(broadcast_to,))
def broadcast_is_implied(match: Match) -> Tensor | None:
    """``f(broadcast_to(x, s), y) -> f(x, y)`` where f is elementwise and y has the shape s."""
    made = _without_broadcasts(match)
    return made if made is not None and made.type == match.node.type else None


@rule(*_ELEMENTWISE, of=(broadcast_to,))
def broadcast_later(match: Match) -> Tensor | None:
    """``f(broadcast_to(x, s)) -> broadcast_to(f(x), s)`` where f is elementwise and never fails."""
    if not any(x.op is broadcast_to for x in match.inputs) or not is_certain(match.node):
        return None
    made = _without_broadcasts(match)
    if made is None or made.dtype is not match.node.dtype:
        return None
    return broadcast_to(made, shape=match.node.result.sizes)


RULES: tuple[Rule, ...] = (broadcast_is_implied, broadcast_later)
FAST_RULES: tuple[Rule, ...] = ()
