"""Rematerialisation: the budget holds as predicted, no bit changes, and little is computed again."""

import re

import networkx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import graphc as gc
from passes.cost import cost_of
from passes.lifetimes import find_peak
from passes.optimization import as_request
from passes.pipeline import PIPELINE, prepare
from passes.program import plan
from passes.reasons import REASONS
from passes.record import recording
from passes.rematerialisation import rematerialise
from passes.running import without
from passes.target import Target
from tests.passes import test_random_passes as random_passes

DEPTH, WIDTH, BATCH = 32, 16, 1024
EXACT = settings(
    max_examples=40, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)


def layers(kind, batch=BATCH, depth=DEPTH):
    """The loss of `depth` layers and its gradients, and what is fed."""
    rng = np.random.default_rng(0)
    x = gc.placeholder("float32", (batch, WIDTH), name="x")
    h, weights = x, []
    for _ in range(depth):
        w = gc.constant(rng.normal(size=(WIDTH, WIDTH)).astype(np.float32) / 4)
        weights.append(w)
        z = gc.tanh(h @ w)
        if kind == "residual":
            z = gc.nn.layer_norm(h + z)
        elif kind == "dropout":
            z = gc.nn.dropout(z, 0.1)
        h = z
    loss = gc.mean(h * h)
    return [loss, *gc.gradients(loss, weights)], x


def fed(x, batch=BATCH):
    return {x: np.random.default_rng(1).normal(size=(batch, WIDTH)).astype(np.float32)}


def compiled(fetches, x, budget, backend="numpy"):
    with gc.Session(memory_budget=budget, backend=backend, seed=3) as session:
        executable = session.compile(fetches, [x])
        return executable, session.run(fetches, fed(x))


def assert_same_bits(found, right):
    for a, b in zip(found, right, strict=True):
        assert a.dtype == b.dtype
        assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("backend", gc.backends())
@pytest.mark.parametrize("kind", ["tower", "residual", "dropout"])
def test_budgets_are_kept_with_the_same_bits(kind, backend):
    with gc.Graph(seed=0).as_default():
        fetches, x = layers(kind)
        free, right = compiled(fetches, x, None, backend)
        peak, flops = free.peak_bytes(), cost_of(free.function).flops
        forward = cost_of(gc.optimize(fetches[0])).flops
        extra = []
        for share in (1.0, 0.6, 0.4):
            executable, found = compiled(fetches, x, int(peak * share), backend)
            assert executable.peak_bytes() <= peak * share
            assert_same_bits(found, right)
            extra.append(cost_of(executable.function).flops - flops)
        assert extra[0] == 0
        assert 0 < extra[1] <= extra[2] <= forward


@pytest.mark.parametrize("kind", ["tower", "residual"])
def test_the_least_budget_is_named_and_can_be_had(kind):
    with gc.Graph(seed=0).as_default():
        fetches, x = layers(kind)
        _, right = compiled(fetches, x, None)
        with pytest.raises(gc.ArgumentError, match=r"1000 bytes are not enough") as error:
            compiled(fetches, x, 1000)
        least = least_of(error.value)
        executable, found = compiled(fetches, x, least)
        assert executable.peak_bytes() == least
        assert_same_bits(found, right)
        with pytest.raises(gc.ArgumentError, match=f"the least that this takes is {least} bytes"):
            compiled(fetches, x, least - 1)


@pytest.mark.parametrize("size", [BATCH, "n"])
def test_what_runs_natively_may_take_less_than_any_plan(size):
    """Kernels that hold what the plan gives buffers: the least that is named is never above what is taken."""
    with gc.Graph(seed=0).as_default():
        x = gc.placeholder("float32", (size, WIDTH), name="x")
        h = x
        for _ in range(12):
            h = gc.tanh(gc.sin(h) * 1.1)
        fetches = gc.gradients(gc.sum(h), [x])
        free, right = compiled(fetches, x, None, "llvm")
        with pytest.raises(gc.ArgumentError, match="bytes are not enough") as error:
            compiled(fetches, x, 1000, "llvm")
        least = least_of(error.value)
        assert least <= free.peak_bytes({} if size == BATCH else {"n": BATCH})
        _, found = compiled(fetches, x, least, "llvm")
        assert_same_bits(found, right)


def test_a_budget_that_is_kept_visits_each_node_once_and_none_visits_none():
    with gc.Graph(seed=0).as_default():
        function = prepare(as_request(layers("tower")[0]), Target()).function
    for budget, often in ((1 << 40, 1), (None, 0)):
        with recording() as log:
            assert rematerialise(function, Target(memory_budget=budget)) is function
        assert log.counters.nodes_visited == often * len(function.nodes())


def test_little_is_computed_again_for_a_little_less_memory():
    with gc.Graph(seed=0).as_default():
        fetches, x = layers("residual")
        free, _ = compiled(fetches, x, None)
        saving, _ = compiled(fetches, x, int(free.peak_bytes() * 0.9))
    ops = [node.op.name for node in saving.function.nodes()]
    assert ops.count("matmul") == [node.op.name for node in free.function.nodes()].count("matmul")


@pytest.mark.parametrize("budget", [0, -1, True, 1.5, "1 GB"])
def test_a_budget_is_a_positive_number_of_bytes(budget):
    with pytest.raises(gc.ArgumentError, match="memory_budget is a number of bytes above 0"):
        gc.Session(memory_budget=budget)


@pytest.mark.parametrize("backend", gc.backends())
def test_sizes_known_at_the_run(backend):
    """The budget holds for the sizes of each run; those that fit as things are share one executable."""
    fetches, x = layers("tower", "batch")
    with gc.Session(backend=backend) as session:
        peaks = {n: session.compile(fetches, [x]).peak_bytes({"batch": n}) for n in (64, 100, 512)}
        right = {n: session.run(fetches, fed(x, n)) for n in peaks}
    with gc.Session(backend=backend, memory_budget=peaks[100]) as session:
        executable = session.compile(fetches, [x])
        assert session.compile_count == 1
        assert executable.peak_bytes({"batch": 100}) == peaks[100]
        for n in (64, 100, 120, 130, 120, 64):
            session.run(fetches, fed(x, n))
            assert executable.peak_bytes({"batch": n}) <= peaks[100]
        assert session.compile_count <= 3
        assert_same_bits(session.run(fetches, fed(x, 64)), right[64])
        with pytest.raises(gc.ArgumentError, match="bytes are not enough"):
            session.run(fetches, fed(x, 512))
        assert_same_bits(session.run(fetches, fed(x, 100)), right[100])
    with gc.Session(backend=backend, memory_budget=int(peaks[512] * 0.5)) as session:
        assert_same_bits(session.run(fetches, fed(x, 512)), right[512])
        assert session.compile(fetches, [x]).peak_bytes({"batch": 512}) <= peaks[512] * 0.5


def test_training_goes_the_same_way():
    rng = np.random.default_rng(0)
    x = gc.placeholder("float32", (BATCH, WIDTH), name="x")
    h = x
    for i in range(16):
        w = gc.Variable(rng.normal(size=(WIDTH, WIDTH)).astype(np.float32) / 4, name=f"w{i}")
        h = gc.tanh(h @ w)
    loss = gc.mean(gc.square(h - 1.0))
    step = gc.train.Adam(0.01).minimize(loss)
    losses = []
    budget = None
    for _ in range(2):
        with gc.Session(memory_budget=budget) as session:
            session.run(gc.global_variables_initializer())
            losses.append([session.run([loss, step], fed(x))[0] for _ in range(4)])
            budget = int(session.compile([loss, step], [x]).peak_bytes() * 0.7)
    assert losses[0] == losses[1]


def test_bodies_of_loops_are_planned_too():
    """The body differentiates itself: what its backward part needs of the forward one is run again."""
    x = gc.placeholder("float64", (64, 64), name="x")

    def body(i, state):
        h = state
        for _ in range(16):
            h = gc.tanh(h)
        (slope,) = gc.gradients(gc.sum(h), [state])
        return i + 1, state - 0.1 * slope

    _, last = gc.while_loop(lambda i, state: i < 3, body, [0, x])
    value = {x: np.random.default_rng(0).normal(size=(64, 64))}
    with gc.Session(backend="numpy") as session:
        peak, right = session.compile(last, [x]).peak_bytes(), session.run(last, value)
    with gc.Session(backend="numpy", memory_budget=int(peak * 0.7)) as session:
        assert session.compile(last, [x]).peak_bytes() <= peak * 0.7
        assert session.run(last, value).tobytes() == right.tobytes()


def test_effects_run_once():
    x = gc.placeholder("float64", (1000,), name="x")
    calls = []

    def double(value):
        calls.append(1)
        return value * 2

    h = gc.py_func(double, [x], ("float64", (1000,)))
    y = h
    for _ in range(8):
        y = gc.tanh(y)
    (slope,) = gc.gradients(gc.sum(y), [h])
    with gc.Session(backend="numpy") as session:
        peak = session.compile(slope, [x]).peak_bytes()
    with gc.Session(backend="numpy", memory_budget=int(peak * 0.8)) as session:
        session.run(slope, {x: np.ones(1000)})
    assert len(calls) == 1


def test_decisions_say_why():
    fetches, _ = layers("tower", depth=12)
    function = prepare(as_request(fetches), Target()).function
    peak = find_peak(plan(function, ()), {}).bytes
    with recording() as log:
        result = rematerialise(function, Target(memory_budget=int(peak * 0.6)))
    found = [d for d in log.decisions if d.kind == "rematerialise"]
    again = [d for d in found if d.accepted]
    nodes = len(result.nodes()) - len(function.nodes())
    assert len(again) == nodes - sum(n.op.name == "after" for n in result.nodes())
    assert {d.reason for d in again} == {"budget"}
    assert {d.reason for d in found if not d.accepted} <= {"cut", "dear", "result", "effect", "sizes"}
    assert all(d.loc is not None and d.details["bytes"] > 0 for d in again)
    target = Target(memory_budget=int(peak * 0.6))
    assert rematerialise(result, target) is result
    gc.verify(result)


def test_what_is_held_says_why():
    x = gc.placeholder("float32", (BATCH, WIDTH), name="x")
    h, weights = x, []
    for i in range(8):
        weights.append(gc.Variable(np.eye(WIDTH, dtype=np.float32) * (i + 1), name=f"w{i}"))
        z = h @ weights[-1]
        h = gc.tanh(z) * gc.sin(z)
    fetches = [h, *gc.gradients(gc.sum(h * h), weights)]
    function = prepare(as_request(fetches), Target()).function
    peak = find_peak(plan(function, ()), {}).bytes
    with recording() as log:
        rematerialise(function, Target(memory_budget=int(peak * 0.8)))
    found = {(d.subject, d.reason) for d in log.decisions if d.kind == "rematerialise" and not d.accepted}
    assert found >= {("matmul", "dear"), ("mul", "result")}
    assert all(REASONS["rematerialise"][reason] for _, reason in found)


def budgeted(fetches, feeds, budget):
    with gc.Session(memory_budget=budget, backend="numpy", verify=True) as session:
        return [np.asarray(value) for value in session.run(fetches, feeds)]


def least_of(error):
    return int(re.search(r"the least that this takes is (\d+) bytes", str(error))[1])


@EXACT
@given(st.data())
def test_random_graphs_keep_their_bits(data):
    with gc.Graph(seed=0).as_default():
        fetches, feeds = random_passes.drawn(data)
        right = random_passes.outcome(fetches, feeds, None)
        with gc.Session() as session:
            peak = session.compile(fetches, feeds).peak_bytes(
                {node.name: np.shape(value) for node, value in feeds.items()}
            )
        for share in (0.9, 0.7, 0.5):
            budget = max(int(peak * share), 1)
            try:
                found = budgeted(fetches, feeds, budget)
            except gc.ArgumentError as error:
                found = budgeted(fetches, feeds, least_of(error))
            random_passes.assert_same_bits(found, right, f"{share}:\n{gc.show(fetches)}")


@pytest.mark.parametrize("depth", [500, 1000])
def test_the_work_is_linear(depth, monkeypatch):
    """However long a chain is, flow networks stay small, and few plans are looked at."""
    import passes.recomputation as recomputation
    import passes.rematerialisation as module

    x = gc.placeholder("float32", (256,), name="x")
    y = x
    for _ in range(depth):
        y = gc.tanh(y)
    fetches = as_request(gc.gradients(gc.sum(y), [x]))
    function = prepare(fetches, Target(pipeline=without(PIPELINE, "rematerialise"))).function
    work = {"edges": 0, "peaks": 0}
    cut, peak = networkx.minimum_cut, module.find_peak

    def counted_cut(flow, *ends):
        work["edges"] += flow.number_of_edges()
        assert flow.number_of_edges() <= 8 * recomputation.MOST_NODES
        return cut(flow, *ends)

    def counted_peak(*args):
        work["peaks"] += 1
        return peak(*args)

    monkeypatch.setattr(networkx, "minimum_cut", counted_cut)
    monkeypatch.setattr(module, "find_peak", counted_peak)
    budget = int(find_peak(plan(function, ()), {}).bytes * 0.3)
    assert rematerialise(function, Target(memory_budget=budget)) is not function
    assert work["edges"] <= 60 * len(function.nodes())
    assert work["peaks"] <= 24
