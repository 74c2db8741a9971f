"""Attributes: axes, permutations, shapes and dtypes, brought to one spelling before a type rule sees them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

from graphc.errors import ArgumentError, ShapeError
from graphc.sizes import Size
from graphc.types import TensorType, as_dtype, as_shape

# What the annotations of attributes mean. (Names, so that a schema reads well.)
Axis = int  # one axis of the first operand; counted from the front afterwards
Axes = tuple[int, ...]  # axes of the first operand, None for all; sorted and counted from the front
Permutation = tuple[int, ...]  # all axes of the first operand in another order; None reverses them
NewAxis = int  # one axis of a result that has one axis more than the first operand
Shape = tuple[Size, ...]
Number = float  # a number of Python's

Converter = Callable[[Any, TensorType | None], Any]


def normalize_axis(axis: Any, rank: int, what: object = None) -> int:
    """`axis` counted from the front. Raises: ShapeError where a value of `rank` has no such axis."""
    index: int | None = None
    with suppress(AttributeError, TypeError):
        index = int(axis.__index__())
    if index is None or isinstance(axis, bool):
        raise ArgumentError(f"an axis is an int, not {axis!r}")
    if not -rank <= index < rank:
        of = f" for {what}" if what is not None else ""
        raise ShapeError(f"axis {index} is out of range{of} with {rank} axes")
    return index % rank


def _axis(given: Any, operand: TensorType | None) -> Any:
    if given is None:
        raise ArgumentError("an axis is an int, not None")
    if operand is None or operand.shape is None:
        return given
    return normalize_axis(given, len(operand.shape), operand)


def _axes(given: Any, operand: TensorType | None) -> Any:
    if operand is None or operand.shape is None:
        return tuple(given) if isinstance(given, list) else given
    rank = len(operand.shape)
    if given is None:
        return tuple(range(rank))
    listed = tuple(given) if isinstance(given, list | tuple) else (given,)
    axes = tuple(sorted(normalize_axis(axis, rank, operand) for axis in listed))
    if len(set(axes)) < len(axes):
        raise ArgumentError(f"an axis is named twice in {given!r}")
    return axes


def _permutation(given: Any, operand: TensorType | None) -> Any:
    if operand is None or operand.shape is None:
        return tuple(given) if isinstance(given, list) else given
    rank = len(operand.shape)
    if given is None:
        return tuple(reversed(range(rank)))
    axes = tuple(normalize_axis(axis, rank, operand) for axis in _sequence(given))
    if sorted(axes) != list(range(rank)):
        raise ShapeError(f"{tuple(given)} does not name each axis of {operand} once")
    return axes


def _sequence(given: Any) -> list[Any]:
    try:
        return list(given)
    except TypeError as error:
        raise ArgumentError(f"the axes in their order are a list: {error}") from None


def _new_axis(given: Any, operand: TensorType | None) -> Any:
    if operand is None or operand.shape is None:
        return given
    return normalize_axis(given, len(operand.shape) + 1, "a result")


def _number(given: Any, _: TensorType | None) -> Any:
    number = given.item() if isinstance(given, np.ndarray | np.generic) and given.ndim == 0 else given
    if not isinstance(number, bool | int | float):
        raise ArgumentError(f"a number is wanted, not {given!r}")
    return number


# By annotation: what is given, and the type of the first operand, or None where that is unknown.
CONVERTERS: dict[str, Converter] = {
    "Axis": _axis,
    "Axes": _axes,
    "Permutation": _permutation,
    "NewAxis": _new_axis,
    "Shape": lambda given, _: as_shape(given),
    "DType": lambda given, _: as_dtype(given),
    "Number": _number,
}


def unless_none(convert: Converter) -> Converter:
    """`convert` for an attribute that may be None; axes that are None are all axes, as it says itself."""
    if convert in (_axes, _permutation):
        return convert
    return lambda given, operand: None if given is None else convert(given, operand)
