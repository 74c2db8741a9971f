"""Random graphs: no passes, each pass alone, all passes: the same bits; and a pass finds nothing twice."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import graphc as gc
from graphc.function import all_nodes
from passes.optimization import as_request
from passes.pipeline import PIPELINE, REQUIRED, define, prepare
from passes.running import Repeated, name_of, run_pass
from passes.target import Target
from runtime.backend import BACKENDS
from runtime.numpy_backend import NumpyBackend
from tests import test_random_graphs as random_graphs
from tests import test_random_regions as random_regions

TESTS = Path(__file__).parent.parent
EXAMPLES = TESTS.parent / "examples"


EFFORT = settings(
    max_examples=40, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
PASSES = {
    name_of(step): step
    for entry in PIPELINE
    for step in ((entry, *entry.steps) if isinstance(entry, Repeated) else (entry,))
}


NATIVE = BACKENDS["llvm"](2, False)
TARGETS = (Target(), Target("llvm", False, NATIVE.fusible, NATIVE.contracts, NATIVE.reads))


class Fusing(NumpyBackend):
    """Asks the passes for all that the LLVM backend asks for, and runs what they made by its meaning."""

    name = "fusing"
    fusible, contracts, reads = NATIVE.fusible, staticmethod(NATIVE.contracts), staticmethod(NATIVE.reads)


@pytest.fixture
def fusing(monkeypatch):
    monkeypatch.setitem(BACKENDS, Fusing.name, lambda threads, check_numerics: Fusing())
    return Fusing.name


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


def outcome(fetches, feeds, pipeline, backend="numpy"):
    with gc.Session(backend=backend, pipeline=pipeline, verify=True) as session:
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
def test_passes_change_no_bit(fusing, data):
    """A pass that finds nothing gives back the very same function: that is not run again."""
    with gc.Graph(seed=0).as_default():
        fetches, feeds = drawn(data)
        text = gc.show(fetches)
        right = outcome(fetches, feeds, ())
        for backend in ("numpy", fusing):
            given = []

            def note(function, target, given=given):
                given.append((function, target))
                return function

            found = outcome(fetches, feeds, (note,), backend)
            assert_same_bits(found, right, f"no pass, {backend}:\n{text}")
            assert given
            for name, step in PASSES.items():
                if any(step(function, target) is not function for function, target in given):
                    found = outcome(fetches, feeds, (step,), backend)
                    assert_same_bits(found, right, f"{name} alone, {backend}:\n{text}")
            found = outcome(fetches, feeds, None, backend)
            assert_same_bits(found, right, f"all passes, {backend}:\n{text}")


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


def refuse_twice(fetches, target):
    """Fails where a pass finds something in its own result; returns what all passes made of `fetches`."""
    function = define(as_request(fetches), target, lambda name, function: None)
    for name, step in [*((name_of(step), step) for step in REQUIRED), *PASSES.items()]:
        once = run_pass(step, function, target)
        assert run_pass(step, once, target) is once, f"{name}, {target.backend}:\n{gc.show(function)}"
        function = once
    return function


@EFFORT
@given(st.data())
def test_a_pass_finds_nothing_twice(data):
    with gc.Graph(seed=0).as_default():
        fetches, _ = drawn(data)
        for target in TARGETS:
            refuse_twice(fetches, target)


@settings(EFFORT, max_examples=20, phases=[Phase.generate])  # a nest takes minutes to shrink
@given(st.data())
def test_a_pass_finds_nothing_twice_in_nests(data):
    """Of branches and loops, with the loops of their gradients."""
    with gc.Graph(seed=0).as_default():
        total, slopes, *_ = random_regions.drawn(data, effects=False)
        for target in TARGETS:
            refuse_twice([total, *slopes], target)


def loop_with_kernels():
    """Chains of elementwise ops in a loop and after it."""
    x = gc.placeholder("float64", ("n", 8), name="x")
    first = [gc.constant(0), x]
    _, y = gc.while_loop(lambda i, a: i < 3, lambda i, a: (i + 1, gc.tanh(a * 2.0) + 1.0), first)
    return [gc.exp(y * 2.0) - 1.0]


def loop_with_products():
    """Contractions with what stands around them, sums of all axes, and attention, in loops and a gradient."""
    x = gc.placeholder("float32", ("n", 32), name="x")
    w = gc.placeholder("float16", (32, 32), name="w")

    def step(i, a):
        scores = gc.nn.softmax(gc.tanh(a @ gc.cast(w, "float32") + 1.0))
        return i + 1, scores / (1.0 + gc.sum(gc.square(scores)))

    _, y = gc.while_loop(lambda i, a: i < 3, step, [gc.constant(0), x])
    q = gc.placeholder("float32", (2, 4, 64, 16), name="q")
    _, z = gc.while_loop(
        lambda i, a: i < 3,
        lambda i, a: (i + 1, gc.nn.dot_product_attention(a, q, q, causal=True)),
        [gc.constant(0), q],
    )
    loss = gc.sum(gc.square(gc.logsumexp(y, -1)))
    return [loss, z, *gc.gradients(loss, [x])]


PROGRAMS = {
    "kernels": loop_with_kernels,
    "products": loop_with_products,
    **{
        name: lambda name=name: runpy.run_path(str(EXAMPLES / f"{name}.py"))["build"]()
        for name in ("char_lstm", "newton", "digits")
    },
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_pass_finds_nothing_twice_in_programs(program):
    """Passing on what is fused already, in bodies too; that there is such is looked at as well."""
    with gc.Graph(seed=0).as_default():
        function = refuse_twice(PROGRAMS[program](), TARGETS[-1])
    outside = function.nodes()
    kernels = [node for node in all_nodes(function) if node.op.name == "fused"]
    assert any(node in outside for node in kernels)
    if any(node.op.name == "loop" for node in outside):
        assert any(node not in outside for node in kernels)


@pytest.mark.parametrize("seed", range(3))
def test_check_passes_agrees(seed):
    rng = np.random.default_rng(seed)
    with gc.Graph(seed=seed).as_default():
        x = gc.placeholder("float64", (None, 3), name="x")
        y = gc.nn.softmax(x * 1.0) @ gc.constant(rng.normal(size=(3, 2)))
        (slope,) = gc.gradients(gc.sum(gc.square(y)), [x])
        assert gc.check_passes([y, slope], {x: rng.normal(size=(4, 3))}).ok
