"""Attribute values, sizes and types as text: what the text form of a graph writes between the brackets."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np

from graphc import sizes
from graphc.errors import DTypeError
from graphc.freezing import frozen
from graphc.op import Op
from graphc.size_text import format_size
from graphc.sizes import Size, SizeExpr, Symbol
from graphc.tensor import Tensor
from graphc.types import DType, TensorType, TupleType, Type, as_dtype, format_type

INLINE = 16  # arrays of more elements stand beside the text
BARE_NAME = re.compile(r"[\w/.\-]+(?::[\w/.\-]+)*")
_BARE_FILE = re.compile(r"[\w./<>\-+]+")
_NUMBER = re.compile(r"[0-9]+")


@frozen
class Parameter:
    """An attribute that an op takes: the name of its kind, whether None will do, its default."""

    kind: str
    optional: bool
    required: bool
    default: Any


@cache
def parameters(op: Op) -> Mapping[str, Parameter]:
    """The attributes of `op`, in the order of its signature."""
    found = {}
    for name, given in inspect.signature(op.rule).parameters.items():
        kind = str(given.annotation)
        if kind != "Tensor":
            missing = given.default is given.empty
            optional = kind.endswith("| None") or kind == "Any"
            found[name] = Parameter(kind.removesuffix(" | None"), optional, missing, given.default)
    return MappingProxyType(found)


def stated_attributes(node: Tensor) -> Iterator[tuple[str, Any, bool]]:
    """What a text says of the attributes of `node`, in the order of its op's signature.

    Each by its name, its value, and whether that is a shape. None is not said where nothing means it.
    """
    if node.attrs:
        for key, parameter in parameters(node.op).items():
            if key in node.attrs and (node.attrs[key] is not None or parameter.default is not None):
                yield key, node.attrs[key], parameter.kind == "Shape"


def spell_name(name: str) -> str:
    """`name` as it stands behind ``%``: bare where that is clear, else quoted with Python's escapes."""
    return name if BARE_NAME.fullmatch(name) and not _NUMBER.fullmatch(name) else repr(name)


def spell_file(name: str) -> str:
    """`name` of a file as it stands in a location."""
    return name if _BARE_FILE.fullmatch(name) else repr(name)


def is_size(value: object) -> bool:
    """Whether `value` is an int (no bool) or a symbolic size."""
    return isinstance(value, int | SizeExpr) and not isinstance(value, bool)


class Speller:
    """Spells the values of one text: numbers its unknown sizes and keeps its large arrays beside it."""

    def __init__(self) -> None:
        self.data: dict[str, np.ndarray[Any, Any]] = {}
        self.opaque: list[object] = []  # what the text can only hint at
        self._numbers: dict[Symbol, int] = {}
        self._arrays: dict[int, str] = {}
        self._types: dict[int, tuple[Type, str]] = {}  # by identity: chains share their type

    def type(self, type: Type) -> str:
        """``f32[batch,?0]``, ``(f32[], i64[3])``."""
        known = self._types.get(id(type))
        if known is not None:
            return known[1]
        if isinstance(type, TupleType):
            text = "(" + ", ".join(self.type(element) for element in type.elements) + ")"
        elif type.shape is None:
            text = format_type(type)
        else:
            text = f"{type.dtype.code}[{','.join(self.size(size) for size in type.shape)}]"
        self._types[id(type)] = type, text
        return text

    def size(self, size: Size) -> str:
        """``2*batch+1``; unknown sizes are ``?0``, ``?1``, ... in order of first use."""
        if not isinstance(size, SizeExpr):
            return str(size)
        unknown = [s for s in dict.fromkeys(sizes.symbols(size)) if s.name is None]
        if not unknown:
            return format_size(size)
        first = len(self._numbers)
        new = [symbol for symbol in unknown if symbol not in self._numbers]
        for _ in range(len(new) + 1):
            self._numbers.update((symbol, first + i) for i, symbol in enumerate(new))
            renamed = self._renamed(size, unknown)
            seen = list(dict.fromkeys(s.serial for s in sizes.symbols(renamed) if s.name is None))
            order = [serial - first for serial in seen if serial >= first]
            if order == sorted(order) or len(order) < len(new):
                break
            new = [new[i] for i in order]  # terms are sorted by number, so numbering moves them
        return format_size(renamed, lambda symbol: f"?{symbol.serial}")

    def _renamed(self, size: Size, unknown: list[Symbol]) -> Size:
        """`size` with unknowns in the order of their numbers, which the reader gives them again."""
        return sizes.substitute(
            size, {s: SizeExpr((((Symbol(None, self._numbers[s]),), 1),)) for s in unknown}
        )

    def value(self, value: Any, is_shape: bool = False) -> str:
        """Data as text; see the grammar in `graphc.text`."""
        match value:
            case None | bool() | int() | float() | str():
                return repr(value) if type(value) in _PLAIN else repr(_plain(value))
            case DType():
                return value.code
            case SizeExpr():
                return f"size[{self.size(value)}]"
            case TensorType():
                return self.type(value)
            case TupleType():
                return "types" + self.type(value)
            case np.ndarray():
                return self._array(value)
            case np.bool_() | np.integer() | np.floating():
                return repr(value.item())
            case tuple() | list():
                symbolic = is_shape or any(isinstance(item, SizeExpr) for item in value)
                if symbolic and all(map(is_size, value)):
                    return "[" + ",".join(map(self.size, value)) + "]"
                items = [self.value(item) for item in value]
                return "(" + ", ".join(items) + ("," if len(items) == 1 else "") + ")"
        self.opaque.append(value)
        return "!" + repr(getattr(value, "__qualname__", type(value).__qualname__))

    def _array(self, array: np.ndarray[Any, Any]) -> str:
        try:
            dtype = as_dtype(array.dtype)
        except DTypeError:
            self.opaque.append(array)
            return "!" + repr(f"array of {array.dtype}")
        if array.size > INLINE:
            if id(array) not in self._arrays:
                self._arrays[id(array)] = name = f"c{len(self.data)}"
                self.data[name] = array
            return "@" + self._arrays[id(array)]
        elements = map(_spell_float if dtype.is_floating else str, array.ravel())
        return f"{dtype.code}[{','.join(map(str, array.shape))}]{{{', '.join(elements)}}}"


_PLAIN = (type(None), bool, int, float, str)


def _plain(value: Any) -> Any:
    """A value of a subclass (an enum, a NumPy float64) as the plain kind that it refines."""
    return next(kind(value) for kind in (bool, int, float, str) if isinstance(value, kind))


def _spell_float(number: Any) -> str:
    """The shortest text that gives `number` back when it is read as float64 and then rounded."""
    text = str(number)
    with np.errstate(over="ignore"):
        back = number.dtype.type(float(text))
    return text if back == number or number != number else repr(float(number))
