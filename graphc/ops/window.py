"""Windows: every stretch of an axis that a kernel sees, as a view; and the sum that undoes it."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from graphc import sizes
from graphc.attributes import Axes, Shape
from graphc.errors import ArgumentError, ShapeError
from graphc.op import op
from graphc.sizes import Size
from graphc.tensor import Tensor
from graphc.types import TensorType


def span(size: Size, dilation: int) -> Size:
    """How far a kernel of `size` cells reaches: ``(size - 1) * dilation + 1``."""
    return (size - 1) * dilation + 1


def count_windows(length: Size, size: Size, stride: int, dilation: int) -> Size:
    """How many windows an axis of `length` has: ``(length - span) // stride + 1``."""
    return (length - span(size, dilation)) // stride + 1


@op("window")
def windows(
    x: Tensor, *, axes: Axes, size: Shape, strides: tuple[int, ...], dilations: tuple[int, ...]
) -> TensorType:
    """The windows of `size` along `axes`, `strides` apart, their cells `dilations` apart.

    Each of `axes` counts windows in the result; the axes of the cells in a window follow the last
    of them. The meaning is a view: no element is copied.

    Shapes: ``[n, h, w, c] -> [n, (h - i) / s + 1, (w - j) / s + 1, i, j, c]`` for axes (1, 2).
    Raises: ShapeError where a window is longer than its axis; ArgumentError for strides below 1.
    """
    check_windows(axes, size, strides, dilations)
    return TensorType(x.dtype, _windowed(x.result, axes, size, strides, dilations))


def _windowed(whole: TensorType, axes: Any, size: Any, strides: Any, dilations: Any) -> tuple[Size, ...]:
    """The shape of the windows over `whole`."""
    shape = list(whole.sizes)
    for axis, cells, stride, dilation in zip(axes, size, strides, dilations, strict=True):
        length, reach = shape[axis], span(cells, dilation)
        if isinstance(length, int) and isinstance(reach, int) and reach > length:
            raise ShapeError(f"a window that reaches over {reach} does not fit axis {axis} of {whole}")
        shape[axis] = count_windows(length, cells, stride, dilation)
    last = max(axes) + 1
    return (*shape[:last], *size, *shape[last:])


def check_windows(axes: Any, size: Any, strides: Any, dilations: Any) -> None:
    """Raises ArgumentError for attributes that do not describe windows."""
    if not axes or not len(axes) == len(size) == len(strides) == len(dilations):
        raise ArgumentError(
            f"each of the axes {axes} has a size, a stride and a dilation, not {size}, {strides}, {dilations}"
        )
    for what, numbers in (("stride", strides), ("dilation", dilations)):
        for number in numbers:
            if isinstance(number, bool) or not isinstance(number, int) or number < 1:
                raise ArgumentError(f"a {what} is a whole number from 1 up, not {number!r}")
    if any(isinstance(cells, int) and cells < 1 for cells in size):
        raise ArgumentError(f"a window has at least one cell along each axis, not {size}")


def _windows(x: Any, axes: Any, size: Any, strides: Any, dilations: Any) -> Any:
    if min(size) < 1:
        raise ShapeError(f"a window has at least one cell along each axis, not {tuple(size)}")
    shape, steps = list(x.shape), list(x.strides)
    cell_steps = []
    for axis, cells, stride, dilation in zip(axes, size, strides, dilations, strict=True):
        reach = span(cells, dilation)
        if reach > x.shape[axis]:
            raise ShapeError(
                f"a window that reaches over {reach} does not fit axis {axis} of size {x.shape[axis]}"
            )
        shape[axis] = count_windows(x.shape[axis], cells, stride, dilation)
        cell_steps.append(steps[axis] * dilation)
        steps[axis] *= stride
    last = max(axes) + 1
    shape[last:last] = size
    steps[last:last] = cell_steps
    return np.lib.stride_tricks.as_strided(x, shape, steps, writeable=False)


windows.evaluate(_windows)


def _sum_of_windows(
    g: Tensor, out: Tensor, x: Tensor, *, axes: Any, size: Any, strides: Any, dilations: Any
) -> tuple[Tensor]:
    return (overlap_add(g, shape=x.result.sizes, axes=axes, strides=strides, dilations=dilations),)


windows.gradient(_sum_of_windows)
windows.example("f64[7]", axes=(0,), size=(3,), strides=(1,), dilations=(1,))
windows.example("f64[2,8]", axes=(1,), size=(2,), strides=(3,), dilations=(2,))
windows.example("f64[2,4,5,2]", axes=(1, 2), size=(2, 3), strides=(1, 2), dilations=(1, 1))
windows.example("f64[2,3,5,4]", axes=(2, 3), size=(3, 2), strides=(2, 2), dilations=(2, 1))
windows.example("f32[1,1]", axes=(0, 1), size=(1, 1), strides=(2, 2), dilations=(1, 1))
windows.example("i32[0,6]", axes=(1,), size=(2,), strides=(2,), dilations=(1,))


@op("window")
def overlap_add(
    x: Tensor, *, shape: Shape, axes: Axes, strides: tuple[int, ...], dilations: tuple[int, ...]
) -> TensorType:
    """The sum of windows where they overlap: the adjoint of `windows` over a value of `shape`.

    Shapes: ``[n, h', w', i, j, c] -> shape``, the windows laid out as `windows` gives them.
    Raises: ShapeError where `shape` has not as many windows as `x`.
    """
    last, given = max(axes) + 1, x.result.sizes
    cells = given[last : last + len(axes)]
    check_windows(axes, cells, strides, dilations)
    whole = TensorType(x.dtype, shape)
    expected = _windowed(whole, axes, cells, strides, dilations)
    if len(given) != len(expected) or any(
        sizes.meet(a, b) is None for a, b in zip(given, expected, strict=True)
    ):
        raise ShapeError(f"{whole} has windows of {TensorType(x.dtype, expected)}, not {x.type}")
    return TensorType(x.dtype, shape)


def _overlap_add(x: Any, shape: Any, axes: Any, strides: Any, dilations: Any) -> Any:
    """One addition of a strided slice for each cell of the window."""
    last = max(axes) + 1
    cells = x.shape[last : last + len(axes)]
    wide = np.float32 if x.dtype == np.float16 else x.dtype
    total = np.zeros(shape, wide)
    for cell in itertools.product(*map(range, cells)):
        place = [slice(None)] * len(shape)
        for axis, at, stride, dilation in zip(axes, cell, strides, dilations, strict=True):
            begin = at * dilation
            place[axis] = slice(begin, begin + (x.shape[axis] - 1) * stride + 1, stride)
        part = total[tuple(place)]
        part += x[(slice(None),) * last + cell]
    return total.astype(x.dtype, copy=False)


overlap_add.evaluate(_overlap_add)
overlap_add.gradient(
    lambda g, out, x, shape, axes, strides, dilations: (
        windows(
            g,
            axes=axes,
            size=x.result.sizes[max(axes) + 1 :][: len(axes)],
            strides=strides,
            dilations=dilations,
        ),
    )
)
overlap_add.example("f64[5,3]", shape=(7,), axes=(0,), strides=(1,), dilations=(1,))
overlap_add.example("f64[2,2,2]", shape=(2, 8), axes=(1,), strides=(3,), dilations=(2,))
overlap_add.example("f64[2,3,2,2,3,2]", shape=(2, 4, 5, 2), axes=(1, 2), strides=(1, 2), dilations=(1, 1))
overlap_add.example("f32[0,3,2]", shape=(0, 6), axes=(1,), strides=(2,), dilations=(1,))
overlap_add.example("i32[3,2]", shape=(4,), axes=(0,), strides=(1,), dilations=(1,))
