"""Random graphs: no passes, each pass alone, all passes: the same bits; and a pass finds nothing twice."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import graphc as gc
from passes.optimization import as_request
from passes.pipeline import PIPELINE, REQUIRED, define, prepare
from passes.running import Repeated, name_of, run_pass
from passes.target import Target

PATH = Path(__file__).parent.parent / "test_random_graphs.py"
spec = importlib.util.spec_from_file_location("random_graphs", PATH)
random_graphs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(random_graphs)

EFFORT = settings(
    max_examples=40, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
PASSES = {
    name_of(step): step
    for entry in PIPELINE
    for step in ((entry, *entry.steps) if isinstance(entry, Repeated) else (entry,))
}


def drawn(data):
    """A random graph in which there is something to find: constants, neutral factors, a loop, a branch."""
    d = random_graphs.drawn(data, steps=10)
    fetches = [tensor for tensor, _ in d.pairs]
    again = data.draw(st.integers(0, len(fetches) - 1))
    x = fetches[again]
    if x.dtype in ("float64", "float32"):
        one = gc.constant(np.ones((), x.dtype.numpy))
        fetches.append(gc.neg(gc.neg(x * one)) + (one + one) * one)
        start = gc.sum(x) * one
        steps = data.draw(st.integers(0, 3))
        _, last, _ = gc.while_loop(
            lambda i, t, u: i < steps,
            lambda i, t, u: (i + 1, t * 0.5 + gc.sin(start), u + t),
            [0, start, start],
        )
        fetches.append(last)
        fetches.append(gc.cond(gc.constant(bool(steps)), lambda: last * 2.0, lambda: last - 1.0))
    floats = [tensor for tensor in fetches if tensor.dtype in ("float64", "float32")]
    if floats and data.draw(st.booleans()):
        total = gc.add_n([gc.sum(gc.cast(gc.sin(tensor), "float64")) for tensor in floats])
        fetches += gc.gradients(total, [p for p in d.feeds if p.dtype != "bool"], unconnected="zero")
    return fetches, d.feeds


def outcome(fetches, feeds, pipeline):
    with gc.Session(backend="numpy", pipeline=pipeline, verify=True) as session:
        return [np.asarray(value) for value in session.run(fetches, feeds)]


def assert_same_bits(found, right, text):
    for a, b in zip(found, right, strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape), text
        if a.dtype.kind == "f":
            assert (np.isnan(a) == np.isnan(b)).all(), text
            a, b = np.where(np.isnan(a), 0, a), np.where(np.isnan(b), 0, b)
            assert (np.signbit(a) == np.signbit(b)).all(), text
        np.testing.assert_array_equal(a, b, err_msg=text)


@EFFORT
@given(st.data())
def test_passes_change_no_bit(data):
    with gc.Graph(seed=0).as_default():
        fetches, feeds = drawn(data)
        text = gc.show(fetches)
        right = outcome(fetches, feeds, ())
        for name, step in PASSES.items():
            assert_same_bits(outcome(fetches, feeds, (step,)), right, f"{name} alone:\n{text}")
        assert_same_bits(outcome(fetches, feeds, None), right, f"all passes:\n{text}")


@EFFORT
@given(st.data())
def test_check_passes_finds_nothing(data):
    """Also with what the passes do for the other backend, which fuses."""
    with gc.Graph(seed=0).as_default():
        fetches, feeds = drawn(data)
        for backend in gc.backends():
            report = gc.check_passes(fetches, feeds, backend=backend)
            assert report.ok, f"{report}\n{gc.show(fetches)}"


@EFFORT
@given(st.data())
def test_texts_round_trip_after_each_pass(data):
    with gc.Graph(seed=0).as_default():
        fetches, _ = drawn(data)
        states = []
        prepare(as_request(fetches), Target(), lambda name, function: states.append((name, function)))
    for name, function in states[states.index(next(s for s in states if s[0] == "bind_sizes")) :]:
        shown, beside = gc.show_with_data(function)
        assert gc.show_with_data(gc.parse(shown, data=beside))[0] == shown, name


@EFFORT
@given(st.data())
def test_a_pass_finds_nothing_twice(data):
    with gc.Graph(seed=0).as_default():
        fetches, _ = drawn(data)
        function = define(as_request(fetches), Target(), lambda name, function: None)
    for name, step in [*((name_of(step), step) for step in REQUIRED), *PASSES.items()]:
        once = run_pass(step, function, Target())
        assert run_pass(step, once, Target()) is once, f"{name}:\n{gc.show(function)}"
        function = once


@pytest.mark.parametrize("seed", range(3))
def test_check_passes_agrees(seed):
    rng = np.random.default_rng(seed)
    with gc.Graph(seed=seed).as_default():
        x = gc.placeholder("float64", (None, 3), name="x")
        y = gc.nn.softmax(x * 1.0) @ gc.constant(rng.normal(size=(3, 2)))
        (slope,) = gc.gradients(gc.sum(gc.square(y)), [x])
        assert gc.check_passes([y, slope], {x: rng.normal(size=(4, 3))}).ok
