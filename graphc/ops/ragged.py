"""Ragged: loop variables of changing shapes as they were at each step, one after another in a vector.

Steps that hand on arrays of one shape are remembered as one array with an axis more; where the shape
changes, the elements of all steps lie in a vector that grows, and beside it the shapes, step by step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from graphc import sizes
from graphc.dynamic_sizes import after_all
from graphc.freezing import frozen
from graphc.function import Function
from graphc.graph import graph_frame
from graphc.ops.accumulation import prod
from graphc.ops.elementwise import sub
from graphc.ops.filling import zeros
from graphc.ops.joining import concat
from graphc.ops.loop import loop, varies
from graphc.ops.movement import reshape
from graphc.ops.sizing import shape
from graphc.ops.state import extent, pick
from graphc.sizes import Size
from graphc.tensor import Tensor
from graphc.tracing import parameter, without_effects
from graphc.types import TensorType


@frozen
class Remembered:
    """What the steps of a loop began with: arrays with an axis more, and those that have none.

    For each value of a changing shape, `vectors` has the elements of all steps, `shapes` is a row of
    sizes for each.
    """

    alike: tuple[Tensor, ...]
    shapes: tuple[Tensor, ...]
    vectors: tuple[Tensor, ...]


def remember(
    operands: Sequence[Tensor],
    attrs: Mapping[str, Any],
    alike: Sequence[Tensor],
    ragged: Sequence[Tensor],
) -> Remembered:
    """What each step began with: the loop once more, giving inputs of its body, step by step.

    A pass merges the two loops where they differ only in what they stack.
    """
    if not (alike or ragged):
        return Remembered((), (), ())
    pure, condition = without_effects(attrs["body"]), attrs["condition"]
    carried, owner = attrs["carried"], attrs["body"].owner
    vectors = [
        parameter(f"before{i}", TensorType(t.dtype, (sizes.unknown(),)), owner) for i, t in enumerate(ragged)
    ]
    with graph_frame(owner):
        longer = [concat([v, reshape(t, (-1,))], 0) for v, t in zip(vectors, ragged, strict=True)]
        shapes = [shape(t) for t in ragged]
    inputs = (*pure.inputs[:carried], *vectors, *pure.inputs[carried:])
    given = (*pure.outputs[:carried], *longer, *pure.outputs[carried:])
    if condition is not None and ragged:
        unread = [replace(v, owner=condition.owner) for v in vectors]
        own = condition.inputs
        condition = replace(condition, inputs=(*own[:carried], *unread, *own[carried:]))
    starts = [zeros((0,), t.dtype) for t in ragged]
    before = (*operands[:carried], *starts, *operands[carried:])
    again = loop(
        *before,
        body=Function(inputs, (*given, *alike, *shapes)),
        condition=condition,
        carried=carried + len(ragged),
        scanned=attrs["scanned"],
        reverse=attrs["reverse"],
        shape=bound_sizes(before, inputs[: carried + len(ragged)], condition is not None),
    )
    picked = [pick(again, index=i) for i in range(len(given) + len(alike) + len(ragged))]
    stacked = picked[len(given) :]
    return Remembered(
        tuple(stacked[: len(alike)]),
        tuple(stacked[len(alike) :]),
        tuple(picked[carried : carried + len(ragged)]),
    )


def bound_sizes(starts: Sequence[Tensor], formals: Sequence[Tensor], counts: bool) -> tuple[Size, ...]:
    """New sizes for the number of steps, if the loop `counts` them, and for all that may change."""
    varying = sum(
        varies(a, f)
        for start, formal in zip(starts, formals, strict=False)
        for a, f in zip(start.result.shape or (), formal.result.shape or (), strict=False)
    )
    return tuple(sizes.unknown() for _ in range(varying + counts))


def is_ragged(start: Tensor, formal: Tensor) -> bool:
    """Whether a value carried changes its shape from step to step."""
    shapes = start.result.shape or (), formal.result.shape or ()
    return any(varies(a, f) for a, f in zip(*shapes, strict=False))


def take_last(
    vector: Tensor, end: Tensor, row: Tensor, start: Tensor, formal: Tensor
) -> tuple[Tensor, Tensor]:
    """What `formal` was in the step whose elements end at `end`, its sizes being `row`; where they begin.

    It binds those sizes of `formal` that are not those of `start`.
    """
    begin = sub(end, prod(row))
    witnesses = [
        extent(row[axis], shape=(after,))
        for axis, (before, after) in enumerate(zip(start.result.sizes, formal.result.sizes, strict=True))
        if varies(before, after)
    ]
    elements = after_all(vector[begin:end], witnesses)
    return reshape(elements, formal.result.sizes), begin
