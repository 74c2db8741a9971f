"""Failure: whether a node may fail at the run, which forbids to run it earlier or in vain."""

from __future__ import annotations

from graphc.function import all_nodes, bodies
from graphc.graph import has_effects
from graphc.tensor import Tensor
from graphc.types import TensorType, TupleType

# Fallible only where a size known at the run decides: never when all sizes are numbers.
_BY_SIZE = frozenset(("strided_slice", "embed", "max", "min", "argmax", "argmin", "ensure_shape"))


def may_fail(node: Tensor) -> bool:
    """Whether running `node` can raise an error, as far as its op and its types tell."""
    if not node.op.has_bodies:
        return _may_fail_itself(node)
    return any(_may_fail_itself(inner) for _, body in bodies(node) for inner in all_nodes(body))


def _may_fail_itself(node: Tensor) -> bool:
    op = node.op
    if not op.fallible or node.attrs.get("empty") is not None:  # what there is of no elements
        return False
    if op.family == "elementwise":  # division and power fail on integers only
        return not (isinstance(node.type, TensorType) and node.type.dtype.is_floating)
    return op.name not in _BY_SIZE or not all(_is_known(t) for t in (*node.inputs, node))


def is_movable(node: Tensor) -> bool:
    """Whether `node` may run elsewhere, earlier, twice or not at all without anyone noticing."""
    kept = ("random", "source", "state")
    return not (
        node.op.binds
        or node.op.family in kept
        or has_effects(node)
        or isinstance(node.type, TupleType)
        or may_fail(node)
    )


def _is_known(tensor: Tensor) -> bool:
    type = tensor.type
    return (
        isinstance(type, TensorType)
        and type.shape is not None
        and all(isinstance(size, int) for size in type.shape)
    )
