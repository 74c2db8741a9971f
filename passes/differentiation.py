"""Differentiation: answers every request for gradients with one reverse sweep."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from graphc import ops
from graphc.descent import Descent, descend
from graphc.errors import GraphError, ShapeError
from graphc.function import Function, follow, rebuild, topological, with_inputs
from graphc.graph import graph_frame
from graphc.location import at_line, backward_of, made_at, on_behalf_of
from graphc.ops.elementwise import identity
from graphc.ops.marker import differentiable_operands, gradient_request
from graphc.ops.movement import _ensure_shape as ensure_shape
from graphc.ops.override import override_gradient
from graphc.ops.state import pick
from graphc.tensor import Tensor, describe
from graphc.types import TensorType
from passes.record import note_slopes
from passes.rewrite import bodies_of, transform_all, with_bodies
from passes.sizing import bind_sizes
from passes.target import PLAIN, Target


def differentiate(function: Function, target: Target = PLAIN) -> Function:
    """`function` without requests for gradients; the same object where there are none.

    The gradient of a region holds requests in its bodies, so the sweep is repeated until none is left.
    """
    answered = descend(_answered(function, {}, is_body=False))
    # What overrides a gradient has a body.
    return transform_all(answered, _without_overrides) if answered.has_regions() else answered


def _without_overrides(function: Function) -> Function:
    """`function` with the values themselves where their gradients were the user's."""

    def make(node: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
        if node.op is pick and node.inputs[0].op is override_gradient:
            value = inputs[0].inputs[node.attrs["index"]]
            return Tensor(identity, (value,), {}, node.type, node.loc, node.name, node.owner)
        return with_inputs(node, inputs)

    return rebuild(function, make)[0]


def _answered(function: Function, settled: dict[Function, Function], is_body: bool) -> Descent[Function]:
    """`function` without requests, those in its bodies answered first; then those that answers bring along.

    `settled` is what became of functions already: the bodies of a gradient share those of what it is of.
    """
    began = function
    while True:
        for body in bodies_of(function):
            if body not in settled:
                settled[body] = yield _answered(body, settled, is_body=True)
        function = with_bodies(function, settled)
        if gradient_request not in [node.op for node in function.nodes()]:
            break
        function = _answer_body(function) if is_body else _answer_once(function)
    settled[began] = settled[function] = function
    return function


def _answer_once(function: Function) -> Function:
    """Answers the requests of `function`, in whose bodies there are none."""
    new: dict[Tensor, Tensor] = {node: node for node in function.inputs}
    answers: dict[Tensor, list[Tensor]] = {}
    with graph_frame(function.owner):
        for node in function.nodes():
            if node in new:
                continue
            if node.op is pick and node.inputs[0] in answers:
                new[node] = answers[node.inputs[0]][node.attrs["index"]]
                follow(node, new[node])
                continue
            inputs = tuple([new[i] for i in node.inputs])
            if node.op is gradient_request:
                answers[node] = _answer(node, inputs)
                new[node] = node  # only picked from, and every pick is answered
                continue
            new[node] = with_inputs(node, inputs)
    return Function(
        function.inputs,
        tuple(new[node] for node in function.outputs),
        tuple(new[node] for node in function.effects),
    )


def _answer_body(body: Function) -> Function:
    """`body` with its requests answered; slopes come behind what binds the sizes that they name."""
    binders = tuple(node for node in body.nodes() if node.op.binds)
    if not binders:
        return _answer_once(body)
    own = len(body.outputs)
    answered = _answer_once(replace(body, outputs=(*body.outputs, *binders)))
    return bind_sizes(replace(answered, outputs=answered.outputs[:own]), answered.outputs[own:])


def _answer(request: Tensor, operands: tuple[Tensor, ...]) -> list[Tensor]:
    """The gradients that `request` asks for, its operands being rebuilt already."""
    ys, seeds, stops = (request.attrs[key] for key in ("ys", "seeds", "stops"))
    targets, rest = operands[:ys], operands[ys:]
    given, rest = rest[:seeds], rest[seeds:]
    stopped, points = rest[:stops], rest[stops:]
    with on_behalf_of(backward_of(request.loc)):
        starts = (
            [sum_to(seed, y.result) for seed, y in zip(given, targets, strict=True)]
            if given
            else [ops.ones_like(y) for y in targets]
        )
    found = _sweep(targets, starts, frozenset(stopped), points)
    with on_behalf_of(backward_of(request.loc)):
        results = [found[x] if x in found else ops.zeros_like(x) for x in points]
    while any(node.op is gradient_request for node in topological(results)):  # a rule has asked itself
        results = list(_answer_once(Function((), tuple(results))).outputs)
    with on_behalf_of(backward_of(request.loc)):
        return [_stated(result, x.result) for result, x in zip(results, points, strict=True)]


def _stated(x: Tensor, type: TensorType) -> Tensor:
    """`x` as `type`, where a size of the one is a number, or a symbol, that met that of the other."""
    return x if x.type == type or type.shape is None else ensure_shape(x, shape=type.shape)


def _sweep(
    ys: Sequence[Tensor], seeds: Sequence[Tensor], stops: frozenset[Tensor], xs: Sequence[Tensor]
) -> dict[Tensor, Tensor]:
    """The cotangent of each of `xs` that a differentiable path leads to."""
    order = topological(ys)
    wanted = set(xs)
    active = _active(order, wanted, stops)
    pending: dict[Tensor, list[Tensor]] = {}
    parts: dict[Tensor, dict[int, list[Tensor]]] = {}  # of ops with several results, by result
    for y, seed in zip(ys, seeds, strict=True):
        pending.setdefault(y, []).append(seed)
    found: dict[Tensor, Tensor] = {}
    for node in reversed(order):
        if node not in active:
            continue
        with on_behalf_of(backward_of(node.loc)):
            if node in parts:
                count = len(node.type.elements)  # type: ignore[union-attr]  # only tuples are picked from
                results = parts.pop(node)
                cotangent = tuple(_total(results.get(i)) for i in range(count))
            elif node in pending:
                total = _total(pending.pop(node))
                assert total is not None
                if node in wanted:
                    found[node] = total
                    note_slopes(node, [total], total=True)
                cotangent = total  # type: ignore[assignment]  # one, or a tuple: what the rule takes
            else:
                continue
            if node in stops:
                continue
            if node.op is pick:
                source = node.inputs[0]
                if source in active:
                    index = node.attrs["index"]
                    parts.setdefault(source, {}).setdefault(index, []).append(cotangent)  # type: ignore[arg-type]
                continue
            flows = [x for x in differentiable_operands(node) if x in active]
            if not flows:
                continue
            slopes = _slopes(node, cotangent)
            note_slopes(node, slopes)
            for operand, part in zip(node.inputs, slopes, strict=True):
                if part is not None and operand in active and operand in flows:
                    pending.setdefault(operand, []).append(sum_to(part, operand.result))
    return found


def _active(order: Iterable[Tensor], xs: set[Tensor], stops: frozenset[Tensor]) -> set[Tensor]:
    """The nodes on a differentiable path from some x."""
    active = set(xs)
    for node in order:
        if node not in stops and any(x in active for x in differentiable_operands(node)):
            active.add(node)
    return active


def _slopes(node: Tensor, cotangent: Tensor | tuple[Tensor | None, ...]) -> Sequence[Tensor | None]:
    rule = node.op.gradient_rule
    assert rule is not None
    unranked = [x for x in node.inputs if isinstance(x.type, TensorType) and x.type.shape is None]
    if unranked and node.op.family == "elementwise":
        others = [x for x in node.inputs if x is not unranked[0] and x.result.shape != ()]
        if others:  # it may have been broadcast to them
            raise _without_rank(node, unranked[0])
    try:
        slopes = rule(cotangent, node, *node.inputs, **node.attrs)
    except ShapeError as error:
        if not unranked:
            raise
        raise _without_rank(node, unranked[0]) from error
    if len(slopes) != len(node.inputs):
        raise GraphError(
            f"the gradient of {node.op.name} gives {len(slopes)} cotangents for {len(node.inputs)} operands"
            f"\n  {describe(node)}{made_at(node.loc)}"
        )
    return slopes


def _without_rank(node: Tensor, operand: Tensor) -> ShapeError:
    return ShapeError(
        f"the gradient of {node.op.name} needs the rank of {describe(operand)}: {operand.type}, "
        f"which only the run knows; gc.ensure_shape states it{at_line(node.loc)}"
    )


def _total(parts: Sequence[Tensor] | None) -> Tensor | None:
    if not parts:
        return None
    total = parts[0]
    for part in parts[1:]:
        total = ops.add(total, part)
    return total


def sum_to(x: Tensor, type: TensorType) -> Tensor:
    """`x` brought to `type`: what broadcasting added is summed away, what it lacks is broadcast.

    A rank that only the run knows is taken as the same on both sides.
    """
    if x.type == type:
        return x
    if type.shape is None:
        return x if x.dtype is type.dtype else ops.cast(x, type.dtype)
    if x.result.shape is None:
        x = ensure_shape(x, shape=type.shape)
    shape, wanted = x.result.sizes, type.sizes
    extra = len(shape) - len(wanted)
    if extra > 0 or any(b == 1 and a != 1 for a, b in zip(shape[max(extra, 0) :], wanted, strict=False)):
        axes = (*range(extra), *(extra + i for i, b in enumerate(wanted) if b == 1 and shape[extra + i] != 1))
        x = ops.sum(x, axis=axes, keepdims=True)
        if extra > 0:
            x = ops.reshape(x, x.result.sizes[extra:])
        shape = x.result.sizes
    if len(shape) < len(wanted) or any(a == 1 and b != 1 for a, b in zip(shape, wanted, strict=True)):
        x = ops.broadcast_to(x, wanted)
    return x if x.dtype is type.dtype else ops.cast(x, type.dtype)
