"""Loop merging: loops that take the same steps become one that stacks what either stacks.

A gradient through a loop takes the forward steps once more to remember them; afterwards they are
taken once.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

from graphc.function import Function, rebuild, with_inputs
from graphc.ops.loop import loop
from graphc.ops.state import pick
from graphc.sizes import Size, Symbol, sole_symbol
from graphc.tensor import Tensor
from passes.record import Decision, decide
from passes.rewrite import transform_all
from passes.specialisation import specialise
from passes.target import PLAIN, Target


def merge_loops(function: Function, target: Target = PLAIN) -> Function:
    """`function` in which no two loops take the same steps; the same object where none do.

    Runs right after differentiation, whose loops share the very nodes of their bodies.
    """
    if not function.has_regions():
        return function
    return transform_all(function, _with_merged)


def _with_merged(function: Function) -> Function:
    if same := _same_counts(_groups(function)):
        function, _ = specialise(function, {}, same)
    merged: dict[Tensor, Tensor] = {}
    for group in _groups(function):
        if len(group) > 1:
            one = _merged(group)
            if decide(Decision("merge", "loop", True, "the same steps", one.loc), group[-1], one):
                merged.update(dict.fromkeys(group, one))
    if not merged:
        return function
    made: dict[Tensor, Tensor] = {}  # of each group's first loop: the one for all

    def make(node: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
        if node in merged:
            first = merged[node]
            if first not in made:
                made[first] = with_inputs(first, inputs)
            return made[first]
        if node.op is pick and node.inputs[0] in merged:
            return replace(node, inputs=inputs, attrs={"index": _place(node, merged[node.inputs[0]])})
        return with_inputs(node, inputs)

    return rebuild(function, make)[0]


def _groups(function: Function) -> list[list[Tensor]]:
    groups: dict[Hashable, list[Tensor]] = {}
    for node in function.nodes():
        if node.op is loop:
            groups.setdefault(_steps_key(node), []).append(node)
    return list(groups.values())


def _steps_key(node: Tensor) -> Hashable:
    """What two loops share that take the same steps: operands, and the very nodes that carry on."""
    attrs, body = node.attrs, node.attrs["body"]
    carried = attrs["carried"]
    kept = ("carried", "scanned", "reverse", "condition", "state")
    varying = attrs["shape"][_counts(node) :]  # each loop has its own: such loops are left alone
    return (
        node.inputs,
        body.inputs,
        body.outputs[:carried],
        varying,
        *(attrs[name] for name in kept),
    )


def _counts(node: Tensor) -> int:
    """How many sizes of `shape` are the number of steps: 1 for a loop with a condition that stacks."""
    stacks = len(node.attrs["body"].outputs) > node.attrs["carried"]
    return int(node.attrs["condition"] is not None and stacks)


def _same_counts(groups: list[list[Tensor]]) -> dict[Symbol, Size]:
    """The numbers of steps that are one and the same, by a substitution."""
    same: dict[Symbol, Size] = {}
    for group in groups:
        counts = [node.attrs["shape"][0] for node in group if _counts(node)]
        for other in counts[1:]:
            symbol = sole_symbol(other)
            if symbol is not None and other != counts[0]:
                same[symbol] = counts[0]
    return same


def _merged(group: list[Tensor]) -> Tensor:
    """One loop that gives what all of `group` give."""
    first = group[0]
    carried = first.attrs["carried"]
    body = first.attrs["body"]
    stacked = dict.fromkeys(y for node in group for y in node.attrs["body"].outputs[carried:])
    effects = dict.fromkeys(e for node in group for e in node.attrs["body"].effects)
    shapes = [node.attrs["shape"] for node in group]
    attrs = {
        **first.attrs,
        "body": Function(body.inputs, (*body.outputs[:carried], *stacked), tuple(effects)),
        "shape": max(shapes, key=len),
    }
    return replace(first, attrs=attrs, type=loop.infer(first.inputs, attrs))


def _place(node: Tensor, merged: Tensor) -> int:
    """The number, among the results of `merged`, of what `node` picks."""
    index: int = node.attrs["index"]
    carried = merged.attrs["carried"]
    if index < carried:
        return index
    wanted = node.inputs[0].attrs["body"].outputs[index]
    place: int = carried + merged.attrs["body"].outputs[carried:].index(wanted)
    return place
