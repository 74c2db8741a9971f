"""Simplification: rules, each an equation, that make a function smaller and keep its bits.

Rules that are not exact in floating point are in `FAST_RULES`, used under ``fast_math=True`` only.
Read top to bottom: canonical order comes first, so the others look on one side only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache

from graphc.function import Function
from passes.rewrite import Index, Rule, index, rewrite
from passes.simplification import (
    arithmetic,
    contraction,
    indexing,
    integer,
    joining,
    logic,
    movement,
    numeric,
    pushing,
    reduction,
    slicing,
    transcendental,
)
from passes.target import PLAIN, Target

_FAMILIES = (
    *(arithmetic, integer, numeric, logic, transcendental),
    *(movement, slicing, joining, reduction, contraction, indexing),
    pushing,  # last: the rules above see operands before they are broadcast implicitly
)

RULES: tuple[Rule, ...] = tuple(rule for family in _FAMILIES for rule in family.RULES)
FAST_RULES: tuple[Rule, ...] = tuple(rule for family in _FAMILIES for rule in family.FAST_RULES)
_TABLE = index(RULES)


def simplify(function: Function, target: Target = PLAIN) -> Function:
    """`function` after every rule that applies; the same object where none did."""
    return rewrite(function, _fast() if target.fast_math else _TABLE)


def simplifying(rules: Iterable[Rule]) -> Callable[[Function, Target], Function]:
    """A pass like `simplify` that rewrites by `rules`: how a user adds one, beside `RULES`."""
    table = index(rules)

    def simplify(function: Function, target: Target = PLAIN) -> Function:
        return rewrite(function, table)

    return simplify


@cache
def _fast() -> Index:
    return index((*RULES, *FAST_RULES))
