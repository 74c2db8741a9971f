"""Pooling: one number for each window of each channel."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphc.conversion import as_tensor
from graphc.dynamic_sizes import settled
from graphc.errors import ArgumentError, ShapeError
from graphc.explanation import explains
from graphc.nn.activation import named
from graphc.nn.padding import (
    Layout,
    Pair,
    Widths,
    as_image,
    as_layout,
    as_pair,
    as_widths,
    image_windows,
    pad_image,
)
from graphc.ops import (
    broadcast_to,
    cast,
    element_count,
    equal,
    expand_dims,
    iota,
    isnan,
    logical_and,
    logical_or,
    max,
    mean,
    min,
    squeeze,
    sum,
    where,
)
from graphc.sizes import Size
from graphc.tensor import Tensor
from graphc.types import BOOL


@explains
def max_pool(
    x: Any,
    size: Any,
    strides: Any = None,
    padding: Any = "VALID",
    data_format: str = "NHWC",
    name: str | None = None,
) -> Tensor:
    """The largest element of each window; NaN where there is one. Padding is never chosen.

    Equal largest elements share the gradient.

    Args:
        x: images, NHWC or NCHW as `data_format` says.
        size: of a window, an int or (height, width).
        strides: an int or (height, width); None is `size`.
        padding: ``"SAME"``, ``"VALID"`` or ``((top, bottom), (left, right))``, as in `conv2d`.
        data_format: ``"NHWC"`` or ``"NCHW"``.
        name: the name of the result.

    Shapes: ``[n, h, w, c] -> [n, h', w', c]``.

    Raises: ShapeError for another rank or windows larger than the image; ArgumentError.
    """
    x, layout, cells, steps, widths = _arguments("max_pool", x, size, strides, padding, data_format)
    seen = image_windows(pad_image(x, layout, widths, _lowest(x)), layout, cells, steps, (1, 1))
    return named(max(seen, axis=_cells(layout)), name)


@explains
def avg_pool(
    x: Any,
    size: Any,
    strides: Any = None,
    padding: Any = "VALID",
    data_format: str = "NHWC",
    name: str | None = None,
) -> Tensor:
    """The mean of each window, over its cells inside the image only.

    Shapes: ``[n, h, w, c] -> [n, h', w', c]``. The arguments are those of `max_pool`.

    Raises: as `max_pool`.
    """
    x, layout, cells, steps, widths = _arguments("avg_pool", x, size, strides, padding, data_format)
    seen = image_windows(pad_image(x, layout, widths), layout, cells, steps, (1, 1))
    if all(n == 0 for pair in widths for n in pair):
        return named(mean(seen, axis=_cells(layout)), name)
    total = sum(seen, axis=_cells(layout))
    real = sum(_inside(x, layout, cells, steps, widths), axis=_cells(layout))
    return named(total / cast(real, total.dtype if total.dtype.is_floating else real.dtype), name)


@explains
def max_pool_with_argmax(
    x: Any,
    size: Any,
    strides: Any = None,
    padding: Any = "VALID",
    data_format: str = "NHWC",
) -> tuple[Tensor, Tensor]:
    """`max_pool`, and where each maximum is: ``row * width + column`` in its channel's plane, int64.

    The first of equal elements is chosen, and it alone is meant by `max_unpool`.

    Shapes: ``[n, h, w, c] -> [n, h', w', c], [n, h', w', c]``. The arguments are those of `max_pool`.

    Raises: as `max_pool`.
    """
    x, layout, cells, steps, widths = _arguments(
        "max_pool_with_argmax", x, size, strides, padding, data_format
    )
    seen = image_windows(pad_image(x, layout, widths, _lowest(x)), layout, cells, steps, (1, 1))
    rows, columns = _cells(layout)
    largest = max(seen, axis=(rows, columns), keepdims=True)
    hit = equal(seen, largest)
    if x.dtype.is_floating:
        hit = logical_or(hit, isnan(seen))
    if any(n != 0 for pair in widths for n in pair):
        hit = logical_and(hit, _inside(x, layout, cells, steps, widths))
    order = np.arange(cells[0] * cells[1], dtype=np.float32).reshape(*cells, *(1,) * (5 - columns))
    place = cast(min(where(hit, order, math.inf), axis=(rows, columns)), "int64")
    values = squeeze(largest, axis=(rows, columns))
    row = _corner(values, layout.spatial[0], steps[0], widths[0][0]) + place // cells[1]
    column = _corner(values, layout.spatial[1], steps[1], widths[1][0]) + place % cells[1]
    return values, row * number(x.result.sizes[layout.spatial[1]]) + column


def number(size: Size) -> Any:
    """`size` for arithmetic with tensors: itself, or an int64 scalar where only the run knows it."""
    return size if isinstance(size, int) else element_count(shape=(size,))


def _corner(pooled: Tensor, axis: int, stride: int, before: Size) -> Tensor:
    """Where the windows along `axis` begin in the image, along that axis of `pooled`."""
    begins = iota(shape=(pooled.result.sizes[axis],)) * stride - number(before)
    return expand_dims(begins, [i for i in range(4) if i != axis])


def _cells(layout: Layout) -> Pair:
    """The axes of the cells among those of the windows."""
    last = layout.spatial[1]
    return last + 1, last + 2


def _inside(x: Tensor, layout: Layout, cells: Pair, strides: Pair, widths: Widths) -> Tensor:
    """Windows that hold True in the image and False in the padding."""
    height, width = (x.result.sizes[axis] for axis in layout.spatial)
    image = broadcast_to(as_tensor(True, BOOL), layout.shape(1, height, width, 1))
    return image_windows(pad_image(image, layout, widths), layout, cells, strides, (1, 1))


def _lowest(x: Tensor) -> Any:
    """What is below every other value of the dtype of `x`."""
    if x.dtype.is_floating:
        return -math.inf
    return False if x.dtype is BOOL else int(np.iinfo(x.dtype.numpy).min)


def _arguments(
    function: str, x: Any, size: Any, strides: Any, padding: Any, data_format: str
) -> tuple[Tensor, Layout, Pair, Pair, Widths]:
    layout = as_layout(function, data_format)
    image = settled(as_image(function, x, "x", "the axes n, h, w and c"))
    cells = as_pair(function, "size", size)
    steps = cells if strides is None else as_pair(function, "strides", strides)
    lengths = tuple(image.result.sizes[axis] for axis in layout.spatial)
    widths = as_widths(function, padding, lengths, cells, steps, (1, 1))
    for n, (before, after), k in zip(lengths, widths, cells, strict=True):
        if any(isinstance(edge, int) and edge >= k for edge in (before, after)):
            raise ArgumentError(f"{function}: a window of {k} cells fits into the padding {padding!r}")
        room = n + before + after - k
        if isinstance(room, int) and room < 0:
            raise ShapeError(f"{function}: a window of {cells} cells does not fit {image.type}")
    return image, layout, cells, steps, widths
