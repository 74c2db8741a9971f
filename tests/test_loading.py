"""When modules are loaded: with graphc, and never while a first run is waited for."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OWN = "[m for m in sys.modules if m.split('.')[0] in ('graphc', 'passes', 'runtime')]"
ROWS = """
x = gc.placeholder("float32", (4,))
fetches, feeds = gc.exp(x) * 2 + x, {x: np.ones(4, np.float32)}
"""
TRAINING = """
x = gc.placeholder("float32", (None, 8))
y = gc.placeholder("int32", (None,))
w = gc.Variable(gc.initializers.glorot_uniform()((8, 3), seed=1), name="w")
loss = gc.mean(gc.losses.sparse_softmax_cross_entropy(labels=y, logits=gc.nn.relu(x @ w)))
fetches = [loss, gc.train.Adam(0.1).minimize(loss)]
feeds = {x: np.ones((5, 8), np.float32), y: np.zeros(5, np.int32)}
"""
MOVING = """
x = gc.placeholder("float32", (6, 5))
state = gc.while_loop(lambda i, s: i < 3, lambda i, s: (i + 1, s * 0.5), (gc.constant(0), x))[1]
fetches = [gc.transpose(gc.concat([state, x], axis=0)), gc.argsort(x, axis=1), gc.cumsum(x, axis=0)]
feeds = {x: np.ones((6, 5), np.float32)}
"""


def run(code, cache="", *options):
    import os

    done = subprocess.run(
        [sys.executable, *options, "-c", f"import sys\nimport numpy as np\n{code}"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "GRAPHC_CACHE": str(cache), "GRAPHC_BACKEND": "llvm"},
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("model", [ROWS, TRAINING, MOVING], ids=["rows", "training", "moving"])
def test_nothing_of_our_own_is_loaded_once_graphc_is(model, tmp_path):
    code = f"""
import graphc as gc
before = set({OWN})
{model}
session = gc.Session()
session.run(gc.global_variables_initializer())
session.run(fetches, feeds)
step = session.make_callable(fetches, list(feeds))
step(*feeds.values())
print(sorted(set({OWN}) - before))
"""
    assert run(code, tmp_path) == "[]"


def test_llvm_is_loaded_when_machine_code_is_made_and_not_when_it_is_on_the_disk(tmp_path):
    code = f"""
import graphc as gc
{ROWS}
from runtime.llvm_backend.engine import llvm
from runtime.llvm_backend.engine.mapping import can_map
first = llvm._load.cache_info().currsize
gc.Session(threads=1).run(fetches, feeds)
print(first, llvm._load.cache_info().currsize, 'llvmlite' in sys.modules, can_map())
"""
    first, made, _, can_map = run(code, tmp_path).split()
    assert (first, made) == ("0", "1")
    if can_map == "True":
        assert run(code, tmp_path).split()[:3] == ["0", "0", "False"]


def test_what_is_fed_loads_nothing_of_numpys():
    code = """
import graphc as gc
x = gc.placeholder("float32", None)
session = gc.Session(backend="numpy")
session.run(x * 2, {x: np.ones(3, np.float32)})
before = set(sys.modules)
for fed in (1.0, np.float32(1), [1, 2], (0.5,), np.arange(3), True):
    session.run(x * 2, {x: fed})
    print(*(f"{name} for {fed!r}" for name in set(sys.modules) - before if name.startswith("numpy")))
"""
    assert run(code) == ""


@pytest.mark.parametrize("room", ["passes.pipeline", "runtime.session", "runtime.backend", "passes.rewrite"])
def test_a_room_can_be_imported_before_graphc(room):
    code = (
        f"import {room}; import graphc as gc; print(gc.Session(backend='numpy').run(gc.constant(1.0) + 1.0))"
    )
    assert run(code) == "2.0"


def test_commands_load_what_they_need():
    code = """
import runpy
sys.argv = ['-m']
import graphc
print('runtime' in sys.modules, 'llvmlite' in sys.modules)
"""
    assert run(code) == "False False"


def test_what_a_save_takes_is_loaded_by_those_who_save():
    code = "import graphc; print([m for m in ('zipfile', 'tempfile', 'random') if m in sys.modules])"
    assert run(code) == "[]"


@pytest.mark.parametrize("options", [["-OO"], ["-X", "dev", "-W", "error"]])
def test_python_may_be_started_in_other_ways(options, tmp_path):
    """Without assertions and docstrings, warnings being errors."""
    code = f"""
import graphc as gc
{TRAINING}
with gc.Session() as session:
    session.run(gc.global_variables_initializer())
    session.run(fetches, feeds)
    print("done")
"""
    assert run(code, tmp_path, *options) == "done"
