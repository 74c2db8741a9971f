"""Ahead: while a block of a reduction is multiplied, tiles ask for what the next block reads.

The first tile of a block has to wait for each line that no cache of the core holds, and the hardware alone
fetches them no faster than they come: 0.91 of the peak where all lines are met once. Asked for a few at a
time, by all tiles of the block before, they come while there is time: 0.99. Asked for by a tile at once they
are waited for as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from graphc.freezing import frozen
from runtime.llvm_backend.contractions.lane_choice import estimate
from runtime.llvm_backend.contractions.schedule import A, B, Loop, Schedule
from runtime.llvm_backend.contractions.splits import tile_count
from runtime.llvm_backend.ir.writer import Evaluator

_LINE = 64  # bytes
_FEWEST, _MOST = 16, 8 * _LINE  # bytes that a round goes on by: of some rounds the line is the same
_SPARSE = 2  # times as far as what is read of it: most of the lines between would be for nothing


@frozen
class Ahead:
    """What tiles ask for: each has a piece of B as the next block reads it, those behind them pieces of A.

    Attributes:
        by_outer: whether the next block is that of the loop around the blocked one.
        in_a: whether tiles ask for A; else for what lies behind B.
        pieces: how many pieces B has.
        piece: bytes of one; `step` of them are asked for in a round of the outermost loop of a tile.
    """

    by_outer: bool
    in_a: bool
    pieces: int
    piece: int
    step: int

    @property
    def lines(self) -> int:
        """How many lines a round asks for."""
        return max(1, self.step // _LINE)


def look_ahead(schedule: Schedule) -> Ahead | None:
    """What tiles ask for.

    None where threads share out no blocks, and what a tile reads is copied first, is not known, or scattered.
    """
    block, inner, (a, b) = schedule.block, schedule.inner, schedule.operands[:2]
    if (
        not schedule.by_parts
        or schedule.pack
        or schedule.copy
        or len(inner) > 2
        or not isinstance(block, int)
    ):
        return None
    if a is None or b is None or a.dtype is not b.dtype:
        return None
    counts = _count_tiles(schedule)
    steps = [Loop(block, inner[0].strides), *inner[1:]]
    held_b = _bytes([*steps, schedule.column], B, b.dtype.itemsize)
    held_a = _bytes([*steps, *schedule.rows], A, a.dtype.itemsize)
    if not held_b or not counts:
        return None
    step = -(-(held_a + held_b) // (counts * block))
    if step > _LINE // 2:
        step = min(_MOST, -(-step // _LINE) * _LINE)
    else:
        step = max(_FEWEST, 1 << (step - 1).bit_length())
    by_outer = schedule.outer > 0 and block == inner[0].size
    return Ahead(by_outer, held_a > 0, -(-held_b // (block * step)), block * step, step)


def _count_tiles(schedule: Schedule) -> int:
    """How many tiles a block has; 0 where that is not known."""
    splits = (*schedule.tiles, schedule.panels)
    whole = [loop.size for loop in schedule.rows[: -len(schedule.tiles)]]
    sizes = [*whole, *(split.size for split in splits)]
    if not all(isinstance(size, int) for size in sizes):
        return 0
    counts = [tile_count(Evaluator({}), split) for split in splits]
    return math.prod(int(count) for count in (*map(estimate, whole), *counts))


def _bytes(loops: Sequence[Loop], operand: int, itemsize: int) -> int:
    """From the first to the last of what loops read of an operand; 0: unknown, or scattered."""
    span, read = 1, 1
    for loop in loops:
        size, stride = loop.size, loop.strides[operand]
        if not isinstance(size, int) or not isinstance(stride, int) or size < 1 or stride < 0:
            return 0
        span += (size - 1) * stride
        read *= size if stride else 1
    return span * itemsize if span <= _SPARSE * read else 0
