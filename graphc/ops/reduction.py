"""Reductions: sum, mean, max and their kind over some axes, or over all of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc import sizes
from graphc.attributes import Axes, Axis, Number
from graphc.conversion import refuse_lossy
from graphc.errors import DTypeError, ShapeError
from graphc.op import op
from graphc.ops.comparison import equal
from graphc.ops.elementwise import cast
from graphc.ops.filling import zeros_like
from graphc.ops.movement import broadcast_to, reshape
from graphc.ops.sizing import element_count, size
from graphc.tensor import Tensor
from graphc.types import BFLOAT16, BOOL, FLOAT16, FLOAT32, FLOAT64, INT64, UINT64, DType, TensorType


def reduced_type(x: Tensor, axis: Axes, keepdims: bool, dtype: DType) -> TensorType:
    """The type of a reduction of `x` over `axis`."""
    shape = x.result.sizes
    if keepdims:
        return TensorType(dtype, tuple(1 if i in axis else size for i, size in enumerate(shape)))
    return TensorType(dtype, tuple(size for i, size in enumerate(shape) if i not in axis))


def spread(g: Tensor, x: Tensor, axis: Axes | None) -> Tensor:
    """`g`, which has the shape of a reduction of `x` over `axis`, repeated over those axes.

    An `axis` of None is all axes of an `x` whose rank only the run knows.

    Shapes: ``[reduced] -> [...]`` of `x`.
    """
    if axis is None:
        return zeros_like(x) + g
    return broadcast_to(kept(g, x, axis), x.result.sizes)


def kept(g: Tensor, x: Tensor, axis: Axes | None) -> Tensor:
    """`g`, which has the shape of a reduction of `x` over `axis`, with those axes of size 1.

    Where `axis` is None, as in `spread`, it is `g`, which broadcasts alike.

    Shapes: ``[reduced] -> [reduced, with keepdims]``.
    """
    if axis is None:
        return g
    shape = reduced_type(x, axis, True, x.dtype).sizes
    return g if g.result.sizes == shape else reshape(g, shape)


def summed_dtype(dtype: DType) -> DType:
    """The dtype of sums and products of `dtype`: small integers grow, as in NumPy."""
    if dtype.is_floating:
        return dtype
    return UINT64 if dtype.kind == "u" else INT64


@op("reduction")
def sum(x: Tensor, axis: Axes | None = None, keepdims: bool = False) -> TensorType:
    """The sum over `axis`: None is all axes, () none.

    Shapes: ``[..., n, ...] -> [..., ...]``, or ``[..., 1, ...]`` with keepdims.
    Dtypes: floats keep theirs; integers and bool give int64, unsigned ones uint64.
    """
    assert axis is not None  # None is spelled out once the rank is known
    return reduced_type(x, axis, keepdims, summed_dtype(x.dtype))


def _wide(dtype: np.dtype[Any]) -> Any:
    """What sums are held in: NumPy adds pairwise along one axis only, so short floats add in float64."""
    return np.float64 if dtype.kind == "f" else np.uint64 if dtype.kind == "u" else np.int64


def _sum(x: Any, axis: Any, keepdims: bool) -> Any:
    total = np.sum(x, axis=axis, dtype=_wide(x.dtype), keepdims=keepdims)
    return total.astype(x.dtype) if x.dtype.kind == "f" else total


sum.evaluate(_sum)
sum.gradient(lambda g, out, x, axis, keepdims: (spread(g, x, axis),))
sum.example("f64[2,3]", axis=(1,))
sum.example("f64[2,3,4]", axis=(0, -1), keepdims=True)
sum.example("f64[3]")
sum.example("f32[0,2]", axis=(0,))
sum.example("f16[5]")
sum.example("i8[2,3]", axis=())
sum.example("u16[3]")
sum.example("bool[4]")


def _mean_dtype(dtype: DType) -> DType:
    return dtype if dtype.is_floating else FLOAT64


@op("reduction")
def mean(x: Tensor, axis: Axes | None = None, keepdims: bool = False) -> TensorType:
    """The mean over `axis`: None is all axes, () none. Of no elements it is NaN.

    Shapes: ``[..., n, ...] -> [..., ...]``, or ``[..., 1, ...]`` with keepdims.
    Dtypes: floats keep theirs; integers and bool give float64.
    """
    assert axis is not None  # None is spelled out once the rank is known
    return reduced_type(x, axis, keepdims, _mean_dtype(x.dtype))


def _mean(x: Any, axis: Any, keepdims: bool) -> Any:
    total = np.sum(x, axis=axis, dtype=np.float64, keepdims=keepdims)
    axes = (axis,) if isinstance(axis, int) else axis  # as it is given where only the run knows the rank
    average = np.divide(total, x.size if axes is None else sizes.count(x.shape[i] for i in axes))
    return average.astype(x.dtype) if x.dtype.kind == "f" else average


mean.evaluate(_mean)
mean.gradient(lambda g, out, x, axis, keepdims: (spread(divided_by_count(g, x, axis), x, axis),))
mean.example("f64[2,3]", axis=(1,))
mean.example("f64[2,3,4]", axis=(0, -1), keepdims=True)
mean.example("f64[3]")
mean.example("f32[0,2]", axis=(1,))
mean.example("i32[2,3]", axis=())
mean.example("bool[4]")


def divided_by_count(g: Tensor, x: Tensor, axis: Axes | None) -> Tensor:
    """`g` over the number of elements of `x` that a reduction over `axis` joins.

    Shapes: ``[...] -> [...]``.
    """
    if g.dtype in (FLOAT16, BFLOAT16):  # which cannot hold large counts
        return cast(divided_by_count(cast(g, FLOAT32), x, axis), g.dtype)
    if axis is None:
        return g / cast(size(x), g.dtype)
    count = sizes.product(x.result.sizes[i] for i in axis)
    if isinstance(count, int):
        return g / float(count)
    return g / cast(element_count(shape=(count,)), g.dtype)


def _extreme_type(x: Tensor, axis: Axes | None, keepdims: bool, empty: Number | None) -> TensorType:
    assert axis is not None  # None is spelled out once the rank is known
    if empty is None:
        refuse_empty(x, axis)
    else:
        refuse_lossy(empty, x.dtype)
    return reduced_type(x, axis, keepdims, x.dtype)


def refuse_empty(x: Tensor, axis: Axes) -> None:
    """Raises ShapeError where `axis` of `x` is known to be empty and the result is not."""
    empty = [size == 0 for size in x.result.sizes]
    if True in [e for i, e in enumerate(empty) if i in axis] and True not in [
        e for i, e in enumerate(empty) if i not in axis
    ]:
        raise ShapeError(f"of no elements there is none to choose: {x.result} over axes {list(axis)}")


def _evaluated(x: Any, function: Any, **arguments: Any) -> Any:
    try:
        return function(x, **arguments)
    except ValueError:
        raise ShapeError(f"of no elements there is none to choose: shape {list(x.shape)}") from None


def _chosen(x: Any, function: Any, axis: Any, keepdims: bool, empty: Any) -> Any:
    try:
        return _evaluated(x, function, axis=axis, keepdims=keepdims)
    except ShapeError:
        if empty is None:
            raise
        return np.full(np.any(x, axis=axis, keepdims=keepdims).shape, empty, x.dtype)


def _extreme_gradient(
    g: Tensor, out: Tensor, x: Tensor, axis: Axes, keepdims: bool, empty: Number | None
) -> tuple[Tensor]:
    """Shared evenly among the elements that equal the result."""
    chosen = cast(equal(x, kept(out, x, axis)), x.dtype)
    return (chosen * (kept(g, x, axis) / sum(chosen, axis=axis, keepdims=True)),)


@op("reduction", fallible=True)
def max(
    x: Tensor, axis: Axes | None = None, keepdims: bool = False, empty: Number | None = None
) -> TensorType:
    """The largest element over `axis`: None is all axes, () none. NaN where there is one.

    Of no elements it is the number `empty`, where one is given.

    Shapes: ``[..., n, ...] -> [..., ...]``, or ``[..., 1, ...]`` with keepdims.
    Raises: ShapeError for an empty axis without `empty`, at definition if that is known.
    """
    return _extreme_type(x, axis, keepdims, empty)


max.evaluate(lambda x, **attrs: _chosen(x, np.max, **attrs))
max.gradient(_extreme_gradient)


@op("reduction", fallible=True)
def min(
    x: Tensor, axis: Axes | None = None, keepdims: bool = False, empty: Number | None = None
) -> TensorType:
    """The smallest element over `axis`: None is all axes, () none. NaN where there is one.

    Of no elements it is the number `empty`, where one is given.

    Shapes: ``[..., n, ...] -> [..., ...]``, or ``[..., 1, ...]`` with keepdims.
    Raises: ShapeError for an empty axis without `empty`, at definition if that is known.
    """
    return _extreme_type(x, axis, keepdims, empty)


min.evaluate(lambda x, **attrs: _chosen(x, np.min, **attrs))
min.gradient(_extreme_gradient)
for _extreme in (max, min):
    _extreme.example("f64[2,3]", axis=(1,))
    _extreme.example("f64[2,3,2]", axis=(0, -1), keepdims=True)
    _extreme.example("f64[5]")
    _extreme.example(np.array([1.0, np.nan, 3.0], np.float32))
    _extreme.example("i32[2,3]", axis=())
    _extreme.example("f32[0,2]", axis=(1,))
    _extreme.example("bool[4]")
    _extreme.example("f64[1]")
    _extreme.example("f64[2,0]", axis=(1,), empty=-1.5)
    _extreme.example("f64[2,3]", axis=(0,), empty=0.0)


def _truth_type(x: Tensor, axis: Axes | None, keepdims: bool) -> TensorType:
    if x.dtype is not BOOL:
        raise DTypeError(
            f"only bool is true or false, not {x.result}: compare it first, as in gc.not_equal(x, 0)"
        )
    assert axis is not None  # None is spelled out once the rank is known
    return reduced_type(x, axis, keepdims, BOOL)


@op("reduction")
def any(x: Tensor, axis: Axes | None = None, keepdims: bool = False) -> TensorType:
    """Whether some element over `axis` is True; False of none. None is all axes, () none.

    Shapes: ``[..., n, ...] -> [..., ...]``, or ``[..., 1, ...]`` with keepdims.
    Raises: DTypeError for what is not bool.
    """
    return _truth_type(x, axis, keepdims)


@op("reduction")
def all(x: Tensor, axis: Axes | None = None, keepdims: bool = False) -> TensorType:
    """Whether every element over `axis` is True; True of none. None is all axes, () none.

    Shapes: ``[..., n, ...] -> [..., ...]``, or ``[..., 1, ...]`` with keepdims.
    Raises: DTypeError for what is not bool.
    """
    return _truth_type(x, axis, keepdims)


any.evaluate(lambda x, axis, keepdims: np.any(x, axis=axis, keepdims=keepdims))
all.evaluate(lambda x, axis, keepdims: np.all(x, axis=axis, keepdims=keepdims))
for _truth in (any, all):
    _truth.gradient(None)
    _truth.example("bool[2,3]", axis=(1,))
    _truth.example("bool[2,3]", axis=(-2,), keepdims=True)
    _truth.example("bool[0,2]")
    _truth.example("bool[1]", axis=())


def _argument_type(x: Tensor, axis: Axis | None, keepdims: bool) -> TensorType:
    axes = tuple(range(len(x.result.sizes))) if axis is None else (axis,)
    refuse_empty(x, axes)
    return reduced_type(x, axes, keepdims, INT64)


@op("reduction", fallible=True)
def argmax(x: Tensor, axis: Axis | None = None, keepdims: bool = False) -> TensorType:
    """The index of the largest element along `axis`, the first on ties; the first NaN wins.

    None counts through the flattened elements.

    Shapes: ``[..., n, ...] -> [..., ...]``, or ``[..., 1, ...]`` with keepdims.
    Dtypes: int64.
    Raises: ShapeError for an empty axis, at definition if that is known.
    """
    return _argument_type(x, axis, keepdims)


@op("reduction", fallible=True)
def argmin(x: Tensor, axis: Axis | None = None, keepdims: bool = False) -> TensorType:
    """The index of the smallest element along `axis`, the first on ties; the first NaN wins.

    None counts through the flattened elements.

    Shapes: ``[..., n, ...] -> [..., ...]``, or ``[..., 1, ...]`` with keepdims.
    Dtypes: int64.
    Raises: ShapeError for an empty axis, at definition if that is known.
    """
    return _argument_type(x, axis, keepdims)


argmax.evaluate(lambda x, axis, keepdims: _evaluated(x, np.argmax, axis=axis, keepdims=keepdims))
argmin.evaluate(lambda x, axis, keepdims: _evaluated(x, np.argmin, axis=axis, keepdims=keepdims))
for _argument in (argmax, argmin):
    _argument.gradient(None)
    _argument.example("f64[2,3]", axis=1)
    _argument.example("f32[2,3]", axis=-2, keepdims=True)
    _argument.example("i32[2,3]")
    _argument.example(np.array([[1, np.nan, np.nan], [2, 2, 1]], np.float32), axis=1)
    _argument.example("f32[0,2]", axis=1)
    _argument.example("bool[3]", axis=0)
