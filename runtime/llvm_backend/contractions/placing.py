"""Placing: where tiles find A and B: where they lie, packed in panels, or copied.

operand     rule
B panel     packed where its lanes are apart, or where many rows use it and the cache has no room for it
A           in place; copied where its steps fall in one set of the cache, or to widen it once
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from graphc.sizes import Size, product
from graphc.types import FLOAT16
from runtime.llvm_backend.contractions.contraction import Access, Contract
from runtime.llvm_backend.contractions.lane_choice import estimate
from runtime.llvm_backend.contractions.registers import (
    VectorUnit,
    count_vectors,
    is_crowded,
    is_far,
    least_tiles,
)
from runtime.llvm_backend.contractions.schedule import A, B, Loop, Schedule, square_side

_FEW_SETS = 512  # bytes: lines of L2 that lie a multiple of them apart fall in few sets


def place_b(schedule: Schedule, contract: Contract, machine: VectorUnit) -> tuple[bool, bool, bool]:
    """Whether B is packed, whether by transposing squares, and whether the run decides if it is."""
    b, column, rows, inner = schedule.operands[B], schedule.column, schedule.rows, schedule.inner
    first = inner[0].size if schedule.block is None else schedule.block
    steps = math.prod(estimate(loop.size) for loop in inner[1:]) * estimate(first)
    if b is None or schedule.lanes_in_a or steps == 0:
        return False, False, False
    columns = schedule.vectors * schedule.width
    across = columns * contract.accumulator.itemsize
    heavy = is_crowded([x.strides[B] for x in inner], steps, across, b.dtype.itemsize, machine)
    least = least_tiles(is_far(count_bytes(schedule), machine))
    whole = column.size == columns
    reuse = math.prod(estimate(loop.size) for loop in rows) // (schedule.height * schedule.pair)
    is_known = all(isinstance(loop.size, int) for loop in rows)
    apart, widened = column.strides[B] not in (0, 1), b.dtype is FLOAT16
    prepared = bool(contract.input_expression(schedule.inputs[B]).steps)
    alone = is_known and reuse <= 1  # one tile has all rows
    pack = apart or widened or (prepared and not alone) or (heavy and reuse >= least and not whole)
    contiguous = [loop.size for loop in inner if loop.strides[B] == 1]
    side = square_side(schedule)
    transposed = apart and any(not isinstance(size, int) or size >= side for size in contiguous)
    adaptive = pack and not (apart or widened or prepared or is_known) and b.dtype is contract.accumulator
    return pack, transposed, adaptive


def count_bytes(schedule: Schedule) -> Size:
    """How large a B without batches is."""
    b = schedule.operands[B]
    elements = product(loop.size for loop in (*schedule.reduction, schedule.column))
    return elements * b.dtype.itemsize if b else 0


def copies_a(schedule: Schedule) -> bool:
    """Whether A is copied: all steps of a column of it fall in one cache set, or it is float16."""
    a, rows, inner = schedule.operands[A], schedule.rows, schedule.inner
    if (
        schedule.lanes_in_a
        or len(rows) > 1
        or a is None
        or inner[-1].size == 0
        or any(loop.strides[A] == 0 for loop in (*rows, *inner))
    ):
        return False
    if a.dtype is FLOAT16:
        return True
    step = inner[-1].strides[A]
    crowded = rows[0].strides[A] == 1 and isinstance(step, int) and step * a.dtype.itemsize % 1024 == 0
    wide = count_vectors(schedule.column.size, schedule.width) >= 3 * schedule.vectors
    return crowded and wide and estimate(rows[0].size) >= 16


def is_scattered(
    operands: Sequence[Access | None], rows: Sequence[Loop], reduction: Sequence[Loop], machine: VectorUnit
) -> bool:
    """Whether each step of a tile reads another line of A, these fall in few sets, and L3 is far.

    L2 keeps the lines of some 100 steps for the next tiles, which read what is beside: a copy does no more.
    """
    a, last, step = operands[A], rows[-1], reduction[-1].strides[A]
    if a is None or not machine.far_l3 or len(rows) > 1 or a.dtype is FLOAT16:
        return False
    return last.strides[A] == 1 and isinstance(step, int) and step * a.dtype.itemsize % _FEW_SETS == 0
