"""check_passes on graphs whose passes are right, and the bisect command."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import graphc as gc
from graphc.__main__ import main

ROOT = Path(__file__).parent.parent.parent
WRONG_SCRIPT = '''
import graphc as gc
from graphc import ops
from passes.pipeline import PIPELINE
from passes.rewrite import rule
from passes.running import replaced
from passes.simplification import RULES, simplifying

@rule(ops.sub)
def swap(match):
    """``x - tanh(y) -> tanh(y) - x``, wrongly."""
    x, y = match.inputs
    return ops.sub(y, x) if y.op is ops.tanh else None

pipeline = replaced(PIPELINE, "simplify", simplifying((swap, *RULES)))

def build():
    x = gc.placeholder("float32", ("n", 4), name="x")
    return gc.sum(gc.exp(x) - gc.tanh(x * 3.0), axis=1)
'''


def test_a_training_step_passes():
    x = gc.placeholder("float32", (None, 4), name="x")
    w = gc.Variable(np.ones((4, 2), np.float32), name="w")
    loss = gc.sum(gc.nn.softmax(x @ w) * gc.random.uniform((2,)))
    report = gc.check_passes([loss, gc.train.Adam().minimize(loss)], {x: np.ones((3, 4))})
    assert report.ok
    assert {"simplify", "deduplicate", "hoist_invariants", "merge_loops"} <= set(report.passes)
    assert str(report) == f"all {len(report.passes)} passes give what the graph as defined gives"


def test_without_feeds_values_are_drawn():
    x = gc.placeholder("float32", ("n", None), name="x")
    flags = gc.placeholder("bool", ("n",), name="flags")
    assert gc.check_passes(gc.where(flags, gc.sum(x * 1.0, axis=1), 0.0)).ok


def test_effects_are_not_shown(capfd):
    x = gc.placeholder("float32", (), name="x")
    with gc.control_dependencies([gc.print("seen", x)]):
        y = x * 2.0
    assert gc.check_passes(y, {x: 1.0}).ok
    assert capfd.readouterr() == ("", "")


def test_failures_are_results_too():
    x = gc.placeholder("int32", (), name="x")
    assert gc.check_passes(gc.gather(gc.constant([1, 2]), x) * 1, {x: 7}).ok


def test_state_in_loops_and_branches_passes():
    v = gc.Variable(np.float64(1.0), name="v")
    x = gc.placeholder("float64", (3,), name="x")

    def body(i, t):
        with gc.control_dependencies([v.assign_add(1.0)]):
            return i + 1, t + v.value()

    _, y = gc.while_loop(lambda i, t: i < 3, body, [0, x])
    z = gc.cond(gc.sum(x) > 0.0, lambda: v.assign(5.0), lambda: v.value())
    with gc.control_dependencies([y]):
        late = v.value() * 2.0
    assert gc.check_passes([y, late], {x: np.ones(3)}).ok
    assert gc.check_passes(z, {x: np.ones(3)}, variables={"v": 7.0}).ok


def test_a_one_that_broadcasts_passes():
    x = gc.placeholder("float32", (None,), name="x")
    y = gc.placeholder("float32", (None,), name="y")
    assert gc.check_passes(x + y, {x: [1.0], y: [1.0, 2.0, 3.0]}).ok


def test_what_is_wrong_with_the_feeds_is_raised():
    x = gc.placeholder("float32", (3,), name="x")
    with pytest.raises(gc.FeedError, match="must be fed"):
        gc.check_passes(x + 1.0, {})
    with pytest.raises(gc.FeedError):
        gc.check_passes(x + 1.0, {x: [1.0]})
    with pytest.raises(gc.FetchError):
        gc.check_passes(gc.Graph())
    with pytest.raises(gc.ArgumentError, match="pipeline"):
        gc.check_passes(x, {x: [1.0] * 3}, pipeline="simplify")


def test_a_graph_of_a_text_is_checked():
    assert gc.check_passes(gc.parse(gc.show(gc.exp(gc.placeholder("float32", ("n",), name="x")) * 1.0))).ok


def test_bisect_names_the_rule_and_prints_a_reproducer(tmp_path, capsys):
    script = tmp_path / "wrong.py"
    script.write_text(WRONG_SCRIPT)
    assert main(["bisect", str(script)]) == 1
    out = capsys.readouterr().out
    assert "the pass simplify changes the result" in out
    assert "rewrite swap" in out
    assert "wrong.py:19" in out
    reproducer = out.partition("this shows it again:\n\n")[2]
    assert 0 < reproducer.count("\n") < 20
    again = tmp_path / "again.py"
    again.write_text(reproducer)
    ran = subprocess.run(
        [sys.executable, again],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert "rewrite swap" in ran.stdout


def test_bisect_of_what_is_right(tmp_path, capsys):
    script = tmp_path / "right.py"
    script.write_text(
        "import graphc as gc\n"
        "def build():\n    return gc.exp(gc.placeholder('float32', (2,), name='x')) * 1.0\n"
        "def feeds():\n    return {'x': [1.0, 2.0]}\n"
    )
    assert main(["bisect", str(script)]) == 0
    assert "give what the graph as defined gives" in capsys.readouterr().out
    gc.dump(gc.exp(gc.placeholder("float32", (2,), name="y")), tmp_path / "y.gir")
    assert main(["bisect", str(tmp_path / "y.gir")]) == 0
