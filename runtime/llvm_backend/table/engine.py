"""Engine: the parts that every program needs beside its kernels."""

from __future__ import annotations

from runtime.llvm_backend.engine import objects
from runtime.llvm_backend.engine.parts import Part
from runtime.llvm_backend.table import builtin, pool, steploop


def begin(threads: int) -> None:
    """Has the engine's objects made that the cache lacks, for `threads` threads, while the caller goes on."""
    for part in _parts(threads):
        if not part.is_loaded:  # LLVM is loaded while the text of the next is written
            objects.expect([part.module], later=True)


def is_coming(threads: int) -> bool:
    """Whether some of it is still being compiled; runs take a slower way until it is there."""
    return any(part.is_coming() for part in _parts(threads))


def wait(threads: int) -> None:
    """Waits until all of it is there."""
    missing = [part for part in _parts(threads) if not part.is_loaded]
    objects.make_objects([part.module for part in missing])  # at once
    for part in missing:
        part.load()


def _parts(threads: int) -> list[Part]:
    """In the order in which they hasten a run."""
    return [
        *([pool.CODE] if threads > 1 else []),
        steploop.CODE,
        *([] if builtin.find_trouble() else [builtin.CODE]),
    ]
