"""Rows: what the kernel of a `fused` node does, before any text is written.

A kernel walks rows along the outer sizes, and each row in *phases*: loops over the inner size, with
reductions at their ends. A value of a whole row belongs to the phase after the last reduction that it
depends on; one that a later phase reads again is kept in scratch memory, one row of it at a time. A
value of one number a row is computed between the loops. The element of a row that a label picks is such a
number: it is computed by itself, so what is only picked from is in no loop.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

from graphc.freezing import frozen
from graphc.function import Function
from graphc.laziness import Lazy
from graphc.sizes import Size, product
from graphc.tensor import Tensor
from graphc.types import DType, TupleType
from passes.failure import may_fail
from passes.fusion import PICK, PUT, REDUCTIONS, takes_part
from runtime.llvm_backend.rows.row_bodies import open_reductions

VIEWS = frozenset(("reshape", "broadcast_to", "expand_dims", "squeeze", "strided_slice"))
CHEAP = frozenset(  # an instruction or two
    ("add", "sub", "mul", "neg", "abs", "square", "maximum", "minimum", "relu", "where", "cast", "identity")
)
CHEAP |= {PUT.name}
PART = 1 << 16  # elements of a part of a row that is split


class Access(NamedTuple):
    """How rows lie in an operand or a result: along which outer sizes it varies, and if along the row.

    Where they are parts of longer rows, `pitch` is the length of those; they begin at `start`, and have every
    so many elements as `step` says, backwards where that is negative.
    """

    outer: tuple[bool, ...]
    inner: bool
    start: int = 0
    pitch: int = 0
    step: int = 1

    @property
    def is_number(self) -> bool:
        """Whether it is one number for the whole kernel."""
        return not self.inner and not any(self.outer)

    @property
    def is_full(self) -> bool:
        """Whether it varies along everything that is walked, and one row lies right after the other."""
        return self.inner and all(self.outer) and not self.pitch


Operand = tuple[Tensor, Access | None]  # a value, and how it lies where the kernel is given it


@frozen
class Phase:
    """One loop over a row (`vectors`, in order), its `reductions`, then what is one `number` a row."""

    vectors: tuple[Tensor, ...]
    reductions: tuple[Tensor, ...]
    numbers: tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class RowPlan:
    """What a kernel reads, computes and writes.

    Attributes:
        body: the fused body, its reductions opened.
        outer: the sizes that rows run along, neighbours merged where all accesses allow it.
        groups: which of the node's first sizes each of `outer` is the product of.
        inner: the length of a row.
        phases: in order.
        reads: how operand number i of a node lies, where it is an input of the body.
        writes: how each output lies.
        kept: values of a row that a later phase reads again, other than outputs.
        source: what each view in the body shows, but for those that are results: they are copied.
        picked_from: values of a row of which only elements are computed, those that labels pick.
    """

    body: Function
    outer: tuple[Size, ...]
    groups: tuple[tuple[int, ...], ...]
    inner: Size
    phases: tuple[Phase, ...]
    reads: Mapping[tuple[Tensor, int], Access]
    writes: tuple[Access, ...]
    kept: tuple[Tensor, ...]
    source: Mapping[Tensor, Tensor]
    picked_from: frozenset[Tensor] = frozenset()

    @Lazy
    def operands(self) -> Mapping[tuple[Tensor, int], Operand]:
        """What operand number i of a node is, once views are looked through."""
        found: dict[tuple[Tensor, int], Operand] = {}
        for user in self.body.nodes():
            for i, operand in enumerate(user.inputs):
                if operand in self.source:
                    found[user, i] = found[operand, 0]
                else:
                    found[user, i] = operand, self.reads.get((user, i))
        return found

    @Lazy
    def accesses(self) -> tuple[Access, ...]:
        """Each way that an operand or a result lies."""
        return tuple(dict.fromkeys((*self.reads.values(), *self.writes)))

    @Lazy
    def dtypes(self) -> frozenset[DType]:
        """Those of what loops hold in vectors."""
        found: set[DType] = set()
        for phase in self.phases:
            for node in phase.vectors:
                found.add(node.dtype)
                found.update(x.dtype for x in (node.inputs[:1] if node.op is PUT else node.inputs))
            for node in phase.reductions:
                given = node.inputs[0].dtype
                found.update((given,) if given.is_floating else (given, node.dtype))
        return frozenset(found)

    @Lazy
    def is_flat(self) -> bool:
        """Whether nothing tells rows apart, so that all elements are one row."""
        if len(self.phases) != 1 or self.phases[0].reductions or self.phases[0].numbers:
            return False
        parts = all(size == 1 for size in self.outer)  # of one row
        return all(a.is_full or a.is_number or (parts and a.pitch) for a in self.accesses)

    @Lazy
    def is_split(self) -> bool:
        """Whether there is one row, perhaps a long one, that is walked once and reduced: in parts."""
        walked = [phase for phase in self.phases if phase.vectors or phase.reductions]
        if any(size != 1 for size in self.outer) or len(walked) != 1 or not walked[0].reductions:
            return False
        return not isinstance(self.inner, int) or self.inner > 2 * PART

    def is_row(self, node: Tensor) -> bool:
        """Whether a loop computes a number of `node` for every element of a row."""
        return any(node in phase.vectors for phase in self.phases)

    def spans(self, node: Tensor) -> bool:
        """Whether `node` stands for a number for every element of a row, computed or not."""
        return node in self.picked_from or self.is_row(node)

    @property
    def has_loops(self) -> bool:
        """Whether any row is walked."""
        return any(phase.vectors or phase.reductions for phase in self.phases)

    @property
    def has_choices(self) -> bool:
        """Whether a row without elements is a case of its own."""
        return any(
            phase.reductions or any(node.op is PICK for node in phase.numbers) for phase in self.phases
        )


def plan_rows(node: Tensor, whole: bool = False) -> RowPlan | None:
    """The plan of a `fused` node, or None where an operand lies across its rows.

    With `whole`, all elements are computed of what is only picked from.
    """
    body = open_reductions(node.attrs["body"])
    if any(isinstance(each.type, TupleType) for each in body.nodes()):
        return None
    *outer, inner = node.attrs["rows"]
    frame = _Frame(tuple(outer), inner)
    given, results = set(body.inputs), set(body.outputs)
    inside = [each for each in body.nodes() if each not in given]
    rows = {each for each in body.nodes() if frame.is_row(each)}
    source: dict[Tensor, Tensor] = {}
    reads: dict[tuple[Tensor, int], Access] = {}
    for each in inside:
        if each.op.name in VIEWS:
            below = each.inputs[0]
            if below in rows and each not in rows:
                return None
            if each not in results:
                source[each] = source.get(below, below)
        elif each not in rows and not frame.walks(each):
            return None
        if (each.op in REDUCTIONS or each.op is PICK) and not frame.spans(each.inputs[0]):
            return None
        for i, operand in enumerate(each.inputs):
            if operand in given:
                access = frame.access_by(each, i)
                if access is None:
                    return None
                reads[each, i] = access
    writes = tuple(frame.access(output, output) for output in body.outputs)
    if any(access is None for access in writes) or not given.isdisjoint(results):
        return None
    if any((view in rows) != (below in rows) for view, below in source.items() if below not in given):
        return None  # rows of one element, seen without that axis
    left_out = frozenset() if whole else _only_picked(inside, results, rows)
    phases = _phases(inside, given, rows, left_out)
    known = tuple(access for access in writes if access is not None)
    return _merged(
        RowPlan(
            *(body, tuple(outer), tuple((i,) for i in range(len(outer))), inner, phases),
            *(reads, known, _kept(phases, source), source, left_out),
        )
    )


class _Frame:
    """The rows that are walked, and how what is met in their ops lies in them."""

    def __init__(self, outer: tuple[Size, ...], inner: Size) -> None:
        self.outer, self.inner, self._whole = outer, inner, (*outer, inner)
        varies = tuple(size != 1 for size in outer)
        self._row = Access(varies, inner != 1)
        self._number = Access(varies, False)  # one number a row

    def is_row(self, node: Tensor) -> bool:
        """Whether `node` holds a number for every element of a row."""
        if node.result.sizes != self._whole:
            return False
        return node.op not in REDUCTIONS or self._row.inner

    def spans(self, operand: Tensor) -> bool:
        """Whether `operand`, along whose rows a node reduces or picks, has as many elements there."""
        return operand.result.sizes[-1:] == (self.inner,)

    def walks(self, node: Tensor) -> bool:
        """Whether `node`, no row of those that are walked, is a number for each of them, or one for all."""
        sizes = node.result.sizes
        if sizes == self.outer or all(size == 1 for size in sizes):
            return True
        return sizes[len(self.outer) :] == (1,) and all(
            size in (1, walked) for size, walked in zip(sizes, self.outer, strict=False)
        )

    def access_by(self, user: Tensor, i: int) -> Access | None:
        """How operand number i of `user`, an input of the body, lies."""
        operand = user.inputs[i]
        if user.op is PUT or (user.op is PICK and i == 1):
            return self._number
        if user.op in REDUCTIONS or user.op is PICK:
            return self.access(operand, operand)
        if user.op.name in VIEWS:
            numbers = (self.outer, (*self.outer, 1))
            if operand.result.sizes in numbers and user.result.sizes in numbers:
                return self._number
        return self.access(operand, user)

    def access(self, operand: Tensor, user: Tensor) -> Access | None:
        """How `operand` lies in the rows of `user`, to whose last axes its own line up."""
        sizes, seen = operand.result.sizes, user.result.sizes
        if user.op.name == "strided_slice" and operand is not user:
            if not takes_part(user) or seen != self._whole:
                return None
            pitch = sizes[-1]
            assert isinstance(pitch, int)  # a part is of known sizes
            start, step = (user.attrs[key][-1] for key in ("starts", "steps"))
            return Access((True,) * len(self.outer), True, start, pitch, step)
        if sizes == seen == self._whole:
            return self._row
        if len(sizes) > len(seen):
            sizes, seen = _without_ones(sizes), _without_ones(seen)
        if len(sizes) > len(seen):
            return None
        varies = [False] * (len(seen) - len(sizes))
        for a, b in zip(sizes, seen[len(seen) - len(sizes) :], strict=True):
            met = user.op.family == "elementwise" and not (isinstance(a, int) and isinstance(b, int))
            if a not in (1, b) and not met:  # sizes that meet in an op are equal, or the run is refused
                return None
            varies.append(a != 1)
        if seen == self.outer:
            return Access(tuple(varies), False)
        return Access(tuple(varies[:-1]), varies[-1]) if len(varies) == len(self.outer) + 1 else None


def _without_ones(sizes: tuple[Size, ...]) -> tuple[Size, ...]:
    return tuple(size for size in sizes if size != 1)


def _phases(
    inside: Sequence[Tensor], given: set[Tensor], rows: Collection[Tensor], left_out: frozenset[Tensor]
) -> tuple[Phase, ...]:
    """The nodes by how many reductions they come after."""
    depth: dict[Tensor, int] = dict.fromkeys(given, 0)
    vectors: dict[int, list[Tensor]] = {}
    reductions: dict[int, list[Tensor]] = {}
    numbers: dict[int, list[Tensor]] = {}
    for node in inside:
        below = max((depth[i] for i in node.inputs), default=0)
        if node.op in REDUCTIONS:
            depth[node] = below + 1
            reductions.setdefault(below, []).append(node)
        elif node in rows:
            depth[node] = below
            if node not in left_out:
                vectors.setdefault(below, []).append(node)
        else:
            depth[node] = below
            numbers.setdefault(below - 1, []).append(node)
    last = max((*vectors, *reductions, *numbers), default=0)
    first = -1 if -1 in numbers else 0  # numbers that come before any loop
    return tuple(
        Phase(*(tuple(table.get(p, ())) for table in (vectors, reductions, numbers)))
        for p in range(first, last + 1)
    )


def _only_picked(
    inside: Sequence[Tensor], results: set[Tensor], rows: Collection[Tensor]
) -> frozenset[Tensor]:
    """Rows of which nothing is needed but the elements that labels pick."""
    found: set[Tensor] = set()
    wanted = set(results)
    for node in reversed(inside):
        if node not in wanted and node in rows and not may_fail(node):
            found.add(node)
        else:
            wanted.update(node.inputs[1:] if node.op is PICK else node.inputs)
    return frozenset(found)


def _kept(phases: Sequence[Phase], source: Mapping[Tensor, Tensor]) -> tuple[Tensor, ...]:
    """Values of a row that another phase than their own reads."""
    phase_of = {node: i for i, phase in enumerate(phases) for node in (*phase.vectors, *phase.reductions)}
    home = {node: i for i, phase in enumerate(phases) for node in phase.vectors}
    read_later = {
        operand
        for node, i in phase_of.items()
        for operand in (source.get(given, given) for given in node.inputs)
        if operand in home and home[operand] < i
    }
    return tuple(node for node in home if node in read_later and node not in source)


def _merged(plan: RowPlan) -> RowPlan:
    """`plan` with neighbouring outer sizes made one where every access varies along both or neither."""
    groups: list[tuple[int, ...]] = [(0,)] if plan.outer else []
    for a, b in pairwise(range(len(plan.outer))):
        if all(access.outer[a] == access.outer[b] for access in plan.accesses):
            groups[-1] += (b,)
        else:
            groups.append((b,))
    if len(groups) == len(plan.outer):
        return plan
    firsts = [group[0] for group in groups]
    merged = {x: x._replace(outer=tuple(x.outer[i] for i in firsts)) for x in plan.accesses}
    return replace(
        plan,
        outer=tuple(product(plan.outer[i] for i in group) for group in groups),
        groups=tuple(groups),
        reads={key: merged[access] for key, access in plan.reads.items()},
        writes=tuple(merged[access] for access in plan.writes),
    )
