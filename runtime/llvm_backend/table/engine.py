"""Engine: the parts that every program needs beside its kernels."""

from __future__ import annotations

from runtime.llvm_backend.engine import objects
from runtime.llvm_backend.engine.compiler import get_ready
from runtime.llvm_backend.engine.mapping import can_map, system
from runtime.llvm_backend.engine.parts import Part
from runtime.llvm_backend.table import builtin, forkjoin, pool, steploop


def look_up() -> None:
    """Finds all that the engine calls: while the system loads LLVM, it looks nothing up."""
    if can_map():
        system()
    forkjoin.fork_imports()
    steploop.loop_imports()
    if not builtin.find_trouble():
        builtin.look_up()


def begin(threads: int) -> None:
    """Has what there is of the engine loaded, and the rest made, for `threads` threads, by other threads.

    Where the cache is empty, kernels are going to be made: LLVM is loaded meanwhile.
    """
    if objects.objects().is_empty():
        get_ready()
    for part in _parts(threads):
        if part.is_built:
            part.load()
        elif not part.is_loaded:
            objects.expect([part.module], later=True)


def is_coming(threads: int) -> bool:
    """Whether some of it is still being compiled; runs take a slower way until it is there."""
    return any(part.is_coming() for part in _parts(threads))


def wait(threads: int) -> None:
    """Waits until all of it is there."""
    missing = [part for part in _parts(threads) if not part.is_loaded]
    objects.make_objects([part.module for part in missing if not part.is_built])  # at once
    for part in missing:
        part.load()


def _parts(threads: int) -> list[Part]:
    """In the order in which they hasten a run."""
    return [
        *([pool.CODE] if threads > 1 else []),
        steploop.CODE,
        *([] if builtin.find_trouble() else [builtin.CODE]),
    ]
