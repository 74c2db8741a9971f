"""Row arrays: the elements of a row in memory, from and to which a row kernel's loops load and store.

Where a row begins in each array is computed before the loop, so that the loop adds nothing to its counter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphc.tensor import Tensor
from graphc.types import DType
from runtime.llvm_backend.ir.text import Emitter
from runtime.llvm_backend.ir.values import ahead, ask, load, memory_dtype, memory_scalar, store, stream
from runtime.llvm_backend.rows.row_plan import Access, Phase

if TYPE_CHECKING:
    from runtime.llvm_backend.rows.row_writer import RowWriter


class RowArrays:
    """The arrays of a writer's kernel; rows begin where its `offsets` say."""

    def __init__(self, writer: RowWriter) -> None:
        self._writer = writer
        self._begun: dict[tuple[str, str], str] = {}  # by array and offset

    def leave_row(self) -> None:
        """Forgets where rows began: what comes next may be reached without passing there."""
        self._begun.clear()

    def begin(self, phase: Phase) -> None:
        """Computes where the rows begin that the loop of `phase` walks along."""
        writer, one = self._writer, self._writer.one
        for user in (*phase.vectors, *phase.reductions):
            for i, operand in enumerate(user.inputs):
                below = writer.plan.source.get(operand, operand)
                if below in writer.inputs:
                    access = writer.access(user, i)
                    if access.inner:
                        self._begin(one, below.dtype, writer.arrays[writer.inputs[below]], access)
                elif below in writer.written:
                    self._begin_result(below)
        for node in phase.vectors:
            if node in writer.written:
                self._begin_result(node)

    def _begin_result(self, node: Tensor) -> None:
        writer = self._writer
        place = writer.written[node]
        self._begin(writer.one, node.dtype, writer.results[place], writer.plan.writes[place])

    def _begin(self, one: Emitter, dtype: DType, array: str, access: Access) -> None:
        key = array, self._writer.offsets[access]
        if key not in self._begun:
            self._begun[key] = self._row(one, memory_dtype(dtype), array, access)

    def _row(self, em: Emitter, dtype: DType, array: str, access: Access) -> str:
        """Where the row begins in `array`."""
        offset = self._writer.offsets[access]
        if offset == "0":
            return array
        begun = self._begun.get((array, offset))
        return begun or em.let(f"getelementptr {memory_scalar(dtype)}, ptr {array}, i64 {offset}")

    def load(self, em: Emitter, operand: Tensor, access: Access, j: str, mask: str | None) -> str:
        """An operand's elements from `j` on."""
        writer, dtype = self._writer, memory_dtype(operand.dtype)
        row = self._row(em, dtype, writer.arrays[writer.inputs[operand]], access)
        value = load(em, dtype, row, j, mask, writer.noted)
        if writer.plan.is_split and mask is None:
            ahead(em, dtype, row, j)
        return value

    def ask(self, em: Emitter, operand: Tensor, access: Access, rows: int, j: str) -> None:
        """Asks the memory for an operand's elements from `j` on, `rows` rows later."""
        writer, dtype = self._writer, memory_dtype(operand.dtype)
        assert isinstance(writer.plan.inner, int)
        row = self._row(em, dtype, writer.arrays[writer.inputs[operand]], access)
        ask(em, dtype, row, em.let(f"add i64 {j}, {rows * (access.pitch or writer.plan.inner)}"))

    def store(self, em: Emitter, node: Tensor, value: str, j: str, mask: str | None, past: bool) -> None:
        """Stores a row's values from `j` on: in the result, perhaps past the caches, or in scratch."""
        writer, dtype = self._writer, memory_dtype(node.dtype)
        if past and writer.written.get(node) in writer.streams:
            stream(em, dtype, value, self._kept(em, node), j)
        else:
            store(em, dtype, value, self._kept(em, node), j, mask)

    def load_kept(self, em: Emitter, node: Tensor, j: str, mask: str | None) -> str:
        """A row's values that an earlier phase computed: from the result, or from scratch."""
        return load(em, memory_dtype(node.dtype), self._kept(em, node), j, mask, self._writer.noted)

    def _kept(self, em: Emitter, node: Tensor) -> str:
        writer = self._writer
        if node not in writer.written:
            return writer.kept[writer.slots[node]]
        place = writer.written[node]
        return self._row(em, memory_dtype(node.dtype), writer.results[place], writer.plan.writes[place])
