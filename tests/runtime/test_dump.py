"""Dumps by suffix: whole files or none, whatever names and sizes the graph has."""

import errno
import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import graphc as gc
from graphc import atomic
from graphc.drawing.picture import draw_svg
from graphc.text import as_function
from runtime.commands import main
from runtime.records.timeline import timeline_of

SVG = "{http://www.w3.org/2000/svg}"
NASTY = "</script><svg onload=alert(1)> \"q\" 'q' & \U0001f980 \x01 \ud7ff"


def network():
    x = gc.placeholder("float32", ("batch", 8), name="x")
    with gc.name_scope("hidden"):
        w = gc.Variable(np.ones((8, 4), np.float32), name="w")
        h = gc.nn.relu(x @ w, name="h")
    loss = gc.mean(gc.nn.softmax(h))
    return {"loss": loss, "train": gc.train.SGD(0.1).minimize(loss)}


FEEDS = {"x": np.ones((5, 8), np.float32)}


def boxes(svg):
    root = ET.fromstring(svg)
    return list(root.iter(f"{SVG}g"))


@pytest.mark.parametrize("suffix", [".gir", ".dot", ".svg", ".json", ".html", ".trace.json"])
def test_every_form_of_a_function_and_of_a_graph(tmp_path, suffix, graph):
    fetches = network()
    gc.dump(fetches, tmp_path / f"a{suffix}")
    gc.dump(gc.optimize(fetches), tmp_path / f"b{suffix}")
    gc.dump(graph, tmp_path / f"c{suffix}")
    for name in "abc":
        assert (tmp_path / f"{name}{suffix}").stat().st_size > 100
    left = [p.name for p in tmp_path.iterdir() if not p.name.endswith((suffix, ".npz"))]
    assert not left


def test_the_record_is_of_the_sizes_that_are_fed(tmp_path):
    gc.dump(network(), tmp_path / "a.json", FEEDS, title="mine")
    record = json.loads((tmp_path / "a.json").read_text())
    assert record["title"] == "mine"
    assert record["sizes"] == {"batch": 5}
    assert record["sizes_are"] == "fed"
    assert record["profile"]["runs"] > 0
    assert all(kernel["assembly"] for kernel in record["kernels"])
    fed = [cell for cell in record["memory"]["cells"] if cell["kind"] == "fed"]
    assert [cell["bytes"] for cell in fed] == [5 * 8 * 4]


def test_what_is_dumped_is_what_a_session_compiles(tmp_path):
    fetches = network()["loss"]
    gc.dump(fetches, tmp_path / "x.json", backend="llvm")
    dumped = json.loads((tmp_path / "x.json").read_text())
    with gc.Session(backend="llvm") as session:
        compiled = session.compile(fetches, ["x"]).record
    assert [k["name"] for k in dumped["kernels"]] == [k["name"] for k in compiled["kernels"]]
    assert len(dumped["program"]["steps"]) == len(compiled["program"]["steps"])


def test_an_executable_and_a_record_are_dumped(tmp_path):
    fetches = network()
    with gc.Session(backend="numpy") as session:
        executable = session.compile(fetches, ["x"])
    for suffix in (".json", ".svg", ".gir"):
        gc.dump(executable, tmp_path / f"e{suffix}")
    record = json.loads((tmp_path / "e.json").read_text())
    assert record["backend"] == "numpy"
    gc.dump(record, tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text()) == record
    with pytest.raises(gc.ArgumentError, match="a record is written as"):
        gc.dump(record, tmp_path / "r.svg")


def test_an_unknown_suffix_is_refused_before_anything_runs(tmp_path):
    with pytest.raises(gc.ArgumentError, match=r"'\.doc'; known are \.gir, \.dot, \.svg, \.json"):
        gc.dump(network(), tmp_path / "x.doc")


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere.x\.svg"):
        gc.dump(network(), tmp_path / "nowhere" / "x.svg")


@pytest.mark.parametrize("suffix", [".svg", ".json", ".html"])
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, suffix):
    target = tmp_path / f"x{suffix}"
    target.write_text("old")

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        gc.dump(network(), target)
    assert caught.value.filename == str(target)
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == [target.name]


# Pictures.


def test_a_picture_shows_every_node_and_escapes_names():
    x = gc.placeholder("float32", (2,), name=NASTY)
    svg = draw_svg(as_function(gc.exp(gc.sin(x), name="out")))
    assert "<script" not in svg
    assert "onload=alert(1)>" not in svg
    titles = [g.find(f"{SVG}title").text for g in boxes(svg)]
    assert len(titles) == 3
    assert "\U0001f980" in titles[0]
    assert "</script>" in titles[0]
    assert titles[2].startswith("exp out : f32[2]")


def test_a_picture_is_the_same_every_time():
    function = as_function(network())
    assert draw_svg(function) == draw_svg(function)


def test_boxes_of_a_layer_do_not_overlap_and_edges_run_down():
    svg = draw_svg(gc.optimize(network()))
    rects = []
    for g in boxes(svg):
        r = g.find(f"{SVG}rect")
        rects.append([float(r.get(key)) for key in ("x", "y", "width", "height")])
    apart = 0
    for i, (x, y, w, h) in enumerate(rects):
        for a, b, c, d in rects[:i]:
            outside = x >= a + c or a >= x + w or y >= b + d or b >= y + h
            nested = (x >= a and y >= b and x + w <= a + c and y + h <= b + d) or (
                a >= x and b >= y and a + c <= x + w and b + d <= y + h
            )
            assert outside or nested
            apart += outside
    assert apart


def test_bodies_and_scopes_are_boxes_around_boxes():
    x = gc.placeholder("float32", (4,), name="x")
    with gc.name_scope("outer"):
        y = gc.exp(gc.sin(x))
    z = gc.cond(gc.sum(y) > 0.0, lambda: y * 2.0, lambda: -y)
    svg = draw_svg(as_function(z))
    titles = [g.find(f"{SVG}title").text for g in boxes(svg)]
    assert "name scope outer" in titles
    assert {"then", "orelse"} <= set(titles)


def test_a_scope_that_is_left_and_entered_again_is_no_box():
    x = gc.placeholder("float32", (4,), name="x")
    with gc.name_scope("part"):
        y = gc.exp(x)
    z = gc.sin(y)
    with gc.name_scope("part/"):
        w = gc.cos(z)
        v = gc.tanh(w + y)
    titles = [g.find(f"{SVG}title").text for g in boxes(draw_svg(as_function(v)))]
    assert "name scope part" not in titles


def test_what_is_too_large_is_folded_line_by_line_or_refused():
    x = gc.placeholder("float32", (4,), name="x")
    y = x
    for _ in range(1000):
        y = gc.sin(y)
        y = y * 2.0
    svg = draw_svg(as_function(y))
    assert len(boxes(svg)) < 20
    texts = [text.text for text in ET.fromstring(svg).iter(f"{SVG}text")]
    assert any("x1000" in text for text in texts)
    with pytest.raises(gc.ArgumentError, match=r"too many for one picture.*html"):
        draw_svg(as_function(y), most=2)


def test_empty_graphs_and_sizes(tmp_path):
    gc.dump([], tmp_path / "empty.svg")
    ET.parse(tmp_path / "empty.svg")
    gc.dump([], tmp_path / "empty.json")
    nothing = gc.exp(gc.placeholder("float32", (0, 3), name="none"))
    gc.dump(nothing, tmp_path / "zero.json", {"none": np.zeros((0, 3), np.float32)})
    gc.dump(nothing, tmp_path / "zero.html")


def test_a_hundred_thousand_nodes(tmp_path):
    x = gc.placeholder("float32", (4,), name="x")
    y = x
    for _ in range(100_000):
        y = gc.sin(y)
    gc.dump(y, tmp_path / "deep.svg")
    assert len(boxes((tmp_path / "deep.svg").read_text())) == 2
    for _ in range(80_000):
        y = y.inputs[0]
    record = gc.record(y, pipeline=())
    assert record["stages"][0]["nodes"] == 20_001


# Timelines.


def test_a_timeline_has_compiling_and_the_run(tmp_path):
    gc.dump(network(), tmp_path / "x.trace.json", FEEDS)
    events = json.loads((tmp_path / "x.trace.json").read_text())["traceEvents"]
    tracks = {e["args"]["name"]: e["tid"] for e in events if e["name"] == "thread_name"}
    assert set(tracks) == {"compile", "passes, one by one", "run"}
    for track in tracks.values():
        own = [e for e in events if e["ph"] == "X" and e["tid"] == track]
        assert own
        assert all(e["ts"] >= 0 and e["dur"] >= 0 for e in own)
    run = [e for e in events if e["ph"] == "X" and e["tid"] == tracks["run"]]
    assert all(e["args"]["at"] is None or "test_dump.py" in e["args"]["at"] for e in run)
    assert json.dumps(timeline_of(gc.record(network())))


# The command line.


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(
        "import graphc as gc, numpy as np\n"
        "def build():\n"
        "    x = gc.placeholder('float32', ('n', 3), name='x')\n"
        "    return gc.exp(x) * 2.0\n"
        "def feeds():\n"
        "    return {'x': np.ones((7, 3), np.float32)}\n"
    )
    return path


def test_dump_and_view_on_the_command_line(tmp_path, script, capsys):
    assert main(["dump", str(script), "-o", str(tmp_path / "r.json")]) == 0
    record = json.loads((tmp_path / "r.json").read_text())
    assert record["title"] == "script.py"
    assert record["sizes"] == {"n": 7}
    assert main(["view", str(tmp_path / "r.json"), "--no-open", "-o", str(tmp_path / "v.html")]) == 0
    other = [str(tmp_path / "r.json"), str(script)]
    assert main(["view", *other, "--no-open", "-o", str(tmp_path / "two.html")]) == 0
    assert "exp" in (tmp_path / "v.html").read_text()
    assert main(["dump", str(script), "-o", str(tmp_path / "g.gir")]) == 0
    capsys.readouterr()
    assert main(["dump", str(tmp_path / "g.gir")]) == 0
    assert "exp(%x)" in capsys.readouterr().out


def test_a_graph_file_is_optimized_like_a_script(tmp_path, script, capsys):
    script.write_text(script.read_text().replace("gc.exp(x) * 2.0", "-(-gc.exp(x)) * 1.0"))
    assert main(["dump", str(script), "-o", str(tmp_path / "g.gir")]) == 0
    for source in (script, tmp_path / "g.gir"):
        assert main(["dump", str(source), "--optimized"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split(" :")[0].strip() for line in lines[1:-1]] == ["%0 = exp(%x)", "return %0"]


def test_view_opens_a_browser_with_the_page(tmp_path, script, monkeypatch, capsys):
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda url: opened.append(url) or True)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert main(["view", str(script)]) == 0
    (url,) = opened
    assert url.startswith("file://")
    assert capsys.readouterr().out.strip() in url.replace("%20", " ")


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "is no record"), ("[]", "it has no stages"), ('{"stages": [1], "format": 1}', "has format 1")],
)
def test_what_is_no_record_is_refused(tmp_path, capsys, content, message):
    path = tmp_path / "x.json"
    path.write_text(content)
    assert main(["view", str(path), "--no-open"]) == 1
    assert message in capsys.readouterr().err


def test_a_script_without_build_is_refused(tmp_path, capsys):
    path = tmp_path / "x.py"
    path.write_text("")
    assert main(["dump", str(path), "-o", str(tmp_path / "x.html")]) == 1
    assert "has no function build()" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["dump", "view", "explain"])
def test_a_folder_is_no_script(tmp_path, capsys, command):
    assert main([command, str(tmp_path)]) == 1
    assert f"Is a directory: {tmp_path}" in capsys.readouterr().err


def test_a_folder_that_is_not_there_on_the_command_line(tmp_path, script, capsys):
    assert main(["dump", str(script), "-o", str(tmp_path / "no" / "x.svg")]) == 1
    assert "x.svg" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".json", ".html", ".trace.json"])
def test_a_rank_that_only_a_value_gives_asks_for_feeds(suffix, tmp_path):
    x = gc.placeholder("float32", name="anything")
    path = tmp_path / f"record{suffix}"
    with pytest.raises(gc.FeedError, match=r"rank of placeholder 'anything'.*give feeds="):
        gc.dump(gc.exp(x), path)
    assert not path.exists()
    gc.dump(gc.exp(x), path, feeds={x: [1.0, 2.0]})
    assert path.exists()
