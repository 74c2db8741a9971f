"""Layers: where the boxes of a directed graph go, so that its edges run downwards and seldom cross.

Sugiyama, Tagawa and Toda, "Methods for visual understanding of hierarchical system structures", 1981: boxes
are put into layers by their longest way from a source, long edges become chains of points, each layer is
sorted by the barycentres of its neighbours, and then boxes are moved sideways towards their
neighbours. The last is isotonic regression (Ayer et al., 1955): the least squares that keep the order.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from graphc.freezing import frozen

GAP_X, GAP_Y, POINT = (
    18.0,
    34.0,
    8.0,
)  # between boxes of a layer, between layers; the width of an edge's point
_SWEEPS = 6

Point = tuple[float, float]


@frozen
class Placed:
    """Where things are.

    Attributes:
        corners: the upper left corner of each box.
        routes: for each edge the points that it passes, from a lower side of a box to an upper one.
        width, height: of all of it.
    """

    corners: tuple[Point, ...]
    routes: tuple[tuple[Point, ...], ...]
    width: float
    height: float


def place(sizes: Sequence[tuple[float, float]], edges: Sequence[tuple[int, int]]) -> Placed:
    """Where boxes of these (width, height) go; each edge leads from a lower number to a higher one.

    The same graph is always placed alike.
    """
    if not sizes:
        return Placed((), (), 0.0, 0.0)
    layer = _layers(len(sizes), edges)
    grid = _Grid(sizes, layer, edges)
    grid.reduce_crossings()
    x = grid.columns()
    tops, bottoms = _rows(sizes, layer)
    least = min(x[i] - grid.widths[i] / 2 for i in range(len(x)))
    corners = tuple((x[i] - least - w / 2, tops[layer[i]]) for i, (w, _) in enumerate(sizes))
    routes = []
    for number, (a, b) in enumerate(edges):
        way: list[Point] = [(x[a] - least, corners[a][1] + sizes[a][1])]
        for point in grid.chains[number]:
            row = grid.layer[point]
            way += [(x[point] - least, tops[row]), (x[point] - least, bottoms[row])]
        routes.append((*way, (x[b] - least, corners[b][1])))
    width = max(x[i] + grid.widths[i] / 2 for i in range(len(x))) - least
    return Placed(corners, tuple(routes), width, bottoms[-1])


def _layers(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """The longest way from a source; sources right above the first that needs them."""
    layer = [0] * count
    for a, b in sorted(edges, key=lambda edge: edge[1]):
        layer[b] = max(layer[b], layer[a] + 1)
    below: list[int | None] = [None] * count
    fed = {b for _, b in edges}
    for a, b in edges:
        if a not in fed:
            below[a] = min(layer[b] if below[a] is None else int(below[a] or 0), layer[b])
    for a, first in enumerate(below):
        if first is not None:
            layer[a] = first - 1
    return layer


def _rows(sizes: Sequence[tuple[float, float]], layer: Sequence[int]) -> tuple[list[float], list[float]]:
    heights = [0.0] * (max(layer) + 1)
    for (_, height), row in zip(sizes, layer, strict=True):
        heights[row] = max(heights[row], height)
    tops, at = [], 0.0
    for height in heights:
        tops.append(at)
        at += height + GAP_Y
    return tops, [top + height for top, height in zip(tops, heights, strict=True)]


class _Grid:
    """Boxes and the points of long edges, in layers."""

    def __init__(
        self, sizes: Sequence[tuple[float, float]], layer: Sequence[int], edges: Sequence[tuple[int, int]]
    ) -> None:
        self.layer = list(layer)
        self.widths = [width for width, _ in sizes]
        self.above: list[list[int]] = [[] for _ in sizes]
        self.below: list[list[int]] = [[] for _ in sizes]
        self.chains: list[list[int]] = []
        for a, b in edges:
            chain = []
            last = a
            for row in range(layer[a] + 1, layer[b]):
                point = len(self.layer)
                self.layer.append(row)
                self.widths.append(POINT)
                self.above.append([])
                self.below.append([])
                chain.append(point)
                self._join(last, point)
                last = point
            self._join(last, b)
            self.chains.append(chain)
        self.rows: list[list[int]] = [[] for _ in range(max(layer) + 1)]
        for item, row in enumerate(self.layer):
            self.rows[row].append(item)

    def _join(self, a: int, b: int) -> None:
        self.below[a].append(b)
        self.above[b].append(a)

    def reduce_crossings(self) -> None:
        """Sorts layers by barycentres, downwards and upwards; keeps the best order found."""
        best, least = [list(row) for row in self.rows], self._crossings()
        for sweep in range(_SWEEPS):
            down = sweep % 2 == 0
            order = range(1, len(self.rows)) if down else range(len(self.rows) - 2, -1, -1)
            for row in order:
                self._sort(row, self.above if down else self.below, row - 1 if down else row + 1)
            crossings = self._crossings()
            if crossings < least:
                best, least = [list(row) for row in self.rows], crossings
        self.rows = best

    def _sort(self, row: int, neighbours: Sequence[Sequence[int]], other: int) -> None:
        place = {item: i for i, item in enumerate(self.rows[other])}
        scale = len(self.rows[other]) / max(len(self.rows[row]), 1)
        centre = {
            item: sum(place[n] for n in near) / len(near) if (near := neighbours[item]) else i * scale
            for i, item in enumerate(self.rows[row])
        }
        self.rows[row].sort(key=centre.__getitem__)

    def _crossings(self) -> int:
        """How many pairs of edges cross: inversions, counted with a Fenwick tree for each layer."""
        total = 0
        for upper, lower in pairwise(self.rows):
            place = {item: i for i, item in enumerate(lower)}
            tree = [0] * (len(lower) + 1)
            seen = 0
            for item in upper:
                ends = sorted(place[b] for b in self.below[item])
                for end in ends:
                    total += seen - _prefix(tree, end + 1)
                for end in ends:
                    seen += 1
                    at = end + 1
                    while at < len(tree):
                        tree[at] += 1
                        at += at & -at
        return total

    def columns(self) -> list[float]:
        """The middle of each item: near its neighbours, in order, without overlap."""
        x = [0.0] * len(self.layer)
        for row in self.rows:
            at = 0.0
            for item in row:
                x[item] = at + self.widths[item] / 2
                at += self.widths[item] + GAP_X
        for sweep in range(_SWEEPS + 2):
            down = sweep % 2 == 0
            for row in self.rows if down else reversed(self.rows):
                wanted = []
                for item in row:
                    near = self.above[item] if down else self.below[item]
                    wanted.append(sum(x[n] for n in near) / len(near) if near else x[item])
                for item, at in zip(row, self._separated(row, wanted), strict=True):
                    x[item] = at
        return x

    def _separated(self, row: Sequence[int], wanted: Sequence[float]) -> list[float]:
        """`wanted` moved as little as possible (in squares) so that neighbours keep apart."""
        offsets, at = [], 0.0
        for i, item in enumerate(row):
            if i:
                at += (self.widths[row[i - 1]] + self.widths[item]) / 2 + GAP_X
            offsets.append(at)
        blocks: list[list[float]] = []  # sum, count
        for want, offset in zip(wanted, offsets, strict=True):
            blocks.append([want - offset, 1.0])
            while len(blocks) > 1 and blocks[-2][0] * blocks[-1][1] > blocks[-1][0] * blocks[-2][1]:
                total, count = blocks.pop()
                blocks[-1][0] += total
                blocks[-1][1] += count
        found: list[float] = []
        for total, count in blocks:
            found += [total / count] * int(count)
        return [at + offset for at, offset in zip(found, offsets, strict=True)]


def _prefix(tree: Sequence[int], at: int) -> int:
    total = 0
    while at:
        total += tree[at]
        at -= at & -at
    return total
