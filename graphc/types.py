"""What a value is: a dtype and a shape; how dtypes promote and shapes broadcast."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from typing import Any

import numpy as np

from graphc import sizes
from graphc.errors import ArgumentError, DTypeError, ShapeError
from graphc.freezing import frozen
from graphc.size_text import format_size, parse_size
from graphc.sizes import Size, SizeExpr, Symbol
from graphc.suggestion import suggest


class DType:
    """The kind of a number and its width. Equal to its NumPy dtype and to its name.

    `numpy` is how NumPy holds it: bfloat16, which NumPy lacks, is held as float32 whose values are
    rounded to bfloat16 after every op.
    """

    __slots__ = ("code", "itemsize", "kind", "name", "numpy")

    def __init__(self, name: str, code: str, kind: str, itemsize: int, held_as: str = "") -> None:
        self.name, self.code, self.kind, self.itemsize = name, code, kind, itemsize
        self.numpy: np.dtype[Any] = np.dtype(held_as or name)

    @property
    def is_floating(self) -> bool:
        """Whether it is a float of any width."""
        return self.kind == "f"

    @property
    def is_integer(self) -> bool:
        """Whether it is a signed or unsigned integer."""
        return self.kind in "iu"

    @property
    def dtype(self) -> np.dtype[Any]:
        """The NumPy dtype: NumPy reads this where a dtype is wanted."""
        return self.numpy

    def __eq__(self, other: object) -> bool:
        if isinstance(other, DType):
            return self is other
        if isinstance(other, str):
            return other in (self.name, self.code)
        if isinstance(other, np.dtype | type) and self is not BFLOAT16:
            return bool(self.numpy == other)
        return False

    def __hash__(self) -> int:
        return hash(self.name)

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"graphc.{self.name}"

    def __reduce__(self) -> tuple[Callable[[str], DType], tuple[str]]:
        return (as_dtype, (self.name,))


BOOL = DType("bool", "bool", "b", 1)
INT8, INT16, INT32, INT64 = (DType(f"int{n}", f"i{n}", "i", n // 8) for n in (8, 16, 32, 64))
UINT8, UINT16, UINT32, UINT64 = (DType(f"uint{n}", f"u{n}", "u", n // 8) for n in (8, 16, 32, 64))
FLOAT16, FLOAT32, FLOAT64 = (DType(f"float{n}", f"f{n}", "f", n // 8) for n in (16, 32, 64))
BFLOAT16 = DType("bfloat16", "bf16", "f", 2, held_as="float32")

DTYPES = (
    *(BOOL, INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32, UINT64),
    *(FLOAT16, BFLOAT16, FLOAT32, FLOAT64),
)
_BY_NAME = {spelling: dtype for dtype in DTYPES for spelling in (dtype.name, dtype.code)}
_BY_NUMPY = {dtype.numpy: dtype for dtype in DTYPES if dtype is not BFLOAT16}


def as_dtype(spelling: object) -> DType:
    """The dtype that `spelling` means: a name, a NumPy dtype or scalar type, a Python type.

    Raises: DTypeError for what graphc has no dtype for.
    """
    if isinstance(spelling, DType):
        return spelling
    if isinstance(spelling, str) and spelling in _BY_NAME:
        return _BY_NAME[spelling]
    if spelling is None:
        raise DTypeError("a dtype is wanted, not None")
    try:
        held = np.dtype(spelling)  # type: ignore[call-overload]  # any object may come here
        return _BY_NUMPY[held.newbyteorder("=")]
    except (TypeError, KeyError, ValueError):
        known = ", ".join(dtype.name for dtype in DTYPES)
        near = suggest(spelling, _BY_NAME)
        raise DTypeError(f"{spelling!r} is not a dtype of graphc ({known}){near}") from None


@frozen
class TensorType:
    """A dtype and a shape; `shape` is None where even the rank is unknown."""

    dtype: DType
    shape: tuple[Size, ...] | None

    @property
    def rank(self) -> int | None:
        """The number of axes, or None."""
        return None if self.shape is None else len(self.shape)

    @property
    def sizes(self) -> tuple[Size, ...]:
        """The shape, where the rank must be known. Raises: ShapeError where it is not."""
        if self.shape is None:
            raise ShapeError(f"the rank must be known here, and {self} has none: gc.ensure_shape states it")
        return self.shape

    def __str__(self) -> str:
        return format_type(self)

    __repr__ = __str__


@frozen
class TupleType:
    """The types of the several results of one op; no results make it an operation."""

    elements: tuple[TensorType, ...]

    def __str__(self) -> str:
        return format_type(self)

    __repr__ = __str__


Type = TensorType | TupleType
OPERATION = TupleType(())


def format_type(type: Type, spell: Callable[[Symbol], str] | None = None) -> str:
    """`type` as text: ``f32[batch,784]``, ``f32[...]`` for unknown rank, ``(f32[], i64[])``."""
    if isinstance(type, TupleType):
        return "(" + ", ".join(format_type(element, spell) for element in type.elements) + ")"
    if type.shape is None:
        return f"{type.dtype.code}[...]"
    return f"{type.dtype.code}[{','.join(format_size(s, spell) for s in type.shape)}]"


def as_size(given: object) -> Size:
    """The size that a user's `given` means: an int, a name, None (a new unknown), a size."""
    if given is None:
        return sizes.unknown()
    if isinstance(given, SizeExpr):
        return given
    if isinstance(given, str):
        return parse_size(given)
    if (number := sizes.as_int(given)) is not None:
        if number < 0:
            raise ShapeError(f"a size is not negative: {number}")
        sizes.require_countable((number,))
        return number
    raise ArgumentError(f"a size is an int, a name or None, not {given!r}")


def as_shape(given: object) -> tuple[Size, ...] | None:
    """The shape that a user's `given` means: a sequence of sizes, one int, or None."""
    if given is None:
        return None
    if isinstance(given, int | str | SizeExpr) or sizes.as_int(given) is not None:
        return (as_size(given),)
    if not isinstance(given, list | tuple) and (
        not isinstance(given, Iterable) or isinstance(given, Mapping | Set | bytes)
    ):
        raise ArgumentError(f"a shape is a sequence of sizes, not {given!r}")
    try:
        listed = list(given)
    except TypeError as error:  # a tensor, whose elements only the run knows
        raise ArgumentError(f"a shape is a sequence of sizes, and {error}") from None
    return tuple(as_size(size) for size in listed)


# Promotion.

_WIDTHS = {"i": (INT8, INT16, INT32, INT64), "u": (UINT8, UINT16, UINT32, UINT64)}


def promote(x: DType, y: DType) -> DType:
    """The dtype in which values of both dtypes meet, as in NumPy.

    Raises: DTypeError for an integer and a float, and for uint64 and a signed integer, where NumPy
    would silently give float64.
    """
    if x is y or y is BOOL:
        return x
    if x is BOOL:
        return y
    if x.is_floating != y.is_floating:
        number, real = (x, y) if y.is_floating else (y, x)
        raise DTypeError(f"{number} and {real} do not mix: cast one, as in gc.cast(x, {real.name!r})")
    if x.kind == y.kind:
        if {x, y} == {FLOAT16, BFLOAT16}:
            return FLOAT32
        return x if x.itemsize >= y.itemsize else y
    signed, unsigned = (x, y) if x.kind == "i" else (y, x)
    if unsigned.itemsize < signed.itemsize:
        return signed
    if unsigned is UINT64:
        raise DTypeError(f"{x} and {y} have no common integer dtype: cast one of them")
    return _WIDTHS["i"][_WIDTHS["u"].index(unsigned) + 1]


def broadcast(*types: TensorType) -> tuple[Size, ...] | None:
    """The shape in which all `types` meet, as in NumPy; None where a rank is unknown.

    Raises: ShapeError where two sizes cannot meet.
    """
    shape = types[0].shape
    for type in types[1:]:
        if type.shape == () or type.shape == shape:
            continue
        if shape is None or type.shape is None:
            return None
        if shape == ():
            shape = type.shape
            continue
        shape = _broadcast_two(shape, type.shape, types)
    return shape


def _broadcast_two(
    x: tuple[Size, ...], y: tuple[Size, ...], types: tuple[TensorType, ...]
) -> tuple[Size, ...]:
    rank = max(len(x), len(y))
    result = []
    for a, b in zip((1,) * (rank - len(x)) + x, (1,) * (rank - len(y)) + y, strict=True):
        size = sizes.broadcast(a, b)
        if size is None:
            raise ShapeError(f"shapes do not broadcast: {', '.join(map(str, types))}")
        result.append(size)
    return tuple(result)
