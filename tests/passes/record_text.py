"""The text of a state of a record: what a reader can make of the record must be what `graphc.show` says."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from graphc.function import topological
from graphc.literals import spell_file, spell_name

Node = dict[str, Any]
_COLUMN = 48  # where places begin, as in `graphc.text`


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
