"""Branches: a `cond` whose predicate is known, or whose branches are one, becomes what it gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from graphc.function import Function, rebuild, with_inputs
from graphc.graph import Graph
from graphc.ops.region import _cond as cond
from graphc.ops.source import _constant as constant
from graphc.ops.state import pick
from graphc.tensor import Tensor
from graphc.types import TupleType
from passes.deduplication import structure_key
from passes.record import Decision, decide
from passes.rewrite import transform_all
from passes.target import PLAIN, Target


def resolve_branches(function: Function, target: Target = PLAIN) -> Function:
    """`function` with the branch taken in place of every `cond` that needs no run to be decided.

    The same object comes back where there is none. A result whose type the other branch widened
    keeps its cond.
    """
    if not function.has_regions():
        return function
    return transform_all(function, _resolved)


def _resolved(function: Function) -> Function:
    taken: dict[Tensor, tuple[Tensor, ...]] = {}
    effects: dict[Tensor, tuple[Tensor, ...]] = {}  # of the branches taken

    def make(node: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
        if node.op is pick and inputs[0] in taken:
            index: int = node.attrs["index"]
            return taken[inputs[0]][index]
        made = with_inputs(node, inputs)
        branch = _decided(made) if node.op is cond else None
        if branch is not None and decide(
            Decision("branch", "cond", True, "predicate is known", node.loc), made
        ):
            inlined = inline(branch, inputs[1:], node.owner)
            taken[made] = inlined.outputs
            effects[made] = inlined.effects
        return made

    result, _ = rebuild(function, make)
    if not any(effects.values()) and effects.keys().isdisjoint(result.effects):
        return result
    listed = dict.fromkeys((*result.effects, *effects))  # what stood for a branch gives way to its effects
    return replace(result, effects=tuple(e for node in listed for e in effects.get(node, (node,))))


def _decided(node: Tensor) -> Function | None:
    """The body that `node` always runs; None where the run decides, or where types differ."""
    then, orelse = node.attrs["then"], node.attrs["orelse"]
    predicate = node.inputs[0]
    if predicate.op is constant:
        branch: Function = then if predicate.attrs["value"].item() else orelse
    elif structure_key(then) == structure_key(orelse) and not then.effects:
        branch = then
    else:
        return None
    assert isinstance(node.type, TupleType)
    alike = all(a.type == t for a, t in zip(branch.outputs, node.type.elements, strict=True))
    return branch if alike else None


def inline(body: Function, operands: Sequence[Tensor], owner: Graph | None) -> Function:
    """`body` on `operands`, its nodes belonging to the graph around."""

    def make(node: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
        return replace(node, inputs=inputs, owner=owner)

    rebuilt, _ = rebuild(body, make, dict(zip(body.inputs, operands, strict=True)))
    return rebuilt
