"""What the repository promises a stranger: the commands, the first example, pages without dead links."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import graphc as gc
from graphc.function import Function
from passes.rewrite import index, rewrite
from passes.target import Target
from runtime.backend import BACKENDS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("passes/*.md")])

DIGITS = (
    'python3 -m venv .venv && .venv/bin/pip install -e ".[examples]" && .venv/bin/python examples/digits.py'
)
TESTS = 'python3 -m venv .venv && .venv/bin/pip install -e ".[test]" && .venv/bin/python -m pytest'


def test_readme_has_the_two_commands_each_on_a_line():
    lines = README.splitlines()
    assert DIGITS in lines
    assert TESTS in lines


def test_ci_runs_the_readmes_test_command():
    run = ROOT / ".ci" / "run"
    text = run.read_text(encoding="utf-8")
    assert TESTS in text.splitlines()
    assert "set -euo pipefail" in text
    assert os.access(run, os.X_OK)


def test_readmes_example_prints_what_the_readme_says(tmp_path):
    code, expected = re.search(r"```python\n(.*?)```.*?```text\n(.*?)```", README, re.DOTALL).groups()
    assert len([line for line in code.splitlines() if line]) == 10
    script = tmp_path / "ten_lines.py"
    script.write_text(code, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
    ran = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=120, check=True, env=environment
    )
    assert ran.stdout == expected


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_the_custom_op_of_the_page_is_the_one_of_the_example():
    page = (ROOT / "docs" / "adding.md").read_text(encoding="utf-8")
    example = (ROOT / "examples" / "custom_op.py").read_text(encoding="utf-8")
    code = re.search(r"```python\n(@op.*?)```", page, re.DOTALL).group(1)
    assert code in example


def test_decisions_are_numbered_and_have_their_four_parts():
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for part in ("**Context.**", "**Choice.**", "**Cost.**", "**Revisit when**"):
            assert part in text, f"{page.name}: {part}"


def test_licence_is_apache():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text


def code_of_the_page(name):
    """What the block of docs/adding.md that defines `name` defines."""
    page = (ROOT / "docs" / "adding.md").read_text(encoding="utf-8")
    (code,) = [
        c
        for c in re.findall(r"```python\n(.*?)```", page, re.DOTALL)
        if re.search(rf"(def|class) {name}\(", c)
    ]
    names: dict = {}
    exec(code, names)
    return names[name]


def test_the_pass_of_the_page_works():
    drop_identities = code_of_the_page("drop_identities")
    with gc.Graph().as_default():
        x = gc.placeholder("float32", (3,), name="x")
        shorter = drop_identities(Function((x,), (gc.exp(gc.identity(gc.identity(x))),)), Target())
    assert [node.op.name for node in shorter.nodes()] == ["placeholder", "exp"]
    assert drop_identities(shorter, Target()) is shorter


def test_the_rule_of_the_page_works():
    rules = index((code_of_the_page("negate_twice"),))
    with gc.Graph().as_default():
        x = gc.placeholder("float32", (3,), name="x")
        shorter = rewrite(Function((x,), (gc.exp(gc.neg(gc.neg(x))),)), rules)
    assert [node.op.name for node in shorter.nodes()] == ["placeholder", "exp"]
    assert rewrite(shorter, rules) is shorter


def test_the_backend_of_the_page_works(monkeypatch):
    backend = code_of_the_page("MyBackend")
    monkeypatch.setitem(BACKENDS, "mine", lambda threads, check_numerics: backend())
    with gc.Graph().as_default(), gc.Session(backend="mine") as session:
        x = gc.placeholder("float32", (3,), name="x")
        assert session.run(gc.exp(x + 1.0), {x: [-1, -1, -1]}).tolist() == [1, 1, 1]
        steps = session.compile(gc.exp(x + 1.0), [x]).record["steps"]
    assert [(step["op"], step["kernel"]) for step in steps] == [("add", "mine"), ("exp", "meaning")]


def test_the_tour_names_every_file_of_the_rooms_and_no_other():
    room, named = None, {}
    for line in (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").splitlines():
        if match := re.match(r"## `(\w+)`", line):
            room = match[1]
        elif room and line.startswith("| `"):
            named.setdefault(room, set()).update(re.findall(r"`([\w/]+)(?:\.py|/)?`", line.split("|")[1]))
    for room, names in named.items():
        files = {p.stem for p in (ROOT / room).iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
        rooms = {p.relative_to(ROOT / room).as_posix() for p in (ROOT / room / "llvm_backend").glob("*/")}
        rooms = {path for path in rooms if (ROOT / room / path / "__init__.py").exists()}
        assert {name.rstrip("/") for name in names} == (files - {"__init__", "__main__"}) | rooms, room


@pytest.mark.parametrize(
    "room", sorted((ROOT / "runtime" / "llvm_backend").glob("*/__init__.py")), ids=lambda p: p.parent.name
)
def test_a_room_says_in_which_order_its_files_are_read(room):
    text = ast.get_docstring(ast.parse(room.read_text(encoding="utf-8")))
    named = re.findall(r"(?<!`)`(\w+)`(?!`)", text)
    assert len(named) > 1
    for name in named:
        assert (room.parent / f"{name}.py").exists() or (room.parent / name).is_dir(), name


def test_the_files_on_the_way_of_a_run_exist():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    way = page.split("**One run, file by file**")[1].split("\n\nEach room")[0]
    known = {p.relative_to(ROOT).as_posix() for p in ROOT.glob("*/**/*.py")}
    for name in re.findall(r"`([\w/]+\.py)`", way):
        assert any(f"/{path}".endswith(f"/{name}") for path in known), name
