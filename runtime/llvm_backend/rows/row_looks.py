"""Row looks: what looks at the values of a chunk's rows have seen, in registers.

A look adds 0 times a value to what was seen before: that stays 0, or is NaN from then on. Loops over rows
carry these sums along, so a row asks nothing, and the chunk asks once at its end.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from graphc.tensor import Tensor
from graphc.types import FLOAT32, FLOAT64, DType
from runtime.llvm_backend.ir.text import Emitter
from runtime.llvm_backend.ir.values import register_scalar
from runtime.llvm_backend.rows.numerics import see
from runtime.llvm_backend.rows.row_plan import RowPlan
from runtime.llvm_backend.rows.totals import look_of


class RowLooks:
    """One sum for each width and dtype of registers that is looked at.

    Args:
        singly: whether some elements of a row are looked at one by one.

    Attributes:
        types: of the sums' registers.
        sums: the registers.
    """

    def __init__(
        self, one: Emitter, wide: Emitter, plan: RowPlan, looks: Collection[Tensor], singly: bool
    ) -> None:
        self._one, self._wide = one, wide
        vectors = {node for phase in plan.phases for node in phase.vectors}
        of_row = (wide, one) if singly else (wide,)
        found = ((em, _held(node.dtype)) for node in looks for em in (of_row if node in vectors else (one,)))
        self._of = list(dict.fromkeys(found))
        self.types = tuple(em.type(register_scalar(dtype)) for em, dtype in self._of)
        self.sums = tuple(em.number(register_scalar(dtype), 0.0) for em, dtype in self._of)

    def hold(self, sums: Sequence[str]) -> None:
        """From here on, the registers are those."""
        self.sums = tuple(sums)

    def note(self, em: Emitter, dtype: DType, value: str, counts: str | None) -> None:
        """Looks at `value`, where `counts` holds; None: it does."""
        held = _held(dtype)
        scalar, at = register_scalar(held), self._of.index((em, held))
        zero = em.number(scalar, 0.0)
        seen = em.intrinsic("fmuladd", scalar, value, zero, self.sums[at])
        if counts is not None:
            of = em.type(scalar)
            seen = em.let(f"select i1 {counts}, {of} {seen}, {of} {self.sums[at]}")
        self.sums = (*self.sums[:at], seen, *self.sums[at + 1 :])

    def see(self, flag: str) -> None:
        """Raises the flag where a look has seen something."""
        for (em, dtype), total in zip(self._of, self.sums, strict=True):
            number = total if em is self._one else look_of(em, dtype).number(self._one, em, [total])
            see(self._one, dtype, number, flag)
            self._wide.label = self._one.label


def _held(dtype: DType) -> DType:
    """The dtype of the registers that hold `dtype`."""
    return FLOAT64 if dtype is FLOAT64 else FLOAT32
