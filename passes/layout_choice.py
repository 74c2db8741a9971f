"""Layout choice: in which order of its axes each value is kept, such that few bytes are transposed."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter

from graphc import ops
from graphc.function import Function
from graphc.tensor import Tensor
from graphc.types import TensorType
from passes.axis_order import Order, Orders, chained, identity, inverse, movement, plain_orders
from passes.record import Decision, decide
from passes.reordering import (
    cells_stand_last,
    is_orderable,
    orders_for_lines,
    orders_from_operand,
    orders_from_result,
)
from passes.spelling import Spelling, spell
from passes.weight import bytes_of, guess_bytes

_MOST_CANDIDATES = 6  # for one region; in practice the first one or two decide

Taken = tuple[Tensor, Order | None]  # what is no transpose, and in which order; None: of unknown rank

_Start = tuple[int, Tensor, Orders | None]  # how light, a node, its orders


@dataclass(slots=True)
class _Use:
    """Who takes a value: operand `number` of `user` (None: a result of the function), in `order`."""

    user: Tensor | None
    number: int
    order: Order


@dataclass(slots=True)
class Layouts:
    """The nodes without their transposes, who takes what in which order, and what was chosen so far.

    Args:
        function: the function.
        nodes: its nodes, operands before users.

    Attributes:
        source: of each transpose what it is one of, through others, and the order that it brings that to.
        transposes: the first transpose of a value to an order.
        operands: of each other node.
        spellings: of the contractions that take and give any order.
        orders: of the nodes that work in others than they did.
        kept: the orders of the results of contractions, where they are others than they were.
    """

    function: Function
    nodes: Sequence[Tensor]
    source: dict[Tensor, tuple[Tensor, Order]] = field(default_factory=dict)
    transposes: dict[tuple[Tensor, Order], Tensor] = field(default_factory=dict)
    operands: dict[Tensor, list[Taken]] = field(default_factory=dict)
    spellings: dict[Tensor, Spelling] = field(default_factory=dict)
    orders: dict[Tensor, Orders] = field(default_factory=dict)
    kept: dict[Tensor, Order] = field(default_factory=dict)
    _uses: dict[Tensor, list[_Use]] = field(default_factory=dict)
    _orderable: set[Tensor] = field(default_factory=set)
    _demands: dict[Tensor, Counter[Order]] = field(default_factory=dict)
    _spelled: dict[tuple[Tensor, Order], Order] = field(default_factory=dict)

    def __post_init__(self) -> None:
        given = set(self.function.inputs)
        for node in self.nodes:
            if node.op is ops.transpose and node not in given:
                self._note(node)
                continue
            taken = [self.taken(x) for x in node.inputs]
            self.operands[node] = taken
            if node in given:
                continue
            spelling = spell(node)
            if spelling is not None:
                self.spellings[node] = spelling
            elif is_orderable(node):
                self._orderable.add(node)
            for i, (x, order) in enumerate(taken):
                if order is not None:
                    self._use(x, _Use(node, i, order), spelling is None)
        for result in (*self.function.outputs, *self.function.effects):
            x, order = self.taken(result)
            if order is not None:
                self._use(x, _Use(None, 0, order), True)

    def _note(self, node: Tensor) -> None:
        x, order = self.taken(node.inputs[0])
        if order is None:  # of unknown rank: it stays as it is
            self.operands[node] = [(x, order)]
            return
        whole = chained(order, node.attrs["axes"])
        self.source[node] = (x, whole)
        self.transposes.setdefault((x, whole), node)

    def _use(self, x: Tensor, use: _Use, demanded: bool) -> None:
        self._uses.setdefault(x, []).append(use)
        if demanded:
            moved = movement(use.order, x.result.sizes)
            demands = self._demands.get(x)
            if demands is None:
                demands = self._demands[x] = Counter()
            demands[moved] += 1
            self._spelled.setdefault((x, moved), use.order)

    def taken(self, node: Tensor) -> Taken:
        """What `node` is, transposes aside, and in which order."""
        if node in self.source:
            return self.source[node]
        type = node.type
        ranked = isinstance(type, TensorType) and type.shape is not None
        return node, identity(len(node.result.sizes)) if ranked else None

    def order_of(self, x: Tensor) -> Order:
        """The order in which `x` is kept."""
        if x in self.kept:
            return self.kept[x]
        return self.orders[x].result if x in self.orders else identity(len(x.result.sizes))

    def is_there(self, x: Tensor, order: Order) -> bool:
        """Whether `x` is kept in `order`, or brought to it for someone else."""
        sizes = x.result.sizes
        moved = movement(order, sizes)
        return moved == movement(self.order_of(x), sizes) or (
            x in self._demands and self._demands[x][moved] > 0
        )

    def wanted_order(self, node: Tensor) -> Order | None:
        """In which order a contraction should give its result; None: as it does."""
        demanded = +self._demands.get(node, Counter())
        plain = movement(identity(len(node.result.sizes)), node.result.sizes)
        if not demanded or plain in demanded:
            return None
        return self._spelled[node, demanded.most_common(1)[0][0]]

    def is_bound(self, node: Tensor) -> bool:
        """Whether `node` gives and takes one order only."""
        return node not in self._orderable and node not in self.spellings

    def users(self, x: Tensor) -> Iterator[Tensor | None]:
        """Who takes `x`, in whatever order; None for the function's results."""
        return (use.user for use in self._uses.get(x, ()))

    # Regions: ops that can work in other orders and hang together.

    def regions(self) -> Iterator[list[Tensor]]:
        """The regions that some transpose touches, or that hold windows along the last axis."""
        seen: set[Tensor] = set()
        for node in self.nodes:
            if node in self._orderable and node not in seen and cells_stand_last(node):
                yield self._region(node, seen)
        for x in dict.fromkeys(x for x, _ in self.source.values()):
            touched = [x, *(use.user for use in self._uses.get(x, ()) if use.user is not None)]
            for start in touched:
                if start in self._orderable and start not in seen:
                    yield self._region(start, seen)

    def _region(self, start: Tensor, seen: set[Tensor]) -> list[Tensor]:
        seen.add(start)
        found, queue = [start], deque([start])
        while queue:
            node = queue.popleft()
            around = [x for x, order in self.operands[node] if order is not None and len(order) > 1]
            if len(node.result.sizes) > 1:
                around += [use.user for use in self._uses.get(node, ()) if use.user is not None]
            for other in around:
                if other in self._orderable and other not in seen:
                    seen.add(other)
                    found.append(other)
                    queue.append(other)
        return found

    def starts(self, region: Sequence[Tensor]) -> Iterator[tuple[Tensor, Orders]]:
        """Where to start choosing orders for `region`: so that one edge of it needs no transpose.

        Windows do not lie along the last axis; an edge into or out of it has the order that it is bound to;
        of a transposed one within, the user stays as it is. The heaviest of each come first.
        """
        inside = set(region)
        lines = [node for node in region if cells_stand_last(node)]
        edges, within = list[_Start](), list[_Start]()
        for node in region:
            for i, (x, order) in enumerate(self.operands[node]):
                if order is None or len(order) < 2 or x in self.spellings:
                    continue
                if x not in inside:
                    edges.append((-_weight(x), node, orders_from_operand(node, i, inverse(order))))
                elif order != identity(len(order)):
                    within.append((-_weight(x), node, plain_orders(node)))
            for use in self._uses.get(node, ()):
                if use.user not in inside and use.user not in self.spellings and len(use.order) > 1:
                    edges.append((-_weight(node), node, orders_from_result(node, use.order)))
        edges.sort(key=itemgetter(0))
        within.sort(key=itemgetter(0))
        if lines:
            first = max(lines, key=_weight)
            edges.insert(0, (0, first, orders_for_lines(first)))
        for _, node, found in (*edges, *within):
            if found is not None:
                yield node, found
        yield region[0], plain_orders(region[0])

    def spread(self, start: Tensor, orders: Orders) -> dict[Tensor, Orders]:
        """The orders of all that `start` reaches, such that no transpose is needed where they meet."""
        found, queue = {start: orders}, deque([start])
        while queue:
            node = queue.popleft()
            own = found[node]
            for (x, order), taken in zip(self.operands[node], own.operands, strict=True):
                if x in self._orderable and x not in found and order is not None and len(order) > 1:
                    made = orders_from_result(x, chained(order, taken))
                    if made is not None:
                        found[x] = made
                        queue.append(x)
            for use in self._uses.get(node, ()):
                user = use.user
                if user in self._orderable and user not in found and len(use.order) > 1:
                    made = orders_from_operand(user, use.number, chained(inverse(use.order), own.result))
                    if made is not None:
                        found[user] = made
                        queue.append(user)
        return found

    # What an order costs.

    def change(
        self, region: Sequence[Tensor], chosen: Mapping[Tensor, Orders]
    ) -> dict[Tensor, Counter[Order]]:
        """Of each value that `region` takes, by how many more or fewer each order of it is taken."""
        changes: dict[Tensor, Counter[Order]] = {}
        for node in region:
            orders = chosen.get(node)
            if orders is None:
                continue
            for (x, order), taken in zip(self.operands[node], orders.operands, strict=True):
                if order is not None and len(order) > 1:
                    sizes = x.result.sizes
                    before, after = movement(order, sizes), movement(chained(order, taken), sizes)
                    if before != after:
                        counts = changes.setdefault(x, Counter())
                        counts[before] -= 1
                        counts[after] += 1
        return changes

    def bytes_picked(self, region: Sequence[Tensor], chosen: Mapping[Tensor, Orders]) -> int:
        """How many bytes windows read and write number by number rather than by whole lines of memory."""
        return sum(
            max(_weight(node), _weight(node.inputs[0]))
            for node in region
            if cells_stand_last(node, chosen.get(node))
        )

    def bytes_moved(
        self,
        values: Sequence[Tensor],
        chosen: Mapping[Tensor, Orders],
        changes: Mapping[Tensor, Mapping[Order, int]],
    ) -> int:
        """How many bytes are transposed to bring `values` to whoever takes them."""
        return sum(
            self._copies(x, chosen.get(x), changes.get(x, {})) * _weight(x)
            for x in values
            if len(x.result.sizes) > 1
        )

    def _copies(self, x: Tensor, orders: Orders | None, change: Mapping[Order, int]) -> int:
        demanded = self._demands.get(x, Counter())
        count = sum(n > 0 for n in demanded.values())
        for moved, n in change.items():
            count += (demanded[moved] + n > 0) - (demanded[moved] > 0)
        if x in self.spellings:
            return max(count - 1, 0)
        own = self.order_of(x) if orders is None else orders.result
        kept = movement(own, x.result.sizes)
        return count - (demanded[kept] + change.get(kept, 0) > 0)

    def values_of(self, region: Sequence[Tensor]) -> list[Tensor]:
        """What `region` takes and gives."""
        taken = (x for node in region for x, order in self.operands[node] if order is not None)
        return list(dict.fromkeys((*region, *taken)))

    def choose(self, chosen: Mapping[Tensor, Orders], changes: Mapping[Tensor, Mapping[Order, int]]) -> None:
        """From now on the nodes of `chosen` work in those orders."""
        for node, orders in chosen.items():
            if orders != plain_orders(node):
                self.orders[node] = orders
            for (x, order), taken in zip(self.operands[node], orders.operands, strict=True):
                if order is not None:
                    whole = chained(order, taken)
                    self._spelled.setdefault((x, movement(whole, x.result.sizes)), whole)
        for x, change in changes.items():
            counts = self._demands.setdefault(x, Counter())
            for moved, n in change.items():
                counts[moved] += n


def _weight(x: Tensor) -> int:
    return guess_bytes(bytes_of(x.result))


def choose_orders(layouts: Layouts) -> bool:
    """Chooses, for one region after another, the orders in which the fewest bytes are transposed.

    Says whether any region works in other orders than it did.
    """
    changed = False
    for region in layouts.regions():
        values = layouts.values_of(region)
        now, picked = layouts.bytes_moved(values, {}, {}), layouts.bytes_picked(region, {})
        best, least, reason = None, now + picked, ""
        tried: list[dict[Tensor, Orders]] = []
        for start, orders in layouts.starts(region):
            if len(tried) == _MOST_CANDIDATES or least == 0:
                break
            if any(before.get(start) == orders for before in tried):
                continue
            chosen = layouts.spread(start, orders)
            tried.append(chosen)
            changes = layouts.change(region, chosen)
            moved = layouts.bytes_moved(values, chosen, changes)
            both = moved + layouts.bytes_picked(region, chosen)
            if both < least:
                best, least, reason = (chosen, changes), both, "met" if moved < now else "lines"
        if best is not None:
            details = {"nodes": len(region), "bytes": now + picked - least}
            first = region[0]
            if decide(Decision("layout", ops.transpose.name, True, reason, first.loc, details), first):
                layouts.choose(*best)
                changed = True
    return changed
