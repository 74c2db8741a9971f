"""The loop: one op under `while_loop`, `scan` and `map_fn`; its gradient is a loop backwards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphc import sizes
from graphc.errors import ArgumentError, DTypeError, GraphError, ShapeError
from graphc.function import Function, topological
from graphc.graph import graph_frame
from graphc.op import Shape, op
from graphc.ops.elementwise import add, identity
from graphc.ops.filling import zeros_like
from graphc.ops.marker import gradients
from graphc.ops.state import pick
from graphc.sizes import Size, is_unknown, sole_symbol
from graphc.tensor import Tensor
from graphc.tracing import parameter, without_effects
from graphc.types import BOOL, TensorType, TupleType, Type


@op("region", binds=True)
def loop(
    *operands: Tensor,
    body: Function,
    condition: Function | None = None,
    carried: int,
    scanned: int = 0,
    reverse: bool = False,
    shape: Shape = (),
    state: tuple[str, ...] = (),
    checkpoint: int = 0,
) -> TupleType:
    """Runs `body` again and again, handing what it carries from each step to the next.

    The operands are `carried` initial values, `scanned` arrays whose slices along the first axis are
    handed to the steps one by one (from the last with `reverse`), and tensors that every step sees.
    `body` takes them in this order and gives the values carried on, then one value a step, which are
    stacked in the order of the slices. `condition` takes what is carried and what every step sees;
    without it there is a step for every slice.

    `shape` lists a new size for the number of steps of a loop with a condition that stacks values, and
    for every size of a carried value that may change. The last ones carried are the variables in `state`.
    The gradient remembers what every step began with; where `checkpoint` is not 0, what every step of
    that many began with, and runs the others again.

    Shapes: ``(...), [steps, ...], ... -> (...), [steps, ...]``.
    """
    parts = Parts.of(operands, carried, scanned)
    given = iter(shape)
    _require_formals(parts, body)
    steps = _steps(parts, condition, len(body.outputs) > carried, given)
    carries = [
        _carried_type(i, start.result, formal.result, after.result, given)
        for i, (start, formal, after) in enumerate(zip(parts.starts, body.inputs, body.outputs, strict=False))
    ]
    stacked = [_stacked_type(value.result, steps) for value in body.outputs[carried:]]
    return TupleType((*carries, *stacked))


@dataclass(frozen=True, slots=True)
class Parts:
    """The operands of a loop, or the inputs of its body, by what they are."""

    starts: tuple[Tensor, ...]
    slices: tuple[Tensor, ...]
    captured: tuple[Tensor, ...]

    @classmethod
    def of(cls, tensors: Sequence[Tensor], carried: int, scanned: int) -> Parts:
        """`tensors` split by the counts."""
        return cls(
            tuple(tensors[:carried]),
            tuple(tensors[carried : carried + scanned]),
            tuple(tensors[carried + scanned :]),
        )


def _require_formals(parts: Parts, body: Function) -> None:
    count = len(parts.starts) + len(parts.slices) + len(parts.captured)
    if len(body.inputs) != count or len(body.outputs) < len(parts.starts):
        raise ArgumentError(
            f"the body takes {len(body.inputs)} values and gives {len(body.outputs)}, "
            f"for {count} operands of which {len(parts.starts)} are carried"
        )


def _steps(parts: Parts, condition: Function | None, stacks: bool, given: Iterator[Size]) -> Size:
    """How many steps there are."""
    if condition is not None:
        if len(condition.outputs) != 1:
            raise ArgumentError(f"the condition of a loop gives one value, not {len(condition.outputs)}")
        test = condition.outputs[0].result
        if test.dtype is not BOOL or test.shape not in ((), None):
            raise DTypeError(f"the condition of a loop is a bool scalar, not {test}")
        return _next(given) if stacks else 0
    if not parts.slices:
        raise ArgumentError("a loop without a condition needs an array to walk")
    length: Size | None = None
    for array in parts.slices:
        if not array.result.sizes:
            raise ShapeError("a scalar has no first axis to walk")
        first = array.result.sizes[0]
        met = first if length is None else sizes.meet(length, first)
        if met is None:
            raise ShapeError(f"the arrays to walk have {length} and {first} slices")
        length = met
    assert length is not None
    return length


def _carried_type(
    number: int, start: TensorType, formal: TensorType, after: TensorType, given: Iterator[Size]
) -> TensorType:
    """The type of a carried value when the loop has ended."""
    if start == formal == after:
        return start
    if start.dtype is not after.dtype:
        raise DTypeError(f"loop variable {number} of {start} becomes {after}: cast it")
    if start.shape is None or after.shape is None or formal.shape is None:
        return TensorType(start.dtype, None)
    if len(start.shape) != len(after.shape):
        raise ShapeError(f"loop variable {number} of {start} becomes {after}, of another rank")
    return TensorType(
        start.dtype,
        tuple(
            _carried_size(f"loop variable {number} of {start} becomes {after}", a, f, b, given)
            for a, f, b in zip(start.shape, formal.shape, after.shape, strict=True)
        ),
    )


def _carried_size(change: str, a: Size, formal: Size, b: Size, given: Iterator[Size]) -> Size:
    if varies(a, formal):
        return _next(given)
    met = sizes.meet(a, b)
    if met is None:
        raise ShapeError(f"{change}; shape_invariants says which sizes may change")
    return a


def varies(start: Size, formal: Size) -> bool:
    """Whether a size of a carried value may change: then it is an unknown of the body's own."""
    return sole_symbol(formal) is not None and is_unknown(formal) and formal != start


def _next(given: Iterator[Size]) -> Size:
    size = next(given, None)
    if size is None:
        raise ShapeError("a size that a loop binds is not among those in its shape")
    return size


def _stacked_type(value: TensorType, steps: Size) -> TensorType:
    return TensorType(value.dtype, None if value.shape is None else (steps, *value.shape))


def slice_type(array: TensorType) -> TensorType:
    """The type of one slice along the first axis."""
    return TensorType(array.dtype, None if array.shape is None else array.shape[1:])


def _body_inputs(
    *operands: Tensor,
    body: Function,
    condition: Function | None,
    carried: int,
    scanned: int,
    **_: Any,
) -> Mapping[str, Sequence[Type]]:
    parts = Parts.of(operands, carried, scanned)
    starts = [
        _formal_type(start.result, formal.result)
        for start, formal in zip(parts.starts, body.inputs, strict=False)
    ]
    captured = [tensor.result for tensor in parts.captured]
    inputs = {"body": [*starts, *(slice_type(a.result) for a in parts.slices), *captured]}
    return inputs if condition is None else {**inputs, "condition": [*starts, *captured]}


def _formal_type(start: TensorType, formal: TensorType) -> TensorType:
    """What the body takes for a value that starts as `start`: its own unknowns where sizes may change."""
    if start.shape is None or formal.shape is None or len(start.shape) != len(formal.shape):
        return start
    shape = tuple(f if varies(a, f) else a for a, f in zip(start.shape, formal.shape, strict=True))
    return TensorType(start.dtype, shape)


loop.feeds_bodies(_body_inputs)


# The gradient: the steps again, remembering what each began with; then the steps backwards.


def _loop_gradient(
    g: Sequence[Tensor | None],
    out: Tensor,
    *operands: Tensor,
    body: Function,
    condition: Function | None,
    carried: int,
    scanned: int,
    reverse: bool,
    shape: tuple[Size, ...],
    state: tuple[str, ...],
    checkpoint: int,
) -> Sequence[Tensor | None]:
    """A loop over the remembered steps, carrying the cotangents of what the forward loop carries.

    With ``c', y = body(c, x, w)`` and cotangents ``dc'``, ``dy`` each step back gives ``dc``, ``dx``
    and a share of ``dw``, which adds up.
    """
    if checkpoint and not shape:
        return _segmented_gradient(g, operands, body, condition, carried, scanned, reverse, checkpoint)
    parts = Parts.of(operands, carried, scanned)
    formal = Parts.of(body.inputs, carried, scanned)
    floats = [i for i, tensor in enumerate(parts.starts) if tensor.dtype.is_floating]
    for i in floats:
        if not formal.starts[i].type == body.outputs[i].type == parts.starts[i].type:
            raise GraphError("a loop whose carried shapes change has no gradient")
    step = _backward_step(g, body, carried, scanned, floats, parts)
    remembered = [t for t in formal.starts if t in step.used]
    traces = _remember(out, body, condition, carried, scanned, reverse, operands, remembered)
    cotangents = [g[i] if g[i] is not None else zeros_like(pick(out, index=i)) for i in floats]
    sums = [zeros_like(parts.captured[i]) for i in step.captured]
    incoming = [cotangent for cotangent in g[carried:] if cotangent is not None]
    slices = [a for a, x in zip(parts.slices, formal.slices, strict=True) if x in step.used]
    walked = [*traces, *slices, *incoming]
    if not walked:  # a body that neither remembers nor walks anything still has to be walked
        raise GraphError("a loop whose steps depend on nothing has no gradient")
    formals = (*step.cotangents, *step.sums, *remembered)
    formals += tuple(x for x in formal.slices if x in step.used) + step.incoming + formal.captured
    made = loop(
        *(*cotangents, *sums, *walked, *parts.captured),
        body=Function(formals, step.outputs),
        carried=len(floats) + len(sums),
        scanned=len(walked),
        reverse=not reverse,
    )
    slopes: list[Tensor | None] = [None] * len(operands)
    targets = [
        *floats,
        *(carried + scanned + i for i in step.captured),
        *(carried + i for i in step.slices),
    ]
    for index, target in enumerate(targets):
        slopes[target] = pick(made, index=index)
    return slopes


loop.gradient(_loop_gradient)


def _segmented_gradient(
    g: Sequence[Tensor | None],
    operands: Sequence[Tensor],
    body: Function,
    condition: Function | None,
    carried: int,
    scanned: int,
    reverse: bool,
    every: int,
) -> Sequence[Tensor | None]:
    """The gradient of the same steps as a loop over segments, which computes the same values again."""
    from graphc.ops.checkpointing import segmented_scan, segmented_while  # they build loops

    points = [identity(x) for x in operands]  # so that no path leads from one operand to another
    parts, pure = Parts.of(points, carried, scanned), without_effects(body)
    if condition is None:
        again = segmented_scan(parts, pure, reverse, every)
    else:
        again = segmented_while(parts, pure, without_effects(condition), every)
    pairs = [(y, cotangent) for y, cotangent in zip(again, g, strict=True) if cotangent is not None]
    floats = [i for i, x in enumerate(points) if x.dtype.is_floating]
    slopes = gradients([y for y, _ in pairs], [points[i] for i in floats], grad_ys=[c for _, c in pairs])
    found = dict(zip(floats, slopes, strict=True))
    return [found.get(i) for i in range(len(operands))]


@dataclass(frozen=True, slots=True)
class _Step:
    """One step backwards: its inputs, its outputs, which values of the forward step it uses."""

    cotangents: tuple[Tensor, ...]
    sums: tuple[Tensor, ...]
    incoming: tuple[Tensor, ...]
    captured: tuple[int, ...]  # those that a share of the gradient goes to
    slices: tuple[int, ...]
    outputs: tuple[Tensor, ...]
    used: frozenset[Tensor]


def _backward_step(
    g: Sequence[Tensor | None],
    body: Function,
    carried: int,
    scanned: int,
    floats: Sequence[int],
    parts: Parts,
) -> _Step:
    pure = without_effects(body)
    formal = Parts.of(pure.inputs, carried, scanned)
    owner = (body.outputs + body.inputs)[0].owner
    captured = tuple(i for i, t in enumerate(parts.captured) if t.dtype.is_floating)
    slices = tuple(i for i, t in enumerate(parts.slices) if t.dtype.is_floating)
    cotangents = tuple(parameter(f"cotangent{i}", pure.outputs[i].result, owner) for i in floats)
    sums = tuple(parameter(f"sum{i}", parts.captured[i].result, owner) for i in captured)
    stacked = [i for i, cotangent in enumerate(g[carried:]) if cotangent is not None]
    incoming = tuple(parameter(f"slice{i}", pure.outputs[carried + i].result, owner) for i in stacked)
    with graph_frame(owner):
        slopes = gradients(
            [*(pure.outputs[i] for i in floats), *(pure.outputs[carried + i] for i in stacked)],
            [
                *(formal.starts[i] for i in floats),
                *(formal.captured[i] for i in captured),
                *(formal.slices[i] for i in slices),
            ],
            grad_ys=[*cotangents, *incoming],
            unconnected="zero",
        )
        known = [slope for slope in slopes if slope is not None]
        shares = known[len(floats) : len(floats) + len(captured)]
        added = [add(total, share) for total, share in zip(sums, shares, strict=True)]
    outputs = (*known[: len(floats)], *added, *known[len(floats) + len(captured) :])
    used = frozenset(topological(outputs))
    return _Step(cotangents, sums, incoming, captured, slices, outputs, used)


def _remember(
    out: Tensor,
    body: Function,
    condition: Function | None,
    carried: int,
    scanned: int,
    reverse: bool,
    operands: Sequence[Tensor],
    remembered: Sequence[Tensor],
) -> list[Tensor]:
    """What each step began with, stacked: the forward loop once more, giving it step by step.

    A pass merges the two loops, which differ only in what they stack.
    """
    if not remembered and condition is None:
        return []
    kept = tuple(remembered) or body.inputs[:1]  # the number of steps, where nothing else is needed
    pure = without_effects(body)
    again = loop(
        *operands,
        body=Function(pure.inputs, (*pure.outputs, *kept)),
        condition=condition,
        carried=carried,
        scanned=scanned,
        reverse=reverse,
        shape=_bound_sizes(operands, body, condition, carried),
    )
    first = len(body.outputs)
    return [pick(again, index=first + i) for i in range(len(kept))]


def _bound_sizes(
    operands: Sequence[Tensor], body: Function, condition: Function | None, carried: int
) -> tuple[Size, ...]:
    """New sizes for the number of steps and for every size of a carried value that may change."""
    varying = sum(
        varies(a, f)
        for start, formal in zip(operands[:carried], body.inputs, strict=False)
        for a, f in zip(start.result.shape or (), formal.result.shape or (), strict=False)
    )
    return tuple(sizes.unknown() for _ in range(varying + (condition is not None)))
