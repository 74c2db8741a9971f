"""Grouping: nodes of a function put together in `fused` nodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from itertools import chain
from operator import attrgetter

from graphc.errors import VerificationError
from graphc.function import Function, follow, in_known_order, in_order, is_followed, with_inputs
from graphc.ops.region import fused
from graphc.ops.source import _placeholder as placeholder
from graphc.ops.state import pick
from graphc.sizes import Size
from graphc.tensor import Tensor
from graphc.types import TupleType
from passes.deduplication import attributes_key
from passes.record import Decision, decide, is_watched

_inputs: Callable[[Tensor], tuple[Tensor, ...]] = attrgetter("inputs")


def accept(group: Sequence[Tensor], reason: str) -> bool:
    """Decides that `group` runs in one kernel; whether it may."""
    if not is_watched():
        return True
    last, details = group[-1], {"nodes": len(group)}
    return decide(Decision("fuse", fused.name, True, reason, last.loc, details, tuple(group)), last)


def refuse(operand: Tensor, node: Tensor, reason: str) -> None:
    """Notes why `node` does not run in one kernel with `operand`, which it needs."""
    subject = f"{operand.op.name} with {node.op.name}"
    decide(Decision("fuse", subject, False, reason, node.loc, nodes=(operand, node)))


def enclose(
    function: Function,
    nodes: Sequence[Tensor],
    groups: Sequence[Sequence[Tensor]],
    walked: Sequence[tuple[Size, ...]],
    leads: Sequence[Tensor] | None = None,
    before: Sequence[Sequence[Tensor]] | None = None,
) -> Function:
    """`function` with each of `groups` in one `fused` node that walks what is `walked`.

    Groups are convex, and list their nodes in the order of `nodes`. Each bears the line of the node that
    leads it, by default of its last one that is not of a gradient. It computes for itself what `before`
    lists for it, in the same order, whether others need that too or not.
    """
    group_of = {node: i for i, group in enumerate(groups) for node in group}
    wholes = [(*own, *group) for own, group in zip(before or [()] * len(groups), groups, strict=True)]
    operands = [_operands(whole) for whole in wholes]
    wanted = {*function.outputs, *function.effects, *chain.from_iterable(operands)}
    wanted.update(chain.from_iterable([node.inputs for node in nodes if node not in group_of]))
    outputs = [[node for node in group if node in wanted] for group in groups]
    bodies = _Bodies()
    new: dict[Tensor | int, Tensor] = {node: node for node in function.inputs}
    order = _order(function, group_of, operands)
    for item in order:
        if item in new:
            continue
        if isinstance(item, int):
            lead = leads[item] if leads else _lead(groups[item])
            inputs = tuple([new[operand] for operand in operands[item]])
            body = bodies.body(wholes[item], operands[item], outputs[item])
            new[item] = _fused(body, inputs, outputs[item], walked[item], lead)
        elif item in group_of:
            number = group_of[item]
            attrs = {"index": outputs[number].index(item)}
            new[item] = Tensor(pick, (new[number],), attrs, item.type, item.loc, item.name, item.owner)
        else:
            new[item] = with_inputs(item, tuple([new[operand] for operand in item.inputs]))
    result = Function(
        function.inputs,
        tuple([new[node] for node in function.outputs]),
        tuple([new[node] for node in function.effects]),
    )
    return in_known_order(result, [new[item] for item in order])


def fuse_alone(group: Sequence[Tensor], outputs: Sequence[Tensor], walked: tuple[Size, ...]) -> Tensor:
    """The `fused` node that `group` would become."""
    operands = _operands(group)
    return _fused(_body(group, operands, outputs), tuple(operands), outputs, walked, _lead(group))


def count_users(function: Function) -> Counter[Tensor]:
    """How many nodes and results of `function` need each value."""
    needed = [x.inputs if len(x.inputs) < 2 else {*x.inputs} for x in function.nodes()]
    users = Counter(chain.from_iterable(needed))
    users.update({*function.outputs, *function.effects})
    return users


def _fused(
    body: Function,
    inputs: tuple[Tensor, ...],
    outputs: Sequence[Tensor],
    walked: tuple[Size, ...],
    lead: Tensor,
) -> Tensor:
    attrs = {"body": body, "rows": walked}
    types = TupleType(tuple([node.result for node in outputs]))
    return Tensor(fused, inputs, attrs, types, lead.loc, None, lead.owner)


def _lead(group: Sequence[Tensor]) -> Tensor:
    return next((node for node in reversed(group) if not (node.loc and node.loc.backward)), group[-1])


def _operands(group: Sequence[Tensor]) -> list[Tensor]:
    inside = set(group)
    return [x for x in dict.fromkeys(chain.from_iterable(map(_inputs, group))) if x not in inside]


class _Bodies:
    """Makes the bodies of groups; those that are alike, in names and lines too, are one.

    So are the cells of a loop that Python unrolled, and the layers that one function defined.
    """

    def __init__(self) -> None:
        self._known: dict[Hashable, Function] = {}
        self._apart = is_followed()  # what came of each node is asked for, and would be one for many

    def body(
        self, group: Sequence[Tensor], operands: Sequence[Tensor], outputs: Sequence[Tensor]
    ) -> Function:
        """The body that computes `outputs` of `operands`."""
        if self._apart:
            return _body(group, operands, outputs)
        place = {x: i for i, x in enumerate((*operands, *group))}
        key = (
            tuple([(x.dtype.name, x.result.shape, id(x.loc), id(x.owner)) for x in operands]),
            tuple([(id(x.op), *[place[i] for i in x.inputs]) for x in group]),
            tuple([(attributes_key(x.attrs), x.name, id(x.loc), id(x.owner)) for x in group]),
            tuple([place[x] for x in outputs]),
        )
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = _body(group, operands, outputs)
        return found


def _body(group: Sequence[Tensor], operands: Sequence[Tensor], outputs: Sequence[Tensor]) -> Function:
    new: dict[Tensor, Tensor] = {}
    for i, operand in enumerate(operands):
        type = operand.result
        attrs = {"name": f"x{i}", "dtype": type.dtype, "shape": type.shape}
        new[operand] = Tensor(placeholder, (), attrs, type, operand.loc, None, operand.owner)
        follow(operand, new[operand])
    inputs = tuple(new.values())
    for node in group:
        new[node] = with_inputs(node, tuple([new[x] for x in node.inputs]))
    return Function(inputs, tuple([new[node] for node in outputs]))


def _order(
    function: Function, group_of: dict[Tensor, int], operands: list[list[Tensor]]
) -> list[Tensor | int]:
    """Nodes that no group computes for itself, and groups, each after what it needs; without recursion.

    Raises: VerificationError where a group needs itself by way of others, so that nothing can come first.
    """
    asked: set[int] = set()

    def needs(item: Tensor | int) -> Sequence[Tensor | int]:
        if not isinstance(item, int):
            return (group_of[item],) if item in group_of else item.inputs
        if item in asked:
            raise VerificationError("what is fused together needs itself by way of what is not")
        asked.add(item)
        return operands[item]

    return in_order((*function.outputs, *function.effects), needs, function.inputs)
