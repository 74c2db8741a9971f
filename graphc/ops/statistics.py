"""Reductions made of several steps: log-sum-exp, variance, deviation, norms."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.attributes import Axes
from graphc.conversion import as_tensor
from graphc.errors import ArgumentError
from graphc.explanation import explains
from graphc.op import op
from graphc.ops.comparison import equal, greater, where
from graphc.ops.elementwise import cast, sqrt, square
from graphc.ops.exponential import exp
from graphc.ops.extremum import abs
from graphc.ops.marker import stop_gradient
from graphc.ops.reduction import kept, max, mean, reduced_type, sum
from graphc.ops.rule import real
from graphc.tensor import Tensor
from graphc.types import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, TensorType


@op("reduction")
def logsumexp(x: Tensor, axis: Axes | None = None, keepdims: bool = False) -> TensorType:
    """``log(sum(exp(x)))`` over `axis`, without overflow: ``m + log(sum(exp(x - m)))``, m the largest.

    Where every element is -inf, or there is none, it is -inf, with a gradient of 0.

    Shapes: ``[..., n, ...] -> [..., ...]``, or ``[..., 1, ...]`` with keepdims.
    Dtypes: floats keep theirs; integers give float64.
    """
    assert axis is not None  # None is spelled out once the rank is known
    return reduced_type(x, axis, keepdims, real(x).dtype)


def _logsumexp(x: Any, axis: Any, keepdims: bool) -> Any:
    wide = x if x.dtype == np.float32 else x.astype(np.float64)
    largest = np.max(wide, axis=axis, keepdims=True, initial=-np.inf)
    shift = np.where(np.isfinite(largest), largest, wide.dtype.type(0))
    total = np.sum(np.exp(wide - shift), axis=axis, dtype=np.float64, keepdims=keepdims)
    result = np.log(total) + (shift if keepdims else np.squeeze(shift, axis))
    return result.astype(x.dtype if x.dtype.kind == "f" else np.float64)


def _logsumexp_gradient(g: Tensor, out: Tensor, x: Tensor, axis: Axes, keepdims: bool) -> tuple[Tensor]:
    # exp(x - out), with 0 for out where every element is -inf, so that the slope there is exp(-inf) = 0
    shift = where(equal(out, float("-inf")), 0.0, out)
    return (kept(g, x, axis) * exp(x - kept(shift, x, axis)),)


logsumexp.evaluate(_logsumexp)
logsumexp.gradient(_logsumexp_gradient)
logsumexp.example("f64[2,3]", axis=(1,))
logsumexp.example("f64[2,3,2]", axis=(0, -1), keepdims=True)
logsumexp.example("f64[4]")
logsumexp.example(
    np.array([[-np.inf, -np.inf], [np.inf, 0], [np.nan, 1], [1000, 1000]], np.float32), axis=(1,)
)
logsumexp.example("f32[0]")
logsumexp.example("f16[3]", axis=())
logsumexp.example("i32[3]")


def _in_float(x: Any) -> Tensor:
    """`x` as a float that can hold sums of squares."""
    x = as_tensor(x)
    if x.dtype in (FLOAT16, BFLOAT16):
        return cast(x, FLOAT32)
    return x if x.dtype.is_floating else cast(x, FLOAT64)


def _as_given(result: Tensor, x: Tensor, name: str | None) -> Tensor:
    """`result`, which `_in_float` of `x` led to, in the dtype of `x` where that is a float."""
    dtype = x.dtype if x.dtype.is_floating else result.dtype
    return result if name is None and dtype is result.dtype else cast(result, dtype, name=name)


@explains
def var(x: Any, axis: Any = None, keepdims: bool = False, name: str | None = None) -> Tensor:
    """The variance over `axis`, ``mean((x - mean(x)) ** 2)``: the divisor is n.

    Shapes: ``[..., n, ...] -> [..., ...]``, or ``[..., 1, ...]`` with keepdims.
    Dtypes: floats keep theirs; integers and bool give float64.
    """
    x = as_tensor(x)
    wide = _in_float(x)
    away = wide - mean(wide, axis=axis, keepdims=True)
    return _as_given(mean(square(away), axis=axis, keepdims=keepdims), x, name)


@explains
def std(x: Any, axis: Any = None, keepdims: bool = False, name: str | None = None) -> Tensor:
    """The standard deviation over `axis`, ``sqrt(var(x))``; its gradient is 0 where it is 0.

    Shapes: ``[..., n, ...] -> [..., ...]``, or ``[..., 1, ...]`` with keepdims.
    Dtypes: floats keep theirs; integers and bool give float64.
    """
    x = as_tensor(x)
    return _as_given(_root(var(_in_float(x), axis, keepdims)), x, name)


def _root(x: Tensor) -> Tensor:
    """``sqrt(x)`` with a gradient of 0 at 0; NaN stays."""
    positive = greater(x, 0.0)
    return where(positive, sqrt(where(positive, x, 1.0)), stop_gradient(x))


@explains
def norm(x: Any, ord: Any = 2, axis: Any = None, keepdims: bool = False, name: str | None = None) -> Tensor:
    """The vector norm over `axis`: `ord` 1 (sum of magnitudes), 2 (Euclidean), inf (largest magnitude).

    The gradient of the Euclidean norm is 0 at 0.

    Shapes: ``[..., n, ...] -> [..., ...]``, or ``[..., 1, ...]`` with keepdims.

    Raises: ArgumentError for another `ord`.
    """
    if ord not in (1, 2, float("inf")):
        raise ArgumentError(f"norm: ord is 1, 2 or inf, not {ord!r}")
    x = as_tensor(x)
    wide = _in_float(x)
    if ord == 2:
        return _as_given(_root(sum(square(wide), axis=axis, keepdims=keepdims)), x, name)
    reduce = sum if ord == 1 else max
    return _as_given(reduce(abs(wide), axis=axis, keepdims=keepdims), x, name)
