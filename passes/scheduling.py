"""Scheduling: an order of the nodes, operands before users, that keeps few bytes alive at once.

For each node the operand that needs more memory to be computed than it leaves behind comes first: on a
tree that is the order of Sethi and Ullman (1970). On a graph with shared nodes it is a guess, so the
order is used only where it keeps less alive than the order of definition does, and than the one that
takes the operand first which can be had first. Linear.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.function import Function, in_order
from graphc.graph import has_effects
from graphc.ops.state import after, pick
from graphc.tensor import Tensor
from passes.weight import bytes_of, guess_bytes, parts_of


def schedule(function: Function) -> list[Tensor]:
    """The nodes of `function` in the order in which they are to run; its inputs come first."""
    defined = function.nodes()
    size = _guessed_sizes(defined)
    need = _needs(defined, size)
    depth = _depths(defined)
    roots = (*function.outputs, *function.effects)
    walks = (
        in_order(
            roots,
            lambda node: sorted(node.inputs, key=lambda i: size[i] - need[i]),
            function.inputs,
        ),
        # What can be had first is: of the gradients of layers, that of the last one.
        in_order(
            sorted(roots, key=depth.__getitem__),
            lambda node: sorted(node.inputs, key=depth.__getitem__),
            function.inputs,
        ),
    )
    orders = map(_with_picks, (defined, *(_sunk(function, walk, size) for walk in walks)))
    return min(orders, key=lambda order: _held(function, order, size))


def _sunk(function: Function, order: Sequence[Tensor], size: dict[Tensor, int]) -> list[Tensor]:
    """`order` with nodes that take more memory than their operands, as draws do, right before their use."""
    users: dict[Tensor, int] = {}
    for node in order:
        for operand in set(node.inputs):
            users[operand] = users.get(operand, 0) + 1
    fixed = {*function.inputs, *function.outputs, *function.effects}

    def sinks(node: Tensor) -> bool:
        held = sum(size[i.inputs[0]] if i.op is after else size[i] for i in node.inputs)
        return node.inputs != () and node not in fixed and not has_effects(node) and held < size[node]

    sinking = {node for node in order if users.get(node) and sinks(node)}
    backwards = []
    for last in reversed(order):
        stack = [] if last in sinking else [last]
        while stack:
            node = stack.pop()
            backwards.append(node)
            for operand in dict.fromkeys(node.inputs):
                users[operand] -= 1
                if not users[operand] and operand in sinking:
                    stack.append(operand)
    return backwards[::-1]


def _with_picks(order: Sequence[Tensor]) -> list[Tensor]:
    """`order` with every pick right behind what it picks from, so that no other result is held for it."""
    picks: dict[Tensor, list[Tensor]] = {}
    for node in order:
        if node.op is pick:
            picks.setdefault(node.inputs[0], []).append(node)
    if not picks:
        return list(order)
    result = []
    for node in order:
        if node.op is not pick:
            result.append(node)
            result.extend(picks.get(node, ()))
    return result


def _depths(nodes: Sequence[Tensor]) -> dict[Tensor, int]:
    """The length of the longest way from a source to each node."""
    depth: dict[Tensor, int] = {}
    for node in nodes:
        depth[node] = 1 + max((depth[i] for i in node.inputs), default=0)
    return depth


def _guessed_sizes(nodes: Sequence[Tensor]) -> dict[Tensor, int]:
    """The guessed bytes of each node; of a tuple's, what is picked counts for the pick."""
    size = {node: 0 if node.op is after else _guessed_bytes(node) for node in nodes}
    for node in nodes:
        if node.op is pick:
            size[node.inputs[0]] = max(size[node.inputs[0]] - size[node], 0)
    return size


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


def _held(function: Function, order: Sequence[Tensor], size: dict[Tensor, int]) -> tuple[int, int]:
    """The most bytes alive at once, and the sum over all steps; `after` is the memory of its operand."""
    root: dict[Tensor, Tensor] = {}
    for node in order:
        root[node] = root[node.inputs[0]] if node.op is after else node
    left: dict[Tensor, int] = {}
    for node in order:
        for operand in {root[i] for i in node.inputs}:
            left[operand] = left.get(operand, 0) + 1
    for kept in {root[node] for node in (*function.outputs, *function.effects)}:
        left[kept] = left.get(kept, 0) + 1
    alive = peak = total = 0
    for node in order:
        alive += size[node]
        peak = max(peak, alive)
        total += alive
        for operand in {root[i] for i in node.inputs}:
            left[operand] -= 1
            if not left[operand]:
                alive -= size[operand]
        if root[node] is node and not left.get(node):
            alive -= size[node]
    return peak, total
