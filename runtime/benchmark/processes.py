"""Processes: a job in a process of its own, under limits, with an interpreter that has the library."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import runtime
from graphc.freezing import frozen
from runtime.benchmark.peers import ADAPTERS

ROOT = Path(str(runtime.__file__)).parent.parent
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
_POLL = 0.02  # seconds between two looks at a process
LIBRARIES = {name: name for name in ADAPTERS if not name.startswith("graphc")}

Parts = dict[str, dict[str, Any]]


@frozen
class Limits:
    """What a process may take: seconds, and megabytes of memory (0: any)."""

    seconds: float = 120.0
    megabytes: float = 0.0


_USUAL = Limits()


class Interpreters:
    """Which Python runs which library; also what of graphc is put next to libraries of other ones.

    Args:
        given: Pythons to look for libraries in, besides this one.
        folder: where what they import is put.
    """

    def __init__(self, given: Sequence[str], folder: str) -> None:
        self._pythons = (sys.executable, *given)
        self._folder, self._beside = folder, Path(folder) / "beside"

    def find(self, peer: str) -> str | None:
        """The first interpreter that has the library of `peer`; None where none does."""
        if peer not in LIBRARIES:
            return sys.executable
        look = f"import importlib.util as u, sys; sys.exit(u.find_spec({LIBRARIES[peer]!r}) is None)"
        for python in self._pythons:
            try:
                done = subprocess.run(
                    [python, "-c", look], capture_output=True, check=False, timeout=60, cwd=self._folder
                )
            except (OSError, subprocess.TimeoutExpired):
                continue
            if done.returncode == 0:
                return python
        return None

    def path_for(self, peer: str) -> str:
        """What is to be on the path of its interpreter: of all rooms, or of what adapters import only."""
        if peer not in LIBRARIES:
            return str(ROOT)
        target = self._beside / "runtime" / "benchmark"
        if not target.exists():
            source = ROOT / "runtime" / "benchmark"
            (target / "peers").mkdir(parents=True)
            shutil.copy(ROOT / "runtime" / "__init__.py", target.parent)
            for name in ("__init__.py", "families.py", "worker.py"):
                shutil.copy(source / name, target)
            for file in (source / "peers").glob("*.py"):
                shutil.copy(file, target / "peers")
        return str(self._beside)


@contextmanager
def scratch() -> Iterator[str]:
    """A folder for caches, gone afterwards."""
    folder = tempfile.mkdtemp(prefix="graphc-bench-")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def environment(folder: str, threads: int, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a process sees: caches in `folder`, and as many threads for every library."""
    own = {
        "GRAPHC_CACHE": os.path.join(folder, "graphc"),
        "TORCHINDUCTOR_CACHE_DIR": os.path.join(folder, "inductor"),
        "TRITON_CACHE_DIR": os.path.join(folder, "triton"),
        "NUMBA_CACHE_DIR": os.path.join(folder, "numba"),
        "PYTENSOR_FLAGS": f"base_compiledir={folder}/pytensor,floatX=float32",
        "JAX_PLATFORMS": "cpu",
        "CUDA_VISIBLE_DEVICES": "",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONHASHSEED": "0",
    }
    outer = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**outer, **own, **dict.fromkeys(_THREADS, str(threads)), **(more or {})}


def run_job(
    job: Mapping[str, Any], python: str, path: str, seen: Mapping[str, str], limits: Limits = _USUAL
) -> Parts:
    """The parts that a worker told. Where it ended early, ``"error"`` says why; what it told before stays."""
    with tempfile.TemporaryFile("w+") as told, tempfile.TemporaryFile("w+") as complaints:
        process = subprocess.Popen(
            [python, "-m", "runtime.benchmark.worker"],
            stdin=subprocess.PIPE,
            stdout=told,
            stderr=complaints,
            text=True,
            env={**seen, "PYTHONPATH": path},
            cwd=path,
            start_new_session=os.name == "posix",
        )
        try:
            trouble = _attend(process, json.dumps(job), limits)
        finally:
            _end(process)
        told.seek(0)
        parts = _read_parts(told.read())
        if not trouble and (process.returncode or not parts):
            complaints.seek(0)
            last = (complaints.read().strip().splitlines() or ["no message"])[-1]
            trouble = f"the process ended with status {process.returncode}: {last[:200]}"
    if trouble and "error" not in parts:
        parts["error"] = {"text": trouble}
    return parts


def _read_parts(told: str) -> Parts:
    """Those in whole lines; others are of what an interpreter greets with, before our code runs in it."""
    parts: Parts = {}
    for line in told[: told.rfind("\n") + 1].splitlines():
        with suppress(ValueError):
            match json.loads(line):
                case {"part": str(name)} as part:
                    parts[name] = {key: value for key, value in part.items() if key != "part"}
    return parts


def _attend(process: subprocess.Popen[str], job: str, limits: Limits) -> str:
    """Waits for the end; what was wrong, "" where nothing was."""
    assert process.stdin is not None
    try:
        process.stdin.write(job)
        process.stdin.close()
    except BrokenPipeError:
        return ""  # it ended at once, and its status says so
    end = time.monotonic() + limits.seconds
    while process.poll() is None:
        if time.monotonic() > end:
            return f"over the limit of {limits.seconds:g} s"
        if limits.megabytes and _megabytes(process.pid) > limits.megabytes:
            return f"over the limit of {limits.megabytes:g} MB"
        time.sleep(_POLL)
    return ""


def can_tell_memory() -> bool:
    """Whether the system tells what a process holds."""
    return _megabytes(os.getpid()) > 0


def _megabytes(pid: int) -> float:
    """What a process holds in memory now; 0 where the system does not tell, or it has ended."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
    except (OSError, ValueError, IndexError):
        return 0.0


def _end(process: subprocess.Popen[str]) -> None:
    """Ends a process, and those that it started, if it has not ended."""
    if process.poll() is None:
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
            # Past the lock of `Popen.wait`: who was interrupted in the midst of `poll` may hold it for ever.
            with suppress(ChildProcessError):
                os.waitpid(process.pid, 0)
            process.returncode = -signal.SIGKILL
        else:
            process.kill()
            process.wait()
