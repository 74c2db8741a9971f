"""Kernel: a contract as machine code to be, and how it is called.

    void name(ptr block, ptr scratch, i64 chunk)       computes one chunk of the outputs
    i64  name.chunks(ptr block)                        how many chunks there are

`block` is an array of 8-byte words that nobody writes during a run: a pointer for each of
`Kernel.buffers`, then the values of `Kernel.words`. `scratch` is the thread's own, 64-byte aligned,
of `Kernel.scratch_size` bytes. Chunks may run in any order on any thread; phases run one after another,
each when all chunks of the one before are done; none has more chunks than it needs, and one may have 0.
How many there are depends on sizes alone, so the bits of the result do not depend on the threads. Inputs
may share memory; the output shares with nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from graphc.sizes import Size, SizeExpr, Symbol, product, substitute
from runtime.llvm_backend.contraction import Contract
from runtime.llvm_backend.driver import PARTIALS, Phase, make_frame, span_of, write_main
from runtime.llvm_backend.packing import copy_elements, panel_elements
from runtime.llvm_backend.partials import write_finish, write_tree
from runtime.llvm_backend.registers import VectorUnit
from runtime.llvm_backend.schedule import LONG_REDUCTION, Schedule, plan
from runtime.llvm_backend.text import Target
from runtime.llvm_backend.tile import EmitStep, emit_scalar_step
from runtime.llvm_backend.writer import Writer


@dataclass(frozen=True, slots=True)
class Kernel:
    """A contract as LLVM text.

    Attributes:
        name, text: the module's name, and the module. It hands out `functions`.
        buffers: whose pointers the argument block begins with; `PARTIALS` is among them where it is used.
        words: the sizes that follow them.
        phases: what is run, in order.
        scratch_size, shared_size: bytes of a thread's own scratch, and of `PARTIALS`.
        schedule: how it was planned.
    """

    name: str
    text: str
    buffers: tuple[str, ...]
    words: tuple[SizeExpr, ...]
    phases: tuple[Phase, ...]
    scratch_size: Size
    shared_size: Size
    schedule: Schedule

    @property
    def functions(self) -> tuple[str, ...]:
        """The names that are handed out."""
        return tuple(f"{phase.name}{end}" for phase in self.phases for end in ("", ".chunks"))

    def scratch_bytes(self, values: Mapping[Symbol, int]) -> int:
        """Bytes of scratch that each thread has for itself."""
        return _number(self.scratch_size, values)

    def shared_bytes(self, values: Mapping[Symbol, int]) -> int:
        """Bytes of `PARTIALS`."""
        return _number(self.shared_size, values)

    def chunks(self, values: Mapping[Symbol, int]) -> tuple[int, ...]:
        """How many chunks each phase has."""
        return tuple(phase.count(values) for phase in self.phases)


def emit_contraction(
    contract: Contract,
    machine: VectorUnit,
    name: str = "kernel",
    *,
    target: Target | None = None,
    emit_step: EmitStep = emit_scalar_step,
) -> Kernel:
    """The kernel of `contract` for `machine`; `emit_step` writes the steps of its expressions.

    `machine` says how wide vectors are; `target` which instructions the steps may rest on.
    """
    schedule = plan(contract, machine)
    frame = make_frame(contract, schedule, machine, name, emit_step)
    split = schedule.cut or (frame.flagged and not frame.direct)
    buffers = tuple(dict.fromkeys(access.buffer for access in contract.accesses))
    buffers += (PARTIALS,) if split else ()
    w = Writer(len(buffers), target or Target())
    slots = {buffer: slot for slot, buffer in enumerate(buffers)}
    span, shift = span_of(contract)
    phases = [write_main(w, frame, slots, span, shift)]
    if split:
        phases.append(write_tree(w, frame, slots, span))
        phases.append(write_finish(w, frame, slots, shift))
    itemsize = contract.accumulator.itemsize
    steps = product(loop.size for loop in schedule.reduction)
    cuts = (steps + LONG_REDUCTION - 1) // LONG_REDUCTION + 1 if schedule.cut else 1
    return Kernel(
        name=name,
        text=w.text(),
        buffers=buffers,
        words=tuple(w.words),
        phases=tuple(phases),
        scratch_size=(panel_elements(schedule) + copy_elements(schedule) + 32) * itemsize,
        shared_size=cuts * span * itemsize if split else 0,
        schedule=schedule,
    )


def _number(size: Size, values: Mapping[Symbol, int]) -> int:
    number = substitute(size, dict(values))
    if not isinstance(number, int):
        raise KeyError(f"no value for {number}")
    return number
