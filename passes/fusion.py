"""Fusion: elementwise ops, and reductions of rows among them, that one kernel can compute together.

What is fused shares its *rows*: all axes but the last are walked once, and within a row run loops over
the last axis with reductions between them. So a softmax, a layer normalisation, a cross-entropy or a chain of
elementwise ops is one node each. Before that, reductions over a few rows take what `cells` says,
contractions what `epilogues` says, and reductions down columns what `columns` says.

A node that is not fused with an operand has a typed reason in the record: ``op`` (the backend has no
code for it), ``rows`` (it walks other rows), ``order`` (something that is not fused stands between),
``size`` (the kernel would grow beyond MOST_NODES), ``view`` (neither computes anything).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from graphc.function import Function
from graphc.op import OPS
from graphc.ops.state import pick
from graphc.sizes import Size
from graphc.tensor import Tensor
from graphc.types import TensorType
from passes.blocks import fuse_blocks
from passes.cells import decide_early, find_cells, find_loose, without
from passes.columns import fuse_columns
from passes.epilogues import fuse_epilogues
from passes.failure import may_fail
from passes.grouping import accept, enclose, refuse
from passes.record import counters, is_watched
from passes.rewrite import transform_all
from passes.target import PLAIN, Target

MOST_NODES = 48  # of one kernel: beyond, values no longer fit the registers and compiling slows down
REDUCTIONS = frozenset(OPS[name] for name in ("sum", "max", "min", "mean", "prod", "any", "all", "logsumexp"))
PICK, PUT = OPS["pick_class"], OPS["put_class"]  # one element of each row, by a label
_VIEWS = frozenset(OPS[name] for name in ("reshape", "broadcast_to", "expand_dims", "squeeze"))
_BROADCAST = OPS["broadcast_to"]
_PART = OPS["strided_slice"]
_MOST_STEPS = 4  # between elements that are picked out of vectors
_SHORT = 8  # elements of a row that are no more work than a number or two that it needs


class Rows(NamedTuple):
    """What a fused node walks: rows along `outer`, each of `inner` elements; or one value a row.

    `cells` are the axes over which it reduces some of them at a time.
    """

    outer: tuple[Size, ...]
    inner: Size
    cells: tuple[int, ...] = ()


def fuse(function: Function, target: Target = PLAIN) -> Function:
    """`function` with what the backend can compute in one kernel in `fused` nodes.

    The same object comes back where nothing is fused. Groups are connected and convex: a node between
    two of a group is in it, or runs before or after all of it. Linear.
    """
    if not target.fusible:
        return function
    return transform_all(function, lambda body: _fused(body, target))


def _fused(function: Function, target: Target) -> Function:
    function = fuse_cells(function, target)
    function = fuse_epilogues(function, target)
    function = fuse_columns(function, target)
    nodes = function.nodes()
    counters().nodes_visited += len(nodes)
    rows = _rows(nodes, function, target)
    groups = [group for group in _groups(nodes, function, rows) if accept(group, "rows")]
    walked = [(*rows[group[0]].outer, rows[group[0]].inner) for group in groups]
    function = enclose(function, nodes, groups, walked) if groups else function
    return fuse_blocks(function, target)


def fuse_cells(function: Function, target: Target) -> Function:
    """`function` with reductions over a few rows in `fused` nodes, where a backend contracts in place."""
    if not target.has_cells:
        return function
    nodes = function.nodes()
    found = find_cells(nodes, function, target)
    while found:
        rows = {node: Rows(cells.whole[:-1], cells.whole[-1], cells.over) for node, cells in found.items()}
        groups = _groups(nodes, function, rows, tells=False)
        loose = [node for group in groups for node in find_loose(group)]
        if not loose:
            groups = [group for group in decide_early(nodes, groups) if accept(group, "cells")]
            walked = [found[group[0]].whole for group in groups]
            return enclose(function, nodes, groups, walked) if groups else function
        found = without(found, loose)
    return function


# Which nodes can be fused at all, and what they walk.


def _rows(nodes: Sequence[Tensor], function: Function, target: Target) -> dict[Tensor, Rows]:
    """What each node that can be fused walks."""
    rows: dict[Tensor, Rows] = {}
    loose: set[Tensor] = set()  # those that nothing yet ties to the rows they walk
    given = set(function.inputs)
    for node in nodes:
        if node in given or node.op.name not in target.fusible or not isinstance(node.type, TensorType):
            continue
        found = _rows_of(node, rows)
        if found is not None:
            rows[node] = found
        if _is_loose(node, rows, loose):
            loose.add(node)
    _follow_users(nodes, rows, loose)
    return rows


def _rows_of(node: Tensor, rows: dict[Tensor, Rows]) -> Rows | None:
    shape = node.result.shape
    if shape is None:
        return None
    if node.op in REDUCTIONS or node.op is PICK:
        reduced = node.inputs[0].result.shape
        if not reduced or node.attrs.get("axis", (len(reduced) - 1,)) != (len(reduced) - 1,):
            return None
        return Rows(reduced[:-1], reduced[-1])
    if node.op is PUT:
        return _own(shape)
    if node.op is _PART:
        return _own(shape) if takes_part(node) else None
    for operand in node.inputs:  # one value a row, where an operand is
        walked = rows.get(operand)
        if walked is not None and _fits(shape, walked):
            if node.op in _VIEWS and walked.inner == 1 and shape == walked.outer:
                return None  # a row of one element is no number: loops come after numbers
            return walked
    if node.op in _VIEWS:
        return None if node.op is not _BROADCAST or not shape else _own(shape)
    return _own(shape)


def _is_loose(node: Tensor, rows: dict[Tensor, Rows], loose: set[Tensor]) -> bool:
    if node.op not in _VIEWS and node.op.family != "elementwise":
        return False
    return all(x in loose or x not in rows or rows[x] != rows.get(node) for x in node.inputs)


def _follow_users(nodes: Sequence[Tensor], rows: dict[Tensor, Rows], loose: set[Tensor]) -> None:
    """Loose nodes that give one number a row to what all walks the same rows are computed in those.

    So are the slopes that come in backwards, and labels. Views come along with what they show.
    """
    wanted: dict[Tensor, Rows | None] = {}  # of loose ones
    moved: list[Tensor] = []
    for node in reversed(nodes) if loose else ():
        walked = wanted.get(node)
        if walked is not None and rows.get(node) != walked:
            rows[node] = walked
            moved.append(node)
        walked = rows.get(node)
        for operand in loose.intersection(node.inputs):
            own = walked if walked is not None and _is_number(operand, node, walked) else None
            wanted[operand] = own if wanted.get(operand, own) == own else None
    for node in reversed(moved):
        if node.op in _VIEWS and node.op is not _BROADCAST and rows.get(node.inputs[0]) != rows[node]:
            del rows[node]  # of something that is there before


def _is_number(operand: Tensor, node: Tensor, rows: Rows) -> bool:
    """Whether `operand` is one number for each of many `rows`, long enough to compute it on the way."""
    outer, inner, _ = rows
    shape = operand.result.shape
    if not shape or (shape != outer and (shape[-1] != 1 or shape[:-1] != outer)):
        return False
    if all(size == 1 for size in outer) or (isinstance(inner, int) and inner < _SHORT):
        return False
    return _lines_up(operand, node, rows)


def takes_part(node: Tensor) -> bool:
    """Whether `node` is a slice that has all rows of its operand, and of each elements a few steps apart."""
    if node.op is not _PART or may_fail(node) or not node.result.sizes:
        return False
    whole, attrs = node.inputs[0].result.sizes, node.attrs
    *steps, last = attrs["steps"]
    return (
        all(step == 1 for step in steps)
        and abs(last) <= _MOST_STEPS
        and all(start == 0 for start in attrs["starts"][:-1])
        and isinstance(attrs["starts"][-1], int)
        and isinstance(whole[-1], int)
        and attrs["sizes"][:-1] == whole[:-1]
        and attrs["sizes"][-1] not in (0, 1)
        and (last != 1 or attrs["sizes"][-1] != whole[-1])
    )


def _own(shape: tuple[Size, ...]) -> Rows:
    return Rows(shape[:-1], shape[-1]) if shape else Rows((), 1)


def _fits(shape: tuple[Size, ...], rows: Rows) -> bool:
    """Whether a value of `shape` is a row's worth, or one value, for each of `rows`."""
    outer, inner, _ = rows
    return shape == outer or (shape != () and shape[:-1] == outer and shape[-1] in (1, inner))


# Which of them go together.


def _groups(
    nodes: Sequence[Tensor], function: Function, rows: dict[Tensor, Rows], tells: bool = True
) -> list[list[Tensor]]:
    """Connected nodes that walk the same rows at the same stage, in chunks of at most MOST_NODES.

    The stage of a node is how many times the longest way from it to a result leaves a group: along an
    edge it never grows, and it falls where the edge is not fused. So no way leaves a group and comes back.
    What is not fused is told with its reason, where anyone listens and it `tells`.
    """
    groups = _Groups(nodes, function, rows)
    watched, given = tells and is_watched(), set(function.inputs)
    for node in nodes if watched else ():
        for operand in dict.fromkeys(node.inputs):
            if _is_joined(operand, node, rows):
                if groups.leader(operand) is not groups.leader(node):
                    refuse(operand, node, groups.reason(node))
            elif operand.inputs and node.op is not pick and node not in given:
                refuse(operand, node, "rows" if operand in rows and node in rows else "op")
    chunks = []
    for group in groups.members():
        for begin in range(0, len(group), MOST_NODES):
            chunk = group[begin : begin + MOST_NODES]
            if any(node.op not in _VIEWS and node.op is not _PART for node in chunk):
                chunks.append(chunk)
            elif watched:
                _refuse_inside(chunk)
        if watched:
            _refuse_across(group)
    return chunks


class _Groups:
    """Which nodes go together: those of one stage, then groups that may come earlier, with their operands."""

    def __init__(self, nodes: Sequence[Tensor], function: Function, rows: dict[Tensor, Rows]) -> None:
        self._nodes, self._rows = nodes, rows
        self._inside = [node for node in nodes if node in rows]
        self._joined = {x: [y for y in x.inputs if _is_joined(y, x, rows)] for x in self._inside}
        self._leader = {node: node for node in rows}
        self._large: set[Tensor] = set()  # groups that only their size keeps from others
        self._sizes: dict[Tensor, int] = {}
        self._stage = stage = _stages(nodes, self._joined)
        apart: list[Tensor] = []
        for node, operands in self._joined.items():
            for operand in operands:
                if stage[operand] == stage[node]:
                    self._leader[self.leader(operand)] = node  # which nothing has led yet
                else:
                    apart.append(operand)
        self._read = set(map(self.leader, apart))  # groups that others could be joined with
        if apart:
            self._advance(set(function.inputs))

    def leader(self, node: Tensor) -> Tensor:
        """The node that stands for the group of `node`."""
        leader = self._leader
        while leader[node] is not node:
            leader[node] = leader[leader[node]]
            node = leader[node]
        return node

    def members(self) -> list[list[Tensor]]:
        """All groups, each in the order of the nodes."""
        found: dict[Tensor, list[Tensor]] = {}
        for node in self._inside:
            found.setdefault(self.leader(node), []).append(node)
        return list(found.values())

    def reason(self, node: Tensor) -> str:
        """Why the group of `node` is apart from one that it reads."""
        return "size" if node in self._large else "order"

    def _advance(self, given: set[Tensor]) -> None:
        """Joins groups that can be as early as those they read with them: a loss with what is made of it.

        Stages are raised, those of the earliest groups first, as far as all that a group reads allows.
        """
        most = len(self._nodes) + 1
        early = dict.fromkeys(given, most)  # how early a node can be: the stage that it can be raised to
        waiting: list[list[list[Tensor]]] = [[] for _ in range(1 + max(self._stage.values(), default=0))]
        for node in self._nodes:
            if node not in self._rows and node not in given:
                waiting[self._stage[node]].append([node])
        for group in self.members():
            waiting[self._stage[group[0]]].append(group)
            self._sizes[self.leader(group[0])] = len(group)
        for stage in reversed(range(len(waiting))):
            for group in waiting[stage]:
                if group[0] in self._rows:
                    found = self._raised(group, stage, early)
                else:
                    found = min(map(early.__getitem__, group[0].inputs), default=most + 1) - 1
                early.update(dict.fromkeys(group, found))

    def _raised(self, group: Sequence[Tensor], stage: int, early: Mapping[Tensor, int]) -> int:
        """The stage of `group`, which is joined with those before it where it can be raised to theirs."""
        own = self.leader(group[0])
        limit, near = len(self._nodes) + 1, dict[Tensor, int]()
        for node in group:
            for operand in node.inputs:
                if operand in self._rows and self.leader(operand) is own:
                    continue
                if operand in self._joined[node]:
                    near[self.leader(operand)] = early[operand]
                    limit = min(limit, early[operand])
                else:
                    limit = min(limit, early[operand] - 1)
        hosts = [host for host, at in near.items() if at == limit > stage]
        size = sum(self._sizes[host] for host in (own, *hosts))
        if size > MOST_NODES:
            self._large.update(group if hosts else ())
            return stage
        if not hosts:
            return stage if own in self._read else limit
        for host in hosts:
            self._leader[host] = own
        self._sizes[own] = size
        return limit


def _refuse_inside(chunk: Sequence[Tensor]) -> None:
    inside = set(chunk)
    for node in chunk:
        for operand in dict.fromkeys(node.inputs):
            if operand in inside:
                refuse(operand, node, "view")


def _refuse_across(group: Sequence[Tensor]) -> None:
    """Refuses the edges from one chunk of a group to another."""
    number = {node: i // MOST_NODES for i, node in enumerate(group)}
    for node in group:
        for operand in dict.fromkeys(node.inputs):
            if number.get(operand, number[node]) != number[node]:
                refuse(operand, node, "size")


def _is_joined(operand: Tensor, node: Tensor, rows: dict[Tensor, Rows]) -> bool:
    """Whether both walk the same rows, and a value a row of `operand` meets its own row in `node`.

    A part meets other elements than its own, as one backwards of a whole row: it is read where it lies.
    """
    walked = rows.get(operand)
    if walked is None or node.op is _PART:
        return False
    return walked == rows.get(node) and _lines_up(operand, node, walked)


def _lines_up(operand: Tensor, node: Tensor, rows: Rows) -> bool:
    """Whether a value a row of `operand`, if it is one, meets its own row in `node`.

    A value of shape `outer` lines up with the last axes of a whole row's, as broadcasting does: with
    other rows than its own, unless a view gave it a last axis of one element. Labels have their own rows.
    """
    if node.op is PUT or operand.result.shape != rows.outer or not rows.outer or rows.inner == 1:
        return True
    return node.result.shape in (rows.outer, (*rows.outer, 1))


def _stages(nodes: Sequence[Tensor], joined: Mapping[Tensor, Sequence[Tensor]]) -> dict[Tensor, int]:
    stage = dict.fromkeys(nodes, 0)
    for node in reversed(nodes):
        own, near = stage[node], joined.get(node, ())
        for operand in node.inputs:
            least = own if operand in near else own + 1
            if stage[operand] < least:
                stage[operand] = least
    return stage
