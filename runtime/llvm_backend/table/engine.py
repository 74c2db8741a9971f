"""Engine: the parts that every program needs beside its kernels."""

from __future__ import annotations

from runtime.llvm_backend.engine import objects
from runtime.llvm_backend.engine.compiler import get_ready
from runtime.llvm_backend.engine.mapping import can_map, system
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
    if threads > 1:
        pool.CODE.begin()
    steploop.CODE.begin()
    if not builtin.find_trouble():
        builtin.CODE.begin()
