"""Kernel: a contract as the text of a module, and how it is called.

    void name.plan(ptr block)                  writes how many chunks each phase has, into the block
    void name(ptr block, i64 chunk)            computes one chunk: the first phase
    void name.tree(ptr block, i64 chunk)       further phases of a long reduction: its parts are added up
    void name.finish(ptr block, i64 chunk)     and the epilogue runs

`block` is an array of 8-byte words. In the order of `Kernel`'s attributes:

    a pointer for each of `buffers`; the elements of an access lie from there
    scratch      a pointer to `scratch_size` bytes for each thread that may run chunks, on a cache line
    claims       0 at the start, and again when no chunk runs
    counts       a word for each phase: what `plan` writes
    words        the values of `words`

Phases run one after another, each when all chunks of the one before are done; a phase may have no chunk.
Chunks of a phase run in any order on any threads. How many there are depends on sizes alone, so the bits of
the result do not depend on the threads. Inputs may share memory; the output shares with nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from graphc.sizes import Size, SizeExpr, Symbol, product
from runtime.llvm_backend.contractions.contraction import Contract
from runtime.llvm_backend.contractions.driver import PARTIALS, SCRATCH, Phase, make_frame, span_of, write_main
from runtime.llvm_backend.contractions.packing import copy_elements, panel_elements
from runtime.llvm_backend.contractions.partials import write_finish, write_tree
from runtime.llvm_backend.contractions.registers import VectorUnit
from runtime.llvm_backend.contractions.row_product import part_reduction
from runtime.llvm_backend.contractions.schedule import LONG_REDUCTION, Schedule, plan
from runtime.llvm_backend.contractions.tile import EmitStep, emit_scalar_step
from runtime.llvm_backend.ir.text import Module, Target
from runtime.llvm_backend.ir.writer import Evaluator, Writer
from runtime.llvm_backend.table.scratch import part_bytes


@dataclass(frozen=True, slots=True)
class Kernel:
    """A contract as LLVM text.

    Attributes:
        name, text: the module's name, and the module. It hands out `functions`.
        buffers: whose pointers the block begins with; `PARTIALS` is the last of them where it is used.
        words: the sizes that the block ends with.
        phases: what is run, in order.
        scratch_size: bytes of scratch for each thread; 0 where none is used.
        shared_size: bytes of the buffer `PARTIALS`.
        schedules: how it was planned, for each contract in it.
    """

    name: str
    text: str
    buffers: tuple[str, ...]
    words: tuple[SizeExpr, ...]
    phases: tuple[Phase, ...]
    scratch_size: Size
    shared_size: Size
    schedules: tuple[Schedule, ...]

    @property
    def functions(self) -> tuple[str, ...]:
        """The names that are handed out: `plan`, then the phases."""
        return (f"{self.name}.plan", *(phase.name for phase in self.phases))

    @property
    def scratch_word(self) -> int:
        """The word of the block that points to scratch; the next one is `claims`."""
        return len(self.buffers)

    @property
    def first_count(self) -> int:
        """The word of the block with the first phase's chunks."""
        return len(self.buffers) + 2

    @property
    def first_word(self) -> int:
        """The word of the block that the first of `words` is in."""
        return self.first_count + len(self.phases)

    def chunks(self, values: Mapping[Symbol, int]) -> tuple[int, ...]:
        """How many chunks each phase has, where sizes are known: what `plan` writes."""
        return tuple(int(phase.count(Evaluator(values))) for phase in self.phases)


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
    module = Module(target or Target())
    kernel = write_contraction(contract, machine, name, module, emit_step)
    return replace(kernel, text=f"{module.text}\n{kernel.text}")


def write_contraction(
    contract: Contract,
    machine: VectorUnit,
    name: str,
    module: Module,
    emit_step: EmitStep,
    short: bool = False,
) -> Kernel:
    """The kernel with the text of its functions alone: `module` has the declarations.

    `short`: no reduction is long, though sizes are known only at the run.
    """
    if parted := part_reduction(contract, machine, PARTIALS):
        return _write_parted(parted, machine, name, module, emit_step)
    schedule = plan(contract, machine)
    if short:
        schedule = replace(schedule, cut=False)
    frame = make_frame(contract, schedule, machine, name, emit_step)
    split = schedule.cut or (frame.flagged and not frame.direct)
    buffers = tuple(dict.fromkeys(access.buffer for access in contract.accesses))
    buffers += (PARTIALS,) if split else ()
    counts = len(buffers) + 2
    w = Writer(counts + (3 if split else 1), module)
    slots = {buffer: slot for slot, buffer in enumerate((*buffers, SCRATCH))}
    span, shift = span_of(contract)
    phases = [write_main(w, frame, slots, span, shift)]
    if split:
        phases.append(write_tree(w, frame, slots, span))
        phases.append(write_finish(w, frame, slots, shift))
    _write_plan(w, name, counts, phases)
    itemsize = contract.accumulator.itemsize
    steps = product(loop.size for loop in schedule.reduction)
    cuts = (steps + LONG_REDUCTION - 1) // LONG_REDUCTION + 1 if schedule.cut else 1
    return Kernel(
        name=name,
        text=w.functions(),
        buffers=buffers,
        words=tuple(w.words),
        phases=tuple(phases),
        scratch_size=part_bytes(panel_elements(schedule) + copy_elements(schedule), itemsize),
        shared_size=cuts * span * itemsize if split else 0,
        schedules=(schedule,),
    )


def _write_plan(w: Writer, name: str, first: int, phases: Sequence[Phase]) -> None:
    """Writes ``plan``; the counts are the words from `first` on."""
    w.begin(f"void @{name}.plan(ptr %block) nounwind")
    for number, phase in enumerate(phases):
        w.do(f"store i64 {phase.count(w)}, ptr {w.address('%block', first + number, 'i64')}, align 8")
    w.end()


def _write_parted(
    parted: tuple[Contract, Contract], machine: VectorUnit, name: str, module: Module, emit_step: EmitStep
) -> Kernel:
    """The kernel of two contracts, of which the second goes on with what the first leaves in `PARTIALS`."""
    main, rest = parted
    found = dict.fromkeys(access.buffer for access in (*rest.accesses, *main.accesses))
    buffers = (*(buffer for buffer in found if buffer != PARTIALS), PARTIALS)
    counts = len(buffers) + 2
    w = Writer(counts + 2, module)
    slots = {buffer: slot for slot, buffer in enumerate((*buffers, SCRATCH))}
    schedules = plan(main, machine), plan(rest, machine)
    phases = [
        write_main(w, make_frame(part, schedule, machine, each, emit_step), slots, 1, 0)
        for part, schedule, each in zip(parted, schedules, (name, f"{name}.finish"), strict=True)
    ]
    _write_plan(w, name, counts, phases)
    itemsize = main.accumulator.itemsize
    return Kernel(
        name=name,
        text=w.functions(),
        buffers=buffers,
        words=(),
        phases=tuple(phases),
        scratch_size=0,
        shared_size=product(dim.size for dim in main.output_dims) * itemsize,
        schedules=schedules,
    )
