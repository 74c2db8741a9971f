"""Layout: transposes meet and vanish, or become letters of a contraction.

A transpose moves every byte of its operand, and computes nothing. Each value is kept in some order of its
axes; who takes it in another pays for a transpose. Contractions take and give any order for nothing. Ops
that can work in other orders, and hang together, choose one for all of them: the one in which the fewest
bytes are moved. Windows along the last axis, as those of NCHW images, cost what they hold besides, for they
read number by number what windows over NHWC images read by whole lines of memory (five times slower in a
convolution). So a network runs in NHWC, whether it is written in NCHW or converts at each layer, and is
transposed at its edges only; the heads of an attention are split and joined by the letters of contractions.

Every term that was added is added still; sums of float64 stay in the order that they have in memory, and so
does what a maximum finds first. In the record: ``met`` (ops work in another order, such that transposes meet
their inverses), ``lines`` (so that windows read whole lines), ``absorbed`` (a contraction has taken in a
transpose); a transpose stays because of ``cost`` (in no other order fewer bytes are moved), or of an ``op``
(both who makes and who takes the value are bound to one order).
"""

from __future__ import annotations

from dataclasses import replace

from graphc import ops
from graphc.errors import VerificationError
from graphc.function import Function, with_inputs
from graphc.location import at_line
from graphc.tensor import Tensor
from passes.axis_order import Order, chained, identity, inverse, movement, permuted
from passes.layout_choice import Layouts, choose_orders
from passes.record import Decision, counters, decide, is_watched
from passes.reordering import cells_stand_last, reordered
from passes.rewrite import transform_all
from passes.simplification.vocabulary import reshape
from passes.spelling import Spelling, respelled
from passes.target import PLAIN, Target

_MOST_ROUNDS = 8  # each moves fewer bytes than the one before
_DEAR = frozenset((ops.transpose, ops.windows, ops.overlap_add))  # what another order may save


def lay_out(function: Function, target: Target = PLAIN) -> Function:
    """`function` with the fewest bytes transposed that one choice for each region of ops reaches.

    The same object comes back where nothing is gained. Linear in the nodes.
    """
    return transform_all(function, lambda body: _laid_out(body, target))


def _laid_out(function: Function, target: Target) -> Function:
    for _ in range(_MOST_ROUNDS):
        result = _round(function, target)
        if result is function:
            break
        function = result
    return function


def _round(function: Function, target: Target) -> Function:
    nodes = function.nodes()
    if not any(node.op is ops.transpose or cells_stand_last(node) for node in nodes if node.op in _DEAR):
        return function
    counters().nodes_visited += len(nodes)
    layouts = Layouts(function, nodes)
    changed = choose_orders(layouts)
    absorbed = _absorb(layouts)
    if not (changed or absorbed):
        if is_watched():
            _refuse(layouts)
        return function
    return _Rebuilding(layouts, absorbed).run()


# Contractions.


def _absorb(layouts: Layouts) -> set[Tensor]:
    """The contractions that take in transposes; chooses in which order each gives its result."""
    absorbed = set()
    for node in layouts.spellings:
        wanted = layouts.wanted_order(node)
        there = all(order is None or layouts.is_there(x, order) for x, order in layouts.operands[node])
        if wanted is None and there:
            continue
        if decide(Decision("layout", node.op.name, True, "absorbed", node.loc), node):
            absorbed.add(node)
            if wanted is not None:
                layouts.kept[node] = wanted
    return absorbed


def _refuse(layouts: Layouts) -> None:
    for node, (x, _) in layouts.source.items():
        ends = [end for end in (x, *layouts.users(x)) if end is not None]
        reason = "op" if all(map(layouts.is_bound, ends)) else "cost"
        decide(Decision("layout", ops.transpose.name, False, reason, node.loc), node)


# Putting it down.


class _Rebuilding:
    def __init__(self, layouts: Layouts, absorbed: set[Tensor]) -> None:
        self.layouts, self.absorbed = layouts, absorbed
        self.new: dict[Tensor, Tensor] = {}
        self.moved: dict[tuple[Tensor, Order], Tensor] = {}

    def run(self) -> Function:
        layouts, function = self.layouts, self.layouts.function
        self.new.update((node, node) for node in function.inputs)
        for node in layouts.nodes:
            if node not in layouts.source and node not in self.new:
                self.new[node] = self.make(node)
        return Function(
            function.inputs,
            tuple(self.value(*layouts.taken(node), node) for node in function.outputs),
            tuple(self.value(*layouts.taken(node), node) for node in function.effects),
        )

    def make(self, node: Tensor) -> Tensor:
        """`node` on what became of its operands, its result in the order that was chosen for it."""
        layouts = self.layouts
        taken = layouts.operands[node]
        if node in self.absorbed:
            made = self.contraction(node, layouts.spellings[node])
        elif (orders := layouts.orders.get(node)) is not None:
            operands = []
            for (x, order), own in zip(taken, orders.operands, strict=True):
                assert order is not None  # operands of what has orders have ranks
                operands.append(self.value(x, chained(order, own), node))
            made = reordered(node, orders, operands)
        else:
            return with_inputs(node, tuple(self.value(x, order, node) for x, order in taken))
        counters().nodes_made += 1
        order = layouts.order_of(node)
        if made.type != replace(node.result, shape=permuted(node.result.sizes, order)):
            raise VerificationError(f"layout made {made.type} of {node.type}{at_line(node.loc)}")
        plain = order == identity(len(order))
        return replace(made, name=node.name) if plain and node.name is not None else made

    def contraction(self, node: Tensor, spelling: Spelling) -> Tensor:
        """`node` on its operands as they are kept, or as someone else takes them anyway."""
        operands, orders = [], []
        for x, taken in self.layouts.operands[node]:
            assert taken is not None  # spelled operands have ranks
            kept = taken if self.layouts.is_there(x, taken) else self.layouts.order_of(x)
            operands.append(self.value(x, kept, node))
            orders.append(chained(inverse(taken), kept))
        return respelled(node, spelling, operands, orders, self.layouts.order_of(node))

    def value(self, x: Tensor, order: Order | None, user: Tensor) -> Tensor:
        """`x` in `order`: as it is kept, or brought there."""
        if order is None or order == self.layouts.order_of(x):
            return self.new[x]
        if (x, order) not in self.moved:
            self.moved[x, order] = self.brought(x, order, user)
        return self.moved[x, order]

    def brought(self, x: Tensor, order: Order, user: Tensor) -> Tensor:
        kept, own, sizes = self.new[x], self.layouts.order_of(x), x.result.sizes
        before = self.layouts.transposes.get((x, order))
        if before is not None and kept is x:
            return before
        counters().nodes_made += 1
        loc = user.loc if before is None else before.loc
        name = x.name if order == identity(len(order)) else None
        if movement(order, sizes) == movement(own, sizes):
            return reshape.make((kept,), {"shape": permuted(sizes, order)}, name, loc)
        return ops.transpose.make((kept,), {"axes": chained(inverse(own), order)}, name, loc)
