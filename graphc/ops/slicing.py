"""Slices: regular parts of an axis, and their adjoint, which places such a part into zeros."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.attributes import Shape, normalize_axis
from graphc.conversion import as_tensor
from graphc.errors import ArgumentError, IndexOutOfRangeError, ShapeError
from graphc.explanation import explains
from graphc.op import op
from graphc.ops.elementwise import identity
from graphc.ops.late_rank import may_wait, wait
from graphc.ops.movement import ensure_shape
from graphc.sizes import Size, floor_divide, maximum, meet, minimum
from graphc.tensor import Tensor
from graphc.types import TensorType

Steps = tuple[int, ...]


@op("movement", fallible=True)
def strided_slice(x: Tensor, *, starts: Shape, sizes: Shape, steps: Steps) -> TensorType:
    """For each axis the elements ``start, start + step, ...``, `size` of them; a step may be negative.

    Shapes: ``[d0, d1, ...] -> sizes``.
    Raises: ShapeError where an element lies outside of `x`; a size known only at the run is checked there.
    """
    _check_slices(x.result, starts, sizes, steps)
    return TensorType(x.dtype, sizes)


def _check_slices(whole: TensorType, starts: Shape, sizes: Shape, steps: Steps) -> None:
    extents = whole.sizes
    if not len(extents) == len(starts) == len(sizes) == len(steps):
        raise ShapeError(
            f"a slice of {whole} has {len(starts)} starts, {len(sizes)} sizes, {len(steps)} steps"
        )
    for axis, (extent, start, count, step) in enumerate(zip(extents, starts, sizes, steps, strict=True)):
        if step == 0:
            raise ArgumentError("the step of a slice is not 0")
        if (start == 0 and count == extent and step == 1) or count == 0:
            continue
        end = start + (count - 1) * step
        if isinstance(end, int) and end < 0:
            inside = False
        elif step > 0:
            inside = meet(maximum(end + 1, extent), extent) is not None
        else:
            inside = not (isinstance(start, int) and isinstance(extent, int)) or start < extent
        if not inside:
            last = end if step > 0 else start
            raise ShapeError(f"the slice reaches index {last} of axis {axis} of {whole}")


def _slices(shape: Any, starts: Any, sizes: Any, steps: Any) -> tuple[Any, ...]:
    """The Python slices; their bounds are checked, since Python would clamp them."""
    slices = []
    for axis, (extent, start, count, step) in enumerate(zip(shape, starts, sizes, steps, strict=True)):
        end = start + (count - 1) * step
        if count < 0:
            raise ShapeError(f"a slice of axis {axis} has {count} elements")
        if count and not (0 <= start < extent and 0 <= end < extent):
            raise IndexOutOfRangeError(
                f"a slice takes indices {start} to {end} of axis {axis}, which is of size {extent}"
            )
        stop = end + (1 if step > 0 else -1)
        slices.append(_python_slice(start, stop if stop >= 0 else None, step) if count else _python_slice(0))
    return tuple(slices)


_python_slice = slice


def _sliced(x: Any, starts: Any, sizes: Any, steps: Any) -> Any:
    return x[_slices(x.shape, starts, sizes, steps)]


strided_slice.evaluate(_sliced)
strided_slice.example("f64[4,3]", starts=(1, 0), sizes=(2, 3), steps=(1, 1))
strided_slice.example("f64[7]", starts=(6,), sizes=(3,), steps=(-3,))
strided_slice.example("f32[3]", starts=(2,), sizes=(3,), steps=(-1,))
strided_slice.example("i32[3]", starts=(3,), sizes=(0,), steps=(1,))
strided_slice.example("bool[1]", starts=(0,), sizes=(1,), steps=(5,))
strided_slice.example("f32[]", starts=(), sizes=(), steps=())


@op("movement", fallible=True)
def embed(x: Tensor, *, shape: Shape, starts: Shape, steps: Steps) -> TensorType:
    """Zeros of `shape` with `x` at ``start, start + step, ...`` of each axis: the adjoint of `strided_slice`.

    Shapes: ``[d0, d1, ...] -> shape``.
    Raises: ShapeError where an element would lie outside.
    """
    whole = TensorType(x.dtype, shape)
    _check_slices(whole, starts, x.result.sizes, steps)
    return whole


def _embedded(x: Any, shape: Any, starts: Any, steps: Any) -> Any:
    result = np.zeros(shape, x.dtype)
    result[_slices(shape, starts, x.shape, steps)] = x
    return result


strided_slice.gradient(
    lambda g, out, x, starts, sizes, steps: (embed(g, shape=x.result.sizes, starts=starts, steps=steps),)
)
embed.evaluate(_embedded)
embed.gradient(
    lambda g, out, x, shape, starts, steps: (
        strided_slice(g, starts=starts, sizes=x.result.sizes, steps=steps),
    )
)
embed.example("f64[2,3]", shape=(4, 3), starts=(1, 0), steps=(2, 1))
embed.example("f64[3]", shape=(7,), starts=(6,), steps=(-3,))
embed.example("i32[0]", shape=(2,), starts=(1,), steps=(1,))
embed.example("f32[]", shape=(), starts=(), steps=())


def slice_bounds(size: Size, start: Size | None, stop: Size | None, step: int | None) -> tuple[Size, Size]:
    """What ``start:stop:step`` of an axis of `size` begins at, and how many elements it takes.

    Bounds are clamped as Python does; negative ints count from the end. Symbolic bounds are not negative.

    Raises: ArgumentError for a step of 0.
    """
    step = 1 if step is None else step
    if step == 0:
        raise ArgumentError("the step of a slice is not 0")
    low: Size = 0 if step > 0 else -1
    high: Size = size if step > 0 else size - 1
    first = _clamped(start, size, low, high) if start is not None else (low if step > 0 else high)
    last = _clamped(stop, size, low, high) if stop is not None else (high if step > 0 else low)
    if step > 0 and isinstance(start, int) and start >= 0:
        first_kept: Size = start  # not clamped: beyond the end the count is 0 all the same
    else:
        first_kept = first
    span = last - first_kept if step > 0 else first - last
    count = floor_divide(_positive(span) + (abs(step) - 1), abs(step))
    return (first if step > 0 else _positive(first), count)


def _clamped(bound: Size, size: Size, low: Size, high: Size) -> Size:
    if isinstance(bound, int) and bound < 0:
        bound = size + bound
        return bound if bound == high else maximum(bound, low)
    return _smaller(bound, high)


def _smaller(x: Size, y: Size) -> Size:
    return x if maximum(x, y) == y else minimum(x, y)


def _positive(size: Size) -> Size:
    return maximum(size, 0)


def slice_axis(
    x: Tensor, axis: int, start: Size, count: Size, step: int = 1, name: str | None = None
) -> Tensor:
    """`count` elements of one axis of `x`, from `start` on; the other axes whole.

    Shapes: ``[..., n, ...] -> [..., count, ...]``.
    """
    shape = x.result.sizes
    axis = normalize_axis(axis, len(shape), x.type)
    starts = tuple(start if i == axis else 0 for i in range(len(shape)))
    counts = tuple(count if i == axis else n for i, n in enumerate(shape))
    steps = tuple(step if i == axis else 1 for i in range(len(shape)))
    return strided_slice(x, starts=starts, sizes=counts, steps=steps, name=name)


@explains
def slice(x: Any, begin: Any, size: Any, name: str | None = None) -> Tensor:
    """For each axis `size` elements from `begin` on; a size of -1 is the rest.

    Shapes: ``[d0, d1, ...] -> size``; both may be tensors or hold some.

    Raises: ShapeError where the slice is not inside of `x`.
    """
    from graphc.dynamic_sizes import after_all, as_sizes, to_end  # builds on this module

    x = as_tensor(x)
    starts, witnesses = as_sizes(begin)
    if x.result.shape is None:
        x = ensure_shape(x, (None,) * len(starts))
    shape = x.result.sizes
    counts, more = as_sizes(to_end(size, begin, x))
    if not len(starts) == len(counts) == len(shape):
        raise ShapeError(f"slice: {len(starts)} begins and {len(counts)} sizes for {x.type}")
    for start, count in zip(starts, counts, strict=True):
        if isinstance(start, int) and start < 0:
            raise ShapeError(f"slice: a begin is not negative: {start}")
        if isinstance(count, int) and count < -1:
            raise ShapeError(f"slice: a size is not negative, or -1 for the rest: {count}")
    counts = tuple(
        n - start if count == -1 else count for n, start, count in zip(shape, starts, counts, strict=True)
    )
    x = after_all(x, (*witnesses, *more))
    return strided_slice(x, starts=starts, sizes=counts, steps=(1,) * len(shape), name=name)


@explains
def flip(x: Any, axis: Any = None, name: str | None = None) -> Tensor:
    """`x` backwards along `axis`, an int or several; None: along all axes.

    Shapes: ``[...] -> [...]``.
    """
    x = as_tensor(x)
    if x.result.shape is None and axis is None:
        return wait("flip", (x,), name=name)
    if x.result.shape is None:
        return _flipped(x, axis if isinstance(axis, list | tuple) else (axis,), name)
    shape = x.result.sizes
    listed = axis if isinstance(axis, list | tuple) else range(len(shape)) if axis is None else (axis,)
    flipped = {normalize_axis(a, len(shape), x.type) for a in listed}
    if len(flipped) < len(listed):
        raise ArgumentError(f"flip: an axis is named twice in {axis!r}")
    starts = tuple(_positive(n - 1) if i in flipped else 0 for i, n in enumerate(shape))
    steps = tuple(-1 if i in flipped else 1 for i in range(len(shape)))
    return strided_slice(x, starts=starts, sizes=shape, steps=steps, name=name)


may_wait(flip, np.flip)


def _flipped(x: Tensor, axes: Sequence[int], name: str | None) -> Tensor:
    """`x`, whose rank only the run knows, backwards along `axes`."""
    from graphc.ops.gathering import _gather  # these build on slices
    from graphc.ops.ranges import arange
    from graphc.ops.sizing import shape

    for axis in axes:
        last = _gather(shape(x), axis, axis=0) - 1
        x = _gather(x, last - arange(last + 1), axis=axis)
    return identity(x, name=name)
