"""Cells: where each value of a native program lies, and which words must hold its address."""

from __future__ import annotations

from collections.abc import Mapping

from passes.memory import Cell, MemoryPlan, plan_memory
from passes.program import Program, Step
from passes.weight import parts_of

# Their result is the memory of their first operand.
VIEWS = frozenset(
    ("reshape", "expand_dims", "squeeze", "identity", "after", "stop_gradient", "assign", "ensure_shape")
)


def views(step: Step) -> Mapping[int, Cell]:
    """Which results of `step` are the memory of which cells."""
    name = step.node.op.name
    if name == "pick":
        return {0: (step.inputs[0], step.node.attrs["index"])}
    if name in VIEWS and len(parts_of(step.node.type)) == 1:
        return {0: (step.inputs[0], 0)}
    return {}


class Cells:
    """The words that hold addresses, by the cell with memory of its own.

    Attributes:
        plan: where the values of the program lie.
        words: for each cell: the words that must hold its address.
    """

    def __init__(self, program: Program) -> None:
        self.plan: MemoryPlan = plan_memory(program, views)
        self.words: dict[Cell, list[int]] = {}

    def root(self, cell: Cell) -> Cell:
        """The cell whose memory `cell` is."""
        return self.plan.roots.get(cell, cell)

    def point(self, word: int, cell: Cell) -> None:
        """Lets `word` hold the address of `cell`."""
        self.words.setdefault(self.root(cell), []).append(word)

    def take(self, cell: Cell) -> tuple[int, ...]:
        """The words of a cell that has no place in the arena."""
        return tuple(self.words.pop(cell, ()))
