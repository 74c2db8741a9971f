"""Index arrays: what users may write as indices, and the check that they lie within their axis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from graphc import sizes
from graphc.attributes import normalize_axis
from graphc.conversion import as_tensor
from graphc.errors import DTypeError, GraphError, IndexOutOfRangeError, ShapeError
from graphc.explanation import explain, tell_operands
from graphc.location import here
from graphc.sizes import Size
from graphc.tensor import Tensor
from graphc.types import TensorType

Array = np.ndarray[Any, Any]


def as_indices(given: Any) -> Tensor:
    """`given` as a tensor; a list without numbers is one of integers. The dtype is not looked at."""
    if isinstance(given, list | tuple) and np.size(np.empty(_extents(given))) == 0:
        return as_tensor(np.empty(_extents(given), np.int64))
    return as_tensor(given)


def _extents(nested: Any) -> tuple[int, ...]:
    """The sizes of a nested list along its first items."""
    extents = []
    while isinstance(nested, list | tuple):
        extents.append(len(nested))
        if not nested:
            break
        nested = nested[0]
    return tuple(extents)


def require_integer(indices: Any, what: str = "indices are") -> None:
    """Raises DTypeError for indices that are no integers."""
    dtype = indices.type.dtype
    if not dtype.is_integer:
        raise DTypeError(f"{what} integers, not {dtype}")


def require_alike(given: TensorType, wanted: Sequence[Size], what: str) -> None:
    """Raises ShapeError where `given` cannot have the shape `wanted`."""
    shape = given.sizes
    if len(shape) != len(wanted) or any(sizes.meet(a, b) is None for a, b in zip(shape, wanted, strict=True)):
        raise ShapeError(f"{what} must be {TensorType(given.dtype, tuple(wanted))}, not {given}")


def checked(indices: Array, size: int, axis: int) -> Array:
    """`indices` as int64; negative ones count from the end.

    Raises: IndexOutOfRangeError, with the first one that is not in ``-size .. size - 1``.
    """
    if indices.size and (int(indices.max()) >= size or int(indices.min()) < -size):
        outside = next(i for i in indices.ravel().tolist() if not -size <= i < size)
        raise IndexOutOfRangeError(f"index {outside} is out of range for axis {axis} of size {size}")
    return indices.astype(np.int64, copy=False)


def check_known(function: str, x: Tensor, indices: Tensor, axis: int) -> None:
    """Raises IndexOutOfRangeError for constant indices outside an axis of known size."""
    shape = x.result.shape
    if indices.op.name != "constant" or not indices.dtype.is_integer or shape is None:
        return
    with explained(function, x=x):
        axis = normalize_axis(axis, len(shape), x.type)
        size = shape[axis]
        if isinstance(size, int):
            checked(indices.attrs["value"], size, axis)


@contextmanager
def explained(function: str, **operands: Tensor) -> Iterator[None]:
    """Gives errors raised inside their three parts, as a call of an op does."""
    try:
        yield
    except GraphError as error:
        explain(error, function, here(), tell_operands(operands.items()))
        raise
