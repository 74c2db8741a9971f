"""Runs a part of a test as on another CPU: of a level of x86-64, in a process of its own."""

import os
import subprocess
import sys

import pytest

from runtime.llvm_backend.engine.machine import host

_VECTOR_BYTES = {"x86-64-v2": 16, "x86-64-v3": 32, "x86-64-v4": 64}


def run_at_level(level: str, code: str) -> None:
    """Runs Python `code` at a level, or as on this CPU (""); skips where the CPU is not of that level."""
    if level and (host().architecture != "x86_64" or host().vector_bytes < _VECTOR_BYTES[level]):
        pytest.skip("the CPU is not of that level")
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "GRAPHC_CPU": level, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
