"""Clipping of gradients, by value and by norm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from graphc.conversion import as_tensor
from graphc.errors import ArgumentError, DTypeError, ShapeError
from graphc.explanation import explains
from graphc.ops import add, clip, isfinite, sqrt, square, where
from graphc.ops import sum as reduce_sum
from graphc.tensor import Tensor, describe
from graphc.types import FLOAT32, promote
from graphc.variable import Variable


def clip_by_value(x: Any, lo: Any, hi: Any) -> Tensor:
    """`x` with what is below `lo` or above `hi` brought to it; NaN stays.

    Shapes: ``[...] -> [...]``.
    """
    return clip(x, lo, hi)


@explains
def clip_by_norm(x: Any, n: Any) -> Tensor:
    """`x` scaled such that its Euclidean norm is at most `n`: ``x n / norm`` where ``norm > n``.

    Shapes: ``[...] -> [...]``. What needs no clipping comes back to the last bit.

    Raises: ArgumentError for a negative `n`; ShapeError for one that is no scalar; DTypeError for an `x`
        that is not float.
    """
    clipped, _ = clip_by_global_norm([as_tensor(x)], n)
    assert clipped[0] is not None
    return clipped[0]


@explains
def clip_by_global_norm(
    xs: Sequence[Any], n: Any, use_norm: Any = None
) -> tuple[list[Tensor | None], Tensor]:
    """`xs` scaled together such that their norm is at most `n`, and the norm that they had.

    Args:
        xs: float tensors; None stays None.
        n: the greatest norm, a number or a scalar tensor.
        use_norm: the norm of `xs` where it is known already.

    Zeros stay zeros. A norm that is NaN or infinite makes every value NaN, so that it is seen.

    Shapes: a list like `xs`, and a scalar.

    Raises: ArgumentError for a negative `n`; ShapeError for one that is no scalar; DTypeError for an x
        that is not float.

    Source: Pascanu et al., 2013.
    """
    norm = global_norm(xs) if use_norm is None else as_tensor(use_norm)
    limit = as_tensor(n, norm.dtype)
    if limit.result.shape not in ((), None):
        raise ShapeError(f"a norm is one number, not {limit.type}")
    if not isinstance(n, Tensor | Variable) and not n >= 0:
        raise ArgumentError(f"a norm is at least 0, not {n!r}")
    scale = where(norm > limit, limit / norm, as_tensor(1.0, norm.dtype))
    scale = where(isfinite(norm), scale, as_tensor(math.nan, norm.dtype))
    clipped = [
        None if x is None else as_tensor(as_tensor(x, norm.dtype) * scale, as_tensor(x).dtype) for x in xs
    ]
    return clipped, norm


@explains
def global_norm(xs: Sequence[Any]) -> Tensor:
    """``sqrt(sum of x**2 over all values of all xs)``; None counts nothing.

    Squares are taken in the widest dtype of `xs`, at least float32.

    Shapes: ``[...], ... -> []``.

    Raises: ArgumentError for what is no list; DTypeError for an x that is not float.
    """
    if not isinstance(xs, list | tuple):
        raise ArgumentError(f"a list of tensors is wanted, not {xs!r}")
    tensors = [as_tensor(x) for x in xs if x is not None]
    dtype = FLOAT32
    for x in tensors:
        if not x.dtype.is_floating:
            raise DTypeError(f"{describe(x)} is {x.type}, and only floats are clipped by norm")
        dtype = promote(dtype, x.dtype)
    total = as_tensor(0.0, dtype)
    for i, x in enumerate(tensors):
        squares = reduce_sum(square(as_tensor(x, dtype)))
        total = squares if i == 0 else add(total, squares)
    return sqrt(total)
