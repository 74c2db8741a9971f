"""Turning: filters whose lanes lie apart are laid out side by side once, before the product of many rows.

Each unit would pack them for itself, an element at a time: 5 to 9 % of the time of a convolution of 64
images of 28 x 28 pixels.
"""

from __future__ import annotations

import math
from dataclasses import replace

from graphc.sizes import product
from runtime.llvm_backend.contractions.contraction import Access, Contract, row_major
from runtime.llvm_backend.contractions.framing import PARTIALS
from runtime.llvm_backend.contractions.lane_choice import estimate
from runtime.llvm_backend.contractions.schedule import OUT, A, B, Schedule

_MANY_ROWS = 4096  # of several units
_FEWEST = 2048  # elements that are worth a phase of their own


def turn_lanes(contract: Contract, schedule: Schedule) -> tuple[Contract, Contract] | None:
    """What lays B out in `PARTIALS`, and the product with that; `schedule` is the contract's own.

    None where the contract is no product of many rows, or packs nothing an element at a time.
    """
    total = contract.accumulator
    if (
        len(contract.ins) == 1
        or contract.epilogue.result_dtype(total) is not total
        or contract.out.dtype is not total
    ):
        return None
    b, rows = contract.ins[schedule.inputs[B]], math.prod(estimate(loop.size) for loop in schedule.rows)
    held = [dim for dim in contract.dims if b.stride(dim.name) != 0]
    elements = product(dim.size for dim in held)
    if (
        not schedule.pack
        or schedule.transposed
        or schedule.batch
        or schedule.cut
        or schedule.column.strides[B] in (0, 1)
        or schedule.column.strides[OUT] not in (0, 1)
        or b.dtype is not total
        or contract.input_expression(schedule.inputs[B]).steps
        or not isinstance(elements, int)
        or elements < _FEWEST
        or rows < _MANY_ROWS
    ):
        return None
    a = contract.ins[schedule.inputs[A]]
    held = sorted(held, key=lambda dim: (a.stride(dim.name) == 0, -abs(estimate(a.stride(dim.name)))))
    there = Access(PARTIALS, 0, row_major([x.name for x in held], [x.size for x in held]), total)
    ins = tuple(there if access is b else access for access in contract.ins)
    here = replace(b, strides={dim.name: b.stride(dim.name) for dim in held})
    return Contract(tuple(held), (here,), there, "add"), replace(contract, ins=ins)
