"""Table: a report for a terminal, written with `rich`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from runtime.benchmark.crown import Verdict
from runtime.benchmark.fitting import fit_stages
from runtime.benchmark.measuring import Report
from runtime.benchmark.stages import LEAST_COST, break_even, cost_of_nodes, stages_of


def spell_seconds(seconds: float | None) -> str:
    """A time in the unit that suits it; "-" for none."""
    if seconds is None:
        return "-"
    for unit, scale, digits in (("s", 1.0, 2), ("ms", 1e3, 1), ("us", 1e6, 1)):
        if seconds * scale >= 1:
            return f"{seconds * scale:.{digits}f} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def print_report(report: Report, console: Console) -> None:
    """All tables of a report."""
    for table in (totals(report), waterfall(report), counters(report), growth(report), cost(report)):
        if table.row_count:
            console.print(table)
    for row in report.rows:
        if row["trouble"]:
            console.print(f"[yellow]{row['family']} {row['size']:,}, {row['peer']}: {row['trouble']}[/]")
        if "untraced" in row:
            console.print(f"[yellow]{row['family']} {row['size']:,}, {row['peer']}: {row['untraced']}[/]")
        if "differs" in row:
            console.print(f"[red]{row['family']} {row['size']:,}: {row['peer']} computes other numbers[/]")


def totals(report: Report) -> Table:
    """A line for each graph in each library."""
    columns = ("family", "n", "library", "cold", "build", "first run", "warm disk", "warm", "hot")
    table = _table("Cold and warm", (*columns, "memory", "held", "kernels", "shared", "pays after"))
    for row in report.rows:
        cold = min(row["cold"], key=lambda found: found["seconds"], default=None)
        if cold is None:
            continue
        warm = row.get("again", {}).get("seconds")
        other = report.row(row["family"], row["size"], "graphc-numpy")
        after = break_even(row, other) if row["peer"] == "graphc" else None
        table.add_row(
            row["family"],
            f"{row['size']:,}",
            row["peer"],
            *map(spell_seconds, (cold["seconds"], cold["build"], cold["first"])),
            *map(
                spell_seconds, (row.get("disk", {}).get("seconds"), warm, row.get("hot", {}).get("seconds"))
            ),
            f"{cold['mb']:.0f} MB",
            f"{row['memory']['bytes'] / 1e6:.1f} MB" if "memory" in row else "",
            *sharing(cold),
            f"{after:,.0f} runs" if after is not None else "",
        )
    return table


def sharing(cold: Mapping[str, Any]) -> tuple[str, str]:
    """The distinct kernels, and the part of the steps with one that share it with another step."""
    distinct, steps = cold.get("sharing", (0, 0))
    return (
        (f"{distinct:,}", f"{max(0.0, 1 - distinct / steps):.0%}" if steps else "") if distinct else ("", "")
    )


def waterfall(report: Report) -> Table:
    """Where graphc's time goes in the largest graph of each family: clock, processors."""
    table = _table("Stages of a cold compilation (clock / processors)", ("stage",))
    largest = {row["family"]: row for row in report.rows if row["peer"] == "graphc" and row["cold"]}
    found = {family: stages_of(row) for family, row in largest.items()}
    for family, row in largest.items():
        table.add_column(f"{family} {row['size']:,}", justify="right")
    names = dict.fromkeys(name for stages in found.values() for name in stages)
    for name in names if found else ():
        cells = [stages.get(name) for stages in found.values()]
        if any(cell and cell.wall > 1e-4 for cell in cells):
            shown = [f"{spell_seconds(c.wall)} / {spell_seconds(c.cpu)}" if c else "" for c in cells]
            table.add_row(name, *shown)
    return table


def counters(report: Report) -> Table:
    """What was counted."""
    names = list(dict.fromkeys(name for found in report.counts.values() for name in found))
    table = _table("Counters: the same on every machine", ("graph", *names))
    for graph, found in report.counts.items():
        table.add_row(
            graph, *(f"{found[name]:,}" if isinstance(found.get(name), int) else "" for name in names)
        )
    return table


def growth(report: Report) -> Table:
    """How each stage grows with the size."""
    table = _table("Growth: processor time ~ n^b, with the 95 % interval of b", ("stage",))
    families = dict.fromkeys(row["family"] for row in report.rows)
    fits = {family: found for family in families if (found := fit_stages(report, family))}
    for family in fits:
        table.add_column(family, justify="right")
    for name in dict.fromkeys(name for found in fits.values() for name in found):
        table.add_row(name, *(str(found.get(name, "")) for found in fits.values()))
    return table


def cost(report: Report) -> Table:
    """What the passes take for each node of the largest graphs."""
    table = _table("Passes: microseconds of processors for each node that was defined", ("pass",))
    largest = {row["family"]: row for row in report.rows if row["peer"] == "graphc" and row["cold"]}
    costs = {family: found for family, row in largest.items() if (found := cost_of_nodes(row))}
    for family in costs:
        table.add_column(f"{family} {largest[family]['size']:,}", justify="right")
    for name in dict.fromkeys(name for found in costs.values() for name in found):
        if any(found.get(name, 0.0) >= LEAST_COST for found in costs.values()):
            table.add_row(name, *(f"{found[name]:.2f}" if name in found else "" for found in costs.values()))
    return table


def crown(verdicts: Iterable[Verdict]) -> Table:
    """The bars, and what became of them."""
    table = _table("Crown", ("what", "bar", "measured", "ratio", "", "processors", ""))
    for verdict in verdicts:
        bar, measured = verdict.bar, verdict.measured
        plain = bar.of in ("executables", "exponent")
        table.add_row(
            bar.name,
            f"{bar.bar:g}" if plain else spell_seconds(bar.bar),
            "-" if measured is None else f"{measured:.2f}" if plain else spell_seconds(measured),
            "-" if measured is None else f"{measured / bar.bar:.2f}",
            "[green]met[/]" if verdict.met else "[red]not met[/]",
            spell_seconds(verdict.cpu),
            verdict.note,
        )
    return table


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", min_width=len(title))
    for i, name in enumerate(columns):
        table.add_column(name, justify="left" if i == 0 or name in ("library", "") else "right")
    return table
