"""Comparing: what is worse than in a baseline. Counters are exact; of times only ratios are compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from graphc.freezing import frozen
from runtime.benchmark.report import WARM
from runtime.benchmark.stages import least

BOUND = 1.5  # how much larger a ratio may be; both of its times are of the same machine and hour


@frozen
class Difference:
    """A number of a baseline that is another one now.

    `is_worse`: a counter grew, a ratio left its bounds, or something can no longer be measured.
    """

    where: str
    what: str
    before: float | None
    now: float | None
    is_worse: bool

    def __str__(self) -> str:
        return f"{self.where}: {self.what} was {_spell(self.before)} and is {_spell(self.now)}"


def _spell(value: float | None) -> str:
    if value is None:
        return "not there"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"


def compare_counts(
    before: Mapping[str, Mapping[str, int]], now: Mapping[str, Mapping[str, int]]
) -> list[Difference]:
    """The counters that differ, of the graphs in both; a baseline's counter that is no more is worse.

    A graph that was to be counted and could not be has none, and is one difference.
    """
    found = []
    for graph in before.keys() & now.keys():
        old, new = before[graph], now[graph]
        if old and not new:
            found.append(Difference(graph, "its counters", len(old), None, True))
            continue
        for name in dict.fromkeys((*old, *new)):
            x, y = old.get(name), new.get(name)
            if x != y:
                found.append(Difference(graph, name, x, y, y is None or (x is not None and y > x)))
    return sorted(found, key=lambda each: (each.where, each.what))


def ratios_of(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], float]:
    """What of graphc's times can be compared between machines, by (graph, what).

    Cold against cold of each other library and of the NumPy backend; warm against cold.
    """
    found: dict[tuple[str, str], float] = {}
    colds = {(row["family"], row["size"], row["peer"]): least(row) for row in rows}
    for row in rows:
        graph, cold = f"{row['family']} {row['size']}", least(row)
        own = colds.get((row["family"], row["size"], "graphc"))
        if row["peer"] != "graphc":
            if own and cold:
                found[graph, f"cold / {row['peer']}"] = own / cold
            continue
        for part in WARM:
            if own and part in row:
                found[graph, f"{part} / cold"] = row[part]["seconds"] / own
    return found


def compare(
    before: Mapping[str, Any], now: Mapping[str, Any], bound: float = BOUND
) -> tuple[list[Difference], int]:
    """The differences of two reports as data, and how many numbers could be compared."""
    found = compare_counts(before.get("counts", {}), now.get("counts", {}))
    shared = before.get("counts", {}).keys() & now.get("counts", {}).keys()
    compared = sum(len(before["counts"][graph]) for graph in shared)
    old, new = ratios_of(before.get("rows", [])), ratios_of(now.get("rows", []))
    for key, x in old.items():
        if key in new:
            compared += 1
            if new[key] > x * bound:
                found.append(Difference(key[0], key[1], x, new[key], True))
    found.extend(_lost(before, now))
    return found, compared


def unmeasured(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What of a baseline there is nothing to compare with: graphs, and graphs in a library."""
    counted = before.get("counts", {}).keys() - now.get("counts", {}).keys()
    return sorted(counted | (_timed(before) - _timed(now)))


def _timed(report: Mapping[str, Any]) -> set[str]:
    """Those of graphc even where they have no times: that is worse, and is told as such."""
    rows = (row for row in report.get("rows", []) if row["cold"] or row["peer"] == "graphc")
    return {f"{row['family']} {row['size']} in {row['peer']}" for row in rows}


def _lost(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Difference]:
    """What graphc did with a graph, cold or warm, and, asked for it again, did not do."""
    tried = {(row["family"], row["size"]): row for row in now.get("rows", []) if row["peer"] == "graphc"}
    for row in before.get("rows", []):
        other = tried.get((row["family"], row["size"]))
        if row["peer"] != "graphc" or other is None:
            continue
        lost = [part for part in ("cold", *WARM) if row.get(part) and not other.get(part)]
        if lost:  # without the first there are none of the others
            seconds = least(row) if lost[0] == "cold" else row[lost[0]]["seconds"]
            yield Difference(f"{row['family']} {row['size']}", lost[0], seconds, None, True)
