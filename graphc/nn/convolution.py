"""Convolution: a contraction of the windows of a padded image with filters.

    y[n, h, w, o] = sum over i, j, c of x[n, h s + i d, w s + j d, c] * filters[i, j, c, o]

(cross-correlation, as every library of neural networks has it). The windows are a view, so a
convolution is padding, a view and one einsum; its gradients follow from theirs, to any order.
"""

from __future__ import annotations

from typing import Any

from graphc import sizes
from graphc.conversion import promoted
from graphc.dynamic_sizes import after_all, as_sizes
from graphc.errors import ArgumentError, ShapeError
from graphc.explanation import explains
from graphc.nn.activation import named
from graphc.nn.padding import (
    Layout,
    Pair,
    as_image,
    as_layout,
    as_pair,
    as_widths,
    image_windows,
    pad_image,
)
from graphc.ops import einsum, overlap_add, reshape, slice
from graphc.ops.movement import of_size
from graphc.ops.window import count_windows, windows
from graphc.size_text import format_size
from graphc.sizes import Size
from graphc.tensor import Tensor


@explains
def conv2d(
    x: Any,
    filters: Any,
    strides: Any = 1,
    padding: Any = "SAME",
    dilations: Any = 1,
    groups: int = 1,
    data_format: str = "NHWC",
    name: str | None = None,
) -> Tensor:
    """The convolution of images with filters.

    Args:
        x: images, NHWC or NCHW as `data_format` says.
        filters: HWIO whatever the `data_format`: height, width, channels in / groups, channels out.
        strides: an int or (height, width).
        padding: ``"SAME"`` (as many windows as ``ceil(size / stride)``, the odd cell of zeros at the end),
            ``"VALID"`` (none), or ``((top, bottom), (left, right))``.
        dilations: how far the cells of a window are apart, an int or (height, width).
        groups: into how many parts the channels are divided; each sees its own filters only.
        data_format: ``"NHWC"`` or ``"NCHW"``.
        name: the name of the result.

    Shapes: ``[n, h, w, c], [i, j, c / groups, o] -> [n, h', w', o]``.

    Raises: ShapeError for other ranks, channels that do not fit, windows larger than the image;
        ArgumentError for strides below 1 and other `padding`.
    """
    layout = as_layout("conv2d", data_format)
    x, filters = _operands("conv2d", x, filters, "height, width, in / groups, out")
    *cells, inputs, outputs = filters.result.sizes
    strides, dilations = as_pair("conv2d", "strides", strides), as_pair("conv2d", "dilations", dilations)
    count = sizes.as_int(groups)
    if count is None or count < 1:
        raise ArgumentError(f"conv2d: groups is a whole number from 1 up, not {groups!r}")
    groups = count
    channels = x.result.sizes[layout.channel]
    if sizes.meet(channels, inputs * groups) is None:
        of = f" in {groups} groups" if groups > 1 else ""
        raise ShapeError(f"conv2d: the channels differ{of}: {x.type} and filters {filters.type}")
    if isinstance(outputs, int) and outputs % groups:
        raise ShapeError(f"conv2d: {groups} groups do not divide the {outputs} channels of {filters.type}")
    x = of_size(x, layout.channel, inputs * groups)
    padded = _padded("conv2d", x, layout, tuple(cells), strides, padding, dilations)
    if groups == 1:
        seen = image_windows(padded, layout, tuple(cells), strides, dilations)
        return einsum(f"{layout.spelled('c', 'ij')},ijco->{layout.spelled('o')}", seen, filters, name=name)
    parts = outputs // groups
    axes = tuple(axis + (axis > layout.channel) for axis in layout.spatial)
    split = _with_axis(padded, layout.channel, groups, inputs)
    seen = windows(split, axes=axes, size=tuple(cells), strides=strides, dilations=dilations)
    weights = reshape(filters, (*cells, inputs, groups, parts))
    equation = f"{layout.spelled('gc', 'ij')},ijcgo->{layout.spelled('go')}"
    return named(_merged(einsum(equation, seen, weights), layout.channel, outputs), name)


@explains
def depthwise_conv2d(
    x: Any,
    filters: Any,
    strides: Any = 1,
    padding: Any = "SAME",
    dilations: Any = 1,
    data_format: str = "NHWC",
    name: str | None = None,
) -> Tensor:
    """The convolution of each channel with filters of its own.

    Channel ``c * m + k`` of the result is channel c under its filter number k.

    Shapes: ``[n, h, w, c], [i, j, c, m] -> [n, h', w', c * m]``. Other arguments are those of `conv2d`.

    Raises: as `conv2d`.
    """
    function = "depthwise_conv2d"
    layout = as_layout(function, data_format)
    x, filters = _operands(function, x, filters, "height, width, channels, multiplier")
    *cells, inputs, multiplier = filters.result.sizes
    strides, dilations = as_pair(function, "strides", strides), as_pair(function, "dilations", dilations)
    if sizes.meet(x.result.sizes[layout.channel], inputs) is None:
        raise ShapeError(f"{function}: the channels differ: {x.type} and filters {filters.type}")
    x = of_size(x, layout.channel, inputs)
    padded = _padded(function, x, layout, tuple(cells), strides, padding, dilations)
    seen = image_windows(padded, layout, tuple(cells), strides, dilations)
    made = einsum(f"{layout.spelled('c', 'ij')},ijcm->{layout.spelled('cm')}", seen, filters)
    return named(_merged(made, layout.channel, inputs * multiplier), name)


@explains
def conv2d_transpose(
    x: Any,
    filters: Any,
    output_shape: Any,
    strides: Any = 1,
    padding: Any = "SAME",
    dilations: Any = 1,
    data_format: str = "NHWC",
    name: str | None = None,
) -> Tensor:
    """The gradient of `conv2d` towards its images, as a function: each cell of `x` paints its filter.

    Args:
        x: what such a convolution would give.
        filters: height, width, channels out, channels in: those of the convolution.
        output_shape: the shape of its images, four sizes; a tensor or a list that may hold some.
        strides: of the convolution.
        padding: of the convolution.
        dilations: of the convolution.
        data_format: of `x` and of `output_shape`.
        name: the name of the result.

    Shapes: ``[n, h, w, in], [i, j, out, in] -> output_shape``, which is ``[n, h', w', out]``.

    Raises: ShapeError where a convolution of `output_shape` would not have the shape of `x`.
    """
    function = "conv2d_transpose"
    layout = as_layout(function, data_format)
    x, filters = _operands(function, x, filters, "height, width, out, in")
    *cells, outputs, inputs = filters.result.sizes
    strides, dilations = as_pair(function, "strides", strides), as_pair(function, "dilations", dilations)
    if sizes.meet(x.result.sizes[layout.channel], inputs) is None:
        raise ShapeError(f"{function}: the channels differ: {x.type} and filters {filters.type}")
    x = of_size(x, layout.channel, inputs)
    shape, witnesses = as_sizes(output_shape)
    if len(shape) != 4:
        raise ShapeError(f"{function}: output_shape has four sizes, not {len(shape)}")
    lengths = tuple(shape[axis] for axis in layout.spatial)
    widths = as_widths(function, padding, lengths, tuple(cells), strides, dilations)
    whole = [n + before + after for n, (before, after) in zip(lengths, widths, strict=True)]
    counts = [count_windows(*each) for each in zip(whole, cells, strides, dilations, strict=True)]
    expected = layout.shape(shape[0], counts[0], counts[1], inputs)
    if any(sizes.meet(a, b) is None for a, b in zip(x.result.sizes, expected, strict=True)) or (
        sizes.meet(shape[layout.channel], outputs) is None
    ):
        wanted = ",".join(map(format_size, shape))
        raise ShapeError(
            f"{function}: output_shape [{wanted}] does not fit {x.type} and filters {filters.type}"
        )
    x = after_all(x, witnesses)
    spread = einsum(f"{layout.spelled('a')},ijba->{layout.spelled('b', 'ij')}", x, filters)
    padded = layout.shape(x.result.sizes[0], whole[0], whole[1], outputs)
    painted = overlap_add(spread, shape=padded, axes=layout.spatial, strides=strides, dilations=dilations)
    if list(whole) == list(lengths):
        return named(painted, name)
    begin = layout.shape(0, widths[0][0], widths[1][0], 0)
    size = layout.shape(x.result.sizes[0], lengths[0], lengths[1], outputs)
    return slice(painted, begin, size, name=name)


def _operands(function: str, x: Any, filters: Any, axes: str) -> tuple[Tensor, Tensor]:
    """Images and filters, of one dtype and of four axes each."""
    images, weights = promoted((x, filters))
    return (
        as_image(function, images, "x", "the axes n, h, w and c"),
        as_image(function, weights, "filters", f"the axes {axes}"),
    )


def _padded(
    function: str,
    x: Tensor,
    layout: Layout,
    cells: tuple[Size, ...],
    strides: Pair,
    padding: Any,
    dilations: Pair,
) -> Tensor:
    """The padded images, which have windows."""
    lengths = tuple(x.result.sizes[axis] for axis in layout.spatial)
    widths = as_widths(function, padding, lengths, cells, strides, dilations)
    for n, pair, k, d in zip(lengths, widths, cells, dilations, strict=True):
        room = n + pair[0] + pair[1] - ((k - 1) * d + 1)
        if isinstance(room, int) and room < 0:
            raise ShapeError(f"{function}: a filter of {cells[0]} x {cells[1]} cells does not fit {x.type}")
    return pad_image(x, layout, widths)


def _with_axis(x: Tensor, axis: int, groups: int, size: Size) -> Tensor:
    """`x` with `axis` as two: `groups` of `size`."""
    shape = x.result.sizes
    return reshape(x, (*shape[:axis], groups, size, *shape[axis + 1 :]))


def _merged(x: Tensor, axis: int, size: Size) -> Tensor:
    """`x` with `axis` and the one after it as one of `size`."""
    shape = x.result.sizes
    return reshape(x, (*shape[:axis], size, *shape[axis + 2 :]))
