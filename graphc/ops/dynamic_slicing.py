"""Slices whose bounds are tensors: how many elements they take is known at the run."""

from __future__ import annotations

from typing import Any

from graphc.dynamic_sizes import after_all, bind
from graphc.ops.comparison import less, where
from graphc.ops.elementwise import cast
from graphc.ops.extremum import maximum, minimum
from graphc.ops.movement import _reshape
from graphc.ops.sizing import shape
from graphc.ops.slicing import strided_slice
from graphc.sizes import Size
from graphc.tensor import Tensor
from graphc.types import INT64


def is_dynamic(bounds: slice) -> bool:
    """Whether a bound is a tensor."""
    return isinstance(bounds.start, Tensor) or isinstance(bounds.stop, Tensor)


def dynamic_bounds(x: Tensor, axis: int, bounds: slice) -> tuple[Tensor, Size, Size]:
    """`x` after the sizes are bound, where the slice begins, and how many elements it takes.

    Bounds are clamped as Python does: ``i if i >= 0 else i + n``, then into ``0 .. n`` for a positive step
    and into ``-1 .. n - 1`` for a negative one.
    """
    step: int = 1 if bounds.step is None else bounds.step
    n = _size(x, axis)
    low, high = (0, n) if step > 0 else (-1, n - 1)
    first = _clamped(bounds.start, n, low, high, low if step > 0 else high)
    last = _clamped(bounds.stop, n, low, high, high if step > 0 else low)
    span = last - first if step > 0 else first - last
    count = maximum((span + (abs(step) - 1)) // abs(step), 0)
    start, start_witness = bind(maximum(first, 0))
    size, size_witness = bind(count)
    return after_all(x, (start_witness, size_witness)), start, size


def _size(x: Tensor, axis: int) -> Any:
    size = x.result.sizes[axis]
    if isinstance(size, int):
        return size
    return _reshape(strided_slice(shape(x), starts=(axis,), sizes=(1,), steps=(1,)), shape=())


def _clamped(bound: Any, n: Any, low: Any, high: Any, default: Any) -> Any:
    if bound is None:
        return default
    if isinstance(bound, Tensor):
        bound = cast(bound, INT64)
        bound = where(less(bound, 0), bound + n, bound)
    elif bound < 0:
        bound = bound + n
    return maximum(minimum(bound, high), low)
