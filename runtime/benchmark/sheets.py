"""Sheets: what a report says, as titled rows of text, for a terminal and for a page alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from graphc.freezing import frozen
from runtime.benchmark.crown import Verdict
from runtime.benchmark.fitting import fit_stages
from runtime.benchmark.report import ABSENT, Report
from runtime.benchmark.stages import LEAST_COST, break_even, cost_of_nodes, spell_seconds, stages_of

LEAST_SHOWN = 1e-4  # seconds, below which in every family a stage is not shown
T = TypeVar("T")


@frozen
class Sheet:
    """A table: its title, its columns and rows of text. The first `named` columns say what a row is of."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    named: int = 1

    @property
    def texts(self) -> frozenset[int]:
        """The columns that are no numbers."""
        return frozenset(i for i, name in enumerate(self.head) if i == 0 or name in ("library", "note", ""))


def sheets_of(report: Report) -> Iterator[Sheet]:
    """All that have rows."""
    for make in (totals, waterfall, caches, counters, growth, costs):
        sheet = make(report)
        if sheet.rows:
            yield sheet


def remarks(report: Report) -> Iterator[str]:
    """What is missing, and why; where numbers are other ones."""
    for peer, version in report.about["peers"].items():
        if version == ABSENT:
            yield f"{peer}: {ABSENT}"
    for row in report.rows:
        graph = f"{row['family']} {row['size']:,}, {row['peer']}"
        yield from (f"{graph}: {row[why]}" for why in ("trouble", "untraced") if row.get(why))
        if "differs" in row:
            yield f"{graph}: computes other numbers"
    yield from (f"{graph}: not counted: {why}" for graph, why in report.uncounted.items())


def totals(report: Report) -> Sheet:
    """A line for each graph in each library."""
    columns = ("family", "n", "library", "import", "cold", "build", "first run", "warm disk", "warm", "hot")
    rows = []
    for row in report.rows:
        cold = min(row["cold"], key=lambda found: found["seconds"], default=None)
        if cold is None:
            continue
        warm = (row.get(part, {}).get("seconds") for part in ("disk", "again", "hot"))
        other = report.row(row["family"], row["size"], "graphc-numpy")
        after = break_even(row, other) if row["peer"] == "graphc" else None
        rows.append(
            (
                row["family"],
                f"{row['size']:,}",
                row["peer"],
                spell_seconds(min(row["import"])),
                *map(spell_seconds, (cold["seconds"], cold["build"], cold["first"], *warm)),
                f"{cold['mb']:.0f} MB",
                f"{row['memory']['bytes'] / 1e6:.1f} MB" if "memory" in row else "",
                *sharing(cold),
                f"{after:,.0f} runs" if after is not None else "",
            )
        )
    head = (*columns, "memory", "held", "kernels", "shared", "pays after")
    return Sheet("Cold and warm", head, tuple(rows), 3)


def sharing(cold: Mapping[str, Any]) -> tuple[str, str]:
    """The distinct kernels, and the part of the steps with one that share it with another step."""
    distinct, steps = cold.get("sharing", (0, 0))
    return (f"{distinct:,}", f"{max(0.0, 1 - distinct / steps):.0%}") if steps else ("", "")


def waterfall(report: Report) -> Sheet:
    """Where graphc's time goes in the largest graph of each family: clock, processors."""
    found = {graph: stages_of(row) for graph, row in _largest(report)}
    return _beside(
        "Stages of a cold compilation (clock / processors)",
        "stage",
        found,
        lambda times: f"{spell_seconds(times.wall)} / {spell_seconds(times.cpu)}",
        lambda times: times.wall > LEAST_SHOWN,
    )


def caches(report: Report) -> Sheet:
    """What compiling counted beside its stages, and what it found in caches."""
    told: dict[tuple[str, ...], Mapping[str, int]] = {
        (f"{row['family']} {row['size']:,}", when): found["counts"]
        for row in report.compiled()
        for when, found in (
            ("cold", row["cold"][0]),
            ("warm disk", row.get("disk")),
            ("warm", row.get("again")),
        )
        if found
    }
    return _sheet("What was compiled, and what caches had", ("graph", ""), told)


def counters(report: Report) -> Sheet:
    """What was counted."""
    found: dict[tuple[str, ...], Mapping[str, int]] = {
        (graph,): counts for graph, counts in report.counts.items() if counts
    }
    return _sheet("Counters: the same on every machine", ("graph",), found)


def growth(report: Report) -> Sheet:
    """How each stage grows with the size."""
    found = {family: fit_stages(report, family) for family in report.families()}
    return _beside("Growth: processor time = a n^b, with the 95 % interval of b", "stage", found, str)


def costs(report: Report) -> Sheet:
    """What the passes take for each node of the largest graphs."""
    found = {graph: cost_of_nodes(row) for graph, row in _largest(report)}
    title = "Passes: microseconds of processors for each node that was defined"
    return _beside(title, "pass", found, "{:.2f}".format, lambda cost: cost >= LEAST_COST)


def crown(verdicts: Iterable[Verdict]) -> Sheet:
    """The bars, and what became of them."""
    rows = []
    for each in verdicts:
        bar, measured = each.bar, each.measured
        spell = "{:.3g}".format if bar.of in ("executables", "exponent") else spell_seconds
        found = ("-", "-") if measured is None else (spell(measured), f"{measured / bar.bar:.2f}")
        met = "met" if each.met else "not met"
        rows.append((bar.name, spell(bar.bar), *found, met, spell_seconds(each.cpu), each.note))
    return Sheet("Crown", ("what", "bar", "measured", "ratio", "", "processors", "note"), tuple(rows))


def _largest(report: Report) -> Iterator[tuple[str, dict[str, Any]]]:
    for family, row in report.largest().items():
        yield f"{family} {row['size']:,}", row


def _beside(
    title: str,
    name: str,
    columns: Mapping[str, Mapping[str, T]],
    spell: Callable[[T], str],
    matters: Callable[[T], bool] = lambda value: True,
) -> Sheet:
    """`columns` side by side, without those that are empty, and the rows of which one value matters."""
    shown = {head: found for head, found in columns.items() if found}
    rows = [
        (row, *(spell(found[row]) if row in found else "" for found in shown.values()))
        for row in dict.fromkeys(row for found in shown.values() for row in found)
        if any(row in found and matters(found[row]) for found in shown.values())
    ]
    return Sheet(title, (name, *shown), tuple(rows))


def _sheet(title: str, names: tuple[str, ...], found: Mapping[tuple[str, ...], Mapping[str, int]]) -> Sheet:
    """A row for each of `found`, a column for each counter in them."""
    columns = tuple(dict.fromkeys(name for counts in found.values() for name in counts))
    rows = tuple(
        (*key, *(f"{counts[name]:,}" if name in counts else "" for name in columns))
        for key, counts in found.items()
    )
    return Sheet(title, (*names, *columns), rows, len(names))
