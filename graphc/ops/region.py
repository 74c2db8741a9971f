"""Regions: ops whose bodies are Functions. `cond` runs one of two."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from graphc import nesting, sizes
from graphc.attributes import Shape
from graphc.conversion import as_tensor
from graphc.errors import ArgumentError, DTypeError, GraphError, ShapeError
from graphc.explanation import explains
from graphc.function import Function
from graphc.graph import graph_frame
from graphc.op import op
from graphc.ops.marker import differentiable_operands, gradients
from graphc.ops.movement import sized_as
from graphc.ops.state import after, group, pick
from graphc.sizes import Size
from graphc.tensor import Tensor
from graphc.tracing import Trace, as_values, captures, close, parameter, place_of, trace, without_effects
from graphc.types import BOOL, OPERATION, TensorType, TupleType


@op("region", binds=True)
def _cond(
    predicate: Tensor,
    *captured: Tensor,
    then: Function,
    orelse: Function,
    shape: Shape = (),
    state: tuple[str, ...] = (),
) -> TupleType:
    """The results of `then` where `predicate` holds, else those of `orelse`; only one of them runs.

    Both bodies take `captured` as inputs. `shape` lists a new size for every axis on which the branches'
    results differ. `state` names the variables whose new values are the last results.

    Shapes: ``[], ... -> (...)``.
    """
    if predicate.dtype is not BOOL or predicate.result.shape not in ((), None):
        raise DTypeError(f"the predicate is a bool scalar, not {predicate.type}")
    if len(then.outputs) != len(orelse.outputs):
        raise ArgumentError(f"the branches give {len(then.outputs)} and {len(orelse.outputs)} results")
    given = iter(shape)
    pairs = zip(then.outputs, orelse.outputs, strict=True)
    return TupleType(tuple(_either(x.result, y.result, given) for x, y in pairs))


def _either(x: TensorType, y: TensorType, given: Iterator[Size]) -> TensorType:
    """The type of a value that is one of two; sizes in which they differ are `given`."""
    if x == y:
        return x
    if x.dtype is not y.dtype:
        raise DTypeError(f"the branches give {x} and {y}: cast one of them")
    if x.shape is None or y.shape is None:
        return TensorType(x.dtype, None)
    if len(x.shape) != len(y.shape):
        raise ShapeError(f"the branches give {x} and {y}, of different ranks")
    differing = sum(a != b for a, b in zip(x.shape, y.shape, strict=True))
    named = [size for _, size in zip(range(differing), given, strict=False)]
    if len(named) < differing:
        raise ShapeError(f"the branches give {x} and {y}")
    fresh = iter(named)
    return TensorType(
        x.dtype, tuple(a if a == b else next(fresh) for a, b in zip(x.shape, y.shape, strict=True))
    )


_cond.feeds_bodies(
    lambda predicate, *captured, **_: {name: [c.type for c in captured] for name in ("then", "orelse")}
)


@op("region")
def fused(*operands: Tensor, body: Function, rows: Shape) -> TupleType:
    """The results of `body` on `operands`, computed together: what a backend makes one kernel of.

    It walks the first axes of `rows` one row after another, and within a row the last axis.

    Shapes: ``... -> (...)``.
    """
    return TupleType(tuple(output.result for output in body.outputs))


fused.feeds_bodies(lambda *operands, body, rows: {"body": [operand.type for operand in operands]})
fused.gradient(None)  # differentiation comes before fusion


def _cond_gradient(
    g: Sequence[Tensor | None], out: Tensor, predicate: Tensor, *captured: Tensor, **attrs: Any
) -> Sequence[Tensor | None]:
    """Runs the gradient of the branch that ran; what the branch computed is computed again."""
    incoming = [(i, cotangent) for i, cotangent in enumerate(g) if cotangent is not None]
    flowing = set(differentiable_operands(out))
    floats = [i for i, tensor in enumerate(captured) if tensor in flowing]
    then, orelse = (_branch_gradient(attrs[branch], incoming, floats) for branch in ("then", "orelse"))
    made = _cond(
        *(predicate, *captured, *(cotangent for _, cotangent in incoming)),
        then=then,
        orelse=orelse,
        shape=_differences(then.outputs, orelse.outputs),
    )
    slopes: dict[int, Tensor] = {i: pick(made, index=k) for k, i in enumerate(floats)}
    return (None, *(slopes.get(i) for i in range(len(captured))))


def _branch_gradient(
    branch: Function, incoming: Sequence[tuple[int, Tensor]], floats: Sequence[int]
) -> Function:
    """From a branch's inputs and the cotangents of its results to those of its float inputs."""
    body = without_effects(branch)
    owner = (branch.outputs + branch.inputs)[0].owner
    seeds = [parameter(f"cotangent{i}", cotangent.result, owner) for i, cotangent in incoming]
    with graph_frame(owner):
        slopes = gradients(
            [sized_as(body.outputs[i], seed) for (i, _), seed in zip(incoming, seeds, strict=True)],
            [body.inputs[i] for i in floats],
            grad_ys=seeds,
            unconnected="zero",
        )
    return Function((*body.inputs, *seeds), tuple(s for s in slopes if s is not None))


_cond.gradient(_cond_gradient)


def _differences(x: Sequence[Tensor], y: Sequence[Tensor]) -> tuple[Size, ...]:
    """A new size for every axis on which results of two bodies differ."""
    return tuple(
        sizes.unknown()
        for a, b in zip(x, y, strict=True)
        for m, n in zip(a.result.shape or (), b.result.shape or (), strict=False)
        if m != n
    )


@explains
def cond(
    pred: Any,
    true_fn: Callable[[], Any],
    false_fn: Callable[[], Any],
    name: str | None = None,
) -> Any:
    """The results of ``true_fn()`` where `pred` holds, else those of ``false_fn()``.

    Both are called once, now, to define the branches; at the run only one branch runs, with the
    effects (assignments, prints, checks) made in it. Tensors of the graph around may be used freely.

    Args:
        pred: a bool scalar.
        true_fn: called without arguments; gives a nesting of tensors, or None.
        false_fn: gives the same nesting, of the same dtypes and ranks.
        name: for the result, where it is one tensor.

    Shapes: ``[] -> ...``; an axis on which the branches differ has an unknown size.

    Raises: ArgumentError where the nestings differ; DTypeError, ShapeError where types do.
    """
    if isinstance(pred, bool):
        pred = as_tensor(pred)
    test = as_tensor(pred)
    if not callable(true_fn) or not callable(false_fn):
        raise ArgumentError("cond: true_fn and false_fn are functions without arguments")
    traces = [trace(true_fn), trace(false_fn)]
    then, orelse = traces
    if not nesting.same_nesting(then.nest, orelse.nest) or _kinds(then.nest) != _kinds(orelse.nest):
        raise ArgumentError(
            f"cond: the branches give different nestings: {_outline(then.nest)} and {_outline(orelse.nest)}"
            f"\n  true_fn is {place_of(true_fn)}\n  false_fn is {place_of(false_fn)}"
        )
    captured, operations = captures(traces)
    bodies = [close(each, captured) for each in traces]
    if operations:
        test = after(test, *operations)
    try:
        made = _cond(
            *(test, *as_values(captured, traces)),
            then=bodies[0],
            orelse=bodies[1],
            shape=_differences(then.outputs, orelse.outputs),
        )
    except GraphError as error:
        error.extend(f"true_fn is {place_of(true_fn)}", f"false_fn is {place_of(false_fn)}")
        raise
    if not then.outputs and then.nest is None:
        return group(made)
    return _as_nested(made, then, name)


def _as_nested(made: Tensor, branch: Trace, name: str | None) -> Any:
    """What `made` gives, nested as `branch` is: operations are groups, since they have no value."""
    picks = iter(range(len(branch.outputs)))
    leaves = [
        None
        if leaf is None
        else group(pick(made, index=next(picks)))
        if getattr(leaf, "type", None) == OPERATION
        else pick(made, index=next(picks), name=name if len(branch.outputs) == 1 else None)
        for leaf in nesting.flatten(branch.nest)
    ]
    return nesting.rebuild_nest(branch.nest, leaves)


def _kinds(nest: Any) -> list[str]:
    return [
        "None" if leaf is None else "operation" if getattr(leaf, "type", None) == OPERATION else "tensor"
        for leaf in nesting.flatten(nest)
    ]


def _outline(nest: Any) -> str:
    kinds = iter(_kinds(nest))
    return str(nesting.map_nest(lambda _: next(kinds), nest)).replace("'", "")
