"""The engine comes with the package as machine code, which is that of its texts."""

import os
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import graphc as gc
from runtime.llvm_backend.engine import built, llvm
from runtime.llvm_backend.engine.library import Module, load
from runtime.llvm_backend.engine.linking import link
from runtime.llvm_backend.engine.machine import architecture
from runtime.llvm_backend.engine.objects import make_objects
from runtime.llvm_backend.table import builtin, pool, steploop
from runtime.llvm_backend.table.building import build

ROOT = Path(__file__).resolve().parents[3]
PARTS = {"pool": pool.CODE, "loop": steploop.CODE, "call": builtin.CODE}
LLVM = (22, 1, 0)  # that of the machine where it was last built
pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or architecture() != "x86_64", reason="nothing is built for it"
)


def kept():
    return {name.removesuffix(built.SUFFIX) for name in os.listdir(built.FOLDER)}


def test_what_is_built_is_that_of_the_texts():
    """Where this fails, the engine's text has changed: ``python -m runtime.llvm_backend.table.building``."""
    assert kept() == {part.module.built_key() for part in PARTS.values()}


@pytest.mark.skipif(llvm.binding().llvm_version_info != LLVM, reason="another LLVM makes other code")
def test_to_build_it_again_gives_the_same_bytes():
    assert build() == {key: built.find(key) for key in kept()}


@pytest.mark.parametrize("part", PARTS)
def test_it_is_what_this_process_runs_and_is_linked_without_llvm(part):
    module = PARTS[part].module
    assert PARTS[part].is_built
    assert module.key() == module.built_key()
    (image,) = make_objects([module]).values()
    assert image == built.find(module.key())
    code = link([image])
    assert {f"{name}.{module.key()}" for name in module.functions} == set(code.symbols)


def test_a_text_that_changed_is_compiled():
    module = replace(pool.CODE.module, text=f"{pool.CODE.module.text}; changed\n")
    assert module.key() not in {*kept(), module.built_key()}
    (image,) = make_objects([module]).values()
    assert "worker" in "".join(link([image]).symbols)


def test_only_what_says_that_it_is_common_is_looked_for(monkeypatch):
    monkeypatch.setattr(built, "find", lambda key: pytest.fail("looked for"))
    text = "define void @kernel() {\n  ret void\n}\n; of no other program\n"
    assert load([Module("own", text)]).address("own")


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
print(session.compile(gc.global_variables_initializer(), []).record["early_runs"], *session.run(v))
{STATE}"""
    assert run(code, tmp_path)[:7] == ["0", "0.0", "1.0", "2.0", "3.0", "4.0", "0"]


def test_no_run_is_early():
    with gc.Graph().as_default(), gc.Session(backend="llvm", threads=2) as session:
        x = gc.placeholder("float32", [None])
        session.run(gc.exp(x), {x: np.ones(3, np.float32)})
        assert session.compile(gc.exp(x), [x]).native.early_runs == 0


def test_it_is_part_of_the_package():
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert data["runtime.llvm_backend"] == ["built/*"]
    assert Path(built.FOLDER) == ROOT / "runtime" / "llvm_backend" / "built"


@pytest.mark.parametrize("damage", [lambda x: x[:1000], lambda x: b"", lambda x: x[:99] + b"?" + x[100:]])
def test_a_damaged_object_is_none(monkeypatch, tmp_path, damage):
    image = b"\x7fELF" + bytes(4000)
    (tmp_path / "key.o").write_bytes(damage(built.sealed(image)))
    (tmp_path / "whole.o").write_bytes(built.sealed(image))
    monkeypatch.setattr(built, "FOLDER", str(tmp_path))
    assert built.find.__wrapped__("whole") == image
    assert built.find.__wrapped__("key") is None
