"""Page: a report as one HTML file that needs nothing else; with earlier ones, what became of it over time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from runtime.benchmark.charts import Points, bars, lines
from runtime.benchmark.crown import Verdict
from runtime.benchmark.report import ABSENT, Report
from runtime.benchmark.sheets import Sheet, crown, remarks, sheets_of
from runtime.benchmark.stages import least, stages_of

LEAST_SHARE = 0.01  # of a whole compilation, below which a stage is one of the others

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1f; --paper: #fdfdfb; --line: #d9d9d4; --bad: #b3261e;
  --good: #2b7a1a; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e3; --paper: #17181b; --line: #3a3b40; --bad: #ff8a80; --good: #8fd17f; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 76rem;
  margin: 2rem auto; padding: 0 1rem; overflow-wrap: anywhere; }
table { border-collapse: collapse; margin: .8rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .15rem .55rem; border-bottom: 1px solid var(--line); text-align: right;
  white-space: nowrap; }
.text { text-align: left; }
th:first-child, td:first-child { position: sticky; left: 0; background: var(--paper); }
section { display: flex; flex-wrap: wrap; gap: 1.5rem; }
figure { margin: 0; max-width: 100%; } figcaption { font-weight: 600; }
svg { max-width: 100%; height: auto; } svg text { font-size: 11px; fill: var(--ink); }
@media (max-width: 600px) { svg text { font-size: 15px; } } .grid { stroke: var(--line); }
.bad { color: var(--bad); } .good { color: var(--good); } .wide { overflow-x: auto; }
"""
_MARKS = {"met": "good", "not met": "bad"}


def render(report: Report, verdicts: Sequence[Verdict], history: Sequence[Mapping[str, Any]] = ()) -> str:
    """The page. `history` are earlier reports as data, oldest first."""
    about = report.about
    machine = ", ".join(f"{name} {value}" for name, value in about["machine"].items())
    many = about["rounds"]
    rounds = "one round" if many == 1 else f"{many} rounds, of which the least counts"
    libraries = ", ".join(version for version in about["peers"].values() if version != ABSENT)
    told = f"{about['when']}: {machine}; {about['threads']} threads, {rounds}. {libraries}"
    parts = ["<h1>graphc bench</h1>", f"<p>{escape(told)}</p>"]
    parts += (f'<p class="bad">{escape(remark)}</p>' for remark in remarks(report))
    if verdicts:
        parts.append(_table(crown(verdicts)))
    parts += _figures("Cold, by size (seconds)", _growth_charts(report))
    parts += _figures("Stages of graphc's compilations (seconds)", _stage_charts(report))
    parts += map(_table, sheets_of(report))
    if history:
        past = [*history, report.as_dict()]
        title = f"History: {len(past)} reports, the oldest of {past[0]['about']['when']}"
        parts += _figures(title, _history_charts(past))
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>graphc bench</title>'
        '<meta name="viewport" content="width=device-width">'
        f"<style>{_STYLE}</style></head><body>\n{body}\n</body></html>\n"
    )


def _figures(title: str, charts: Iterable[tuple[str, str]]) -> list[str]:
    shown = [f"<figure><figcaption>{escape(name)}</figcaption>{svg}</figure>" for name, svg in charts if svg]
    return [f"<h2>{escape(title)}</h2>", "<section>", *shown, "</section>"] if shown else []


def _table(sheet: Sheet) -> str:
    def line(kind: str, cells: Sequence[str]) -> str:
        found = []
        for i, cell in enumerate(cells):
            names = "text" * (i in sheet.texts), _MARKS.get(cell, "")
            found.append(f'<{kind} class="{" ".join(filter(None, names))}">{escape(cell)}</{kind}>')
        return f"<tr>{''.join(found)}</tr>"

    rows = "\n".join(line("td", row) for row in sheet.rows)
    return (
        f'<h2>{escape(sheet.title)}</h2><div class="wide"><table>{line("th", sheet.head)}{rows}</table></div>'
    )


def _growth_charts(report: Report) -> Iterable[tuple[str, str]]:
    for family in report.families():
        series: dict[str, list[tuple[float, float]]] = {}
        for row in report.rows:
            seconds = least(row)
            if row["family"] == family and seconds is not None:
                series.setdefault(row["peer"], []).append((row["size"], seconds))
        yield family, lines(series, "n", "s")


def _stage_charts(report: Report) -> Iterable[tuple[str, str]]:
    found: dict[str, dict[str, dict[str, float]]] = {}
    for row in report.compiled():
        times = {name: times.wall for name, times in stages_of(row).items()}
        whole = sum(times.values())
        shown = {name: seconds for name, seconds in times.items() if seconds > whole * LEAST_SHARE}
        shown["others"] = whole - sum(shown.values())
        found.setdefault(row["family"], {})[f"n = {row['size']:,}"] = shown
    every = dict.fromkeys(name for rows in found.values() for shown in rows.values() for name in shown)
    names = sorted(every, key="others".__eq__)  # which come last
    for family, rows in found.items():
        yield family, bars(rows, "s", names)


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
        yield family, lines(points, "report", "s", numbered=True)
