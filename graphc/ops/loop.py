"""The loop: one op under `while_loop`, `scan` and `map_fn`; its gradient is in `loop_gradient`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from graphc import sizes
from graphc.attributes import Shape
from graphc.errors import ArgumentError, DTypeError, ShapeError
from graphc.freezing import frozen
from graphc.function import Function
from graphc.location import at_line
from graphc.op import op
from graphc.ops.movement import state_rank
from graphc.sizes import Size, SizeExpr, Symbol, is_unknown, sole_symbol
from graphc.tensor import Tensor
from graphc.types import BOOL, TensorType, TupleType, Type

# What is said where a size of a carried value changes.
_REPEATED = "shape_invariants says which sizes may change"
_WALKED = "what a scan carries keeps its shape: only a while_loop takes sizes that change"


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
    advice = _WALKED if condition is None else _REPEATED
    carries = [
        _carried_type(i, start.result, formal.result, after, given, advice)
        for i, (start, formal, after) in enumerate(zip(parts.starts, body.inputs, body.outputs, strict=False))
    ]
    stacked = [_stacked_type(value.result, steps) for value in body.outputs[carried:]]
    return TupleType((*carries, *stacked))


@frozen
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
    number: int, start: TensorType, formal: TensorType, result: Tensor, given: Iterator[Size], advice: str
) -> TensorType:
    """The type of a carried value when the loop has ended, the body giving `result`."""
    after = result.result
    if start == formal == after:
        return start
    made = at_line(result.loc, "the result is made at")
    change = f"loop variable {number} of {start} becomes {after}"
    if start.dtype is not after.dtype:
        raise DTypeError(f"{change}: cast it{made}")
    if start.shape is None or after.shape is None or formal.shape is None:
        return TensorType(start.dtype, None)
    if len(start.shape) != len(after.shape):
        raise ShapeError(f"{change}, of another rank{made}")
    return TensorType(
        start.dtype,
        tuple(
            _carried_size(f"{change}; {advice}{made}", a, f, b, given)
            for a, f, b in zip(start.shape, formal.shape, after.shape, strict=True)
        ),
    )


def _carried_size(trouble: str, a: Size, formal: Size, b: Size, given: Iterator[Size]) -> Size:
    if varies(a, formal):
        return _next(given)
    met = sizes.meet(a, b)
    if met is None:
        raise ShapeError(trouble)
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


def state_sizes(body: Function, carried: int) -> Function:
    """`body`, in which sizes of stacked values that are computed of sizes of the step are stated as new ones.

    The stack binds its sizes, and what is computed, as ``max(?-1,0)``, binds nothing.
    """
    computed = [value for value in body.outputs[carried:] if any(map(_is_computed, value.result.shape or ()))]
    if not computed:
        return body
    outside = {symbol for node in body.inputs for symbol in _symbols(node.type)}
    bound = {symbol for node in body.nodes() if node.op.binds for symbol in _symbols(node.type)} - outside
    found = dict.fromkeys(size for value in computed for size in value.result.sizes if _is_computed(size))
    new = {size: sizes.unknown() for size in found if bound.intersection(sizes.symbols(size))}
    if not new:
        return body
    outputs = (_stated(value, new) if value in computed else value for value in body.outputs[carried:])
    return replace(body, outputs=(*body.outputs[:carried], *outputs))


def _stated(value: Tensor, new: Mapping[Size, Size]) -> Tensor:
    """`value`, whose sizes in `new` are stated to be those."""
    shape = tuple(new.get(size, size) for size in value.result.sizes)
    type = TensorType(value.dtype, shape)
    return Tensor(state_rank, (value,), {"shape": shape}, type, value.loc, None, value.owner)


def _is_computed(size: Size) -> bool:
    return isinstance(size, SizeExpr) and sole_symbol(size) is None


def _symbols(type: Type) -> Iterator[Symbol]:
    for part in type.elements if isinstance(type, TupleType) else (type,):
        for size in part.shape or ():
            yield from sizes.symbols(size)


def _loop_gradient(
    g: Sequence[Tensor | None], out: Tensor, *operands: Tensor, **attrs: Any
) -> Sequence[Tensor | None]:
    from graphc.ops.loop_gradient import run_backwards  # it makes loops

    return run_backwards(g, out, operands, attrs)


loop.gradient(_loop_gradient)
