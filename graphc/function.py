"""Function: an immutable graph from inputs to outputs and effects; walking and rebuilding one."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from operator import attrgetter
from threading import local
from typing import TYPE_CHECKING, TypeVar

from graphc.drawing.display import Displayed

if TYPE_CHECKING:
    from graphc.graph import Graph
    from graphc.tensor import Tensor

_operands: Callable[[Tensor], Sequence[Tensor]] = attrgetter("inputs")
_has_bodies: Callable[[Tensor], bool] = attrgetter("op.has_bodies")
Item = TypeVar("Item", bound=Hashable)


@dataclass(frozen=True, eq=False, repr=False, slots=True, weakref_slot=True)
class Function(Displayed):
    """What to compute (`outputs`, and `effects` to be had) from what (`inputs`).

    Invariant: every leaf is one of `inputs` or an op without operands. What outputs and effects do
    not reach does not exist, so there is no dead code.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    effects: tuple[Tensor, ...] = ()
    _order: tuple[Tensor, ...] | None = field(default=None, init=False)  # what `nodes` found
    _regions: tuple[Tensor, ...] | None = field(default=None, init=False)  # what `regions` found

    def nodes(self) -> tuple[Tensor, ...]:
        """Every node that outputs and effects reach, operands before users; inputs come first."""
        if self._order is None:  # walked once: a function never changes, and every pass asks
            order = tuple(topological(self.outputs + self.effects, first=self.inputs))
            object.__setattr__(self, "_order", order)
            return order
        return self._order

    def regions(self) -> tuple[Tensor, ...]:
        """The nodes of it that have bodies, in order."""
        if self._regions is None:
            object.__setattr__(self, "_regions", tuple(filter(_has_bodies, self.nodes())))
        return self._regions or ()

    def has_regions(self) -> bool:
        """Whether a node of it has bodies."""
        return bool(self.regions())

    @property
    def owner(self) -> Graph | None:
        """The graph that its nodes belong to; None where it has none."""
        for node in (*self.outputs, *self.effects, *self.inputs):
            return node.owner
        return None

    def __repr__(self) -> str:
        inputs, outputs = (", ".join(str(t.type) for t in ts) for ts in (self.inputs, self.outputs))
        effects = f", {len(self.effects)} effects" if self.effects else ""
        return f"<graphc Function ({inputs}) -> ({outputs}){effects}>"

    def __str__(self) -> str:
        from graphc.text import show  # the text form builds on Function

        return show(self)


def in_known_order(function: Function, order: Iterable[Tensor]) -> Function:
    """`function`, which nobody has looked at yet and whose `nodes` who made it knows: nobody walks it."""
    object.__setattr__(function, "_order", tuple(order))
    return function


def topological(
    roots: Iterable[Tensor], first: Iterable[Tensor] = (), stop: Callable[[Tensor], bool] | None = None
) -> list[Tensor]:
    """What `roots` reach, operands before users, without recursion.

    `first` are listed first, reached or not, and nothing beyond them is visited; nor beyond a node
    for which `stop` holds.
    """
    if stop is not None:
        return in_order(roots, lambda node: () if stop(node) else node.inputs, first)
    return in_order(roots, _operands, first)


def in_order(
    roots: Iterable[Item], needs: Callable[[Item], Iterable[Item]], first: Iterable[Item] = ()
) -> list[Item]:
    """What `roots` reach, each item after what it needs, depth first and without recursion.

    `first` are listed first, and nothing beyond them is visited. Where no item needs itself, each is asked
    once what it needs.
    """
    done: dict[Item, None] = dict.fromkeys(first)
    path: list[tuple[Item, Iterator[Item]]] = []  # whose needs are looked at, and what came beside each
    items = iter(roots)
    while True:
        for item in items:
            if item not in done:
                needed = needs(item)
                if needed:
                    path.append((item, items))
                    items = iter(needed)
                    break
                done[item] = None
        else:
            if not path:
                return list(done)
            item, items = path.pop()
            done[item] = None


def bodies(node: Tensor) -> Iterator[tuple[str, Function]]:
    """The attributes of `node` that are Functions, by name."""
    if node.op.has_bodies:
        for name, value in node.attrs.items():
            if isinstance(value, Function):
                yield name, value


def all_functions(function: Function) -> Iterator[Function]:
    """`function`, and all bodies in it; one that several regions share once."""
    pending, seen = [function], {function}
    while pending:
        current = pending.pop()
        yield current
        for node in current.regions():
            new = [body for _, body in bodies(node) if body not in seen]
            seen.update(new)
            pending += new


def all_nodes(function: Function) -> Iterator[Tensor]:
    """The nodes of `function`, and those of all bodies in it; of a body that several regions share, once."""
    return chain.from_iterable(each.nodes() for each in all_functions(function))


def rebuild(
    function: Function,
    make: Callable[[Tensor, tuple[Tensor, ...]], Tensor],
    start: Mapping[Tensor, Tensor] | None = None,
) -> tuple[Function, dict[Tensor, Tensor]]:
    """`function` with ``make(node, new_inputs)`` in place of each node, and what became of each.

    Nodes in `start` become what it says. Inputs not in `start` stay. The very same Function comes
    back when nothing changed.
    """
    new: dict[Tensor, Tensor] = {node: node for node in function.inputs}
    new.update(start or {})
    order = topological(function.outputs + function.effects, first=new) if start else function.nodes()
    changed = start is not None  # up to the first change operands are what they were
    for node in order:
        if node not in new:
            inputs = tuple([new[i] for i in node.inputs]) if changed else node.inputs
            made = new[node] = make(node, inputs)
            changed = changed or made is not node
    if _thread.pairs is not None:
        _thread.pairs.extend((node, heir) for node, heir in new.items() if heir is not node)
    inputs = tuple(new[node] for node in function.inputs)
    outputs = tuple(new[node] for node in function.outputs)
    effects = tuple(new[node] for node in function.effects)
    if (inputs, outputs, effects) == (function.inputs, function.outputs, function.effects):
        return function, new
    return Function(inputs, outputs, effects), new


def with_inputs(node: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
    """`node` on other operands of the same types; the very same node where they are its own."""
    if inputs == node.inputs:
        return node
    made = type(node)(node.op, inputs, node.attrs, node.type, node.loc, node.name, node.owner)
    follow(node, made)
    return made


# Who came of whom.

Pairs = list[tuple["Tensor", "Tensor"]]


class _Thread(local):
    def __init__(self) -> None:
        self.pairs: Pairs | None = None


_thread = _Thread()


@contextmanager
def following() -> Iterator[Pairs]:
    """Collects pairs of a node and what came to stand for it, as long as it is open, in this thread."""
    outer, _thread.pairs = _thread.pairs, []
    try:
        yield _thread.pairs
    finally:
        _thread.pairs = outer


def is_followed() -> bool:
    """Whether anyone listens who came of whom."""
    return _thread.pairs is not None


def follow(node: Tensor, heir: Tensor) -> None:
    """Says that `heir` came to stand for `node`, if anyone listens."""
    if _thread.pairs is not None:
        _thread.pairs.append((node, heir))
