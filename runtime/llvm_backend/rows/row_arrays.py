"""Row arrays: the elements of a row in memory, from and to which a row kernel's loops load and store.

Where a row begins in each array is computed before the loop, so that the loop adds nothing to its counter.
"""

from __future__ import annotations

from graphc.tensor import Tensor
from graphc.types import DType
from runtime.llvm_backend.ir.text import Emitter
from runtime.llvm_backend.ir.values import ahead, ask, load, memory_dtype, memory_scalar, store, stream
from runtime.llvm_backend.rows.row_frame import RowFrame
from runtime.llvm_backend.rows.row_plan import Access, Phase


class RowArrays:
    """The arrays of a kernel; rows begin where the `offsets` of its frame say."""

    def __init__(self, frame: RowFrame) -> None:
        self.frame = frame
        self._begun: dict[tuple[str, str], str] = {}  # by array and offset

    def leave_row(self) -> None:
        """Forgets where rows began: what comes next may be reached without passing there."""
        self._begun.clear()

    def begin(self, phase: Phase) -> None:
        """Computes where the rows begin that the loop of `phase` walks along."""
        frame, one, operands = self.frame, self.frame.one, self.frame.plan.operands
        for user in (*phase.vectors, *phase.reductions):
            for i in range(len(user.inputs)):
                below, access = operands[user, i]
                if access is None:
                    if below in frame.written:
                        self._begin_result(below)
                elif access.inner:
                    self._begin(one, below.dtype, frame.arrays[frame.inputs[below]], access)
        for node in phase.vectors:
            if node in frame.written:
                self._begin_result(node)

    def _begin_result(self, node: Tensor) -> None:
        frame = self.frame
        place = frame.written[node]
        self._begin(frame.one, node.dtype, frame.results[place], frame.plan.writes[place])

    def _begin(self, one: Emitter, dtype: DType, array: str, access: Access) -> None:
        key = array, self.frame.offsets[access]
        if key not in self._begun:
            self._begun[key] = self._row(one, memory_dtype(dtype), array, access)

    def _row(self, em: Emitter, dtype: DType, array: str, access: Access) -> str:
        """Where the row begins in `array`."""
        offset = self.frame.offsets[access]
        if offset == "0":
            return array
        begun = self._begun.get((array, offset))
        return begun or em.let(f"getelementptr {memory_scalar(dtype)}, ptr {array}, i64 {offset}")

    def load(self, em: Emitter, operand: Tensor, access: Access, j: str, mask: str | None) -> str:
        """An operand's elements from `j` on."""
        frame, dtype = self.frame, memory_dtype(operand.dtype)
        row = self._row(em, dtype, frame.arrays[frame.inputs[operand]], access)
        if access.step != 1:
            j = em.let(f"mul i64 {j}, {access.step}")
        value = load(em, dtype, row, j, mask, frame.noted, access.step)
        if frame.plan.is_split and mask is None:
            ahead(em, dtype, row, j)
        return value

    def ask(self, em: Emitter, operand: Tensor, access: Access, rows: int, j: str) -> None:
        """Asks the memory for an operand's elements from `j` on, `rows` rows later."""
        frame, dtype = self.frame, memory_dtype(operand.dtype)
        assert isinstance(frame.plan.inner, int)
        row = self._row(em, dtype, frame.arrays[frame.inputs[operand]], access)
        if access.step != 1:
            j = em.let(f"mul i64 {j}, {access.step}")
        ask(em, dtype, row, em.let(f"add i64 {j}, {rows * (access.pitch or frame.plan.inner)}"))

    def store(self, em: Emitter, node: Tensor, value: str, j: str, mask: str | None, past: bool) -> None:
        """Stores a row's values from `j` on: in the result, perhaps past the caches, or in scratch.

        Of a result that is claimed the next row is asked for.
        """
        frame, dtype, row = self.frame, memory_dtype(node.dtype), self._kept(em, node)
        if past and frame.written.get(node) in frame.streams:
            stream(em, dtype, value, row, j)
            return
        store(em, dtype, value, row, j, mask)
        if mask is None and frame.written.get(node) in frame.claimed:
            ask(em, dtype, row, em.let(f"add i64 {j}, {frame.plan.inner}"), to_store=True)

    def load_kept(self, em: Emitter, node: Tensor, j: str, mask: str | None) -> str:
        """A row's values that an earlier phase computed: from the result, or from scratch."""
        return load(em, memory_dtype(node.dtype), self._kept(em, node), j, mask, self.frame.noted)

    def _kept(self, em: Emitter, node: Tensor) -> str:
        frame = self.frame
        if node not in frame.written:
            return frame.kept[frame.slots[node]]
        place = frame.written[node]
        return self._row(em, memory_dtype(node.dtype), frame.results[place], frame.plan.writes[place])
