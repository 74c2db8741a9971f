"""Weight: how many bytes values take, as NumPy holds them."""

from __future__ import annotations

from math import prod

from graphc.sizes import Size, evaluate, product, symbols
from graphc.types import TensorType, TupleType, Type

GUESS = 32  # stands for a symbolic size where one choice must be made for all sizes


def parts_of(type: Type) -> tuple[TensorType, ...]:
    """The types of the results of an op: one, or those of its tuple."""
    return type.elements if isinstance(type, TupleType) else (type,)


def bytes_of(type: TensorType) -> Size:
    """The bytes of a value; 0 where only the run knows its rank."""
    return 0 if type.shape is None else product(type.shape) * type.dtype.numpy.itemsize


def guess_bytes(size: Size) -> int:
    """`size` with a guess for each of its symbols."""
    if size.__class__ is int:
        return size  # by far the most frequent
    return evaluate(size, dict.fromkeys(symbols(size), GUESS))


def guess_bytes_of(type: TensorType) -> int:
    """The bytes of a value with a guess for each symbol, without a product of symbols."""
    return 0 if type.shape is None else prod(map(guess_bytes, type.shape)) * type.dtype.numpy.itemsize
