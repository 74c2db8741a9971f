"""Row writer: the function of a row kernel, phase by phase; what it is called with says `row_kernel`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

from graphc.tensor import Tensor
from graphc.types import DType
from passes.fusion import PICK, PUT
from runtime.llvm_backend.ir.scalars import emit_op
from runtime.llvm_backend.ir.text import Emitter, Module
from runtime.llvm_backend.ir.values import end_streams, load, memory_dtype, register_scalar, store
from runtime.llvm_backend.rows.nan_spread import forgetful
from runtime.llvm_backend.rows.numerics import NONFINITE, Looks
from runtime.llvm_backend.rows.row_arrays import RowArrays
from runtime.llvm_backend.rows.row_block import Word
from runtime.llvm_backend.rows.row_elements import RowElements, code_of
from runtime.llvm_backend.rows.row_frame import RowFrame
from runtime.llvm_backend.rows.row_labels import checked_index, needed_for
from runtime.llvm_backend.rows.row_looks import RowLooks, left_out
from runtime.llvm_backend.rows.row_loop import CHUNK, Span, Visit
from runtime.llvm_backend.rows.row_notes import define_noted
from runtime.llvm_backend.rows.row_offsets import row_offsets
from runtime.llvm_backend.rows.row_order import (
    asked_rows,
    copies_of,
    look_late,
    looked_behind,
    looked_last,
    looks_wait,
    split_phases,
)
from runtime.llvm_backend.rows.row_plan import Operand, Phase, RowPlan
from runtime.llvm_backend.rows.row_stagger import Part, write_staggered
from runtime.llvm_backend.rows.totals import Total, finish, look_of, total_of


class RowWriter(RowFrame):
    """Writes one kernel."""

    def __init__(self, plan: RowPlan, module: Module, looks: Looks, streams: Collection[int] = ()) -> None:
        super().__init__(plan, module, looks, streams)
        self.looks = looks.at
        self.seen_last = looked_last(plan, looks.at) if self.in_order else ()
        vectors = {node for phase in plan.phases for node in phase.vectors}.union(self.seen_last)
        singly = not self.loops.has_masks
        self.sight = self.loops.looks = RowLooks(self.one, self.wide, looks.at, vectors, singly)
        self.memory = RowArrays(self)
        self.forgetful = forgetful(plan)
        self.asking, self.asked = asked_rows(plan)
        self.values: dict[object, str] = {}  # of a row that is one vector
        self.behind: dict[Tensor, str] = {}  # where the row before begins, of what is looked at there
        self.counts: str | None = None  # whether looks at the row count; None: they do

    # The functions.

    def write_kernel(self) -> None:
        """Adds ``kernel`` to the module."""
        self.open()
        plan = self.plan
        first, end = self.range(self.rows)
        if plan.is_flat:
            self.offsets = {access: str(access.start) for access in plan.accesses}
            self.loop(plan.phases[0], first, end)
        else:
            self.each_row(first, end)
        if self.streams:
            end_streams(self.one)
        self.close("kernel", CHUNK)

    def range(self, count: str) -> tuple[str, str]:
        """Which of `count` rows (or elements) the chunk has: from the first to below the last."""
        one = self.one
        first = one.let(f"mul i64 %chunk, {self.per}")
        return first, one.intrinsic("smin", "i64", one.let(f"add i64 {first}, {self.per}"), count)

    def close(self, name: str, parameters: str, effort: str = "") -> None:
        """Ends the function."""
        self.sight.see(self.flag)
        if self.noted:
            define_noted(self.one.module, name, parameters, self.loops.body, Word.FLAG, NONFINITE)
        else:
            self.loops.define(name, parameters, effort)

    def each_row(self, first: str, end: str) -> None:
        """The loop over rows."""
        plan = self.plan
        self.first, self.behind = first, dict.fromkeys(looked_behind(plan, self.looks), "")
        if self.in_vector:
            self.loops.keep_mask(self.inner)
        early, last = (0, 0) if self.in_vector else split_phases(plan)
        if early:
            self.stagger(first, end, early, last)
        else:
            self.walk_rows(first, end, lambda row: self.run_phases(plan.phases, row))
        if self.behind:
            self.walk_rows(self.row_before(end), end, self.look_at_row)
        if self.seen_last:
            self.look_at_numbers(first, end)

    def walk_rows(self, first: str, end: str, write: Callable[[str], None]) -> None:
        """A loop over rows that `write` one; what looks see is carried along."""

        def whole(row: str, seen: Sequence[str]) -> Sequence[str]:
            self.sight.hold(seen)
            write(row)
            return self.sight.sums

        carried = list(zip(self.sight.types, self.sight.sums, strict=True))
        self.sight.hold(self.loops.walk(first, end, 1, carried, whole))

    def row_before(self, row: str) -> str:
        """The row before `row`; the chunk's first row stands for the one before it."""
        return self.one.intrinsic("smax", "i64", self.one.let(f"sub i64 {row}, 1"), self.first)

    def stagger(self, first: str, end: str, early: int, last: int) -> None:
        """The loop over rows, the `early` phases of a row before those from `last` on of the row before."""
        plan = self.plan
        of_early, of_middle = (self.made_by(x) for x in (plan.phases[:early], plan.phases[early:last]))

        def part(phases: Sequence[Phase], before: Sequence[Tensor], left: Sequence[Tensor]) -> Part:
            def write(row: str, given: Sequence[str]) -> list[str]:
                self.numbers.update(zip(before, given, strict=True))
                self.run_phases(phases, row)
                return [self.numbers[node] for node in left]

            return Part([register_scalar(node.dtype) for node in left], write)

        write_staggered(
            self.loops,
            self.sight,
            (first, end),
            part(plan.phases[:early], (), of_early),
            part(plan.phases[early:last], of_early, of_middle),
            part(plan.phases[last:], [*of_early, *of_middle], ()),
        )

    def made_by(self, phases: Sequence[Phase]) -> list[Tensor]:
        """What is one number a row after `phases`."""
        found = (node for phase in phases for node in (*phase.reductions, *phase.numbers))
        return [node for node in found if node not in self.plan.source]

    # What is looked at later than it is computed.

    def place_behind(self, row: str) -> None:
        """Says that `row` is the one at which is looked what is looked at while the next one is walked."""
        for node in self.behind:
            array, scalar = self.results[self.written[node]], register_scalar(node.dtype)
            offset = self.one.let(f"mul i64 {row}, {self.inner}")
            self.behind[node] = self.one.let(f"getelementptr {scalar}, ptr {array}, i64 {offset}")

    def look_at_row(self, row: str) -> None:
        """Looks at the last row, which no row came after."""
        self.place_behind(row)
        self.look_at([(node.dtype, begun) for node, begun in self.behind.items()], "0", self.inner)

    def look_at_numbers(self, first: str, end: str) -> None:
        """Looks at what is one number for each row of a chunk, once all are stored."""
        places = [(node.dtype, self.results[self.written[node]]) for node in self.seen_last]
        self.look_at(places, first, end)

    def look_at(self, places: Sequence[tuple[DType, str]], begin: str, end: str) -> None:
        """Looks at the elements of arrays, each of a dtype, from `begin` to below `end`."""

        def elements(em: Emitter, j: str, mask: str | None) -> list[str]:
            return [load(em, dtype, array, j, mask) for dtype, array in places]

        looks = [look_of(self.one, dtype) for dtype, _ in places]
        self.loops.write(Visit(elements, looks), self.span(begin, end), 2)

    # One phase.

    def run_phases(self, phases: Sequence[Phase], row: str) -> None:
        """The loops of phases over a row, each with its numbers."""
        self.memory.leave_row()
        self.values = {}
        self.offsets = row_offsets(self.one, self.plan.accesses, row, self.inner, self.sizes)
        self.labels = {}
        if any(node in phase.vectors for phase in phases for node in self.behind):
            self.place_behind(self.row_before(row))
        for phase in phases:
            self.run_phase(phase)

    def run_phase(self, phase: Phase) -> None:
        """The loop of a phase over a row, then its numbers."""
        if phase.vectors or phase.reductions:
            self.end_loop(phase, self.loop(phase, "0", self.inner))
        self.run_numbers(phase)

    def end_loop(self, phase: Phase, totals: Sequence[str]) -> None:
        """What the totals of a phase's reductions come to."""
        for node, total in zip(phase.reductions, totals, strict=True):
            self.numbers[node] = finish(self.one, node, total, self.inner)
            self.write_number(node)

    def run_numbers(self, phase: Phase) -> None:
        """What is one number a row, after the loop."""
        for node in phase.numbers:
            if node in self.plan.source:
                continue
            self.numbers[node] = self.picked(node) if node.op is PICK else self.computed(node)
            self.one.raise_faults(self.flag)
            self.wide.label = self.one.label
            self.write_number(node)

    def computed(self, node: Tensor) -> str:
        """What one number a row comes to."""
        operands = [self.number(self.plan.operands[node, i]) for i in range(len(node.inputs))]
        dtypes = [operand.dtype for operand in node.inputs]
        return emit_op(self.one, code_of(node, self.showing), operands, dtypes, node.dtype)

    def picked(self, node: Tensor) -> str:
        """The element of a row that a label numbers: all that it is made of is computed for it alone."""
        index = checked_index(self.one, self.index(node), self.inner)
        row = RowElements(self.memory, self.one, index, None, {})
        for each in needed_for(self.plan, node.inputs[0]):
            row.compute(each)
        return row.operand(node, 0)

    def write_number(self, node: Tensor) -> None:
        """Looks at a number and stores it, where it is to be."""
        if node in self.looks and node not in self.seen_last:
            of = self.plan.operands
            parts = [(self.number(of[node, i]), node.inputs[i].dtype) for i in self.looks[node]]
            seen = left_out(self.one, self.numbers[node], node.dtype, parts)
            self.sight.note(self.one, node.dtype, seen, self.counts)
        place = self.written.get(node)
        if place is not None:
            offset = self.offsets[self.plan.writes[place]]
            store(self.one, memory_dtype(node.dtype), self.numbers[node], self.results[place], offset)

    # The loop over a row.

    def loop(self, phase: Phase, begin: str, end: str) -> list[str]:
        """The elements of a row from `begin` on; gives the totals of the reductions, each a number."""
        totals = self.totals(phase)
        spread = self.spread_numbers(phase)
        asked = self.asked if phase is self.asking else {}
        for node in phase.vectors:
            if node.op is PUT:
                self.index(node)  # once before the loop

        def elements(em: Emitter, j: str, mask: str | None, past: bool = False) -> list[str]:
            if mask is None and em.width > 1:
                for (operand, access), rows in asked.items():
                    self.memory.ask(em, operand, access, rows, j)
            return self.elements(em, phase, j, mask, spread, past)

        either = (self.streamed, partial(elements, past=True)) if self.may_stream(phase) else None
        looks = len(totals) - len(phase.reductions)
        copies = copies_of(phase, looks if looks_wait(self.plan) else 0)
        span = self.span(begin, end)._replace(rest_of=self.rest())
        found = self.loops.write(Visit(elements, totals, either), span, copies)
        return found[: len(phase.reductions)]

    def span(self, begin: str, end: str) -> Span:
        """The elements from `begin` to below `end`, which may be those of a row."""
        inner = self.plan.inner
        return Span(begin, end, inner if isinstance(inner, int) and end == self.inner else None)

    def rest(self) -> int | None:
        """A length that leaves behind whole vectors what any chunk's loop over a row does."""
        return None

    def totals(self, phase: Phase) -> list[Total]:
        """What a loop gathers: its reductions, then its looks."""
        found = [total_of(self.one, node, node not in self.forgetful) for node in phase.reductions]
        seen = [node for node in phase.vectors if node in self.looks]
        late = look_late(self.plan, phase, len(seen))
        return found + [look_of(self.one, node.dtype, late) for node in seen]

    def may_stream(self, phase: Phase) -> bool:
        """Whether a loop stores what may go past the caches."""
        return any(self.written.get(node) in self.streams for node in phase.vectors)

    def spread_numbers(self, phase: Phase) -> dict[Operand, str]:
        """What is one number and used by the loop's vectors, in all lanes, once before the loop."""
        self.memory.begin(phase)
        if self.wide.width == 1:
            return {}
        found: dict[Operand, str] = {}
        for user in (*phase.vectors, *phase.reductions):
            for i in range(1 if user.op is PUT else len(user.inputs)):
                operand = self.plan.operands[user, i]
                if operand not in found and self.is_number(operand):
                    scalar = register_scalar(operand[0].dtype)
                    found[operand] = self.wide.broadcast(scalar, self.number(operand))
        return found

    def elements(
        self,
        em: Emitter,
        phase: Phase,
        j: str,
        mask: str | None,
        spread: Mapping[Operand, str],
        past: bool = False,
    ) -> list[str]:
        """Writes the phase at the elements from `j` on; gives what its reductions gather."""
        row = RowElements(self.memory, em, j, mask, spread, self.values if self.in_vector else None)
        for node in phase.vectors:
            if node not in self.plan.source:
                row.compute(node)
        for node in phase.vectors:
            if node in self.written or node in self.slots:
                self.memory.store(em, node, row.values[node], j, mask, past)
        found = [row.operand(node, 0) for node in phase.reductions]
        for node in phase.vectors if self.looks else ():
            if node in self.behind and not past:
                found.append(load(em, node.dtype, self.behind[node], j, mask))
            elif node in self.looks:
                parts = [(row.operand(node, i), node.inputs[i].dtype) for i in self.looks[node]]
                found.append(left_out(em, row.values[node], node.dtype, parts))
        em.raise_faults(self.flag)
        self.one.label = self.wide.label = em.label
        return found
