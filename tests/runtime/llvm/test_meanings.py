"""What runs by its meaning, in Python, in programs that are otherwise native. The list only shrinks."""

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import graphc as gc
from graphc.op import OPS
from runtime.executable import Executable
from tests.test_ops import Call

# Each op with the reason why it has no machine code.
MEANINGS = {
    "orthogonal_factor": "LAPACK's; initializers alone need it, once",
    "state_rank": "gives sizes to those that follow",
    "placeholder_with_default": "likewise",
    "at_rank": "is opened where a run brings a rank: none has it with the ranks of its examples",
    "reshape_late": "gives a value whose rank only the run knows",
    "broadcast_late": "likewise",
    "sum_late": "likewise",
    "overlap_add": "not yet a contraction",
    "matmul": "of bool: not yet a contraction",
    "print": "writes to standard error",
    "call_python": "is Python",
}


@pytest.mark.parametrize("op", [op for op in OPS.values() if op.examples], ids=lambda op: op.name)
def test_every_example_of_an_op_is_native(op):
    """And gives what NumPy gives, with sizes known before the run, and not. An op of the list is not."""
    fallen = set()
    for example in op.examples:
        for sizes in ("known", "unknown") if example.operands else ("known",):
            call = Call(op, example, sizes)
            expected = call.run(call.outputs)
            with gc.Session(graph=call.graph, backend="llvm") as session:
                found = session.run(call.outputs, call.feeds())
                record = session.compile(call.outputs, list(call.feeds())).record
            fallen.update(record["fallbacks"])
            for a, b, output in zip(found, expected, call.outputs, strict=True):
                assert (np.shape(a), np.asarray(a).dtype) == (np.shape(b), np.asarray(b).dtype)
                rtol = {"float64": 1e-10, "float32": 2e-5}.get(output.dtype.name, 1e-2)
                np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol / 10)
    assert fallen <= set(MEANINGS)
    if call.outputs:
        assert (op.name in fallen) == (op.name in MEANINGS)


def test_printing_is_done_by_its_meaning():
    x = gc.placeholder("float32", (2,), name="x")
    with gc.Session(backend="llvm") as session:
        assert session.compile(gc.print(x), [x]).record["fallbacks"] == {"print": 1}


@pytest.mark.parametrize(
    "name", sorted(path.stem for path in (Path(__file__).parents[3] / "examples").glob("*.py"))
)
def test_no_run_of_an_example_returns_into_python(name):
    """What each of them builds, fed as it says; a custom op whose meaning is Python's is all there is."""
    with gc.Graph(seed=0).as_default() as graph, gc.Session(graph, backend="llvm") as session:
        module = import_module(f"examples.{name}")
        fetches, feeds = module.build(), module.feeds()
        session.run(gc.global_variables_initializer())
        session.run(fetches, feeds)
        record = session.compile(fetches, feeds).record
    assert record["native"]["reason"] is None
    assert record["native"]["regions"] == []
    assert record["native"]["returns"] == (1 if name == "custom_op" else 0)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("digits", ["--model", "conv", "--epochs", "1"]),
        ("digits", ["--model", "mlp", "--epochs", "1"]),
        ("char_lstm", ["--steps", "3"]),
        ("char_lstm", ["--steps", "3", "--unrolled"]),
    ],
)
def test_the_examples_train_without_a_return_into_python(name, arguments, monkeypatch, tmp_path):
    """Their steps, what they evaluate and what they draw; an initializer may need LAPACK, once."""
    made = []
    begin = Executable.__init__

    def noted(self, *given, **named):
        begin(self, *given, **named)
        made.append(self)

    monkeypatch.setattr(Executable, "__init__", noted)
    monkeypatch.setenv("GRAPHC_BACKEND", "llvm")
    if name == "digits":
        arguments = [*arguments, "--checkpoint", str(tmp_path / "digits.npz")]
    with gc.Graph().as_default():
        import_module(f"examples.{name}").main(arguments)
    assert len(made) > 1
    for executable in made:
        assert executable.record["native"]["reason"] is None
        assert set(executable.record["fallbacks"]) <= {"orthogonal_factor"}
        if executable.native.returns:
            assert not executable.feeds  # it initializes
