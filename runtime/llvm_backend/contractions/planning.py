"""Planning: which dim plays which role, from strides alone; no kernel is written here.

    role        rule
    vector      an output dim of stride 1 in `out`, best one of stride 1 in an input: that input is B
    batch       an output dim that moves B as well: outermost
    rows        output dims of stride 0 in B; the last (two, where it is short) are tiled in registers
    reduction   ordered by B's stride, neighbours merged where their strides compose in every operand

`placing` says where tiles then find A and B. Where the reduction alone is contiguous (a row sum, a product
with few rows of the other's rows) its lanes are the vector dim: the form is "dot".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from graphc.sizes import product
from runtime.llvm_backend.contractions.contraction import Access, Contract, Dim
from runtime.llvm_backend.contractions.cuts import (
    LONG_REDUCTION,
    count_steps,
    is_cut_in_blocks,
    is_long,
    split_reduction,
)
from runtime.llvm_backend.contractions.lane_choice import estimate, is_dot, lane_dim
from runtime.llvm_backend.contractions.placing import copies_a, is_scattered, place_b
from runtime.llvm_backend.contractions.registers import (
    VectorUnit,
    alike_part,
    choose_tile,
    count_lanes,
    count_vectors,
    even_part,
)
from runtime.llvm_backend.contractions.schedule import OUT, A, B, Loop, Schedule
from runtime.llvm_backend.contractions.splits import Split, split_evenly, split_lanes

_MOST_OF_ANY = 12  # rows of a tile where their number is known at the run: those left over cost more
_OUTER_BLOCK, _DOT_BLOCK = 1152, LONG_REDUCTION  # steps of a reduction that stay in registers
_SCATTERED_BLOCK = 192  # or so many, where A lies scattered


def plan(contract: Contract, machine: VectorUnit, alone: bool = True) -> Schedule:
    """The schedule of a contract on a machine; `alone`: its threads share it, it is no part of a block."""
    width = count_lanes(machine, contract.accumulator.itemsize)
    dims = [dim for dim in contract.dims if dim.size != 1]
    kept = [dim for dim in dims if dim.name in contract.out.strides]
    reduced = [dim for dim in dims if dim.name not in contract.out.strides]
    if is_dot(contract, kept, reduced, width):
        return _plan_dot(contract, kept, reduced, width)
    return _cut(_plan_outer(contract, kept, reduced, machine, width), machine.l2, alone)


# ---- roles -------------------------------------------------------------------------------------------


def _operands(contract: Contract, a: int) -> tuple[Access | None, ...]:
    b = contract.ins[1 - a] if len(contract.ins) == 2 else None
    reads: list[Access] = []
    for index in (a, 1 - a)[: len(contract.ins)]:
        reads += contract.input_expression(index).reads
    also = (access for _, access in contract.also)
    return (contract.ins[a], b, contract.out, *reads, *contract.epilogue.reads, *also)


def _loop(dim: Dim, operands: Sequence[Access | None]) -> Loop:
    return Loop(dim.size, tuple(access.stride(dim.name) if access else 0 for access in operands))


def _merge(loops: Sequence[Loop]) -> tuple[Loop, ...]:
    """Neighbours become one where the outer's stride is the inner's times its size, in all operands."""
    merged: list[Loop] = []
    for loop in loops:
        if merged and all(x == loop.size * y for x, y in zip(merged[-1].strides, loop.strides, strict=True)):
            merged[-1] = Loop(merged[-1].size * loop.size, loop.strides)
        else:
            merged.append(loop)
    return tuple(merged)


def _by(operand: int, *others: int) -> Callable[[Loop], tuple[int, ...]]:
    return lambda loop: tuple(-abs(estimate(loop.strides[x])) for x in (operand, *others))


# ---- the outer form ----------------------------------------------------------------------------------


def _plan_outer(
    contract: Contract, kept: Sequence[Dim], reduced: Sequence[Dim], machine: VectorUnit, width: int
) -> Schedule:
    lane = lane_dim(contract, kept, reduced, width)
    name = lane.name if lane else ""
    a = _choose_a(contract, name)
    operands = _operands(contract, a)
    column = _loop(lane, operands) if lane else Loop(1, (0,) * len(operands))
    loops = [_loop(dim, operands) for dim in kept if dim.name != name]
    batch = _merge(sorted((loop for loop in loops if loop.strides[B] != 0), key=_by(OUT, B)))
    inward = _by(OUT, A) if column.strides[OUT] == 1 else _by(A)  # where no store is whole, by A alone
    rows = _merge(sorted((loop for loop in loops if loop.strides[B] == 0), key=inward))
    rows = rows or (Loop(1, (0,) * len(operands)),)
    order = _by(A, B) if column.strides[B] not in (0, 1) or len(contract.ins) == 1 else _by(B, A)
    reduction = _merge(sorted((_loop(dim, operands) for dim in reduced), key=order))
    reduction = reduction or (Loop(1, (0,) * len(operands)),)
    scattered = is_scattered(operands, rows, reduction, machine)
    most = _SCATTERED_BLOCK if scattered else _OUTER_BLOCK
    outer, block = split_reduction([x.size for x in reduction], contract, most)
    pair, height, vectors = _size_tile(rows, column, machine, width, shared=not batch)
    made = partial(
        Schedule,
        form="outer",
        operands=operands,
        inputs=(a, 1 - a),
        batch=batch,
        rows=rows,
        column=column,
        reduction=reduction,
        outer=outer,
        block=block,
        pair=pair,
        height=height,
        vectors=vectors,
        width=width,
        tiles=_split_rows(rows, pair, height),
        panels=split_lanes(column.size, width, vectors),
    )
    schedule = made()
    pack, transposed, adaptive = place_b(schedule, contract, machine)
    copy = copies_a(schedule) and not scattered
    return made(pack=pack, transposed=transposed, adaptive=adaptive, copy=copy)


def _choose_a(contract: Contract, lane: str) -> int:
    """The input that lanes do not move; else the one whose lanes are apart, where the other's are not."""
    if len(contract.ins) == 1:
        return 0
    x, y = (access.stride(lane) for access in contract.ins)
    return 1 if x != 0 and (y == 0 or (x == 1 and y != 1)) else 0


def _size_tile(
    rows: Sequence[Loop], column: Loop, machine: VectorUnit, width: int, shared: bool
) -> tuple[int, int, int]:
    """How many of the last two rows and how many vectors are in a tile."""
    last, vectors_in_all, registers = rows[-1], count_vectors(column.size, width), machine.vector_registers
    lanes_in_a = column.strides[A] != 0
    if lanes_in_a:
        height, vectors = min(3 if column.strides[B] != 0 else 4, estimate(last.size)), min(4, vectors_in_all)
    else:
        height, vectors = choose_tile(
            estimate(last.size), vectors_in_all, registers, shared=shared, far=machine.far_l3
        )
        if not isinstance(last.size, int):
            height = min(height, _MOST_OF_ANY)
    if isinstance(column.size, int):
        vectors = even_part(vectors_in_all, vectors)
    if isinstance(last.size, int):
        height = even_part(last.size, height)
        height = alike_part(last.size, height, vectors) if len(rows) > 1 else height
    above = rows[-2].size if len(rows) > 1 else None
    if lanes_in_a or not isinstance(above, int) or not isinstance(last.size, int) or last.size > height:
        return 1, height, vectors
    fits = (registers - max(2, registers // 8) - vectors) // vectors // height
    return even_part(above, max(1, min(above, fits))), height, vectors


def _split_rows(rows: Sequence[Loop], pair: int, height: int) -> tuple[Split, ...]:
    last = split_evenly(rows[-1].size, height)
    return (split_evenly(rows[-2].size, pair), last) if pair > 1 else (last,)


def _cut(schedule: Schedule, l2: int, alone: bool) -> Schedule:
    """The schedule with its reduction cut, or whole."""
    b, steps, part = schedule.operands[B], product(loop.size for loop in schedule.reduction), schedule.steps
    rows = product(loop.size for loop in schedule.rows)
    several = schedule.block is not None and len(schedule.reduction) > 1
    # Of products of matrices, whose steps are one loop, that alone takes 0.95 to 1.4 times the time.
    if alone and several and b is not None and not schedule.batch:
        shared = count_steps(rows * schedule.column.size, steps)
        if shared:
            return replace(schedule, cut=shared, by_parts=True)
    if is_long(steps):
        return replace(schedule, cut=LONG_REDUCTION)
    if b is None or schedule.batch or schedule.lanes_in_a or schedule.copy:
        return schedule
    room = l2 // b.dtype.itemsize
    whole = len(schedule.reduction) > 1 or schedule.block is None
    if whole or not is_cut_in_blocks(steps, part, rows, schedule.column.size, room):
        return schedule
    return replace(schedule, cut=estimate(part))


# ---- the dot form ------------------------------------------------------------------------------------


def _plan_dot(contract: Contract, kept: Sequence[Dim], reduced: Sequence[Dim], width: int) -> Schedule:
    operands = _operands(contract, 0)
    if operands[B] is not None:  # fewer rows than columns: B is the larger one
        sizes = [product(dim.size for dim in kept if access.stride(dim.name) != 0) for access in contract.ins]
        if estimate(sizes[0]) > estimate(sizes[1]):
            operands = _operands(contract, 1)
    a = 0 if operands[A] is contract.ins[0] else 1
    loops = [_loop(dim, operands) for dim in kept]
    unary = operands[B] is None
    both = [loop for loop in loops if not unary and loop.strides[A] != 0 and loop.strides[B] != 0]
    columns = [loop for loop in loops if not unary and loop.strides[A] == 0]
    rows = [loop for loop in loops if unary or (loop.strides[A] != 0 and loop.strides[B] == 0)]
    merged_columns = _merge(sorted(columns, key=_by(OUT, B)))
    column = merged_columns[-1] if merged_columns else Loop(1, (0,) * len(operands))
    batch = _merge(sorted([*both, *merged_columns[:-1]], key=_by(OUT, B)))
    merged_rows = _merge(sorted(rows, key=_by(OUT, A))) or (Loop(1, (0,) * len(operands)),)
    unit = next(dim for dim in reduced if all(access.stride(dim.name) == 1 for access in contract.ins))
    others = sorted((_loop(dim, operands) for dim in reduced if dim is not unit), key=_by(A, B))
    reduction = _merge([*others, _loop(unit, operands)])
    few = estimate(merged_rows[-1].size)
    height, across = (few, 8) if few <= 2 else (4, 4)
    if unary:
        height, across = min(few, 4), 1
    across = min(across, estimate(column.size)) if isinstance(column.size, int) else across
    if isinstance(merged_rows[-1].size, int):
        height = even_part(merged_rows[-1].size, height)
    if isinstance(column.size, int):
        across = even_part(column.size, across)
    outer, block = split_reduction([x.size for x in reduction], contract, _DOT_BLOCK)
    height, across = max(1, height), max(1, across)
    return Schedule(
        form="dot",
        operands=operands,
        inputs=(a, 1 - a),
        batch=batch,
        rows=merged_rows,
        column=column,
        reduction=reduction,
        outer=outer,
        block=block,
        pair=1,
        height=height,
        vectors=across,
        cut=LONG_REDUCTION if is_long(product(dim.size for dim in reduced)) else 0,
        width=width,
        tiles=_split_rows(merged_rows, 1, height),
        panels=split_evenly(column.size, across),
    )
