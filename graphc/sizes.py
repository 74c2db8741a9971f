"""Symbolic sizes: integers, named sizes, unknown sizes, and arithmetic on them.

A size is an ``int`` or a `SizeExpr`: a polynomial with integer coefficients over atoms in canonical
form, so equal expressions compare equal. An atom is a `Symbol` or a `Call` (floor division,
remainder, maximum) that the polynomial cannot express. Sizes are never negative, which `maximum` uses.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from operator import index
from threading import local
from typing import NamedTuple

from graphc.errors import ArgumentError, ShapeError
from graphc.freezing import frozen

_MOST_ELEMENTS = 2**63 - 1


# Atoms are tuples: they are hashed more often than anything else, and that is no call of Python's then.
class Symbol(NamedTuple):
    """A size known only at the run: named by the user, or unknown (`name` is None) and numbered."""

    name: str | None
    serial: int = 0

    @property
    def key(self) -> tuple[object, ...]:
        """The place among the atoms of an expression."""
        return (0, self.name) if self.name is not None else (1, str(self.serial).zfill(12))


class Call(NamedTuple):
    """``//``, ``%`` or ``max`` of two sizes, where it does not simplify."""

    function: str
    operands: tuple[Size, Size]

    @property
    def key(self) -> tuple[object, ...]:
        """The place among the atoms of an expression."""
        return (2, self.function + repr(self.operands))


Atom = Symbol | Call
Term = tuple[tuple[Atom, ...], int]  # a product of atoms and its coefficient
Values = Mapping[Symbol, "Size"] | Mapping[Atom, "Size"]


@frozen
class SizeExpr:
    """A polynomial over atoms: ``sum(coefficient * product(atoms))``, terms in canonical order."""

    terms: tuple[Term, ...]

    def __add__(self, other: Size) -> Size:
        if not isinstance(other, int):
            return _polynomial(itertools.chain(self.terms, _terms(other)))
        atoms, number = self.terms[-1]  # the number comes last, and nothing else changes
        rest, total = (self.terms, int(other)) if atoms else (self.terms[:-1], number + int(other))
        return SizeExpr((*rest, ((), total)) if total else rest)

    def __sub__(self, other: Size) -> Size:
        return self + other * -1

    def __rsub__(self, other: Size) -> Size:
        return self * -1 + other

    def __mul__(self, other: Size) -> Size:
        if isinstance(other, int):
            return SizeExpr(tuple((atoms, n * other) for atoms, n in self.terms)) if other else 0
        return _polynomial(
            (tuple(sorted(a + b, key=_key)), m * n) for a, m in self.terms for b, n in _terms(other)
        )

    def __floordiv__(self, other: Size) -> Size:
        return floor_divide(self, other)

    def __rfloordiv__(self, other: Size) -> Size:
        return floor_divide(other, self)

    def __mod__(self, other: Size) -> Size:
        return remainder(self, other)

    def __rmod__(self, other: Size) -> Size:
        return remainder(other, self)

    __radd__, __rmul__ = __add__, __mul__

    def __repr__(self) -> str:
        from graphc.size_text import format_size  # the text form builds on sizes

        return format_size(self)


Size = int | SizeExpr


def as_int(given: object) -> int | None:
    """`given` as an int where it is a whole number of Python's, NumPy's or any that counts; else None."""
    if isinstance(given, bool | SizeExpr):
        return None
    try:
        return index(given)  # type: ignore[arg-type]  # what has no index is asked for it
    except TypeError:
        return None


_serials = itertools.count()


def named(name: str) -> SizeExpr:
    """The size that bears `name`; equal names are equal sizes."""
    if not name.isidentifier() or name == "max":
        raise ArgumentError(f"a size is named by an identifier, not {name!r}")
    return _symbol(Symbol(name))


def unknown() -> SizeExpr:
    """A new unknown size, equal to no other."""
    return _symbol(Symbol(None, next(_serials)))


def _symbol(symbol: Symbol) -> SizeExpr:
    return SizeExpr((((symbol,), 1),))


def sole_symbol(size: Size) -> Symbol | None:
    """The symbol that `size` is, or None where it is a number or arithmetic."""
    if isinstance(size, SizeExpr) and len(size.terms) == 1 and len(size.terms[0][0]) == 1:
        (atom,), coefficient = size.terms[0]
        return atom if coefficient == 1 and isinstance(atom, Symbol) else None
    return None


def _key(atom: Atom) -> tuple[object, ...]:
    return atom.key


def _terms(size: Size) -> tuple[Term, ...]:
    if isinstance(size, SizeExpr):
        return size.terms
    return (((), int(size)),) if size else ()


def _polynomial(terms: Iterable[Term]) -> Size:
    sums: dict[tuple[Atom, ...], int] = {}
    for atoms, coefficient in terms:
        sums[atoms] = sums.get(atoms, 0) + coefficient
    kept = [(atoms, n) for atoms, n in sums.items() if n]
    if not kept:
        return 0
    if len(kept) == 1:
        return SizeExpr((kept[0],)) if kept[0][0] else kept[0][1]
    kept.sort(key=lambda term: (-len(term[0]), tuple(a.key for a in term[0])))
    return SizeExpr(tuple(kept))


def product(sizes: Iterable[Size]) -> Size:
    """The product of all `sizes`; 1 where there are none."""
    result: Size = 1
    for size in sizes:
        result = result * size
    return result


def floor_divide(x: Size, y: Size) -> Size:
    """``x // y``, exact parts taken out: ``(4 n + 3) // 2 -> 2 n + 1``."""
    if isinstance(x, int) and isinstance(y, int):
        if y == 0:
            raise ShapeError(f"the size {x} is divided by zero")
        return x // y
    if isinstance(y, int) and y > 0:
        whole = _polynomial((a, n // y) for a, n in _terms(x) if n % y == 0)
        rest = _polynomial((a, n) for a, n in _terms(x) if n % y)
        return whole + (rest // y if isinstance(rest, int) else _call("//", rest, y))
    if (quotient := _exact_quotient(x, y)) is not None:
        return quotient
    return _call("//", x, y)


def _exact_quotient(x: Size, y: Size) -> Size | None:
    """``x / y`` where `y` is one term that divides every term of `x`."""
    (divisor, by), *others = _terms(y) or (((), 1),)
    if others:
        return 1 if x == y else None
    quotient: list[Term] = []
    for atoms, n in _terms(x):
        left = list(atoms)
        for atom in divisor:
            if atom not in left:
                return None
            left.remove(atom)
        if n % by:
            return None
        quotient.append((tuple(left), n // by))
    return _polynomial(quotient)


def remainder(x: Size, y: Size) -> Size:
    """``x % y``."""
    if isinstance(x, int) and isinstance(y, int):
        return x % y
    rest = x - floor_divide(x, y) * y
    return rest if isinstance(rest, int) else _call("%", x, y)


def maximum(x: Size, y: Size) -> Size:
    """The larger of two sizes, decided where every symbol's being >= 0 decides it."""
    if isinstance(x, int) and isinstance(y, int):
        return max(x, y)
    if isinstance(x, int):
        x, y = y, x
    if _is_never_negative(x - y):
        return x
    if _is_never_negative(y - x):
        return y
    if isinstance(y, int) and y:  # max(x, 1) is max(x - 1, 0) + 1: one spelling
        return maximum(x - y, 0) + y
    if isinstance(y, SizeExpr) and _order(y) < _order(x):
        x, y = y, x
    return _call("max", x, y)


def _order(size: Size) -> list[tuple[object, ...]]:
    return [tuple(atom.key for atom in atoms) for atoms, _ in _terms(size)]


def _is_never_negative(size: Size) -> bool:
    """Whether `size` is at least 0 for all values of its symbols, as far as its terms tell."""
    return all(coefficient >= 0 for _, coefficient in _terms(size))


def minimum(x: Size, y: Size) -> Size:
    """The smaller of two sizes: ``x + y - max(x, y)``."""
    return x + y - maximum(x, y)


def _call(function: str, x: Size, y: Size) -> SizeExpr:
    return SizeExpr((((Call(function, (x, y)),), 1),))


_FUNCTIONS: dict[str, Callable[[Size, Size], Size]] = {
    "//": floor_divide,
    "%": remainder,
    "max": maximum,
}


def symbols(size: Size) -> Iterator[Symbol]:
    """Every symbol in `size`, in order, repeats included."""
    if isinstance(size, SizeExpr):
        for atoms, _ in size.terms:
            for atom in atoms:
                if isinstance(atom, Symbol):
                    yield atom
                else:
                    yield from symbols(atom.operands[0])
                    yield from symbols(atom.operands[1])


def substitute(size: Size, values: Values, whole: Mapping[SizeExpr, Size] | None = None) -> Size:
    """`size` with each atom replaced by its value; first multiples of sizes in `whole`, by theirs."""
    total: Size = 0
    for was, became in (whole or {}).items():
        times = _times(size, was)
        size, total = size - was * times, total + became * times
    if not isinstance(size, SizeExpr):
        return total + size
    for atoms, coefficient in size.terms:
        term: Size = coefficient
        for atom in atoms:
            value = values.get(atom)  # type: ignore[arg-type]  # a mapping of symbols has no calls
            if value is not None:
                term = term * value
            elif isinstance(atom, Symbol):
                term = term * _symbol(atom)
            else:
                x, y = (substitute(operand, values, whole) for operand in atom.operands)
                term = term * _FUNCTIONS[atom.function](x, y)
        total = total + term
    return total


def _times(size: Size, part: SizeExpr) -> int:
    """How many of `part` are in `size`, where nothing else has its atoms: one ``3*n`` in ``3*n - 5``."""
    have = dict(_terms(size))
    (quotient, rest), *others = {divmod(have.get(atoms, 0), n) for atoms, n in part.terms if atoms}
    return 0 if rest or others else quotient


def solve(size: Size, value: int, known: Mapping[Symbol, int]) -> tuple[Symbol, int] | None:
    """The one symbol of `size` not in `known`, and what it must be for `size` to equal `value`.

    None where no symbol or several are open, or where the equation is not linear in it.
    """
    rest = substitute(size, dict(known)) - value
    open_symbols = set(symbols(rest))
    if len(open_symbols) != 1:
        return None
    (symbol,) = open_symbols
    slope = sum(n for atoms, n in _terms(rest) if atoms == (symbol,))
    constant = sum(n for atoms, n in _terms(rest) if atoms == ())
    if len(_terms(rest)) != (slope != 0) + (constant != 0) or not slope or -constant % slope:
        return None
    return symbol, -constant // slope


# Unknown sizes that meet in one op are taken as equal, and that is checked at the run.


class _Meetings(local):
    """Who listens to meetings, in each thread; None is nobody."""

    listener: list[tuple[Size, Size]] | None = None


_meetings = _Meetings()


@contextmanager
def meetings() -> Iterator[list[tuple[Size, Size]]]:
    """Collects the pairs of sizes that type rules take as equal without knowing it."""
    outer, _meetings.listener = _meetings.listener, []
    try:
        yield _meetings.listener
    finally:
        _meetings.listener = outer


def meet(x: Size, y: Size) -> Size | None:
    """The size of two axes that must be alike, or None where they cannot be.

    A number wins over a symbol; of two symbols a named one, else the first. What is assumed here
    is told to `meetings` and checked when the sizes are known.
    """
    if x == y:
        return x
    difference = x - y
    if isinstance(difference, int):  # never equal, whatever the symbols are
        return None
    if _meetings.listener is not None:
        _meetings.listener.append((x, y))
    if isinstance(x, int) or isinstance(y, int):
        return x if isinstance(x, int) else y
    return y if is_unknown(x) and not is_unknown(y) else x


def broadcast(x: Size, y: Size) -> Size | None:
    """The size of two axes that broadcast, or None where they cannot."""
    if x == 1 or x == y:
        return y
    return x if y == 1 else meet(x, y)


def is_unknown(size: Size) -> bool:
    """Whether an unknown (unnamed) symbol occurs in `size`."""
    return any(symbol.name is None for symbol in symbols(size))


def may_broadcast(size: Size) -> bool:
    """Whether an axis of `size` is repeated where a run makes that 1: not where it is a number or a name."""
    symbol = sole_symbol(size)
    return isinstance(size, SizeExpr) and (symbol is None or symbol.name is None)


def evaluate(size: Size, values: Mapping[Symbol, int]) -> int:
    """`size` as a number; every symbol must be in `values`.

    Raises: KeyError with the missing symbol.
    """
    if not isinstance(size, SizeExpr):
        return size
    total = 0
    for atoms, coefficient in size.terms:
        term = coefficient
        for atom in atoms:
            if isinstance(atom, Symbol):
                term *= values[atom]
            else:
                x, y = (evaluate(operand, values) for operand in atom.operands)
                term *= int(_FUNCTIONS[atom.function](x, y))  # type: ignore[arg-type]  # of ints: an int
        total += term
    return total


def count(shape: Iterable[int]) -> int:
    """How many elements a known shape holds."""
    return math.prod(shape)


def require_countable(shape: Iterable[Size]) -> None:
    """Raises ShapeError where what is known of `shape` holds more elements than an int64 counts."""
    known = [size for size in shape if isinstance(size, int)]
    if 0 not in known and count(known) > _MOST_ELEMENTS:
        raise ShapeError(f"the shape {known} holds more elements than can be counted: 2**63 or more")
