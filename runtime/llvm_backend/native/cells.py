"""Cells: where each value of a native program lies, and which words must hold its address."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from types import MappingProxyType

from graphc.tensor import Tensor
from graphc.types import BFLOAT16, TensorType
from passes.deduplication import call_key
from passes.memory import Cell, MemoryPlan, Overwrites, Works, needs_nothing, overwrites_nothing, plan_memory
from passes.program import Program, Step
from runtime.llvm_backend.contractions.block_steps import block_of
from runtime.llvm_backend.contractions.fused_contraction import contract_of
from runtime.llvm_backend.contractions.strided import is_strided, is_thin
from runtime.llvm_backend.loops.joins import JOINS

# Their result is the memory of their first operand.
VIEWS = frozenset(
    ("reshape", "expand_dims", "squeeze", "identity", "after", "stop_gradient", "assign", "ensure_shape")
)
_NO_VIEWS: Mapping[int, Cell] = MappingProxyType({})
_FEW_PARTS = 4  # of a value: queries, keys and values are three


def find_unmade(program: Program) -> frozenset[Tensor]:
    """Strided values that only contractions and joins use, directly or through others such: none is made.

    Nor are those with axes of size 1, or without, of such a value, where it is no part of many: a kernel of
    each of them would have to be planned, for it lies elsewhere.
    """
    kept = {program.nodes[b] for b in (*program.outputs, *(b for _, b in program.assignments))}
    strided = {
        step.node
        for step in program.steps
        if is_strided(step.node) and step.node not in kept and step.node.dtype is not BFLOAT16
    }
    parts = Counter(node.inputs[0] for node in strided)
    for step in program.steps if strided else ():
        x, below = step.node, step.node.inputs[0] if step.node.inputs else None
        few = below in strided and parts[below.inputs[0]] <= _FEW_PARTS
        if few and x not in kept and is_thin(x):
            strided.add(x)
    unmade: set[Tensor] = set()
    used: set[Tensor] = set()  # by what must find it in memory
    reads_strided: dict[Hashable, bool] = {}
    for step in reversed(program.steps) if strided else ():
        node = step.node
        if node in strided and node not in used:
            unmade.add(node)
        elif not strided.isdisjoint(node.inputs):
            key = call_key(node)
            if key not in reads_strided:
                kernels = contract_of(node) is not None or block_of(node) is not None
                reads_strided[key] = kernels or node.op.name in JOINS
            if not reads_strided[key]:
                used.update(node.inputs)
    for step in program.steps if unmade else ():
        if is_thin(step.node) and step.node.inputs[0] not in unmade:
            unmade.discard(step.node)  # of what is made it is a view
    return frozenset(unmade)


def _find_views(program: Program, unmade: frozenset[Tensor]) -> dict[int, Mapping[int, Cell]]:
    """The steps whose results are memory of other cells, by their buffer: which result is that of which."""
    found: dict[int, Mapping[int, Cell]] = {}
    for step in program.steps:
        node = step.node
        name = node.op.name
        if node in unmade or (name in VIEWS and isinstance(node.type, TensorType)):
            found[step.output] = {0: (step.inputs[0], 0)}
        elif name == "pick":
            found[step.output] = {0: (step.inputs[0], node.attrs["index"])}
    return found


class Cells:
    """The words that hold addresses, by the cell with memory of its own.

    Attributes:
        plan: where the values of the program lie.
        unmade: those that are only strides on others.
        words: for each cell: the words that must hold its address.
        homes: for cells that lie where others say: what takes those words instead.
        lent: for cells that lie where a program around has them: its cells, and which of them.
    """

    def __init__(
        self,
        program: Program,
        works: Works = needs_nothing,
        overwrites: Overwrites = overwrites_nothing,
        stacks: bool = True,
    ) -> None:
        self.unmade = find_unmade(program)
        self._views = _find_views(program, self.unmade)
        self.plan: MemoryPlan = plan_memory(program, self.views, works, overwrites, stacks)
        self.words: dict[Cell, list[int]] = {}
        self.homes: dict[Cell, Callable[[int], object]] = {}
        self.lent: dict[Cell, tuple[Cells, Cell]] = {}

    def views(self, step: Step) -> Mapping[int, Cell]:
        """Which results of `step` are the memory of which cells."""
        return self._views.get(step.output, _NO_VIEWS)

    def root(self, cell: Cell) -> Cell:
        """The cell whose memory `cell` is."""
        return self.plan.roots.get(cell, cell)

    def point(self, word: int, cell: Cell) -> None:
        """Lets `word` hold the address of `cell`."""
        cells, root = self, self.plan.roots.get(cell, cell)
        while root in cells.lent:
            cells, around = cells.lent[root]
            root = cells.root(around)
        home = cells.homes.get(root)
        if home is None:
            cells.words.setdefault(root, []).append(word)
        else:
            home(word)

    def take(self, cell: Cell) -> tuple[int, ...]:
        """The words of a cell that has no place in the arena."""
        return tuple(self.words.pop(cell, ()))
