"""Lineage: which node came of which, from one state of a function to the next, and so their ids.

A node keeps its id while it is the same op in the same place: the same object, one that was rebuilt on other
operands (`graphc.function.following` tells), else one with the same op, line, name and type.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from copy import copy
from typing import Any

from graphc.function import Pairs, bodies, topological
from graphc.tensor import Tensor
from passes.record import Change, Slope

_FAR = 200  # how many nodes are asked on the way to one that is known


class Lineage:
    """What became of the nodes of one state in the next.

    Args:
        before: the nodes of the state before, with their ids.
        pairs: who came of whom, as `following` collects it.
        changes: what was carried out in between.
    """

    def __init__(self, before: Mapping[Tensor, str], pairs: Pairs, changes: Iterable[Change]) -> None:
        self.before = before
        self._origins: dict[Tensor, list[Tensor]] = {}
        self._heirs: dict[Tensor, list[Tensor]] = {}
        for node, heir in pairs:
            if heir is not node:
                self._origins.setdefault(heir, []).append(node)
                self._heirs.setdefault(node, []).append(heir)
        self._replaced: dict[Tensor, list[Tensor]] = {}
        for change in changes:
            if change.before is not None and change.after is not None:
                self._replaced.setdefault(change.before, []).append(change.after)

    def inside(self, before: Mapping[Tensor, str]) -> Lineage:
        """The same for the nodes in a body, which were `before`."""
        found = copy(self)
        found.before = before
        return found

    def name_all(self, nodes: Iterable[Tensor], new_id: Any) -> dict[Tensor, str]:
        """The ids of `nodes`, the state after; `new_id` makes those of nodes that came of none alike."""
        listed = list(nodes)
        there = set(listed)
        free = {id: node for node, id in self.before.items() if node not in there}
        ids: dict[Tensor, str] = {}
        for node in listed:
            if node in self.before:
                ids[node] = self.before[node]
            else:
                origin = self.origin_in(node, self.before)
                if origin is not None and self.before[origin] in free:
                    ids[node] = self.before[origin]
                    del free[ids[node]]
        likely: dict[Any, list[str]] = {}
        for id, node in reversed(free.items()):
            likely.setdefault(_likeness(node), []).append(id)
        for node in listed:
            if node not in ids:
                found = likely.get(_likeness(node))
                ids[node] = found.pop() if found else new_id()
        return {node: ids[node] for node in listed}

    def origin_in(self, node: Tensor, known: Container[Tensor]) -> Tensor | None:
        """What `node` came of with the same op, among `known`."""
        return _reach(node, self._origins, known)

    def heir_in(self, node: Tensor, known: Container[Tensor]) -> Tensor | None:
        """What stands for `node` with the same op, among `known`."""
        return _reach(node, self._heirs, known)

    def became(self, after: Mapping[Tensor, str]) -> dict[str, list[str]]:
        """For ids of the state before that are gone: those that stand for them in the state after."""
        groups: dict[Tensor, list[str]] = {}
        for node, id in after.items():
            if node not in self.before and node.op.name == "fused":
                for inner in self.members(node).values():
                    groups.setdefault(inner, []).append(id)
        left = set(after.values())
        found: dict[str, list[str]] = {}
        for node, id in self.before.items():
            if id in left:
                continue
            heirs = groups.get(node) or self._ends(node, after, groups)
            if heirs:
                found[id] = list(dict.fromkeys(heirs))
        return found

    def members(self, fused: Tensor) -> dict[Tensor, Tensor]:
        """For the nodes in the body of a new group: the nodes of the state before that they were."""
        found = {}
        for _, body in bodies(fused):
            given = set(body.inputs)
            for inner in body.nodes():
                if inner not in given:
                    origin = inner if inner in self.before else self.origin_in(inner, self.before)
                    if origin is not None:
                        found[inner] = origin
        return found

    def _ends(
        self, node: Tensor, after: Mapping[Tensor, str], groups: Mapping[Tensor, list[str]]
    ) -> list[str]:
        ends: list[str] = []
        asked, pending = {node}, [node]
        while pending and len(asked) < _FAR:
            current = pending.pop()
            for heir in (*self._replaced.get(current, ()), *self._heirs.get(current, ())):
                if heir in asked:
                    continue
                asked.add(heir)
                if heir in after:
                    ends.append(after[heir])
                elif heir in groups:
                    ends += groups[heir]
                else:
                    pending.append(heir)
        return ends


def _reach(node: Tensor, edges: Mapping[Tensor, list[Tensor]], known: Container[Tensor]) -> Tensor | None:
    asked, pending = {node}, [node]
    while pending and len(asked) < _FAR:
        for found in edges.get(pending.pop(0), ()):
            if found not in asked and found.op is node.op:
                if found in known:
                    return found
                asked.add(found)
                pending.append(found)
    return None


def _likeness(node: Tensor) -> Any:
    return (node.op, node.loc, node.name, node.type)


class Belongings:
    """Which forward node the nodes of a gradient belong to, by id, through all states."""

    def __init__(self) -> None:
        self.of: dict[str, dict[str, Any]] = {}

    def read(self, slopes: Iterable[Slope], lineage: Lineage, ids: Mapping[Tensor, str], spare: Any) -> None:
        """What `slopes` say of the nodes with `ids`; ``spare(node)`` is the id of one that is gone."""
        seen: set[Tensor] = set()

        def is_known(node: Tensor) -> bool:
            return (
                node in seen
                or not (node.loc and node.loc.backward)
                or node in lineage.before
                or lineage.origin_in(node, seen) is not None
            )

        for slope in slopes:
            made = topological(slope.made, stop=is_known)
            own = [node for node in made if not is_known(node)]
            own += [node for node in slope.made if slope.total and node.loc and node.loc.backward]
            if not own:
                continue
            forward = slope.forward
            name = forward.name
            if name is None and forward.op.name == "variable":
                name = forward.attrs["name"]
            for node in own:
                id = self._id(node, lineage, ids)
                if id is not None and (slope.total or id not in self.of):
                    total = slope.total and node in slope.made
                    self.of[id] = {"of": spare(forward), "name": name, "total": total}
            seen.update(own)

    def _id(self, node: Tensor, lineage: Lineage, ids: Mapping[Tensor, str]) -> str | None:
        heir = node if node in ids else lineage.heir_in(node, ids)
        return None if heir is None else ids[heir]

    def hand_on(self, same: Iterable[str], related: Iterable[str], id: str) -> None:
        """Lets the node `id` belong where those belong whose value it has; else where `related` do."""
        if id in self.of:
            return
        for origins, total in ((same, True), (related, False)):
            found = next((self.of[origin] for origin in origins if origin in self.of), None)
            if found is not None:
                self.of[id] = {**found, "total": total and found["total"]}
                return
