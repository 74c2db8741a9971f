"""The text of sizes: ``2*batch+1``, ``max(n-1,0)``; unknown ones are spelt ``?0``, ``?1``."""

from __future__ import annotations

import ast
from collections.abc import Callable

from graphc.errors import ArgumentError
from graphc.sizes import Atom, Size, SizeExpr, Symbol, floor_divide, maximum, named, remainder, unknown


def format_size(size: Size, spell: Callable[[Symbol], str] | None = None) -> str:
    """`size` as text, e.g. ``2*batch+1``; `spell` names unknown symbols, ``?`` without it."""
    if not isinstance(size, SizeExpr):
        return str(size)
    spell = spell or (lambda _: "?")
    text = ""
    for atoms, coefficient in size.terms:
        factors = [_format_atom(atom, spell) for atom in atoms]
        if abs(coefficient) != 1 or not factors:
            factors.insert(0, str(abs(coefficient)))
        sign = "-" if coefficient < 0 else "+" if text else ""
        text += sign + "*".join(factors)
    return text


def _format_atom(atom: Atom, spell: Callable[[Symbol], str]) -> str:
    if isinstance(atom, Symbol):
        return atom.name if atom.name is not None else spell(atom)
    x, y = (format_size(operand, spell) for operand in atom.operands)
    return f"max({x},{y})" if atom.function == "max" else f"({_closed(x)}{atom.function}{_closed(y)})"


def _closed(text: str) -> str:
    """`text` in brackets, where it is more than a number or a name."""
    return text if text.removeprefix("?").isdecimal() or text.isidentifier() or text == "?" else f"({text})"


def parse_size(text: str, unknowns: dict[str, SizeExpr] | None = None) -> Size:
    """The size that `text` spells; ``?0`` becomes one new unknown per number in `unknowns`."""
    unknowns = {} if unknowns is None else unknowns
    prefix = "unknown_size_"
    while prefix in text:
        prefix += "_"
    try:
        tree = ast.parse(text.strip().replace("?", prefix), mode="eval").body
        return _read(tree, prefix, unknowns)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ArgumentError(f"{text!r} is not a size") from error


def _read(tree: ast.expr, prefix: str, unknowns: dict[str, SizeExpr]) -> Size:
    match tree:
        case ast.Constant(int() as value) if not isinstance(value, bool):
            return value
        case ast.Name(name) if name.startswith(prefix):
            return unknowns.setdefault(name.removeprefix(prefix), unknown())
        case ast.Name(name):
            return named(name)
        case ast.UnaryOp(ast.USub(), x):
            return _read(x, prefix, unknowns) * -1
        case ast.BinOp(x, operator, y):
            a, b = _read(x, prefix, unknowns), _read(y, prefix, unknowns)
            match operator:
                case ast.Add():
                    return a + b
                case ast.Sub():
                    return a - b
                case ast.Mult():
                    return a * b
                case ast.FloorDiv():
                    return floor_divide(a, b)
                case ast.Mod():
                    return remainder(a, b)
        case ast.Call(ast.Name("max"), [x, y], []):
            return maximum(_read(x, prefix, unknowns), _read(y, prefix, unknowns))
    raise ValueError
