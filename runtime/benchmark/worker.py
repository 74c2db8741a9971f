"""Worker: one process that measures one graph in one library, and tells each part as soon as it has it.

    python -m runtime.benchmark.worker < job.json

Parts go to standard output, one JSON object a line; whatever libraries print goes to standard error.
"""

from __future__ import annotations

import gc as garbage
import importlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from runtime.benchmark.families import FAMILIES, Arrays
from runtime.benchmark.peers import ADAPTERS, Step

OWN = ("graphc", "graphc-numpy")  # those that can say more of themselves


def _time_import() -> float:
    """Seconds to import graphc in a process that has loaded nothing yet, not even NumPy."""
    code = "import time; begin = time.perf_counter(); import graphc; print(time.perf_counter() - begin)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


class Measurement:
    """What a job asks for, part after part.

    `job` has `peer`, `family`, `size`, `threads`, `parts` and, for how long a hot graph runs, `seconds`.
    """

    def __init__(self, job: dict[str, Any]) -> None:
        self.job, self.family = job, FAMILIES[job["family"]]
        self.size: int = job["size"]
        self.parameters, self.cases = self.family.make(self.size)
        begin = time.perf_counter()
        adapter = importlib.import_module(f"runtime.benchmark.peers.{ADAPTERS[job['peer']]}")
        self.peer = adapter.open_peer(job["threads"])
        imported = time.perf_counter() - begin
        self.imported = _time_import() if job["peer"] in OWN else imported
        self.step: Step | None = None

    def start(self) -> dict[str, Any]:
        """Importing, and whether the library has what the family needs."""
        return {
            "seconds": self.imported,
            "version": self.peer.version(),
            "supported": self.peer.supports(self.family),
            "mb": _peak_mb(),
        }

    def cold(self) -> dict[str, Any]:
        """From nothing to the end of the first run (of one run for each size of inputs)."""
        return self._compile()

    def again(self) -> dict[str, Any]:
        """The same graph defined and compiled again in this process: of up to three, the median."""
        found = [self._compile()]
        while len(found) < 3 and sum(each["seconds"] for each in found) < 1.0:
            found.append(self._compile())
        return median_of(found)

    def _compile(self) -> dict[str, Any]:
        own = self.job["peer"] in OWN
        from_inside: Any = importlib.import_module("passes.stages") if own else None
        listening: AbstractContextManager[Any] = from_inside.listening() if own else nullcontext()
        stage: Any = from_inside.stage if own else lambda name: nullcontext()
        _give_back_peak()
        before = _peak_mb()
        cpu, begin = time.process_time(), time.perf_counter()
        with listening as heard:
            with stage("build"):
                self.step = self.peer.build(self.family, self.size, self.parameters, self.cases)
            built = time.perf_counter()
            with stage("first run"):
                results = [np.asarray(y) for case in self._first_cases() for y in self.step(case)]
        end = time.perf_counter()
        found: dict[str, Any] = {
            "seconds": end - begin,
            "build": built - begin,
            "first": end - built,
            "cpu": time.process_time() - cpu,
            "mb": _peak_mb() - before,
            "digest": _digest(results),
        }
        if own:
            found["stages"] = {
                name: [s, heard.cpu[name], heard.entered[name]] for name, s in heard.wall.items()
            }
            found["counts"] = dict(heard.counts)
            found["sharing"] = self.peer.sharing()
            self.peer.settle()
        return found

    def _first_cases(self) -> Sequence[Arrays]:
        """Where sizes differ between cases, all of them belong to the first run."""
        varies = any(None in shape for shape in self.family.shapes(self.cases).values())
        return self.cases if varies else self.cases[:1]

    def hot(self) -> dict[str, Any]:
        """The median time of a run (of one pass over all sizes of inputs) once all is compiled."""
        assert self.step is not None
        step, cases = self.step, self._first_cases()
        samples: list[float] = []
        garbage.collect()
        end = time.perf_counter() + self.job["seconds"]
        while len(samples) < 3 or (time.perf_counter() < end and len(samples) < 10_000):
            begin = time.perf_counter()
            for case in cases:
                step(case)
            samples.append(time.perf_counter() - begin)
        return {"seconds": statistics.median(samples), "least": min(samples), "runs": len(samples)}

    def memory(self) -> dict[str, Any]:
        """The peak of what Python holds while the graph is built and compiled."""
        introspection = importlib.import_module("runtime.benchmark.introspection")
        given = self.job["family"], self.size, self.parameters, self.cases
        return {"bytes": introspection.find_peak(self.peer, *given)}


def median_of(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of several measurements of one thing that of the median time, the lower one of two."""
    return sorted(runs, key=lambda run: float(run["seconds"]))[(len(runs) - 1) // 2]


def _digest(results: Sequence[Any]) -> list[float]:
    """A few numbers that tell whether two libraries computed the same."""
    whole = [float(np.mean(y, dtype=np.float64)) for y in results]
    return [len(whole), float(np.mean(whole)), float(np.mean(np.abs(whole)))]


def _peak_mb() -> float:
    """The most memory that this process has used so far, in megabytes."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024
    except (OSError, StopIteration):
        import resource  # not on Windows

        unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def _give_back_peak() -> None:
    """Has the system count the peak anew, where it can (proc(5): 5 resets VmHWM)."""
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    except OSError:
        return  # then the peak is that of the whole process


def tell_counts(job: dict[str, Any], tell: Callable[[str, dict[str, Any]], None]) -> None:
    """The deterministic counters of each (family, size) in ``job["counts"]``."""
    introspection = importlib.import_module("runtime.benchmark.introspection")
    for family, size in job["counts"]:
        try:
            tell(f"{family} {size}", introspection.count(family, size))
        except Exception as error:  # the others are counted all the same
            tell(f"{family} {size}", {"error": f"{type(error).__name__}: {error}"})


def main() -> None:
    """Reads a job, tells its parts."""
    told = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    job = json.loads(sys.stdin.read())

    def tell(part: str, found: dict[str, Any]) -> None:
        told.write(json.dumps({"part": part, **found}) + "\n")
        told.flush()

    try:
        if "counts" in job:
            tell_counts(job, tell)
            return
        measurement = Measurement(job)
        start = measurement.start()
        tell("start", start)
        for part in job["parts"] if start["supported"] else ():
            tell(part, getattr(measurement, part)())
    except Exception as error:  # whatever a library raises is its answer
        lines = str(error).strip().splitlines() or [""]
        tell("error", {"text": f"{type(error).__name__}: {lines[0][:200]}"})
    finally:
        told.close()
    sys.stdout.flush()
    os._exit(0)  # libraries with threads of their own take their time to end


if __name__ == "__main__":
    main()
