"""Engine: the modules that every program needs beside its kernels."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from runtime.llvm_backend.engine.objects import Module, expect, make_objects
from runtime.llvm_backend.table.blocks import blocks_module
from runtime.llvm_backend.table.builtin import find_trouble
from runtime.llvm_backend.table.callcode import call_module
from runtime.llvm_backend.table.forkjoin import fork_module
from runtime.llvm_backend.table.steploop import loop_module


def prepare(modules: Iterable[Module]) -> None:
    """Has the objects of `modules` and of the engine made, those the cache lacks all at once.

    What is loaded afterwards finds them there. Raises: VerificationError.
    """
    make_objects([*modules, *_own(2)])


@cache
def begin(threads: int) -> None:
    """Has the engine's objects made that the cache lacks, for `threads` threads, while the caller goes on.

    Once: what was loaded stays loaded.
    """
    expect(_own(threads))


def _own(threads: int) -> list[Module]:
    own = [loop_module(), blocks_module()]
    if not find_trouble():
        own.insert(0, call_module({}))  # the largest
    if threads > 1:
        own.append(fork_module())
    return own
