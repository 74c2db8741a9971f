"""Memory: which values share which part of one arena, decided by lifetimes when a program is made.

A *cell* is one value of a program: a buffer, or one result of a buffer that holds several. Cells whose
lifetimes do not meet may share a *slot*; a slot is as large as its largest cell. Slots lie one after
another, or one on several others, so an offset is a prefix sum in the symbolic sizes, evaluated once for the
sizes that are fed.
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

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from graphc.freezing import frozen
from graphc.sizes import Size, Symbol, evaluate, symbols
from passes.packing import ALIGNMENT as ALIGNMENT
from passes.packing import (
    ORDERS,
    Life,
    Number,
    Packing,
    Slot,
    extent_of,
    guessed_peak,
    guessed_total,
    in_a_row,
    in_order,
    pack,
    places,
    stack,
)
from passes.packing import Cell as Cell
from passes.program import Program, Step
from passes.record import Decision, decide, is_watched
from passes.weight import bytes_of, guess_bytes, parts_of

MANY = 4096
_FEW = 512
_LOOSE = 20  # beyond what is alive at once by this part of it, cells are stacked one by one
_SPARE = 100  # what part of the least that any plan takes may be wasted without looking for a better one

Views = Callable[[Step], Mapping[int, Cell]]  # which results of a step are the memory of which cells
Overwrites = Callable[[Step], Mapping[int, Sequence[int]]]  # which of its operands a result may overwrite
Works = Callable[[Step], Sequence[Size]]  # the bytes of what a step needs while it runs


@frozen
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
        return self.places(lambda size: evaluate(size, known))

    def places(self, number: Number) -> list[int]:
        """`offsets` where `number` gives sizes as numbers."""
        return places(self.slots, number)

    @property
    def size(self) -> Size:
        """The bytes of the arena."""
        return extent_of(self.slots)


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
    stacks: bool = True,
) -> MemoryPlan:
    """The plan of `program`.

    Args:
        program: any.
        views: which of a step's results need no memory of their own.
        works: the bytes of what a step needs for itself while it runs.
        overwrites: which of a step's operands each of its results may take the place of.
        stacks: whether slots of symbolic sizes may lie on several others; else `MemoryPlan.size` is a sum.
    """
    roots = _roots(program, views)
    outside = _outside(program, roots)
    phases = phases_of(program)
    cells, place, over = _lives(program, roots, outside, works, overwrites)
    groups: dict[int, list[Life]] = {}
    for life in cells:
        groups.setdefault(phase_of(life.size, phases), []).append(life)
    slots: list[Slot] = []
    slot_of: dict[Cell, int] = {}
    for phase in sorted(groups):
        found, of = _packed(program, groups[phase], stacks)
        slot_of.update({cell: len(slots) + slot for cell, slot in of.items()})
        slots.extend(replace(slot, phase=phase) for slot in found)
    slot_of.update({cell: slot_of[first] for cell, first in place.items()})
    return MemoryPlan(tuple(slots), slot_of, roots, frozenset(outside), over)


def phases_of(program: Program) -> dict[Symbol, int]:
    """For each symbol that a step binds: which of those steps it is, counted from 1."""
    binding = (step.bindings for step in program.steps if step.bindings)
    return {each.symbol: phase for phase, bindings in enumerate(binding, 1) for each in bindings}


def phase_of(size: Size, phases: Mapping[Symbol, int]) -> int:
    """After which of the steps that bind sizes `size` is known; 0: before the first step."""
    return max((phases.get(symbol, 0) for symbol in symbols(size)), default=0) if phases else 0


def _packed(program: Program, cells: list[Life], stacks: bool) -> Packing:
    slots, slot_of = in_order(cells)
    total, least = guessed_total(slots), guessed_peak(cells)
    for order in ORDERS if len(cells) <= MANY else ():
        if total <= least + least // _SPARE:  # no plan is much better
            break
        packed = pack(sorted(cells, key=order), total)
        if packed is not None:
            total, (slots, slot_of) = guessed_total(packed[0]), packed
    best: list[Life] = []
    if len(cells) <= _FEW and (stacks or all(isinstance(life.size, int) for life in cells)):
        for order in ORDERS:
            if total <= least + least // _LOOSE:
                break
            ordered = sorted(cells, key=order)
            packed = stack(ordered)
            if guessed_total(packed[0]) < total:
                total, (slots, slot_of), best = guessed_total(packed[0]), packed, ordered
    if is_watched():
        return _allowed_above(program, best, slots, slot_of) if best else _allowed(program, cells, slot_of)
    return slots, slot_of


def _lives(
    program: Program,
    roots: Mapping[Cell, Cell],
    outside: Collection[Cell],
    works: Works,
    overwrites: Overwrites,
) -> tuple[list[Life], dict[Cell, Cell], dict[Cell, Cell]]:
    """What is to be packed; the first of those that lie in a cell's place; and which it overwrites."""
    dies = _last_uses(program, roots, outside)
    lives: list[Life] = []
    place: dict[Cell, Cell] = {}
    overwritten: dict[Cell, Cell] = {}
    begun: dict[Cell, tuple[int, Size]] = {}
    for number, step in enumerate(program.steps):
        ending = dict.fromkeys(dies.get(number, ()))
        over, parts = overwrites(step), parts_of(step.node.type)
        for part, type in enumerate(parts):
            cell = (step.output, part)
            if cell in roots or cell in outside:
                continue
            size = bytes_of(type)
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
                lives.append(Life(place[cell], size, guess_bytes(size), first, number))
        for i, size in enumerate(works(step), len(parts)):
            lives.append(Life((step.output, i), size, guess_bytes(size), number, number))
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


def _may_share(program: Program, life: Life, slot: int) -> bool:
    """Whether `life` may lie in `slot`, where another has lain: a decision."""
    node = program.steps[life.first].node
    details = {"slot": slot, "first": life.first, "last": life.last}
    return decide(Decision("share", node.op.name, True, "lifetimes", node.loc, details), node)


def _allowed(program: Program, cells: Sequence[Life], slot_of: Mapping[Cell, int]) -> Packing:
    """The slots, each sharing of one a decision: what may not share gets a slot of its own."""
    sizes: list[dict[Size, None]] = []
    renumbered: dict[int, int] = {}
    allowed: dict[Cell, int] = {}
    for life in sorted(cells, key=lambda life: life.first):
        slot = renumbered.get(slot_of[life.cell])
        if slot is None or not _may_share(program, life, slot):
            slot = len(sizes)
            renumbered.setdefault(slot_of[life.cell], slot)
            sizes.append({})
        sizes[slot][life.size] = None
        allowed[life.cell] = slot
    return in_a_row(sizes), allowed


def _allowed_above(
    program: Program, cells: Sequence[Life], slots: Sequence[Slot], slot_of: Mapping[Cell, int]
) -> Packing:
    """The slots, one for each of `cells`: what may not lie where another has lain lies above all others."""
    *begins, _ = places(slots, guess_bytes)
    seen: list[tuple[int, int]] = []
    alone = set()
    for life in sorted(cells, key=lambda life: life.first):
        slot = slot_of[life.cell]
        begin, end = begins[slot], begins[slot] + slots[slot].bytes(guess_bytes)
        if any(low < end and begin < high for low, high in seen) and not _may_share(program, life, slot):
            alone.add(life.cell)
        seen.append((begin, end))
    return stack(cells, alone)


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
        own = {binding.symbol for binding in step.bindings} if step.bindings else set()
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


def _last_uses(
    program: Program, roots: Mapping[Cell, Cell], outside: Collection[Cell] = ()
) -> dict[int, list[Cell]]:
    """The memory of what steps make, by the number of the last step that touches it; not that `outside`."""
    held: dict[int, list[Cell]] = {}
    last: dict[Cell, int] = {}
    for number, step in enumerate(program.steps):
        output = step.output
        parts = [(output, part) for part in range(len(parts_of(step.node.type)))]
        own = held[output] = [root for cell in parts if (root := roots.get(cell, cell)) not in outside]
        for cell in own:
            last[cell] = number
        for buffer in step.inputs:
            for cell in held.get(buffer, ()):
                last[cell] = number
    last.update(dict.fromkeys(_late_results(program, roots), len(program.steps) - 1))
    result: dict[int, list[Cell]] = {}
    for cell, number in last.items():
        result.setdefault(number, []).append(cell)
    return result
