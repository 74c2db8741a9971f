"""Schedule: how a contract is run: which loop plays which role, and where its operands lie.

The order of loops is fixed: units of output > blocks of the reduction > panels of the vector dim >
rows > register tile > reduction within the block.
"""

from __future__ import annotations

from typing import Literal

from graphc.freezing import frozen
from graphc.sizes import Size, product
from runtime.llvm_backend.contractions.contraction import Access
from runtime.llvm_backend.contractions.splits import Split

A, B, OUT = 0, 1, 2  # the first operands of every loop; then come the reads, then what is stored besides
SHORT = 4  # steps that are written one after the other, where the reduction has no more
CHAINS = 4  # sums that are made at once of an output of few rows, or steps wait for steps
_DOT_ACCUMULATORS = 8
_SQUARE = 16  # bytes of a row of a square that is transposed


@frozen
class Loop:
    """An index with its stride in each operand: A, B, out, then the reads."""

    size: Size
    strides: tuple[Size, ...]

    def moving(self, operand: int, stride: Size) -> Loop:
        """The same with another stride in one operand."""
        return Loop(self.size, (*self.strides[:operand], stride, *self.strides[operand + 1 :]))


@frozen
class Schedule:
    """How a contract is run.

    Attributes:
        form: "outer" where lanes are outputs, "dot" where lanes are steps of the reduction.
        operands: the access of each operand; B is None where there is one input.
        inputs: which input A is, and B.
        batch, rows, column, reduction: the loops by role, outermost first.
        outer: how many of the reduction's loops lie outside the register tile; the next is blocked.
        block: about as many steps of that loop are a block; None where it is whole.
        pair: how many of `rows[-2]` are in a tile; 1 where only `rows[-1]` is tiled.
        height: how many of `rows[-1]` are in a tile.
        vectors: vectors of the column in a tile (outer), or columns (dot).
        width: elements of a vector.
        tiles: how the last of the rows are split: those of the pair, where there is one, and the last.
        panels: how the column is split.
        pack, transposed, copy: whether B is packed, by transposing squares; whether A is copied.
        adaptive: whether the run decides if B is packed: only where enough rows use the panel.
        cut: of how many steps each part of the reduction is, which are added up pairwise; 0: it is whole.
        by_parts: whether threads share out those parts alone.
    """

    form: Literal["outer", "dot"]
    operands: tuple[Access | None, ...]
    inputs: tuple[int, int]
    batch: tuple[Loop, ...]
    rows: tuple[Loop, ...]
    column: Loop
    reduction: tuple[Loop, ...]
    outer: int
    block: Size | None
    pair: int
    height: int
    vectors: int
    width: int
    tiles: tuple[Split, ...]
    panels: Split
    pack: bool = False
    transposed: bool = False
    copy: bool = False
    adaptive: bool = False
    cut: int = 0
    by_parts: bool = False

    @property
    def lanes_in_a(self) -> bool:
        """Whether A moves with the lanes too: one input, or a depthwise convolution."""
        return self.column.strides[A] != 0

    @property
    def inner(self) -> tuple[Loop, ...]:
        """The loops of the reduction within the micro-kernel; the first may be a block."""
        return self.reduction[self.outer :]

    @property
    def steps(self) -> Size:
        """The most steps of the reduction in one call of a micro-kernel."""
        whole = product(loop.size for loop in self.inner[1:])
        first: Size = self.inner[0].size if self.block is None else self.block
        return whole * first


def square_side(schedule: Schedule) -> int:
    """Steps of the reduction in a square of B that is transposed: they are 16 bytes."""
    b = schedule.operands[B]
    assert b is not None  # or nothing would be packed
    return min(schedule.width, max(1, _SQUARE // b.dtype.itemsize))


def dot_copies(sums: int) -> int:
    """How often the dot form holds each of `sums`, so that there are enough to hide latency."""
    return max(1, _DOT_ACCUMULATORS // sums)
