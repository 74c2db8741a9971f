"""Row parts: the two functions of a kernel whose one long row is walked in parts."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.tensor import Tensor
from runtime.llvm_backend.ir.text import QUICKLY
from runtime.llvm_backend.ir.values import register_scalar
from runtime.llvm_backend.rows.row_block import Word
from runtime.llvm_backend.rows.row_loop import CHUNK
from runtime.llvm_backend.rows.row_plan import Phase
from runtime.llvm_backend.rows.row_writer import RowWriter
from runtime.llvm_backend.rows.totals import finish, total_of


class PartWriter(RowWriter):
    """Writes one of the two functions."""

    in_order = False

    def write_part(self) -> None:
        """Adds ``kernel`` to the module: one part of the row, whose totals are kept."""
        self.open()
        one, plan = self.one, self.plan
        first, end = self.range(self.inner)
        self.offsets = {access: str(access.start) for access in plan.accesses}
        for phase in plan.phases:
            if not phase.vectors and not phase.reductions:
                self.run_numbers(phase)
                continue
            totals = self.loop(phase, first, end)
            for number, (node, total) in enumerate(zip(phase.reductions, totals, strict=True)):
                one.do(f"store {self.total_type(node)} {total}, ptr {self.partial('%chunk', number)}")
            break
        self.close("kernel", CHUNK)

    def write_finish(self) -> None:
        """Adds ``finish`` to the module: the parts of a long row come together, in order."""
        self.open()
        one, plan = self.one, self.plan
        self.offsets = {access: str(access.start) for access in plan.accesses}
        up = one.let(f"add i64 {self.inner}, {one.let(f'sub i64 {self.per}, 1')}")
        parts = one.let(f"sdiv i64 {up}, {self.per}")
        for phase in plan.phases:
            if phase.reductions:
                self.join_parts(phase, parts)
            self.run_numbers(phase)
        self.close("finish", "ptr %block", f"{QUICKLY} ")

    def rest(self) -> int | None:
        """The row: all its parts but the last are whole vectors."""
        return self.plan.inner if isinstance(self.plan.inner, int) else None

    def join_parts(self, phase: Phase, parts: str) -> None:
        """The totals of all parts as those of the row."""
        one = self.one
        totals = [total_of(one, node) for node in phase.reductions]
        types = [self.total_type(node) for node in phase.reductions]

        def load_parts(part: str) -> list[str]:
            places = [self.partial(part, number) for number in range(len(types))]
            return [one.let(f"load {of}, ptr {at}") for of, at in zip(types, places, strict=True)]

        def join(part: str, before: Sequence[str]) -> list[str]:
            found = zip(totals, before, load_parts(part), strict=True)
            return [total.join(one, x, y, total.dtype) for total, x, y in found]

        carried = list(zip(types, load_parts("0"), strict=True))
        joined = self.loops.walk("1", parts, 1, carried, join)
        for node, total in zip(phase.reductions, joined, strict=True):
            self.numbers[node] = finish(one, node, total, self.inner)
            self.write_number(node)

    def total_type(self, node: Tensor) -> str:
        """The LLVM type of a reduction's total."""
        return register_scalar(total_of(self.one, node).dtype)

    def partial(self, part: str, number: int) -> str:
        """Where the total of reduction `number` over one part of a row is kept."""
        one = self.one
        many = sum(len(phase.reductions) for phase in self.plan.phases)
        at = one.let(f"add i64 {one.let(f'mul i64 {part}, {many}')}, {number}")
        return one.let(f"getelementptr i64, ptr {self.loops.word(Word.SCRATCH, 'ptr')}, i64 {at}")
