"""Axis order: the order in which the axes of a value are kept, and what is said with such orders.

An order is a permutation, as `transpose` takes it: a value kept in the order p is ``transpose(value, p)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from graphc.freezing import frozen
from graphc.sizes import Size
from graphc.tensor import Tensor

Order = tuple[int, ...]


@frozen
class Orders:
    """The order of a node's result, and for each operand the order that it is taken in."""

    result: Order
    operands: tuple[Order, ...]


@cache
def identity(rank: int) -> Order:
    """The order in which the axes stand as they are."""
    return tuple(range(rank))


def inverse(order: Order) -> Order:
    """The order that undoes `order`."""
    undone = [0] * len(order)
    for i, axis in enumerate(order):
        undone[axis] = i
    return tuple(undone)


def chained(first: Order, second: Order) -> Order:
    """``transpose(transpose(x, first), second)`` as one order of x."""
    return tuple(first[i] for i in second)


def movement(order: Order, shape: Sequence[Size]) -> Order:
    """`order` without the axes of size 1, which move nothing: orders of equal movement are reshapes apart."""
    return tuple([axis for axis in order if shape[axis] != 1])


def permuted(items: Sequence[Any], order: Order) -> tuple[Any, ...]:
    """`items`, one for each axis, in `order`."""
    return tuple(items[axis] for axis in order)


def plain_orders(node: Tensor) -> Orders:
    """All as it stands."""
    rank = len(node.result.sizes)
    return Orders(identity(rank), tuple(identity(len(x.result.sizes)) for x in node.inputs))
