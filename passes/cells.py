"""Cells: reductions over a few neighbours, as pooling has them, with what is computed before and behind.

Rows are walked along the last axis. A reduction over short axes before that, such as those of the cells of
pooling windows, takes one element of each of a few rows that lie apart: a kernel that holds one vector of
each of them has all that it needs, also for what follows for every cell, as the gradient of a maximum does.
Besides the reduction it holds elementwise nodes whose values have the shape of what is reduced, or any
reshaped one with the same last axis, or that of the result; they may read numbers, and rows of the last axis.
Windows that overlap are read where their image lies: each cell is the row of another of its places.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import NamedTuple

from graphc.function import Function
from graphc.op import OPS
from graphc.sizes import Size, product
from graphc.tensor import Tensor
from graphc.types import BFLOAT16, BOOL, FLOAT32, FLOAT64, TensorType
from passes.failure import may_fail
from passes.target import Target

_REDUCTIONS = frozenset(OPS[name] for name in ("sum", "max", "min"))
_RESHAPES = frozenset(OPS[name] for name in ("reshape", "expand_dims", "squeeze"))
_WINDOWS = OPS["windows"]
_MOST_CELLS = 16  # a vector of each is held
_LEAST_ROW = 8  # elements: shorter rows fill no vector
_MOST_NODES = 24


class Cells(NamedTuple):
    """What is reduced: values of the sizes `whole`, over the axes `over`."""

    whole: tuple[Size, ...]
    over: tuple[int, ...]

    @property
    def kept(self) -> tuple[Size, ...]:
        """The sizes of what they come to, the axes of cells being 1."""
        return tuple(1 if axis in self.over else size for axis, size in enumerate(self.whole))

    def is_whole(self, x: Tensor) -> bool:
        """Whether `x` has an element for every cell."""
        return self._is_like(x.result.sizes, self.whole)

    def is_kept(self, x: Tensor) -> bool:
        """Whether `x` has an element for all cells together."""
        return self._is_like(x.result.sizes, self.kept)

    def is_along(self, x: Tensor) -> bool:
        """Whether `x` is a number, or has one for each element of a row."""
        sizes = x.result.sizes
        return all(size == 1 for size in sizes[:-1]) and (not sizes or sizes[-1] in (1, self.whole[-1]))

    def is_by_cell(self, x: Tensor) -> bool:
        """Whether `x` has one number for each cell, whatever the place."""
        sizes = (1,) * (len(self.whole) - len(x.result.sizes)) + x.result.sizes
        return sizes == tuple(size if axis in self.over else 1 for axis, size in enumerate(self.whole))

    def steps_in(self, x: Tensor, strides: Sequence[Size]) -> tuple[Size, ...] | None:
        """How far a step along each axis of `whole` moves in `x`, whose own axes move as `strides` say.

        Along axes that `x` is reduced over that is 0. None where an axis of `x` is no product of such axes.
        """
        sizes = self.whole if self.is_whole(x) else self.kept
        own = [(size, stride) for size, stride in zip(x.result.sizes, strides, strict=True) if size != 1]
        found: list[Size] = [0] * len(sizes)
        reached: Size = 1
        for axis in reversed(range(len(sizes))):
            if sizes[axis] == 1:
                continue
            if not own:
                return None
            size, stride = own[-1]
            found[axis], reached = stride * reached, reached * sizes[axis]
            if reached == size:
                own.pop()
                reached = 1
        return None if own else tuple(found)

    @staticmethod
    def _is_like(sizes: tuple[Size, ...], whole: tuple[Size, ...]) -> bool:
        return bool(sizes) and sizes[-1] == whole[-1] and product(sizes) == product(whole)


def cells_of(node: Tensor) -> Cells | None:
    """What the kernel of a `fused` node holds a vector each of; None where it is no kernel of cells."""
    rows = node.attrs["rows"]
    for inner in node.attrs["body"].nodes():
        if inner.op in _REDUCTIONS and inner.inputs[0].result.sizes == rows:
            cells = _reduced(inner)
            if cells is not None:
                return cells
    return None


def find_cells(nodes: Sequence[Tensor], function: Function, target: Target) -> dict[Tensor, Cells]:
    """For nodes that kernels of cells could hold: which. Linear.

    What comes before a reduction is taken where nobody else needs it, and where it is no epilogue of a
    contraction; what follows is taken with all that it can read.
    """
    found: dict[Tensor, Cells] = {}
    given = set(function.inputs)
    seeds = [n for n in nodes if n.op in _REDUCTIONS and n not in given and _reduced(n) is not None]
    if not seeds or not {n.op.name for n in seeds} <= target.fusible:
        return found
    users: dict[Tensor, list[Tensor]] = {}
    for node in nodes:
        for operand in set(node.inputs):
            users.setdefault(operand, []).append(node)
    wanted = {*function.outputs, *function.effects}
    summed = _of_contractions(nodes, target)
    for seed in seeds:
        cells = _reduced(seed)
        if seed in found or cells is None:
            continue
        group, queue = {seed}, deque([seed])
        while queue and len(group) < _MOST_NODES:
            node = queue.popleft()
            for user in users.get(node, ()):
                if user not in group and user not in found and _fits(user, cells, target):
                    group.add(user)
                    queue.append(user)
            for x in () if node.op is _WINDOWS else node.inputs:
                if x in group or x in found or x in given or x in wanted or x in summed:
                    continue
                if x.inputs and _fits(x, cells, target) and group.issuperset(users[x]):
                    group.add(x)
                    queue.append(x)
        found.update(dict.fromkeys(group, cells))
    return found


def find_loose(group: Sequence[Tensor]) -> list[Tensor]:
    """Of nodes that could be of one kernel of cells those that are better left out.

    All are, without a reduction; else views of what is in memory, which anyone reads for nothing.
    """
    if not any(node.op in _REDUCTIONS for node in group):
        return list(group)
    inside = set(group)
    return [node for node in group if node.op in _RESHAPES and node.inputs[0] not in inside]


def decide_early(nodes: Sequence[Tensor], groups: Sequence[Sequence[Tensor]]) -> list[list[Tensor]]:
    """`groups` where what is decided for each cell is so by the first kernel that reads what it needs.

    A later one would read all of that again to come to a bool: which cells equal their maximum. Operands of
    such a node are values of the earlier group, or what that reads; others of its own do not need them.
    """
    group_of = {node: i for i, group in enumerate(groups) for node in group}
    reads = [{x for node in group for x in node.inputs} for group in groups]
    found = [dict.fromkeys(group) for group in groups]
    for i, group in enumerate(groups):
        for node in [node for node in group if node.dtype is BOOL and node.inputs]:
            seen = [x.inputs[0] if x.op in _RESHAPES and x not in group_of else x for x in node.inputs]
            homes = {group_of[x] for x in seen if x in group_of}
            if len(homes) != 1 or i in homes:
                continue
            (home,) = homes
            known = found[home].keys() | reads[home]
            others = {x for user in found[i] if user is not node for x in user.inputs}
            pairs = list(zip(node.inputs, seen, strict=True))
            if others & {*node.inputs} or any(x not in known and below not in known for x, below in pairs):
                continue
            new = [x for x, below in pairs if x is not below and below in found[home]]
            del found[i][node]
            found[home].update(dict.fromkeys((*new, node)))
            group_of.update(dict.fromkeys((*new, node), home))
    place = {node: i for i, node in enumerate(nodes)}
    return [sorted(group, key=place.__getitem__) for group in found]


def without(found: Mapping[Tensor, Cells], nodes: Iterable[Tensor]) -> dict[Tensor, Cells]:
    """`found` but for `nodes`."""
    left = set(nodes)
    return {node: cells for node, cells in found.items() if node not in left}


def _reduced(node: Tensor) -> Cells | None:
    """What a reduction reduces, if that are the cells of few rows."""
    (x,) = node.inputs
    sizes, over = x.result.shape, node.attrs["axis"]
    if not sizes or not over or over[0] == 0 or over[-1] == len(sizes) - 1:
        return None
    if node.dtype is not x.dtype or 0 in sizes or not are_held(x, [sizes[axis] for axis in over]):
        return None
    return Cells(sizes, tuple(over))


def are_held(x: Tensor, counts: Sequence[Size]) -> bool:
    """Whether a kernel holds a vector of rows of `x` for each cell; `counts` of them lie along axes."""
    row, known = x.result.sizes[-1], [size for size in counts if isinstance(size, int)]
    if x.dtype not in (FLOAT32, FLOAT64) or not isinstance(row, int) or row < _LEAST_ROW:
        return False
    return len(known) == len(counts) and 1 < prod(known) <= _MOST_CELLS


def _fits(node: Tensor, cells: Cells, target: Target) -> bool:
    """Whether a kernel of `cells` could compute `node`."""
    if any(not isinstance(x.type, TensorType) or x.type.shape is None for x in (node, *node.inputs)):
        return False
    if node.op in _REDUCTIONS:
        return _reduced(node) == cells
    if not (cells.is_whole(node) or cells.is_kept(node)):
        return False
    if node.op in _RESHAPES:
        return True
    if node.op is _WINDOWS:
        axes, image = node.attrs["axes"], node.inputs[0].result.sizes
        return node.result.sizes == cells.whole and all(isinstance(image[axis], int) for axis in axes)
    if node.op.family != "elementwise" or node.op.name not in target.fusible or may_fail(node):
        return False
    if not target.holds(node):
        return False
    if BFLOAT16 in [x.dtype for x in (node, *node.inputs)]:
        return False
    own = node.result.sizes
    return all(
        x.result.sizes == own
        or cells.is_along(x)
        or (own == cells.whole and (x.result.sizes == cells.kept or cells.is_by_cell(x)))
        for x in node.inputs
    )


def _of_contractions(nodes: Sequence[Tensor], target: Target) -> set[Tensor]:
    """Contractions, and what their kernels may do with the sums."""
    found: set[Tensor] = set()
    for node in nodes:
        if not isinstance(node.type, TensorType):
            continue
        if node.op in _RESHAPES or node.op.family == "elementwise":
            if any(x in found and x.result.shape == node.result.shape for x in node.inputs):
                found.add(node)
        elif node.op not in _REDUCTIONS and target.contracts(node):
            found.add(node)
    return found
