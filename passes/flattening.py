"""Flattening: what is reduced over all axes, and elementwise before that, is one row: one kernel reads it.

    mean(square(x - y))  ->  sum(square(reshape(x) - reshape(y)), 0) / n

A reduction over all axes walks no rows; what it reduces would be stored, and read again. Seen as one long row
it is reduced as it is computed. All elementwise ops of that shape around it come along, forwards and
backwards, or none does: where one of them meets a row or a column, or is read by what could run with it
otherwise, everything stays as it is.
"""

from __future__ import annotations

from graphc import ops
from graphc.function import Function, rebuild, with_inputs
from graphc.graph import graph_frame
from graphc.location import on_behalf_of
from graphc.op import OPS
from graphc.sizes import Size, product
from graphc.tensor import Tensor
from graphc.types import BFLOAT16, TensorType
from passes.fusion import MOST_NODES
from passes.record import Decision, decide
from passes.rewrite import transform_all
from passes.target import PLAIN, Target

_REDUCTIONS = frozenset(OPS[name] for name in ("sum", "mean", "max", "min", "prod", "any", "all"))
_DENSE = frozenset(
    ("variable", "placeholder", "constant", "parameter", "reshape", "pick")
)  # rows lie in a row


def flatten(function: Function, target: Target = PLAIN) -> Function:
    """`function` with what is reduced over all axes as one row, where the backend fuses rows."""
    if not {"sum", "reshape"} <= target.fusible:
        return function
    return transform_all(function, lambda body: _flattened(body, target))


def _flattened(function: Function, target: Target) -> Function:
    nodes = function.nodes()
    given = set(function.inputs)
    reductions = [node for node in nodes if node not in given and _is_whole(node)]
    if not reductions:
        return function
    users: dict[Tensor, list[Tensor]] = {}
    for node in nodes:
        for operand in dict.fromkeys(node.inputs):
            users.setdefault(operand, []).append(node)
    chosen: set[Tensor] = set()
    for reduction in reductions:
        if reduction not in chosen:
            around = _Around(given, users, target).of(reduction)
            if around and _accept(reduction, around):
                chosen.update(around)
    return _flat(function, chosen) if chosen else function


def _accept(reduction: Tensor, around: tuple[Tensor, ...]) -> bool:
    details = {"nodes": len(around)}
    found = Decision("fuse", reduction.op.name, True, "flat", reduction.loc, details, around)
    return decide(found, reduction)


def _is_whole(node: Tensor) -> bool:
    """Whether `node` reduces all of several axes."""
    if node.op not in _REDUCTIONS or not isinstance(node.type, TensorType):
        return False
    shape = node.inputs[0].result.shape
    if shape is None or len(shape) < 2 or len(node.attrs["axis"]) < len(shape):
        return False
    if node.op.fallible and not all(isinstance(size, int) for size in shape):
        return False  # of no elements there is none to choose: the error tells the shape
    return any(size != 1 for size in shape)


class _Around:
    """The elementwise ops around a reduction that are all of its shape."""

    def __init__(self, given: set[Tensor], users: dict[Tensor, list[Tensor]], target: Target) -> None:
        self._given, self._users, self._target = given, users, target

    def of(self, reduction: Tensor) -> tuple[Tensor, ...]:
        """They and the reductions, or none where one of them is better left where it is."""
        shape = reduction.inputs[0].result.sizes
        found: dict[Tensor, None] = {}
        pending = [reduction.inputs[0]]
        while pending:
            node = pending.pop()
            if node in found:
                continue
            if not self._comes(node, shape):
                return ()
            found[node] = None
            if len(found) > MOST_NODES:
                return ()
            near = [x for x in node.inputs if x.result.shape == shape and not self._is_dense(x)]
            for user in self._users.get(node, ()):
                if _is_whole(user):
                    found[user] = None
                else:
                    near.append(user)
            pending += near
        return tuple(found)

    def _comes(self, node: Tensor, shape: tuple[Size, ...]) -> bool:
        """Whether `node` can be computed of one row."""
        if node in self._given or node.op.family != "elementwise" or node.op.name not in self._target.fusible:
            return False
        if not isinstance(node.type, TensorType) or node.result.shape != shape or node.dtype is BFLOAT16:
            return False
        return all(x.result.shape == shape or _is_one(x) for x in node.inputs)

    def _is_dense(self, x: Tensor) -> bool:
        """Whether `x` is there before, element after element."""
        if x in self._given or x.op.name in _DENSE:
            return True
        return x.op.family != "elementwise" and x.op.family != "movement" and not self._target.contracts(x)


def _is_one(x: Tensor) -> bool:
    """Whether `x` is one number, whatever its rank."""
    shape = x.result.shape
    return shape is not None and all(size == 1 for size in shape)


def _flat(function: Function, chosen: set[Tensor]) -> Function:
    """`function` with what is `chosen` on one row."""
    rows: dict[Tensor, Tensor] = {}  # of what is shown in its old shape, what it shows

    def as_row(x: Tensor) -> Tensor:
        if not x.result.sizes:
            return x
        if x not in rows:
            rows[x] = ops.reshape(x, () if _is_one(x) else (product(x.result.sizes),))
        return rows[x]

    def make(node: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
        if node not in chosen:
            return with_inputs(node, inputs)
        with graph_frame(node.owner), on_behalf_of(node.loc):
            parts = tuple(map(as_row, inputs))
            if node.op in _REDUCTIONS:
                attrs = {**node.attrs, "axis": (0,), "keepdims": False}
                made = Tensor(
                    node.op, parts, attrs, TensorType(node.dtype, ()), node.loc, node.name, node.owner
                )
            else:
                type = TensorType(node.dtype, (product(node.result.sizes),))
                made = Tensor(node.op, parts, node.attrs, type, node.loc, node.name, node.owner)
            if made.type == node.type:
                return made
            shown = ops.reshape(made, node.result.sizes)
        rows[shown] = made
        return shown

    return rebuild(function, make)[0]
