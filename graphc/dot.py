"""A graph as a Graphviz text: a picture with boxes for ops and a frame for every body."""

from __future__ import annotations

from graphc.function import Function, bodies
from graphc.literals import Speller
from graphc.tensor import Tensor

_ESCAPES = {ord('"'): r"\"", ord("\\"): r"\\", ord("\n"): r"\n", ord("\r"): r"\r"}
_ESCAPES |= {code: f"\\\\x{code:02x}" for code in range(32) if code not in _ESCAPES}


def draw_dot(function: Function) -> str:
    """`function` in the language of Graphviz, one box for each node, labelled with its op and type."""
    speller = Speller()
    lines = ["digraph graphc {", "  rankdir=TB;", '  node [shape=box, fontname="monospace"];']
    ids: dict[tuple[int, Tensor], str] = {}
    frames: list[tuple[Function, str]] = [(function, "")]
    for number, (body, label) in enumerate(frames):  # the list grows while it is walked
        if label:
            lines += [f"  subgraph cluster_{number} {{", f'  label="{label}";']
        for node in body.nodes():
            mine = ids.setdefault((number, node), f"n{len(ids)}")
            name = node.name or node.attrs.get("name")
            title = f"{node.op.name} {name}" if isinstance(name, str) and name else node.op.name
            text = f"{_escape(title)}\\n{_escape(speller.type(node.type))}"
            bold = ", penwidth=2" if node in body.outputs or node in body.effects else ""
            lines.append(f'  {mine} [label="{text}"{bold}];')
            if node not in body.inputs:
                lines += [f"  {ids[number, operand]} -> {mine};" for operand in node.inputs]
            frames += [(inner, _escape(f"{mine} {node.op.name}: {key}")) for key, inner in bodies(node)]
        if label:
            lines.append("  }")
    return "\n".join([*lines, "}", ""])


def _escape(text: str) -> str:
    return text.encode("utf-8", "replace").decode().translate(_ESCAPES)
