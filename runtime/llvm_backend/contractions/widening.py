"""Widening: the numbers of a schedule that leave its code as it is become words of the argument block.

A size or a stride is a word, but for 0, 1 and -1, which are other code, and the size of a short reduction,
whose steps are written one after the other. So contractions of other sizes, of which the schedule is the same
but for numbers, have one text, and are compiled once. What is known of a word (it is no 0, or a multiple
of the lanes) is part of the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache, lru_cache

from graphc.sizes import Size, SizeExpr, Symbol, named, sole_symbol, substitute
from runtime.llvm_backend.contractions.contraction import Access
from runtime.llvm_backend.contractions.schedule import CHAINS, SHORT, Loop, Schedule, dot_copies
from runtime.llvm_backend.contractions.splits import Split


class Widening:
    """Words for the numbers of one kernel, in the order in which they are met.

    Attributes:
        values: the number that each word holds. Where `plan` writes it, that is 0.
        planned: the words that `plan` writes.
        multiples: of each word that is known and no 0, a number that it is a multiple of.
    """

    def __init__(self) -> None:
        self.values: dict[Symbol, Size] = {}
        self._numbers: dict[Size, Size] = {}  # the same by word
        self.multiples: dict[SizeExpr, int] = {}
        self.planned: set[Size] = set()

    def word(self, number: Size, multiples: Sequence[int] = (), always: bool = False) -> Size:
        """A word for `number`, or the number where it changes the code, which is not so `always`."""
        if isinstance(number, int) and -1 <= number <= 1 and not always:
            return number
        made = self._new(number)
        if isinstance(number, int) and number > 0:
            self.multiples[made] = next((m for m in multiples if number % m == 0), 1) if multiples else 1
        return made

    def later(self) -> SizeExpr:
        """A word that `plan` writes."""
        made = self._new(0)
        self.planned.add(made)
        return made

    def actual(self, size: Size) -> Size:
        """What an expression of words is."""
        found = self._numbers.get(size)
        return substitute(size, self.values) if found is None else found

    def schedule(self, schedule: Schedule) -> Schedule:
        """The schedule with words for its numbers."""
        operands = tuple(
            access and Access(access.buffer, self.word(access.offset), {}, access.dtype)
            for access in schedule.operands
        )
        rows, column = tuple(self._loop(loop) for loop in schedule.rows), self._loop(schedule.column)
        likely = _likely_multiples(schedule)
        return replace(
            schedule,
            operands=operands,
            batch=tuple(self._loop(loop) for loop in schedule.batch),
            rows=rows,
            column=column,
            reduction=tuple(self._reduced(loop, likely) for loop in schedule.reduction),
            block=None if schedule.block is None else self.word(schedule.block, always=True),
            tiles=tuple(
                self._split(split, loop.size)
                for split, loop in zip(schedule.tiles, rows[-len(schedule.tiles) :], strict=True)
            ),
            panels=self._split(schedule.panels, column.size),
        )

    def _reduced(self, loop: Loop, multiples: Sequence[int]) -> Loop:
        made = self._loop(loop, multiples)
        return Loop(loop.size, made.strides) if isinstance(loop.size, int) and loop.size <= SHORT else made

    def _loop(self, loop: Loop, multiples: Sequence[int] = ()) -> Loop:
        return Loop(self.word(loop.size, multiples), tuple(self.word(stride) for stride in loop.strides))

    def _split(self, split: Split, size: Size) -> Split:
        full, count = split.full, split.count
        if split.open:
            full, count = _count_tiles(split.size, split.step, split.rest)
        assert full is not None  # they are missing where it is open alone
        assert count is not None
        kinds = split.open, split.edge, split.single
        return Split(size, split.step, split.rest, *kinds, self.word(full), self.word(count))

    def _new(self, number: Size) -> SizeExpr:
        made, symbol = _name(len(self.values))
        self.values[symbol] = self._numbers[made] = number
        return made


@cache
def _name(number: int) -> tuple[SizeExpr, Symbol]:
    """What the word of that number is called, and the symbol that this is."""
    made = named(f"w{number}")
    symbol = sole_symbol(made)
    assert symbol is not None  # it is nothing else
    return made, symbol


@lru_cache(maxsize=64)
def _count_tiles(size: Size, step: int, rest: int) -> tuple[Size, Size]:
    """Full tiles, and all, of a size that is known only at the run."""
    full = size // step
    return full, full + (size + full * -step + (rest - 1)) // rest


def _likely_multiples(schedule: Schedule) -> tuple[int, ...]:
    """What a size of the reduction should be a multiple of, so that there is no rest; the best first."""
    if schedule.form == "dot":
        copies = dot_copies(schedule.pair * schedule.height * schedule.vectors)
        return copies * schedule.width, schedule.width
    found: tuple[int, ...] = (schedule.width,) if schedule.copy else ()
    return (*found, CHAINS) if schedule.height * schedule.pair == 1 else found
