"""Padding: elements around a tensor, constant or mirrored."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.conversion import as_tensor
from graphc.dynamic_sizes import Witnesses, after_all, as_sizes, is_dynamic, settled
from graphc.errors import ArgumentError, ShapeError
from graphc.explanation import explains
from graphc.ops.elementwise import identity
from graphc.ops.filling import full
from graphc.ops.joining import concat, unstack
from graphc.ops.movement import ensure_shape
from graphc.ops.slicing import embed, slice_axis
from graphc.sizes import Size, maximum
from graphc.tensor import Tensor
from graphc.types import DType
from graphc.variable import Variable

_MODES = ("constant", "reflect", "symmetric")


@explains
def pad(
    x: Any, widths: Any, mode: str = "constant", constant_values: Any = 0, name: str | None = None
) -> Tensor:
    """`x` with ``before`` and ``after`` elements more along each axis.

    Args:
        x: a tensor.
        widths: ``[(before, after), ...]`` for each axis; one pair or one int is for all axes. Tensors
            may be among them, or all of it be one of shape [rank, 2].
        mode: ``"constant"``; ``"reflect"``: mirrored without the edge; ``"symmetric"``: with it.
        constant_values: what a constant pad holds, a scalar.
        name: of the result.

    Shapes: ``[n, ...] -> [before + n + after, ...]``.

    Raises: ShapeError for negative widths, or a mirror of an empty axis; ArgumentError for another mode.
    """
    if mode not in _MODES:
        raise ArgumentError(f"pad: a mode is one of {', '.join(_MODES)}, not {mode!r}")
    tensor = as_tensor(x)
    if tensor.result.shape is None and (rank := _number_of_pairs(widths)) > 1:
        tensor = ensure_shape(tensor, (None,) * rank)
    pairs, witnesses = _pairs(widths, len(tensor.result.sizes))
    if any(isinstance(width, int) and width < 0 for pair in pairs for width in pair):
        raise ShapeError(f"pad: a width is not negative: {pairs}")
    tensor = after_all(tensor, witnesses)
    if mode == "constant" and _is_zero(constant_values, tensor.dtype):
        starts = tuple(before for before, _ in pairs)
        shape = tuple(b + n + a for n, (b, a) in zip(tensor.result.sizes, pairs, strict=True))
        return embed(tensor, shape=shape, starts=starts, steps=(1,) * len(shape), name=name)
    value = as_tensor(constant_values, tensor.dtype) if mode == "constant" else None
    axes = [axis for axis, pair in enumerate(pairs) if pair != (0, 0)]
    if not axes and name is not None:
        return identity(tensor, name=name)
    for axis in axes:
        last = name if axis == axes[-1] else None
        if value is not None:
            tensor = _filled(tensor, axis, pairs[axis], value, last)
        else:
            tensor = _mirrored(tensor, axis, pairs[axis], mode == "symmetric", last)
    return tensor


def _number_of_pairs(widths: Any) -> int:
    """How many axes `widths` has a pair for; 0 where they may be for all axes."""
    if isinstance(widths, list | tuple):
        return len(widths) if all(isinstance(pair, list | tuple) for pair in widths) else 0
    shape: Any = getattr(widths, "shape", None) or ()
    return shape[0] if len(shape) == 2 and isinstance(shape[0], int) else 0


def _is_zero(value: Any, dtype: DType) -> bool:
    """Whether `value` is a 0 of `dtype` without a bit that is set: -0.0 has one."""
    if isinstance(value, Tensor | Variable):
        return False
    array = np.asarray(value)
    if array.dtype.kind not in "biuf" or array.any():
        return False
    return not dtype.is_floating or not np.signbit(array.astype(dtype.numpy)).any()


def _pairs(widths: Any, rank: int) -> tuple[list[tuple[Size, Size]], Witnesses]:
    if isinstance(widths, Tensor | Variable):
        rows = unstack(widths)
        widths = [unstack(row) for row in rows] if rows and rows[0].result.sizes else rows
    if not is_dynamic(widths):
        try:
            array = np.broadcast_to(np.asarray(widths), (rank, 2))
        except ValueError:
            raise ShapeError(f"pad: {widths!r} are no widths for {rank} axes") from None
        if array.dtype.kind not in "iu" and array.size:
            raise ArgumentError(f"pad: widths are whole numbers, not {widths!r}")
        return [(int(before), int(after)) for before, after in array], ()
    if not any(isinstance(pair, list | tuple) for pair in widths):
        widths = [widths] * rank
    if len(widths) != rank or any(len(pair) != 2 for pair in widths):
        raise ShapeError(f"pad: {len(widths)} pairs of widths for {rank} axes")
    found, witnesses = as_sizes([width for pair in widths for width in pair])
    return list(zip(found[::2], found[1::2], strict=True)), witnesses


def _filled(x: Tensor, axis: int, pair: tuple[Size, Size], value: Tensor, name: str | None) -> Tensor:
    x = settled(x)
    shape = x.result.sizes
    before, after = (full((*shape[:axis], width, *shape[axis + 1 :]), value) for width in pair)
    return concat([before, x, after], axis, name=name)


def _mirrored(x: Tensor, axis: int, pair: tuple[Size, Size], edge: bool, name: str | None) -> Tensor:
    from graphc.ops.gathering import gather  # gathering builds on this family

    n = x.result.sizes[axis]
    before, after = pair
    reach = n if edge else n - 1
    if isinstance(n, int) and isinstance(before, int) and isinstance(after, int):
        if n == 0:
            raise ShapeError(f"pad: axis {axis} of {x.type} is empty, and there is nothing to mirror")
        if before > n - (not edge) or after > n - (not edge):  # to and fro, several times
            places = np.pad(np.arange(n), (before, after), mode="symmetric" if edge else "reflect")
            return gather(x, places, axis=axis, name=name)
    first = maximum(before - 1, 0) if edge else before
    head = slice_axis(x, axis, first, before, -1)
    tail = slice_axis(x, axis, maximum(reach - 1, 0), after, -1)
    return concat([head, x, tail], axis, name=name)
