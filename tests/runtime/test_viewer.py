"""The viewer in a browser: passes, comparisons, boxes, pictures; and that nothing of a record runs."""

import json
import re
from itertools import pairwise

import numpy as np
import pytest

import graphc as gc
from passes.delta import state_at
from runtime.dumping import record_for
from tests.runtime.viewing import (
    HOSTILE,
    changed,
    dense,
    find,
    large,
    picture,
    settings,
    settled,
    statuses,
    training_step,
    until,
)


def test_the_slider_goes_through_the_passes(view, record):
    page = view(record)
    assert settings(page)["pass"] == 0  # what the user wrote
    stages = record["stages"]
    ticks = page.locator(".tick")
    assert ticks.count() == len(stages)
    idle = [i for i in range(len(stages)) if "idle" in ticks.nth(i).get_attribute("class")]
    assert idle == [i for i in range(len(stages)) if not page.evaluate("i => viewer.app.trace.changes(i)", i)]
    widths = page.evaluate("[...document.querySelectorAll('.tick')].map(tick => tick.offsetWidth)")
    seconds = [stage["seconds"] for stage in stages]
    assert widths[seconds.index(max(seconds))] == max(widths)
    ticks.nth(3).click()
    assert settings(page)["pass"] == 3
    assert stages[3]["name"].replace("_", " ") in page.locator("#where").inner_text()
    page.keyboard.press("Home")
    assert settings(page)["pass"] == 0
    for i in changed(record)[1:]:
        page.keyboard.press("n")
        while settings(page)["pass"] != i:  # passes that changed only what is given back come between
            assert settings(page)["pass"] < i
            page.keyboard.press("n")
        settled(page)
        delta = stages[i]["delta"]
        assert statuses(page).get("added", 0) >= bool(delta["added"])
    page.keyboard.press("ArrowLeft")
    assert settings(page)["pass"] == changed(record)[-1] - 1


def test_a_pass_shows_what_is_new_gone_and_changed(view, record):
    at = next(i for i in changed(record) if record["stages"][i]["name"] == "simplify")
    delta = record["stages"][at]["delta"]
    page = view(record, link=f"#pass={at}")
    found = statuses(page)
    assert found.get("added", 0) == len(delta["added"])
    assert found.get("removed", 0) == len(delta["removed"])
    picture(page, "pass-light")
    page.keyboard.press("t")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    settled(page)
    picture(page, "pass-dark")


def test_what_survives_keeps_its_place(view, record):
    page = view(record, link="#pass=0")
    where = "[...viewer.app.scene.of].map(([uid, s]) => [uid, s.item.id, s.x, s.y])"
    before = {uid: rest for uid, *rest in page.evaluate(where)}
    for _ in record["stages"][1:]:
        page.keyboard.press("ArrowRight")
        settled(page)
        now = {uid: rest for uid, *rest in page.evaluate(where)}
        together = [uid for uid in before.keys() & now.keys() if before[uid][0] == now[uid][0]]
        assert together
        assert all(before[uid] == now[uid] for uid in together)


def test_rewrite_by_rewrite(view, record):
    at, stage = next(
        (i, s) for i, s in enumerate(record["stages"]) if [r for r in s["rewrites"] if not r["inside"]]
    )
    rewrites = [r for r in stage["rewrites"] if not r["inside"]]
    page = view(record, link=f"#pass={at}")
    for number, rewrite in enumerate(rewrites, 1):
        page.keyboard.press(".")
        until(page, "n => viewer.app.settings.rewrite === n", number)
        here = page.locator(".rewrites li.here")
        here.wait_for()
        assert rewrite["equation"].replace("``", "").rstrip(".") in here.inner_text()
        assert rewrite["before"] != rewrite["after"]
    settled(page)
    before, after = page.evaluate(
        f"[[...viewer.app.trace.state({at - 1}).keys()], [...viewer.app.picture.keys()]]"
    )
    assert rewrites[0]["before"] in before
    assert rewrites[-1]["after"] in after
    page.keyboard.press(",")
    until(page, "n => viewer.app.settings.rewrite === n", len(rewrites) - 1)


def test_any_two_points_are_compared(view, record):
    page = view(record, link=f"#pass={len(record['stages']) - 1}")
    last = len(record["stages"]) - 1
    page.select_option("#base", "0.0")
    until(page, "viewer.app.settings.base === '0.0'")
    settled(page)
    first, final = (set(state_at(record["stages"], i)["nodes"]) for i in (0, last))
    top = page.evaluate(
        "[...viewer.app.picture.values()].filter(s => s.status === 'removed').map(s => s.node.id)"
    )
    inside = page.evaluate("[...viewer.app.picture.values()].filter(s => s.node.parent).map(s => s.node.uid)")
    assert set(top) == first - final - set(inside)
    assert page.locator(".tick.base").count() == 1
    page.keyboard.press("d")
    assert settings(page)["base"] == "previous"


def test_two_records_are_compared(view, record):
    other = training_step(width=9, activation=gc.tanh) | {"title": "another"}
    page = view(record, other, link="#pass=0&base=0.0")
    assert page.locator("#record").is_visible()
    found = statuses(page)
    names = "[...viewer.app.picture.values()].filter(s => s.status === '{}').map(s => s.node.op)"
    assert "tanh" in page.evaluate(names.format("added")) + page.evaluate(names.format("changed"))
    assert "relu" in page.evaluate(names.format("removed"))
    assert found["same"] > 3
    assert found.get("changed", 0) > 0
    assert "record 1" in page.locator("#tally").inner_text()
    picture(page, "two-records")
    same = view(record, record, link="#pass=0&base=0.0")
    assert set(statuses(same)) == {"same"}


def test_lenses_hold_nodes_in_boxes_that_open(view, record):
    page = view(record, link="#pass=0")
    items = "[...viewer.app.tree.items.values()].filter(i => i.children.length && i.id)"
    boxes = f"{items}.map(i => [i.kind, i.label])"
    assert {"hidden", "scores"} <= {label for kind, label in page.evaluate(boxes) if kind == "scope"}
    page.keyboard.press("3")
    until(page, "viewer.app.tree && viewer.app.settings.lens === 'line'")
    settled(page)
    assert all(label.startswith("viewing.py:") for kind, label in page.evaluate(boxes) if kind == "line")
    page.keyboard.press("2")
    settled(page)
    assert any(kind == "group" for kind, label in page.evaluate(boxes))
    few = page.evaluate("viewer.app.scene.sprites.length")
    page.keyboard.press("e")
    settled(page)
    assert page.evaluate("viewer.app.scene.sprites.length") > few
    page.keyboard.press("w")
    settled(page)
    assert page.evaluate("viewer.app.scene.sprites.length") <= few
    picture(page, "fusion")


def test_repeated_cells_are_folded(view):
    with gc.Graph(seed=0).as_default():
        h = gc.placeholder("float32", ("n", 4), name="x")
        w = gc.Variable(np.eye(4, dtype=np.float32), name="w")
        for _ in range(50):
            h = gc.tanh(gc.matmul(h, w) * 2.0 + gc.sin(h))
        flat = gc.record([h])
        for i in range(5):
            h = gc.nn.relu(dense(h, 4, f"layer{i}"))
        scoped = gc.record([h])
    labels = "[...viewer.app.tree.items.values()].filter(i => i.kind === 'cells').map(i => i.label)"
    assert view(flat, link="#pass=0").evaluate(labels) == ["cell \u00d750"]
    page = view(scoped, link="#pass=0")
    assert "layer \u00d75" in page.evaluate(labels)
    picture(page, "cells")


@pytest.mark.parametrize("colour", ["op", "dtype", "flops", "bytes", "time"])
def test_colours_have_a_legend(view, record, colour):
    page = view(record, link=f"#colour={colour}")
    assert page.locator("#legend li").count() >= 1
    schemes = "[...new Set([...viewer.app.picture.values()].map(s => viewer.app.scheme.of(s.node)))]"
    assert len([c for c in page.evaluate(schemes) if c]) >= 2


def test_pictures_are_saved(view, record, tmp_path):
    page = view(record, link="#pass=0")
    with page.expect_download() as download:
        page.keyboard.press("g")
    download.value.save_as(tmp_path / "x.svg")
    svg = (tmp_path / "x.svg").read_text(encoding="utf-8")
    assert svg.startswith("<svg ")
    assert ">loss<" in svg or "mean" in svg
    with page.expect_download() as download:
        page.keyboard.press("G")
    download.value.save_as(tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_everything_by_key_and_the_help_says_so(view, record):
    page = view(record)
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    assert page.locator("#help kbd").count() >= 30
    page.keyboard.press("Escape")
    assert not page.locator("#help").is_visible()
    page.keyboard.press("v")
    settled(page)
    rows = page.locator("#table tbody tr").count()
    assert rows == page.evaluate("viewer.app.picture.size")
    page.keyboard.press("v")
    page.keyboard.press("]")
    until(page, "viewer.app.settings.node !== null")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("c")
    assert settings(page)["colour"] == "dtype"
    page.keyboard.press("k")
    assert settings(page)["places"] == "packed"
    scale = page.evaluate("viewer.app.camera.scale")
    page.keyboard.press("+")
    assert page.evaluate("viewer.app.camera.scale") > scale


@pytest.mark.parametrize(("width", "height"), [(1024, 700), (420, 800)])
def test_small_screens(view, record, width, height):
    page = view(record)
    page.set_viewport_size({"width": width, "height": height})
    settled(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("#canvas").bounding_box()["height"] > 120
    picture(page, f"small-{width}")


def test_nothing_of_a_record_runs(view, record):
    hostile = json.loads(json.dumps(record))
    hostile["title"] = HOSTILE
    for stage in hostile["stages"]:
        for node in (*stage["delta"]["added"].values(), *stage["delta"]["changed"].values()):
            node.update(name=HOSTILE, source=HOSTILE, file=HOSTILE, scope=f"{HOSTILE}/x")
            node["attrs"]["value"] = HOSTILE
        for decision in stage["decisions"]:
            decision.update(subject=HOSTILE, reason=HOSTILE, at=HOSTILE)
        for rewrite in stage["rewrites"]:
            rewrite.update(rule=HOSTILE, equation=HOSTILE, at=HOSTILE)
    for kernel in hostile["kernels"]:
        kernel.update(name=HOSTILE, ir=HOSTILE, llvm=HOSTILE, assembly=HOSTILE)
    page = view(hostile, link="#pass=0")
    for key in ("]", "1", "2", "3", "m", "s", "v", "v", "n", ".", "]", "?"):
        page.keyboard.press(key)
        settled(page)
    page.keyboard.press("Escape")
    page.fill("#search", HOSTILE)
    until(page, "viewer.app.settings.q !== ''")
    page.evaluate("viewer.app.select([...viewer.app.picture.keys()][0])")
    assert "</script><script>" in page.locator("#panel").inner_text()
    assert page.evaluate("window.hacked") is None
    assert page.locator("img").count() == 0
    parsed = "new DOMParser().parseFromString(viewer.svg(), 'image/svg+xml')"
    assert page.evaluate(f"{parsed}.querySelector('img, script, parsererror')") is None
    picture(page, "hostile")


def test_a_variable_is_called_by_its_name_in_the_scope_of_that(view):
    scope = 'it\'s "it" \\ a\nb\u2028'
    names = [f"{scope}/{name}" for name in ("w", "\\", "\u0416\x07\t", "'\U0001f600\"")]
    with gc.Graph().as_default():
        record = record_for([gc.add_n([gc.Variable([1.0], name=name).value() for name in names])])
    page = view(json.loads(json.dumps(record)), link="#pass=0")
    place = "viewer.app.tree.items.get(viewer.app.tree.place(viewer.app.picture.get(id).node))"
    for name, id in zip(names, find(record, 0, op="variable"), strict=True):
        labels = page.evaluate(f"id => [{place}.parent.label, {place}.label]", id)
        assert labels == [scope, name]


def test_records_of_passes_alone_and_of_old(view):
    with gc.Graph(seed=0).as_default():
        record = gc.record([gc.exp(gc.placeholder("float32", (2,), name="x")) * 1.0])
    plain = {"format": 1, "backend": "numpy", "stages": []}
    for stage in json.loads(json.dumps(record))["stages"]:
        for key in ("rewrites", "passing", "became"):
            stage.pop(key, None)
        for node in (*stage["delta"]["added"].values(), *stage["delta"]["changed"].values()):
            for key in ("dtype", "shape", "scope", "gradient", "flops", "bytes", "result_bytes"):
                node.pop(key, None)
        plain["stages"].append(stage)
    page = view(plain, link="#pass=0")
    for key in ("]", "2", "3", "m", "s", "c", "c", "c", "c", "n", ".", "v"):
        page.keyboard.press(key)
        settled(page)
    assert "no program" in page.locator("#drawer").inner_text()


def test_fifty_thousand_nodes(view):
    page = view(large(50_000), link="#pass=1", timeout=60_000)
    counted = "({...viewer.board.counters, ...viewer.app.counters, sprites: viewer.app.scene.sprites.length})"
    first = page.evaluate(counted)
    assert first["layouts"] == 1
    assert first["sprites"] <= 600  # the folded view is laid out first
    assert statuses(page) == {"same": 49_500, "changed": 500}
    page.evaluate("viewer.app.openAll(true)")
    until(page, "viewer.app.scene.sprites.length > 50000")
    page.evaluate("viewer.app.camera.scale = 1; viewer.app.camera.pan(-500, -500)")
    settled(page)
    before = page.evaluate(counted)
    for _ in range(10):
        page.evaluate("viewer.app.camera.pan(-40, -25); new Promise(requestAnimationFrame)")
    after = page.evaluate(counted)
    assert after["paints"] > before["paints"]
    assert (after["layouts"], after["scenes"]) == (before["layouts"], before["scenes"])  # panning only draws
    assert after["items"] < 2_000  # of 50,000: those in view
    page.evaluate("viewer.app.fit()")
    page.evaluate("new Promise(requestAnimationFrame)")
    picture(page, "large")


@pytest.mark.parametrize("fetches", [lambda x: [x], lambda x: [gc.constant(3.0)]], ids=["fed", "constant"])
def test_programs_without_steps(view, fetches):
    with gc.Graph(seed=0).as_default():
        record = record_for(fetches(gc.placeholder("float32", ("n",), name="x")))
    assert record["memory"]["peak"] is None
    page = view(record)
    assert page.locator("#panel h1").inner_text() == "define"
    page.keyboard.press("m")
    assert "no peak" in page.locator("#drawer").inner_text()
    page.keyboard.press("s")
    assert "no program" in page.locator("#drawer").inner_text()


def test_opening_where_nothing_can_be_opened(view):
    with gc.Graph(seed=0).as_default():
        record = gc.record([gc.placeholder("float32", ("n",), name="x") * 2.0])
    page = view(record)
    for key in ("w", "e", "e", "w"):
        page.keyboard.press(key)
        settled(page)
        assert page.evaluate("viewer.app.scene.sprites.length") >= 2


def test_a_pass_says_what_is_given_back_since(view, record):
    stages = record["stages"]
    at = next(
        i
        for i, (a, b) in enumerate(pairwise(stages), 1)
        if set(a["delta"]["effects"]) != set(b["delta"]["effects"]) and i not in changed(record)
    )
    page = view(record, link=f"#pass={at}")
    assert "Run for its effect now: assign" in page.locator("#panel").inner_text()
    assert "idle" not in page.locator(".tick").nth(at).get_attribute("class")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_new_is_green_gone_is_red_and_changed_is_amber(view, record, theme):
    at = next(i for i in changed(record) if record["stages"][i]["name"] == "simplify")
    page = view(record, link=f"#pass={at}&theme={theme}")
    page.evaluate("viewer.app.openAll(true)")
    settled(page)
    svg = page.evaluate("viewer.svg()")
    signs = {"added": "+", "removed": "\u2212", "changed": "~"}
    for status, sign in signs.items():
        red, green, blue = bytes.fromhex(page.evaluate(f"viewer.app.theme.{status}")[1:])
        drawn = set(re.findall(rf'fill="(#\w+)"[^>]*>{re.escape(sign)}</text>', svg))
        assert drawn == {f"#{red:02x}{green:02x}{blue:02x}"}
        assert {"added": green > red, "removed": red > 1.8 * green, "changed": red > green > 1.5 * blue}[
            status
        ]
    dashed = re.findall(r'<rect [^>]*stroke="(#\w+)"[^>]*stroke-dasharray', svg)
    assert set(dashed) == {page.evaluate("viewer.app.theme.removed")}
