"""Native memory: the arena of a run and the prelude, the steps that compute what depends on sizes.

A body's values lie in a slot of the arena around it, which is as large as its own arena.

Where steps give sizes (`Late`), what depends on them is computed behind each such step, and the values of
these sizes lie in memory of that phase, which grows when a run needs more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from graphc.sizes import Size, SizeExpr, Symbol, maximum
from passes.memory import ALIGNMENT, phase_of
from passes.packing import Slot, tops
from passes.weight import parts_of
from runtime.llvm_backend.native.arena import Arena, early_offsets
from runtime.llvm_backend.native.drafts import Collected
from runtime.llvm_backend.native.late_memory import Growth
from runtime.llvm_backend.native.native_regions import Scope
from runtime.llvm_backend.native.size_words import SizeWords
from runtime.llvm_backend.table.steptable import TableBuilder

GROW, REFUSE = 1, 2  # why a prelude refuses: the arena is too small; sizes that need the slow way


class MemoryWriter:
    """Writes the prelude of the program in `scope`, and finds the addresses in the arena.

    Args:
        builder, words: of the table; `words` has those of the symbols.
        scope, collected: the program, and what its steps need, once all are written.
        phases: after which of the steps that give sizes each symbol is known.
    """

    def __init__(
        self,
        builder: TableBuilder,
        words: SizeWords,
        scope: Scope,
        collected: Collected,
        phases: Mapping[Symbol, int],
    ) -> None:
        self.phases = phases
        self.homes = [  # words, and those that they get their address from
            [(word, home) for cell, home in late.homes.items() for word in scope.cells.take(cell)]
            for late in collected.late
        ]
        self.builder, self.words, self.scope, self.collected = builder, words, scope, collected
        self.equal = [*collected.equal, *((c.x, c.y) for each in scope.all() for c in each.program.checks)]
        self.equal += [(c.x, c.y) for step in scope.program.steps for c in step.checks]

    def write(self) -> tuple[Arena, str | None]:
        """The arena, and the mark of the prelude, where there is one."""
        builder, plan = self.builder, self.scope.cells.plan
        base, capacity = builder.word(), builder.word()
        room = self._room(0)
        early = [size for slot in plan.slots if not slot.phase for size in slot.sizes]
        if all(isinstance(size, int) for size in (*room, *early)):
            end = early_offsets(plan, {})[-1]
            fixed = [*_fixed(self.scope), *((word, end + int(offset)) for word, offset in self._scratch(0))]  # type: ignore[arg-type]  # all are ints
            arena = Arena(plan, room, base, capacity, tuple(fixed), None)
            if not self.collected.watched:
                return arena, None
            self._prelude(None, capacity)
            return arena, "prelude"
        last = self._prelude(base, capacity)
        return Arena(plan, room, base, capacity, (), last), "prelude"

    def write_late(self) -> None:
        """What follows from the sizes that steps give; to be written once all else is."""
        builder = self.builder
        for phase, late in enumerate(self.collected.late, 1):
            builder.land(late.leave)
            for word, home in self.homes[phase - 1]:
                builder.move(word, home)
            self._compute_all(phase)
            self._take_memory(phase)
            for address, block, at in self.collected.plans:
                if at == phase:
                    builder.kernel(address, block)
            builder.again(late.back)

    def _take_memory(self, phase: int) -> None:
        """The memory of `phase`, and the addresses in it."""
        builder, compute = self.builder, self.words.compute
        slots = [slot for slot in self.scope.cells.plan.slots if slot.phase == phase]
        scratch = self._scratch(phase)
        if not slots and not scratch:
            return
        offsets, end = self._slots(slots, builder.constant(0))
        room: Size = 0
        for size in self._room(phase):
            room = maximum(room, size)
        needed, base, capacity = compute("add", end, self.words.word(room)), builder.word(), builder.word()
        enough = builder.leave_at_least(capacity, needed)
        builder.python(len(self.collected.python))
        self.collected.python.append(Growth(base, capacity, needed))
        builder.land(enough)
        self._place(self.scope, [compute("add", base, offset) for offset in offsets], phase)
        behind = compute("add", base, end)
        for word, size in scratch:
            builder.compute("add", word, behind, self.words.word(size))

    def _room(self, phase: int) -> tuple[Size, ...]:
        return tuple(size for size, at in self.collected.room if at == phase)

    def _scratch(self, phase: int) -> list[tuple[int, Size]]:
        return [(word, offset) for word, offset, at in self.collected.scratch if at == phase]

    def _prelude(self, base: int | None, capacity: int) -> int:
        """The steps that compute what depends on sizes, unless they are as before; gives a word of those."""
        builder, words = self.builder, self.words
        last = [builder.word(-1) for _ in self.collected.watched]
        builder.mark("prelude")
        changed = builder.constant(0)
        for word, before in zip(self.collected.watched, last, strict=True):
            apart = words.compute("sub", word, before)
            changed = words.compute("add", changed, words.compute("mul", apart, apart))
        over = builder.leave_at_zero(changed)
        builder.move(last[0], builder.constant(-1))
        for word, size in self.collected.fed:
            builder.equal(word, words.word(size), REFUSE)
        self._compute_all(0)
        if base is not None:
            self._place_all(base, capacity)
        for address, block, phase in self.collected.plans:
            if not phase:
                builder.kernel(address, block)
        for word, before in zip(self.collected.watched, last, strict=True):
            builder.move(before, word)
        builder.land(over)
        builder.end()
        return last[0]

    def _compute_all(self, phase: int) -> None:
        """What depends on the sizes of `phase` alone, and on those before."""
        builder, words = self.builder, self.words
        for x, y in self.equal:
            if max(phase_of(x, self.phases), phase_of(y, self.phases)) == phase:
                builder.equal(words.word(x), words.word(y), REFUSE)
        for size in self.collected.positive:
            if phase_of(size, self.phases) == phase:
                builder.at_most(builder.constant(1), words.word(size), REFUSE)
        for size in self._perhaps_negative() | self.collected.natural:
            if phase_of(size, self.phases) == phase:
                builder.at_most(builder.constant(0), words.word(size), REFUSE)
        for word, size in self.collected.filled:
            if phase_of(size, self.phases) == phase:
                words.store(word, size)

    def _perhaps_negative(self) -> dict[Size, None]:
        """The sizes of values that may come out below 0, where too little is fed."""
        return {
            size: None
            for scope in self.scope.all()
            for node in scope.program.nodes
            for type in parts_of(node.type)
            for size in type.sizes
            if isinstance(size, SizeExpr) and any(factor < 0 for _, factor in size.terms)
        }

    def _place_all(self, base: int, capacity: int) -> None:
        """The addresses of the slots, those of bodies within theirs, and of the scratch behind them."""
        builder, words, compute = self.builder, self.words, self.words.compute
        largest = builder.constant(0)
        for size in self._room(0):
            largest = compute("maximum", largest, words.word(size))
        addresses, end = self._slots([s for s in self.scope.cells.plan.slots if not s.phase], base)
        builder.at_most(compute("add", compute("sub", end, base), largest), capacity, GROW)
        self._place(self.scope, addresses, 0)
        for word, offset in self._scratch(0):
            builder.compute("add", word, end, words.word(offset))

    def _place(self, scope: Scope, addresses: Sequence[int], phase: int) -> None:
        """Lets all words that need it have the `addresses` of the slots of `phase`, bodies included."""
        plan = scope.cells.plan
        numbers = [number for number, slot in enumerate(plan.slots) if slot.phase == phase]
        pending = [(scope, dict(zip(numbers, addresses, strict=True)))]
        while pending:
            current, place = pending.pop()
            for words, slot in _slot_words(current):
                for word in words if slot in place else ():
                    self.builder.move(word, place[slot])
            for body, slot in _inner_slots(current):
                if slot in place:
                    inner, _ = self._slots(body.cells.plan.slots, place[slot])
                    pending.append((body, dict(enumerate(inner))))

    def _slots(self, slots: Sequence[Slot], begin: int) -> tuple[list[int], int]:
        """Words that hold where `slots` begin, and where they end."""
        builder, words, compute = self.builder, self.words, self.words.compute
        line = builder.constant(ALIGNMENT)
        addresses: list[int] = []
        ends: list[int] = []
        for number, slot in enumerate(slots):
            at = begin
            for i in slot.below:
                at = ends[number - i] if at == begin else compute("maximum", at, ends[number - i])
            largest = words.word(slot.sizes[0])
            for size in slot.sizes[1:]:
                largest = compute("maximum", largest, words.word(size))
            up = compute("add", largest, builder.constant(ALIGNMENT - 1))
            addresses.append(at)
            ends.append(compute("add", at, compute("mul", compute("div", up, line), line)))
        last = begin
        for i in tops(slots):
            last = ends[i] if last == begin else compute("maximum", last, ends[i])
        return addresses, last


def _slot_words(scope: Scope) -> Iterator[tuple[list[int], int]]:
    """The words that hold the address of a slot, and which."""
    slot_of = scope.cells.plan.slot_of
    for cell, words in scope.cells.words.items():
        yield words, slot_of[cell]


def _inner_slots(scope: Scope) -> Iterator[tuple[Scope, int]]:
    """The bodies of `scope`, each with the slot that is its arena."""
    for buffer, bodies in scope.regions.items():
        own = len(parts_of(scope.program.nodes[buffer].type))
        for body in bodies.values():
            yield body, scope.cells.plan.slot_of[buffer, own]


def _fixed(root: Scope) -> Iterator[tuple[int, int]]:
    """The words that hold addresses in the arena, and where those are, all sizes being known."""
    pending = [(root, 0)]
    while pending:
        scope, begin = pending.pop()
        offsets = early_offsets(scope.cells.plan, {})[:-1]
        for words, slot in _slot_words(scope):
            for word in words if slot < len(offsets) else ():
                yield word, begin + offsets[slot]
        inner = ((body, slot) for body, slot in _inner_slots(scope) if slot < len(offsets))
        pending.extend((body, begin + offsets[slot]) for body, slot in inner)
