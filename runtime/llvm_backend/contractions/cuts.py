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
_FEW_OUTPUTS = 1 << 15  # whose sums lie in L2, beside what they are made of
_MOST_PARTS, _PRODUCTS_OF_PART = 16, 1 << 21  # of a reduction that threads share out
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


def count_steps(outputs: Size, steps: Size) -> int:
    """Of how many steps parts are where threads share these out; 0 where they do not.

    They do where few outputs have many products. Were outputs shared out, each thread would read all of A
    and B, which no cache of its own holds.
    """
    if not isinstance(outputs, int) or outputs > _FEW_OUTPUTS:
        return 0
    parts = min(_MOST_PARTS, outputs * estimate(steps) // _PRODUCTS_OF_PART)
    even = 1 << max(0, parts.bit_length() - 1)
    return min(-(-estimate(steps) // even), LONG_REDUCTION) if even > 1 else 0


def split_reduction(sizes: Sequence[Size], contract: Contract, most: int) -> tuple[int, int | None]:
    """How many loops lie outside, and how the next is blocked, for about `most` steps within.

    One whose last result is of another dtype than its sums leaves these in memory of their own, and is split
    where that is little beside what it reads.
    """
    steps = product(sizes)
    whole = 2 * most
    if contract.out.dtype is not contract.accumulator:
        whole = max(whole, min(_MANY_BLOCKS * most, LONG_REDUCTION))
    if isinstance(steps, int) and steps <= whole:
        return 0, None
    inside = [math.prod(estimate(size) for size in sizes[i + 1 :]) for i in range(len(sizes))]
    outer = next(i for i, inner in enumerate(inside) if inner <= 2 * most or i == len(sizes) - 1)
    block = max(1, most // inside[outer])
    if block == 1 and outer + 1 < len(sizes) and isinstance(within := sizes[outer + 1], int):
        return outer + 1, within
    size = sizes[outer]
    if isinstance(size, int):
        block = even_part(size, block) if size * inside[outer] > 2 * most else size
        if outer == 0 and block >= size:
            return 0, None
    return outer, block
