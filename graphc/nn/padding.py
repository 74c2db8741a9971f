"""What convolution and pooling share: images of either layout, windows, padding."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc import sizes
from graphc.conversion import as_tensor
from graphc.errors import ArgumentError, ShapeError
from graphc.freezing import frozen
from graphc.ops import broadcast_to, concat, embed, ensure_shape, windows
from graphc.ops.window import span
from graphc.sizes import Size
from graphc.tensor import Tensor

Pair = tuple[int, int]
Widths = tuple[tuple[Size, Size], tuple[Size, Size]]  # before and after, of height and of width


@frozen
class Layout:
    """Where the axes of an image are. The letters are those of the equations: n, h, w and c."""

    letters: str

    @property
    def spatial(self) -> Pair:
        """The axes of height and width."""
        return (1, 2) if self.letters == "nhwc" else (2, 3)

    @property
    def channel(self) -> int:
        """The axis of channels."""
        return self.letters.index("c")

    def shape(self, batch: Size, height: Size, width: Size, channels: Size) -> tuple[Size, ...]:
        """A shape in this layout."""
        return tuple({"n": batch, "h": height, "w": width, "c": channels}[x] for x in self.letters)

    def spelled(self, channels: str, cells: str = "") -> str:
        """The axes as a term of an equation: `channels` for c, `cells` after the width."""
        return self.letters.replace("c", channels).replace("w", "w" + cells)


def as_layout(function: str, data_format: object) -> Layout:
    """The layout that ``"NHWC"`` or ``"NCHW"`` means."""
    if data_format not in ("NHWC", "NCHW"):
        raise ArgumentError(f'{function}: data_format is "NHWC" or "NCHW", not {data_format!r}')
    return Layout(str(data_format).lower())


def as_image(function: str, x: Any, what: str = "x", axes: str = "4 axes") -> Tensor:
    """`x` as a tensor of four axes. Raises: ShapeError where it has others."""
    tensor = as_tensor(x)
    if tensor.result.shape is None:
        return ensure_shape(tensor, (None,) * 4)
    if len(tensor.result.shape) != 4:
        raise ShapeError(f"{function}: {what} has {axes}, and {tensor.type} has not")
    return tensor


def as_pair(function: str, what: str, given: object) -> Pair:
    """One number for height and width, or a pair. Raises: ArgumentError for numbers below 1."""
    pair = [sizes.as_int(n) or 0 for n in (given if isinstance(given, list | tuple) else (given, given))]
    if len(pair) != 2 or min(pair) < 1:
        raise ArgumentError(f"{function}: {what} is a whole number from 1 up, or two of them, not {given!r}")
    return pair[0], pair[1]


def as_widths(
    function: str,
    padding: object,
    lengths: tuple[Size, ...],
    cells: tuple[Size, ...],
    strides: Pair,
    dilations: Pair,
) -> Widths:
    """How much is padded before and after height and width.

    ``"SAME"`` gives ``ceil(length / stride)`` windows, the odd cell of padding at the end; ``"VALID"``
    pads nothing; else two pairs of ints.
    """
    if isinstance(padding, str) and padding.upper() == "VALID":
        return ((0, 0), (0, 0))
    if isinstance(padding, str) and padding.upper() == "SAME":
        height, width = (
            _same(n, span(k, d), s) for n, k, s, d in zip(lengths, cells, strides, dilations, strict=True)
        )
        return height, width
    pairs = np.asarray(padding, object)
    whole = [-1 if (n := sizes.as_int(given)) is None else n for given in pairs.ravel()]
    if pairs.shape != (2, 2) or min(whole) < 0:
        raise ArgumentError(
            f'{function}: padding is "SAME", "VALID" or ((top, bottom), (left, right)) '
            f"in whole numbers from 0 up, not {padding!r}"
        )
    top, bottom, left, right = whole
    return ((top, bottom), (left, right))


def _same(length: Size, reach: Size, stride: int) -> tuple[Size, Size]:
    """``max((ceil(length / stride) - 1) * stride + reach - length, 0)`` cells, halved."""
    total = ((length - 1) // stride) * stride + reach - length
    if not (isinstance(reach, int) and reach >= stride):  # else the sum is never negative
        total = 0 if reach == 1 else sizes.maximum(total, 0)
    before = total // 2
    return before, total - before


def pad_image(x: Tensor, layout: Layout, widths: Widths, value: Any = 0) -> Tensor:
    """`x` with `value` around height and width."""
    if all(n == 0 for pair in widths for n in pair):
        return x
    shape = list(x.result.sizes)
    if isinstance(value, int) and value == 0:
        starts: list[Size] = [0] * 4
        for axis, (before, after) in zip(layout.spatial, widths, strict=True):
            starts[axis] = before
            shape[axis] = shape[axis] + before + after
        return embed(x, shape=tuple(shape), starts=tuple(starts), steps=(1,) * 4)
    filler = as_tensor(value, x.dtype)
    for axis, (before, after) in zip(layout.spatial, widths, strict=True):
        shape = list(x.result.sizes)
        parts = []
        for n in (before, after):
            shape[axis] = n
            parts.append([] if n == 0 else [broadcast_to(filler, tuple(shape))])
        if any(parts):
            x = concat([*parts[0], x, *parts[1]], axis=axis)
    return x


def image_windows(
    x: Tensor, layout: Layout, cells: tuple[Size, ...], strides: Pair, dilations: Pair
) -> Tensor:
    """The windows over height and width; the axes of their cells follow the width."""
    return windows(x, axes=layout.spatial, size=cells, strides=strides, dilations=dilations)
