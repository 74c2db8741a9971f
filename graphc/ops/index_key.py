"""What stands between the brackets of ``x[...]``, taken apart."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.conversion import as_tensor
from graphc.errors import ArgumentError, DTypeError, IndexOutOfRangeError, ShapeError
from graphc.freezing import frozen
from graphc.ops.positions import as_indices
from graphc.tensor import Tensor
from graphc.types import BOOL
from graphc.variable import Variable

INT, SLICE, NEW, GAP = "int", "slice", "new", "gap"
SCALAR, ARRAY, MASK = "scalar", "array", "mask"  # an integer tensor without axes, with axes, a bool one
FANCY = (ARRAY, MASK)


@frozen
class Part:
    """One item of a key: its sort, its value, the first axis it speaks of, and of how many.

    GAP is the place of an Ellipsis; the whole slices that it stands for follow it.
    """

    sort: str
    value: Any
    axis: int
    width: int


def parse(x: Tensor, key: Any) -> list[Part]:
    """The parts of `key`, which speak of every axis of `x` once.

    Raises: ShapeError for too many indices; IndexOutOfRangeError; DTypeError; ArgumentError.
    """
    shape = x.result.sizes
    items = key if isinstance(key, tuple) else (key,)
    if sum(item is Ellipsis for item in items) > 1:
        raise ArgumentError("an index may have only one ellipsis (...)")
    sorts = [sort_of(item) for item in items]
    widths = [_width(sort, value) for sort, value in sorts]
    rest = len(shape) - sum(widths)
    if rest < 0:
        raise ShapeError(f"too many indices: {sum(widths)} for the {len(shape)} axes of {x.type}")
    if not any(sort == GAP for sort, _ in sorts) and rest:
        sorts, widths = [*sorts, (GAP, None)], [*widths, 0]
    parts: list[Part] = []
    axis = 0
    for (sort, value), width in zip(sorts, widths, strict=True):
        if sort == INT:
            size = shape[axis]
            if not isinstance(size, int):  # whether it is in range is known at the run
                sort, value = SCALAR, as_tensor(np.int64(value))
            elif not -size <= value < size:
                raise IndexOutOfRangeError(f"index {value} is out of range for axis {axis} of size {size}")
        parts.append(Part(sort, value, axis, width))
        if sort == GAP:
            parts.extend(Part(SLICE, slice(None), axis + i, 1) for i in range(rest))
            axis += rest
        axis += width
    return parts


def _width(sort: str, value: Any) -> int:
    if sort in (NEW, GAP):
        return 0
    return len(value.result.sizes) if sort == MASK else 1


def sort_of(item: Any) -> tuple[str, Any]:
    """What `item` of a key is, and its value: an int, a slice of ints and tensors, or a tensor."""
    if item is None:
        return NEW, None
    if item is Ellipsis:
        return GAP, None
    if isinstance(item, slice):
        step = None if item.step is None else _step(item.step)
        return SLICE, slice(_bound(item.start), _bound(item.stop), step)
    if isinstance(item, int | np.integer) and not isinstance(item, bool):
        return INT, int(item)
    if isinstance(item, str | bytes):
        raise ArgumentError(f"an index is an int, a slice, None, ... or integers, not {item!r}")
    if isinstance(item, np.ndarray) and item.ndim == 0 and item.dtype.kind in "iu":
        return INT, int(item)
    if not isinstance(item, bool | float | Sequence | np.ndarray | np.generic | Tensor | Variable):
        try:
            return INT, operator.index(item)
        except TypeError:
            pass
    value = as_indices(item)
    if value.dtype is BOOL:
        return MASK, value
    if not value.dtype.is_integer:
        shown = repr(item) if isinstance(item, float) else value.type
        raise DTypeError(f"an index is an integer, a slice, None, ... or bool, not {shown}")
    return (SCALAR if value.result.shape == () else ARRAY), value


def _bound(bound: Any) -> Any:
    """A bound of a slice: None, an int, or an integer tensor without axes."""
    if bound is None:
        return None
    if isinstance(bound, Tensor | Variable):
        value = as_tensor(bound)
        if not value.dtype.is_integer:
            raise DTypeError(f"a bound of a slice is an integer, not {value.type}")
        if value.result.shape not in ((), None):
            raise ShapeError(f"a bound of a slice is one integer, not {value.type}")
        return value
    try:
        return operator.index(bound)
    except TypeError:
        raise DTypeError(f"a bound of a slice is an integer, not {bound!r}") from None


def _step(step: Any) -> int:
    try:
        number = operator.index(step)
    except TypeError:
        raise ArgumentError("the step of a slice is an int that is known, not a tensor or another") from None
    if number == 0:
        raise ArgumentError("the step of a slice is not 0")
    return number
