"""The text form of a graph cut into tokens, and the values that they spell. Nothing is ever evaluated."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np

from graphc import sizes
from graphc.errors import FormatError, GraphError
from graphc.literals import BARE_NAME
from graphc.size_text import parse_size
from graphc.sizes import Size, SizeExpr
from graphc.types import DTYPES, TensorType, TupleType, Type

DTYPE_OF_CODE = {dtype.code: dtype for dtype in DTYPES}
_STRING = r"'[^'\\]*(?:\\.[^'\\]*)*'|\"[^\"\\]*(?:\\.[^\"\\]*)*\""
_TOKEN = re.compile(
    "|".join(
        f"(?P<{kind}>{pattern})"
        for kind, pattern in {
            "ref": rf"%(?:{BARE_NAME.pattern}|{_STRING})",
            "type": rf"(?:{'|'.join(DTYPE_OF_CODE)})\[[^\]]*\]",
            "size": r"size\[[^\]]*\]",
            "shape": r"\[[^\]]*\]",
            "number": r"-?(?:inf\b|[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?)",
            "word": r"[^\W\d]\w*",
            "string": _STRING,
            "data": r"@\w+",
            "opaque": rf"!(?:{_STRING})",
            "comment": r"\#.*",
            "mark": r"[(){},:=]",
            "bad": r"\S",
        }.items()
    )
)
_PLACE = re.compile(rf"#\s*({_STRING}|[\w./<>\-+]+):([0-9]{{1,9}})(\s+\(backward\))?\s*")
_UNKNOWN = re.compile(r"\?([0-9]{1,9})")
_WORDS = {"None": None, "True": True, "False": False, "nan": float("nan"), "inf": float("inf")}
_MAX_NESTING = 32  # of tuples in a value
_MAX_SIZE_TEXT = 2000
_MAX_TERMS = 5000  # of a size, multiplied out
_LARGEST = 2**64

Token = tuple[str, str]


class Reader:
    """A text, line by line, as tokens; each method takes what it names or raises FormatError.

    Args:
        text: the text of one graph.
        data: the large arrays beside it, by name.
    """

    def __init__(self, text: str, data: Mapping[str, Any]) -> None:
        self.line = 0
        self._lines = text.split("\n")
        self._data = data
        self._tokens: list[Token] = []
        self._at = 0
        self._arrays: dict[str, np.ndarray[Any, Any]] = {}
        self._types: dict[str, TensorType] = {}
        numbers = sorted({int(digits) for digits in _UNKNOWN.findall(text)})
        self._unknowns: dict[str, SizeExpr] = {str(number): sizes.unknown() for number in numbers}
        self._spelling = {sizes.sole_symbol(u): f"?{n}" for n, u in self._unknowns.items()}

    def fail(self, message: str) -> NoReturn:
        """Raises FormatError with the line."""
        raise FormatError(f"line {self.line}: {message}")

    def spell(self, symbol: sizes.Symbol) -> str:
        """How the text spells an unknown size."""
        return self._spelling.get(symbol, "?")

    # Tokens.

    def next_line(self) -> bool:
        """Goes to the next line that holds more than a comment; False at the end."""
        while self.line < len(self._lines):
            tokens = [(m.lastgroup or "", m.group()) for m in _TOKEN.finditer(self._lines[self.line])]
            self.line += 1
            if tokens and tokens[0][0] != "comment":
                self._tokens, self._at = tokens, 0
                return True
        return False

    @property
    def kind(self) -> str:
        """The kind of the next token; empty at the end of the line."""
        return self._tokens[self._at][0] if self._at < len(self._tokens) else ""

    def peek(self, text: str) -> bool:
        """Whether the next token is `text`."""
        return self._at < len(self._tokens) and self._tokens[self._at][1] == text

    def take(self, kind: str, what: str) -> str:
        """The next token, which must be of `kind`."""
        if self.kind != kind:
            self.fail(f"{what} is wanted, not {self._found()}")
        self._at += 1
        return self._tokens[self._at - 1][1]

    def accept(self, text: str) -> bool:
        """Takes the next token if it is `text`."""
        found = self.peek(text)
        self._at += found
        return found

    def expect(self, text: str) -> None:
        """Takes the next token, which must be `text`."""
        if not self.accept(text):
            self.fail(f"{text!r} is wanted, not {self._found()}")

    def end_line(self) -> None:
        """The line must end here, but for a comment."""
        if self.kind not in ("", "comment"):
            self.fail(f"the line goes on with {self._found()}")

    def place(self) -> tuple[str, int, bool] | None:
        """File, line and backward mark, where the line ends with them; the line must end here."""
        self.end_line()
        found = _PLACE.fullmatch(self._tokens[self._at][1]) if self.kind else None
        if found is None:
            return None
        file = found[1]
        return (self.unquote(file) if file[0] in "'\"" else file), int(found[2]), bool(found[3])

    def _found(self) -> str:
        if not self.kind:
            return "the end of the line"
        text = self._tokens[self._at][1]
        return repr(text if len(text) <= 40 else text[:37] + "...")

    # What tokens spell.

    def unquote(self, text: str) -> str:
        """The string that a Python string literal spells."""
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            self.fail(f"{text[:40]} is not a string")
        assert isinstance(value, str)
        return value

    def ref(self) -> str | int:
        """The name behind ``%``, or the number."""
        text = self.take("ref", "a name such as %x")[1:]
        if text[0] in "'\"":
            text = self.unquote(text)
            try:
                text.encode()
            except UnicodeEncodeError:
                self.fail(f"the name {text!r} is not valid Unicode")
            if not text:
                self.fail("a name is not empty")
            return text
        if text.isascii() and text.isdigit():
            if len(text) > 9:
                self.fail(f"%{text[:20]}... is too large a number")
            return int(text)
        return text

    def type(self) -> Type:
        """A type, or several in brackets."""
        if not self.accept("("):
            return self._tensor_type(self.take("type", "a type such as f32[2,3]"))
        elements: list[TensorType] = []
        while not self.accept(")"):
            if elements:
                self.expect(",")
            elements.append(self._tensor_type(self.take("type", "a type")))
        return TupleType(tuple(elements))

    def _tensor_type(self, text: str) -> TensorType:
        found = self._types.get(text)
        if found is None:
            code, _, inside = text[:-1].partition("[")
            shape = None if inside.strip() == "..." else self._shape(inside)
            if shape is not None and any(isinstance(size, int) and size < 0 for size in shape):
                self.fail(f"a size is not negative: {text[:40]}")
            found = self._types[text] = TensorType(DTYPE_OF_CODE[code], shape)
        return found

    def _shape(self, inside: str) -> tuple[Size, ...]:
        if not inside.strip():
            return ()
        parts, depth = [""], 0
        for piece in re.split(r"([(),])", inside):  # the comma of max(a,b) separates no sizes
            depth += (piece == "(") - (piece == ")")
            if piece == "," and depth == 0:
                parts.append("")
            else:
                parts[-1] += piece
        return tuple(self._size(part) for part in parts)

    def _size(self, text: str) -> Size:
        if text.isascii() and text.isdigit() and len(text) <= 20:
            return int(text)
        try:
            if len(text) > _MAX_SIZE_TEXT or _terms(text.replace("?", "_")) > _MAX_TERMS:
                raise ValueError
            size = parse_size(text, self._unknowns)
        except (GraphError, ArithmeticError, ValueError, SyntaxError, RecursionError, MemoryError):
            self.fail(f"{text[:40]!r} is not a size")
        if any(abs(n) > _LARGEST for _, n in (size.terms if isinstance(size, SizeExpr) else [((), size)])):
            self.fail(f"{text[:40]!r} is too large a size")
        return size

    def value(self, nesting: int = 0) -> Any:
        """The value of an attribute."""
        if nesting > _MAX_NESTING:
            self.fail("a value is nested too deep")
        kind, text = self._tokens[self._at] if self.kind else ("", "")
        self._at += 1
        match kind:
            case "number":
                return self._number(text)
            case "string":
                return self.unquote(text)
            case "word" if text in _WORDS:
                return _WORDS[text]
            case "word" if text in DTYPE_OF_CODE:
                return DTYPE_OF_CODE[text]
            case "word" if text == "types":
                return self.type() if self.peek("(") else self.fail("'(' is wanted after types")
            case "shape":
                return self._shape(text[1:-1])
            case "size":
                return self._size(text[5:-1])
            case "type":
                type = self._tensor_type(text)
                return self._array(type) if self.accept("{") else type
            case "data":
                return self._beside(text[1:])
            case "mark" if text == "(":
                return self._tuple(nesting)
            case "opaque":
                self.fail(f"{text[1:41]} stands for a Python object, which no text can hold")
        self._at -= 1
        self.fail(f"a value is wanted, not {self._found()}")

    def _number(self, text: str) -> int | float:
        if text.lstrip("-").isdigit():
            if len(text) <= 21 and -_LARGEST < (number := int(text)) < _LARGEST:
                return number
            self.fail(f"{text[:24]}... is too large a number")
        number_ = float(text)
        if abs(number_) == float("inf") and not text.endswith("inf"):
            self.fail(f"{text[:24]} is too large a number")
        return number_

    def _tuple(self, nesting: int) -> tuple[Any, ...]:
        items: list[Any] = []
        while not self.accept(")"):
            if items:
                self.expect(",")
                if self.accept(")"):
                    break
            items.append(self.value(nesting + 1))
        return tuple(items)

    def _array(self, type: TensorType) -> np.ndarray[Any, Any]:
        """The numbers up to the closing brace as an array of `type`."""
        items: list[Any] = []
        while not self.accept("}"):
            if items:
                self.expect(",")
            items.append(self.value(_MAX_NESTING))
        number = (int, float) if type.dtype.is_floating else bool if type.dtype.kind == "b" else int
        for item in items:
            if not isinstance(item, number) or (isinstance(item, bool) and number is not bool):
                self.fail(f"{item!r} is not {type.dtype}")
        try:
            with np.errstate(over="raise"):
                array = np.array(items, type.dtype.numpy).reshape(type.shape)  # type: ignore[arg-type]  # checked by NumPy
        except (ValueError, TypeError, OverflowError, FloatingPointError):
            self.fail(f"{len(items)} numbers do not make an array of {type}")
        array.setflags(write=False)
        return array

    def _beside(self, name: str) -> np.ndarray[Any, Any]:
        if name not in self._arrays:
            if name not in self._data:
                self.fail(f"@{name} is not among the arrays given beside the text")
            array = np.array(self._data[name])
            if array.dtype.kind not in "biuf" or array.dtype.newbyteorder("=") not in _NUMPY:
                self.fail(f"@{name} is an array of {array.dtype}, for which graphc has no dtype")
            array = array.astype(array.dtype.newbyteorder("="), copy=False)
            array.setflags(write=False)
            self._arrays[name] = array
        return self._arrays[name]


_NUMPY = {dtype.numpy for dtype in DTYPES}


def _terms(text: str) -> int:
    """No fewer than the terms that a size has once it is multiplied out: a bound on the work."""
    if "*" not in text:
        return 1

    def count(tree: ast.expr) -> int:
        match tree:
            case ast.BinOp(x, ast.Mult(), y):
                return count(x) * count(y)
            case ast.BinOp(x, _, y):
                return count(x) + count(y)
            case ast.UnaryOp(_, x):
                return count(x)
            case ast.Call(_, arguments):
                return 1 + sum(map(count, arguments))
        return 1

    return count(ast.parse(text.strip(), mode="eval").body)
