"""Bits of integers and bools. Operands broadcast."""

from __future__ import annotations

import numpy as np

from graphc.errors import DTypeError
from graphc.op import op
from graphc.ops.rule import broadcast_alike
from graphc.tensor import Tensor
from graphc.types import BOOL, TensorType


def _bits(x: Tensor) -> None:
    if x.dtype.is_floating:
        raise DTypeError(f"an integer or bool is wanted, not {x.dtype}: floats show no bits")


def _shifted(x: Tensor, y: Tensor) -> TensorType:
    _bits(x)
    if x.dtype is BOOL:
        raise DTypeError("a bool is not shifted: cast it first, as in gc.cast(x, 'int32')")
    return broadcast_alike(x, y)


@op("elementwise")
def bitwise_and(x: Tensor, y: Tensor) -> TensorType:
    """``x & y``; of bools, whether both hold.

    Shapes: ``[...], [...] -> [...]``, broadcast.
    Raises: DTypeError for floats.
    """
    _bits(x)
    return broadcast_alike(x, y)


@op("elementwise")
def bitwise_or(x: Tensor, y: Tensor) -> TensorType:
    """``x | y``; of bools, whether one holds or both.

    Shapes: ``[...], [...] -> [...]``, broadcast.
    Raises: DTypeError for floats.
    """
    _bits(x)
    return broadcast_alike(x, y)


@op("elementwise")
def bitwise_xor(x: Tensor, y: Tensor) -> TensorType:
    """``x ^ y``; of bools, whether exactly one holds.

    Shapes: ``[...], [...] -> [...]``, broadcast.
    Raises: DTypeError for floats.
    """
    _bits(x)
    return broadcast_alike(x, y)


@op("elementwise")
def bitwise_not(x: Tensor) -> TensorType:
    """``~x``; of a bool its opposite.

    Shapes: ``[...] -> [...]``.
    Raises: DTypeError for floats.
    """
    _bits(x)
    return x.result


@op("elementwise")
def left_shift(x: Tensor, y: Tensor) -> TensorType:
    """``x << y``; 0 for shifts past the width and, as in NumPy, for negative ones.

    Shapes: ``[...], [...] -> [...]``, broadcast.
    Raises: DTypeError for floats and bools.
    """
    return _shifted(x, y)


@op("elementwise")
def right_shift(x: Tensor, y: Tensor) -> TensorType:
    """``x >> y``, keeping the sign.

    For shifts past the width and, as in NumPy, for negative ones: 0, or -1 where `x` is negative.

    Shapes: ``[...], [...] -> [...]``, broadcast.
    Raises: DTypeError for floats and bools.
    """
    return _shifted(x, y)


bitwise_and.evaluate(np.bitwise_and)
bitwise_or.evaluate(np.bitwise_or)
bitwise_xor.evaluate(np.bitwise_xor)
bitwise_not.evaluate(np.invert)
left_shift.evaluate(np.left_shift)
right_shift.evaluate(np.right_shift)

for _connective in (bitwise_and, bitwise_or, bitwise_xor):
    _connective.gradient(None)
    _connective.example(np.array([[12], [-1]], np.int32), np.array([10, 7], np.int32))
    _connective.example(np.array([255, 1], np.uint8), np.array([170], np.uint8))
    _connective.example("bool[2]", "bool[2]")
    _connective.example("i64[0]", "i64[]")
bitwise_not.gradient(None)
bitwise_not.example(np.array([0, -1, 5], np.int32))
bitwise_not.example(np.array([0, 255], np.uint8))
bitwise_not.example("bool[2,0]")
for _shift in (left_shift, right_shift):
    _shift.gradient(None)
    _shift.example(np.array([[5], [-5]], np.int32), np.array([0, 1, 31, 32, 100, -1], np.int32))
    _shift.example(np.array([255], np.uint8), np.array([0, 3, 7, 8, 255], np.uint8))
    _shift.example(np.array([1, -1], np.int64), np.array([63, 64], np.int64))
    _shift.example(np.array([1, -1, 64], np.int8), np.array([7, 8, 1], np.int8))
    _shift.example("i32[0]", "i32[1]")
