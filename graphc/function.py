"""Function: an immutable graph from inputs to outputs and effects; walking and rebuilding one."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import local
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from graphc.graph import Graph
    from graphc.tensor import Tensor

Item = TypeVar("Item", bound=Hashable)


@dataclass(frozen=True, eq=False, repr=False, slots=True, weakref_slot=True)
class Function:
    """What to compute (`outputs`, and `effects` to be had) from what (`inputs`).

    Invariant: every leaf is one of `inputs` or an op without operands. What outputs and effects do
    not reach does not exist, so there is no dead code.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    effects: tuple[Tensor, ...] = ()
    _order: tuple[Tensor, ...] | None = field(default=None, init=False)  # what `nodes` found

    def nodes(self) -> tuple[Tensor, ...]:
        """Every node that outputs and effects reach, operands before users; inputs come first."""
        if self._order is None:  # walked once: a function never changes, and every pass asks
            order = tuple(topological(self.outputs + self.effects, first=self.inputs))
            object.__setattr__(self, "_order", order)
            return order
        return self._order

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

    def _repr_svg_(self) -> str | None:
        from graphc.drawing.notebook import picture_of  # only notebooks ask

        return picture_of(self)

    def _repr_html_(self) -> str:
        from graphc.drawing.notebook import page_part_of  # only notebooks ask

        return page_part_of(self)

    def __str__(self) -> str:
        from graphc.text import show  # the text form builds on Function

        return show(self)


def topological(
    roots: Iterable[Tensor], first: Iterable[Tensor] = (), stop: Callable[[Tensor], bool] | None = None
) -> list[Tensor]:
    """What `roots` reach, operands before users, without recursion.

    `first` are listed first, reached or not, and nothing beyond them is visited; nor beyond a node
    for which `stop` holds.
    """
    if stop is not None:
        return in_order(roots, lambda node: () if stop(node) else node.inputs, first)
    done: dict[Tensor, None] = dict.fromkeys(first)  # as `in_order`, but each node is looked at once
    stack: list[Tensor | None] = [*roots][::-1]
    pop, push = stack.pop, stack.append
    while stack:
        node = pop()
        if node is None:  # what the next one needs is done
            done[pop()] = None  # type: ignore[index]  # None stands on a node only
        elif node not in done:
            if node.inputs:
                push(node)
                push(None)
                stack += node.inputs[::-1]
            else:
                done[node] = None
    return list(done)


def in_order(
    roots: Iterable[Item], needs: Callable[[Item], Iterable[Item]], first: Iterable[Item] = ()
) -> list[Item]:
    """What `roots` reach, each item after what it needs, depth first and without recursion.

    `first` are listed first, and nothing beyond them is visited.
    """
    order = list(dict.fromkeys(first))
    done = set(order)
    stack = [*roots][::-1]
    while stack:
        item = stack[-1]
        if item not in done:
            waiting = [i for i in needs(item) if i not in done]
            if waiting:
                waiting.reverse()
                stack += waiting
                continue
            done.add(item)
            order.append(item)
        stack.pop()
    return order


def bodies(node: Tensor) -> Iterator[tuple[str, Function]]:
    """The attributes of `node` that are Functions, by name."""
    if node.op.has_bodies:
        for name, value in node.attrs.items():
            if isinstance(value, Function):
                yield name, value


def all_nodes(function: Function) -> Iterator[Tensor]:
    """The nodes of `function`, and those of all bodies in it."""
    pending = [function]
    while pending:
        for node in pending.pop().nodes():
            yield node
            pending.extend(body for _, body in bodies(node))


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


def follow(node: Tensor, heir: Tensor) -> None:
    """Says that `heir` came to stand for `node`, if anyone listens."""
    if _thread.pairs is not None:
        _thread.pairs.append((node, heir))
