"""Packing: cells with lifetimes put into slots, the parts of an arena.

Greedily, each cell into the free slot that wastes least (`pack`), or step by step (`in_order`). A slot is as
large as its largest cell, which wastes what the others leave. Where that is much each cell is a slot of its
own, on top of those that are alive with it and lie below (`stack`): it begins where the highest of these
ends, which holds for all sizes, whatever guess of them said what lies below.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Collection, Sequence
from heapq import heappop, heappush
from itertools import chain

from graphc.freezing import frozen
from graphc.sizes import Size, maximum
from passes.weight import guess_bytes

ALIGNMENT = 64  # bytes: a line of the cache, and the widest vector

Cell = tuple[int, int]  # a buffer, and which of its results
Number = Callable[[Size], int]


@frozen
class Slot:
    """A part of the arena: `sizes` are the bytes of the cells that lie there one after another.

    It begins where the last of those that are `below` it ends, which says how many slots before it they come.
    `phase` says when its sizes are known (`memory.phases_of`); slots of one phase lie side by side.
    """

    sizes: tuple[Size, ...]
    below: tuple[int, ...]
    phase: int = 0

    def bytes(self, number: Number) -> int:
        """How large it is, rounded up to whole lines; `number` gives sizes as numbers."""
        return -(-max(map(number, self.sizes)) // ALIGNMENT) * ALIGNMENT


Packing = tuple[tuple[Slot, ...], dict[Cell, int]]  # and the slot of each cell


def places(slots: Sequence[Slot], number: Number) -> list[int]:
    """Where each of `slots` begins, in bytes, and at the end how large the arena is."""
    begins: list[int] = []
    ends: list[int] = []
    phase = floor = 0
    for at, slot in enumerate(slots):
        if slot.phase != phase:
            phase, floor = slot.phase, max(ends, default=0)
        begins.append(max((ends[at - i] for i in slot.below), default=floor))
        ends.append(begins[-1] + slot.bytes(number))
    return [*begins, max(ends, default=0)]


def extent_of(slots: Sequence[Slot]) -> Size:
    """The bytes of the arena as a size."""
    ends: list[Size] = []
    phase = 0
    floor: Size = 0
    for number, slot in enumerate(slots):
        if slot.phase != phase:
            phase, floor = slot.phase, _last(ends, tops(slots[:number]))
        begin = _last(ends, [number - i for i in slot.below]) if slot.below else floor
        ends.append(begin + _lines(slot.sizes))
    return _last(ends, tops(slots))


def tops(slots: Sequence[Slot]) -> list[int]:
    """The numbers of the slots that no other lies on."""
    lower = {number - i for number, slot in enumerate(slots) for i in slot.below}
    return [number for number in range(len(slots)) if number not in lower]


def _last(ends: Sequence[Size], numbers: Sequence[int]) -> Size:
    last: Size = 0
    for number in numbers:
        last = maximum(last, ends[number]) if last != 0 else ends[number]
    return last


def _lines(given: Sequence[Size]) -> Size:
    """The largest of some sizes, rounded up to whole lines."""
    largest = given[0]
    for size in given[1:]:
        largest = maximum(largest, size)
    return (largest + (ALIGNMENT - 1)) // ALIGNMENT * ALIGNMENT


@frozen
class Life:
    """A cell, its bytes and a guess of them, the steps from which and up to which it is alive."""

    cell: Cell
    size: Size
    guess: int
    first: int
    last: int

    @property
    def steps(self) -> int:
        """A bit for each step at which it is alive."""
        return ((1 << (self.last - self.first + 1)) - 1) << self.first


ORDERS: tuple[Callable[[Life], tuple[int, ...]], ...] = (
    lambda life: (-life.guess, life.first),  # the largest first
    lambda life: (-life.guess, -life.last),
    lambda life: (-life.guess * (life.last - life.first + 1),),  # what takes most room for longest
    lambda life: (-life.last, -life.guess),  # backwards in time
)


def pack(order: Sequence[Life], limit: int | None = None) -> Packing | None:
    """Cells in turn, each in the free slot that wastes least; None once that takes `limit` bytes, guessed."""
    slot_of: dict[Cell, int] = {}
    busy: list[int] = []  # of each slot, a bit for each step
    sizes: list[dict[Size, None]] = []
    by_guess: list[tuple[int, int]] = []  # the slots, by guessed size
    total = 0
    for life in order:
        guess, alive = life.guess, life.steps
        enough = bisect_left(by_guess, (guess, -1))
        # What wastes least comes first.
        for at in chain(range(enough, len(by_guess)), range(enough - 1, -1, -1)):
            held, slot = by_guess[at]
            if not busy[slot] & alive:
                if at < enough:
                    del by_guess[at]
                    insort(by_guess, (guess, slot))
                    total += _whole_lines(guess) - _whole_lines(held)
                break
        else:
            slot = len(busy)
            busy.append(0)
            sizes.append({})
            insort(by_guess, (guess, slot))
            total += _whole_lines(guess)
        if limit is not None and total >= limit:
            return None
        busy[slot] |= alive
        sizes[slot][life.size] = None
        slot_of[life.cell] = slot
    return in_a_row(sizes), slot_of


def _whole_lines(bytes: int) -> int:
    return -(-bytes // ALIGNMENT) * ALIGNMENT


def guessed_peak(cells: Sequence[Life]) -> int:
    """The most bytes alive at once: what no plan can go below."""
    change: dict[int, int] = {}
    for life in cells:
        size = -(-life.guess // ALIGNMENT) * ALIGNMENT
        change[life.first] = change.get(life.first, 0) + size
        change[life.last + 1] = change.get(life.last + 1, 0) - size
    alive = peak = 0
    for step in sorted(change):
        alive += change[step]
        peak = max(peak, alive)
    return peak


def guessed_total(slots: Sequence[Slot]) -> int:
    """The bytes of the arena, by guess."""
    return places(slots, guess_bytes)[-1]


def in_order(cells: Sequence[Life]) -> Packing:
    """Step by step, the smallest free slot that is large enough, else the largest free one, which grows."""
    slot_of: dict[Cell, int] = {}
    sizes: list[dict[Size, None]] = []
    guesses: list[int] = []
    free: list[tuple[int, int]] = []  # by guessed size
    ending: list[tuple[int, int]] = []  # a heap of slots in use, by the step after which they are free
    for life in sorted(cells, key=lambda life: life.first):
        while ending and ending[0][0] < life.first:
            slot = heappop(ending)[1]
            insort(free, (guesses[slot], slot))
        guess = life.guess
        if free:
            slot = free.pop(min(bisect_left(free, (guess, -1)), len(free) - 1))[1]
        else:
            slot = len(sizes)
            sizes.append({})
            guesses.append(0)
        sizes[slot][life.size] = None
        guesses[slot] = max(guesses[slot], guess)
        slot_of[life.cell] = slot
        heappush(ending, (life.last, slot))
    return in_a_row(sizes), slot_of


def in_a_row(sizes: Sequence[Collection[Size]]) -> tuple[Slot, ...]:
    """Slots one after another, of the sizes of what lies in each."""
    return tuple(Slot(tuple(each), (1,) if i else ()) for i, each in enumerate(sizes))


def stack(order: Sequence[Life], alone: Collection[Cell] = ()) -> Packing:
    """Cells in turn, each where there is room for it, as low as may be; those `alone` above all others."""
    begins: dict[Cell, int] = {}
    done: list[tuple[int, int, int]] = []  # begin, end, steps
    for life in order:
        size, begin, steps = -(-life.guess // ALIGNMENT) * ALIGNMENT, 0, life.steps
        for low, high, alive in done:
            if alive & steps and high > begin:
                if low >= begin + size:
                    break
                begin = high
        insort(done, (begin, begin + size, steps))
        begins[life.cell] = begin
    lives = sorted(order, key=lambda life: (life.cell in alone, begins[life.cell]))
    under: list[set[int]] = []  # of each, those below and alive with it
    slots = []
    for number, life in enumerate(lives):
        if life.cell in alone:
            met = set(range(number))
        else:
            met = {i for i in range(number) if lives[i].steps & life.steps}
        under.append(met)
        implied = set().union(*(under[i] for i in met))
        slots.append(Slot((life.size,), tuple(number - i for i in sorted(met - implied))))
    return tuple(slots), {life.cell: i for i, life in enumerate(lives)}
