"""Introspection: what only graphc can say of itself: its stages, its counters, its memory."""

from __future__ import annotations

import platform
import tracemalloc
from typing import Any

from passes.record import recording
from runtime.benchmark.families import FAMILIES, Array, Arrays
from runtime.benchmark.peers.graphc_peer import Graphc

COUNTED_CPU = "x86-64-v3"  # counters are those of kernels for it, so that they are the same everywhere


def is_countable() -> bool:
    """Whether this machine can run what the counters are counted of."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    from runtime.llvm_backend.engine import llvm

    _, features = llvm.host_cpu()
    return all(features.get(name) for name in ("avx2", "fma", "bmi2"))


def count(name: str, size: int, threads: int = 2) -> dict[str, int]:
    """What compiling a graph of family `name` counts: the same each time, whatever is cached.

    With GRAPHC_CPU set to a level, it is the same on every machine.
    """
    peer = Graphc(threads, "llvm")
    family = FAMILIES[name]
    parameters, cases = family.make(size)
    graph, fetches, fed, begin = peer.define(family, size, parameters, cases)
    import graphc as gc

    with gc.Session(graph=graph, backend="llvm", threads=threads) as session:
        if parameters:
            session.run(begin)
        before = session.compile_count
        with recording() as log:
            executable = session.compile(fetches, fed)
        for case in cases:
            session.run(fetches, dict(zip(fed, case.values(), strict=True)))
        return {
            "executables": session.compile_count - before,
            "nodes": len(executable.function.nodes()),
            **log.counters.as_dict(),
            **_kernels(executable),
        }


def _kernels(executable: Any) -> dict[str, int]:
    from runtime.llvm_backend.engine.objects import count_instructions

    texts = {kernel.text for kernel in executable.kernels}
    steps = sum(len(program.steps) for program in executable.walked())
    return {
        "steps": steps,
        "steps in Python": executable.native.returns if executable.native else steps,
        "kernels": len(texts),
        "IR instructions": sum(map(count_instructions, texts)),
    }


def find_peak(peer: Graphc, name: str, size: int, parameters: Arrays, cases: list[dict[str, Array]]) -> int:
    """The most bytes that Python and NumPy hold at once while a graph is built and compiled."""
    tracemalloc.start()
    try:
        peer.build(FAMILIES[name], size, parameters, cases)
        _ = peer.executable
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
