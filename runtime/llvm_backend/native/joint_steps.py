"""Joint steps: kernels of rows that need nothing of each other, as one step of the table.

The updates of small variables are such: `passes.updates` has them stand next to each other. Each kernel stays
what it is, and equal ones are the same code; together they are cut in chunks of about equal work, and run in
one call where that is less than it takes to wake a thread.

A member writes nothing to the arena: no value takes the place of one that another part still reads.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

from graphc.freezing import frozen
from passes.memory import Cell
from passes.program import Step
from passes.record import Decision, decide
from passes.weight import parts_of
from runtime.execution import BoundStep
from runtime.llvm_backend.engine.library import Promises
from runtime.llvm_backend.native.cells import Cells
from runtime.llvm_backend.native.drafts import Draft
from runtime.llvm_backend.native.lowered import CONSTANT, VIEW
from runtime.llvm_backend.native.native_steps import StepWriter
from runtime.llvm_backend.native.patterns import Pattern
from runtime.llvm_backend.rows.row_block import Word
from runtime.llvm_backend.rows.row_code import RowKernel
from runtime.llvm_backend.rows.row_steps import WORK, work_of
from runtime.llvm_backend.table.steptable import TableBuilder

MOST_CHUNKS = 4  # of a kernel that goes with others: more of them fill the threads by themselves
CHUNK = 16 * WORK  # of several: some 100 us, measured, several times what a thread that sleeps takes to come


@frozen
class Member:
    """A step that may go with others: what it reads and writes, its chunks, and what one of them costs."""

    step: Step
    bound: BoundStep
    draft: Draft
    pattern: Pattern
    read: Set[Cell]
    written: Set[Cell]
    chunks: int
    work: int


class JointSteps:
    """Steps that wait to be written together; what stands between them does not run at all."""

    def __init__(self, builder: TableBuilder, writer: StepWriter, cells: Cells, functions: Promises) -> None:
        self._builder, self._writer, self._cells, self._functions = builder, writer, cells, functions
        self._waiting: list[Member] = []
        self._written: set[Cell] = set()  # by those that wait

    def takes(self, step: Step, bound: BoundStep, draft: Draft) -> bool:
        """Whether `step` waits, or does not run; else those that wait are to be written first."""
        if draft.kind in (VIEW, CONSTANT):
            return True
        part = self._part(step, bound, draft)
        if part is None:
            return False
        if not self._written.isdisjoint(part.read):
            self.write()
        self._waiting.append(part)
        self._written |= part.written
        return True

    def write(self) -> None:
        """Writes those that wait, and forgets them."""
        if not self._waiting:
            return
        waiting, self._waiting, self._written = self._waiting, [], set()
        if len(waiting) > 1:
            nodes = tuple(part.step.node for part in waiting)
            last, details = nodes[-1], {"parts": len(nodes)}
            if decide(Decision("fork", last.op.name, True, "together", last.loc, details, nodes), last):
                self._write(waiting)
                return
        for part in waiting:
            self._writer.write(part.step, part.bound, part.draft, self._functions)

    def _part(self, step: Step, bound: BoundStep, draft: Draft) -> Member | None:
        """`step` as a part: its sizes are known, it keeps nothing in scratch, its chunks are all it runs."""
        kernel = draft.kernel
        if not isinstance(kernel, RowKernel):
            return None
        written = frozenset(
            self._cells.root((step.output, part)) for part in range(len(parts_of(step.node.type)))
        )
        cells = self._cells
        if any(cell in cells.plan.slot_of or cell in cells.homes or cell in cells.lent for cell in written):
            return None
        (pattern,) = self._writer.patterns_of(draft, self._functions)
        if pattern.sizes or pattern.scratch or not kernel.plan.inner:
            return None
        ((_, count),) = pattern.runs
        rows, inner, chunks = (pattern.words[i] for i in (Word.ROWS, Word.INNER, count))
        if not 0 < chunks <= MOST_CHUNKS:
            return None
        elements = rows if kernel.plan.is_flat else rows * inner
        read = frozenset(self._cells.root((buffer, 0)) for buffer in step.inputs)
        work = elements * work_of(kernel.plan) // chunks
        return Member(step, bound, draft, pattern, read, written, chunks, work)

    def _write(self, parts: Sequence[Member]) -> None:
        entries: list[tuple[int, int, int, int]] = []
        starts, held = [0], 0
        for part in parts:
            ((function, _),) = part.pattern.runs
            block = self._writer.stamped(part.pattern, part.step)
            for chunk in range(part.chunks):
                if held and held + part.work > CHUNK:
                    starts.append(len(entries))
                    held = 0
                held += part.work
                entries.append((function, block, chunk, chunk + 1))
        self._builder.joint(entries, [*starts, len(entries)])
