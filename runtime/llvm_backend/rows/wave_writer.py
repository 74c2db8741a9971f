"""Wave writer: the function of a row kernel whose loops are one; `row_wave` says why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import nan

from graphc.tensor import Tensor
from runtime.llvm_backend.ir.text import Emitter
from runtime.llvm_backend.ir.values import memory_dtype, register_scalar
from runtime.llvm_backend.rows.row_loop import Visit
from runtime.llvm_backend.rows.row_offsets import row_offsets
from runtime.llvm_backend.rows.row_plan import Access
from runtime.llvm_backend.rows.row_wave import Group, wave_groups
from runtime.llvm_backend.rows.row_writer import RowWriter
from runtime.llvm_backend.rows.totals import Total


@dataclass(slots=True)
class _Place:
    """Where a loop is: its row, and whether that is more than a pretext."""

    numbers: dict[Tensor, str]
    offsets: dict[Access, str]
    results: list[str]
    counts: str | None


class WaveWriter(RowWriter):
    """Writes one kernel."""

    in_order = False

    def each_row(self, first: str, end: str) -> None:
        """The loop over steps."""
        groups, one = wave_groups(self.plan), self.one
        if self.noted:
            self._clear_scratch()
        behind = len(groups) - 1
        delayed = self._delayed(groups)
        carried = [
            (register_scalar(node.dtype), self._absent(node))
            for node, delay in delayed.items()
            for _ in range(delay)
        ]
        seen = list(zip(self.sight.types, self.sight.sums, strict=True))
        of_all, results = dict(self.numbers), list(self.results)
        last = one.let(f"sub i64 {end}, 1")
        made_by = {node: n for n, group in enumerate(groups) for node in self.made_by(group)}

        def step(number: str, inside: Sequence[str]) -> list[str]:
            rest = iter(inside)
            before = {node: [next(rest) for _ in range(delay)] for node, delay in delayed.items()}
            self.sight.hold(list(rest))
            places = []
            for n, group in enumerate(groups):
                numbers = {
                    node: values[n - made_by[node] - 1]
                    for node, values in before.items()
                    if 0 < n - made_by[node] <= len(values)
                }
                places.append(self._place(group, number, n, (first, last), of_all | numbers, results))
            self._step(groups, places)
            found = {node: places[made_by[node]].numbers[node] for node in delayed}
            made = [x for node, values in before.items() for x in (found[node], *values[:-1])]
            return [*made, *self.sight.sums]

        left = self.loops.walk(first, one.let(f"add i64 {end}, {behind}"), 1, [*carried, *seen], step)
        self.sight.hold(left[len(carried) :])
        self.counts = None

    def _clear_scratch(self) -> None:
        """Of rows that are not there yet the CPU is to note nothing: a NaN that signals may lie there."""
        one = self.one
        for row in (self.spare, *self.kept):

            def clear(j: str, _: Sequence[str], row: str = row) -> list[str]:
                one.do(f"store i64 0, ptr {one.let(f'getelementptr i64, ptr {row}, i64 {j}')}, align 8")
                return []

            self.loops.walk("0", self.inner, 1, [], clear)

    def _absent(self, node: Tensor) -> str:
        """What a loop begins with that has no row yet; the CPU is to note nothing of it."""
        is_nan = self.noted and node.dtype.is_floating
        return self.one.number(register_scalar(node.dtype), nan) if is_nan else "zeroinitializer"

    def _delayed(self, groups: Sequence[Group]) -> dict[Tensor, int]:
        """For each number that later groups read, the number of steps that it is kept."""
        delays: dict[Tensor, int] = {}
        for n, group in enumerate(groups):
            for node in self.made_by(group):
                for m in range(n + 1, len(groups)):
                    nodes = (x for p in groups[m] for x in (*p.vectors, *p.reductions, *p.numbers))
                    if any(self.plan.source.get(i, i) is node for x in nodes for i in x.inputs):
                        delays[node] = m - n
        return delays

    def _place(
        self,
        group: Group,
        step: str,
        behind: int,
        ends: tuple[str, str],
        numbers: dict[Tensor, str],
        results: Sequence[str],
    ) -> _Place:
        """Where the loop of `group` is at `step`: so many rows `behind`."""
        one, plan = self.one, self.plan
        row, counts = step, None
        if behind:
            row = one.let(f"sub i64 {step}, {behind}")
            counts = one.compare("sge", "i64", row, ends[0])
            row = one.intrinsic("smax", "i64", row, ends[0])
        row = one.intrinsic("smin", "i64", row, ends[1])
        place = _Place(
            numbers, row_offsets(one, plan.accesses, row, self.inner, self.sizes), list(results), counts
        )
        made = {node for phase in group for node in (*phase.vectors, *phase.reductions, *phase.numbers)}
        for node, number in self.written.items():
            if node in made and counts is not None:
                size = memory_dtype(node.dtype).itemsize
                back = one.let(f"mul i64 {place.offsets[plan.writes[number]]}, {-size}")
                spare = one.let(f"getelementptr i8, ptr {self.spare}, i64 {back}")
                place.results[number] = one.let(f"select i1 {counts}, ptr {results[number]}, ptr {spare}")
        return place

    def _be_at(self, place: _Place) -> None:
        self.numbers, self.offsets, self.results = place.numbers, place.offsets, place.results
        self.counts, self.labels = place.counts, {}

    def _step(self, groups: Sequence[Group], places: Sequence[_Place]) -> None:
        """All loops at once, and what is computed once a row before and after each."""
        spreads, totals, walked = [], [], []
        for group, place in zip(groups, places, strict=True):
            self._be_at(place)
            (at,) = (i for i, phase in enumerate(group) if phase.vectors or phase.reductions)
            for phase in group[:at]:
                self.run_numbers(phase)
            walked.append(group[at])
            totals.append([replace(t, counts=place.counts) for t in self.totals(group[at])])
            spreads.append(self.spread_numbers(group[at]))

        def elements(em: Emitter, j: str, mask: str | None, past: bool = False) -> list[str]:
            found: list[list[str]] = []
            for n in reversed(range(len(places))):  # the last first: it reads what the one before writes over
                self._be_at(places[n])
                found.append(self.elements(em, walked[n], j, mask, spreads[n], past))
            return [value for values in reversed(found) for value in values]

        either = (self.streamed, partial(elements, past=True)) if any(map(self.may_stream, walked)) else None
        gathered: list[Total] = [total for each in totals for total in each]
        values = iter(self.loops.write(Visit(elements, gathered, either), self.span("0", self.inner)))
        for group, place, phase, each in zip(groups, places, walked, totals, strict=True):
            self._be_at(place)
            self.end_loop(phase, [next(values) for _ in each][: len(phase.reductions)])
            for later in group[group.index(phase) :]:
                self.run_numbers(later)
