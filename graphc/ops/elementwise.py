"""Arithmetic. Operands meet in one dtype and broadcast, as in NumPy; integers wrap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.conversion import round_to_bfloat16
from graphc.errors import ArgumentError, DTypeError
from graphc.explanation import explains
from graphc.op import op
from graphc.ops.pole import may_be_infinite
from graphc.ops.rule import broadcast_alike, on_reals, real, refuse_bool
from graphc.tensor import Tensor
from graphc.types import BFLOAT16, BOOL, FLOAT64, DType, TensorType


@op("elementwise")
def add(x: Tensor, y: Tensor) -> TensorType:
    """``x + y``; of bools, whether one holds.

    Shapes: ``[...], [...] -> [...]``, broadcast.
    """
    return broadcast_alike(x, y)


add.evaluate(np.add)
add.gradient(lambda g, out, x, y: (g, g))
add.example("f64[2,3]", "f64[3]")
add.example("i32[2,1]", "i32[3]")
add.example("f32[]", "f32[0,4]")
add.example("bool[2]", "bool[2]")
add.example(np.array([250, 1], np.uint8), np.array([10], np.uint8))


@op("elementwise")
def sub(x: Tensor, y: Tensor) -> TensorType:
    """``x - y``.

    Shapes: ``[...], [...] -> [...]``, broadcast.
    Raises: DTypeError for bools, as in NumPy.
    """
    if x.dtype is BOOL:
        raise DTypeError("bools are not subtracted: gc.logical_xor says where they differ")
    return broadcast_alike(x, y)


sub.evaluate(np.subtract)
sub.gradient(lambda g, out, x, y: (g, -g))
sub.example("f64[2,3]", "f64[3]")
sub.example("f32[1]", "f32[4,1]")
sub.example("i64[2,1]", "i64[0]")
sub.example(np.array([1, 9], np.uint8), np.array([2], np.uint8))


@op("elementwise")
def mul(x: Tensor, y: Tensor) -> TensorType:
    """``x * y``; of bools, whether both hold.

    Shapes: ``[...], [...] -> [...]``, broadcast.
    """
    return broadcast_alike(x, y)


mul.evaluate(np.multiply)
mul.gradient(lambda g, out, x, y: (_scaled(g, y), _scaled(g, x)))
mul.example("f64[2,3]", "f64[3]")
mul.example("f32[2,1]", "f32[0]")
mul.example("bool[2]", "bool[2]")
mul.example(np.array([100, -128], np.int8), np.array([3, -1], np.int8))


@op("elementwise")
def guarded_multiply(x: Tensor, slope: Tensor) -> TensorType:
    """``x * slope``, but 0 where `x` is 0 and `slope` is not finite.

    Rules of gradients use it for slopes that may be infinite, so that a branch which `where` did not
    take sends back zero, not NaN. Its own gradients keep second order right where `x` is 0.

    Shapes: ``[...], [...] -> [...]``, broadcast, float.
    Raises: DTypeError for what is not float.
    """
    if not x.dtype.is_floating:
        raise DTypeError(f"only floats have a slope, not {x.dtype}")
    return broadcast_alike(x, slope)


def _guarded(x: Any, slope: Any) -> Any:
    return np.where((x == 0) & ~np.isfinite(slope), x.dtype.type(0), x * slope)


guarded_multiply.evaluate(_guarded)
guarded_multiply.gradient(lambda g, out, x, slope: (guarded_multiply(g, slope), guarded_multiply(x, g)))
guarded_multiply.example("f64[2,3]", "f64[3]")
guarded_multiply.example(
    np.array([0, 0, 0, 1, -0.0], np.float32), np.array([np.inf, np.nan, 2, np.inf, -np.inf], np.float32)
)
guarded_multiply.example("f32[0]", "f32[1]")


def _scaled(g: Tensor, slope: Tensor) -> Tensor:
    return guarded_multiply(g, slope) if may_be_infinite(slope) else mul(g, slope)


@op("elementwise")
def reciprocal(x: Tensor) -> TensorType:
    """``1 / x``.

    Shapes: ``[...] -> [...]``, float.
    Raises: DTypeError for integers, whose reciprocals NumPy rounds to 0; ``1 / x`` is float64.
    """
    if not x.dtype.is_floating:
        raise DTypeError(f"a float is wanted, not {x.dtype}: 1 / x is float64")
    return x.result


reciprocal.evaluate(np.reciprocal)
reciprocal.gradient(lambda g, out, x: (guarded_multiply(g, -(out / x)),))
reciprocal.example("f64[2,3]", domain=(0.5, 2.0))
reciprocal.example(np.array([0, -0.0, np.inf, 3], np.float32))
reciprocal.example("f32[0]")


@op("elementwise")
def div(x: Tensor, y: Tensor) -> TensorType:
    """``x / y``; of integers float64. Division by zero gives infinity or NaN, of integers too.

    Shapes: ``[...], [...] -> [...]``, broadcast.
    """
    common = broadcast_alike(x, y)
    return common if common.dtype.is_floating else TensorType(FLOAT64, common.shape)


div.evaluate(np.true_divide)
div.gradient(lambda g, out, x, y: (guarded_multiply(g, reciprocal(y)), guarded_multiply(g, -(out / y))))
div.example("f64[2,3]", "f64[3]", domain=(0.5, 2.0))
div.example("f64[2,1]", "f64[]", domain=(-2.0, -0.5))
div.example(np.array([1, -1, 0, 1], np.float32), np.array([0, 0, 0, 3], np.float32))
div.example(np.array([7, -7, 0], np.int32), np.array([2, 0, 0], np.int32))
div.example("u8[2,1]", "u8[0]")


@op("elementwise")
def neg(x: Tensor) -> TensorType:
    """``-x``; of an unsigned integer ``2 ** bits - x``, as NumPy wraps it.

    Shapes: ``[...] -> [...]``.
    Raises: DTypeError for bool, as in NumPy.
    """
    if x.dtype is BOOL:
        raise DTypeError("a bool has no negative: gc.logical_not is its opposite")
    return x.result


neg.evaluate(np.negative)
neg.gradient(lambda g, out, x: (-g,))
neg.example("f64[2,3]")
neg.example("f32[0]")
neg.example(np.array([-128, 127], np.int8))
neg.example(np.array([0, 1, 255], np.uint8))


@op("elementwise")
def square(x: Tensor) -> TensorType:
    """``x * x``.

    Shapes: ``[...] -> [...]``.
    Raises: DTypeError for bool.
    """
    refuse_bool(x)
    return x.result


square.evaluate(np.square)
square.gradient(lambda g, out, x: (g * (x * 2.0),))
square.example("f64[2,3]")
square.example("f32[1]")
square.example(np.array([11, 12, -128], np.int8))


@op("elementwise")
def sqrt(x: Tensor) -> TensorType:
    """The square root; NaN below zero.

    Shapes: ``[...] -> [...]``, float; float64 of an integer.
    """
    return real(x)


sqrt.evaluate(on_reals(np.sqrt))
sqrt.gradient(lambda g, out, x: (guarded_multiply(g, div(0.5, out)),))
sqrt.example("f64[2,3]", domain=(0.5, 3.0))
sqrt.example(np.array([0, -1, np.inf, 2], np.float32))
sqrt.example(np.array([0, 4, 5], np.int32))


@op("elementwise")
def rsqrt(x: Tensor) -> TensorType:
    """``1 / sqrt(x)``.

    Shapes: ``[...] -> [...]``, float; float64 of an integer.
    """
    return real(x)


rsqrt.evaluate(on_reals(lambda x: np.reciprocal(np.sqrt(x))))
rsqrt.gradient(lambda g, out, x: (guarded_multiply(g, div(out * -0.5, x)),))
rsqrt.example("f64[2,3]", domain=(0.5, 3.0))
rsqrt.example(np.array([0, -1, np.inf, 2], np.float32))
rsqrt.example(np.array([0, 4, 5], np.int32))


@op("elementwise")
def identity(x: Tensor) -> TensorType:
    """`x`.

    Shapes: ``[...] -> [...]``.
    """
    return x.result


identity.evaluate(lambda x: x)
identity.gradient(lambda g, out, x: (g,))
identity.example("f64[2,3]")
identity.example("bool[0]")


@op("elementwise", promotes=())
def cast(x: Tensor, dtype: DType) -> TensorType:
    """`x` as another dtype.

    A float becomes an integer by truncation; what is out of range becomes the nearest integer there
    is, and NaN becomes 0. Integers wrap. Anything but 0 is True.

    Shapes: ``[...] -> [...]``.
    """
    return TensorType(dtype, x.result.shape)


def _cast(x: Any, dtype: DType) -> Any:
    if dtype is BFLOAT16:
        return round_to_bfloat16(x)
    if dtype is BOOL:
        return x != 0
    if dtype.is_integer and x.dtype.kind == "f":
        return saturate(x, dtype)
    return x.astype(dtype.numpy, copy=False)


def saturate(x: Any, dtype: DType) -> Any:
    """The float array `x` as integers of `dtype`: truncated, kept in range, NaN as 0."""
    limits = np.iinfo(dtype.numpy)
    wide = x.astype(np.float64)
    above, below = wide >= float(limits.max + 1), wide < float(limits.min)
    inside = np.where(above | below | np.isnan(wide), 0.0, wide).astype(dtype.numpy)
    bound = np.where(above, dtype.numpy.type(limits.max), dtype.numpy.type(limits.min))
    return np.where(above | below, bound, inside)


cast.evaluate(_cast)
cast.gradient(lambda g, out, x, dtype: (cast(g, x.dtype),))
cast.example("f64[4]", dtype="float64")
cast.example("f64[4]", dtype="float32", smooth=False)
cast.example("f32[2,0]", dtype="float64")
cast.example("f32[3]", dtype="bfloat16")
cast.example("f32[3]", dtype="float16")
cast.example("i64[3]", dtype="float32")
cast.example(np.array([1.9, -1.9, np.nan, np.inf, -np.inf, 3e9], np.float32), dtype="int32")
cast.example(np.array([-0.5, -1, 255.5, 256, 1e20], np.float64), dtype="uint8", smooth=False)
cast.example(np.array([300, -1, 128], np.int32), dtype="uint8")
cast.example(np.array([0, -0.0, np.nan, 0.5], np.float32), dtype="bool")
cast.example("bool[2]", dtype="int32")


@explains
def add_n(inputs: Sequence[Any], name: str | None = None) -> Tensor:
    """The sum of all `inputs`, from the first to the last.

    Shapes: ``[...], ... -> [...]``, broadcast.
    Raises: ArgumentError where there are none.
    """
    if not isinstance(inputs, list | tuple) or not inputs:
        raise ArgumentError("add_n: a list of at least one tensor is wanted")
    if len(inputs) == 1:
        return identity(inputs[0], name=name)
    total: Any = inputs[0]
    for term in inputs[1:-1]:
        total = add(total, term)
    return add(total, inputs[-1], name=name)
