"""Outcomes: which outputs of a body its steps can make right where they are wanted."""

from __future__ import annotations

from collections.abc import Mapping

from graphc.freezing import frozen
from passes.memory import Cell
from passes.program import Program
from runtime.llvm_backend.native.cells import Cells
from runtime.llvm_backend.native.native_steps import is_constant


@frozen
class Outcomes:
    """The outputs of a body.

    Attributes:
        roots: for each output the cell whose memory it is.
        made: the cells that steps make for an output, with its number; what is stacked comes before
            what is carried where one value is both.
    """

    roots: tuple[Cell, ...]
    made: Mapping[Cell, int]

    @classmethod
    def of(cls, program: Program, cells: Cells, carried: int = 0) -> Outcomes:
        """Those of `program`, the first `carried` of which are carried on."""
        given = {(buffer, 0) for buffer, _ in program.constants}
        given.update((buffer, 0) for _, buffer, _ in program.variables)
        given.update((buffer, 0) for buffer in program.run_states)
        given.update((step.output, 0) for step in program.steps if is_constant(step))
        inputs = set(program.inputs)
        roots = tuple(cells.root((buffer, 0)) for buffer in program.outputs)
        made: dict[Cell, int] = {}
        for number in (*range(carried, len(roots)), *range(carried)):
            root = roots[number]
            if root not in given and root[0] not in inputs:
                made.setdefault(root, number)
        return cls(roots, made)

    def is_made(self, number: int) -> bool:
        """Whether a step makes the output `number` where it is wanted."""
        return self.made.get(self.roots[number]) == number
