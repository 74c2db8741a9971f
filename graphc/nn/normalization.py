"""Normalization and dropout."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.conversion import as_tensor
from graphc.errors import ArgumentError, DTypeError
from graphc.explanation import explains
from graphc.nn.activation import named
from graphc.ops import (
    cast,
    greater_equal,
    mean,
    rsqrt,
    shape,
    square,
    squeeze,
    stop_gradient,
    where,
    zeros_like,
)
from graphc.random import uniform
from graphc.tensor import Tensor
from graphc.variable import Variable


@explains
def moments(x: Any, axes: Any = None, keepdims: bool = False) -> tuple[Tensor, Tensor]:
    """The mean and the variance (divisor n) over `axes`.

    The variance is that of the differences from the mean, so a large mean costs no digits.

    Shapes: ``[...] -> [...], [...]`` without `axes`, or with them of size 1.
    """
    x = as_tensor(x)
    center = mean(x, axis=axes, keepdims=True)
    spread = mean(square(x - center), axis=axes, keepdims=True)
    if keepdims:
        return center, spread
    every = tuple(range(len(x.result.sizes))) if axes is None else axes
    return squeeze(center, every), squeeze(spread, every)


def _require_epsilon(function: str, eps: Any) -> None:
    """Raises ArgumentError for a number below 0, or NaN."""
    if isinstance(eps, int | float | np.number) and not eps >= 0:
        raise ArgumentError(f"{function}: eps is at least 0, not {eps!r}")


@explains
def batch_norm(
    x: Any,
    *,
    mean: Any,
    variance: Any,
    scale: Any = None,
    offset: Any = None,
    eps: float = 1e-3,
    name: str | None = None,
) -> Tensor:
    """``(x - mean) / sqrt(variance + eps) * scale + offset``, each broadcast to `x`; no state.

    Shapes: ``[..., c], [c], [c], [c], [c] -> [..., c]``, or any that broadcast.

    Raises: ArgumentError for an `eps` below 0.

    Source: Ioffe, Szegedy, "Batch normalization", ICML 2015.
    """
    x = as_tensor(x)
    _require_epsilon("batch_norm", eps)
    slope = rsqrt(as_tensor(variance, None if isinstance(variance, Tensor | Variable) else x.dtype) + eps)
    if scale is not None:
        slope = slope * scale
    result = (x - mean) * slope
    return named(result if offset is None else result + offset, name)


@explains
def layer_norm(
    x: Any, scale: Any = None, offset: Any = None, eps: float = 1e-5, name: str | None = None
) -> Tensor:
    """`x` with mean 0 and variance 1 over its last axis, times `scale`, plus `offset`.

    Shapes: ``[..., n], [n], [n] -> [..., n]``.

    Raises: ArgumentError for an `eps` below 0.

    Source: Ba, Kiros, Hinton, "Layer normalization", arXiv 1607.06450.
    """
    x = as_tensor(x)
    _require_epsilon("layer_norm", eps)
    center, spread = moments(x, -1, keepdims=True)
    result = (x - center) * rsqrt(spread + eps)
    if scale is not None:
        result = result * scale
    return named(result if offset is None else result + offset, name)


@explains
def dropout(x: Any, rate: Any, seed: int | None = None, name: str | None = None) -> Tensor:
    """Zero with probability `rate`, else ``x / (1 - rate)``: the mean stays.

    `rate` is a number or a scalar tensor; 0 (in evaluation) keeps all.

    Shapes: ``[...] -> [...]``.

    Raises: ArgumentError for a number outside of ``[0, 1]``; DTypeError unless `x` is a float.

    Source: Srivastava et al., "Dropout", JMLR 15 (2014).
    """
    x = as_tensor(x)
    if not x.dtype.is_floating:
        raise DTypeError(f"dropout: a float is wanted, not {x.type}")
    if not isinstance(rate, Tensor | Variable):
        try:
            rate = float("" if isinstance(rate, str) else rate)  # a text is refused, whatever it spells
        except (TypeError, ValueError, OverflowError):
            raise ArgumentError(f"dropout: a rate is a number or a scalar tensor, not {rate!r}") from None
        if not 0 <= rate <= 1:
            raise ArgumentError(f"dropout: a rate lies between 0 and 1, not {rate}")
        if rate in (0, 1):
            return named(x if rate == 0 else zeros_like(x), name)
    else:
        rate = stop_gradient(cast(rate, x.dtype))
    kept = greater_equal(uniform(shape(x), x.dtype, seed=seed), rate)
    return where(kept, x / (1 - rate), 0, name=name)
