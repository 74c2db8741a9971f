"""Fitting, comparing, judging, and what is read from the rows of a report."""

import json
import math

import pytest

from graphc.errors import FormatError
from runtime.benchmark.comparing import compare, compare_counts, ratios_of, unmeasured
from runtime.benchmark.crown import BARS, GRAPHS, Bar, judge
from runtime.benchmark.fitting import fit, fit_stages
from runtime.benchmark.measuring import graphs_of
from runtime.benchmark.report import Report, check_agreement, read_history, read_report
from runtime.benchmark.stages import Times, break_even, cost_of_nodes, least, stages_of


def cold(seconds, stages=None, digest=(1, 0.5, 0.5)):
    stages = {"build": [seconds, seconds, 1]} if stages is None else stages
    return {
        "seconds": seconds, "cpu": seconds, "build": 0.0, "first": seconds, "mb": 1.0,
        "digest": list(digest), "stages": stages, "counts": {"modules compiled": 2},
    }  # fmt: skip


def row(family, size, peer, *colds, **more):
    return {"family": family, "size": size, "peer": peer, "cold": list(colds), "trouble": "", **more}


def report(*rows, counts=None):
    return Report(
        {"when": "2026-01-01", "machine": {}, "threads": 2, "rounds": 1, "peers": {}},
        list(rows),
        counts or {},
    )


# Fitting.


@pytest.mark.parametrize("exponent", [0.0, 1.0, 1.5, 2.0])
def test_a_power_is_found(exponent):
    found = fit([10, 100, 1000], [0.01 * n**exponent for n in (10, 100, 1000)])
    assert found.exponent == pytest.approx(exponent, abs=1e-9)
    assert found.scale == pytest.approx(0.01)
    assert found.error == pytest.approx(0, abs=1e-6)


def test_the_interval_is_that_of_the_textbook():
    """x = 0..4 (in e), y = 1, 3, 2, 5, 4: slope 0.8, standard error 0.3464, t(3) = 3.182."""
    sizes, seconds = [math.e**x for x in range(5)], [math.e**y for y in (1, 3, 2, 5, 4)]
    found = fit(sizes, seconds)
    assert found.exponent == pytest.approx(0.8)
    assert found.error == pytest.approx(3.182 * math.sqrt(0.36 / 3), rel=1e-3)


@pytest.mark.parametrize(("points", "t"), [(3, 12.706), (4, 4.303), (12, 2.228), (13, 1.96), (40, 1.96)])
def test_the_interval_is_wider_the_fewer_points_there_are(points, t):
    sizes, off = [math.e**i for i in range(points)], [(-1) ** i * 0.1 for i in range(points)]
    found = fit(sizes, [math.exp(i + error) for i, error in enumerate(off)])
    line = [math.log(found.scale) + found.exponent * i for i in range(points)]
    rest = sum((i + error - y) ** 2 for i, (error, y) in enumerate(zip(off, line, strict=True)))
    spread = sum((i - (points - 1) / 2) ** 2 for i in range(points))
    assert found.error == pytest.approx(t * math.sqrt(rest / (points - 2) / spread), rel=1e-3)


def test_two_points_leave_no_interval():
    found = fit([10, 100], [0.1, 1.0])
    assert found.exponent == pytest.approx(1)
    assert math.isnan(found.error)
    assert str(found) == "10.0 ms n^1.00"
    assert str(fit([10, 100, 1000], [0.1, 1.0, 10.0])) == "10.0 ms n^1.00 ± 0.00"


def test_times_below_the_clock_are_left_out():
    assert fit([10, 100, 1000], [1e-5, 0.1, 1.0]).points == 2
    assert fit([10, 100], [1e-5, 0.1]) is None
    assert fit([10, 10], [0.1, 0.2]) is None


def test_stages_are_fitted_by_the_least_of_the_rounds():
    rows = [
        row("chain", n, "graphc", *(cold(n * slow, {"fuse": [9, n * slow, 1]}) for slow in (3e-3, 1e-3)))
        for n in (10, 100, 1000)
    ]
    fits = fit_stages(report(*rows, row("chain", 10, "jax", cold(1))), "chain")
    assert fits["fuse"].exponent == pytest.approx(1)
    assert fits["cold"].scale == pytest.approx(1e-3)


def test_of_a_stage_the_least_counts_on_the_clock_and_of_processors_whichever_round_had_it():
    told = row("f", 1, "graphc", cold(1, {"fuse": [1, 9, 2]}), cold(1, {"fuse": [9, 1, 2]}))
    assert stages_of(told)["fuse"] == Times(1, 1, 2)


# Rows.


def test_stages_come_in_the_order_of_a_graphs_way():
    told = {name: [1.0, 1.0, 1] for name in ("first run", "codegen", "simplify", "define", "build")}
    assert list(stages_of(row("f", 1, "graphc", cold(1, told)))) == [
        "build", "define", "simplify", "codegen", "first run",
    ]  # fmt: skip
    assert stages_of(row("f", 1, "jax")) == {}


def test_what_a_node_costs_is_counted_by_pass():
    told = {
        "build": [9, 9, 1],
        "define": [9, 1e-3, 1],
        "fuse": [9, 4e-3, 1],
        "plan": [9, 2e-3, 1],
        "load": [9, 9, 1],
    }
    slow = {name: [wall, 2 * cpu, n] for name, (wall, cpu, n) in told.items()}
    counted = {"counts": {"nodes": 100}}
    found = cost_of_nodes(row("f", 1, "graphc", cold(1, slow) | counted, cold(1, told) | counted))
    assert found == pytest.approx({"define": 10, "fuse": 40, "plan": 20, "passes": 70})
    assert cost_of_nodes(row("f", 1, "graphc", cold(1, told))) == {}


def test_the_least_of_the_rounds():
    assert least(row("f", 1, "graphc", cold(3), cold(2))) == 2
    assert least(row("f", 1, "graphc")) is None
    assert least(None) is None


@pytest.mark.parametrize(
    ("first", "hot", "other_first", "other_hot", "runs"),
    [
        (1.0, 0.1, 0.5, 0.2, 5),
        (0.5, 0.1, 1.0, 0.2, 0),
        (1.0, 0.2, 0.5, 0.1, None),
        (1.0, 0.1, 0.5, 0.1, None),
    ],
)
def test_after_how_many_runs_compiling_pays(first, hot, other_first, other_hot, runs):
    compiled = row("f", 1, "graphc", cold(first), hot={"seconds": hot})
    meant = row("f", 1, "graphc-numpy", cold(other_first), hot={"seconds": other_hot})
    found = break_even(compiled, meant)
    assert found == (None if runs is None else pytest.approx(runs))


def test_other_numbers_are_noticed():
    whole = report(
        row("f", 1, "graphc", cold(1)), row("f", 1, "graphc-numpy", cold(1)),
        row("f", 1, "jax", cold(1, digest=(1, 0.6, 0.6))), row("f", 1, "torch"),
    )  # fmt: skip
    check_agreement(whole)
    assert [each["peer"] for each in whole.rows if "differs" in each] == ["jax"]


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 0.52])
def test_what_is_no_number_or_beyond_all_numbers_is_another_number(number):
    one = row("f", 1, "jax", cold(1, digest=(1, 0.5, number)))
    other = row("f", 1, "graphc-numpy", cold(1))
    check_agreement(report(one, other))
    assert "differs" in one
    same = row("f", 1, "jax", cold(1, digest=(1, 0.5, number)))
    check_agreement(report(same, row("f", 1, "graphc-numpy", cold(1, digest=(1, 0.5, number)))))
    assert "differs" not in same


def test_another_count_of_results_is_noticed():
    one = row("f", 1, "jax", cold(1, digest=(2, 0.5, 0.5)))
    check_agreement(report(one, row("f", 1, "graphc-numpy", cold(1))))
    assert "differs" in one


def test_what_is_measured_of_which_family():
    assert graphs_of(["chain"], [100, 10, 100], False) == (("chain", 10), ("chain", 100))
    assert graphs_of(["fibonacci"], None, True) == (("fibonacci", 12), ("fibonacci", 20))
    assert graphs_of(["indices", "ones"], None, True) == (
        ("indices", 50), ("indices", 1000), ("ones", 6), ("ones", 10),
    )  # fmt: skip
    assert {family for family, _ in graphs_of(None, None, False)} >= {"chain", "lstm", "switch", "ones"}
    assert max(size for family, size in graphs_of(["chain"], None, False)) == 100_000


# Comparing.


def test_a_counter_that_grew_is_worse_and_one_that_fell_is_not():
    found = compare_counts({"f 1": {"a": 1, "b": 5, "c": 2}}, {"f 1": {"a": 2, "b": 4, "c": 2}})
    assert [(each.what, each.is_worse) for each in found] == [("a", True), ("b", False)]
    assert str(found[0]) == "f 1: a was 1 and is 2"


def test_a_counter_that_is_no_more_is_worse_and_a_new_one_is_not():
    found = compare_counts({"f 1": {"a": 1}}, {"f 1": {"b": 1}})
    assert [(each.what, each.is_worse) for each in found] == [("a", True), ("b", False)]


def test_graphs_of_one_side_are_not_compared():
    assert compare_counts({"f 1": {"a": 1}}, {"g 1": {"a": 2}}) == []
    assert compare_counts({"f 1": {}}, {"f 1": {}}) == []


def as_data(*rows, counts=None):
    return report(*rows, counts=counts).as_dict()


def test_ratios_leave_their_bounds():
    before = as_data(row("f", 1, "graphc", cold(1)), row("f", 1, "jax", cold(2)))
    slower = as_data(row("f", 1, "graphc", cold(1.6)), row("f", 1, "jax", cold(2)))
    (found,), compared = compare(before, slower)
    assert (found.where, found.what, found.is_worse, compared) == ("f 1", "cold / jax", True, 1)
    assert compare(before, slower, bound=2.0)[0] == []
    busier = as_data(row("f", 1, "graphc", cold(5)), row("f", 1, "jax", cold(10)))
    assert compare(before, busier)[0] == []


def test_warm_is_compared_with_cold():
    rows = [row("f", 1, "graphc", cold(2), again={"seconds": 0.5}, disk={"seconds": 1.0})]
    assert ratios_of(rows) == {("f 1", "again / cold"): 0.25, ("f 1", "disk / cold"): 0.5}


def test_what_no_longer_compiles_is_worse():
    before, now = as_data(row("f", 1, "graphc", cold(1))), as_data(row("f", 1, "graphc"))
    (found,), _ = compare(before, now)
    assert found.is_worse
    assert found.now is None
    assert compare(before, as_data())[0] == []  # it was not asked for


@pytest.mark.parametrize("lost", ["again", "disk"])
def test_what_is_no_longer_warm_is_worse(lost):
    """There is no ratio of it any more, so its absence is told."""
    warm = {"again": {"seconds": 0.5}, "disk": {"seconds": 0.25}}
    before = as_data(row("f", 1, "graphc", cold(1), **warm))
    left = {part: found for part, found in warm.items() if part != lost}
    (found,), compared = compare(before, as_data(row("f", 1, "graphc", cold(1), **left)))
    assert (found.where, found.what, found.before, found.now) == ("f 1", lost, warm[lost]["seconds"], None)
    assert found.is_worse
    assert compared == 1
    (cold_too,), _ = compare(before, as_data(row("f", 1, "graphc")))
    assert cold_too.what == "cold"


def test_what_is_not_compared_is_named():
    rows = [row("f", 1, peer, cold(1)) for peer in ("graphc", "jax", "torch")]
    before = as_data(*rows, row("g", 2, "graphc"), counts={"f 1": {"a": 1}, "h 3": {"a": 1}})
    now = as_data(rows[0], row("f", 1, "jax"), counts={"f 1": {}, "i 4": {"a": 1}})
    assert unmeasured(before, now) == ["f 1 in jax", "f 1 in torch", "g 2 in graphc", "h 3"]
    assert unmeasured(before, before) == unmeasured({"form": 1}, now) == []


def test_a_graph_that_cannot_be_counted_any_more_is_worse_and_one_that_was_not_asked_for_is_not():
    before = as_data(counts={"f 1": {"a": 5, "b": 1}, "g 1": {"a": 1}})
    (found,), compared = compare(before, as_data(counts={"f 1": {}}))
    assert (str(found), found.is_worse) == ("f 1: its counters was 2 and is not there", True)
    assert compared == 2


# Files.

ROW = {"family": "f", "size": 1, "peer": "graphc", "cold": [{"seconds": 1.0}]}


def test_what_was_written_is_read(tmp_path):
    path = tmp_path / "report.json"
    data = as_data(row("f", 1, "graphc", cold(1), again={"seconds": 0.5}), counts={"f 1": {"a": 1}})
    path.write_text(json.dumps(data))
    assert read_report(path) == data
    path.write_text('{"form": 1}')  # nothing was measured
    assert read_report(path) == {"form": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no JSON"),
        ('{"form": 1, "cou', "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("{}", '"form": 1'),
        ("[]", '"form": 1'),
        ('{"form": 99}', '"form": 1'),
        ('{"form": 1, "counts": []}', "counters"),
        ('{"form": 1, "counts": {"f 1": 5}}', "counters"),
        ('{"form": 1, "counts": {"f 1": {"a": "x"}}}', "counters"),
        ('{"form": 1, "rows": {}}', "rows"),
        ('{"form": 1, "rows": [{}]}', "rows"),
        (json.dumps({"form": 1, "rows": [{**ROW, "cold": [{}]}]}), "rows"),
        (json.dumps({"form": 1, "rows": [{**ROW, "cold": [{"seconds": 0}]}]}), "rows"),
        (json.dumps({"form": 1, "rows": [{**ROW, "cold": [{"seconds": math.nan}]}]}), "rows"),
        (json.dumps({"form": 1, "rows": [{**ROW, "again": None}]}), "rows"),
        (json.dumps({"form": 1, "rows": [{**ROW, "disk": {"seconds": -1}}]}), "rows"),
        (json.dumps({"form": 1, "rows": [{**ROW, "size": "<b>"}]}), "rows"),
    ],
)
def test_what_is_no_report_is_refused_and_no_part_of_a_history(tmp_path, text, message):
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(FormatError, match=message):
        read_report(path)
    assert read_history(tmp_path) == []


def test_a_history_is_in_order_of_time_and_of_reports_with_rows(tmp_path):
    for name, when in (("a", "2026-03"), ("b", "2026-01"), ("c", "2026-02")):
        (tmp_path / f"{name}.json").write_text(
            json.dumps({"form": 1, "about": {"when": when}, "rows": [ROW]})
        )
    (tmp_path / "counters.json").write_text('{"form": 1, "counts": {"f 1": {"a": 1}}}')
    (tmp_path / "empty.json").write_text('{"form": 1, "about": {"when": "2026-04"}, "rows": []}')
    assert [each["about"]["when"] for each in read_history(tmp_path)] == ["2026-01", "2026-02", "2026-03"]


# Crown.


def test_bars_are_judged_by_the_least():
    whole = report(row("f", 1, "graphc", cold(0.3), cold(0.2)), counts={"f 1": {"executables": 2}})
    bars = [
        Bar("a", "f", 1, 0.25),
        Bar("b", "f", 1, 0.1),
        Bar("c", "f", 1, 1, "executables"),
        Bar("d", "g", 1, 1),
    ]
    found = judge(whole, bars)
    assert [each.met for each in found] == [True, False, False, False]
    assert [each.measured for each in found] == [0.2, 0.2, 2, None]
    assert found[3].note == "not measured"


def test_a_bar_that_could_not_be_measured_says_why():
    broken = row("f", 1, "graphc")
    broken["trouble"] = "over the limit of 1 s"
    (found,) = judge(report(broken), [Bar("a", "f", 1, 1)])
    assert (found.met, found.note) == (False, "over the limit of 1 s")


def test_the_exponent_is_that_of_the_worst_stage_that_matters():
    def stages(n):
        return {"fuse": [1, n * 1e-2, 1], "plan": [1, n**1.5 * 1e-3, 1], "bind": [1, n**3 * 1e-9, 1]}

    rows = [row("chain", n, "graphc", cold(n * 1e-2, stages(n))) for n in (10, 100, 1000)]
    (found,) = judge(report(*rows), [Bar("b", "chain", 100, 1.1, "exponent")])
    assert found.measured == pytest.approx(1.5)
    assert found.note.startswith("plan")


def test_a_stage_of_a_hundredth_matters():
    def stages(n):
        return {"fuse": [1, n * 1e-2, 1], "plan": [1, n**1.5 * 1e-5, 1], "bind": [1, n**3 * 1e-13, 1]}

    rows = [row("chain", n, "graphc", cold(n * 1e-2, stages(n))) for n in (100, 1000, 10_000)]
    (found,) = judge(report(*rows), [Bar("b", "chain", 10_000, 1.1, "exponent")])
    assert found.note.startswith("plan")


def test_each_bar_is_of_what_it_says():
    told = row("f", 1, "graphc", cold(1, {"import": [0.3, 0.3, 1]}))
    told |= {"import": [0.2, 0.1], "again": {**cold(0.5), "cpu": 0.4}, "disk": {**cold(0.7), "cpu": 0.6}}
    bars = [Bar(of, "f", 1, 1, of) for of in ("cold", "again", "disk", "import")]
    found = judge(report(told), bars)
    assert [(each.measured, each.cpu) for each in found] == [(1, 1), (0.5, 0.4), (0.7, 0.6), (0.1, None)]
    assert [each.note for each in found] == ["300 ms of it are imports", "", "", ""]


def test_every_bar_is_of_a_graph_that_is_measured():
    assert {(bar.family, bar.size) for bar in BARS} <= set(GRAPHS)
