"""Shelf: templates on the disk, in the cache of objects, for other processes of this very graphc."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from functools import cache, partial

import numpy as np

import graphc
from graphc.sizes import Symbol
from passes.stages import count, stage
from runtime.backend import Template
from runtime.llvm_backend.engine.cache import ByteCache
from runtime.llvm_backend.engine.machine import Machine, host
from runtime.llvm_backend.engine.mapping import can_map
from runtime.llvm_backend.engine.objects import objects
from runtime.llvm_backend.engine.postponement import postpone
from runtime.llvm_backend.native.lowered import Array, Lowered
from runtime.llvm_backend.native.native_program import NativeProgram
from runtime.llvm_backend.native.template import UnreadableError, pack, unpack
from runtime.sources import sources

MOST_BYTES = 8 << 20  # of a template
_FORMAT = "graphc template 3"


def recall(digest: str, symbols: Sequence[Symbol], arrays: Sequence[Array], threads: int) -> Template | None:
    """The template of a request of that `digest`; None where there is none, or none that can be used.

    `symbols` and `arrays` are the request's own, as its fingerprint has them.
    """
    with stage("recall"):
        data = objects().get(_key(digest)) if can_map() else None
        if data is None:
            return None
        ours = _sources()
        if ours is None or data[: len(ours)] != ours:
            return None
        try:
            lowered = unpack(data[len(ours) :], symbols, arrays)
        except UnreadableError:
            count("templates unreadable", 1)
            return None
        return partial(NativeProgram, lowered, threads)


def remember(digest: str, native: NativeProgram, symbols: Sequence[Symbol], arrays: Sequence[Array]) -> None:
    """Keeps a template of `native` for `recall`, where that can be, once nobody waits for anything."""
    kept = objects()
    if kept.folder is not None and can_map():
        postpone(partial(_remember, kept, _key(digest), native.lowered, symbols, arrays))


def _remember(
    kept: ByteCache, key: str, lowered: Lowered, symbols: Sequence[Symbol], arrays: Sequence[Array]
) -> None:
    ours = _sources()
    data = None if ours is None else pack(lowered, symbols, arrays)
    if ours is not None and data is not None and len(data) <= MOST_BYTES:
        kept.put(key, ours + data)


def _key(digest: str) -> str:
    """The name of the entry of a request."""
    return hashlib.sha256(f"{_FORMAT}\n{_known(host())}\n{digest}".encode()).hexdigest()[:40]


@cache
def _known(machine: Machine) -> str:
    """Where this graphc is, and what passes and kernels look at."""
    return "\n".join((graphc.__file__, graphc.__version__, np.__version__, sys.version, str(machine)))


def _sources() -> bytes | None:
    """What an entry begins with: this very graphc. It takes longer to tell than that there is no entry."""
    found = sources()
    return None if found is None else found.encode()
