"""Recomputation: a function split in early and late, which early values to hold, and the rest run again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

from graphc.function import Function, with_inputs
from graphc.graph import has_effects
from graphc.ops.state import after, pick
from graphc.sizes import Symbol, evaluate, symbols
from graphc.tensor import Tensor
from graphc.types import TensorType
from passes.cost import cost_of_node
from passes.lifetimes import count_bytes
from passes.weight import parts_of

MOST_NODES = 128  # of one segment: keeps each flow network small, and all of them linear
_DEAR = 16  # flops for each byte: beyond, it is no longer memory that takes the time
_UNIT = 1024  # of a byte in a flow network, so that one more op weighs less than any byte


@dataclass(frozen=True, slots=True)
class Split:
    """A function as early values and the late ones that follow them.

    Attributes:
        function: what is split.
        order: its nodes, as they are scheduled.
        late: those that are not run again, nor held for others.
        early: the others, in order, without those that are there anyway (see `is_free`).
        needed: of those, the ones with late users.
        known: all sizes.
    """

    function: Function
    order: tuple[Tensor, ...]
    late: frozenset[Tensor]
    early: tuple[Tensor, ...]
    needed: frozenset[Tensor]
    known: Mapping[Symbol, int]
    results: frozenset[Tensor]
    _bytes: dict[Tensor, int] = field(default_factory=dict)
    _flops: dict[Tensor, int] = field(default_factory=dict)

    @staticmethod
    def by_mark(function: Function, order: Sequence[Tensor], known: Mapping[Symbol, int]) -> Split:
        """Late is what is marked as backward and computed from something, and what depends on that."""
        late: set[Tensor] = set()
        for node in order:
            if node.op is pick:
                is_late = node.inputs[0] in late
            else:
                marked = node.loc is not None and node.loc.backward
                is_late = (marked and any(i.inputs for i in node.inputs)) or not late.isdisjoint(node.inputs)
            if is_late:
                late.add(node)
        return _split(function, order, late, known)

    @staticmethod
    def by_step(function: Function, order: Sequence[Tensor], known: Mapping[Symbol, int], step: int) -> Split:
        """Late is what is scheduled at step number `step` or behind it."""
        sources = set(function.inputs)
        steps = [n for n in order if n not in sources and n.op.name not in _SOURCES]
        late = set(steps[step:])
        late.update(node for node in steps if node.op is pick and node.inputs[0] in late)
        late.difference_update(node for node in steps if node.op is pick and node.inputs[0] not in late)
        return _split(function, order, late, known)

    def is_free(self, node: Tensor) -> bool:
        """Whether `node` is held anyway, whoever uses it: it is fed, a constant or a variable."""
        return not node.inputs or node.op.name in _SOURCES

    def obstacle(self, node: Tensor) -> str | None:
        """Why `node` cannot be run again, or need not; None where it can."""
        if node in self.results:
            return "result"
        if has_effects(node):
            return "effect"
        if node.op.binds and not _binds_nothing(node):
            return "sizes"
        return None

    def is_dear(self, node: Tensor) -> bool:
        """Whether `node` does much more arithmetic than it touches memory, as contractions do."""
        if node.op.name in ("matmul", "einsum") or node.op.family in ("linear", "window", "region"):
            return node.op.name != "fused"
        return self.flops(node) > _DEAR * max(self.bytes(node), 1)

    def bytes(self, node: Tensor) -> int:
        """How many bytes its value takes."""
        found = self._bytes.get(node)
        if found is None:
            ranked = all(type.shape is not None for type in parts_of(node.type))
            alias = node.op is after
            found = self._bytes[node] = count_bytes(node.type, self.known) if ranked and not alias else 0
        return found

    def flops(self, node: Tensor) -> int:
        """How much arithmetic it does."""
        found = self._flops.get(node)
        if found is None:
            size = cost_of_node(node).flops
            guessed = {symbol: self.known.get(symbol, 1) for symbol in symbols(size)}
            found = self._flops[node] = evaluate(size, guessed)
        return found

    def again(self, kept: frozenset[Tensor]) -> list[Tensor]:
        """The early values that are run again where `kept` are held, in order."""
        wanted = set(self.needed - kept)
        for node in reversed(self.early):
            if node in wanted:
                wanted.update(i for i in node.inputs if i not in kept and not self.is_free(i))
        return [node for node in self.early if node in wanted]


_SOURCES = frozenset(("constant", "variable", "run_state"))


def _split(
    function: Function, order: Sequence[Tensor], late: set[Tensor], known: Mapping[Symbol, int]
) -> Split:
    inputs = set(function.inputs)
    early = tuple(
        n for n in order if n not in late and n not in inputs and n.inputs and n.op.name not in _SOURCES
    )
    used = {operand for node in late for operand in node.inputs}
    needed = frozenset(node for node in early if node in used)
    results = frozenset((*function.outputs, *function.effects))
    return Split(function, tuple(order), frozenset(late), early, needed, known, results)


def _binds_nothing(node: Tensor) -> bool:
    """Whether all symbols in the type of a region are in those of its operands."""
    if not node.op.has_bodies:
        return False
    given = {
        s for i in node.inputs for t in parts_of(i.type) for size in t.shape or () for s in symbols(size)
    }
    return all(
        t.shape is not None and given.issuperset(s for size in t.shape for s in symbols(size))
        for t in parts_of(node.type)
    )


# Which values are held.


def segments_of(split: Split, count: int) -> tuple[tuple[Tensor, ...], ...]:
    """The early values in `count` runs of about as many bytes, cut where few bytes cross; more, if long."""
    early = split.early
    crossing = _crossing(split)
    before = [0, *accumulate(max(split.bytes(node), 1) for node in early)]
    share = before[-1] / count
    segments: list[tuple[Tensor, ...]] = []
    begin = 0
    while begin < len(early):
        end = begin + 1
        best = end
        while end < len(early) and end - begin < MOST_NODES and before[end] - before[begin] < 1.25 * share:
            end += 1
            full = before[end] - before[begin] >= 0.75 * share
            started = before[best] - before[begin] >= 0.75 * share
            if not started or (full and crossing[end] < crossing[best]):
                best = end
        if end == len(early):
            best = end
        segments.append(early[begin:best])
        begin = best
    return tuple(segments)


def _crossing(split: Split) -> list[int]:
    """The bytes of early values that are used by early ones across each place between them."""
    place = {node: i for i, node in enumerate(split.early)}
    last: dict[Tensor, int] = {}
    for i, node in enumerate(split.early):
        for operand in node.inputs:
            if operand in place:
                last[operand] = i
    change = [0] * (len(place) + 1)
    for node, end in last.items():
        change[place[node] + 1] += split.bytes(node)
        change[end + 1 if end + 1 < len(change) else -1] -= split.bytes(node)
    return list(accumulate(change))


def cut_segments(
    split: Split, cut: Sequence[Sequence[Tensor]], whole: Iterable[Sequence[Tensor]], dear: bool
) -> frozenset[Tensor]:
    """The early values to hold: of the segments `whole` all that are needed, of `cut` the least bytes.

    Later segments come first: what they begin from is held in the ones before.
    """
    kept = {node for segment in whole for node in segment if node in split.needed}
    kept.update(node for node in split.early if node in split.results)
    for segment in reversed(cut):
        kept.update(_cut(split, segment, kept, dear))
    return frozenset(kept)


def _cut(split: Split, segment: Sequence[Tensor], kept: set[Tensor], dear: bool) -> set[Tensor]:
    """The values of fewest bytes from which all of `segment` that is needed can be computed.

    Each value is an edge from its being computed to its being used, as wide as it has bytes. The source
    has an edge to what is not run again, of any width where that is impossible: the cut passes behind it.
    """
    import networkx as nx  # takes 100 ms to import, and most sessions have no memory budget

    inside = set(segment)
    wanted = {node for node in segment if node in split.needed and node not in kept}
    targets = frozenset(wanted)
    if not targets:
        return set()
    flow = nx.DiGraph()
    flow.add_nodes_from(("source", "sink"))
    outside: dict[Tensor, None] = {}
    for node in reversed(segment):
        if node not in wanted:
            continue
        held = node in kept
        flow.add_edge((node, 0), (node, 1), capacity=0 if held else split.bytes(node) * _UNIT + 1)
        if node in targets:
            flow.add_edge((node, 1), "sink")
        if split.obstacle(node) is not None or (split.is_dear(node) and not dear):
            flow.add_edge("source", (node, 0))
            continue
        flow.add_edge("source", (node, 0), capacity=1)
        for operand in node.inputs:
            if split.is_free(operand) or operand in kept:
                continue
            flow.add_edge((operand, 1), (node, 0))
            if operand in inside:
                wanted.add(operand)
            else:
                outside[operand] = None
    for node in outside:
        flow.add_edge("source", (node, 1), capacity=split.bytes(node) * _UNIT + 1)
    _, (reached, _) = nx.minimum_cut(flow, "source", "sink")
    cut = {node for node in outside if (node, 1) not in reached}
    return cut | {node for node in wanted if (node, 0) in reached and (node, 1) not in reached}


# Running the rest again.


def recompute(split: Split, kept: frozenset[Tensor]) -> Function:
    """The function of `split` in which late values use `kept` ones, and all others run again.

    What is run again for a late value waits (`after`) for the operand of it that comes last, so that no
    schedule has it earlier; that also tells it from the first run, with which it must not be merged.
    """
    function = split.function
    again = split.again(kept)
    repeated = set(again)
    rank = {node: i for i, node in enumerate(split.order)}
    new: dict[Tensor, Tensor] = {}
    copies: dict[Tensor, Tensor] = {}
    last: Tensor | None = None
    for node in split.order:
        if node not in split.late:
            new[node] = node
        else:
            missing = [i for i in node.inputs if i in repeated and i not in copies]
            if missing:
                gates = [i for i in node.inputs if i in split.late and isinstance(i.type, TensorType)]
                gate = new[max(gates, key=rank.__getitem__)] if gates else last
                _copy(missing, repeated, copies, gate)
            new[node] = with_inputs(node, tuple(copies.get(i, new[i]) for i in node.inputs))
        if isinstance(node.type, TensorType) and node.inputs:
            last = new[node]
    return replace(
        function,
        outputs=tuple(new[node] for node in function.outputs),
        effects=tuple(new[node] for node in function.effects),
    )


def _copy(
    roots: Sequence[Tensor], repeated: set[Tensor], copies: dict[Tensor, Tensor], gate: Tensor | None
) -> None:
    """Adds copies of `roots` and of what of `repeated` they need, which run once `gate` has."""
    waiting: dict[Tensor, Tensor] = {}
    stack = list(roots)
    while stack:
        node = stack[-1]
        pending = [i for i in node.inputs if i in repeated and i not in copies]
        if node in copies:
            stack.pop()
        elif pending:
            stack.extend(pending)
        else:
            stack.pop()
            inputs = [copies.get(i, i) for i in node.inputs]
            if gate is not None and not any(i in copies for i in node.inputs):
                place = next((k for k, i in enumerate(inputs) if isinstance(i.type, TensorType)), None)
                if place is not None:
                    inputs[place] = _behind(inputs[place], gate, waiting)
            copies[node] = replace(node, inputs=tuple(inputs), name=None)


def _behind(x: Tensor, gate: Tensor, waiting: dict[Tensor, Tensor]) -> Tensor:
    """`x`, once `gate` has run."""
    if x not in waiting:
        waiting[x] = Tensor(after, (x, gate), {}, x.type, x.loc, None, x.owner)
    return waiting[x]
