"""Native memory: the arena of a run and the prelude, the steps that compute what depends on sizes.

A body's values lie in a slot of the arena around it, which is as large as its own arena.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from graphc import sizes
from graphc.sizes import Size, SizeExpr, Symbol
from passes.memory import ALIGNMENT, MemoryPlan
from passes.weight import parts_of
from runtime.llvm_backend.native_regions import Scope
from runtime.llvm_backend.native_steps import Collected
from runtime.llvm_backend.size_words import SizeWords
from runtime.llvm_backend.steptable import TableBuilder

GROW, REFUSE = 1, 2  # why a prelude refuses: the arena is too small; sizes that need the slow way


@dataclass(frozen=True, slots=True)
class Arena:
    """The memory of a run: the slots of `plan`, and behind them `room` for scratch.

    Attributes:
        base, capacity: the words that hold its address and its bytes.
        fixed: (word, offset): words to hold addresses in it that depend on no size.
        last: a word to be -1 when the arena moves, so that the prelude computes all anew; None: nothing to.
    """

    plan: MemoryPlan
    room: tuple[Size, ...]
    base: int
    capacity: int
    fixed: tuple[tuple[int, int], ...]
    last: int | None

    def needed(self, known: Mapping[Symbol, int]) -> int:
        """Its bytes where sizes are `known`."""
        room = max((sizes.evaluate(size, known) for size in self.room), default=0)
        return self.plan.offsets(known)[-1] + room


class MemoryWriter:
    """Writes the prelude of the program in `scope`, and finds the addresses in the arena.

    Args:
        builder, words: of the table; `words` has those of the symbols.
        scope, collected: the program, and what its steps need, once all are written.
        watched: the words of fed sizes: while none changes, nor does what depends on them.
        fed: a word that a feed writes, and the size it must be. equal: sizes that must be alike.
    """

    def __init__(
        self,
        builder: TableBuilder,
        words: SizeWords,
        scope: Scope,
        collected: Collected,
        watched: Sequence[int],
        fed: Sequence[tuple[int, Size]],
        equal: Sequence[tuple[Size, Size]],
    ) -> None:
        self.builder, self.words, self.scope, self.collected = builder, words, scope, collected
        self.watched, self.fed = watched, fed
        self.equal = [*equal, *((c.x, c.y) for each in scope.all() for c in each.program.checks)]

    def write(self) -> tuple[Arena, str | None]:
        """The arena, and the mark of the prelude, where there is one."""
        builder, collected, plan = self.builder, self.collected, self.scope.cells.plan
        base, capacity = builder.word(), builder.word()
        room = tuple(collected.room)
        if all(isinstance(size, int) for size in (*room, *(s for slot in plan.slots for s in slot.sizes))):
            end = plan.offsets({})[-1]
            fixed = [*_fixed(self.scope), *((word, end + int(offset)) for word, offset in collected.scratch)]  # type: ignore[arg-type]  # all are ints
            arena = Arena(plan, room, base, capacity, tuple(fixed), None)
            if not self.watched:
                return arena, None
            self._prelude(None, capacity)
            return arena, "prelude"
        last = self._prelude(base, capacity)
        return Arena(plan, room, base, capacity, (), last), "prelude"

    def _prelude(self, base: int | None, capacity: int) -> int:
        """The steps that compute what depends on sizes, unless they are as before; gives a word of those."""
        builder, words = self.builder, self.words
        last = [builder.word(-1) for _ in self.watched]
        builder.mark("prelude")
        changed = builder.constant(0)
        for word, before in zip(self.watched, last, strict=True):
            apart = words.compute("sub", word, before)
            changed = words.compute("add", changed, words.compute("mul", apart, apart))
        over = builder.leave_at_zero(changed)
        builder.move(last[0], builder.constant(-1))
        for word, size in self.fed:
            builder.equal(word, words.word(size), REFUSE)
        for x, y in self.equal:
            builder.equal(words.word(x), words.word(y), REFUSE)
        for size in self.collected.positive:
            builder.at_most(builder.constant(1), words.word(size), REFUSE)
        for size in self._perhaps_negative() | self.collected.natural:
            builder.at_most(builder.constant(0), words.word(size), REFUSE)
        for word, size in self.collected.filled:
            words.store(word, size)
        if base is not None:
            self._place_all(base, capacity)
        for address, block in self.collected.plans:
            builder.kernel(address, block)
        for word, before in zip(self.watched, last, strict=True):
            builder.move(before, word)
        builder.land(over)
        builder.end()
        return last[0]

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
        for size in self.collected.room:
            largest = compute("maximum", largest, words.word(size))
        pending = [(self.scope, base)]
        behind = -1
        while pending:
            scope, begin = pending.pop()
            addresses, end = self._slots(scope, begin)
            if scope is self.scope:
                behind = end
                builder.at_most(compute("add", compute("sub", end, base), largest), capacity, GROW)
            for word, slot in _slot_words(scope):
                builder.move(word, addresses[slot])
            pending.extend((body, addresses[slot]) for body, slot in _inner_slots(scope))
        for word, offset in self.collected.scratch:
            builder.compute("add", word, behind, words.word(offset))

    def _slots(self, scope: Scope, begin: int) -> tuple[list[int], int]:
        """Words that hold where the slots of `scope` begin, and where they end."""
        builder, words, compute = self.builder, self.words, self.words.compute
        line = builder.constant(ALIGNMENT)
        addresses, at = [], begin
        for slot in scope.cells.plan.slots:
            addresses.append(at)
            largest = words.word(slot.sizes[0])
            for size in slot.sizes[1:]:
                largest = compute("maximum", largest, words.word(size))
            up = compute("add", largest, builder.constant(ALIGNMENT - 1))
            at = compute("add", at, compute("mul", compute("div", up, line), line))
        return addresses, at


def _slot_words(scope: Scope) -> Iterator[tuple[int, int]]:
    """The words that hold the address of a slot."""
    for cell, words in scope.cells.words.items():
        for word in words:
            yield word, scope.cells.plan.slot_of[cell]


def _inner_slots(scope: Scope) -> Iterator[tuple[Scope, int]]:
    """The bodies of `scope`, each with the slot that is its arena."""
    for step in scope.program.steps:
        for body in scope.regions.get(step.output, {}).values():
            yield body, scope.cells.plan.slot_of[step.output, len(parts_of(step.node.type))]


def _fixed(root: Scope) -> Iterator[tuple[int, int]]:
    """The words that hold addresses in the arena, and where those are, all sizes being known."""
    pending = [(root, 0)]
    while pending:
        scope, begin = pending.pop()
        offsets = scope.cells.plan.offsets({})
        for word, slot in _slot_words(scope):
            yield word, begin + offsets[slot]
        pending.extend((body, begin + offsets[slot]) for body, slot in _inner_slots(scope))
