"""The worker: what a measurement measures, and what a process tells of it."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from runtime.benchmark import introspection, worker
from runtime.benchmark.families import Family, normal
from runtime.benchmark.introspection import find_peak, is_countable
from runtime.benchmark.peers.graphc_peer import Graphc
from runtime.benchmark.processes import ROOT, environment


class Peer:
    """A library that takes its time, and memory that it gives back."""

    def version(self):
        return "peer 1"

    def supports(self, family):
        return True

    def build(self, family, size, parameters, cases):
        time.sleep(0.06)
        assert len(b"x" * 20_000_000) == 20_000_000
        return lambda case: [np.full(3, 2.0), np.full(2, -4.0)]

    @property
    def executable(self):
        assert len(bytes(40_000_000)) == 40_000_000


@pytest.fixture
def measurement(monkeypatch):
    made = worker.Measurement(
        {"peer": "graphc-numpy", "family": "chain", "size": 4, "threads": 1, "seconds": 0.0}
    )
    made.peer = Peer()
    made.job["peer"] = "jax"  # which says nothing of itself
    return made


def test_a_cold_compilation_is_in_two_parts_on_the_clock_and_of_processors(measurement):
    found = measurement.cold()
    assert found["seconds"] == pytest.approx(found["build"] + found["first"])
    assert found["build"] > 0.05
    assert found["cpu"] < found["seconds"] - 0.03  # it slept
    assert found["digest"] == [2, -1.0, 3.0]
    assert "stages" not in found


def test_a_hot_run_is_the_median(measurement, monkeypatch):
    measurement.cold()
    clock = iter([0.0, 0.0, 1.0, 1.0, 4.0, 4.0, 6.0])  # when it ends, then pairs: 1, 3 and 2 seconds
    monkeypatch.setattr(worker.time, "perf_counter", lambda: next(clock, 9.0))
    assert measurement.hot() == {"seconds": 2.0, "least": 1.0, "runs": 3}


@pytest.mark.parametrize(
    ("times", "median"), [([0.3, 0.1, 0.2], 0.2), ([0.4, 0.7, 0.5], 0.4), ([1.5, 0.1], 1.5)]
)
def test_a_warm_process_is_the_median_of_what_begins_in_a_second(measurement, monkeypatch, times, median):
    left = list(times)
    monkeypatch.setattr(measurement, "_compile", lambda: {"seconds": left.pop(0)})
    assert measurement.again() == {"seconds": median}
    assert len(left) == (0 if sum(times) < 1 else 1)


def test_importing_is_that_of_a_process_that_has_loaded_nothing(monkeypatch):
    monkeypatch.setattr(worker, "_time_import", lambda: 42.0)
    job = {"peer": "graphc", "family": "chain", "size": 4, "threads": 1, "seconds": 0.0}
    assert worker.Measurement(job).start()["seconds"] == 42.0


def test_the_peak_of_memory_is_what_was_held_at_once_and_compiling_belongs_to_it():
    assert 40_000_000 <= find_peak(Peer(), "chain", 4, {}, []) < 50_000_000


def tell(code, tmp_path, job):
    """The parts that a worker tells where `code` ran before it."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport runtime.benchmark.worker as w; w.main()"],
        input=json.dumps(job), capture_output=True, text=True, cwd=ROOT, check=False, timeout=120,
        env={**environment(str(tmp_path), 1), "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {part.pop("part"): part for part in map(json.loads, done.stdout.splitlines())}


JOB = {"peer": "graphc-numpy", "family": "switch", "size": 4, "threads": 1, "parts": ["cold"], "seconds": 0.0}


def test_what_a_library_prints_is_no_part(tmp_path):
    code = """
import os
from runtime.benchmark.peers.graphc_peer import Graphc
Graphc.version = lambda self: print("hello", flush=True) or os.write(1, b"from C") and "1"
"""
    found = tell(code, tmp_path, JOB)
    assert list(found) == ["start", "cold"]
    assert found["start"]["version"] == "1"


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="peaks are not counted anew")
def test_the_peak_of_a_compilation_is_not_that_of_what_came_before_it(tmp_path):
    code = """
import numpy as np
from runtime.benchmark.peers.graphc_peer import Graphc
build = Graphc.build
Graphc.build = lambda *given: (np.ones(6_000_000), build(*given))[1]
np.ones(40_000_000)
"""
    assert 40 < tell(code, tmp_path, JOB)["cold"]["mb"] < 150


def test_a_graph_whose_ops_are_not_there_is_not_tried(tmp_path):
    code = "import runtime.benchmark.peers.graphc_peer as peer; peer.NEEDS = frozenset()"
    found = tell(code, tmp_path, JOB)
    assert list(found) == ["start"]
    assert found["start"]["supported"] is False


def test_a_graph_that_cannot_be_counted_leaves_the_others(tmp_path):
    found = tell("", tmp_path, {"counts": [["chain", "x"], ["chain", 4]]})
    assert found["chain x"]["error"].startswith("TypeError: ")
    assert found["chain 4"]["executables"] == 1
    assert found["chain 4"]["kernels"] > 0


def test_executables_are_counted_over_all_cases(monkeypatch):
    """A size of 1 that broadcasts takes one of its own."""

    def inputs(random, size):
        return [{"x": normal(random, 4), "y": normal(random, n)} for n in (4, 1, 4)]

    family = Family("", lambda o, p, x, size: x.x + x.y, (1,), 1, inputs)
    monkeypatch.setitem(worker.FAMILIES, "broadcast", family)
    assert introspection.count("broadcast", 1)["executables"] == 2
    assert introspection.count("chain", 4)["executables"] == 1


def test_counting_runs_the_passes_once(monkeypatch):
    """A record runs them again, and says of each what it changed, which takes far longer than compiling."""
    monkeypatch.setattr("runtime.records.document.prepare_recorded", None)
    counted = introspection.count("switch", 4)
    assert counted["steps"] > counted["kernels"] > 0


@pytest.mark.parametrize("missing", ["avx2", "fma", "bmi2"])
def test_a_machine_without_its_level_counts_nothing(monkeypatch, missing):
    from runtime.llvm_backend.engine import llvm

    features = dict.fromkeys(("avx2", "fma", "bmi2"), True)
    monkeypatch.setattr(introspection.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(llvm, "host_cpu", lambda: ("cpu", features))
    assert is_countable()
    monkeypatch.setattr(llvm, "host_cpu", lambda: ("cpu", {**features, missing: False}))
    assert not is_countable()
    monkeypatch.setattr(llvm, "host_cpu", lambda: ("cpu", features))
    monkeypatch.setattr(introspection.platform, "machine", lambda: "arm64")
    assert not is_countable()


def test_kernels_are_shared_by_their_text():
    """Some kernels of an LSTM differ in their constants or sizes alone; each text is compiled once."""
    peer = Graphc(1, "llvm")
    family = worker.FAMILIES["lstm"]
    parameters, cases = family.make(3)
    peer.build(family, 3, parameters, cases)(cases[0])
    distinct, steps = peer.sharing()
    assert distinct == len({kernel.text for kernel in peer.executable.kernels}) < len(peer.executable.kernels)
    assert steps == sum(kind == "llvm" for kind in peer.executable.native.kinds.values())
