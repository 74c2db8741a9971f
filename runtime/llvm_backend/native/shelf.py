"""Shelf: templates on the disk, in the cache of objects, for other processes of this very graphc."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from dataclasses import astuple
from functools import partial

import numpy as np

from graphc.sizes import Symbol
from passes.stages import count, stage
from runtime.backend import Template
from runtime.llvm_backend.engine.machine import host
from runtime.llvm_backend.engine.mapping import can_map
from runtime.llvm_backend.engine.objects import objects
from runtime.llvm_backend.native.lowered import Array
from runtime.llvm_backend.native.native_program import NativeProgram
from runtime.llvm_backend.native.template import UnreadableError, pack, unpack
from runtime.sources import sources

MOST_BYTES = 8 << 20  # of a template
_FORMAT = "graphc template 1"


def recall(digest: str, symbols: Sequence[Symbol], arrays: Sequence[Array], threads: int) -> Template | None:
    """The template of a request of that `digest`; None where there is none, or none that can be used.

    `symbols` and `arrays` are the request's own, as its fingerprint has them.
    """
    with stage("recall"):
        key = _key(digest)
        data = None if key is None else objects().get(key)
        if data is None:
            return None
        try:
            lowered = unpack(data, symbols, arrays)
        except UnreadableError:
            count("templates unreadable", 1)
            return None
        return partial(NativeProgram, lowered, threads)


def remember(digest: str, native: NativeProgram, symbols: Sequence[Symbol], arrays: Sequence[Array]) -> None:
    """Keeps a template of `native` for `recall`, where that can be."""
    cache = objects()
    if cache.folder is None:
        return
    with stage("remember"):
        key = _key(digest)
        data = None if key is None else pack(native.lowered, symbols, arrays)
        if key is not None and data is not None and len(data) <= MOST_BYTES:
            cache.put(key, data)


def _key(digest: str) -> str | None:
    """The name of the entry: of the request, this graphc, and all that its passes and kernels look at."""
    ours = sources() if can_map() else None
    if ours is None:
        return None
    libraries = np.__version__, platform.python_version()
    whole = (_FORMAT, ours, *libraries, *map(str, astuple(host())), digest)
    return hashlib.sha256("\n".join(whole).encode()).hexdigest()[:40]
