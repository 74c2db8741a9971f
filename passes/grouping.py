"""Grouping: nodes of a function put together in `fused` nodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from graphc.errors import VerificationError
from graphc.function import Function, in_order, rebuild, with_inputs
from graphc.ops.region import fused
from graphc.ops.state import pick
from graphc.sizes import Size
from graphc.tensor import Tensor
from graphc.tracing import parameter
from graphc.types import TupleType


def enclose(
    function: Function,
    nodes: Sequence[Tensor],
    groups: Sequence[Sequence[Tensor]],
    walked: Sequence[tuple[Size, ...]],
    leads: Sequence[Tensor] | None = None,
) -> Function:
    """`function` with each of `groups` in one `fused` node that walks what is `walked`.

    Groups are convex, and list their nodes in the order of `nodes`. Each bears the line of the node that
    leads it, by default of its last one that is not of a gradient.
    """
    group_of = {node: i for i, group in enumerate(groups) for node in group}
    wanted = {*function.outputs, *function.effects}
    for node in nodes:
        for operand in node.inputs:
            if group_of.get(operand, -1) != group_of.get(node, -2):
                wanted.add(operand)
    outputs = [[node for node in group if node in wanted] for group in groups]
    place = {node: (i, k) for i, out in enumerate(outputs) for k, node in enumerate(out)}
    operands = [_operands(group) for group in groups]
    bodies = [_body(group, given, out) for group, given, out in zip(groups, operands, outputs, strict=True)]
    made: dict[int, Tensor] = {}
    new: dict[Tensor, Tensor] = {node: node for node in function.inputs}
    order = _order(function, group_of, operands)
    for item in order:
        if isinstance(item, int):
            group = groups[item]
            inputs = tuple(new[operand] for operand in operands[item])
            types = TupleType(tuple(node.result for node in outputs[item]))
            lead = leads[item] if leads else _lead(group)
            made[item] = Tensor(
                fused, inputs, {"body": bodies[item], "rows": walked[item]}, types, lead.loc, None, lead.owner
            )
            for node in outputs[item]:
                index = place[node][1]
                new[node] = Tensor(
                    pick, (made[item],), {"index": index}, node.type, node.loc, node.name, node.owner
                )
        elif item not in new:
            new[item] = with_inputs(item, tuple(new[operand] for operand in item.inputs))
    return Function(
        function.inputs,
        tuple(new[node] for node in function.outputs),
        tuple(new[node] for node in function.effects),
    )


def fuse_alone(group: Sequence[Tensor], outputs: Sequence[Tensor], walked: tuple[Size, ...]) -> Tensor:
    """The `fused` node that `group` would become."""
    operands, lead = _operands(group), _lead(group)
    attrs = {"body": _body(group, operands, outputs), "rows": walked}
    types = TupleType(tuple(node.result for node in outputs))
    return Tensor(fused, tuple(operands), attrs, types, lead.loc, None, lead.owner)


def _lead(group: Sequence[Tensor]) -> Tensor:
    return next((node for node in reversed(group) if not (node.loc and node.loc.backward)), group[-1])


def _operands(group: Sequence[Tensor]) -> list[Tensor]:
    inside = set(group)
    return list(dict.fromkeys(i for node in group for i in node.inputs if i not in inside))


def _body(group: Sequence[Tensor], operands: Sequence[Tensor], outputs: Sequence[Tensor]) -> Function:
    formals = {
        operand: replace(parameter(f"x{i}", operand.result, operand.owner), loc=operand.loc)
        for i, operand in enumerate(operands)
    }
    body, _ = rebuild(Function(tuple(operands), tuple(outputs)), with_inputs, formals)
    return replace(body, inputs=tuple(formals.values()))


def _order(
    function: Function, group_of: dict[Tensor, int], operands: list[list[Tensor]]
) -> list[Tensor | int]:
    """Nodes that are in no group, and groups, each after what it needs; without recursion.

    Raises: VerificationError where a group needs itself by way of others, so that nothing can come first.
    """
    asked: Counter[int] = Counter()

    def item_of(node: Tensor) -> Tensor | int:
        return group_of.get(node, node)

    def needs(item: Tensor | int) -> Iterator[Tensor | int]:
        if not isinstance(item, int):
            return map(item_of, item.inputs)
        asked[item] += 1
        if asked[item] > 2:  # before what it needs, and behind it: a third time only in a cycle
            raise VerificationError("what is fused together needs itself by way of what is not")
        return map(item_of, operands[item])

    return in_order(map(item_of, (*function.outputs, *function.effects)), needs, function.inputs)
