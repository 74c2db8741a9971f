"""Updates: which small ones wait until all else is computed, so that a backend may run them together.

An update of a variable is a fused node whose results nothing needs but assignments. A small one takes less
time than a launch of threads is worth; many of them, one after the other, are one launch. While they wait,
their gradients stay alive: of large variables that would be all gradients at once, and they would be read
when they have left the cache. So these are updated where they stand, which is the typed reason ``bytes`` in
the record; ``held`` where what waits would come to more than MOST_HELD.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.function import Function
from graphc.op import OPS
from graphc.ops.region import fused
from graphc.ops.state import after, assign, pick
from graphc.tensor import Tensor
from passes.record import Decision, decide
from passes.weight import parts_of

MOST_ELEMENTS = 1 << 14  # of a variable
MOST_HELD = 1 << 18  # bytes of what is computed for the updates that wait
_BEHIND = frozenset((pick, assign, after, OPS["group"]))  # what may stand behind an update
_BROADCAST = OPS["broadcast_to"]


def find_late(nodes: Sequence[Tensor], operands: Sequence[Sequence[int]], size: Sequence[int]) -> set[int]:
    """The numbers of small updates, and of what stands behind them; none, or two updates or more.

    `operands` of each of `nodes`, by number, stand before it; `size` is the bytes of each. Linear.
    """
    ops = [node.op for node in nodes]
    if assign not in ops or fused not in ops:
        return set()
    needed: set[int] = set()  # by what does not wait
    assigned: set[int] = set()
    late: set[int] = set()
    held = 0
    for i in reversed(range(len(nodes))):
        node, op, given = nodes[i], ops[i], operands[i]
        if op in _BEHIND:
            if i in needed:
                needed.update(given)
            if op is assign or i in assigned:
                assigned.update(given)
            continue
        if op is fused and i in assigned and i not in needed and _is_elementwise(node):
            waiting = sum(size[j] for j in dict.fromkeys(given))
            if not _is_small(node):
                _refuse(node, "bytes")
            elif held + waiting > MOST_HELD:
                _refuse(node, "held")
            else:
                held += waiting
                late.add(i)
        needed.update(given)  # also by another update: those that wait need nothing of each other
    if len(late) < 2:
        return set()
    for i, given in enumerate(operands):
        if not late.isdisjoint(given):
            late.add(i)
    return late


def _is_elementwise(node: Tensor) -> bool:
    body: Function = node.attrs["body"]
    inside = (n for n in body.nodes() if n.inputs)
    return all(n.op.family == "elementwise" or n.op is _BROADCAST for n in inside)


def _is_small(node: Tensor) -> bool:
    for type in parts_of(node.type):
        elements = 1
        for n in type.sizes:
            if not isinstance(n, int):
                return False
            elements *= n
        if elements > MOST_ELEMENTS:
            return False
    return True


def _refuse(node: Tensor, reason: str) -> None:
    decide(Decision("fork", node.op.name, False, reason, node.loc), node)
