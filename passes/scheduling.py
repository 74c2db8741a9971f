"""Scheduling: an order of the nodes, operands before users, that keeps few bytes alive at once.

For each node the operand that needs more memory to be computed than it leaves behind comes first: on a
tree that is the order of Sethi and Ullman (1970). On a graph with shared nodes it is a guess, so the
order is used only where it keeps less alive than the order of definition does. Linear.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphc.function import Function
from graphc.tensor import Tensor
from passes.weight import bytes_of, guess_bytes, parts_of


def schedule(function: Function) -> Sequence[Tensor]:
    """The nodes of `function` in the order in which they are to run; its inputs come first."""
    defined = function.nodes()
    size = {node: _guessed_bytes(node) for node in defined}
    need = _needs(defined, size)
    frugal = _ordered(function, lambda node: sorted(node.inputs, key=lambda i: size[i] - need[i]))
    return frugal if _peak(function, frugal, size) < _peak(function, defined, size) else defined


def _guessed_bytes(node: Tensor) -> int:
    if not node.inputs:  # sources are there anyway
        return 0
    return sum(guess_bytes(bytes_of(type)) for type in parts_of(node.type) if type.shape is not None)


def _needs(nodes: Sequence[Tensor], size: dict[Tensor, int]) -> dict[Tensor, int]:
    """The bytes alive at once while each node is computed, were it alone and a tree."""
    need: dict[Tensor, int] = {}
    for node in nodes:
        held = most = 0
        for operand in sorted(dict.fromkeys(node.inputs), key=lambda i: size[i] - need[i]):
            most = max(most, held + need[operand])
            held += size[operand]
        need[node] = max(most, held + size[node])
    return need


def _ordered(function: Function, operands: Callable[[Tensor], Sequence[Tensor]]) -> list[Tensor]:
    order = list(dict.fromkeys(function.inputs))
    done = set(order)
    stack = [*function.outputs, *function.effects][::-1]
    while stack:
        node = stack[-1]
        waiting = [] if node in done else [i for i in operands(node) if i not in done]
        if waiting:
            stack.extend(reversed(waiting))
            continue
        stack.pop()
        if node not in done:
            done.add(node)
            order.append(node)
    return order


def _peak(function: Function, order: Sequence[Tensor], size: dict[Tensor, int]) -> int:
    """The most bytes alive at once."""
    left: dict[Tensor, int] = {}
    for node in order:
        for operand in set(node.inputs):
            left[operand] = left.get(operand, 0) + 1
    for kept in {*function.outputs, *function.effects}:
        left[kept] = left.get(kept, 0) + 1
    alive = peak = 0
    for node in order:
        alive += size[node]
        peak = max(peak, alive)
        for operand in set(node.inputs):
            left[operand] -= 1
            if not left[operand]:
                alive -= size[operand]
        if not left.get(node):
            alive -= size[node]
    return peak
