"""The viewer in a browser: what it tells of a node, finds, and shows of memory and schedule."""

import pytest

import graphc as gc
from passes.delta import state_at
from tests.runtime.viewing import click_node, find, picture, settings, settled, until


def test_a_click_shows_a_node_its_line_and_its_neighbours(view, record):
    page = view(record, link="#pass=0")
    (id,) = find(record, 0, name="loss")
    click_node(page, id)
    panel = page.locator("#panel").inner_text()
    assert "mean" in panel
    assert "viewing.py:" in panel
    assert "gc.losses.mean_squared_error(labels=y" in panel
    assert "Operands" in panel
    page.locator("#panel .links .node-link").first.click()
    assert settings(page)["node"] != id
    assert f"node={settings(page)['node']}" in page.evaluate("location.hash")


@pytest.mark.parametrize(
    ("text", "test"),
    [
        ("matmul", lambda n: "matmul" in n["op"] or "matmul" in (n["source"] or "")),
        ('op == "matmul"', lambda n: n["op"] == "matmul"),
        ('bytes > 100 and op == "matmul"', lambda n: n["op"] == "matmul" and n["bytes"] > 100),
        ("not (flops < 10) or rank == 0", lambda n: n["flops"] >= 10 or n["shape"] == []),
        ("name ~ hidden/w", lambda n: "hidden/w" in str((n["name"], n["attrs"]))),
        ("rank < 1", lambda n: n["shape"] == []),
        ("rank <= 1", lambda n: n["shape"] is not None and len(n["shape"]) <= 1),
        ("rank > 1", lambda n: n["shape"] is not None and len(n["shape"]) > 1),
        ("rank >= 1 and rank != 2", lambda n: n["shape"] is not None and len(n["shape"]) == 1),
        ("line >= 20 and op != 'add'", lambda n: (n["line"] or 0) >= 20 and n["op"] != "add"),
    ],
)
def test_search(view, record, text, test):
    page = view(record, link="#pass=0")
    page.keyboard.press("/")
    page.keyboard.type(text)
    page.keyboard.press("Enter")
    until(page, "text => viewer.app.settings.q === text", text)
    nodes = state_at(record["stages"], 0)["nodes"]
    found = page.evaluate("viewer.app.matches")
    assert set(found) == {id for id, node in nodes.items() if test(node)}
    assert found
    assert f"{len(found)} found" in page.locator("#found").inner_text()
    until(page, "viewer.app.settings.node !== null")
    assert settings(page)["node"] in found


def test_a_wrong_search_says_what_is_wrong(view, record):
    page = view(record)
    for text, words in (
        ("bytes > ", "expected a value"),
        ("(op == 'add'", "parenthesis"),
        ("op = ) 1", "a value"),
    ):
        page.fill("#search", text)
        until(page, "text => viewer.app.settings.q === text", text)
        assert words in page.locator("#found").inner_text()
    page.fill("#search", "op == constructor or name == alert(1)")
    until(page, "viewer.app.trouble !== ''")


def test_a_link_brings_all_of_it_back(view, record):
    (id,) = find(record, 0, name="loss")
    page = view(
        record, link=f"#pass=0&node={id}&lens=line&colour=bytes&q=matmul&drawer=memory&cone=in&theme=dark"
    )
    now = settings(page)
    assert (now["pass"], now["node"], now["lens"], now["colour"]) == (0, id, "line", "bytes")
    assert (now["q"], now["drawer"], now["cone"], now["theme"]) == ("matmul", "memory", "in", "dark")
    page.evaluate("location.hash = '#pass=1&lens=fusion'")
    until(page, "viewer.app.settings.lens === 'fusion'")
    assert settings(page)["pass"] == 1
    page.evaluate("location.hash = '#pass=999&lens=<b>&base=9.9&node=%3Cimg%20src=x%20onerror=alert(1)%3E'")
    until(page, "viewer.app.settings.pass > 1")
    assert settings(page)["pass"] == len(record["stages"]) - 1


def test_cones_and_paths(view, record):
    page = view(record, link="#pass=0")
    nodes = state_at(record["stages"], 0)["nodes"]
    (loss,) = find(record, 0, name="loss")
    (x,) = find(record, 0, op="placeholder", name="x")
    page.evaluate("uid => viewer.app.select(uid)", loss)
    page.keyboard.press("i")
    settled(page)
    above, waiting = set(), [loss]
    while waiting:
        id = waiting.pop()
        if id not in above:
            above.add(id)
            waiting += nodes[id]["operands"]
    assert set(page.evaluate("[...viewer.app.bright]")) == above
    page.keyboard.press("o")
    settled(page)
    below = set(page.evaluate("[...viewer.app.bright]"))
    assert loss in below
    assert below & above == {loss}
    page.keyboard.press("x")
    page.evaluate("uid => viewer.app.select(uid)", x)
    path = page.evaluate("[...viewer.app.bright]")
    assert {x, loss} <= set(path)
    assert set(path) <= above
    assert "path" in page.locator("#mode").inner_text()
    page.keyboard.press("Escape")
    settled(page)
    assert page.evaluate("viewer.app.bright") is None


def test_the_peak_of_memory_tells_what_lives_there(view, record):
    page = view(record)
    page.keyboard.press("m")
    page.wait_for_selector(".chart")
    peak = record["memory"]["peak"]
    assert "At the peak" in page.locator(".beside h2").inner_text()
    assert page.locator(".alive tr").count() == len(peak["cells"])
    chart = page.locator(".chart")
    chart.click(position={"x": 3, "y": 40})
    until(page, "viewer.app.settings.step === 0")
    assert "step 0" in page.locator(".beside h2").inner_text()
    box = chart.bounding_box()
    share = (peak["step"] + 0.5) / len(record["memory"]["live"])
    page.locator(".chart").click(position={"x": box["width"] * share, "y": 10})
    until(page, "step => viewer.app.settings.step === step", peak["step"])
    picture(page, "memory")
    page.locator(".alive .link").first.click()
    largest = max(peak["cells"], key=lambda i: record["memory"]["cells"][i]["bytes"])
    until(page, "id => viewer.app.settings.node === id", record["memory"]["cells"][largest]["node"])


def test_the_schedule_leads_to_the_slowest_line_and_its_code(view, record):
    page = view(record)
    page.keyboard.press("s")
    page.get_by_text("Slowest first").click()
    first = page.locator(".steps tbody tr").first
    slowest = record["program"]["steps"][-1]
    assert first.get_attribute("data-step") == str(slowest["number"])
    assert slowest["at"] in first.inner_text()
    first.click()
    until(page, "id => viewer.app.settings.node === id", slowest["node"])
    kernel = record["kernels"][slowest["kernel"]]
    code = page.locator("#panel .code")
    assert code.inner_text() == kernel["ir"]
    page.locator("#panel").get_by_role("tab", name="LLVM").click()
    assert code.inner_text() == kernel["llvm"]
    page.locator("#panel").get_by_role("tab", name="assembly").click()
    assert code.inner_text() == kernel["assembly"]
    picture(page, "schedule")


def test_why_neighbours_are_not_fused(view, record):
    refused = [
        (i, decision)
        for i, stage in enumerate(record["stages"])
        for decision in stage["decisions"]
        if decision["kind"] == "fuse" and not decision["accepted"] and decision["nodes"]
    ]
    at, decision = refused[0]
    page = view(record, link=f"#pass={at - 1}&node={decision['nodes'][0]}")
    text = page.locator("#panel .refusal").all_inner_texts()
    reason = record["reasons"]["fuse"][decision["reason"]]
    assert any(decision["subject"] in line and reason in line for line in text)


def test_what_a_node_became(view, record):
    at, id = next((i, id) for i, stage in enumerate(record["stages"]) for id in stage["became"])
    page = view(record, link=f"#pass={at - 1}&node={id}")
    assert "became" in page.locator("#panel .life").inner_text()
    page.locator("#panel .life .node-link").first.click()
    until(page, "at => viewer.app.settings.pass === at", at)


def test_a_node_of_any_pass_leads_to_the_kernel_that_runs_it(view, record):
    final = state_at(record["stages"], -1)["nodes"]
    steps = {step["node"]: step for step in record["program"]["steps"]}
    group, member = next(
        (id, before)
        for id, node in final.items()
        if node["op"] == "fused"
        for before in node["members"].values()
    )
    at = max(
        i for i, stage in enumerate(record["stages"]) if member in state_at(record["stages"], i)["nodes"]
    )
    page = view(record, link=f"#pass={at}&node={member}")
    kernel = record["kernels"][steps[group]["kernel"]]
    assert f"Kernel {kernel['name']}" in page.locator("#panel").inner_text()
    assert "with all of its kernel" in page.locator("#panel").inner_text()


def test_groups_are_called_by_what_they_compute(view, record):
    final = state_at(record["stages"], -1)["nodes"]
    id, node = next((id, node) for id, node in final.items() if node["op"] == "fused")
    page = view(record, link=f"#pass={len(record['stages']) - 1}&node={id}")
    ops = [n["op"] for n in node["attrs"]["body"]["nodes"].values()]
    ops = [op for op in ops if op not in ("placeholder", "constant")]
    assert page.locator("#panel h1").inner_text().startswith(" ".join(ops[:3]))
    assert "other" not in page.locator("#panel .facts").first.inner_text()
    page.keyboard.press("s")
    (step,) = [step for step in record["program"]["steps"] if step["node"] == id]
    row = page.locator(f".steps [data-step='{step['number']}']")
    assert " ".join(ops[:3]) in row.inner_text()


def test_fusion_is_told_of_a_node_that_was_rewritten_before(view, record):
    at, stage = next((i, s) for i, s in enumerate(record["stages"]) if s["name"] == "fuse" and s["decisions"])
    decided = {id for decision in stage["decisions"] for id in decision["nodes"]}
    i, id = next(
        (i, id)
        for i, earlier in enumerate(record["stages"][:at])
        for id, heirs in earlier["became"].items()
        if heirs[0] in decided
    )
    page = view(record, link=f"#pass={i - 1}&node={id}")
    assert "As what it became: " in page.locator("#panel").inner_text()


def test_what_is_shown_is_not_behind_the_legend(view, record):
    page = view(record, link="#pass=0")
    page.evaluate("viewer.app.openAll(true)")
    settled(page)
    seen = (
        "uid => { const s = viewer.app.spriteOf(uid), c = viewer.app.camera;"
        "const {left, top} = document.getElementById('canvas').getBoundingClientRect();"
        "return document.elementFromPoint(left + (s.x + s.w / 2 - c.x) * c.scale,"
        " top + (s.y + s.h / 2 - c.y) * c.scale)?.id; }"
    )
    for id in state_at(record["stages"], 0)["nodes"]:
        page.evaluate("uid => viewer.app.select(uid)", id)
        assert page.evaluate(seen, id) == "canvas"


@pytest.mark.parametrize("width", [390, 700, 1100, 1440])
def test_the_colour_is_chosen_at_every_width(view, record, width):
    page = view(record)
    page.set_viewport_size({"width": width, "height": 800})
    page.select_option("#colour", "bytes")
    until(page, "viewer.app.settings.colour === 'bytes'")
    box = page.locator("#colour").bounding_box()
    assert box is not None
    assert box["x"] + box["width"] <= width


def test_help_begins_at_its_beginning(view, record):
    page = view(record)
    page.set_viewport_size({"width": 390, "height": 600})
    page.keyboard.press("?")
    assert page.evaluate("document.getElementById('help').scrollTop") == 0
    assert page.evaluate("document.getElementById('help').scrollHeight") > 600
    page.keyboard.press("Escape")
    assert not page.locator("#help").is_visible()


def test_gradients_that_are_asked_for_are_in_no_scope_of_a_variable(view, record):
    page = view(record, link="#pass=0")
    page.evaluate("viewer.app.openAll(true)")
    settled(page)
    tree = "viewer.app.tree"
    box = f"id => {tree}.items.get({tree}.place(viewer.app.trace.union().get(id))).parent.label"
    (request,) = find(record, 0, op="gradient_request")
    nodes = state_at(record["stages"], 0)["nodes"]
    picks = [id for id in find(record, 0, op="pick") if nodes[id]["operands"] == [request]]
    assert len(picks) == 4
    assert {page.evaluate(box, id) for id in (request, *picks)} == {"gradients"}


def test_names_do_not_turn_the_direction_of_writing(view):
    name = "x\u202egnp.exe\x1b[31m"
    with gc.Graph(seed=0).as_default():
        record = gc.record([gc.exp(gc.placeholder("float32", (2,), name=name)) * 1.0])
    page = view(record | {"title": name}, link="#pass=0")
    click_node(page, find(record, 0, op="placeholder")[0])
    page.keyboard.press("v")
    shown = page.evaluate("document.body.innerText")
    assert "x\\u202egnp.exe\\u001b[31m" in shown
    assert not set(shown) & set("\u202e\x1b")
    with page.expect_download() as download:
        page.keyboard.press("g")
    picture = download.value.path().read_text(encoding="utf-8")
    assert "x\\u202egnp" in picture
    assert not set(picture) & set("\u202e\x1b")


@pytest.mark.parametrize(
    ("part", "text"), [("recognise", "500 ms, found compiled in a cache"), ("simplify", "500 ms")]
)
def test_the_record_says_how_long_compiling_took(view, record, part, text):
    compiled = {"seconds": 0.5, "parts": [{"name": part, "begin": 0.0, "seconds": 0.5}]}
    page = view(record | {"compile": compiled}, link="#pass=0")
    facts = page.locator("#panel .facts").all_inner_texts()
    assert any(f"compiled in\n{text}\n" in fact for fact in facts)


@pytest.mark.parametrize("kind", ["view", "llvm"])
def test_what_is_no_work_needs_no_kernel(view, record, kind):
    at, nodes = next(
        (i, decision["nodes"])
        for i, stage in enumerate(record["stages"])
        for decision in stage["decisions"]
        if decision["kind"] == "fuse" and not decision["accepted"] and len(decision["nodes"]) == 2
    )
    program = record["program"]
    steps = [{**step, "kind": kind} for step in program["steps"]]
    page = view(record | {"program": {**program, "steps": steps}}, link=f"#pass={at - 1}&node={nodes[1]}")
    panel = page.locator("#panel").inner_text()
    assert "not fused: " in panel
    assert ("costs nothing at a run" in panel) == (kind == "view")
