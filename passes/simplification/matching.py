"""What rules ask of nodes: the number that a constant stands for, the node below a broadcast."""

from __future__ import annotations

import numpy as np

from graphc import ops
from graphc.ops.source import _constant as constant
from graphc.sizes import Size
from graphc.tensor import Tensor


def number(node: Tensor) -> float | int | bool | None:
    """The number that every element of `node` is, where it is a constant or a broadcast one."""
    while node.op is ops.broadcast_to or node.op is ops.reshape:
        node = node.inputs[0]
    if node.op is not constant:
        return None
    value = node.attrs["value"]
    if value.size == 0 or value.size > 16:
        return None
    first = value.flat[0]
    if value.size > 1 and value.tobytes() != np.full_like(value, first).tobytes():
        return None
    return first.item()  # type: ignore[no-any-return]  # a NumPy scalar as a Python number


def is_number(node: Tensor, wanted: float) -> bool:
    """Whether every element of `node` is `wanted`, the sign of zero included."""
    found = number(node)
    if found is None:
        return False
    return bool(found == wanted and np.signbit(float(found)) == np.signbit(wanted))


def like(node: Tensor, value: float) -> Tensor:
    """`value` everywhere, in the shape and dtype of `node`."""
    return ops.broadcast_to(ops.constant(value, node.dtype), node.result.sizes)


def same_shape(x: Tensor, y: Tensor) -> bool:
    """Whether two values have the same sizes, whatever those are."""
    return x.result.shape is not None and x.result.shape == y.result.shape


def shape_of(node: Tensor) -> tuple[Size, ...]:
    """The sizes of `node`. Raises: ShapeError where the rank is unknown."""
    return node.result.sizes
