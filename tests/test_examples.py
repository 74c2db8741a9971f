"""The examples run, as a reader would run them, and show what they say."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import graphc as gc

EXAMPLES = Path(__file__).parent.parent / "examples"


def load(name):
    """The example as a module."""
    return import_module(f"examples.{name}")


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.py")))
def test_build_gives_what_can_be_shown(name):
    assert gc.show(load(name).build()).startswith("graph(")


def test_hello(capsys):
    load("hello").main()
    out = capsys.readouterr().out
    assert "%points: f32[n,2]" in out
    assert "[ 5. 13. 17.]\n[1.]\ncompiled: 1\n" in out


def test_gradients():
    assert load("gradients").main() == pytest.approx(1, abs=1e-12)


def test_custom_op():
    values = load("custom_op").main()
    np.testing.assert_allclose(values["y"], [5, 1e200])
    np.testing.assert_allclose(values["slope"], [0.6, 1])


def test_custom_pass(capsys):
    assert load("custom_pass").main()["cosh"] >= 1
    out = capsys.readouterr().out
    rows = [
        line.split("[")[1]
        for line in out.splitlines()
        if line.startswith(("as it is", "ours", "no simplify"))
    ]
    assert len(rows) == 3
    assert len(set(rows)) == 1  # to the digits that are shown
    assert "cosh(%x)" in out
    assert "passes give what the graph as defined gives" in out


@pytest.mark.parametrize(("model", "epochs", "suffix"), [("conv", 2, ".npz"), ("mlp", 6, ".safetensors")])
def test_digits(model, epochs, suffix, tmp_path, capsys):
    path = tmp_path / f"digits{suffix}"
    arguments = ["--model", model, "--epochs", str(epochs), "--checkpoint", str(path), "--seed", "1"]
    accuracy = load("digits").main(arguments)
    assert accuracy > 0.9  # a few epochs; the whole story passes 0.97
    out = capsys.readouterr().out
    assert out.count("test accuracy") == epochs + 1
    assert f"test accuracy {accuracy:.2%}" in out.splitlines()[-1]
    assert path.exists()


def test_newton(capsys):
    assert load("newton").main() < 1e-10
    assert "largest difference" in capsys.readouterr().out


def test_char_lstm_by_scan_learns_as_the_unrolled_graph_does(capsys):
    looped = load("char_lstm").main(["--steps", "60"])
    unrolled = load("char_lstm").main(["--steps", "60", "--unrolled"])
    np.testing.assert_allclose(looped, unrolled, rtol=1e-5)
    assert looped[-1] < looped[0] - 1
    out = capsys.readouterr().out
    assert out.count("step   50") == 2
