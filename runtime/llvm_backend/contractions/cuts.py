"""Cuts: how a reduction is blocked, and which are cut in parts that are added up pairwise, by sizes alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

from graphc.sizes import Size, product
from runtime.llvm_backend.contractions.contraction import Contract
from runtime.llvm_backend.contractions.lane_choice import estimate
from runtime.llvm_backend.contractions.registers import even_part

LONG_REDUCTION = 65_536  # steps per output beyond which a reduction is cut, by its size alone
_MANY_BLOCKS = 4  # of sums that lie apart from the result
_TALL = 16  # rows; fewer wait for B anyway, whoever reads it
_LITTLE = 8  # what part of what is read may be written, and read again


def is_long(steps: Size) -> bool:
    """Whether a reduction of so many steps is always cut."""
    return not isinstance(steps, int) or steps > LONG_REDUCTION


def is_cut_in_blocks(steps: Size, block: Size, rows: Size, columns: Size, room: int) -> bool:
    """Whether a reduction is cut where it is blocked: of few outputs, its B of more elements than `room`.

    A unit is a block then, with most of the rows, and reads B once. Units of few rows, which an uncut one
    has in order to have some for each thread, would each read all of it from where no cache is near.
    """
    if not all(isinstance(size, int) for size in (steps, block, rows, columns)) or estimate(rows) < _TALL:
        return False
    sums, operands = 2 * rows * columns, (rows + columns) * block
    return estimate(steps * columns) > room and estimate(sums) <= estimate(operands) // _LITTLE


def split_reduction(sizes: Sequence[Size], contract: Contract, most: int) -> tuple[int, int | None]:
    """How many loops lie outside, and how the next is blocked, for about `most` steps within.

    One whose last result is of another dtype than its sums leaves these in memory of their own, and is split
    where that is little beside what it reads.
    """
    steps = product(sizes)
    whole = 2 * most
    if contract.out.dtype != contract.accumulator:
        whole = max(whole, min(_MANY_BLOCKS * most, LONG_REDUCTION))
    if isinstance(steps, int) and steps <= whole:
        return 0, None
    inside = [math.prod(estimate(size) for size in sizes[i + 1 :]) for i in range(len(sizes))]
    outer = next(i for i, inner in enumerate(inside) if inner <= 2 * most or i == len(sizes) - 1)
    block = max(1, most // inside[outer])
    size = sizes[outer]
    if isinstance(size, int):
        block = even_part(size, block) if size * inside[outer] > 2 * most else size
        if outer == 0 and block >= size:
            return 0, None
    return outer, block
