"""Framing: what the parts of one kernel share, of a contract and its schedule."""

from __future__ import annotations

from graphc.types import DType
from runtime.llvm_backend.contractions.contraction import Contract
from runtime.llvm_backend.contractions.facts import Facts
from runtime.llvm_backend.contractions.packing import packed_loops, row_stride
from runtime.llvm_backend.contractions.registers import VectorUnit
from runtime.llvm_backend.contractions.schedule import OUT, A, B, Schedule
from runtime.llvm_backend.contractions.tile import Frame

PARTIALS = "partials"  # the buffer of partial sums, which all threads share


def make_frame(
    contract: Contract,
    schedule: Schedule,
    machine: VectorUnit,
    name: str,
    facts: Facts | None = None,
) -> Frame:
    """What the parts of the kernel share; `facts` are those of numbers that are words in `schedule`."""
    total = contract.accumulator
    flagged = schedule.cut > 0 or schedule.block is not None or schedule.outer > 0
    direct = contract.out.buffer != PARTIALS and contract.out.dtype is total
    direct = direct and contract.epilogue.result_dtype(total) is total
    dtypes: list[DType] = [access.dtype if access else total for access in schedule.operands]
    rows = schedule.rows
    if schedule.pack:
        dtypes[B] = total
    if schedule.copy:
        dtypes[A] = total
        rows = (rows[-1].moving(A, row_stride(schedule)),)
    if flagged and not direct:
        dtypes[OUT] = total
    return Frame(
        name=name,
        contract=contract,
        schedule=schedule,
        facts=facts or Facts.of(schedule, machine),
        machine=machine,
        flagged=flagged,
        direct=direct,
        counted=schedule.block is not None,
        dtypes=tuple(dtypes),
        inner=packed_loops(schedule),
        rows=rows,
    )
