"""Sheets: what they hold, how they fit a terminal, and that no text is taken for markup."""

import io
import re

import pytest
from rich.console import Console

from runtime.benchmark.charts import lines
from runtime.benchmark.crown import Bar, Verdict
from runtime.benchmark.page import render
from runtime.benchmark.report import Report
from runtime.benchmark.sheets import (
    Sheet,
    caches,
    costs,
    counters,
    crown,
    growth,
    remarks,
    sheets_of,
    totals,
    waterfall,
)
from runtime.benchmark.stages import spell_seconds
from runtime.benchmark.table import parts, print_sheets

BADLY_PLACED = """[...document.querySelectorAll("svg")].flatMap(svg => {
  const placed = [...svg.querySelectorAll("text")].map(t => [t.textContent, t.getBoundingClientRect()]);
  const frame = svg.getBoundingClientRect(), out = r =>
    r.left < frame.left || r.right > Math.min(frame.right, innerWidth) || r.bottom > frame.bottom;
  const overlap = (a, b) =>
    a.left < b.right && b.left < a.right && a.top + 2 < b.bottom && b.top + 2 < a.bottom;
  return placed.flatMap(([name, r], i) =>
    [...(out(r) ? [name] : []),
     ...placed.slice(i + 1).filter(([_, other]) => overlap(r, other)).map(([other]) => [name, other])]);
})"""
HOSTILE = "<script>alert(1)</script> [/b] [red]&"


def cold(n):
    stages = {"build": [n / 10, n / 5, 1], "simplify": [n / 100, n / 100, 1], "plan": [1e-5, 1e-5, 1]}
    return {
        "seconds": n / 10, "cpu": n / 10, "build": 0.02, "first": n * 0.08, "mb": 3.0, "digest": [1, 1, 1],
        "stages": stages, "counts": {"nodes": n, "object bytes": 1000 * n}, "sharing": [2, 8],
    }  # fmt: skip


def report(**more):
    rows = []
    for n in (1, 10):
        rows += [
            {
                "family": "chain", "size": n, "peer": "graphc", "cold": [cold(n)], "trouble": "",
                "import": [0.4, 0.3],
                "again": {"seconds": 0.01, "counts": {"requests recognised": 1}}, "memory": {"bytes": 2e6},
                "disk": {"seconds": 0.02, "counts": {"modules from cache": 3}}, "hot": {"seconds": 0.001},
            },
            {
                "family": "chain", "size": n, "peer": "graphc-numpy", "hot": {"seconds": 0.002},
                "import": [0.25],
                "cold": [{**cold(n), "seconds": 0.05}], "trouble": "",
            },
        ]  # fmt: skip
    about = {"when": "2026-01-01", "machine": {}, "threads": 2, "rounds": 1, "peers": {}}
    return Report(
        {**about, **more}, rows, {"chain 10": {"nodes": 1234}, "wide 10": {}}, {"wide 10": "no reason"}
    )


def printed(sheets, remarks, width):
    console = Console(file=io.StringIO(), width=width)
    print_sheets(sheets, remarks, console)
    return console.file.getvalue()


def test_totals_hold_all_of_a_row():
    first, numpy, *_ = totals(report()).rows
    assert first == (
        "chain", "1", "graphc", "300.0 ms", "100.0 ms", "20.0 ms", "80.0 ms", "20.0 ms", "10.0 ms", "1.0 ms",
        "3 MB", "2.0 MB", "2", "75%", "50 runs",
    )  # fmt: skip
    assert numpy[-1] == ""


def test_a_waterfall_is_of_the_largest_graph_and_leaves_out_what_takes_no_time():
    sheet = waterfall(report())
    assert sheet.head == ("stage", "chain 10")
    assert sheet.rows == (("build", "1.00 s / 2.00 s"), ("simplify", "100.0 ms / 100.0 ms"))


def test_families_stand_side_by_side_with_what_matters_in_any_of_them():
    whole = report()
    short = {**cold(1), "stages": {"simplify": [1e-6, 1e-6, 1], "load": [1e-6, 1e-6, 1]}}
    whole.rows.append({"family": "wide", "size": 5, "peer": "graphc", "cold": [short], "trouble": ""})
    assert [row["peer"] for row in whole.largest().values()] == ["graphc", "graphc"]
    assert waterfall(whole).head == ("stage", "chain 10", "wide 5")
    assert waterfall(whole).rows == (
        ("build", "1.00 s / 2.00 s", ""),
        ("simplify", "100.0 ms / 100.0 ms", "1.0 us / 1.0 us"),
    )


def test_caches_are_told_cold_and_warm():
    sheet = caches(report())
    assert sheet.head == ("graph", "", "nodes", "object bytes", "modules from cache", "requests recognised")
    assert sheet.rows[3:] == (
        ("chain 10", "cold", "10", "10,000", "", ""),
        ("chain 10", "warm disk", "", "", "3", ""),
        ("chain 10", "warm", "", "", "", "1"),
    )


def test_counters_growth_and_costs():
    assert counters(report()).rows == (("chain 10", "1,234"),)
    assert growth(report()).rows == (
        ("build", "200.0 ms n^1.00"), ("simplify", "10.0 ms n^1.00"), ("cold", "100.0 ms n^1.00"),
    )  # fmt: skip
    assert costs(report()).rows == (("simplify", "10000.00"), ("plan", "1.00"), ("passes", "10001.00"))


def test_bars_are_in_units_of_their_own():
    bars = [
        Verdict(Bar("a", "f", 1, 0.25), 0.3, "slow", 0.5),
        Verdict(Bar("b", "f", 1, 1, "executables"), 1),
        Verdict(Bar("c", "f", 1, 1), None, "not measured"),
    ]
    assert crown(bars).rows == (
        ("a", "250.0 ms", "300.0 ms", "1.20", "not met", "500.0 ms", "slow"),
        ("b", "1", "1", "1.00", "met", "-", ""),
        ("c", "1.00 s", "-", "-", "not met", "-", "not measured"),
    )


def test_what_is_missing_is_remarked():
    whole = report(peers={"jax": "not installed", "torch": "torch 2"})
    whole.rows[0] |= {"trouble": "over the limit of 1 s", "untraced": "too long", "differs": [[1], [2]]}
    assert list(remarks(whole)) == [
        "jax: not installed",
        "chain 1, graphc: over the limit of 1 s",
        "chain 1, graphc: too long",
        "chain 1, graphc: computes other numbers",
        "wide 10: not counted: no reason",
    ]


def test_nothing_measured_is_no_sheet():
    assert list(sheets_of(Report({"peers": {}}))) == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (12.345, "12.35 s"),
        (1.0, "1.00 s"),
        (0.0125, "12.5 ms"),
        (2.5e-6, "2.5 us"),
        (3e-9, "3 ns"),
    ],
)
def test_times_are_in_units_that_suit_them(seconds, text):
    assert spell_seconds(seconds) == text


SHEET = Sheet("t", ("graph", *"abcdef"), (("chain", *["123456"] * 6), ("wide", *["9"] * 6)))


@pytest.mark.parametrize("width", [10, 20, 30, 40, 60, 200])
def test_what_is_too_wide_is_split_and_each_part_says_what_its_rows_are(width):
    shown = list(parts(SHEET, width))
    assert [i for columns in shown for i in columns if i] == [1, 2, 3, 4, 5, 6]
    assert all(columns[0] == 0 for columns in shown)
    assert len(shown) == {10: 6, 20: 6, 30: 3, 40: 2, 60: 2, 200: 1}[width]
    text = printed([SHEET], [], width)
    if width >= 20:
        assert max(map(len, text.splitlines())) <= width
        assert text.count("123456") == 6  # nothing is cut


def test_no_text_is_markup_in_a_terminal():
    sheet = Sheet("t", ("graph", "note"), ((HOSTILE, HOSTILE),))
    assert printed([sheet], [HOSTILE], 200).count(HOSTILE) == 3


def test_no_text_is_markup_in_a_page():
    whole = report(machine={HOSTILE: HOSTILE}, when=HOSTILE, peers={"jax": HOSTILE})
    for row in whole.rows:
        row |= {"family": HOSTILE, "trouble": HOSTILE}
        row["cold"][0]["stages"][HOSTILE] = [1.0, 1.0, 1]
    whole.counts[HOSTILE] = {HOSTILE: 1}
    verdicts = [Verdict(Bar(HOSTILE, "f", 1, 1), 1, HOSTILE)]
    page = render(whole, verdicts, [{**whole.as_dict()}])
    assert "<script" not in page
    assert "<polyline" in page
    assert "<rect" in page
    assert "History: 2 reports, the oldest of &lt;script" in page


def charts_of(page, title):
    """The texts of the charts under a heading."""
    section = page.split(f"<h2>{title}")[1].split("</section>")[0]
    return re.findall(r">([^<>]+)</text>", section)


def test_a_page_has_charts():
    whole = report()
    page = render(whole, [], [whole.as_dict()] * 3)
    assert charts_of(page, "Cold, by size") == [
        "1", "10", "0.01", "0.1", "1", "n", "s", "graphc", "graphc-numpy",
    ]  # fmt: skip
    assert charts_of(page, "Stages of") == [
        "n = 1", "0.11 s", "n = 10", "1.1 s", "build", "simplify", "others",
    ]  # fmt: skip
    assert charts_of(page, "History: 4 reports")[:4] == ["1", "2", "3", "4"]
    assert "History" not in render(whole, [])


def test_a_chart_is_as_high_as_its_legend():
    drawn = lines({str(i): [(1.0, 1.0)] for i in range(40)}, "n", "s")
    height = float(re.search(r'viewBox="0 0 \d+ (\d+)"', drawn)[1])
    assert height > max(float(y) for y in re.findall(r'<text x="[\d.]+" y="([\d.]+)"', drawn))


def test_a_page_names_the_libraries_that_are_there():
    page = render(report(peers={"jax": "not installed", "torch": "torch 2"}), [])
    assert ", one round. torch 2</p>" in page
    assert ">jax: not installed</p>" in page


def test_a_page_has_what_a_terminal_has():
    whole = report()
    page = render(whole, [])
    for sheet in sheets_of(whole):
        assert f"<h2>{sheet.title}</h2>" in page
        assert all(f">{cell}<" in page for row in sheet.rows for cell in row)


@pytest.mark.parametrize("width", [400, 1280])
def test_a_page_is_as_wide_as_its_window(browser, tmp_path, width):
    """Charts shrink, and no text of them is cut off or lies upon another; what is too wide is a table's."""
    whole = report(peers={"jax": "not installed"})
    for row in whole.rows:
        row["size"] *= 1_000_000
        stages = ("drop_dead_results", "resolve_branches", "lift_assignments", "hoist_invariants")
        row["cold"][0]["stages"] |= {name: [0.5, 0.5, 1] for name in stages}
    (tmp_path / "page.html").write_text(render(whole, [], [whole.as_dict()]))
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.goto((tmp_path / "page.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(BADLY_PLACED) == []
    page.close()
