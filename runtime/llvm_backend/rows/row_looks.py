"""Row looks: what looks at the values of a chunk's rows have seen, in registers.

A look adds 0 times a value to what was seen before: that stays 0, or is NaN from then on. Loops over rows
carry these sums along, so a row asks nothing, and the chunk asks once at its end.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Sequence
from typing import TYPE_CHECKING

from graphc.tensor import Tensor
from graphc.types import FLOAT32, FLOAT64, DType
from runtime.llvm_backend.ir.text import Emitter
from runtime.llvm_backend.ir.values import load, register_scalar
from runtime.llvm_backend.rows.numerics import see
from runtime.llvm_backend.rows.totals import look_of

if TYPE_CHECKING:
    from runtime.llvm_backend.rows.row_writer import RowWriter


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


def place_behind(writer: RowWriter, row: str) -> None:
    """Says that `row` is the one at which is looked what is looked at later."""
    for node in writer.behind:
        array, scalar = writer.results[writer.written[node]], register_scalar(node.dtype)
        offset = writer.one.let(f"mul i64 {row}, {writer.inner}")
        writer.behind[node] = writer.one.let(f"getelementptr {scalar}, ptr {array}, i64 {offset}")


def look_at_row(writer: RowWriter, row: str) -> None:
    """Looks at the last row, which no row came after."""
    place_behind(writer, row)
    places = [(node.dtype, begun) for node, begun in writer.behind.items()]
    _look_at(writer, places, "0", writer.inner)


def look_at_numbers(writer: RowWriter, first: str, end: str) -> None:
    """Looks at what is one number for each row of a chunk, once all are stored."""
    places = [(node.dtype, writer.results[writer.written[node]]) for node in writer.seen_last]
    _look_at(writer, places, first, end)


def _look_at(writer: RowWriter, places: Sequence[tuple[DType, str]], begin: str, end: str) -> None:
    def elements(em: Emitter, j: str, mask: str | None) -> list[str]:
        return [load(em, dtype, array, j, mask) for dtype, array in places]

    looks = [look_of(writer.one, dtype) for dtype, _ in places]
    writer.loops.write(looks, begin, end, 2, elements, length=writer.length(end))
