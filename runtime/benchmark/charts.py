"""Charts: lines over sizes or reports, bars of stages; as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape

from graphc.freezing import frozen

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP, _RIGHT = 560, 320, 62, 40, 14, 150

Points = Sequence[tuple[float, float]]


@frozen
class _Axis:
    """From the first to the last of `ticks`, even in the `scale` of the values."""

    scale: Callable[[float], float]
    ticks: tuple[float, ...]

    def share(self, value: float) -> float:
        """Which part of the axis lies before `value`."""
        low, high = self.scale(self.ticks[0]), self.scale(self.ticks[-1])
        return (self.scale(value) - low) / (high - low)


def lines(series: Mapping[str, Points], x_name: str, y_name: str, numbered: bool = False) -> str:
    """A chart of points (x, y) above 0; "" where there are none.

    The axis of y is logarithmic, and that of x unless its values are `numbered` from 1 on.
    """
    shown = {name: sorted(point for point in points if min(point) > 0) for name, points in series.items()}
    shown = {name: points for name, points in shown.items() if points}
    if not shown:
        return ""
    x_values, y_values = zip(*(point for points in shown.values() for point in points), strict=True)
    xs, ys = _numbers(max(x_values)) if numbered else _decades(x_values), _decades(y_values)

    def place(x: float, y: float) -> tuple[float, float]:
        across, up = xs.share(x) * (_WIDTH - _LEFT - _RIGHT), ys.share(y) * (_HEIGHT - _BOTTOM - _TOP)
        return _LEFT + across, _HEIGHT - _BOTTOM - up

    parts = [*_grid(xs, ys, place), _text(_WIDTH - _RIGHT + 26, _HEIGHT - _BOTTOM + 18, x_name)]
    parts.append(_text(4, _TOP + 4, y_name))
    for i, (name, points) in enumerate(shown.items()):
        places = [place(*point) for point in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{_colour(i)}" stroke-width="1.6"/>')
        for (x, y), (size, value) in zip(places, points, strict=True):
            tip = f"<title>{escape(name)}: {size:g}, {value:.3g}</title>"
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{_colour(i)}">{tip}</circle>')
        parts += _legend(_WIDTH - _RIGHT + 10, _TOP + 2 + 16 * i, name, i)
    return _svg(max(_HEIGHT, _TOP + 16 * len(shown)), parts)


def bars(rows: Mapping[str, Mapping[str, float]], unit: str, names: Sequence[str]) -> str:
    """For each row its parts, one behind the other, all to one scale; "" where there are none.

    `names` are those of all parts, here or in other charts: each has the same colour everywhere.
    """
    longest = max((sum(parts.values()) for parts in rows.values()), default=0.0)
    if not longest:
        return ""
    left, found, top = 132, [], 4
    for row, parts in rows.items():
        found.append(_text(left - 6, top + 14, row, "end"))
        at = float(left)
        for name, value in parts.items():
            width = value / longest * (_WIDTH - left - 70)
            tip = f"<title>{escape(row)}, {escape(name)}: {value:.4g} {escape(unit)}</title>"
            place = f'x="{at:.1f}" y="{top}" width="{width:.2f}" height="18"'
            found.append(f'<rect {place} fill="{_colour(names.index(name))}">{tip}</rect>')
            at += width
        found.append(_text(at + 4, top + 14, f"{sum(parts.values()):.3g} {unit}"))
        top += 24
    shown = [name for name in names if any(name in parts for parts in rows.values())]
    for i, name in enumerate(shown):
        found += _legend(10 + i % 3 * 182, top + 6 + i // 3 * 18, name, names.index(name))
    return _svg(top + (len(shown) + 2) // 3 * 18 + 12, found)


def _colour(number: int) -> str:
    """Hues a golden angle apart, so that any number of them differ, light and dark in turn."""
    return f"hsl({(225 + 137.5 * number) % 360:.1f} 58% {(52, 66)[number % 2]}%)"


def _legend(x: float, y: float, name: str, number: int) -> list[str]:
    mark = f'<rect x="{x}" y="{y}" width="11" height="11" fill="{_colour(number)}"/>'
    return [mark, _text(x + 16, y + 10, name)]


def _decades(values: Sequence[float]) -> _Axis:
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return _Axis(math.log10, tuple(10.0**i for i in range(low, max(high, low + 1) + 1)))


def _numbers(last: float) -> _Axis:
    """From 1 to `last` or a little beyond it, with eight ticks at most between."""
    step = math.ceil(max(last - 1, 1) / 8)
    return _Axis(float, tuple(float(i) for i in range(1, math.ceil(max(last, 2)) + step, step)))


def _grid(xs: _Axis, ys: _Axis, place: Callable[[float, float], tuple[float, float]]) -> list[str]:
    def line(start: tuple[float, float], end: tuple[float, float]) -> str:
        (x1, y1), (x2, y2) = start, end
        return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="grid"/>'

    parts = []
    for tick in xs.ticks:
        x, bottom = place(tick, ys.ticks[0])
        parts += [
            line((x, bottom), place(tick, ys.ticks[-1])),
            _text(x, bottom + 18, _number(tick), "middle"),
        ]
    for tick in ys.ticks:
        left, y = place(xs.ticks[0], tick)
        parts += [line((left, y), place(xs.ticks[-1], tick)), _text(left - 5, y + 4, _number(tick), "end")]
    return parts


def _number(value: float) -> str:
    return f"{value:g}" if 1e-3 <= value <= 1e3 else f"{value:.0e}".replace("e+0", "e").replace("e-0", "e-")


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(height: float, parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {_WIDTH} {height:g}" width="{_WIDTH}" role="img">{"".join(parts)}</svg>'
