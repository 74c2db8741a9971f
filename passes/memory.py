"""Memory: which values share which part of one arena, decided by lifetimes when a program is made.

A *cell* is one value of a program: a buffer, or one result of a buffer that holds several. Cells whose
lifetimes do not meet may share a *slot*; a slot is as large as its largest cell. Slots lie one after
another, so an offset is a prefix sum in the symbolic sizes, evaluated once for the sizes that are fed.
A result may take the place of an operand that dies with its step, where the step's kernel reads each
element before it writes there; both are then packed as one.
What a step needs for itself while it runs, such as the arena of its bodies, is cells too: they are numbered
behind its results.

Cells are packed greedily, each into the free slot that wastes least, in several orders of which the
best result is taken; the first is that of Pisarchyk and Lee, "Efficient memory management for deep
neural net inference", 2020. Programs of more than `MANY` cells are packed step by step alone, which is
linear. Where sizes are symbols, a guess stands for them in that choice, and only there.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from graphc.sizes import Size, Symbol, evaluate, maximum, symbols
from passes.program import Program, Step
from passes.record import Decision, decide, is_watched
from passes.weight import bytes_of, guess_bytes, parts_of

ALIGNMENT = 64  # bytes: a line of the cache, and the widest vector
MANY = 4096
_SPARE = 100  # what part of the least that any plan takes may be wasted without looking for a better one

Cell = tuple[int, int]  # a buffer, and which of its results
Views = Callable[[Step], Mapping[int, Cell]]  # which results of a step are the memory of which cells
Overwrites = Callable[[Step], Mapping[int, Sequence[int]]]  # which of its operands a result may overwrite
Works = Callable[[Step], Sequence[Size]]  # the bytes of what a step needs while it runs


@dataclass(frozen=True, slots=True)
class Slot:
    """A part of the arena: `sizes` are the bytes of the cells that lie there one after another.

    `phase` says when those are known (`phases_of`); slots of one phase lie side by side.
    """

    sizes: tuple[Size, ...]
    phase: int = 0

    def bytes(self, known: Mapping[Symbol, int]) -> int:
        """How large it is, rounded up to whole lines."""
        largest = max(evaluate(size, known) for size in self.sizes)
        return -(-largest // ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Where the values of a program lie.

    Attributes:
        slots: the parts of the arena, in order; those whose sizes steps give come last.
        slot_of: the slot of each cell that is in the arena and has memory of its own.
        roots: for each cell that is the memory of another (a view): that one.
        outside: cells with memory elsewhere: what is fed, constants, variables, what is given back,
            and values whose size their own step gives.
        over: for each cell that takes the place of an operand that dies with its step: that one.
    """

    slots: tuple[Slot, ...]
    slot_of: Mapping[Cell, int]
    roots: Mapping[Cell, Cell]
    outside: frozenset[Cell]
    over: Mapping[Cell, Cell]

    def offsets(self, known: Mapping[Symbol, int]) -> list[int]:
        """Where each slot begins, in bytes, and at the end the size of the arena."""
        result = [0]
        for slot in self.slots:
            result.append(result[-1] + slot.bytes(known))
        return result

    @property
    def size(self) -> Size:
        """The bytes of the arena."""
        total: Size = 0
        for slot in self.slots:
            total = total + _lines(slot.sizes)
        return total


def _lines(given: Sequence[Size]) -> Size:
    """The largest of some sizes, rounded up to whole lines."""
    largest = given[0]
    for size in given[1:]:
        largest = maximum(largest, size)
    return (largest + (ALIGNMENT - 1)) // ALIGNMENT * ALIGNMENT


def needs_nothing(step: Step) -> Sequence[Size]:
    """What a step needs for itself while it runs that has nothing but operands and results."""
    return ()


def overwrites_nothing(step: Step) -> Mapping[int, Sequence[int]]:
    """What a step may overwrite that reads its operands while it writes its results."""
    return {}


def plan_memory(
    program: Program,
    views: Views,
    works: Works = needs_nothing,
    overwrites: Overwrites = overwrites_nothing,
) -> MemoryPlan:
    """The plan of `program`.

    Args:
        program: any.
        views: which of a step's results need no memory of their own.
        works: the bytes of what a step needs for itself while it runs.
        overwrites: which of a step's operands each of its results may take the place of.
    """
    roots = _roots(program, views)
    outside = _outside(program, roots)
    phases = phases_of(program)
    cells, place, over = _lives(program, roots, outside, works, overwrites)
    groups: dict[int, list[_Life]] = {}
    for life in cells:
        groups.setdefault(phase_of(life.size, phases), []).append(life)
    slots: list[Slot] = []
    slot_of: dict[Cell, int] = {}
    for phase in sorted(groups):
        found, of = _packed(program, groups[phase])
        slot_of.update({cell: len(slots) + slot for cell, slot in of.items()})
        slots.extend(Slot(slot.sizes, phase) for slot in found)
    slot_of.update({cell: slot_of[first] for cell, first in place.items()})
    return MemoryPlan(tuple(slots), slot_of, roots, frozenset(outside), over)


def phases_of(program: Program) -> dict[Symbol, int]:
    """For each symbol that a step binds: which of those steps it is, counted from 1."""
    binding = (step.bindings for step in program.steps if step.bindings)
    return {each.symbol: phase for phase, bindings in enumerate(binding, 1) for each in bindings}


def phase_of(size: Size, phases: Mapping[Symbol, int]) -> int:
    """After which of the steps that bind sizes `size` is known; 0: before the first step."""
    return max((phases.get(symbol, 0) for symbol in symbols(size)), default=0)


def _packed(program: Program, cells: list[_Life]) -> tuple[tuple[Slot, ...], dict[Cell, int]]:
    slots, slot_of = _in_order(cells)
    total, least = _guessed_total(slots), _guessed_peak(cells)
    for order in _ORDERS if len(cells) <= MANY else ():
        if total <= least + least // _SPARE:  # no plan is much better
            break
        packed = _pack(sorted(cells, key=order))
        if _guessed_total(packed[0]) < total:
            total, (slots, slot_of) = _guessed_total(packed[0]), packed
    if is_watched():
        slots, slot_of = _allowed(program, cells, slot_of)
    return slots, slot_of


def _lives(
    program: Program,
    roots: Mapping[Cell, Cell],
    outside: Collection[Cell],
    works: Works,
    overwrites: Overwrites,
) -> tuple[list[_Life], dict[Cell, Cell], dict[Cell, Cell]]:
    """What is to be packed; the first of those that lie in a cell's place; and which it overwrites."""
    dies = _last_uses(program, roots)
    lives: list[_Life] = []
    place: dict[Cell, Cell] = {}
    overwritten: dict[Cell, Cell] = {}
    begun: dict[Cell, tuple[int, Size]] = {}
    for number, step in enumerate(program.steps):
        ending = dict.fromkeys(dies.get(number, ()))
        over = overwrites(step)
        for part, type in enumerate(parts_of(step.node.type)):
            cell, size = (step.output, part), bytes_of(type)
            if cell in roots or cell in outside:
                continue
            for old in _dying(step, over.get(part, ()), roots, ending):
                if old in place and begun[place[old]][1] == size and _is_allowed(step):
                    place[cell], overwritten[cell] = place[old], old
                    del ending[old]
                    break
            else:
                place[cell] = cell
                begun[cell] = (number, size)
        for cell in ending:
            if cell in place:
                first, size = begun[place[cell]]
                lives.append(_Life(place[cell], size, guess_bytes(size), first, number))
        results = len(parts_of(step.node.type))
        lives.extend(
            _Life((step.output, results + i), size, guess_bytes(size), number, number)
            for i, size in enumerate(works(step))
        )
    return lives, place, overwritten


def _dying(
    step: Step, operands: Sequence[int], roots: Mapping[Cell, Cell], ending: Collection[Cell]
) -> Iterator[Cell]:
    """Of these operands of `step`, by number, the memory of those that it alone reads last, and once."""
    read = [roots.get((buffer, 0), (buffer, 0)) for buffer in step.inputs] if operands else []
    return (read[i] for i in operands if read[i] in ending and read.count(read[i]) == 1)


def _is_allowed(step: Step) -> bool:
    """Whether `step` may write over an operand: a decision."""
    node = step.node
    return not is_watched() or decide(Decision("share", node.op.name, True, "in place", node.loc), node)


def _allowed(
    program: Program, cells: Sequence[_Life], slot_of: Mapping[Cell, int]
) -> tuple[tuple[Slot, ...], dict[Cell, int]]:
    """The slots, each sharing of one a decision: what may not share gets a slot of its own."""
    sizes: list[dict[Size, None]] = []
    renumbered: dict[int, int] = {}
    allowed: dict[Cell, int] = {}
    for life in sorted(cells, key=lambda life: life.first):
        node = program.steps[life.first].node
        slot = renumbered.get(slot_of[life.cell])
        details = {"slot": slot, "first": life.first, "last": life.last}
        if slot is None or not decide(
            Decision("share", node.op.name, True, "lifetimes", node.loc, details), node
        ):
            slot = len(sizes)
            renumbered.setdefault(slot_of[life.cell], slot)
            sizes.append({})
        sizes[slot][life.size] = None
        allowed[life.cell] = slot
    return tuple(Slot(tuple(each)) for each in sizes), allowed


def _roots(program: Program, views: Views) -> dict[Cell, Cell]:
    roots: dict[Cell, Cell] = {}
    for step in program.steps:
        for part, cell in views(step).items():
            roots[step.output, part] = roots.get(cell, cell)
    return roots


def _outside(program: Program, roots: Mapping[Cell, Cell]) -> set[Cell]:
    given = (
        *program.inputs,
        *(buffer for buffer, _ in program.constants),
        *(buffer for _, buffer, _ in program.variables),
        *program.run_states,
    )
    kept = (*program.outputs, *(buffer for _, buffer in program.assignments))
    outside: set[Cell] = set()
    for cell in ((buffer, 0) for buffer in kept):
        outside.update((cell, roots.get(cell, cell)))
    outside -= set(_late_results(program, roots))
    outside.update((buffer, 0) for buffer in given)
    for step in program.steps:
        own = {binding.symbol for binding in step.bindings}
        for part, type in enumerate(parts_of(step.node.type)):
            if type.shape is None or (own and any(own.intersection(symbols(size)) for size in type.shape)):
                outside.add((step.output, part))
    return outside


def _late_results(program: Program, roots: Mapping[Cell, Cell]) -> Iterator[Cell]:
    """The memory of what is given back whose sizes steps give: nobody has it ready before the run."""
    phases = phases_of(program)
    for buffer in (*program.outputs, *(b for _, b in program.assignments)) if phases else ():
        for type in parts_of(program.nodes[buffer].type):
            if any(phase_of(size, phases) for size in type.shape or ()):
                yield roots.get((buffer, 0), (buffer, 0))


def _last_uses(program: Program, roots: Mapping[Cell, Cell]) -> dict[int, list[Cell]]:
    """The cells with memory of their own, by the number of the last step that touches them."""
    parts = {step.output: len(parts_of(step.node.type)) for step in program.steps}
    last: dict[Cell, int] = {}
    for number, step in enumerate(program.steps):
        for buffer in (step.output, *step.inputs):
            for part in range(parts.get(buffer, 1)):
                cell = (buffer, part)
                last[roots.get(cell, cell)] = number
    last.update(dict.fromkeys(_late_results(program, roots), len(program.steps) - 1))
    result: dict[int, list[Cell]] = {}
    for cell, number in last.items():
        result.setdefault(number, []).append(cell)
    return result


@dataclass(frozen=True, slots=True)
class _Life:
    """A cell, its bytes and a guess of them, the steps from which and up to which it is alive."""

    cell: Cell
    size: Size
    guess: int
    first: int
    last: int


_ORDERS: tuple[Callable[[_Life], tuple[int, ...]], ...] = (
    lambda life: (-life.guess, life.first),  # the largest first
    lambda life: (-life.guess, -life.last),
    lambda life: (-life.guess * (life.last - life.first + 1),),  # what takes most room for longest
    lambda life: (-life.last, -life.guess),  # backwards in time
)


def _pack(order: Sequence[_Life]) -> tuple[tuple[Slot, ...], dict[Cell, int]]:
    slot_of: dict[Cell, int] = {}
    busy: list[int] = []  # of each slot, a bit for each step
    sizes: list[dict[Size, None]] = []
    by_guess: list[tuple[int, int]] = []  # the slots, by guessed size
    for life in order:
        guess, alive = life.guess, ((1 << (life.last - life.first + 1)) - 1) << life.first
        enough = bisect_left(by_guess, (guess, -1))
        for at in (
            *range(enough, len(by_guess)),
            *range(enough - 1, -1, -1),
        ):  # what wastes least comes first
            if not busy[by_guess[at][1]] & alive:
                slot = by_guess[at][1]
                if at < enough:
                    del by_guess[at]
                    insort(by_guess, (guess, slot))
                break
        else:
            slot = len(busy)
            busy.append(0)
            sizes.append({})
            insort(by_guess, (guess, slot))
        busy[slot] |= alive
        sizes[slot][life.size] = None
        slot_of[life.cell] = slot
    return tuple(Slot(tuple(each)) for each in sizes), slot_of


def _guessed_peak(cells: Sequence[_Life]) -> int:
    """The most bytes alive at once: what no plan can go below."""
    change: dict[int, int] = {}
    for life in cells:
        change[life.first] = change.get(life.first, 0) + life.guess
        change[life.last + 1] = change.get(life.last + 1, 0) - life.guess
    alive = peak = 0
    for step in sorted(change):
        alive += change[step]
        peak = max(peak, alive)
    return peak


def _guessed_total(slots: Sequence[Slot]) -> int:
    return sum(max(map(guess_bytes, slot.sizes)) for slot in slots)


def _in_order(cells: Sequence[_Life]) -> tuple[tuple[Slot, ...], dict[Cell, int]]:
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
    return tuple(Slot(tuple(each)) for each in sizes), slot_of


def peak_of_live(program: Program, plan: MemoryPlan, known: Mapping[Symbol, int]) -> int:
    """The most bytes of the arena's cells that are alive at once: what no plan can go below."""
    dies = _last_uses(program, plan.roots)
    alive = peak = 0
    held: dict[Cell, int] = {}
    for number, step in enumerate(program.steps):
        for part, type in enumerate(parts_of(step.node.type)):
            if (step.output, part) in plan.slot_of:
                size = -(-evaluate(bytes_of(type), known) // ALIGNMENT) * ALIGNMENT
                held[step.output, part] = size
                alive += size
        peak = max(peak, alive)
        for cell in dies.get(number, ()):
            alive -= held.pop(cell, 0)
    return peak
