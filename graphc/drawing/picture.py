"""Pictures of functions as SVG: boxes in layers, bodies and name scopes as boxes around boxes."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from graphc.drawing.layers import Placed, Point, place
from graphc.drawing.scene import MOST_BOXES, Box, Picture, make_scene
from graphc.function import Function

_LETTER, _LINE, _PAD, _INSET = (
    7.0,
    16.0,
    8.0,
    14.0,
)  # px: of 12 px monospace; around text; around what is inside
_MOST_LETTERS = 44
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_KINDS = {
    "elementwise": ("#dbeafe", "#1e3a5f"),
    "reduction": ("#fde68a", "#5c4510"),
    "linear": ("#fecaca", "#5f2323"),
    "movement": ("#e5e7eb", "#374151"),
    "indexing": ("#e9d5ff", "#432a5e"),
    "source": ("#d1fae5", "#134e3a"),
    "state": ("#bbf7d0", "#14532d"),
    "random": ("#fbcfe8", "#5b2145"),
    "region": ("#f5f3ff", "#252134"),
    "scope": ("#f9fafb", "#161b22"),
}
_OTHER = ("#f3f4f6", "#30363d")


def draw_svg(function: Function, most: int = MOST_BOXES) -> str:
    """`function` as an SVG document, readable in light and in dark; the same text for the same function.

    Raises: ArgumentError where it is too large for a picture of `most` boxes, even folded.
    """
    root = _measure(make_scene(function, most))
    width, height = root.placed.width + 2 * _INSET, root.placed.height + 2 * _INSET
    body = "".join(_draw(root, _INSET, _INSET))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" class="graphc" role="img">\n'
        f"<style>{_style()}</style>\n"
        '<defs><marker id="graphc-tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0L8 4L0 8z" class="tip"/></marker></defs>\n'
        f'<rect width="100%" height="100%" class="paper"/>\n{body}</svg>\n'
    )


def _style() -> str:
    rules = [
        ".graphc text{font:12px ui-monospace,monospace;fill:#111827}",
        ".graphc .paper{fill:#fff}.graphc .e{fill:none;stroke:#6b7280}.graphc .tip{fill:#6b7280}",
        ".graphc rect.b{stroke:#9ca3af;rx:5px}.graphc rect.bold{stroke:#111827;stroke-width:2}",
    ]
    dark = [
        ".graphc text{fill:#e6edf3}.graphc .paper{fill:#0d1117}.graphc rect.bold{stroke:#e6edf3}",
        ".graphc .e{stroke:#8b949e}.graphc .tip{fill:#8b949e}",
    ]
    for kind, (light, night) in {**_KINDS, "other": _OTHER}.items():
        rules.append(f".graphc .k-{kind}{{fill:{light}}}")
        dark.append(f".graphc .k-{kind}{{fill:{night}}}")
    return "".join(rules) + "@media (prefers-color-scheme:dark){" + "".join(dark) + "}"


@dataclass(slots=True)
class _Drawn:
    """A picture whose boxes have their sizes and places."""

    picture: Picture
    texts: list[list[str]]
    inside: list[_Drawn | None]
    sizes: list[tuple[float, float]]
    placed: Placed


def _measure(picture: Picture) -> _Drawn:
    """Boxes within boxes are measured first; they are nested only a few deep."""
    texts = [[_shortened(line) for line in box.lines] for box in picture.boxes]
    inside = [None if box.inner is None else _measure(box.inner) for box in picture.boxes]
    sizes = []
    for lines, inner in zip(texts, inside, strict=True):
        width = max((_width(line) for line in lines), default=0.0) + 2 * _PAD
        height = len(lines) * _LINE + 2 * _PAD - 4
        if inner is not None:
            width = max(width, inner.placed.width + 2 * _INSET)
            height += inner.placed.height + _INSET
        sizes.append((width, height))
    return _Drawn(picture, texts, inside, sizes, place(sizes, picture.edges))


def _draw(drawn: _Drawn, x: float, y: float) -> Iterator[str]:
    for route in drawn.placed.routes:
        yield f'<path class="e" marker-end="url(#graphc-tip)" d="{_curve(route, x, y)}"/>\n'
    for number, box in enumerate(drawn.picture.boxes):
        left, top = (a + b for a, b in zip(drawn.placed.corners[number], (x, y), strict=True))
        width, height = drawn.sizes[number]
        kind = box.kind if box.kind in _KINDS else "other"
        bold = " bold" if box.bold else ""
        yield f'<g><title>{_escape(box.hint)}</title><rect class="b k-{kind}{bold}" '
        yield f'x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}"/>'
        yield from _text(box, drawn.texts[number], left, top, width)
        yield "</g>\n"
        inner = drawn.inside[number]
        if inner is not None:
            below = top + len(drawn.texts[number]) * _LINE + 2 * _PAD - 4
            yield from _draw(inner, left + (width - inner.placed.width) / 2, below)


def _text(box: Box, lines: Sequence[str], left: float, top: float, width: float) -> Iterator[str]:
    anchor = "" if box.inner is not None else ' text-anchor="middle"'
    x = left + _PAD if box.inner is not None else left + width / 2
    for i, line in enumerate(lines):
        weight = ' font-weight="bold"' if i == 0 else ""
        y = top + _PAD + 9 + i * _LINE
        yield f'<text x="{x:.1f}" y="{y:.1f}"{anchor}{weight}>{_escape(line)}</text>'


def _curve(route: Sequence[Point], x: float, y: float) -> str:
    """A line from point to point that leaves and arrives vertically."""
    points = [(a + x, b + y) for a, b in route]
    parts = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    for (x0, y0), (x1, y1) in pairwise(points):
        if abs(x0 - x1) < 0.05:
            parts.append(f"V{y1:.1f}")
        else:
            middle = (y0 + y1) / 2
            parts.append(f"C{x0:.1f} {middle:.1f} {x1:.1f} {middle:.1f} {x1:.1f} {y1:.1f}")
    return "".join(parts)


def _shortened(line: str) -> str:
    line = " ".join(line.split())
    return line if len(line) <= _MOST_LETTERS else line[: _MOST_LETTERS - 3] + "..."


def _width(line: str) -> float:
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in line)
    return (len(line) + wide) * _LETTER


def _escape(text: str) -> str:
    """`text` as XML text; characters that XML cannot hold are shown as the replacement character."""
    return html.escape(_NO_XML.sub("\ufffd", text))
