"""Operands: where the assembly of a tile finds what it reads, asks for and stores."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.freezing import frozen
from runtime.llvm_backend.ir.writer import Value


@frozen
class Row:
    """Where a row of A lies: `offset` times `scale` bytes behind the first."""

    offset: Value
    scale: int = 1


@frozen
class Lines:
    """Lines of the cache to ask for: `many` from `first` on in a round, and `step` bytes on in the next."""

    first: str
    many: int
    step: int


@frozen
class Place:
    """Where rows of vectors lie in memory: the pointer `first`, and how many bytes from row to row.

    Attributes:
        alike: whether all lanes of a row are the one element that is there.
    """

    first: str
    row: Value
    alike: bool = False


@frozen
class Ending:
    """What is done to sums where they are, row by row, and where they are stored.

    Attributes:
        steps: instructions, such as ``add``, and what is read for them, by its number among `reads`; ``relu``
            reads nothing.
        masks: which lanes of each vector of a row count; None: all.
        rows: how many there are, where a tile has more of them; None: all.
        asks: whether the lines that are stored to are asked for before the loop.
    """

    steps: Sequence[tuple[str, int | None]]
    reads: Sequence[Place]
    out: Place
    masks: Sequence[str | None]
    rows: str | None = None
    asks: bool = False

    @property
    def moving(self) -> list[Place]:
        """What lies elsewhere in each row."""
        return [self.out, *(read for read in self.reads if read.row != 0)]

    @property
    def pointers(self) -> list[str]:
        """The pointers that are given."""
        return [place.first for place in (self.out, *self.reads)]

    @property
    def numbers(self) -> list[Value]:
        """The numbers that are given."""
        return [*(place.row for place in self.moving), *([self.rows] if self.rows else [])]
