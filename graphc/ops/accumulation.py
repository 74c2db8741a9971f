"""Running sums and products, the product of an axis, and the linear recurrence their slopes need."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.attributes import Axes, Axis
from graphc.conversion import as_tensor
from graphc.errors import ShapeError
from graphc.explanation import explains
from graphc.op import op
from graphc.ops.movement import reshape, transpose
from graphc.ops.reduction import kept, reduced_type, summed_dtype
from graphc.ops.slicing import embed, slice_axis, slice_bounds
from graphc.sizes import meet, product
from graphc.tensor import Tensor
from graphc.types import TensorType


@op("reduction")
def _cumsum(x: Tensor, *, axis: Axis, exclusive: bool = False, reverse: bool = False) -> TensorType:
    """Sums of the elements along `axis` up to each.

    Shapes: ``[...] -> [...]``.
    Dtypes: as `sum`.
    """
    return TensorType(summed_dtype(x.dtype), x.result.shape)


@op("reduction")
def _cumprod(x: Tensor, *, axis: Axis, exclusive: bool = False, reverse: bool = False) -> TensorType:
    """Products of the elements along `axis` up to each.

    Shapes: ``[...] -> [...]``.
    Dtypes: as `sum`.
    """
    return TensorType(summed_dtype(x.dtype), x.result.shape)


def _running(function: Any, neutral: int, wide: bool) -> Callable[..., Any]:
    def meaning(x: Any, axis: int, exclusive: bool, reverse: bool) -> Any:
        dtype = summed(x.dtype)
        along = np.moveaxis(x, axis, 0)[:: -1 if reverse else 1]
        full = function(along, axis=0, dtype=np.float64 if wide and x.dtype.kind == "f" else dtype)
        if exclusive:
            shifted = np.empty_like(full)
            shifted[:1] = neutral
            shifted[1:] = full[:-1]
            full = shifted
        return np.moveaxis(full[:: -1 if reverse else 1], 0, axis).astype(dtype, copy=False)

    return meaning


def summed(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """What NumPy adds and multiplies `dtype` in."""
    if dtype.kind == "f":
        return dtype
    return np.dtype(np.uint64 if dtype.kind == "u" else np.int64)


_cumsum.evaluate(_running(np.cumsum, 0, wide=True))
_cumsum.gradient(
    lambda g, out, x, axis, exclusive, reverse: (
        _cumsum(g, axis=axis, exclusive=exclusive, reverse=not reverse),
    )
)
_cumprod.evaluate(_running(np.cumprod, 1, wide=False))


def _cumprod_gradient(
    g: Tensor, out: Tensor, x: Tensor, axis: int, exclusive: bool, reverse: bool
) -> tuple[Tensor]:
    """``dx[i] = prod(x[:i]) * s[i]``, ``s[i] = g[i] + x[i + 1] * s[i + 1]``: zeros do no harm."""
    before = _cumprod(x, axis=axis, exclusive=True, reverse=reverse)
    following = _shifted(x, axis, forward=reverse)
    flowing = _shifted(g, axis, forward=reverse) if exclusive else g
    return (before * linear_recurrence(following, flowing, axis=axis, reverse=not reverse),)


_cumprod.gradient(_cumprod_gradient)
for _scan in (_cumsum, _cumprod):
    _scan.example("f64[2,3]", axis=1)
    _scan.example("f64[4,2]", axis=0, exclusive=True)
    _scan.example("f64[4]", axis=-1, reverse=True)
    _scan.example("f64[3]", axis=0, exclusive=True, reverse=True)
    _scan.example(np.array([2.0, 0.0, 3.0, 0.0, 5.0]), axis=0)
    _scan.example("f32[0,2]", axis=0, exclusive=True)
    _scan.example("i8[3]", axis=0)
    _scan.example("u8[3]", axis=0, reverse=True)
    _scan.example("bool[1]", axis=0)


@explains
def cumsum(
    x: Any, axis: Any = None, exclusive: bool = False, reverse: bool = False, name: str | None = None
) -> Tensor:
    """Sums of the elements along `axis` up to each; None: of the flattened elements.

    Args:
        x: a tensor.
        axis: an int.
        exclusive: each sum leaves its own element out, so that the first is 0.
        reverse: sums begin at the end.
        name: of the result.

    Shapes: ``[...] -> [...]``. Small integers and bool give int64 (uint64), as in NumPy.
    """
    x, axis = _along(x, axis)
    return _cumsum(x, axis=axis, exclusive=bool(exclusive), reverse=bool(reverse), name=name)


@explains
def cumprod(
    x: Any, axis: Any = None, exclusive: bool = False, reverse: bool = False, name: str | None = None
) -> Tensor:
    """Products of the elements along `axis` up to each; None: of the flattened elements.

    Args:
        x: a tensor.
        axis: an int.
        exclusive: each product leaves its own element out, so that the first is 1.
        reverse: products begin at the end.
        name: of the result.

    Shapes: ``[...] -> [...]``. Small integers and bool give int64 (uint64), as in NumPy.
    """
    x, axis = _along(x, axis)
    return _cumprod(x, axis=axis, exclusive=bool(exclusive), reverse=bool(reverse), name=name)


def _along(x: Any, axis: Any) -> tuple[Tensor, Any]:
    x = as_tensor(x)
    return (reshape(x, (-1,)), 0) if axis is None else (x, axis)


@op("reduction", promotes=True)
def linear_recurrence(a: Tensor, b: Tensor, axis: Axis = 0, reverse: bool = False) -> TensorType:
    """``s[i] = a[i] * s[i - 1] + b[i]`` along `axis`, from ``s[-1] = 0`` on; `reverse` begins at the end.

    Shapes: ``[...], [...] -> [...]``, all alike.
    """
    shapes = zip(a.result.sizes, b.result.sizes, strict=False)
    if len(a.result.sizes) != len(b.result.sizes) or None in [meet(m, n) for m, n in shapes]:
        raise ShapeError(f"factors and summands are of one shape, not {a.result} and {b.result}")
    return b.result


def _recurrence(a: Any, b: Any, axis: int, reverse: bool) -> Any:
    factors, summands = np.moveaxis(a, axis, 0), np.moveaxis(b, axis, 0)
    result = np.empty_like(b)
    values = np.moveaxis(result, axis, 0)
    last: Any = np.zeros(values.shape[1:], b.dtype)
    for i in range(len(values))[:: -1 if reverse else 1]:
        last = values[i] = factors[i] * last + summands[i]
    return result


def _recurrence_gradient(
    g: Tensor, out: Tensor, a: Tensor, b: Tensor, axis: int, reverse: bool
) -> tuple[Tensor, Tensor]:
    following = _shifted(a, axis, forward=reverse)
    flowing = linear_recurrence(following, g, axis=axis, reverse=not reverse)
    return flowing * _shifted(out, axis, forward=not reverse), flowing


linear_recurrence.evaluate(_recurrence)
linear_recurrence.gradient(_recurrence_gradient)
linear_recurrence.example("f64[2,3]", "f64[2,3]", axis=1)
linear_recurrence.example("f64[4]", "f64[4]", axis=-1, reverse=True)
linear_recurrence.example("f32[0]", "f32[0]", axis=0)
linear_recurrence.example("i32[1,2]", "i32[1,2]", axis=0)


def _shifted(x: Tensor, axis: int, forward: bool) -> Tensor:
    """``y[i] = x[i - 1]`` (forward) or ``x[i + 1]``, with 0 where there is none."""
    shape = x.result.sizes
    n = shape[axis]
    second, count = slice_bounds(n, 1, None, 1)
    part = slice_axis(x, axis, 0 if forward else second, count)
    starts = tuple(second if forward and i == axis else 0 for i in range(len(shape)))
    return embed(part, shape=shape, starts=starts, steps=(1,) * len(shape))


@op("reduction")
def prod(x: Tensor, axis: Axes | None = None, keepdims: bool = False) -> TensorType:
    """The product over `axis`: None is all axes, () none.

    Floats are multiplied in float64, so that those of fewer bits overflow where the product itself does; of
    float64 a partial product may overflow, and which ones there are hangs on the backend.

    Shapes: ``[..., n, ...] -> [..., ...]``, or ``[..., 1, ...]`` with keepdims.
    Dtypes: floats keep theirs; integers and bool give int64, unsigned ones uint64.
    """
    assert axis is not None  # None is spelled out once the rank is known
    return reduced_type(x, axis, keepdims, summed_dtype(x.dtype))


def _prod_gradient(g: Tensor, out: Tensor, x: Tensor, axis: Axes, keepdims: bool) -> tuple[Tensor]:
    """The product of the others: that of all before times that of all after, so zeros are fine."""
    shape = x.result.sizes
    if len(axis) == 1:
        return (kept(g, x, axis) * _product_of_others(x, axis[0]),)
    rest = tuple(i for i in range(len(shape)) if i not in axis)
    order = (*rest, *axis)
    moved = transpose(x, axes=order)
    joined = reshape(moved, (*(shape[i] for i in rest), product(shape[i] for i in axis)))
    others = reshape(_product_of_others(joined, len(rest)), moved.result.sizes)
    back = tuple(order.index(i) for i in range(len(shape)))
    return (kept(g, x, axis) * transpose(others, axes=back),)


def _product_of_others(x: Tensor, axis: int) -> Tensor:
    before = _cumprod(x, axis=axis, exclusive=True)
    return before * _cumprod(x, axis=axis, exclusive=True, reverse=True)


def _multiplied(x: Any, axis: Any, keepdims: bool) -> Any:
    floats = x.dtype.kind == "f"
    found = np.prod(x, axis=axis, dtype=np.float64 if floats else summed(x.dtype), keepdims=keepdims)
    return found.astype(x.dtype) if floats else found


prod.evaluate(_multiplied)
prod.gradient(_prod_gradient)
prod.example("f64[2,3]", axis=(1,))
prod.example("f64[2,3,2]", axis=(0, -1), keepdims=True)
prod.example("f64[3]")
prod.example(np.array([[2.0, 0.0, 3.0], [0.0, 5.0, 0.0]]), axis=(1,))
prod.example("f32[0,2]", axis=(0,))
prod.example("i8[2,3]", axis=())
prod.example("u16[3]")
prod.example("bool[4]")
