"""Deltas: the states of a function, pass after pass, as data for JSON; and their text again.

A node keeps its id from pass to pass: while it is the same object, and where another one with the
same op, place, name and type stands for it afterwards.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from graphc.function import Function, topological
from graphc.literals import Speller, parameters, spell_file, spell_name
from graphc.tensor import Tensor

Node = dict[str, Any]
_COLUMN = 48  # where places begin, as in `graphc.text`


class Deltas:
    """Turns one state after the other into what changed since the state before."""

    def __init__(self) -> None:
        self.speller = Speller()  # one for all states, so that unknown sizes and arrays keep their names
        self._ids: dict[Tensor, str] = {}
        self._before: dict[Tensor, None] = {}
        self._known: dict[str, Node] = {}
        self._next = 0

    def step(self, function: Function) -> dict[str, Any]:
        """What `function` adds, removes and changes: nodes by id; and its inputs, outputs and effects."""
        nodes = dict.fromkeys(function.nodes())
        ids, before = self._ids, self._before
        heirs: dict[Any, list[str]] = {}
        for node in reversed(before):
            if node not in nodes:
                heirs.setdefault(_likeness(node), []).append(ids[node])
        for node in nodes:
            if node not in before:
                likely = heirs.get(_likeness(node))
                ids[node] = likely.pop() if likely else self._new_id()
        now = {}
        for node in nodes:
            id = ids[node]
            now[id] = self._known[id] if node in before else spell_node(node, ids, self.speller)
        known = self._known
        self._before, self._known = nodes, now
        self._ids = {node: ids[node] for node in nodes}
        return {
            "added": {id: node for id, node in now.items() if id not in known},
            "changed": {id: node for id, node in now.items() if id in known and known[id] != node},
            "removed": [id for id in known if id not in now],
            "inputs": [ids[node] for node in function.inputs],
            "outputs": [ids[node] for node in function.outputs],
            "effects": [ids[node] for node in function.effects],
        }

    def _new_id(self) -> str:
        self._next += 1
        return f"n{self._next}"


def _likeness(node: Tensor) -> Any:
    return (node.op, node.loc, node.name, node.type)


def spell_node(node: Tensor, ids: Mapping[Tensor, str], speller: Speller) -> Node:
    """`node` as data: its op, operands by id, attributes and type as text, and where it comes from."""
    attrs: dict[str, Any] = {}
    given = parameters(node.op) if node.attrs else {}
    for key, parameter in given.items():
        if key in node.attrs:
            value = node.attrs[key]
            attrs[key] = (
                spell_body(value, speller)
                if isinstance(value, Function)
                else speller.value(value, parameter.kind == "Shape")
            )
    loc = node.loc
    return {
        "op": node.op.name,
        "operands": [ids[operand] for operand in node.inputs],
        "attrs": attrs,
        "type": speller.type(node.type),
        "name": node.name,
        "file": os.path.basename(loc.filename) if loc else None,
        "line": loc.line if loc else None,
        "source": loc.source if loc else None,
        "backward": bool(loc and loc.backward),
    }


def spell_body(function: Function, speller: Speller) -> dict[str, Any]:
    """`function`, the body of a region, as data: all its nodes, numbered from 0."""
    nodes = function.nodes()
    ids = {node: str(i) for i, node in enumerate(nodes)}
    return {
        "nodes": {ids[node]: spell_node(node, ids, speller) for node in nodes},
        "inputs": [ids[node] for node in function.inputs],
        "outputs": [ids[node] for node in function.outputs],
        "effects": [ids[node] for node in function.effects],
    }


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


def text_of(state: Mapping[str, Any]) -> str:
    """The text of a state, as `graphc.show` writes that of its function.

    Unknown sizes and large arrays bear the names that they have in the whole record.
    """
    return "".join(_block(state, ""))


class _Row:
    """A node of a state while it is put in order."""

    __slots__ = ("id", "inputs", "node")

    def __init__(self, id: str, node: Node) -> None:
        self.id, self.node = id, node
        self.inputs: tuple[_Row, ...] = ()


def _ordered(state: Mapping[str, Any]) -> list[_Row]:
    rows = {id: _Row(id, node) for id, node in state["nodes"].items()}
    for row in rows.values():
        row.inputs = tuple(rows[id] for id in row.node["operands"])
    roots: Any = [rows[id] for id in (*state["outputs"], *state["effects"])]
    inputs: Any = [rows[id] for id in state["inputs"]]
    ordered: Any = topological(roots, first=inputs)  # which reads nothing of a node but its `inputs`
    return list(ordered)


def _block(state: Mapping[str, Any], indent: str) -> Iterator[str]:
    rows = _ordered(state)
    count = len(state["inputs"])
    refs = _refs(rows, count)
    header = ", ".join(f"{refs[row.id]}: {row.node['type']}" for row in rows[:count])
    yield f"graph({header}) {{\n"
    for row in rows[count:]:
        node = row.node
        line = f"{indent}  {refs[row.id]} = {node['op']}({', '.join(refs[id] for id in node['operands'])}"
        separator = ", " if node["operands"] else ""
        for key, value in node["attrs"].items():
            line += f"{separator}{key}="
            if isinstance(value, str):
                line += value
            else:
                yield line
                yield from _block(value, indent + "  ")
                line = f"{indent}  }}"
            separator = ", "
        line += f") : {node['type']}"
        yield line + _place(node, len(line))
    if state["effects"]:
        yield f"{indent}  run {', '.join(refs[id] for id in state['effects'])}\n"
    yield f"{indent}  return {', '.join(refs[id] for id in state['outputs'])}".rstrip() + "\n"
    if not indent:
        yield "}"


def _refs(rows: Sequence[_Row], inputs: int) -> dict[str, str]:
    refs: dict[str, str] = {}
    taken: set[str] = set()
    number = 0
    for i, row in enumerate(rows):
        name = row.node["name"]
        if i < inputs:
            name = ast.literal_eval(row.node["attrs"].get("name", "None"))
        if name and name not in taken:
            taken.add(name)
            refs[row.id] = f"%{spell_name(name)}"
        else:
            refs[row.id] = f"%{number}"
            number += 1
    return refs


def _place(node: Node, width: int) -> str:
    if node["line"] is None:
        return "\n"
    mark = " (backward)" if node["backward"] else ""
    return f"{' ' * max(2, _COLUMN - width)}# {spell_file(node['file'] or '?')}:{node['line']}{mark}\n"
