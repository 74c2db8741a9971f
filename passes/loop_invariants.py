"""Loop invariants: what every step computes alike, or apart from the others, is computed before the loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from graphc.function import Function, rebuild, with_inputs
from graphc.op import OPS, Op
from graphc.ops.loop import Parts, loop
from graphc.ops.source import _constant as constant
from graphc.sizes import SizeExpr, Symbol, symbols
from graphc.tensor import Tensor
from graphc.tracing import parameter
from passes.failure import is_movable
from passes.record import Decision, decide
from passes.rewrite import transform_all
from passes.target import PLAIN, Target

# Not worth a value of their own outside: they cost nothing, or stand for much in little.
_STAYS: frozenset[Op] = frozenset(OPS[name] for name in ("constant", "broadcast_to", "iota"))


def hoist_invariants(function: Function, target: Target = PLAIN) -> Function:
    """`function` whose loops compute in their steps only what differs from step to step and hangs together.

    Before the loop goes what depends on nothing that is carried or walked. In a `scan`, elementwise
    ops and products with a matrix that depend on the slices alone are done for all slices at once.
    What may fail, draws, binds sizes or has effects stays. The same object comes back where nothing moves.
    """
    if not function.has_regions():
        return function
    return transform_all(function, _without_invariants)


def _without_invariants(function: Function) -> Function:
    def make(node: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
        made = with_inputs(node, inputs)
        if node.op is not loop:
            return made
        made = _hoisted(made, "invariant")
        return made if made.attrs["condition"] is not None else _hoisted(made, "over time")

    return rebuild(function, make)[0]


def _hoisted(node: Tensor, how: str) -> Tensor:
    """`node` (a loop) with the nodes that can move before it moved there."""
    body: Function = node.attrs["body"]
    carried, scanned = node.attrs["carried"], node.attrs["scanned"]
    formal = Parts.of(body.inputs, carried, scanned)
    operands = Parts.of(node.inputs, carried, scanned)
    given = formal.captured if how == "invariant" else formal.slices
    movable = _movable(body, given, formal.captured, how)
    frontier = [
        inner
        for inner in _frontier(body, movable)
        if decide(Decision("hoist", inner.op.name, True, how, inner.loc), inner)
    ]
    if not frontier:
        return node
    outer = dict(zip(formal.captured, operands.captured, strict=True))
    if how != "invariant":
        outer |= zip(formal.slices, operands.slices, strict=True)
    move = _mover(node)
    for inner in body.nodes():
        if inner in movable or (inner.op is constant and inner not in outer):
            outer[inner] = move(inner, tuple(outer[i] for i in inner.inputs))
    stands_for = {inner: parameter("moved", inner.result, inner.owner, inner.loc) for inner in frontier}
    smaller, _ = rebuild(body, with_inputs, stands_for)
    new_inputs = tuple(stands_for.values())
    new_operands = tuple(outer[inner] for inner in frontier)
    if how == "invariant":
        condition = node.attrs["condition"]
        attrs = {**node.attrs, "body": replace(smaller, inputs=(*body.inputs, *new_inputs))}
        if condition is not None:
            unread = tuple(parameter("moved", t.result, t.owner, t.loc) for t in new_inputs)
            attrs["condition"] = replace(condition, inputs=(*condition.inputs, *unread))
        inputs = (*node.inputs, *new_operands)
    else:
        at = carried + scanned
        attrs = {
            **node.attrs,
            "body": replace(smaller, inputs=(*body.inputs[:at], *new_inputs, *body.inputs[at:])),
            "scanned": scanned + len(new_inputs),
        }
        inputs = (*node.inputs[:at], *new_operands, *node.inputs[at:])
    return replace(node, inputs=inputs, attrs=attrs, type=loop.infer(inputs, attrs))


def _movable(
    body: Function, given: Sequence[Tensor], captured: Sequence[Tensor], how: str
) -> dict[Tensor, None]:
    """The nodes of `body` that depend on some of `given`, else only on constants and `captured`."""
    own = _symbols_of(body.inputs) - _symbols_of((*given, *captured))
    roots, known = set(given), {*given, *captured}
    movable: dict[Tensor, None] = {}
    for node in body.nodes():
        if node in known or node.op is constant:
            known.add(node)
        elif (
            node.inputs
            and all(i in known for i in node.inputs)
            and any(i in roots for i in node.inputs)
            and is_movable(node)
            and not node.op.has_bodies
            and not own.intersection(_used_symbols(node))
            and (how == "invariant" or works_on_all(node, roots))
        ):
            movable[node] = None
            known.add(node)
            roots.add(node)
    return movable


def _frontier(body: Function, movable: dict[Tensor, None]) -> list[Tensor]:
    """Those of `movable` that what stays behind reads."""
    read = dict.fromkeys((*body.outputs, *body.effects))
    for node in body.nodes():
        if node not in movable:
            read.update(dict.fromkeys(node.inputs))
    return [node for node in movable if node in read and node.op not in _STAYS]


def _mover(node: Tensor) -> Callable[[Tensor, tuple[Tensor, ...]], Tensor]:
    """What copies a node of the body to the graph around `node`."""

    def move(inner: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
        type = inner.op.infer(inputs, inner.attrs)
        return replace(inner, inputs=inputs, type=type, owner=node.owner, name=None)

    return move


# For all steps at once.


def works_on_all(node: Tensor, walked: set[Tensor]) -> bool:
    """Whether `node` does the same, bit for bit, on all slices at once."""
    per_step = [i for i in node.inputs if i in walked]
    ranks = {i.result.rank for i in per_step}
    if len(ranks) != 1 or None in ranks:
        return False
    (rank,) = ranks
    assert rank is not None
    if node.op.family == "elementwise":
        return node.result.rank == rank and all((i.result.rank or 0) <= rank for i in node.inputs)
    if node.op is OPS["matmul"]:
        x, w = node.inputs
        return x in walked and w not in walked and rank >= 2 and w.result.rank == 2
    return False


def _symbols_of(tensors: Sequence[Tensor]) -> set[Symbol]:
    return {s for t in tensors for size in t.result.shape or () for s in symbols(size)}


def _used_symbols(node: Tensor) -> set[Symbol]:
    in_attrs = (
        s
        for value in node.attrs.values()
        if isinstance(value, tuple)
        for size in value
        if isinstance(size, SizeExpr)
        for s in symbols(size)
    )
    return {*in_attrs, *_symbols_of([node])}
