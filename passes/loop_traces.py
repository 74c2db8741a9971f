"""Loop traces: what a loop computes at every step anyway is kept, not computed again for all steps.

A gradient remembers what each step began with, and what it needs beside that it computes from there; where
that moves out of the loop backwards, it is a product over all steps that the loop forwards has made already.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

from graphc import ops
from graphc.function import Function, rebuild, with_inputs
from graphc.graph import graph_frame
from graphc.ops.loop import Parts, loop
from graphc.ops.source import _constant as constant
from graphc.ops.state import pick
from graphc.tensor import Tensor
from passes.loop_invariants import works_on_all
from passes.record import Decision, decide
from passes.rewrite import transform_all
from passes.target import PLAIN, Target

_SMALL = 64  # elements of constants that are compared


def keep_traces(function: Function, target: Target = PLAIN) -> Function:
    """`function` where products over all steps are taken from the loop that makes them step by step.

    The products, and elementwise ops on them, have as operands what the loop stacks, walks and captures.
    In the record it is a ``hoist``, ``kept by the loop``. The same object comes back where there are none.
    """
    if not function.has_regions():
        return function
    return transform_all(function, _with_traces)


def _with_traces(function: Function) -> Function:
    for node in function.nodes():
        if node.op is loop and len(node.attrs["body"].outputs) > node.attrs["carried"]:
            function = _kept(function, node)
    return function


def _kept(function: Function, node: Tensor) -> Function:
    found = _match(function, node)
    wanted = _frontier(function, found)
    chosen = {
        outer: inner
        for outer, inner in wanted.items()
        if decide(Decision("hoist", outer.op.name, True, "kept by the loop", outer.loc), outer)
    }
    if not chosen:
        return function
    body: Function = node.attrs["body"]
    outputs = (*body.outputs, *chosen.values())
    index = {outer: len(body.outputs) + i for i, outer in enumerate(chosen)}
    made: list[Tensor] = []

    def make(each: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
        if each is node:
            attrs = {**node.attrs, "body": replace(body, outputs=outputs)}
            made.append(replace(node, inputs=inputs, attrs=attrs, type=loop.infer(inputs, attrs)))
            return made[0]
        if each in chosen:
            with graph_frame(each.owner):
                return replace(pick(made[0], index=index[each]), loc=each.loc, name=each.name)
        return with_inputs(each, inputs)

    return rebuild(function, make)[0]


def _match(function: Function, node: Tensor) -> dict[Tensor, tuple[Tensor, bool]]:
    """For nodes outside `node` what its steps compute of them, and whether that rests on a product.

    Only those are given that rest on what the loop stacks.
    """
    body: Function = node.attrs["body"]
    carried, scanned = node.attrs["carried"], node.attrs["scanned"]
    formal, operands = (Parts.of(x, carried, scanned) for x in (body.inputs, node.inputs))
    inner: dict[Tensor, Tensor] = dict(zip(operands.captured, formal.captured, strict=True))
    inner |= zip(operands.slices, formal.slices, strict=True)
    walked = set(formal.slices)
    constants = {_value(each): each for each in body.nodes() if each.op is constant}
    computed: dict[Hashable, list[Tensor]] = {}
    for each in body.nodes():
        if each.op is ops.matmul or each.op.family == "elementwise":
            computed.setdefault((each.op, each.inputs), []).append(each)
    found: dict[Tensor, tuple[Tensor, bool]] = {}
    for each in function.nodes():
        if each.op is constant:
            same = constants.get(_value(each))
            if same is not None:
                inner[each] = same
        elif each.op is pick and each.inputs[0] is node and each.attrs["index"] >= carried:
            inner[each] = body.outputs[each.attrs["index"]]
            walked.add(inner[each])
            found[each] = inner[each], False
        elif (
            each not in inner
            and any(i in found for i in each.inputs)
            and all(i in inner for i in each.inputs)
        ):
            step = next(
                (
                    x
                    for x in computed.get((each.op, tuple(inner[i] for i in each.inputs)), ())
                    if x.attrs == each.attrs and x.result.sizes == each.result.sizes[1:]
                ),
                None,
            )
            if step is not None and works_on_all(step, walked):
                inner[each] = step
                walked.add(step)
                heavy = each.op is ops.matmul or any(found[i][1] for i in each.inputs if i in found)
                found[each] = step, heavy
    return found


def _frontier(function: Function, found: dict[Tensor, tuple[Tensor, bool]]) -> dict[Tensor, Tensor]:
    """The products, or what is made of them, that nodes which are not `found` read."""
    read = {*function.outputs, *function.effects}
    for node in function.nodes():
        if node not in found:
            read.update(node.inputs)
    return {outer: inner for outer, (inner, heavy) in found.items() if heavy and outer in read}


def _value(node: Tensor) -> Hashable:
    """What tells small constants apart."""
    value = node.attrs["value"]
    return (node.type, value.tobytes()) if value.size <= _SMALL else node
