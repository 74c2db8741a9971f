"""Deltas: the states of a function, pass after pass, as data for JSON.

A node keeps its id from pass to pass, see `passes.lineage`. What stands in a node, docs/record.md says.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any

from graphc.descent import Descent, descend
from graphc.function import Function, Pairs
from graphc.literals import Speller, stated_attributes
from graphc.sizes import Size, Symbol, evaluate, symbols
from graphc.tensor import Tensor
from graphc.types import TensorType
from passes.cost import cost_of_node
from passes.lineage import Belongings, Lineage
from passes.record import Change
from passes.weight import GUESS, bytes_of, parts_of

Node = dict[str, Any]
Spell = Callable[[str, Function], Descent[dict[str, Any]]]  # a body by its name


class Deltas:
    """Turns one state after the other into what changed since the state before.

    Args:
        known: what symbols in sizes are; a guess stands for the others.
    """

    def __init__(self, known: Mapping[Symbol, int] | None = None) -> None:
        self.speller = Speller()  # one for all states, so that unknown sizes and arrays keep their names
        self.sizes = Sizes(known or {})
        self.ids: dict[Tensor, str] = {}
        self.bodies: dict[str, dict[Tensor, str]] = {}  # ids in bodies, by the place of those: "n7/body"
        self.belongings = Belongings()
        self._known: dict[str, Node] = {}
        self._next = 0
        self._numbers: dict[str, Iterator[int]] = {}  # that no node in the body at that place has had

    def lineage(self, pairs: Pairs = (), changes: Iterable[Change] = ()) -> Lineage:  # type: ignore[assignment]  # read only
        """How the state that `step` is given next came of the present one."""
        return Lineage(self.ids, pairs, changes)

    def step(self, function: Function, lineage: Lineage | None = None) -> dict[str, Any]:
        """What `function` adds, removes and changes: nodes by id; and its inputs, outputs and effects."""
        lineage = lineage or self.lineage()
        before, known = self.ids, self._known
        ids = lineage.name_all(function.nodes(), self.new_id)
        now = {}
        for node, id in ids.items():
            now[id] = known[id] if node in before else self.spell(node, ids, lineage, id)
        self.ids, self._known = ids, now
        return {
            "added": {id: node for id, node in now.items() if id not in known},
            "changed": {id: node for id, node in now.items() if id in known and not _alike(known[id], node)},
            "removed": [id for id in known if id not in now],
            "inputs": [ids[node] for node in function.inputs],
            "outputs": [ids[node] for node in function.outputs],
            "effects": [ids[node] for node in function.effects],
        }

    def spell(self, node: Tensor, ids: Mapping[Tensor, str], lineage: Lineage, place: str = "") -> Node:
        """`node` as data; its operands are in `ids`. Where it has a `place`, nodes in its bodies keep ids.

        Where it has none it lives within one stage, as do those around and within it that are told of too:
        regions in its bodies are left empty, or a nest would be told as often as it is deep.
        """
        body = self._spelling(lineage, place) if place and node.op.name != "fused" else self._plainly
        spelled = descend(_spelled(node, ids, self.speller, self.sizes, body))
        if node.op.name == "fused":
            members = lineage.members(node)
            number = {inner: str(i) for i, inner in enumerate(node.attrs["body"].nodes())}
            spelled["members"] = {number[inner]: lineage.before[was] for inner, was in members.items()}
            before = self._known.get(ids[node], {}) if node in ids else {}
            spelled["members"] = spelled["members"] or before.get("members", {})
        return spelled

    def _plainly(self, _: str, function: Function) -> Descent[dict[str, Any]]:
        """`function`, a body, as data: all its nodes, numbered from 0."""
        ids = {node: str(i) for i, node in enumerate(function.nodes())}
        spelled = {}
        for node, id in ids.items():
            inner = self._plainly if node.op.name == "fused" else _empty
            spelled[id] = yield _spelled(node, ids, self.speller, self.sizes, inner)
        return _ends(spelled, function, ids)

    def _spelling(self, lineage: Lineage, place: str) -> Spell:
        """As `_plainly` for the bodies of the node at `place`, with the ids of the state before."""

        def body(name: str, function: Function) -> Descent[dict[str, Any]]:
            at = f"{place}/{name}"
            numbers = self._numbers.setdefault(at, count())
            before = lineage.inside(self.bodies.get(at, {}))
            self.bodies[at] = ids = before.name_all(function.nodes(), lambda: str(next(numbers)))
            spelled = {}
            for node, id in ids.items():
                inner = self._spelling(lineage, f"{at}/{id}") if node.op.has_bodies else self._plainly
                spelled[id] = yield _spelled(node, ids, self.speller, self.sizes, inner)
            return _ends(spelled, function, ids)

        return body

    def settle_gradients(self, delta: Mapping[str, Any], became: Mapping[str, list[str]]) -> None:
        """Completes the nodes of `delta` by the forward nodes that they belong to."""
        origins: dict[str, list[str]] = {}
        for id, heirs in became.items():
            for heir in heirs:
                origins.setdefault(heir, []).append(id)
        of = self.belongings
        for part in ("added", "changed"):
            for id, node in delta[part].items():
                if node["backward"]:
                    same, related = self._picked(node), [*reversed(origins.get(id, ())), *node["operands"]]
                    if node["op"] != "fused" and not same:
                        same, related = [*reversed(origins.get(id, ()))], node["operands"]
                    of.hand_on(same, related, id)
                node["gradient"] = of.of.get(id)

    def _picked(self, node: Node) -> list[str]:
        """The member of a group whose value `node` is."""
        group = self._known[node["operands"][0]] if node["op"] == "pick" else None
        if group is None or group["op"] != "fused":
            return []
        inner = group["attrs"]["body"]["outputs"][int(node["attrs"]["index"])]
        return [group["members"][inner]] if inner in group["members"] else []

    def new_id(self) -> str:
        """An id that no node has had."""
        self._next += 1
        return f"n{self._next}"


class Sizes:
    """What symbols in sizes are: as known, else guessed."""

    def __init__(self, known: Mapping[Symbol, int]) -> None:
        self.known = dict(known)

    def number(self, size: Size) -> int:
        """`size` as a number; 0 where a guess makes no sense of it."""
        if isinstance(size, int):
            return size
        for symbol in symbols(size):
            self.known.setdefault(symbol, GUESS)
        try:
            return max(evaluate(size, self.known), 0)
        except ZeroDivisionError:
            return 0


def _spelled(
    node: Tensor, ids: Mapping[Tensor, str], speller: Speller, sizes: Sizes, body: Spell
) -> Descent[Node]:
    """`node` as data: its op, operands by id, attributes and type as text, and where it comes from.

    ``body(name, function)`` spells its bodies.
    """
    attrs: dict[str, Any] = {}
    for key, value, is_shape in stated_attributes(node):
        if not isinstance(value, Function):
            attrs[key] = speller.value(value, is_shape)
        else:
            attrs[key] = yield body(key, value)
    loc, type = node.loc, node.type
    single = type if isinstance(type, TensorType) else None
    name = node.name
    if name is None and node.op.name == "placeholder":
        name = node.attrs.get("name")
    cost = cost_of_node(node)
    return {
        "op": node.op.name,
        "operands": [ids[operand] for operand in node.inputs],
        "attrs": attrs,
        "type": speller.type(type),
        "dtype": None if single is None else single.dtype.code,
        "shape": None
        if single is None or single.shape is None
        else [sizes.number(size) for size in single.shape],
        "name": name,
        "scope": (loc.scope if loc else "") or (name or "").rpartition("/")[0],
        "file": os.path.basename(loc.filename) if loc else None,
        "line": loc.line if loc else None,
        "source": loc.source if loc else None,
        "backward": bool(loc and loc.backward),
        "gradient": None,
        "flops": sizes.number(cost.flops),
        "bytes": sizes.number(cost.bytes),
        "result_bytes": sum(sizes.number(bytes_of(t)) for t in parts_of(type)),
    }


def _ends(nodes: dict[str, Node], function: Function, ids: Mapping[Tensor, str]) -> dict[str, Any]:
    """A body of `nodes`, and which of them `function` begins and ends with."""
    return {
        "nodes": nodes,
        "inputs": [ids[node] for node in function.inputs],
        "outputs": [ids[node] for node in function.outputs],
        "effects": [ids[node] for node in function.effects],
    }


def _empty(_: str, function: Function) -> Descent[dict[str, Any]]:
    return _ends({}, Function((), ()), {})
    yield  # it is a call, as the others are


def _alike(x: Any, y: Any) -> bool:
    """``x == y`` for data, however deep it is nested."""
    pending = [(x, y)]
    while pending:
        a, b = pending.pop()
        if isinstance(a, dict) and isinstance(b, dict):
            if a.keys() != b.keys():
                return False
            pending.extend((value, b[key]) for key, value in a.items())
        elif a is not b and a != b:
            return False
    return True


# And back.


def state_at(stages: Sequence[Mapping[str, Any]], number: int) -> dict[str, Any]:
    """The state after stage `number`: its nodes by id, inputs, outputs and effects.

    Args:
        stages: those of a record, each with a ``delta``.
        number: from 0; negative ones count from the end.
    """
    last = range(len(stages))[number]
    nodes: dict[str, Node] = {}
    for stage in stages[: last + 1]:
        delta = stage["delta"]
        for id in delta["removed"]:
            del nodes[id]
        nodes.update(delta["added"])
        nodes.update(delta["changed"])
    ends = stages[last]["delta"]
    return {"nodes": nodes, **{key: ends[key] for key in ("inputs", "outputs", "effects")}}
