"""Shapes that are vectors of a length only the run knows: what is brought to them is of unknown rank."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.errors import DTypeError, ShapeError
from graphc.op import op
from graphc.ops.sizing import shape as shape_of
from graphc.tensor import Tensor
from graphc.types import TensorType

Array = np.ndarray[Any, Any]


def _late(x: Tensor, shape: Tensor) -> TensorType:
    if not shape.dtype.is_integer:
        raise DTypeError(f"a shape holds whole numbers, not {shape.type}")
    if shape.result.shape is not None and len(shape.result.shape) != 1:
        raise ShapeError(f"a shape is a vector, not {shape.type}")
    return TensorType(x.dtype, None)


@op("movement", fallible=True)
def reshape_late(x: Tensor, shape: Tensor) -> TensorType:
    """The elements of `x`, in row-major order, as the vector `shape` says; one -1 stands for the rest.

    Shapes: ``[...], [rank] -> [...]``.
    Raises: ShapeError at the run where the numbers of elements differ.
    """
    return _late(x, shape)


def _reshaped(x: Array, shape: Array) -> Array:
    wanted = [int(size) for size in shape]
    try:
        if min(wanted, default=0) < -1:
            raise ValueError
        return np.reshape(x, wanted)
    except (ValueError, OverflowError):
        raise ShapeError(f"the shape {list(x.shape)} does not have the elements of {wanted}") from None


reshape_late.evaluate(_reshaped)
reshape_late.gradient(lambda g, out, x, shape: (reshape_late(g, shape_of(x)), None))
reshape_late.example("f64[2,6]", np.array([3, -1]))
reshape_late.example("i32[1]", np.array([], np.int32))
reshape_late.example("f64[0,3]", np.array([3, 2, 0], np.uint8))


@op("movement", fallible=True)
def broadcast_late(x: Tensor, shape: Tensor) -> TensorType:
    """`x` repeated along new axes in front and along its axes of size 1; a -1 in `shape` keeps a size.

    Shapes: ``[...], [rank] -> [...]``.
    Raises: ShapeError at the run where a size of `x` is neither 1 nor that of `shape`.
    """
    return _late(x, shape)


def _broadcast(x: Array, shape: Array) -> Array:
    wanted = [int(size) for size in shape]
    lead = len(wanted) - x.ndim
    kept = [x.shape[i - lead] if n == -1 and i >= lead else n for i, n in enumerate(wanted)]
    try:
        return np.broadcast_to(x, kept)
    except ValueError:
        raise ShapeError(f"the shape {list(x.shape)} does not broadcast to {wanted}") from None


broadcast_late.evaluate(_broadcast)


@broadcast_late.gradient
def _broadcast_gradient(g: Tensor, out: Tensor, x: Tensor, shape: Tensor) -> tuple[Tensor, None]:
    return (sum_late(g, shape_of(x)), None)


broadcast_late.example("f64[2,1]", np.array([4, -1, 3]))
broadcast_late.example("f32[]", np.array([], np.int64))
broadcast_late.example("bool[1]", np.array([0], np.int32))


@op("reduction", fallible=True)
def sum_late(x: Tensor, shape: Tensor) -> TensorType:
    """`x` summed over what broadcasting from the vector `shape` had added.

    Shapes: ``[...], [rank] -> [...]``.
    Raises: ShapeError at the run where `shape` does not broadcast to that of `x`.
    """
    return _late(x, shape)


def _summed(x: Array, shape: Array) -> Array:
    wanted = [int(size) for size in shape]
    lead = x.ndim - len(wanted)
    if lead < 0 or any(n not in (1, size) for n, size in zip(wanted, x.shape[lead:], strict=True)):
        raise ShapeError(f"the shape {wanted} does not broadcast to {list(x.shape)}")
    axes = tuple(i for i, size in enumerate(x.shape) if i < lead or wanted[i - lead] != size)
    return np.sum(x, axes, x.dtype).reshape(wanted)


sum_late.evaluate(_summed)
sum_late.gradient(lambda g, out, x, shape: (broadcast_late(g, shape_of(x)), None))
sum_late.example("f64[4,2,3]", np.array([2, 1]))
sum_late.example("f64[3]", np.array([3]))
sum_late.example("i32[0,2]", np.array([], np.int64))
