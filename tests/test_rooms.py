"""Who may import whom, how large a file may grow, what a docstring must hold."""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("graphc", "passes", "runtime")
MAY_IMPORT = {
    "graphc": {"graphc", "numpy"},
    "passes": {"passes", "graphc", "numpy", "networkx"},
    "runtime": {"runtime", "passes", "graphc", "numpy", "llvmlite", "safetensors", "rich"},
}
MAY_IMPORT_TOO = {  # where the path begins so
    "runtime/benchmark/peers/jax_peer.py": {"jax"},
    "runtime/benchmark/peers/torch_peer.py": {"torch"},
    "runtime/benchmark/peers/tensorflow_peer.py": {"tensorflow"},
    "runtime/benchmark/peers/pytensor_peer.py": {"pytensor"},
    "runtime/benchmark/": {"rich"},
}
FACADE = {"graphc/__init__.py", "graphc/__main__.py"}  # they may name the rooms above, lazily
MOST_LINES = 400
FILES = sorted(p.relative_to(ROOT).as_posix() for room in ROOMS for p in (ROOT / room).rglob("*.py"))


def imported(path: str) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            names.add((node.module or "").split(".")[0])
    return names - set(sys.stdlib_module_names) - {"__future__"}


@pytest.mark.parametrize("path", FILES)
def test_imports_run_one_way(path):
    allowed = set(MAY_IMPORT[path.split("/")[0]])
    if path in FACADE:
        allowed |= {"passes", "runtime"}
    for start, more in MAY_IMPORT_TOO.items():
        if path.startswith(start):
            allowed |= more
    assert imported(path) <= allowed


BACKEND = "runtime/llvm_backend/"
LAYERS = ({"engine"}, {"ir"}, {"table"}, {"rows"}, {"contractions"}, {"loops"}, {"native"})  # from below


def above(path: str) -> set[str]:
    """The rooms of the LLVM backend that a file of a lower one imports."""
    room = path.removeprefix(BACKEND).split("/")[0]
    rank = {name: i for i, names in enumerate(LAYERS) for name in names}
    text = (ROOT / path).read_text(encoding="utf-8")
    met = set(re.findall(r"^\s*from runtime\.llvm_backend\.(\w+)", text, flags=re.M))
    return {name for name in met & rank.keys() if rank[name] > rank[room]} if room in rank else set()


@pytest.mark.parametrize("path", [path for path in FILES if path.startswith(BACKEND)])
def test_rooms_of_the_backend_lie_above_each_other(path):
    assert above(path) == set()


def test_a_wrong_import_would_be_seen(tmp_path, monkeypatch):
    (tmp_path / "graphc").mkdir()
    (tmp_path / "graphc/bad.py").write_text("def f():\n    import llvmlite.binding\n")
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    assert not imported("graphc/bad.py") <= MAY_IMPORT["graphc"]


@pytest.mark.parametrize("path", FILES)
def test_no_file_holds_too_much(path):
    lines = (ROOT / path).read_text(encoding="utf-8").count("\n")
    assert lines <= MOST_LINES, f"{path} has {lines} lines: split it by meaning"


@pytest.mark.parametrize("path", FILES)
def test_every_module_says_what_it_knows(path):
    source = (ROOT / path).read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(source)), f"{path} has no docstring"


def test_tests_hold_no_packages():
    assert not list((ROOT / "tests").rglob("__init__.py")), "tests/passes would shadow passes"


def test_building_a_graph_loads_neither_llvmlite_nor_networkx():
    import subprocess

    code = (
        "import sys, graphc as gc; gc.exp(gc.placeholder('float32', (2,)));"
        "print([m for m in ('llvmlite', 'networkx') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_the_installed_package_and_the_checkout_are_one():
    import graphc
    import passes
    import runtime

    for room in (graphc, passes, runtime):
        assert room.__file__ is not None
        assert Path(room.__file__).resolve().parent.parent == ROOT
