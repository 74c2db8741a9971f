"""Engine: the modules that every program needs beside its kernels."""

from __future__ import annotations

from collections.abc import Iterable

from runtime.llvm_backend.builtin import find_trouble
from runtime.llvm_backend.callcode import call_module
from runtime.llvm_backend.forkjoin import fork_module, parallel_module
from runtime.llvm_backend.objects import Module, make_objects
from runtime.llvm_backend.steploop import loop_module


def prepare(modules: Iterable[Module]) -> None:
    """Has the objects of `modules` and of the engine made, those the cache lacks all at once.

    What is loaded afterwards finds them there. Raises: VerificationError.
    """
    own = [loop_module(), fork_module(), parallel_module({})]
    if not find_trouble():
        own.append(call_module({}))
    make_objects([*modules, *own])
