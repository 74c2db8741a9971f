"""The larger, the smaller, the clipped; sign and magnitude; rounding. NaN propagates, as in NumPy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.conversion import as_tensor
from graphc.errors import DTypeError
from graphc.explanation import explains
from graphc.op import op
from graphc.ops.comparison import (
    equal,
    greater,
    less,
    less_equal,
    logical_and,
    logical_or,
    where,
)
from graphc.ops.rule import broadcast_alike, refuse_bool
from graphc.tensor import Tensor
from graphc.types import BOOL, TensorType, broadcast

Array = np.ndarray[Any, Any]


@op("elementwise")
def maximum(x: Tensor, y: Tensor) -> TensorType:
    """The larger of two; NaN where one is. Where they are equal each has half of the gradient.

    Shapes: ``[...], [...] -> [...]``, broadcast.
    """
    return broadcast_alike(x, y)


@op("elementwise")
def minimum(x: Tensor, y: Tensor) -> TensorType:
    """The smaller of two; NaN where one is. Where they are equal each has half of the gradient.

    Shapes: ``[...], [...] -> [...]``, broadcast.
    """
    return broadcast_alike(x, y)


def _extremum_gradient(wins: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Sequence[Tensor]]:
    def rule(g: Tensor, out: Tensor, x: Tensor, y: Tensor) -> Sequence[Tensor]:
        tied = where(equal(x, y), g * 0.5, 0.0)
        return where(wins(x, y), g, tied), where(wins(y, x), g, tied)

    return rule


def _maximum(x: Array, y: Array) -> Any:
    """Of 0.0 and -0.0 the second: so do NumPy's vectors, and its loop over halves takes the first."""
    return np.maximum(y, x) if x.dtype == np.float16 else np.maximum(x, y)


def _minimum(x: Array, y: Array) -> Any:
    """As `_maximum`."""
    return np.minimum(y, x) if x.dtype == np.float16 else np.minimum(x, y)


maximum.evaluate(_maximum)
maximum.gradient(_extremum_gradient(greater))
minimum.evaluate(_minimum)
minimum.gradient(_extremum_gradient(less))
for _extremum in (maximum, minimum):
    _extremum.example("f64[2,3]", "f64[3]")
    _extremum.example(
        np.array([1, np.nan, 2, np.inf], np.float32), np.array([2, 1, np.nan, -np.inf], np.float32)
    )
    _extremum.example("i32[2,1]", "i32[3]")
    _extremum.example("bool[2]", "bool[2]")
    _extremum.example("f32[0]", "f32[]")


@op("elementwise")
def _clip(x: Tensor, lo: Tensor, hi: Tensor) -> TensorType:
    """``minimum(maximum(x, lo), hi)``. The slope is 1 where ``lo <= x <= hi``, the bounds included.

    Shapes: ``[...], [...], [...] -> [...]``, broadcast.
    """
    low = broadcast_alike(x, lo)
    if hi.dtype is not low.dtype:
        raise DTypeError(f"operands have one dtype, not {low.dtype} and {hi.dtype}")
    return TensorType(low.dtype, broadcast(low, hi.result))


def _clip_gradient(g: Tensor, out: Tensor, x: Tensor, lo: Tensor, hi: Tensor) -> Sequence[Tensor]:
    inside = logical_and(less_equal(lo, x), less_equal(x, hi))
    at_low = logical_and(less(x, lo), less_equal(lo, hi))
    at_high = logical_or(greater(x, hi), greater(lo, hi))
    return where(inside, g, 0.0), where(at_low, g, 0.0), where(at_high, g, 0.0)


_clip.evaluate(lambda x, lo, hi: _minimum(_maximum(x, lo), hi))
_clip.gradient(_clip_gradient)
_clip.example("f64[2,3]", np.array(-3.0), np.array(3.0))
_clip.example("f64[2,3]", np.array([2.5, 3.0, -4.0]), np.array(4.0))
_clip.example("f64[3]", np.array(-5.0), np.array([-2.5, -3.0, -2.75]))
_clip.example(np.array([np.nan, -9, 9], np.float32), np.float32(-1), np.float32(1))
_clip.example("i32[4]", np.int32(-1), np.int32(1))
_clip.example("f32[0]", "f32[]", "f32[1]")


@explains
def clip(x: Any, lo: Any, hi: Any, name: str | None = None) -> Tensor:
    """``minimum(maximum(x, lo), hi)``; None for a bound is none. NaN stays.

    The slope is 1 where ``lo <= x <= hi``, the bounds included.

    Shapes: ``[...], [...], [...] -> [...]``, broadcast.
    """
    if lo is None or hi is None:
        x = as_tensor(x)
        dtype = x.dtype
        if dtype.is_floating:
            least, most = -np.inf, np.inf
        elif dtype is BOOL:
            least, most = 0, 1
        else:
            info = np.iinfo(dtype.numpy)
            least, most = info.min, info.max
        lo = as_tensor(least, dtype) if lo is None else lo
        hi = as_tensor(most, dtype) if hi is None else hi
    return _clip(x, lo, hi, name=name)


@op("elementwise")
def relu(x: Tensor) -> TensorType:
    """``maximum(0, x)``, whose slope at 0 is 0; -0.0 stays.

    Shapes: ``[...] -> [...]``.
    Raises: DTypeError for bool.
    """
    refuse_bool(x)
    return x.result


relu.evaluate(lambda x: _maximum(x.dtype.type(0), x))
relu.gradient(lambda g, out, x: (where(greater(out, 0.0), g, 0.0),))  # so x need not live on
relu.example("f64[2,3]")
relu.example(np.array([-1, -0.0, 0, 2, np.nan, np.inf, -np.inf], np.float32))
relu.example("i32[0]")


@op("elementwise")
def sign(x: Tensor) -> TensorType:
    """-1, 0 or 1; NaN of NaN.

    Shapes: ``[...] -> [...]``.
    Raises: DTypeError for bool.
    """
    refuse_bool(x)
    return x.result


sign.evaluate(np.sign)
sign.gradient(None)
sign.example(np.array([-2, -0.0, 0, 3, np.nan, -np.inf], np.float32))
sign.example("f64[2,3]", smooth=False)
sign.example("i32[2,3]")
sign.example("u8[0]")


@op("elementwise")
def abs(x: Tensor) -> TensorType:
    """The magnitude; its slope at 0 is 0.

    Shapes: ``[...] -> [...]``.
    """
    return x.result


abs.evaluate(np.abs)
abs.gradient(lambda g, out, x: (g * sign(x),))
abs.example("f64[2,3]")
abs.example(np.array([-0.0, np.nan, -np.inf], np.float32))
abs.example(np.array([-128, -1, 127], np.int8))
abs.example("u8[2]")
abs.example("bool[0]")


@op("elementwise")
def floor(x: Tensor) -> TensorType:
    """The largest whole number that is not above `x`; an integer is its own.

    Shapes: ``[...] -> [...]``.
    """
    return x.result


@op("elementwise")
def ceil(x: Tensor) -> TensorType:
    """The smallest whole number that is not below `x`; an integer is its own.

    Shapes: ``[...] -> [...]``.
    """
    return x.result


@op("elementwise")
def round(x: Tensor) -> TensorType:
    """The nearest whole number, the even one of two; an integer is its own.

    Shapes: ``[...] -> [...]``.
    """
    return x.result


@op("elementwise")
def trunc(x: Tensor) -> TensorType:
    """The nearest whole number towards 0; an integer is its own.

    Shapes: ``[...] -> [...]``.
    """
    return x.result


def _of_floats(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda x: function(x) if x.dtype.kind == "f" else x


floor.evaluate(_of_floats(np.floor))
ceil.evaluate(_of_floats(np.ceil))
round.evaluate(_of_floats(np.rint))
trunc.evaluate(_of_floats(np.trunc))
for _rounding in (floor, ceil, round, trunc):
    _rounding.gradient(None)
    _rounding.example(np.array([-2.5, -1.5, -0.5, -0.0, 0.5, 1.5, 2.5, np.nan, np.inf, 1e30], np.float32))
    _rounding.example("f64[2,3]", smooth=False)
    _rounding.example(np.array([0.5, 1.5, -0.25], np.float16))
    _rounding.example("i32[3]")
    _rounding.example("f32[0]")
