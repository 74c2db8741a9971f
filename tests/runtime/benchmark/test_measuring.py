"""Measuring: which processes there are, in which order, and what becomes of what they tell."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runtime.benchmark import measuring
from runtime.benchmark.processes import Limits
from runtime.benchmark.report import Report


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
    assert [peer for peer, _ in told] == ["graphc"] * 3 + ["graphc-numpy"] + ["graphc"] * 2 + ["graphc-numpy"]
    assert told[1:3] == [("graphc", ("cold",)), ("graphc", ("memory",))]


def test_a_library_that_is_not_there_is_said_to_be_so(monkeypatch):
    monkeypatch.setattr(measuring.Interpreters, "find", lambda self, peer: None)
    monkeypatch.setattr(measuring, "run_job", lambda *given: {"error": {"text": "none"}})
    report = Report({"peers": {}})
    told = []
    measuring.measure(measuring.Plan((("tree", 4),), ("jax",)), report, told.append)
    assert report.about["peers"] == {"jax": "not installed"}
    assert "jax: not installed" in told


@pytest.fixture
def started(monkeypatch):
    """What jobs were started, with the cache each of them sees; what they tell is up to the test."""
    found = []

    def fake(given, python, path, seen, limits):
        found.append((given["peer"], given["size"], tuple(given["parts"]), seen["GRAPHC_CACHE"]))
        return fake.tell(given)

    fake.tell = lambda given: told()
    monkeypatch.setattr(measuring, "run_job", fake)
    monkeypatch.setattr(measuring.Interpreters, "find", lambda self, peer: "python")
    found_and = lambda: found
    found_and.fake = fake
    return found_and


def told(seconds=1.0, **more):
    start = {"seconds": 0.1, "version": "x", "supported": True, "mb": 1}
    return {"start": start, "cold": {"seconds": seconds, "digest": [1, 1, 1]}, **more}


def measured(graphs, **more):
    report = Report({"peers": {}})
    measuring.measure(measuring.Plan(graphs, **more), report, lambda text: None)
    return report


def test_bytecode_is_there_before_anything_is_measured(started):
    measured((("tree", 4),), rounds=1)
    assert [(peer, size) for peer, size, _, _ in started()[:3]] == [
        ("graphc", 1), ("graphc-numpy", 1), ("graphc", 4),
    ]  # fmt: skip


def test_each_round_has_caches_of_its_own_and_only_a_warm_disk_shares_them(started):
    measured((("tree", 4), ("tree", 8)), rounds=2, peers=("jax",))
    caches = [cache for _, _, parts, cache in started()[2:] if parts != ("memory",)]
    twice = {cache for cache in caches if caches.count(cache) == 2}
    assert len(set(caches)) == 12  # three libraries, two sizes, two rounds
    assert {cache[-22:] for cache in twice} == {f"tree-{n}-graphc-{i}/graphc" for n in (4, 8) for i in (0, 1)}


def test_a_warm_disk_is_the_median_of_its_rounds(started):
    """Of two it is the less; the next graph begins anew."""
    seconds, caches = {4: [3.0, 1.0, 5.0], 8: [8.0, 9.0, 7.0]}, []

    def tell(given):
        warm = given["peer"] == "graphc" and started()[-1][3] in caches
        caches.append(started()[-1][3])
        return told(seconds[given["size"]].pop(0)) if warm and given["parts"] == ["cold"] else told()

    started.fake.tell = tell
    report = measured((("tree", 4), ("tree", 8)), rounds=3)
    assert [report.row("tree", n, "graphc")["disk"]["seconds"] for n in (4, 8)] == [3.0, 8.0]
    seconds[4] = [1.0, 5.0]
    assert measured((("tree", 4),), rounds=2).row("tree", 4, "graphc")["disk"]["seconds"] == 1.0


def test_other_libraries_are_not_asked_for_what_they_cannot_tell(started):
    measured((("tree", 4),), rounds=2, peers=("jax",))
    assert [parts for peer, _, parts, _ in started() if peer == "jax"] == [("cold", "hot"), ("cold",)]
    assert [parts for peer, _, parts, _ in started()[2:] if peer == "graphc-numpy"] == [
        ("cold", "again", "hot"), ("cold",),
    ]  # fmt: skip


def test_memory_is_not_traced_where_that_would_exceed_the_limit(started):
    started.fake.tell = lambda given: told(seconds=2.0)
    report = measured((("tree", 4),), rounds=1, limits=Limits(15.9))
    assert "would exceed the limit" in report.row("tree", 4, "graphc")["untraced"]
    assert ("memory",) not in [parts for _, _, parts, _ in started()]
    report = measured((("tree", 4),), rounds=1, limits=Limits(16.1))
    assert "untraced" not in report.row("tree", 4, "graphc")
    assert ("memory",) in [parts for _, _, parts, _ in started()]


def test_trouble_after_a_cold_run_says_of_what_and_larger_graphs_are_tried(started):
    def tell(given):
        return told(error={"text": "gone"}) if given["parts"] == ["cold"] else told()

    started.fake.tell = tell
    report = measured((("tree", 4), ("tree", 8)), rounds=1)
    assert [row["trouble"] for row in report.rows if row["peer"] == "graphc"] == ["disk: gone", "disk: gone"]

    started.fake.tell = lambda given: told(error={"text": "gone"})
    report = measured((("tree", 4), ("tree", 8)), rounds=1)
    assert [row["trouble"] for row in report.rows if row["peer"] == "graphc-numpy"] == ["gone", "gone"]
    assert all(row["cold"] for row in report.rows)


@pytest.fixture
def counted(monkeypatch):
    """What `count` gives, and what each of its processes was asked for, where `tell` says what they tell."""

    def run(graphs, tell):
        asked = []

        def fake(given, python, path, seen, limits):
            asked.append([family for family, _ in given["counts"]])
            assert seen["GRAPHC_CPU"] == "x86-64-v3"
            return tell(given["counts"])

        monkeypatch.setattr(measuring, "run_job", fake)
        return measuring.count([(name, 1) for name in graphs], Limits(7)), asked

    return run


def test_counting_goes_on_after_a_graph_that_exceeds_the_limit(counted):
    """Each has the limit for itself: who shared it with others is tried again, and who did not is not."""

    def tell(graphs):
        if graphs[0][0] == "b":
            return {"error": {"text": "over"}}
        return {"error": {"text": "over"}, **{f"{name} {n}": {"nodes": n} for name, n in graphs[:1]}}

    found, asked = counted("abcd", tell)
    assert asked == [["a", "b", "c", "d"], ["b", "c", "d"], ["c", "d"], ["d"]]
    assert found == {
        "a 1": {"nodes": 1}, "b 1": {"error": "over"}, "c 1": {"nodes": 1}, "d 1": {"nodes": 1},
    }  # fmt: skip


def test_graphs_that_can_all_be_counted_share_a_process(counted):
    found, asked = counted("abc", lambda graphs: {f"{name} {n}": {"nodes": n} for name, n in graphs})
    assert asked == [["a", "b", "c"]]
    assert list(found) == ["a 1", "b 1", "c 1"]
    assert counted("", None) == ({}, [])


def test_what_is_told_is_said_with_how_far_it_is(monkeypatch, started):
    texts = []
    plan = measuring.Plan((("tree", 4), ("wide", 1000)), rounds=1)
    measuring.measure(plan, Report({"peers": {}}), texts.append)
    assert texts[0] == "[1/2] tree 4: graphc cold, again, hot"
    assert texts[-1] == "[2/2] wide 1,000: graphc-numpy cold, again, hot"


@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="children are looked for there")
def test_what_ends_the_benchmark_leaves_what_was_measured_and_nothing_else(tmp_path):
    (tmp_path / "scratch").mkdir()
    options = ["--sizes=4,100000", "--rounds=1", "--json=part.json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "graphc", "bench", "--families=chain", *options],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "TMPDIR": str(tmp_path / "scratch")},
    )  # fmt: skip
    with process, process.stderr:
        while not process.stderr.readline().startswith("[2/2]"):
            assert process.poll() is None
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while not (child := children.read_text().strip()):
            time.sleep(0.01)
        time.sleep(0.3)  # it is being watched now
        process.terminate()
        assert process.stderr.read() == "interrupted: what was measured so far follows\n"
    assert process.returncode == 130
    first, meant, *_ = json.loads((tmp_path / "part.json").read_text())["rows"]
    assert (first["size"], bool(first["cold"]), bool(meant["cold"])) == (4, True, True)
    assert list((tmp_path / "scratch").iterdir()) == []
    assert not Path(f"/proc/{child}").exists()
