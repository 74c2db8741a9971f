"""Matrix products, and the orthogonal factor of a matrix."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphc import sizes
from graphc.attributes import normalize_axis
from graphc.conversion import promoted
from graphc.errors import ArgumentError, ShapeError
from graphc.explanation import explains
from graphc.op import op
from graphc.ops.contraction import einsum, einsum_of
from graphc.ops.late_rank import may_wait, wait, waits
from graphc.ops.movement import expand_dims, matrix_transpose, of_size, squeeze
from graphc.tensor import Tensor
from graphc.types import TensorType, broadcast


@op("linear", promotes=True)
def matmul(x: Tensor, y: Tensor) -> TensorType:
    """The matrix product over the last two axes, as ``numpy.matmul``.

    The axes before them broadcast. An operand with one axis is a row on the left, a column on the
    right, and that axis is left out of the result. float16 and bfloat16 are summed in float32, where
    bfloat16 below 2**-126 may count as 0 (dot instructions do that); integers wrap.

    Shapes: ``[..., m, k], [..., k, n] -> [..., m, n]``; ``[k], [k, n] -> [n]``; ``[m, k], [k] -> [m]``.
    Raises: ShapeError where the inner sizes differ or an operand has no axes.
    """
    a, b = x.result.sizes, y.result.sizes
    if not a or not b:
        raise ShapeError(f"an operand has no axes, use * for it: {x.type} @ {y.type}")
    if sizes.meet(a[-1], b[-2] if len(b) > 1 else b[0]) is None:
        raise ShapeError(f"inner sizes differ: {x.type} @ {y.type}")
    batch: tuple[sizes.Size, ...] | None = ()
    if len(a) > 2 or len(b) > 2:
        try:
            batch = broadcast(TensorType(x.dtype, a[:-2]), TensorType(x.dtype, b[:-2]))
        except ShapeError:
            raise ShapeError(f"batch axes do not broadcast: {x.type} @ {y.type}") from None
    assert batch is not None
    return TensorType(x.dtype, batch + a[-2:-1] + (b[-1:] if len(b) > 1 else ()))


def _matmul(x: Any, y: Any) -> Any:
    if x.dtype == np.float16:
        return _matmul(x.astype(np.float32), y.astype(np.float32)).astype(np.float16)
    if x.ndim > 2 and y.ndim == 2:  # one large product instead of many small ones
        rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
        return np.matmul(rows, y).reshape(*x.shape[:-1], y.shape[1])
    return np.matmul(x, y)


def _slope(g: Tensor, out: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """``out = x y -> dx = g y^T, dy = x^T g``; operands with one axis are given their second here."""
    match len(x.result.sizes), len(y.result.sizes):
        case 1, 1:
            return g * y, g * x
        case 1, _:
            row = expand_dims(g, -2)
            columns = matmul(row, matrix_transpose(y))
            return squeeze(columns, -2), expand_dims(x, 1) * row
        case _, 1:
            column = expand_dims(g, -1)
            return column * y, einsum_of([("...mk", x), ("...m", g)], "k")
        case many, 2 if many > 2:
            return matmul(g, matrix_transpose(y)), einsum_of([("...mk", x), ("...mn", g)], "kn")
        case 2, many if many > 2:
            return einsum_of([("...mn", g), ("...kn", y)], "mk"), matmul(matrix_transpose(x), g)
    return matmul(g, matrix_transpose(y)), matmul(matrix_transpose(x), g)


matmul.evaluate(_matmul)
matmul.gradient(_slope)
matmul.example("f64[2,3]", "f64[3,4]")
matmul.example("f64[3]", "f64[3]")
matmul.example("f64[3]", "f64[3,2]")
matmul.example("f64[2,3]", "f64[3]")
matmul.example("f64[3]", "f64[2,3,2]")
matmul.example("f64[2,2,3]", "f64[3]")
matmul.example("f64[2,2,3]", "f64[3,2]")
matmul.example("f64[2,3]", "f64[2,3,2]")
matmul.example("f64[2,1,2,3]", "f64[3,3,1]")
matmul.example("f64[1,1]", "f64[1,1]")
matmul.example("f64[2,0]", "f64[0,3]")
matmul.example("f64[2,3,0]", "f64[0,4]")
matmul.example("f32[0,3,2]", "f32[2,4]")
matmul.example("f32[5,4]", "f32[4,3]")
matmul.example("f32[0,4]", "f32[4,3]")
matmul.example("i8[2,3]", "i32[3,2]")
matmul.example("bool[2,3]", "bool[3,2]")
matmul.example("f16[2,3]", "f16[3,2]")


@explains
def tensordot(x: Any, y: Any, axes: Any = 2, name: str | None = None) -> Tensor:
    """The sum of products over several axes of both operands, as ``numpy.tensordot``.

    Args:
        x: the left operand, whose other axes come first in the result.
        y: the right operand.
        axes: how many last axes of `x` meet the first ones of `y`, or two lists of axes that meet.
        name: the name of the result.

    Shapes: ``[a..., k...], [k..., b...] -> [a..., b...]``.

    Raises: ShapeError where sizes that meet differ; ArgumentError for other `axes`.
    """
    left, right = promoted((x, y))
    if waits(left, right):
        return wait("tensordot", (left, right), axes, name=name)
    m, n = len(left.result.sizes), len(right.result.sizes)
    ours, theirs = _paired_axes(axes, m, n)
    letters = iter("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    a = [next(letters) for _ in range(m)]
    b = [next(letters) for _ in range(n)]
    for i, j in zip(ours, theirs, strict=True):
        if sizes.meet(left.result.sizes[i], right.result.sizes[j]) is None:
            raise ShapeError(
                f"tensordot: axis {i} of {left.type} and axis {j} of {right.type} have different sizes"
            )
        b[j], right = a[i], of_size(right, j, left.result.sizes[i])
    kept = [a[i] for i in range(m) if i not in ours] + [b[j] for j in range(n) if j not in theirs]
    return einsum(f"{''.join(a)},{''.join(b)}->{''.join(kept)}", left, right, name=name)


may_wait(tensordot, lambda x, y, axes: np.tensordot(x, y, axes))


def _paired_axes(axes: Any, m: int, n: int) -> tuple[list[int], list[int]]:
    if (count := sizes.as_int(axes)) is not None:
        if not 0 <= count <= min(m, n):
            raise ShapeError(f"tensordot: {count} axes cannot meet of operands with {m} and {n} axes")
        return list(range(m - count, m)), list(range(count))
    try:
        ours, theirs = (list(side) if isinstance(side, list | tuple) else [side] for side in axes)
    except (TypeError, ValueError):
        raise ArgumentError(f"tensordot: axes are a number or two lists, not {axes!r}") from None
    ours, theirs = [normalize_axis(i, m) for i in ours], [normalize_axis(j, n) for j in theirs]
    if len(ours) != len(theirs) or len({*ours}) < len(ours) or len({*theirs}) < len(theirs):
        raise ArgumentError(f"tensordot: axes do not pair up in {axes!r}")
    return ours, theirs


@op("linear")
def orthogonal_factor(x: Tensor) -> TensorType:
    """``q`` of ``x = q r``, the columns of q orthonormal, the diagonal of r not negative.

    Shapes: ``[m, n] -> [m, n]``, m >= n; float32 or float64.
    Raises: ShapeError for another rank or fewer rows than columns.
    """
    shape = x.result.sizes
    if len(shape) != 2 or (isinstance(shape[0], int) and isinstance(shape[1], int) and shape[0] < shape[1]):
        raise ShapeError(f"a matrix with at least as many rows as columns is wanted, not {x.type}")
    if not x.dtype.is_floating:
        raise ArgumentError(f"only floats have orthogonal factors, not {x.dtype}")
    return x.result


def _orthogonal_factor(x: Any) -> Any:
    q, r = np.linalg.qr(x.astype(np.float64))
    return (q * np.where(np.diagonal(r) < 0, -1.0, 1.0)).astype(x.dtype)


orthogonal_factor.evaluate(_orthogonal_factor)
orthogonal_factor.gradient(None)  # a draw of an initializer; nothing flows through it
orthogonal_factor.example("f64[4,3]", smooth=False)
orthogonal_factor.example("f32[3,3]", smooth=False)
