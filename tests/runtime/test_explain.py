"""Answers in the terminal are those of the record."""

import sys

import numpy as np
import pytest

import graphc as gc
from runtime.commands import main
from runtime.dumping import record_for
from runtime.records import answers
from runtime.records.reading import name_of
from runtime.records.timeline import timeline_of

pytest.importorskip("rich")


@pytest.fixture
def record():
    x = gc.placeholder("float32", ("batch", 8), name="x")
    w = gc.Variable(np.ones((8, 4), np.float32), name="layer/w")
    h = gc.tanh(gc.sort((x * 1.0) @ w))
    loss = gc.mean(gc.square(h))
    fetches = [loss, gc.train.SGD(0.1).minimize(loss)]
    return record_for(fetches, {"x": np.ones((64, 8), np.float32)})


def test_the_summary_names_what_was_compiled(record):
    tables = answers.summarize(record)
    rows = dict(row for row in tables[0].rows)
    assert rows["sizes"] == "batch = 64"
    assert rows["nodes"].startswith(str(record["stages"][0]["nodes"]))
    assert "simplify" in {row[0] for row in tables[1].rows}


def test_the_peak_lists_what_is_alive(record):
    (table,) = answers.show_peak(record)
    memory = record["memory"]
    assert str(memory["peak"]["step"]) in table.title
    assert {row[3] for row in table.rows} >= {"f32[8,4]"}
    assert any(row[2] == "variable layer/w" for row in table.rows)
    bytes_there = [memory["cells"][i]["bytes"] for i in memory["peak"]["cells"]]
    assert bytes_there == sorted(bytes_there, reverse=True)
    assert len(table.rows) == len(bytes_there)


def test_the_slowest_are_first_and_have_their_lines(record):
    steps, lines = answers.show_slow(record)
    assert len(steps.rows) >= 2
    assert all(row[5].startswith("test_explain.py:") for row in steps.rows)
    assert any("gc.tanh" in row[3] for row in lines.rows)
    unmeasured = {**record, "profile": None}
    with pytest.raises(gc.ArgumentError, match=r"feeds\(\)"):
        answers.show_slow(unmeasured)


def test_the_run_comes_after_compiling_on_the_timeline(record):
    events = [event for event in timeline_of(record)["traceEvents"] if event["ph"] == "X"]
    compiled = [event for event in events if event["cat"] != "run"]
    run = [event for event in events if event["cat"] == "run"]
    assert max(event["ts"] + event["dur"] for event in compiled) <= run[0]["ts"] * (1 + 1e-9)
    steps = {
        step["number"]: time
        for step, time in zip(record["program"]["steps"], record["profile"]["steps"], strict=True)
    }
    for event in run:
        time = steps[event["args"]["number"]]
        assert event["dur"] == pytest.approx(time["seconds"] * 1e6)
        assert event["ts"] - run[0]["ts"] == pytest.approx(
            (time["begin"] - steps[run[0]["args"]["number"]]["begin"]) * 1e6, abs=1e-3
        )


def test_why_neighbours_did_not_fuse(record):
    pairs, groups = answers.show_fusion(record)
    assert any("sort" in row[1] or "sort" in row[2] for row in pairs.rows)
    assert all(row[3] and row[4].startswith("test_explain.py:") for row in pairs.rows)
    assert groups.rows


def test_a_pair_that_another_way_led_into_one_kernel_is_not_asked_about(record):
    (stage, refused), *_ = (
        (stage, decision)
        for stage in record["stages"]
        for decision in stage["decisions"]
        if decision["kind"] == "fuse" and not decision["accepted"] and len(decision["nodes"]) == 2
    )

    def rows(*more):
        with_more = {**stage, "decisions": [*stage["decisions"], *more]}
        stages = [with_more if each is stage else each for each in record["stages"]]
        return answers.show_fusion({**record, "stages": stages})[0].rows

    groups = {}
    for node, heirs in stage["became"].items():
        for heir in heirs:
            groups.setdefault(heir, []).append(node)
    together = next(nodes for nodes in groups.values() if len(nodes) > 1)[:2]
    assert rows({**refused, "nodes": together}) == rows()
    apart = [together[0], refused["nodes"][0]]
    assert not set(stage["became"][apart[0]]) & set(stage["became"].get(apart[1], [apart[1]]))
    assert len(rows({**refused, "nodes": apart})) == len(rows()) + 1


def test_rules_are_counted(record):
    done, _ = answers.show_folded(record)
    fired = [d for s in record["stages"] for d in s["decisions"] if d["accepted"] and d["kind"] != "fuse"]
    assert sum(int(row[0]) for row in done.rows) == len(fired)
    assert any("x * 1" in row[3] for row in done.rows)


def test_a_gradient_is_followed_from_its_end(record):
    (table,) = answers.show_gradient(record, "layer/w")
    assert table.rows[0][3] == "it is the gradient"
    assert table.rows[0][2] == "f32[8,4]"
    assert len(table.rows) > 2
    with pytest.raises(gc.UnknownNameError, match="did you mean 'layer/w'"):
        answers.show_gradient(record, "layer/v")


SCRIPT = """
import graphc as gc, numpy as np
def build():
    x = gc.placeholder("float32", ("n", 4), name="x [bold]not markup[/bold]")
    w = gc.Variable(np.ones((4, 4), np.float32), name="w")
    return gc.gradients(gc.sum(gc.exp(x @ w)), [w])
def feeds():
    return {"x [bold]not markup[/bold]": np.ones((3, 4), np.float32)}
"""


@pytest.mark.parametrize(
    "option", [[], ["--why-not-fused"], ["--peak"], ["--folded"], ["--slow"], ["--gradient", "w"]], ids=str
)
def test_the_command_prints_tables(option, tmp_path, capsys):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    assert main(["explain", str(path), *option]) == 0
    out = capsys.readouterr().out
    assert out.strip()
    if option == ["--peak"]:
        assert "[bold]not markup[/bold]" in out
    if option == ["--slow"]:
        assert "gc.exp(x @ w)" in out


def test_a_missing_extra_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "rich.console", None)
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    assert main(["explain", str(path)]) == 1
    assert "graphc[explain]" in capsys.readouterr().err


def test_a_variable_is_called_by_its_name():
    name = "\"it's\" \\ 'w'"
    record = record_for([gc.exp(gc.Variable(np.ones(4, np.float32), name=name))])
    assert f"variable {name}" in {row[2] for row in answers.show_peak(record)[0].rows}


def test_an_unknown_gradient_on_the_command_line(tmp_path, capsys):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    assert main(["explain", str(path), "--gradient", "nothing"]) == 1
    assert "no gradient belongs to 'nothing'" in capsys.readouterr().err


def test_those_whose_gradients_are_known_are_told_by_their_names(tmp_path, capsys):
    path = tmp_path / "script.py"
    path.write_text(
        "import graphc as gc\n"
        "w = gc.Variable([1.0, 2.0], name='weights')\n"
        "y = gc.exp(w)\n"
        "for _ in range(20):\n"
        "    y = gc.tanh(y) * gc.sin(y + 1.0)\n"
        "def build():\n"
        "    return gc.gradients(gc.sum(y), [w])\n"
    )
    assert main(["explain", str(path), "--gradient", "zzzz"]) == 1
    assert "there are weights, " in capsys.readouterr().err


def test_a_file_that_is_not_there(tmp_path, capsys):
    for command in (["dump", "-o", str(tmp_path / "x.html")], ["view"], ["explain"], ["bisect"]):
        assert main([command[0], str(tmp_path / "nothing.json"), *command[1:]]) == 1
        assert capsys.readouterr().err == f"No such file or directory: {tmp_path / 'nothing.json'}\n"


def test_what_was_compiled_before_is_not_called_quick(record):
    found = {"seconds": 2e-4, "parts": [{"name": "recognise", "begin": 0.0, "seconds": 2e-4}]}
    made = {"seconds": 0.5, "parts": [{"name": "simplify", "begin": 0.0, "seconds": 0.1}]}
    for compiled, text in ((found, "200 us, found compiled in a cache"), (made, "500 ms")):
        rows = dict(answers.summarize({**record, "compile": compiled})[0].rows)
        assert rows["compiling"] == text


HOSTILE = "\x1b[31mred\x1b]0;title\x07\x9b2J\u202egnp.exe"


@pytest.mark.parametrize(
    "option", [[], ["--peak"], ["--folded"], ["--why-not-fused"], ["--gradient", "none"]]
)
def test_no_name_controls_the_terminal(option, tmp_path, capsys):
    with gc.Graph(seed=0).as_default():
        w = gc.Variable(np.ones((4, 4), np.float32), name=HOSTILE)
        x = gc.placeholder("float32", ("n", 4), name=f"x{HOSTILE}")
        gc.dump(gc.gradients(gc.sum(gc.sort(x @ w) * 1.0), [w]), tmp_path / "x.json", title=HOSTILE)
    main(["explain", str(tmp_path / "x.json"), *option])
    shown = "".join(capsys.readouterr())
    assert not set(shown) & set("\x1b\x07\x9b\u202e")
    if option not in (["--folded"], ["--why-not-fused"]):
        assert "\\u001b[31mred" in shown


def test_a_name_that_is_no_literal_is_shown_as_it_is():
    node = {"name": None, "op": "variable", "attrs": {"name": "not a literal"}}
    assert name_of(node) == "not a literal"
