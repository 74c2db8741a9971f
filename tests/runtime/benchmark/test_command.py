"""The command: what it refuses, what it writes, what it goes on after, what it compares."""

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from itertools import pairwise
from pathlib import Path

import pytest

from graphc.__main__ import main
from runtime.benchmark import charts, command, measuring
from runtime.benchmark.families import FAMILIES
from runtime.benchmark.introspection import COUNTED_CPU, is_countable
from runtime.benchmark.page import render
from runtime.benchmark.processes import Interpreters, Limits, environment, run_job
from runtime.benchmark.report import Report, read_history

ROOT = Path(__file__).parents[3]
BASELINE = ROOT / "benchmarks" / "baseline.json"
QUICK = ["bench", "--sizes", "4", "--rounds", "1", "--seconds", "0.001"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--families", "chains"], "no family 'chains'"),
        (["--vs", "jux"], "no library 'jux'"),
        (["--sizes", "10,-1"], "--sizes are numbers above 0"),
        (["--sizes", "ten"], "--sizes are numbers above 0"),
        (["--rounds", "0"], "--rounds is a number above 0"),
        (["--limit", "0"], "--limit is a number above 0"),
        (["--limit", "nan"], "--limit is a number above 0"),
        (["--bound", "nan"], "--bound is a number above 0"),
        (["--memory", "-5"], "--memory is a number not below 0"),
        (["--seconds", "-1"], "--seconds is a number not below 0"),
        (["--families", ","], "no family ''"),
        (["--crown", "--families", "ones"], "no bar for ones"),
        (["--python", "./not there"], "--python: ./not there is no program"),
        (["--counters", "--vs", "jax"], "--vs is for times"),
        (["--counters", "--history", "past"], "--history is for times"),
        (["--json", str(ROOT)], "is no file that can be written"),
        (["--html", f"{ROOT}/README.md/page.html"], "README.md"),
        (["--history", f"{ROOT}/README.md"], "README.md"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_is_measured(given, message, capsys, monkeypatch):
    monkeypatch.setattr(command, "measure", None)
    monkeypatch.setattr(command, "count", None)
    assert main(["bench", *given]) == 1
    assert message in capsys.readouterr().err


def test_a_baseline_that_is_none_is_refused_first(tmp_path, capsys):
    for content, message in (
        ("{}", "form"),
        ("no", "no JSON"),
        ("[]", "no report"),
        ('{"form": 1, "rows": [5]}', "rows"),
    ):
        path = tmp_path / "b.json"
        path.write_text(content)
        assert main(["bench", "--compare", str(path)]) == 1
        assert message in capsys.readouterr().err
    assert main(["bench", "--compare", str(tmp_path / "absent.json")]) == 1


@pytest.mark.parametrize("given", [["--quick", "--sizes", "4"], ["--counters", "--crown"]])
def test_what_is_measured_is_said_in_one_way(given, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["bench", *given])
    assert "not allowed with" in capsys.readouterr().err


def test_without_rich_the_message_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["bench", "--quick"]) == 1
    assert "graphc[bench]" in capsys.readouterr().err


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """One small measurement with all its files, and its standard output."""
    folder = tmp_path_factory.mktemp("bench")
    files = [f"--json={folder}/new.json", f"--html={folder}/page.html", f"--history={folder}/past"]
    done = subprocess.run(
        [sys.executable, "-m", "graphc", *QUICK, "--families", "fibonacci,dynamic_batch", *files],
        capture_output=True, text=True, cwd=ROOT, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_all_parts_are_measured(written):
    folder, shown = written
    report = json.loads((folder / "new.json").read_text())
    assert [(row["family"], row["size"], row["peer"]) for row in report["rows"]] == [
        (family, 4, peer) for family in ("fibonacci", "dynamic_batch") for peer in ("graphc", "graphc-numpy")
    ]
    for row in report["rows"]:
        assert row["trouble"] == ""
        assert "differs" not in row
        assert row["cold"][0]["seconds"] > 0
        assert row["hot"]["runs"] >= 3
        assert row["again"]["seconds"] > 0
        if row["peer"] == "graphc":
            stages = row["cold"][0]["stages"]
            assert {"import", "build", "simplify", "plan", "IR text", "codegen", "load", "first run"} <= set(
                stages
            )
            whole = sum(wall for wall, _, _ in stages.values())
            assert whole == pytest.approx(row["cold"][0]["seconds"], rel=0.1)
            assert row["cold"][0]["counts"]["modules compiled"] > 0
            assert row["disk"]["counts"].get("modules compiled", 0) == 0
            assert row["disk"]["counts"]["modules from cache"] > 0
            assert row["memory"]["bytes"] > 0
            assert row["cold"][0]["counts"]["nodes"] > 0
            distinct, steps = row["cold"][0]["sharing"]
            assert 0 < distinct <= steps
    assert "codegen" in shown
    assert "fibonacci" in shown
    assert re.search(r"passes +│ +\d+\.\d\d +│ +\d+\.\d\d", shown)  # microseconds a node


def test_the_history_grows_and_the_page_shows_it(written, capsys):
    folder, _ = written
    assert len(list((folder / "past").glob("*.json"))) == 1
    page = (folder / "page.html").read_text()
    assert "History" not in page
    (folder / "past" / "other.json").write_text('{"form": 1}')
    past = read_history(folder / "past")
    assert len(past) == 1
    data = json.loads((folder / "new.json").read_text())
    page = render(Report(data["about"], data["rows"], data["counts"]), [], past)
    assert "History: 2 reports" in page
    assert "http" not in page  # it needs nothing from elsewhere
    assert page.count("<polyline") == 6  # two libraries of two families, and the history of each


def test_a_report_compares_with_itself_and_not_with_better_ones(written, tmp_path, monkeypatch, capsys):
    folder, _ = written
    data = json.loads((folder / "new.json").read_text())

    def replay(plan, report, tell):
        report.rows.extend(data["rows"])

    monkeypatch.setattr(command, "measure", replay)
    monkeypatch.setattr(command, "count", lambda graphs, limits: data["counts"])
    assert main([*QUICK, "--compare", str(folder / "new.json")]) == 0
    assert "0 worse" in capsys.readouterr().out
    if not data["counts"]:
        pytest.skip("no counters on this machine")
    better = json.loads((folder / "new.json").read_text())
    better["counts"]["fibonacci 4"]["nodes_visited"] -= 1
    (tmp_path / "better.json").write_text(json.dumps(better))
    assert main([*QUICK, "--compare", str(tmp_path / "better.json")]) == 1
    assert "worse: fibonacci 4: nodes_visited was" in capsys.readouterr().out


def test_an_interrupt_leaves_what_was_measured(tmp_path, monkeypatch, capsys):
    def interrupted(plan, report, tell):
        report.rows.append({"family": "chain", "size": 4, "peer": "graphc", "cold": [], "trouble": "so far"})
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "measure", interrupted)
    assert main([*QUICK, "--json", str(tmp_path / "part.json"), "--html", str(tmp_path / "part.html")]) == 130
    assert json.loads((tmp_path / "part.json").read_text())["rows"][0]["trouble"] == "so far"
    assert "chain" in (tmp_path / "part.html").read_text()
    assert "interrupted" in capsys.readouterr().err


def test_an_interrupt_while_counting_is_no_traceback(monkeypatch, tmp_path, capsys):
    def interrupted(graphs, limits):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "count", interrupted)
    monkeypatch.setattr(command, "is_countable", lambda: True)
    assert main(["bench", "--counters", "--json", str(tmp_path / "part.json")]) == 130
    assert json.loads((tmp_path / "part.json").read_text()) == {"form": 1, "counts": {}}
    assert "interrupted" in capsys.readouterr().err


def test_files_are_written_before_anything_is_shown(monkeypatch, tmp_path):
    """Whoever reads the tables may go: `graphc bench | head`."""

    def gone(*given):
        raise BrokenPipeError

    monkeypatch.setattr(command, "measure", lambda plan, report, tell: None)
    monkeypatch.setattr(command, "count", lambda graphs, limits: {})
    monkeypatch.setattr(command, "_show", gone)
    assert main([*QUICK, "--json", str(tmp_path / "new" / "all.json")]) == 1
    assert json.loads((tmp_path / "new" / "all.json").read_text())["form"] == 1


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"chain 40": {"error": "ValueError: [/b]"}}, "ValueError: [/b]"),
        ({"error": {"text": "over the limit of 1 s"}}, "over the limit of 1 s"),
    ],
)
def test_what_can_no_longer_be_counted_is_worse(monkeypatch, tmp_path, capsys, told, why):
    monkeypatch.setattr(command, "is_countable", lambda: True)
    monkeypatch.setattr(command, "count", lambda graphs, limits: told)
    (tmp_path / "old.json").write_text(
        '{"form": 1, "counts": {"chain 40": {"nodes": 3}, "wide 20": {"nodes": 3}}}'
    )
    assert main(["bench", "--counters", "--families", "chain", "--compare", str(tmp_path / "old.json")]) == 1
    out, err = capsys.readouterr()
    assert f"counters of chain 40: {why}" in err
    assert "worse: chain 40: its counters was 1 and is not there" in out
    assert "wide" not in out


def test_nothing_is_counted_where_nothing_compiled(monkeypatch, capsys):
    """A wrong reason would be given if the machine were blamed."""

    def failed(plan, report, tell):
        report.rows.append({"family": "chain", "size": 4, "peer": "graphc", "cold": [], "trouble": "none"})

    monkeypatch.setattr(command, "measure", failed)
    monkeypatch.setattr(command, "count", None)
    monkeypatch.setattr(command, "is_countable", lambda: True)
    assert main([*QUICK, "--families", "chain"]) == 0
    out, err = capsys.readouterr()
    assert "chain 4, graphc: none" in out
    assert err == "counters\n"


LIMITS = Limits()


def job(**more):
    return {
        "peer": "graphc-numpy",
        "family": "chain",
        "size": 4,
        "threads": 1,
        "parts": ["cold"],
        "seconds": 0.01,
        **more,
    }


def run(tmp_path, limits=LIMITS, **more):
    path = Interpreters((), str(tmp_path)).path_for("graphc")
    return run_job(job(**more), sys.executable, path, environment(str(tmp_path), 1), limits)


def test_a_job_over_its_limit_says_so(tmp_path):
    parts = run(tmp_path, Limits(seconds=0.05))
    assert parts["error"]["text"] == "over the limit of 0.05 s"


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="the system does not tell")
def test_a_job_over_its_memory_says_so(tmp_path):
    parts = run(tmp_path, Limits(seconds=60, megabytes=1), family="ones", size=300)
    assert parts["error"]["text"] == "over the limit of 1 MB"


def test_what_was_told_before_an_error_stays(tmp_path):
    parts = run(tmp_path, parts=["cold", "nonsense"])
    assert parts["cold"]["seconds"] > 0
    assert "nonsense" in parts["error"]["text"]


def test_a_process_that_dies_says_how(tmp_path):
    """What stands first on its path is not graphc."""
    for name in ("graphc", "runtime"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('not this one')\n")
    parts = run_job(job(), sys.executable, str(tmp_path), environment(str(tmp_path), 1), LIMITS)
    assert parts["error"]["text"].startswith("the process ended with status 1")


def test_others_go_on_where_one_is_over_its_limit(monkeypatch):
    """The first size of one library fails: its larger ones are not tried, those of others are."""
    told = []

    def fake(given, python, path, seen, limits):
        told.append((given["peer"], given["size"]))
        if given["peer"] == "graphc":
            return {"error": {"text": "over the limit of 1 s"}}
        start = {"seconds": 0.1, "version": "x", "supported": True, "mb": 1}
        found = {"seconds": 1.0, "cpu": 1.0, "digest": [1, 1, 1], "mb": 1}
        return {"start": start, "cold": found, "again": found, "hot": {"seconds": 1}}

    monkeypatch.setattr(measuring, "run_job", fake)
    monkeypatch.setattr(measuring._Measuring, "warm_bytecode", lambda self: None)
    plan = measuring.Plan((("chain", 4), ("chain", 8), ("tree", 4)), rounds=1)
    report = Report({"peers": {}})
    measuring.measure(plan, report, lambda text: None)
    assert told == [
        ("graphc", 4), ("graphc-numpy", 4), ("graphc-numpy", 8), ("graphc", 4), ("graphc-numpy", 4),
    ]  # fmt: skip
    assert report.row("chain", 8, "graphc")["trouble"] == "not tried: over the limit of 1 s at size 4"


def test_a_library_without_the_ops_of_a_family_is_asked_once(monkeypatch):
    told = []

    def fake(given, python, path, seen, limits):
        told.append((given["peer"], given["size"]))
        return {"start": {"seconds": 0.1, "version": "x", "supported": False, "mb": 1}}

    monkeypatch.setattr(measuring, "run_job", fake)
    monkeypatch.setattr(measuring._Measuring, "warm_bytecode", lambda self: None)
    report = Report({"peers": {}})
    measuring.measure(measuring.Plan((("chain", 4), ("chain", 8))), report, lambda text: None)
    assert told == [("graphc", 4), ("graphc-numpy", 4)]
    assert {row["trouble"] for row in report.rows} == {"its ops do not express it"}


def test_rounds_are_interleaved(monkeypatch):
    told = []

    def fake(given, python, path, seen, limits):
        told.append((given["peer"], tuple(given["parts"])))
        start = {"seconds": 0.1, "version": "x", "supported": True, "mb": 1}
        return {"start": start, "cold": {"seconds": 1.0, "digest": [1, 1, 1]}}

    monkeypatch.setattr(measuring, "run_job", fake)
    monkeypatch.setattr(measuring._Measuring, "warm_bytecode", lambda self: None)
    measuring.measure(measuring.Plan((("tree", 4),), rounds=2), Report({"peers": {}}), lambda text: None)
    assert [peer for peer, _ in told] == ["graphc"] * 3 + ["graphc-numpy"] + ["graphc", "graphc-numpy"]
    assert told[1:3] == [("graphc", ("cold",)), ("graphc", ("memory",))]


def test_a_library_that_is_not_there_is_said_to_be_so(monkeypatch):
    monkeypatch.setattr(measuring.Interpreters, "find", lambda self, peer: None)
    monkeypatch.setattr(measuring, "run_job", lambda *given: {"error": {"text": "none"}})
    report = Report({"peers": {}})
    told = []
    measuring.measure(measuring.Plan((("tree", 4),), ("jax",)), report, told.append)
    assert report.about["peers"] == {"jax": "not installed"}
    assert "jax: not installed" in told


def test_adapters_need_nothing_of_graphc(tmp_path):
    """What is put next to another Python's libraries imports by itself, where there is no graphc."""
    path = Interpreters((), str(tmp_path)).path_for("jax")
    code = (
        "import sys, runtime.benchmark.worker as worker, runtime.benchmark.peers as peers;"
        "from runtime.benchmark.families import FAMILIES; FAMILIES['lstm'].make(2);"
        "print([m for m in ('graphc', 'passes', 'llvmlite') if m in sys.modules], worker.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=path, env={**os.environ, "PYTHONPATH": path},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.startswith("[] " + path)


# Counters.

REWRITE = "python -m graphc bench --counters --json benchmarks/baseline.json"


@pytest.mark.skipif(not is_countable(), reason=f"it does not run {COUNTED_CPU}")
def test_no_counter_has_grown():
    """Where a change is worth more than what it counts, the baseline is written anew (see the message)."""
    done = subprocess.run(
        [sys.executable, "-m", "graphc", "bench", "--counters", "--compare", BASELINE],
        capture_output=True, text=True, cwd=ROOT, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\nif that is as it should be: {REWRITE}"


def test_the_baseline_holds_every_family_at_its_small_size():
    baseline = json.loads(BASELINE.read_text())
    assert list(baseline) == ["form", "counts"]
    assert set(baseline["counts"]) == {f"{name} {family.small}" for name, family in FAMILIES.items()}


def test_the_page_says_how_the_baseline_is_written_anew():
    assert REWRITE in (ROOT / "docs" / "benchmark.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("cpu", ["x86-64-v3", "pentium"])
def test_a_level_is_compiled_for_on_request(cpu):
    found = "print(m.level, m.vector_bytes, m.fma)"
    code = f"from runtime.llvm_backend.engine.machine import host; m = host(); {found}"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False,
        env={**os.environ, "GRAPHC_CPU": cpu},
    )  # fmt: skip
    if cpu == "pentium":
        assert "GRAPHC_CPU is x86-64-v2 or x86-64-v3 or x86-64-v4, not 'pentium'" in done.stderr
    else:
        assert done.stdout.split() == [cpu, "32", "True"]


# Charts.


def test_charts_are_well_formed_and_escape_names():
    line = charts.lines({"<a & b>": [(10, 0.1), (1000, 2.0)], "c": [(10, 0.5)]}, "n", "s")
    bar = charts.bars({"n = 10": {"fuse": 0.5, "<b>": 1.0}}, "s", ["plan", "<b>", "fuse"])
    for svg in (line, bar):
        root = ElementTree.fromstring(svg)
        assert root.tag == "svg"
    assert len(ElementTree.fromstring(line).findall("polyline")) == 2
    assert len(ElementTree.fromstring(line).findall("circle")) == 3
    widths = [float(rect.get("width")) for rect in ElementTree.fromstring(bar).findall("rect")[:2]]
    assert widths[1] == pytest.approx(2 * widths[0], rel=0.01)


def test_nothing_to_show_is_no_chart():
    assert (
        charts.lines({}, "n", "s")
        == charts.lines({"a": [(0, 1)]}, "n", "s")
        == charts.bars({}, "s", [])
        == ""
    )


def test_a_stage_has_one_colour_in_all_charts():
    def colours(parts):
        root = ElementTree.fromstring(charts.bars({"n = 1": dict.fromkeys(parts, 1.0)}, "s", ["a", "b", "c"]))
        bars = [rect.get("fill") for rect in root.findall("rect")]
        assert bars[: len(parts)] == bars[len(parts) :]  # those of the bar and those of the legend
        return dict(zip(parts, bars, strict=False))

    one, other = colours(["a", "c"]), colours(["b", "c"])
    assert one["c"] == other["c"]
    assert len({*one.values(), *other.values()}) == 3


def test_reports_are_numbered_evenly():
    series = {"a": [(i, 1.0) for i in range(1, 21)]}
    root = ElementTree.fromstring(charts.lines(series, "report", "s", numbered=True))
    xs = [float(circle.get("cx")) for circle in root.findall("circle")]
    assert {round(y - x, 1) for x, y in pairwise(xs)} <= {17.3, 17.4, 16.5, 16.6}
    one = ElementTree.fromstring(charts.lines({"a": [(1, 1.0)]}, "report", "s", numbered=True))
    assert len(one.findall("circle")) == 1


def test_larger_is_further_up_and_to_the_right():
    root = ElementTree.fromstring(charts.lines({"a": [(10, 0.1), (1000, 10.0)]}, "n", "s"))
    (x0, y0), (x1, y1) = ((float(c.get("cx")), float(c.get("cy"))) for c in root.findall("circle"))
    assert x1 > x0
    assert y1 < y0
