"""Profiles: every step has its time, nothing is committed, on each backend."""

import numpy as np
import pytest

import graphc as gc
from runtime.llvm_backend.native.native_program import NativeProgram


def training():
    x = gc.placeholder("float32", ("batch", 8), name="x")
    w = gc.Variable(np.ones((8, 4), np.float32), name="w")
    loss = gc.mean(gc.square(gc.tanh(x @ w)))
    return {"loss": loss, "train": gc.train.SGD(0.1).minimize(loss)}


FEEDS = {"x": np.ones((64, 8), np.float32)}


@pytest.mark.parametrize("backend", gc.backends())
def test_every_step_is_measured_and_nothing_is_kept(backend):
    fetches = training()
    with gc.Session(backend=backend) as session:
        session.run(gc.global_variables_initializer())
        before = session.run("w")
        profile = session.profile(fetches, FEEDS, runs=4)
        np.testing.assert_array_equal(session.run("w"), before)
        loss = session.run(fetches["loss"], FEEDS)
        assert loss == session.run(fetches["loss"], FEEDS)
    assert profile.runs == 4
    assert 0 < profile.least <= profile.seconds
    steps = profile.executable.program.steps
    assert [step.op for step in profile.steps] == [step.node.op.name for step in steps]
    for step in profile.steps:
        assert step.seconds >= step.least >= 0
        if step.kind in ("llvm", "meaning"):
            assert step.seconds > 0
    assert "test_profile.py" in str(profile)
    assert "4 runs" in repr(profile)


@pytest.mark.parametrize("backend", gc.backends())
def test_a_loop_takes_as_long_as_its_steps(backend):
    x = gc.placeholder("float32", (50, 16), name="x")
    last, _ = gc.scan(lambda t, row: (gc.tanh(t + row), None), gc.zeros((16,)), x)
    with gc.Session(backend=backend) as session:
        profile = session.profile(last, {"x": np.ones((50, 16), np.float32)}, runs=3)
    spelled = profile.as_dict()["steps"]
    loops = [s for s, step in zip(spelled, profile.steps, strict=True) if step.op == "loop"]
    assert len(loops) == 1
    for name, inner in loops[0].get("bodies", {}).items():
        assert name
        assert sum(step["seconds"] for step in inner) <= loops[0]["seconds"] * 1.5
    if backend == "llvm":
        assert loops[0]["bodies"]


def test_the_record_of_a_profile_has_its_times():
    with gc.Session() as session:
        session.run(gc.global_variables_initializer())
        fetches = training()
        session.run(gc.global_variables_initializer())
        record = session.profile(fetches, FEEDS, runs=2).record
    assert record["profile"]["runs"] == 2
    assert len(record["profile"]["steps"]) == len(record["program"]["steps"])
    assert record["sizes"] == {"batch": 64}


def test_draws_are_profiled():
    y = gc.random.normal((1000,)) + 1.0
    with gc.Session(seed=1) as session:
        first = session.run(y)
        profile = session.profile(y, runs=2)
    with gc.Session(seed=1) as session:
        np.testing.assert_array_equal(session.run(y), first)
    assert profile.seconds > 0


def test_errors_are_those_of_a_run():
    fetches = training()
    with gc.Session() as session:
        with pytest.raises(gc.UninitializedError, match="w"):
            session.profile(fetches, FEEDS)
        session.run(gc.global_variables_initializer())
        with pytest.raises(gc.FeedError, match="x"):
            session.profile(fetches, {"x": np.ones((2, 2, 2), np.float32)})
        for runs in (0, -1, True, 1.5):
            with pytest.raises(gc.ArgumentError, match="runs"):
                session.profile(fetches, FEEDS, runs=runs)
    with pytest.raises(gc.SessionClosedError):
        session.profile(fetches, FEEDS)


def test_clocked_runs_write_over_the_results_of_those_before(monkeypatch):
    """New pages, cleared by the system while a step first writes to them, would count as its time."""
    held = []
    run_clocked = NativeProgram.run_clocked

    def noted(self, arrays):
        results, times = run_clocked(self, arrays)
        held.append(results)
        return results, times

    monkeypatch.setattr(NativeProgram, "run_clocked", noted)
    fetches = training()
    with gc.Session(backend="llvm") as session:
        session.run(gc.global_variables_initializer())
        session.profile(fetches, FEEDS, runs=3)
    places = {tuple(result.ctypes.data for result in results) for results in held}
    assert len(held) == 5
    assert len(places) == 1
    assert len(set(*places)) == 2
