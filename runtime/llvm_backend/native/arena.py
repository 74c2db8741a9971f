"""Arena: the memory of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from graphc import sizes
from graphc.freezing import frozen
from graphc.sizes import Size, Symbol
from passes.memory import MemoryPlan


@frozen
class Arena:
    """The memory of a run: the slots of `plan`, but for late sizes, and behind them `room` for scratch.

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
        return early_offsets(self.plan, known)[-1] + room


def early_offsets(plan: MemoryPlan, known: Mapping[Symbol, int]) -> list[int]:
    """Where the slots of sizes known before the first step begin, and at the end their size."""
    early = tuple(slot for slot in plan.slots if not slot.phase)
    return (plan if len(early) == len(plan.slots) else replace(plan, slots=early)).offsets(known)
