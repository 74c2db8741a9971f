"""Page: a report as one HTML file that needs nothing else; with earlier ones, what became of it over time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from runtime.benchmark.charts import Points, bars, lines
from runtime.benchmark.crown import Verdict
from runtime.benchmark.fitting import fit_stages
from runtime.benchmark.measuring import FORM, Report
from runtime.benchmark.stages import LEAST_COST, cost_of_nodes, least, stages_of

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1f; --paper: #fdfdfb; --line: #d9d9d4; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6e3; --paper: #17181b; --line: #3a3b40; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 76rem;
  margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: .8rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .15rem .7rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child { text-align: left; }
section { display: flex; flex-wrap: wrap; gap: 1.5rem; }
figure { margin: 0; } figcaption { font-weight: 600; }
svg { max-width: 100%; } svg text { font-size: 11px; fill: var(--ink); } .grid { stroke: var(--line); }
.worse { color: #cb3c33; } .met { color: #389826; } .wide { overflow-x: auto; }
"""


def read_history(folder: Path) -> list[dict[str, Any]]:
    """The reports in `folder`, oldest first; files that are none are left out."""
    found = []
    for path in folder.glob("*.json"):
        try:
            report = json.loads(path.read_text(encoding="utf-8"))
            if report["form"] == FORM and report["about"]["when"]:
                found.append(report)
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return sorted(found, key=lambda report: str(report["about"]["when"]))


def render(report: Report, verdicts: Sequence[Verdict], history: Sequence[Mapping[str, Any]] = ()) -> str:
    """The page. `history` are earlier reports as data, oldest first."""
    about = report.about
    machine = ", ".join(f"{name} {value}" for name, value in about["machine"].items())
    many = about["rounds"]
    rounds = "one round" if many == 1 else f"{many} rounds, of which the least counts"
    parts = [
        "<h1>graphc bench</h1>",
        f"<p>{escape(about['when'])}: {escape(machine)}; {about['threads']} threads, {rounds}.</p>",
    ]
    if verdicts:
        parts += ["<h2>Crown</h2>", _crown(verdicts)]
    parts += _figures("Cold, by size (seconds)", _growth_charts(report))
    parts += _figures("Stages of graphc's largest graphs (seconds)", _stage_charts(report))
    parts += ["<h2>All numbers</h2>", _numbers(report)]
    parts += ["<h2>Growth, processor time ~ n^b</h2>", _fits(report)]
    parts += ["<h2>Passes, microseconds of processors for each node that was defined</h2>", _costs(report)]
    if report.counts:
        parts += ["<h2>Counters</h2>", _counts(report)]
    past = [*history, report.as_dict()]
    if len(past) > 1:
        parts += _figures(f"History: {len(past)} reports, from the oldest", _history_charts(past))
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>graphc bench</title>'
        f"<style>{_STYLE}</style></head><body>\n{body}\n</body></html>\n"
    )


def _figures(title: str, charts: Iterable[tuple[str, str]]) -> list[str]:
    shown = [f"<figure><figcaption>{escape(name)}</figcaption>{svg}</figure>" for name, svg in charts if svg]
    return [f"<h2>{escape(title)}</h2>", "<section>", *shown, "</section>"] if shown else []


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{top}</tr>{body}</table></div>'


def _crown(verdicts: Sequence[Verdict]) -> str:
    rows = []
    for each in verdicts:
        measured = "-" if each.measured is None else f"{each.measured:.3g}"
        ratio = "-" if each.measured is None else f"{each.measured / each.bar.bar:.2f}"
        kind = "met" if each.met else "worse"
        mark = f'<span class="{kind}">{"met" if each.met else "not met"}</span>'
        cells = "".join(
            f"<td>{escape(c)}</td>" for c in (each.bar.name, f"{each.bar.bar:g}", measured, ratio)
        )
        rows.append(f"<tr>{cells}<td>{mark}</td><td>{escape(each.note)}</td></tr>")
    head = "<tr><th></th><th>bar</th><th>measured</th><th>ratio</th><th></th><th></th></tr>"
    return f"<table>{head}{''.join(rows)}</table>"


def _families(report: Report) -> list[str]:
    return list(dict.fromkeys(row["family"] for row in report.rows))


def _growth_charts(report: Report) -> Iterable[tuple[str, str]]:
    for family in _families(report):
        series: dict[str, list[tuple[float, float]]] = {}
        for row in report.rows:
            seconds = least(row)
            if row["family"] == family and seconds is not None:
                series.setdefault(row["peer"], []).append((row["size"], seconds))
        yield family, lines(series, "n", "s")


def _stage_charts(report: Report) -> Iterable[tuple[str, str]]:
    for family in _families(report):
        rows = {}
        for row in report.rows:
            if row["family"] == family and row["peer"] == "graphc" and row["cold"]:
                found = {name: times.wall for name, times in stages_of(row).items()}
                whole = sum(found.values())
                shown = {name: seconds for name, seconds in found.items() if seconds > whole / 100}
                shown["others"] = whole - sum(shown.values())
                rows[f"n = {row['size']:,}"] = shown
        yield family, bars(rows, "s")


def _numbers(report: Report) -> str:
    def spell(value: float | None) -> str:
        return "" if value is None else f"{value:.4g}"

    rows = []
    for row in report.rows:
        cold: dict[str, Any] = min(row["cold"], key=lambda found: found["seconds"], default={})
        parts = [row.get(part, {}).get("seconds") for part in ("disk", "again", "hot")]
        cells = [cold.get("seconds"), cold.get("build"), cold.get("first"), *parts, cold.get("mb")]
        note = "computes other numbers" if "differs" in row else row["trouble"]
        rows.append((row["family"], f"{row['size']:,}", row["peer"], *map(spell, cells), note))
    head = (
        "family",
        "n",
        "library",
        "cold s",
        "build s",
        "first run s",
        "warm disk s",
        "warm s",
        "hot s",
        "MB",
        "",
    )
    return _table(head, rows)


def _fits(report: Report) -> str:
    rows = [
        (family, name, str(found), str(found.points))
        for family in _families(report)
        for name, found in fit_stages(report, family).items()
    ]
    return _table(("family", "stage", "b, 95 %", "points"), rows)


def _costs(report: Report) -> str:
    rows = [
        (row["family"], f"{row['size']:,}", name, f"{cost:.2f}")
        for row in report.rows
        if row["peer"] == "graphc"
        for name, cost in cost_of_nodes(row).items()
        if cost >= LEAST_COST
    ]
    return _table(("family", "n", "pass", "us a node"), rows)


def _counts(report: Report) -> str:
    names = list(dict.fromkeys(name for found in report.counts.values() for name in found))
    rows = [(graph, *(str(found.get(name, "")) for name in names)) for graph, found in report.counts.items()]
    return _table(("graph", *names), rows)


def _history_charts(past: Sequence[Mapping[str, Any]]) -> Iterable[tuple[str, str]]:
    """For each family graphc's cold time, one line for each size, over the reports."""
    series: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for number, report in enumerate(past, 1):
        for row in report["rows"]:
            seconds = least(row)
            if row["peer"] == "graphc" and seconds is not None:
                of_family = series.setdefault(row["family"], {})
                of_family.setdefault(f"n = {row['size']:,}", []).append((number, seconds))
    for family, found in series.items():
        points: Mapping[str, Points] = found
        yield family, lines(points, "report", "s")
