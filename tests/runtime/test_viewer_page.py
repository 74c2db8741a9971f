"""The page, without a browser: what a record says cannot become markup; the built file is of its sources."""

import hashlib
import html
import json
import re
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

import graphc as gc
from runtime.viewer import page_of
from runtime.viewer.page import embed

SOURCE = Path(__file__).parent.parent.parent / "runtime" / "viewer" / "source"


@pytest.fixture
def record():
    with gc.Graph(seed=0).as_default():
        x = gc.placeholder("float32", ("n", 4), name="x")
        w = gc.Variable(np.ones((4, 2), np.float32), name="w")
        return gc.record([gc.sum(gc.nn.relu(x * 1.0 @ w))])


def embedded(page):
    (text,) = re.findall(r'<script id="records" type="application/json">(.*?)</script>', page, re.DOTALL)
    return json.loads(text)


def test_the_page_holds_its_records(record):
    assert embedded(page_of(record)) == [record]
    assert embedded(page_of(record, record)) == [record, record]


@pytest.mark.parametrize(
    "hostile", ["</script><script>x=1</script>", "<!--<script>", "]]>&amp;'\"", "\u2028\u2029", "\U0001f600"]
)
def test_what_a_record_says_is_no_markup(record, hostile):
    text = embed({hostile: hostile})
    assert json.loads(text) == {hostile: hostile}
    assert not set("<>&\u2028\u2029") & set(text)
    assert text.isascii()
    scripts = page_of(record).count("<script")
    node = next(iter(record["stages"][0]["delta"]["added"].values()))
    node["name"] = node["source"] = hostile
    record["title"] = hostile
    page = page_of(record)
    assert embedded(page)[0]["title"] == hostile
    assert page.count("<script") == scripts


def test_the_page_needs_no_network(record):
    page = page_of(record)
    assert not re.search(r"""(?:src|href)\s*=\s*["']?(?!data:)\w+:""", page)
    assert "default-src 'none'" in page


def test_browsers_without_scripts_get_a_table(record):
    page = page_of(record)
    table = page[page.index("<noscript>") : page.index("</noscript>")]
    assert table.count("<tr>") == 1 + record["stages"][-1]["nodes"]
    for variable in record["variables"]:
        assert f"<td>{html.escape(variable['name'])}</td>" in table
    assert "prefers-color-scheme:dark" in table


@pytest.mark.parametrize("records", [(), ({},), ({"stages": []},)])
def test_what_is_no_record_is_refused(records):
    with pytest.raises(gc.errors.ArgumentError, match="page_of"):
        page_of(*records)


def test_three_records_and_numbers_that_json_cannot_say_are_refused(record):
    with pytest.raises(gc.errors.ArgumentError, match="not 3"):
        page_of(record, record, record)
    with pytest.raises(gc.errors.ArgumentError, match="not JSON"):
        page_of({**record, "x": float("nan")})


def test_the_built_file_is_of_its_sources():
    names = [f"src/{path.name}" for path in sorted((SOURCE / "src").iterdir())]
    digest = hashlib.sha256()
    for name in [*names, "build.mjs", "package-lock.json", "package.json", "tsconfig.json"]:
        digest.update(f"{name}\n{(SOURCE / name).read_text(encoding='utf-8')}\n".encode())
    built = (files("runtime.viewer") / "built" / "viewer.html").read_text(encoding="utf-8")
    assert f"<!-- sources: {digest.hexdigest()} -->" in built, "build the viewer again: see docs/viewer.md"


def test_the_built_file_brings_the_licences_of_what_it_holds():
    built = (files("runtime.viewer") / "built" / "viewer.html").read_text(encoding="utf-8")
    licences = (files("runtime.viewer") / "built" / "LICENSES.txt").read_text(encoding="utf-8")
    assert "Permission is hereby granted" in licences
    assert licences in built


def test_the_sources_are_small_and_name_no_registry():
    for path in [*(SOURCE / "src").iterdir(), SOURCE / "build.mjs"]:
        assert path.read_text(encoding="utf-8").count("\n") <= 400, path.name
    lock = json.loads((SOURCE / "package-lock.json").read_text(encoding="utf-8"))
    assert not [name for name, package in lock["packages"].items() if "resolved" in package]
