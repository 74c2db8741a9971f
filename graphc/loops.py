"""Loops as users write them: `while_loop`, `scan`, `map_fn`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from graphc import nesting, sizes
from graphc.conversion import as_tensor
from graphc.errors import ArgumentError, GraphError, ShapeError
from graphc.explanation import explains
from graphc.freezing import frozen
from graphc.function import Function
from graphc.ops.comparison import less, logical_and
from graphc.ops.elementwise import add
from graphc.ops.loop import loop, slice_type, state_sizes, varies
from graphc.ops.sampling import fold_in
from graphc.ops.source import run_state
from graphc.ops.state import after, pick
from graphc.sizes import Size
from graphc.tensor import Tensor
from graphc.tracing import Trace, as_values, captures, close, parameter, place_of, trace
from graphc.types import INT64, TensorType, as_shape


@explains
def while_loop(
    cond: Callable[..., Any],
    body: Callable[..., Any],
    loop_vars: Any,
    maximum_iterations: Any = None,
    shape_invariants: Any = None,
    checkpoint_every: int = 0,
    name: str | None = None,
) -> Any:
    """Runs ``loop_vars = body(*loop_vars)`` as long as ``cond(*loop_vars)`` holds; gives the last ones.

    Both functions are called now, to define the loop: once, the body again where it is found to change
    a shape that may change. Tensors of the graph around may be used in them freely. A variable that the
    body assigns is read in the next step as it was assigned.

    Args:
        cond: takes the loop variables, gives a bool scalar.
        body: takes the loop variables, gives them anew in the same nesting, of the same types.
        loop_vars: a tensor, or a list, tuple or dict of nestings of tensors.
        maximum_iterations: an int or an int scalar; the loop ends after so many steps.
        shape_invariants: in the nesting of `loop_vars`, a shape each, in which None may change from
            step to step; None for a variable of which any size may. Without them all shapes stay.
        checkpoint_every: the gradient remembers what every step began with; with k > 0 only every
            k-th does, and the steps between are run once more (needs loop variables of fixed shapes).
        name: for the result, where there is one loop variable.

    Returns: the last loop variables, nested as `loop_vars` is.

    Raises: ArgumentError, ShapeError, DTypeError where body and loop variables do not fit, naming both.
    """
    starts = [as_tensor(leaf) for leaf in nesting.flatten(loop_vars)]
    if not starts:
        raise ArgumentError("while_loop: there are no loop variables")
    invariants = _invariants(loop_vars, shape_invariants)
    if (limit := sizes.as_int(maximum_iterations)) is not None and limit < 0:
        raise ArgumentError(f"while_loop: maximum_iterations is at least 0, not {limit}")
    types = [_formal(start, shape) for start, shape in zip(starts, invariants, strict=True)]
    free = [shape_invariants is not None and shape is None for shape in invariants]
    arguments = loop_vars if isinstance(loop_vars, list | tuple) else (loop_vars,)
    while True:
        step = trace(body, types, tuple(arguments))
        _require_same("while_loop", "loop_vars", loop_vars, step.nest, body)
        looser = [
            _loosened(start.result, type, after.result) if may_change else type
            for start, type, after, may_change in zip(starts, types, step.outputs, free, strict=True)
        ]
        if looser == types:
            break
        types = looser
    test = trace(cond, types, tuple(arguments))
    if len(test.outputs) != 1:
        raise ArgumentError(f"while_loop: cond gives one bool scalar; it is {place_of(cond)}")
    plan = _Plan(body, cond, limit=maximum_iterations, checkpoint=_checkpoint("while_loop", checkpoint_every))
    return _loop(plan, step, test, starts, (), loop_vars, name=name)[0]


@explains
def scan(
    fn: Callable[[Any, Any], Any],
    init: Any,
    xs: Any,
    reverse: bool = False,
    checkpoint_every: int = 0,
    name: str | None = None,
) -> tuple[Any, Any]:
    """Runs ``carry, y = fn(carry, x)`` for every slice x of `xs` along the first axis.

    Args:
        fn: takes the carry and one slice, gives the next carry (of the same nesting and types) and y,
            any nesting of tensors or None.
        init: the first carry, any nesting of tensors.
        xs: an array, or any nesting of arrays whose first axes are alike.
        reverse: whether to walk from the last slice to the first.
        checkpoint_every: the gradient remembers what every step began with; with k > 0 only every
            k-th does, and the steps between are run once more.
        name: for the last carry, where it is one tensor.

    Returns: the last carry, and the ys stacked in the order of the slices (None where y is None).
    """
    starts = [as_tensor(leaf) for leaf in nesting.flatten(init)]
    xs = _walked(xs)
    arrays = [as_tensor(leaf) for leaf in nesting.flatten(xs)]
    _require_axis("scan", arrays)
    types = [start.result for start in starts] + [slice_type(array.result) for array in arrays]
    step = trace(fn, types, (init, xs))
    if not isinstance(step.nest, tuple | list) or len(step.nest) != 2:
        raise ArgumentError(f"scan: fn gives (carry, y), not {step.nest!r}; it is {place_of(fn)}")
    _require_same("scan", "init", init, step.nest[0], fn)
    plan = _Plan(fn, reverse=reverse, checkpoint=_checkpoint("scan", checkpoint_every))
    return _loop(plan, step, None, starts, arrays, init, step.nest[1], name)


@explains
def map_fn(fn: Callable[[Any], Any], xs: Any, name: str | None = None) -> Any:
    """``fn(x)`` for every slice x of `xs` along the first axis, stacked.

    Args:
        fn: takes one slice (nested as `xs` is), gives any nesting of tensors.
        xs: an array, or any nesting of arrays whose first axes are alike.
        name: for the result, where it is one tensor.
    """
    if not callable(fn):
        raise ArgumentError(f"map_fn: fn is a function of a slice, not {fn!r}")
    xs = _walked(xs)
    arrays = [as_tensor(leaf) for leaf in nesting.flatten(xs)]
    _require_axis("map_fn", arrays)
    step = trace(fn, [slice_type(array.result) for array in arrays], (xs,))
    if not step.outputs:
        raise ArgumentError(f"map_fn: fn gives nothing; it is {place_of(fn)}")
    return _loop(_Plan(fn), step, None, [], arrays, (), step.nest, name)[1]


# From traces to the op.


@frozen
class _Plan:
    """What a loop is to be, beside its values: the user's functions, how far and which way it goes."""

    function: Callable[..., Any]
    condition: Callable[..., Any] | None = None
    limit: Any = None
    reverse: bool = False
    checkpoint: int = 0


def _loop(
    plan: _Plan,
    step: Trace,
    test: Trace | None,
    starts: Sequence[Tensor],
    arrays: Sequence[Tensor],
    carry_nest: Any,
    y_nest: Any = None,
    name: str | None = None,
) -> tuple[Any, Any]:
    step = _like_starts(step, starts)
    captured, operations = captures([step] if test is None else [test, step])
    if plan.limit is not None:
        bound = as_tensor(plan.limit, INT64)
        if bound.result.shape != ():
            raise ShapeError(f"while_loop: maximum_iterations is a scalar, not {bound.type}")
        captured = list(dict.fromkeys([*captured, bound]))
    counted = plan.limit is not None or any(tensor.op is run_state for tensor in captured)
    body = state_sizes(_close(step, captured, len(starts), counted), len(starts) + counted)
    condition = None if test is None else _close(test, captured, len(starts), counted, tests=True)
    if plan.limit is not None and condition is not None:
        condition = _bounded(condition, len(starts), captured.index(bound))
    if counted:
        starts = [*starts, as_tensor(0, INT64)]
    first, *rest = (*starts, *arrays, *as_values(captured, [step] if test is None else [test, step]))
    if operations:
        first = after(first, *operations)
    try:
        made = loop(
            *(first, *rest),
            body=body,
            condition=condition,
            carried=len(starts),
            scanned=len(arrays),
            reverse=plan.reverse,
            shape=_bound(starts, body, condition),
            checkpoint=plan.checkpoint,
        )
    except GraphError as error:
        error.extend(f"the body is {place_of(plan.function)}")
        if plan.condition is not None:
            error.extend(f"the condition is {place_of(plan.condition)}")
        raise
    count = len(starts) - counted
    carries = _picks(made, range(count), name if y_nest is None else None)
    stacked = _picks(made, range(len(starts), len(body.outputs)), name if not count else None)
    ys = iter(stacked)
    return (
        nesting.rebuild_nest(carry_nest, carries),
        None if y_nest is None else nesting.map_nest(lambda y: None if y is None else next(ys), y_nest),
    )


def _picks(made: Tensor, indices: range, name: str | None) -> list[Tensor]:
    return [pick(made, index=i, name=name if len(indices) == 1 else None) for i in indices]


def _like_starts(step: Trace, starts: Sequence[Tensor]) -> Trace:
    """`step` with Python numbers that it carries on in the dtype of what they began as."""
    leaves = [leaf for leaf in nesting.flatten(step.nest) if leaf is not None]
    outputs = list(step.outputs)
    for i, (leaf, start) in enumerate(zip(leaves, starts, strict=False)):
        if isinstance(leaf, bool | int | float):
            outputs[i] = replace(as_tensor(leaf, start.dtype), owner=step.graph)
    return replace(step, outputs=tuple(outputs))


def _close(
    traced: Trace, captured: Sequence[Tensor], carried: int, counted: bool, tests: bool = False
) -> Function:
    """The body of `traced`; with a counter as the last value carried, which its random draws depend on."""
    if not counted:
        return close(traced, captured)
    counter = parameter("step", TensorType(INT64, ()), traced.graph)

    def at_step(node: Tensor, formal: Tensor) -> Tensor:
        if node.op is not run_state:
            return formal
        folded = TensorType(formal.result.dtype, formal.result.shape)
        return Tensor(fold_in, (formal, counter), {}, folded, formal.loc, None, traced.graph)

    closed = close(traced, captured, at_step)
    outputs = closed.outputs
    if not tests:
        one = replace(as_tensor(1, INT64), owner=traced.graph)
        later = Tensor(add, (counter, one), {}, one.type, counter.loc, None, traced.graph)
        outputs = (*outputs[:carried], later, *outputs[carried:])
    inputs = (*closed.inputs[:carried], counter, *closed.inputs[carried:])
    return Function(inputs, outputs, closed.effects)


def _bounded(condition: Function, carried: int, bound: int) -> Function:
    """`condition`, and the counter is below the captured value number `bound`."""
    counter, limit = condition.inputs[carried], condition.inputs[carried + 1 + bound]
    (test,) = condition.outputs
    within = Tensor(less, (counter, limit), {}, test.type, test.loc, None, counter.owner)
    both = Tensor(logical_and, (within, test), {}, test.type, test.loc, None, counter.owner)
    return Function(condition.inputs, (both,), condition.effects)


def _bound(starts: Sequence[Tensor], body: Function, condition: Function | None) -> tuple[Size, ...]:
    """New sizes for those that the loop binds; see `loop`."""
    stacks = condition is not None and len(body.outputs) > len(starts)
    varying = sum(
        varies(a, f)
        for start, formal in zip(starts, body.inputs, strict=False)
        for a, f in zip(start.result.shape or (), formal.result.shape or (), strict=False)
    )
    return tuple(sizes.unknown() for _ in range(varying + stacks))


# What the user gave.


def _walked(xs: Any) -> Any:
    """`xs`, a list of nothing but numbers being one array."""
    numbers = (
        isinstance(xs, list) and xs and all(isinstance(x, bool | int | float) for x in nesting.flatten(xs))
    )
    return as_tensor(xs) if numbers else xs


def _checkpoint(what: str, every: Any) -> int:
    count = sizes.as_int(every)
    if count is None or count < 0:
        raise ArgumentError(f"{what}: checkpoint_every is a number of steps, not {every!r}")
    return count


def _invariants(loop_vars: Any, given: Any) -> list[Any]:
    """The shape given for each leaf of `loop_vars`, by the same nesting; None where none is."""
    if given is None:
        return [None] * len(nesting.flatten(loop_vars))
    nested = isinstance(loop_vars, list | tuple | dict)
    if isinstance(given, str) or (nested and not isinstance(given, list | tuple | dict)):
        raise ArgumentError(f"while_loop: shape_invariants are nested as the loop variables, not {given!r}")
    if not nested:
        return [given]
    keyed = isinstance(loop_vars, dict) and isinstance(given, dict)
    parts = [given.get(key) for key in loop_vars] if keyed else list(given)
    variables = list(loop_vars.values()) if isinstance(loop_vars, dict) else list(loop_vars)
    if len(parts) != len(variables):
        raise ArgumentError(f"while_loop: {len(variables)} loop variables and {len(parts)} shape_invariants")
    return [shape for pair in zip(variables, parts, strict=True) for shape in _invariants(*pair)]


def _formal(start: Tensor, invariant: Any) -> TensorType:
    """The type that the body sees: unknowns of its own where the invariant lets a size change."""
    type = start.result
    shape = as_shape(invariant)
    if shape is None or type.shape is None:
        return type
    if len(shape) != len(type.shape):
        raise ShapeError(f"while_loop: the shape invariant {invariant} does not fit {type}")
    for size, given in zip(type.shape, shape, strict=True):
        if isinstance(given, int) and isinstance(size, int) and given != size:
            raise ShapeError(f"while_loop: the shape invariant {invariant} does not fit {type}")
    return TensorType(type.dtype, shape)


def _loosened(start: TensorType, formal: TensorType, after: TensorType) -> TensorType:
    """`formal`, with unknowns of its own for sizes of `start` that the body is seen to change."""
    if start.shape is None or formal.shape is None or after.shape is None:
        return formal
    if len(formal.shape) != len(after.shape):
        return formal  # which the loop refuses
    sides = zip(start.shape, formal.shape, after.shape, strict=True)
    return TensorType(formal.dtype, tuple(sizes.unknown() if s == f != a else f for s, f, a in sides))


def _require_same(what: str, begun: str, nest: Any, result: Any, function: Callable[..., Any]) -> None:
    given = nesting.flatten(result)
    if not nesting.same_nesting(_as_tuple(nest), _as_tuple(result)) or None in map(_presence, given):
        raise ArgumentError(
            f"{what}: the body gives {_outline(result)} where {begun} are {_outline(nest)}"
            f"\n  the body is {place_of(function)}"
        )


def _as_tuple(nest: Any) -> tuple[Any, ...]:
    """One value, a list of values and a tuple of values are all the same to a loop."""
    return tuple(nest) if isinstance(nest, list | tuple) and not hasattr(nest, "_fields") else (nest,)


def _presence(leaf: Any) -> bool | None:
    return None if leaf is None else True


def _outline(nest: Any) -> str:
    return str(nesting.map_nest(lambda leaf: "None" if leaf is None else "tensor", nest)).replace("'", "")


def _require_axis(what: str, arrays: Sequence[Tensor]) -> None:
    if not arrays:
        raise ArgumentError(f"{what}: there is no array to walk")
    for array in arrays:
        if array.result.shape == ():
            raise ShapeError(f"{what}: a scalar has no first axis to walk: {array!r}")
