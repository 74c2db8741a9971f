"""Pages: one HTML file that holds records and everything that shows them.

What a record says is data of the page, never a part of its markup: see `embed`.
"""

from __future__ import annotations

import functools
import html
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

from graphc.errors import ArgumentError
from passes.delta import state_at
from runtime.records.reading import name_of, spell_plainly
from runtime.records.spelling import spell_json

_RECORDS, _FALLBACK = "<!--RECORDS-->", "<!--FALLBACK-->"
_MOST_ROWS = 5000  # of the table for browsers that run no scripts
_WITHOUT_SCRIPTS = (
    "body{display:block;overflow:auto;padding:16px}.bar,main,.time{display:none}"
    "noscript td{overflow-wrap:anywhere;min-width:5em}"
    "@media(prefers-color-scheme:dark){:root{--ground:#15181c;--card:#1b1f24;--text:#e8eaec;--muted:#9aa3ad;"
    "--line:#30363d;--soft:#252a30;color-scheme:dark}}"
)


def page_of(*records: dict[str, Any]) -> str:
    """The page that shows one record, or compares two (docs/viewer.md).

    Args:
        records: as `gc.record`, `Executable.record` or a ``.json`` of `gc.dump` give them (docs/record.md).

    Raises: ArgumentError where there are none or more than two, or where one holds no stages.
    """
    if not 1 <= len(records) <= 2:
        raise ArgumentError(f"page_of: a page shows one record or two, not {len(records)}")
    for record in records:
        if not isinstance(record, Mapping) or not record.get("stages"):
            raise ArgumentError("page_of: this is no record: it has no stages")
    before, fallback, rest = _split(_template(), _FALLBACK)
    middle, mark, after = _split(rest, _RECORDS)
    del fallback, mark
    return "".join([before, *_table(records[-1]), middle, embed(list(records)), after])


def embed(value: Any) -> str:
    r"""`value` as JSON that is safe within a script element: no character of it can end the element.

    ``<``, ``>`` and ``&`` are written as ``\u003c`` and so on, as is all that is not ASCII (which
    covers U+2028 and U+2029); a reader of JSON gets back what was there.

    Raises: ArgumentError where a number is not finite, which JSON cannot say.
    """
    try:
        text = spell_json(value, (",", ":"))
    except ValueError as error:
        raise ArgumentError(f"page_of: the record is not JSON: {error}") from error
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


@functools.cache
def _template() -> str:
    return (files("runtime.viewer") / "built" / "viewer.html").read_text(encoding="utf-8")


def _split(text: str, mark: str) -> tuple[str, str, str]:
    before, found, after = text.partition(mark)
    assert found, f"the built page has no {mark}"
    return before, found, after


def _table(record: Mapping[str, Any]) -> Iterator[str]:
    """The last state as a table, for browsers that run no scripts."""
    nodes = state_at(record["stages"], -1)["nodes"]
    yield f"<noscript><style>{_WITHOUT_SCRIPTS}</style>"
    yield f"<h1>{_text(record.get('title') or 'graphc')}</h1>"
    yield f"<p>The {len(nodes)} nodes after the last pass. With scripts, this page shows all passes.</p>"
    heads = "".join(f"<th>{head}</th>" for head in ("id", "op", "name", "type", "operands", "line"))
    yield f"<table><thead><tr>{heads}</tr></thead>"
    for id, node in list(nodes.items())[:_MOST_ROWS]:
        place = f"{node['file']}:{node['line']} {node['source'] or ''}" if node["line"] is not None else ""
        cells = (id, node["op"], name_of(node) or "", node["type"], " ".join(node["operands"]), place)
        yield f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in cells)}</tr>"
    if len(nodes) > _MOST_ROWS:
        yield f"<tr><td colspan=6>and {len(nodes) - _MOST_ROWS} more</td></tr>"
    yield "</table></noscript>"


def _text(value: object) -> str:
    return html.escape(spell_plainly(str(value)))
