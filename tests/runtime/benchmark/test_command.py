"""The command: what it refuses, what it measures, what it writes, what it compares."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from graphc.__main__ import main
from runtime.benchmark import command, crown
from runtime.benchmark.families import FAMILIES
from runtime.benchmark.introspection import COUNTED_CPU, is_countable
from runtime.benchmark.measuring import Plan
from runtime.benchmark.page import render
from runtime.benchmark.processes import Limits
from runtime.benchmark.report import Report, read_history

ROOT = Path(__file__).parents[3]
BASELINE = ROOT / "benchmarks" / "baseline.json"
QUICK = ["bench", "--sizes", "4", "--rounds", "1", "--seconds", "0.001"]
ONE = [*QUICK, "--families", "chain"]  # nothing is counted where its row has no times


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
        (["--json", "one", "--html", "./one"], "--json and --html are both 'one'"),
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


class EnoughError(Exception):
    """The plan is there: nothing is measured."""


def asked(monkeypatch, *given):
    """The plan that is made of what is given."""
    plans = []

    def take(plan, report, tell):
        plans.append(plan)
        raise EnoughError

    monkeypatch.setattr(command, "measure", take)
    with pytest.raises(EnoughError):
        main(["bench", *given])
    return plans[0]


def test_all_options_reach_the_plan(monkeypatch):
    options = ["--families", "wide,chain", "--sizes", "20,3", "--vs", "torch,jax", "--python", sys.executable]
    numbers = ["--rounds", "5", "--seconds", "0.5", "--threads", "3", "--limit", "7", "--memory", "900"]
    assert asked(monkeypatch, *options, *numbers) == Plan(
        (("wide", 3), ("wide", 20), ("chain", 3), ("chain", 20)), ("torch", "jax"), 5, 0.5, 3,
        Limits(7, 900), (sys.executable,),
    )  # fmt: skip


def test_rounds_are_three_and_one_if_it_is_to_be_quick(monkeypatch):
    assert asked(monkeypatch).rounds == 3
    assert asked(monkeypatch, "--crown").rounds == 3
    assert asked(monkeypatch, "--quick").rounds == 1
    assert asked(monkeypatch, "--quick", "--rounds", "2").rounds == 2


def test_bars_are_of_the_families_that_are_asked_for(monkeypatch):
    assert asked(monkeypatch, "--crown", "--families", "fibonacci").graphs == (
        ("fibonacci", 10),
        ("fibonacci", 20),
    )
    assert set(asked(monkeypatch, "--crown").graphs) == set(crown.GRAPHS)
    judged = []
    monkeypatch.setattr(command, "measure", lambda plan, report, tell: None)
    monkeypatch.setattr(command, "count", lambda graphs, limits: {})
    monkeypatch.setattr(crown, "judge", lambda report, bars: judged.extend(bars) or [])
    assert main(["bench", "--crown", "--families", "fibonacci"]) == 0
    assert [bar.family for bar in judged] == ["fibonacci", "fibonacci"]


def test_a_python_is_found_from_where_it_was_named(monkeypatch, tmp_path):
    (tmp_path / "own").symlink_to(sys.executable)
    monkeypatch.chdir(tmp_path)
    (found,) = asked(monkeypatch, "--python", "./own").pythons
    assert found == str(tmp_path / "own")


def test_memory_that_cannot_be_watched_is_no_limit(monkeypatch, capsys):
    monkeypatch.setattr(command, "can_tell_memory", lambda: False)
    assert main(["bench", "--memory", "5"]) == 1
    assert "does not tell" in capsys.readouterr().err


def compared(monkeypatch, tmp_path, before, now, *given):
    """The exit status where the counters were `before` and are `now`, or the cold seconds against NumPy's."""

    def data(found):
        if isinstance(found, dict):
            return {"form": 1, "counts": found}
        rest = {"build": 0.1, "first": 0.1, "cpu": 0.1, "mb": 1.0, "digest": [1, 1, 1]}
        rows = [
            {
                "family": "chain", "size": 4, "peer": peer, "trouble": "", "import": [0.1],
                "cold": [{**rest, "seconds": seconds, "stages": {}, "counts": {}}],
            }
            for peer, seconds in (("graphc", found), ("graphc-numpy", 1.0))
        ]  # fmt: skip
        return {"form": 1, "rows": rows}

    (tmp_path / "old.json").write_text(json.dumps(data(before)))
    monkeypatch.setattr(command, "is_countable", lambda: True)
    monkeypatch.setattr(command, "measure", lambda plan, report, tell: report.rows.extend(data(now)["rows"]))
    monkeypatch.setattr(command, "count", lambda graphs, limits: now if isinstance(now, dict) else {})
    what = ["--counters"] if isinstance(now, dict) else ["--sizes", "4"]
    return main(["bench", *what, "--families", "chain", "--compare", str(tmp_path / "old.json"), *given])


@pytest.mark.parametrize(
    ("before", "now", "given", "status", "told"),
    [
        ({"chain 40": {"a": 5}}, {"chain 40": {"a": 5}}, [], 0, "compared 1 numbers with the baseline: 0"),
        ({"chain 40": {"a": 5}}, {"chain 40": {"a": 4}}, [], 0, "other: chain 40: a was 5 and is 4"),
        ({"chain 40": {"a": 5}}, {"chain 40": {"a": 6}}, [], 1, "worse: chain 40: a was 5 and is 6"),
        ({"wide 20": {"a": 5}}, {"chain 40": {"a": 5}}, [], 1, "nothing of the baseline was measured"),
        ({"chain 40": {}}, {"chain 40": {"a": 5}}, [], 1, "nothing of the baseline was measured"),
        (0.5, 0.74, [], 0, "compared 1 numbers with the baseline: 0"),
        (0.5, 0.76, [], 1, "worse: chain 4: cold / graphc-numpy was 0.5 and is 0.76"),
        (0.5, 0.76, ["--bound", "1.6"], 0, "0 worse"),
        (0.5, 0.6, ["--bound", "1.1"], 1, "1 worse"),
    ],
)  # fmt: skip
def test_what_is_worse_is_told_by_the_exit_status(
    monkeypatch, tmp_path, capsys, before, now, given, status, told
):
    assert compared(monkeypatch, tmp_path, before, now, *given) == status
    assert told in capsys.readouterr().out


def test_a_machine_that_cannot_count_compares_nothing_and_says_so(monkeypatch, tmp_path, capsys):
    (tmp_path / "old.json").write_text('{"form": 1, "counts": {"chain 40": {"a": 5}}}')
    monkeypatch.setattr(command, "is_countable", lambda: False)
    assert main(["bench", "--counters", "--compare", str(tmp_path / "old.json")]) == 0
    assert "which this machine does not run" in capsys.readouterr().err


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
    shares = []
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
            shares.append(sum(wall for wall, _, _ in stages.values()) / row["cold"][0]["seconds"])
            cold, disk, warm = (found["counts"] for found in (row["cold"][0], row["disk"], row["again"]))
            made = ("modules compiled", "IR instructions", "object bytes", "nodes")
            assert all(cold[name] > 0 for name in made)
            assert any(wall != cpu for wall, cpu, _ in stages.values())
            first = stages["first run"][0] + stages["codegen"][0]
            assert row["cold"][0]["first"] >= first > 0
            assert row["cold"][0]["build"] >= stages["build"][0] > 0
            assert "modules compiled" not in {**disk, **warm}
            assert disk["requests recalled from disk"] == disk["requests recognised"] > 0
            assert warm["requests recognised"] > 0
            assert row["memory"]["bytes"] > 0
            distinct, steps = row["cold"][0]["sharing"]
            assert 0 < distinct <= steps
        else:
            assert row["cold"][0]["mb"] < 50  # of the graph alone, not of all that is loaded
        results = {"dynamic_batch": 4, "fibonacci": 1}  # of all batches
        assert row["cold"][0]["digest"][0] == results[row["family"]]
    assert max(shares) <= 1
    assert max(shares) > 0.9  # of one, since a busy machine may stop between two stages
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


def full(path, *_):
    raise OSError(28, "No space left on device", str(path))


def measured(plan, report, tell):
    report.rows.append({"family": "chain", "size": 4, "peer": "graphc", "cold": [], "trouble": "so far"})


def test_a_file_that_cannot_be_written_takes_nothing_else_with_it(tmp_path, monkeypatch, capsys):
    write = command.write_atomically
    monkeypatch.setattr(command, "measure", measured)
    monkeypatch.setattr(
        command, "write_atomically", lambda p, w: (full if p.suffix == ".json" else write)(p, w)
    )
    places = {"--json": "all.json", "--html": "all.html", "--history": "past"}
    given = [x for option, name in places.items() for x in (option, str(tmp_path / name))]
    assert main([*ONE, *given]) == 1
    assert "so far" in (tmp_path / "all.html").read_text()
    out, err = capsys.readouterr()
    assert "so far" in out
    assert err.endswith(f"No space left on device: {tmp_path / 'all.json'}\n")


def test_every_file_that_cannot_be_written_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "measure", measured)
    monkeypatch.setattr(command, "write_atomically", full)
    assert main([*ONE, "--json", str(tmp_path / "a.json"), "--html", str(tmp_path / "b.html")]) == 1
    told = capsys.readouterr().err
    assert str(tmp_path / "a.json") in told
    assert str(tmp_path / "b.html") in told


def test_a_disk_that_fills_while_it_measures_leaves_what_was_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "measure", lambda *given: (measured(*given), full("/tmp/x")))
    assert main([*ONE, "--json", str(tmp_path / "part.json")]) == 1
    assert json.loads((tmp_path / "part.json").read_text())["rows"][0]["trouble"] == "so far"
    assert "so far" in capsys.readouterr().out


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
        ({"chain 40": {"error": "over the limit of 1 s"}}, "over the limit of 1 s"),
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
    assert out.splitlines()[1:] == [
        "worse: chain 40: its counters was 1 and is not there",
        "not measured, so not compared: wide 20",
        "compared 1 numbers with the baseline: 1 worse",
    ]


def test_nothing_is_counted_where_nothing_compiled(monkeypatch, capsys):
    """A wrong reason would be given if the machine were blamed."""

    def failed(plan, report, tell):
        report.rows.append({"family": "chain", "size": 4, "peer": "graphc", "cold": [], "trouble": "none"})

    asked = []
    monkeypatch.setattr(command, "measure", failed)
    monkeypatch.setattr(command, "count", lambda graphs, limits: asked.extend(graphs) or {})
    monkeypatch.setattr(command, "is_countable", lambda: True)
    assert main([*QUICK, "--families", "chain"]) == 0
    out, err = capsys.readouterr()
    assert "chain 4, graphc: none" in out
    assert err == "counters\n"
    assert asked == []


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
