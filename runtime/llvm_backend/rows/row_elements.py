"""Row elements: what a row kernel computes of some neighbouring elements of a row, in registers."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from graphc.tensor import Tensor
from passes.fusion import PUT
from runtime.llvm_backend.ir.divisors import divide_by
from runtime.llvm_backend.ir.scalars import emit_op, spelled
from runtime.llvm_backend.ir.text import Emitter
from runtime.llvm_backend.rows.row_arrays import RowArrays
from runtime.llvm_backend.rows.row_labels import put_at
from runtime.llvm_backend.rows.row_plan import VIEWS, Operand


def code_of(node: Tensor, showing: Collection[Tensor]) -> str:
    """The op that `emit_op` is to write."""
    if node in showing:
        return f"showing {node.op.name}"
    return "identity" if node.op.name in VIEWS else spelled(node.op.name, node.attrs)


class RowElements:
    """Values of a row at the elements from `j` on, as many as `em` is wide."""

    def __init__(
        self,
        memory: RowArrays,
        em: Emitter,
        j: str,
        mask: str | None,
        spread: Mapping[Operand, str],
        values: dict[object, str] | None = None,
    ) -> None:
        self.memory, self.frame = memory, memory.frame
        self.em, self.j, self.mask, self.spread = em, j, mask, spread
        self.values = {} if values is None else values  # those that are known, and what becomes known

    def compute(self, node: Tensor) -> None:
        """Computes `node`, whose operands are known."""
        if node.op is PUT:
            value, frame = self.operand(node, 0), self.frame
            self.values[node] = put_at(self.em, frame.one, node.dtype, value, frame.index(node), self.j)
            return
        d = self.frame.divisor(node) if self.frame.divisors else None
        if d is not None and d in self.frame.divisors:
            one, wide = self.frame.divisors[d]
            by, x = wide if self.em.width > 1 else one, self.operand(node, 0)
            self.values[node] = divide_by(self.em, node.op.name, node.dtype, x, by)
            return
        operands = [self.operand(node, i) for i in range(len(node.inputs))]
        dtypes = [operand.dtype for operand in node.inputs]
        op = code_of(node, self.frame.showing)
        self.values[node] = emit_op(self.em, op, operands, dtypes, node.dtype)

    def operand(self, user: Tensor, i: int) -> str:
        """Operand number i of `user`."""
        frame, em, values = self.frame, self.em, self.values
        below, access = operand = frame.plan.operands[user, i]
        if frame.is_number(operand):
            return self.spread[operand] if em.width > 1 else frame.number(operand)
        if access is not None:
            if operand not in values:
                values[operand] = self.memory.load(em, below, access, self.j, self.mask)
            return values[operand]
        if below not in values:  # of an earlier phase
            values[below] = self.memory.load_kept(em, below, self.j, self.mask)
        return values[below]
