"""Equations in Einstein's notation: terms, labels of axes, and the sizes that labels have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from graphc import sizes
from graphc.errors import ArgumentError, ShapeError
from graphc.types import TensorType

# An axis bears a letter, or, under the ellipsis, its number from the right: -1, -2, ...
Label = str | int
ELLIPSIS = "..."
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def parse_equation(equation: object, count: int) -> tuple[list[str], str]:
    """The terms of the operands and the output's, checked."""
    if not isinstance(equation, str):
        raise ArgumentError(f"einsum: an equation is a text such as 'ij,jk->ik', not {equation!r}")
    left, arrow, output = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != count:
        raise ArgumentError(f"einsum: {equation!r} is about {len(terms)} operands, and {count} are given")
    for term in (*terms, output):
        letters = term.replace(ELLIPSIS, "", 1)
        if letters and not (letters.isascii() and letters.isalpha()):
            raise ArgumentError(f"einsum: {term!r} in {equation!r} is not made of letters and '...'")
    dotted = any(ELLIPSIS in term for term in terms)
    if not arrow:
        counts = Counter("".join(terms).replace(ELLIPSIS, ""))
        output = ELLIPSIS * dotted + "".join(sorted(x for x, n in counts.items() if n == 1))
    for x, n in Counter(output.replace(ELLIPSIS, "")).items():
        if n > 1:
            raise ArgumentError(f"einsum: letter {x!r} is twice in the output of {equation!r}")
        if x not in left:
            raise ArgumentError(f"einsum: letter {x!r} of the output is in no operand of {equation!r}")
    if dotted != (ELLIPSIS in output):
        missing = "the output" if dotted else "any operand"
        raise ArgumentError(f"einsum: {equation!r} has '...', but not in {missing}")
    return terms, output


def split(equation: str) -> tuple[list[str], str]:
    """The terms of the operands and the output's."""
    left, _, output = equation.partition("->")
    return left.split(","), output


def order(term: str, extents: Iterable[Label]) -> tuple[Label, ...]:
    """The labels of the axes of a result spelled `term`, where `extents` are all there are."""
    depth = -min((x for x in extents if isinstance(x, int)), default=0)
    return label_axes(term, depth)


def label_axes(term: str, depth: int) -> tuple[Label, ...]:
    """The labels of `term` whose ellipsis stands for `depth` axes."""
    before, dots, after = term.partition(ELLIPSIS)
    return (*before, *(range(-depth, 0) if dots else ()), *after)


def label(term: str, type: TensorType) -> tuple[Label, ...]:
    """The label of each axis of an operand. Raises: ShapeError where it has another rank."""
    letters = len(term.replace(ELLIPSIS, ""))
    rank = len(type.sizes)
    if rank < letters or (rank > letters and ELLIPSIS not in term):
        raise ShapeError(f"{term!r} has {letters} axes, and its operand is {type}")
    return label_axes(term, rank - letters)


def measure(rows: Sequence[Sequence[Label]], types: Sequence[TensorType]) -> dict[Label, sizes.Size]:
    """The size of each label, where one of 1 repeats, but not on a diagonal.

    Raises: ShapeError where two axes of one label differ.
    """
    extents: dict[Label, sizes.Size] = {}
    for row, type in zip(rows, types, strict=True):
        own: dict[Label, sizes.Size] = {}
        for x, size in zip(row, type.sizes, strict=True):
            own[x] = _agreed(x, own.get(x, size), size, types, sizes.meet)
        for x, size in own.items():
            extents[x] = _agreed(x, extents.get(x, size), size, types, sizes.broadcast)
    return extents


def _agreed(
    x: Label,
    so_far: sizes.Size,
    size: sizes.Size,
    types: Sequence[TensorType],
    unify: Callable[[sizes.Size, sizes.Size], sizes.Size | None],
) -> sizes.Size:
    agreed = unify(so_far, size)
    if agreed is None:
        what = f"letter {x!r}" if isinstance(x, str) else "an axis under '...'"
        raise ShapeError(f"{what} is {so_far} and {size}: {', '.join(map(str, types))}")
    return agreed
