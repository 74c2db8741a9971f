"""Row looks: what looks at the values of a chunk's rows have seen, in registers.

A look adds 0 times a value to what was seen before: that stays 0, or is NaN from then on. Loops over rows
carry these sums along, so a row asks nothing, and the chunk asks once at its end.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Sequence
from math import inf

from graphc.tensor import Tensor
from graphc.types import FLOAT32, FLOAT64, DType
from runtime.llvm_backend.ir.text import Emitter
from runtime.llvm_backend.ir.values import lanes, register_scalar
from runtime.llvm_backend.rows.numerics import NONFINITE
from runtime.llvm_backend.rows.totals import look_of


class RowLooks:
    """One sum for each width and dtype of registers that is looked at.

    Args:
        vectors: those of `looks` at which vectors are looked at.
        singly: whether some of their elements are looked at one by one all the same.

    Attributes:
        types: of the sums' registers.
        sums: the registers.
    """

    def __init__(
        self, one: Emitter, wide: Emitter, looks: Collection[Tensor], vectors: Container[Tensor], singly: bool
    ) -> None:
        self._one, self._wide = one, wide
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


def left_out(em: Emitter, value: str, dtype: DType, operands: Sequence[tuple[str, DType]]) -> str:
    """`value`, or 0 where one of `operands` is not finite."""
    for operand, given in operands:
        v = lanes(em, given)
        finite = v.compare("olt", v.magnitude(operand), v.number(inf))
        value = em.select(finite, register_scalar(dtype), value, em.number(register_scalar(dtype), 0.0))
    return value


def see(one: Emitter, dtype: DType, value: str, flag: str) -> None:
    """Raises the flag where `value`, a number in a register, is NaN or infinite."""
    scalar = register_scalar(dtype)
    apart = one.binary("fsub", scalar, value, value)
    one.fault(one.compare("uno", scalar, apart, apart), NONFINITE)
    one.raise_faults(flag)
