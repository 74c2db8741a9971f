"""Charts: lines over logarithmic axes, bars of stages; as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

COLOURS = (
    *("#4063d8", "#389826", "#cb3c33", "#9558b2", "#c08a00", "#00838f"),
    *("#795548", "#d81b60", "#546e7a", "#7cb342", "#5e35b1", "#f4511e"),
)
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP, _RIGHT = 560, 320, 62, 40, 14, 150

Points = Sequence[tuple[float, float]]


def lines(series: Mapping[str, Points], x_name: str, y_name: str) -> str:
    """A chart of points (x, y) above 0, both axes logarithmic; "" where there are none."""
    everything = [point for points in series.values() for point in points if min(point) > 0]
    if not everything:
        return ""
    xs, ys = (_decades(values) for values in zip(*everything, strict=True))

    def place(x: float, y: float) -> tuple[float, float]:
        across = (math.log10(x) - xs[0]) / (xs[1] - xs[0])
        up = (math.log10(y) - ys[0]) / (ys[1] - ys[0])
        return _LEFT + across * (_WIDTH - _LEFT - _RIGHT), _HEIGHT - _BOTTOM - up * (_HEIGHT - _BOTTOM - _TOP)

    parts = [*_grid(xs, ys, place), _text(_LEFT, _TOP - 3, y_name)]
    parts.append(_text(_WIDTH - _RIGHT, _HEIGHT - 6, x_name, "end"))
    for i, (name, points) in enumerate(series.items()):
        colour = COLOURS[i % len(COLOURS)]
        shown = [place(x, y) for x, y in sorted(points) if x > 0 and y > 0]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in shown)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        for (x, y), (size, value) in zip(shown, sorted(p for p in points if min(p) > 0), strict=True):
            tip = f"<title>{escape(name)}: {size:g}, {value:.3g}</title>"
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}">{tip}</circle>')
        parts.append(_text(_WIDTH - _RIGHT + 10, _TOP + 12 + 16 * i, name, colour=colour))
    return _svg(_HEIGHT, parts)


def bars(rows: Mapping[str, Mapping[str, float]], unit: str) -> str:
    """For each row its parts, one behind the other, all to one scale; "" where there are none."""
    longest = max((sum(parts.values()) for parts in rows.values()), default=0.0)
    if not longest:
        return ""
    names = list(dict.fromkeys(name for parts in rows.values() for name in parts))
    colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}
    left, found, top = 130, [], 4
    for row, parts in rows.items():
        found.append(_text(left - 6, top + 14, row, "end"))
        at = float(left)
        for name, value in parts.items():
            width = value / longest * (_WIDTH - left - 70)
            tip = f"<title>{escape(row)}, {escape(name)}: {value:.4g} {escape(unit)}</title>"
            place = f'x="{at:.1f}" y="{top}" width="{width:.2f}" height="18"'
            found.append(f'<rect {place} fill="{colours[name]}">{tip}</rect>')
            at += width
        found.append(_text(at + 4, top + 14, f"{sum(parts.values()):.3g} {unit}"))
        top += 24
    top += 6
    for i, name in enumerate(names):
        x, y = 10 + i % 4 * 136, top + i // 4 * 18
        found.append(f'<rect x="{x}" y="{y}" width="11" height="11" fill="{colours[name]}"/>')
        found.append(_text(x + 16, y + 10, name))
    return _svg(top + (len(names) + 3) // 4 * 18 + 6, found)


def _decades(values: Sequence[float]) -> tuple[int, int]:
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def _grid(xs: tuple[int, int], ys: tuple[int, int], place: object) -> list[str]:
    assert callable(place)
    parts = []
    for exponent in range(xs[0], xs[1] + 1):
        (x, bottom), (_, top) = place(10.0**exponent, 10.0 ** ys[0]), place(10.0**exponent, 10.0 ** ys[1])
        parts.append(f'<line x1="{x:.1f}" y1="{bottom:.1f}" x2="{x:.1f}" y2="{top:.1f}" class="grid"/>')
        parts.append(_text(x, bottom + 15, _power(exponent), "middle"))
    for exponent in range(ys[0], ys[1] + 1):
        (left, y), (right, _) = place(10.0 ** xs[0], 10.0**exponent), place(10.0 ** xs[1], 10.0**exponent)
        parts.append(f'<line x1="{left:.1f}" y1="{y:.1f}" x2="{right:.1f}" y2="{y:.1f}" class="grid"/>')
        parts.append(_text(left - 5, y + 4, _power(exponent), "end"))
    return parts


def _power(exponent: int) -> str:
    return f"{10.0**exponent:g}" if -3 <= exponent <= 3 else f"1e{exponent}"


def _text(x: float, y: float, text: str, anchor: str = "start", colour: str = "") -> str:
    fill = f' style="fill:{colour}"' if colour else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{fill}>{escape(text)}</text>'


def _svg(height: float, parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {_WIDTH} {height:g}" width="{_WIDTH}" role="img">{"".join(parts)}</svg>'
