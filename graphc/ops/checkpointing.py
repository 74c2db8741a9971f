"""Checkpointing: a loop as a loop over segments, whose gradient remembers the segments' beginnings.

Of n steps in segments of k, the gradient of the outer loop remembers n / k carries, and that of the
inner loop, which runs a segment again, k at a time (Griewank and Walther, ACM TOMS 26, 2000, with one
level of checkpoints).
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.conversion import as_tensor
from graphc.function import Function
from graphc.graph import body_graph, graph_frame
from graphc.ops.comparison import less, logical_and
from graphc.ops.elementwise import add
from graphc.ops.joining import concat
from graphc.ops.loop import Parts, loop, slice_type
from graphc.ops.movement import reshape
from graphc.ops.slicing import slice_axis
from graphc.ops.state import pick
from graphc.sizes import Size
from graphc.tensor import Tensor
from graphc.tracing import parameter
from graphc.types import INT64, TensorType


def segmented_while(parts: Parts, body: Function, condition: Function, every: int) -> list[Tensor]:
    """What a loop with a condition carries, `every` steps in each step of an outer loop."""
    starts, captured = parts.starts, parts.captured
    steps = _counted(body, len(starts), every, None)
    goes_on = _counted(body, len(starts), every, condition)
    with body_graph() as graph:
        formals = [parameter(f"arg{i}", t.result, graph) for i, t in enumerate((*starts, *captured))]
        carries, around = formals[: len(starts)], formals[len(starts) :]
        made = loop(
            *(*carries, as_tensor(0, INT64), *around),
            body=steps,
            condition=goes_on,
            carried=len(starts) + 1,
        )
        outputs = tuple(pick(made, index=i) for i in range(len(starts)))
    whole = loop(
        *starts,
        *captured,
        body=Function(tuple(formals), outputs),
        condition=condition,
        carried=len(starts),
    )
    return [pick(whole, index=i) for i in range(len(starts))]


def _counted(body: Function, carried: int, every: int, condition: Function | None) -> Function:
    """`body` counting its steps; or its `condition`, and fewer than `every` steps have been made."""
    function = body if condition is None else condition
    owner = (function.outputs + function.inputs)[0].owner
    counter = parameter("step", TensorType(INT64, ()), owner)
    inputs = (*function.inputs[:carried], counter, *function.inputs[carried:])
    with graph_frame(owner):
        if condition is None:
            return Function(inputs, (*function.outputs, add(counter, 1)))
        return Function(inputs, (logical_and(less(counter, every), function.outputs[0]),))


def segmented_scan(parts: Parts, body: Function, reverse: bool, every: int) -> list[Tensor]:
    """What a loop over slices carries and stacks: whole segments of `every` slices, then the rest."""
    length = parts.slices[0].result.sizes[0]
    segments = length // every
    whole = segments * every
    rest = length - whole
    carries, stacks = list(parts.starts), []
    if whole != 0:
        begin: Size = rest if reverse else 0
        arrays = [
            reshape(slice_axis(a, 0, begin, whole), (segments, every, *a.result.sizes[1:]))
            for a in parts.slices
        ]
        outer = _segment_body(parts, arrays, body, reverse)
        results = _run(carries, arrays, parts.captured, outer, reverse)
        carries = results[: len(carries)]
        stacks.append(
            [reshape(y, (whole, *y.result.sizes[2:])) for y in results[len(carries) :]],
        )
    if rest != 0:
        begin = 0 if reverse else whole
        arrays = [slice_axis(a, 0, begin, rest) for a in parts.slices]
        results = _run(carries, arrays, parts.captured, body, reverse)
        carries = results[: len(carries)]
        stacks.append(results[len(carries) :])
    if reverse:
        stacks.reverse()
    return [*carries, *(ys[0] if len(ys) == 1 else concat(ys, 0) for ys in zip(*stacks, strict=True))]


def _segment_body(parts: Parts, arrays: Sequence[Tensor], body: Function, reverse: bool) -> Function:
    """The body of the outer loop: the steps of one segment."""
    with body_graph() as graph:
        types = [t.result for t in parts.starts]
        types += [slice_type(a.result) for a in arrays] + [t.result for t in parts.captured]
        formals = tuple(parameter(f"arg{i}", type, graph) for i, type in enumerate(types))
        inner = Parts.of(formals, len(parts.starts), len(arrays))
        return Function(formals, tuple(_run(inner.starts, inner.slices, inner.captured, body, reverse)))


def _run(
    starts: Sequence[Tensor],
    arrays: Sequence[Tensor],
    captured: Sequence[Tensor],
    body: Function,
    reverse: bool,
) -> list[Tensor]:
    made = loop(
        *(*starts, *arrays, *captured),
        body=body,
        carried=len(starts),
        scanned=len(arrays),
        reverse=reverse,
    )
    return [pick(made, index=i) for i in range(len(body.outputs))]
