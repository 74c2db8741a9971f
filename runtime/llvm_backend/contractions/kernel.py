"""Kernel: a contract as the text of a module, and how it is called.

    void name.plan(ptr block)                  writes how many chunks each phase has, and other words
    void name(ptr block, i64 chunk)            computes one chunk: the first phase
    void name.tree(ptr block, i64 chunk)       further phases of a long reduction: its parts are added up
    void name.finish(ptr block, i64 chunk)     and the epilogue runs

`block` is an array of 8-byte words. In the order of `Kernel`'s attributes:

    a pointer for each of `buffers`; the elements of an access lie from there
    scratch      a pointer to `scratch_size` bytes for each thread that may run chunks, on a cache line
    claims       0 at the start, and again when no chunk runs
    counts       a word for each phase: what `plan` writes
    words        the values of `words`; some of them are written by `plan`

Phases run one after another, each when all chunks of the one before are done; a phase may have no chunk.
Chunks of a phase run in any order on any threads. How many there are depends on sizes alone, so the bits of
the result do not depend on the threads. Inputs may share memory; the output shares with nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial

from graphc.freezing import frozen
from graphc.sizes import Size, SizeExpr, Symbol, product, symbols
from runtime.llvm_backend.contractions.contraction import (
    AS_IT_IS,
    Access,
    Contract,
    Dim,
    row_major,
    without_numbers,
)
from runtime.llvm_backend.contractions.driver import SCRATCH, Phase, span_of, write_main
from runtime.llvm_backend.contractions.framing import PARTIALS, make_frame
from runtime.llvm_backend.contractions.grid import Grid, grid_words, known_grid, lay_out, read_grid
from runtime.llvm_backend.contractions.lane_choice import estimate
from runtime.llvm_backend.contractions.packing import scratch_bytes
from runtime.llvm_backend.contractions.partials import count_finish, count_tree, finish_frame, write_tree
from runtime.llvm_backend.contractions.planning import plan
from runtime.llvm_backend.contractions.registers import VectorUnit
from runtime.llvm_backend.contractions.row_product import part_reduction
from runtime.llvm_backend.contractions.schedule import OUT, A, B, Schedule
from runtime.llvm_backend.contractions.tile import Frame
from runtime.llvm_backend.contractions.turning import turn_lanes
from runtime.llvm_backend.contractions.widening import Widening
from runtime.llvm_backend.engine.llvm import QUICK, THOROUGH
from runtime.llvm_backend.ir.text import QUICKLY, Module, Target
from runtime.llvm_backend.ir.writer import INTERNAL, Evaluator, Value, Writer


@frozen
class Kernel:
    """A contract as LLVM text.

    Attributes:
        name, text: the module's name, and the module. It hands out `functions`.
        buffers: whose pointers the block begins with; `PARTIALS` is the last of them where it is used.
        words: the sizes that the block ends with.
        phases: what is run, in order.
        counted: whether there is a `plan`, as sizes are known only at the run.
        scratch_size: bytes of scratch for each thread; 0 where none is used.
        shared_size: bytes of the buffer `PARTIALS`.
        schedules: how it was planned, for each contract in it.
        effort: that LLVM is to take, as of `engine.objects.Module`.
        flag: the word that points to where it tells what the CPU notes (`ir.notes`); -1: it does not.
    """

    name: str
    text: str
    buffers: tuple[str, ...]
    words: tuple[Size, ...]
    phases: tuple[Phase, ...]
    counted: bool
    scratch_size: Size
    shared_size: Size
    schedules: tuple[Schedule, ...]
    effort: int = THOROUGH
    flag: int = -1

    @property
    def functions(self) -> tuple[str, ...]:
        """The names that are handed out: `plan`, where there is one, then the phases."""
        return (*([f"{self.name}.plan"] if self.counted else []), *(phase.name for phase in self.phases))

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


def write_plan(w: Writer, name: str, words: Callable[[Writer], Mapping[int, Value]]) -> None:
    """Writes ``void name.plan(ptr block)``, which stores `words`, each by its place in the block."""
    w.begin(f"void @{name}.plan(ptr %block) {QUICKLY} nounwind")  # it runs once
    for place, value in words(w).items():
        w.do(f"store i64 {value}, ptr {w.address('%block', place, 'i64')}, align 8")
    w.end()


def emit_contraction(
    contract: Contract,
    machine: VectorUnit,
    name: str = "kernel",
    *,
    target: Target | None = None,
    linkage: str = "",
) -> Kernel:
    """The kernel of `contract` for `machine`.

    `machine` says how wide vectors are; `target` which instructions the steps may rest on; `linkage` is that
    of the phases.
    """
    made = _planned(contract, machine, name)
    widening = Widening()
    wide = made.widened(widening)
    known = [known_grid(frame) for frame in made.frames]
    laid_out = zip(made.frames, known, strict=True)
    numbers = tuple(tuple(grid_words(widening, frame, grid).items()) for frame, grid in laid_out)
    free = frozenset(symbol for symbol, number in widening.values.items() if isinstance(number, SizeExpr))
    multiples, planned = tuple(widening.multiples.items()), frozenset(widening.planned)
    text = _written(_Draft(wide, numbers, multiples, planned, free), target or Target(), linkage)
    grids = [grid for grid in known if grid is not None]
    words = tuple(map(widening.actual, text.words))
    return made.kernel(text, words, grids if len(grids) == len(known) else ())


def write_contraction(
    contract: Contract,
    machine: VectorUnit,
    name: str,
    module: Module,
    short: bool = False,
) -> Kernel:
    """The kernel of a part of another one, which knows its numbers and calls `plan` in any case.

    It has the text of its functions alone, which are internal: `module` has the declarations.
    `short`: no reduction is long, though sizes are known only at the run.
    """
    made = _planned(contract, machine, name, alone=False, short=short)
    w = Writer(made.first_count + len(made.phases), module, linkage=INTERNAL)
    light = made.write(w, [partial(lay_out, frame=frame) for frame in made.frames])
    made.write_counter(w, {})
    return made.kernel(_Text(w.functions(), tuple(w.words), light, True), tuple(w.words))


def _planned(
    contract: Contract, machine: VectorUnit, name: str, alone: bool = True, short: bool = False
) -> _Plan:
    """How `contract` is computed, with its numbers."""
    if parts := part_reduction(contract, machine):
        return _planned_parts(parts, machine, name)
    schedule = plan(contract, machine, alone)
    if alone and (parts := turn_lanes(contract, schedule)):
        return _planned_parts(parts, machine, name)
    if short:
        schedule = replace(schedule, cut=0)
    main = make_frame(contract, schedule, machine, name)
    if alone and _has_sums_apart(main):
        main = _with_dense_sums(main)
        schedule = main.schedule
    span, shift = span_of(main.contract)
    split = schedule.cut > 0 or (main.flagged and not main.direct)
    frames = (main, finish_frame(main, shift, contract)) if split else (main,)
    buffers = tuple(dict.fromkeys(access.buffer for access in contract.accesses))
    itemsize = contract.accumulator.itemsize
    steps = product(loop.size for loop in schedule.reduction)
    cuts = (steps + schedule.cut - 1) // schedule.cut + 1 if schedule.cut else 1
    return _Plan(
        frames,
        (*buffers, PARTIALS) if split else buffers,
        (span, shift),
        split,
        scratch_bytes(main),
        cuts * span * itemsize if split else 0,
    )


def _has_sums_apart(frame: Frame) -> bool:
    """Whether the lanes of a product lie apart in the output, and sums are stored there more than once."""
    apart = frame.schedule.column.strides[OUT] not in (0, 1)
    return apart and frame.flagged and frame.schedule.form == "outer" and len(frame.contract.ins) == 2


def _with_dense_sums(frame: Frame) -> Frame:
    """That of the same sums in `PARTIALS`, where lanes lie side by side, and rows as they do in A."""
    contract, a, b = frame.contract, frame.access(A), frame.access(B)
    across = frame.schedule.column.strides

    def place(dim: Dim) -> tuple[bool, int]:
        strides = tuple(x.stride(dim.name) for x in (a, b, contract.out))
        return strides == across[: len(strides)], -abs(estimate(strides[A]))

    kept = sorted(contract.output_dims, key=place)
    strides = row_major([dim.name for dim in kept], [dim.size for dim in kept])
    sums = Access(PARTIALS, 0, strides, contract.accumulator)
    laid = replace(contract, out=sums, epilogue=AS_IT_IS, also=())
    return make_frame(laid, plan(laid, frame.machine), frame.machine, frame.name)


def _planned_parts(parts: tuple[Contract, Contract], machine: VectorUnit, name: str) -> _Plan:
    """How two contracts are computed: the second goes on with what the first leaves in `PARTIALS`."""
    main, rest = parts
    found = dict.fromkeys(access.buffer for access in (*rest.accesses, *main.accesses))
    buffers = (*(buffer for buffer in found if buffer != PARTIALS), PARTIALS)
    frames = tuple(
        make_frame(part, plan(part, machine), machine, each)
        for part, each in zip(parts, (name, f"{name}.finish"), strict=True)
    )
    shared = product(dim.size for dim in main.output_dims) * main.accumulator.itemsize
    scratch = sum((scratch_bytes(frame) for frame in frames), 0)  # more than each of them claims
    return _Plan(frames, buffers, (1, 0), False, scratch, shared)


@frozen
class _Plan:
    """What is run, phase after phase: a frame, where it is `split` a tree of partial sums, other frames.

    `place` is `span_of` the contract; the sizes are those of `Kernel`.
    """

    frames: tuple[Frame, ...]
    buffers: tuple[str, ...]
    place: tuple[Size, Size]
    split: bool
    scratch_size: Size = 0
    shared_size: Size = 0

    @property
    def phases(self) -> tuple[str, ...]:
        """The names of the phases."""
        main, *others = (frame.name for frame in self.frames)
        return (main, *([f"{main}.tree"] if self.split else []), *others)

    @property
    def first_count(self) -> int:
        """The word with the chunks of the first phase."""
        return len(self.buffers) + 2

    def count(self, w: Writer, known: Sequence[Grid] = ()) -> tuple[Sequence[Grid], list[Value]]:
        """The grid of each frame, if they are not `known`, and the chunks of each phase."""
        grids = known or [lay_out(w, frame) for frame in self.frames]
        counts = [grid.chunks for grid in grids]
        if self.split:
            cuts = grids[0].cuts
            finish = count_finish(w, self.frames[0], cuts, grids[1].chunks)
            counts[1:] = [count_tree(w, cuts, self.place[0]), finish]
        return grids, counts

    def write(self, w: Writer, reads: Sequence[Callable[[Writer], Grid]]) -> bool:
        """Writes what is run; `reads` give the grid of each frame.

        Whether it is as fast where LLVM makes it quickly.
        """
        light = not self.split
        slots = {buffer: slot for slot, buffer in enumerate((*self.buffers, SCRATCH))}
        places = [self.place, *[(1, 0)] * (len(self.frames) - 1)]
        for frame, place, read in zip(self.frames, places, reads, strict=True):
            light &= write_main(w, frame, slots, place, read)
        if self.split:
            write_tree(w, self.frames[0], slots, self.place[0], lambda w: reads[0](w).cuts)
        return light

    def write_counter(self, w: Writer, later: Mapping[Size, tuple[int, str]]) -> None:
        """Writes what counts chunks; the words `later` get a number of the grid of a frame."""

        def words(w: Writer) -> Mapping[int, Value]:
            grids, counts = self.count(w)
            found = {self.first_count + i: count for i, count in enumerate(counts)}
            for word, (frame, number) in later.items():
                if word in w.words:
                    found[w.slot(word)] = getattr(grids[frame], number)
            return found

        write_plan(w, self.frames[0].name, words)

    def widened(self, widening: Widening) -> _Plan:
        """The same with words for its numbers."""
        frames = tuple(
            make_frame(
                *(without_numbers(x.contract), widening.schedule(x.schedule), x.machine, x.name),
                facts=x.facts,
            )
            for x in self.frames
        )
        span, shift = self.place
        return _Plan(frames, self.buffers, (widening.word(span), widening.word(shift)), self.split)

    def kernel(self, text: _Text, words: tuple[Size, ...], known: Sequence[Grid] = ()) -> Kernel:
        """The kernel with that text and what its `words` are, and its grids, if they are `known`."""
        return Kernel(
            name=self.frames[0].name,
            text=text.text,
            buffers=self.buffers,
            words=words,
            phases=tuple(Phase(x, partial(_count, self, known, i)) for i, x in enumerate(self.phases)),
            counted=text.is_counted,
            scratch_size=self.scratch_size,
            shared_size=self.shared_size,
            schedules=tuple(frame.schedule for frame in self.frames[: None if not self.split else 1]),
            effort=QUICK if text.is_light else THOROUGH,
        )


@frozen
class _Draft:
    """What the text of a kernel follows from.

    Attributes:
        plan: its plan, with words for numbers.
        numbers: for each frame those of its grid, as of `grid_words`.
        multiples, planned: as of `Widening`.
        free: the symbols of words whose numbers are known only at the run.
    """

    plan: _Plan
    numbers: tuple[tuple[tuple[str, Size], ...], ...]
    multiples: tuple[tuple[SizeExpr, int], ...]
    planned: frozenset[Size]
    free: frozenset[Symbol]


@frozen
class _Text:
    """A kernel's text, the words of its block; whether it is as fast made quickly, and has a `plan`."""

    text: str
    words: tuple[SizeExpr, ...]
    is_light: bool
    is_counted: bool


@lru_cache(maxsize=256)
def _written(draft: _Draft, target: Target, linkage: str) -> _Text:
    """The text of `draft`: contractions that differ in numbers alone have one, which is written once."""
    made, module = draft.plan, Module(target)
    w = Writer(made.first_count + len(made.phases), module, dict(draft.multiples), linkage)
    frames = list(zip(made.frames, map(dict, draft.numbers), strict=True))
    light = made.write(w, [partial(read_grid, frame=frame, numbers=found) for frame, found in frames])
    later = {
        word: (i, number)
        for i, (_, found) in enumerate(frames)
        for number, word in found.items()
        if word in draft.planned
    }
    counted = bool(later) or (
        len(draft.free) > 0 and any(not draft.free.isdisjoint(symbols(word)) for word in w.words)
    )
    if counted:
        w.linkage = ""
        made.write_counter(w, later)
    return _Text(f"{module.text}\n{w.functions()}", tuple(w.words), light, counted)


def _count(made: _Plan, known: Sequence[Grid], number: int, w: Writer) -> Value:
    return made.count(w, known)[1][number]
