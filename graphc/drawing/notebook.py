"""Notebooks: a function as a picture where it is small, else as a table of its nodes."""

from __future__ import annotations

import html
from collections.abc import Iterator

from graphc.drawing.picture import draw_svg
from graphc.function import Function
from graphc.literals import Speller
from graphc.text import as_function

MOST_DRAWN = 60  # nodes, those of bodies not counted: beyond, a picture does not fit a page
_MOST_ROWS = 200


def picture_of(fetches: object) -> str | None:
    """The SVG of what `fetches` reach; None where that is much."""
    function = as_function(fetches)
    return draw_svg(function) if len(function.nodes()) <= MOST_DRAWN else None


def page_part_of(fetches: object) -> str:
    """The picture, or a table of the nodes, as HTML."""
    return picture_of(fetches) or "".join(_table(as_function(fetches)))


def _table(function: Function) -> Iterator[str]:
    nodes, speller = function.nodes(), Speller()
    number = {node: i for i, node in enumerate(nodes)}
    kept = {*function.outputs, *function.effects}
    yield '<table class="graphc"><thead><tr><th></th><th>op</th><th>operands</th><th>type</th><th>name</th>'
    yield "<th>line</th></tr></thead><tbody>\n"
    for node in nodes[:_MOST_ROWS]:
        name = node.name or node.attrs.get("name") or node.attrs.get("variable") or ""
        place = node.loc.short if node.loc else ""
        op = f"<b>{html.escape(node.op.name)}</b>" if node in kept else html.escape(node.op.name)
        cells = (
            str(number[node]),
            op,
            ", ".join(str(number[operand]) for operand in node.inputs),
            html.escape(speller.type(node.type)),
            html.escape(name) if isinstance(name, str) else "",
            html.escape(place),
        )
        yield "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>\n"
    yield "</tbody></table>\n"
    if len(nodes) > _MOST_ROWS:
        yield f"<p>and {len(nodes) - _MOST_ROWS} more nodes: gc.dump(..., 'x.html') shows all</p>\n"
