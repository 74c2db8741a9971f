"""Images of another size: the undoing of pooling, and nearest neighbours."""

from __future__ import annotations

from typing import Any

from graphc.conversion import as_tensor
from graphc.dynamic_sizes import after_all, as_sizes, settled
from graphc.errors import ShapeError
from graphc.explanation import explains
from graphc.nn.activation import named
from graphc.nn.padding import as_image, as_layout
from graphc.nn.pooling import number
from graphc.ops import broadcast_to, gather, iota, reshape, scatter_along_axis, transpose
from graphc.tensor import Tensor


@explains
def max_unpool(
    x: Any, indices: Any, output_shape: Any, data_format: str = "NHWC", name: str | None = None
) -> Tensor:
    """Zeros with the elements of `x` where `indices`, as `max_pool_with_argmax` gives them, say.

    Elements with one index add up.

    Args:
        x: pooled images.
        indices: of the shape of `x`: ``row * width + column`` in the plane of each channel.
        output_shape: height and width of the result (or its four sizes); tensors too.
        data_format: ``"NHWC"`` or ``"NCHW"``.
        name: the name of the result.

    Shapes: ``[n, h, w, c], [n, h, w, c] -> [n, h', w', c]``.

    Raises: ShapeError; IndexOutOfRangeError at the run.
    """
    layout = as_layout("max_unpool", data_format)
    x = settled(as_image("max_unpool", x, "x", "the axes n, h, w and c"))
    places = as_image("max_unpool", indices, "indices", "the axes of x")
    shape, witnesses = as_sizes(output_shape)
    if len(shape) not in (2, 4):
        raise ShapeError(f"max_unpool: output_shape is height and width, or four sizes, not {len(shape)}")
    height, width = shape if len(shape) == 2 else tuple(shape[axis] for axis in layout.spatial)
    to_planes = (0, 3, 1, 2) if layout.channel == 3 else (0, 1, 2, 3)
    batch, channels, rows, columns = (x.result.sizes[axis] for axis in to_planes)
    cells = (batch, channels, rows * columns)
    zeros = broadcast_to(as_tensor(0, x.dtype), (batch, channels, height * width))
    planes = scatter_along_axis(
        zeros,
        reshape(transpose(places, to_planes), cells),
        reshape(transpose(after_all(x, witnesses), to_planes), cells),
        axis=2,
    )
    result = reshape(planes, (batch, channels, height, width))
    return named(transpose(result, (0, 2, 3, 1)) if layout.channel == 3 else result, name)


@explains
def resize_nearest(x: Any, size: Any, data_format: str = "NHWC", name: str | None = None) -> Tensor:
    """Images of another height and width; row i of the result is row ``i * h // h'`` of `x`.

    Shapes: ``[n, h, w, c] -> [n, h', w', c]``; the two numbers of `size` may be tensors.

    Raises: ShapeError for another rank or not two sizes.
    """
    layout = as_layout("resize_nearest", data_format)
    x = settled(as_image("resize_nearest", x, "x", "the axes n, h, w and c"))
    wanted, witnesses = as_sizes(size)
    if len(wanted) != 2:
        raise ShapeError(f"resize_nearest: size is height and width, not {len(wanted)} sizes")
    x = after_all(x, witnesses)
    for axis, length in zip(layout.spatial, wanted, strict=True):
        if not isinstance(length, int) or length > 0:
            source = iota(shape=(length,)) * number(x.result.sizes[axis]) // number(length)
            x = gather(x, source, axis=axis)
        else:
            raise ShapeError("resize_nearest: an image has at least one row and one column")
    return named(x, name)
