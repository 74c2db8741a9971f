"""The engine comes with the package as machine code, which is that of its texts."""

import ctypes
import os
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from passes.stages import listening
from runtime.llvm_backend.engine import built, llvm, parts
from runtime.llvm_backend.engine.machine import architecture
from runtime.llvm_backend.engine.mapping import can_map
from runtime.llvm_backend.table import building, polling, steploop

ROOT = Path(__file__).resolve().parents[3]
PARTS = {part.name: part for part in building.PARTS}
FOLDER = Path(building.__file__).resolve().parents[1] / "built"
LLVM = (22, 1, 0)  # that of the machine where it was last built
pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or architecture() != "x86_64", reason="nothing is built for it"
)


@pytest.fixture
def shipped(monkeypatch):
    """Whatever the other tests run on (`tests.conftest`)."""
    monkeypatch.setattr(built, "FOLDER", str(FOLDER))


def test_what_is_built_is_that_of_the_texts(shipped):
    """Where this fails, the engine's text has changed: ``python -m runtime.llvm_backend.table.building``."""
    assert os.listdir(FOLDER) == [built.file_name()]
    texts = {name: building.hash_text(part.module) for name, part in PARTS.items()}
    assert {name: built.find(name).text for name in PARTS} == texts


@pytest.mark.skipif(llvm.binding().llvm_version_info != LLVM, reason="another LLVM makes other code")
def test_to_build_it_again_gives_the_same_bytes():
    assert built.pack(building.build()) == (FOLDER / built.file_name()).read_bytes()


def test_what_tells_texts_apart():
    module = PARTS["fork join"].module
    others = [replace(module, text=f"{module.text}\n"), replace(module, functions=("fork", "stop"))]
    assert building.hash_text(replace(module)) == building.hash_text(module)
    assert len({building.hash_text(each) for each in (module, *others)}) == 3


def test_a_part_whose_text_has_changed_is_not_current(shipped):
    for part in PARTS.values():
        assert building.is_current(part)
        module = replace(part.module, text=f"{part.module.text}; changed\n")
        assert not building.is_current(parts.Part(part.name, lambda module=module: module))
    assert building.is_current(parts.Part("of no file", lambda: pytest.fail("written")))


@pytest.mark.parametrize(
    ("system", "machine"),
    [("darwin", "arm64"), ("darwin", "x86_64"), ("win32", "amd64"), ("linux", "aarch64")],
)
def test_other_systems_have_other_texts_and_nothing_built_for_this_one(system, machine, shipped, monkeypatch):
    """The file is named by what texts depend on, so none is found that would be made of another text."""
    text = steploop.loop_module().text
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine=machine))
    monkeypatch.setattr(polling, "host", lambda: SimpleNamespace(architecture=architecture()))
    monkeypatch.setattr(built, "can_map", can_map.__wrapped__)
    assert steploop.loop_module().text != text
    assert built.file_name() not in os.listdir(FOLDER)
    assert not any(map(built.find, PARTS))


@pytest.mark.parametrize("name", PARTS)
def test_what_is_loaded_is_what_was_built_and_no_text_is_written(name, shipped):
    part = PARTS[name]
    fresh = parts.Part(name, lambda: pytest.fail("written"), part._imports)
    fresh.begin()
    code = built.find(name).code
    begin = min(fresh.address(function) - code.symbols[function] for function in part.module.functions)
    assert {name: at + begin for name, at in code.symbols.items()} == {
        function: fresh.address(function) for function in part.module.functions
    }
    content = bytearray(ctypes.string_at(begin, code.fixed))
    for at in code.imports.values():
        content[at : at + 8] = bytes(8)
    assert content.startswith(code.content[: code.fixed])


def test_without_pages_for_built_code_it_is_compiled(shipped, monkeypatch):
    def refuse(*_):
        raise OSError("no pages")

    monkeypatch.setattr(parts, "MappedCode", refuse)
    part = PARTS["step loop"]
    fresh = parts.Part(part.name, part._make, part._imports)
    with listening() as heard:
        assert fresh.address("run") != fresh.address("claim")
    assert heard.counts["built code that is not used: no pages"] == 1


def run(code, cache):
    own = {"PYTHONPATH": str(ROOT), "GRAPHC_CACHE": str(cache), "GRAPHC_BACKEND": "llvm"}
    done = subprocess.run(
        [sys.executable, "-c", f"import numpy as np, graphc as gc\n{code}"],
        env={**os.environ, **own}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


STATE = """
from runtime.llvm_backend.engine import compiler, llvm
compiler.wait()
print(llvm._load.cache_info().currsize, len(os.sched_getaffinity(0)) > 1)
"""


def test_llvm_is_loaded_ahead_where_the_cache_is_empty_and_not_elsewhere(tmp_path):
    code = f"import os\nsession = gc.Session(threads=2)\n{STATE}"
    for cache in ("", tmp_path / "none", tmp_path):
        loaded, more_cores = run(code, cache)
        assert (loaded == "1") == (more_cores == "True")
    (tmp_path / f"{'0' * 40}.object").write_bytes(b"of another program")
    assert run(code, tmp_path)[0] == "0"


def test_a_program_without_kernels_needs_no_llvm(tmp_path):
    (tmp_path / f"{'0' * 40}.object").write_bytes(b"of another program")
    code = f"""
import os
v = gc.Variable(np.arange(5.0), name="v")
session = gc.Session(threads=2)
session.run(gc.global_variables_initializer())
print(*session.run(v))
{STATE}"""
    assert run(code, tmp_path)[:6] == ["0.0", "1.0", "2.0", "3.0", "4.0", "0"]


def test_it_is_part_of_the_package():
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert data["runtime.llvm_backend"] == ["built/*"]
    assert FOLDER == ROOT / "runtime" / "llvm_backend" / "built"


@pytest.mark.parametrize("damage", [lambda x: x[:1000], lambda x: b"", lambda x: x[:99] + b"?" + x[100:]])
def test_a_damaged_file_is_none(monkeypatch, tmp_path, damage):
    whole = (FOLDER / built.file_name()).read_bytes()
    monkeypatch.setattr(built, "FOLDER", str(tmp_path))
    assert built.find("call") is None
    monkeypatch.setattr(built, "_read", built._read.__wrapped__)
    (tmp_path / built.file_name()).write_bytes(whole)
    assert built.find("call") == built.unpack(whole)["call"]
    (tmp_path / built.file_name()).write_bytes(damage(whole))
    assert built.find("call") is None
