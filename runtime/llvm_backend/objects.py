"""Objects: from the text of an LLVM module to object code, which is kept by what it was made of.

The key of an object is the hash of its text, the machine and the versions, so it never is out of date.
Functions that a module hands out bear its key in the object (``kernel`` becomes ``kernel.<key>``): many
objects fit into one library without a clash of names.
"""

from __future__ import annotations

import hashlib
import os
import threading
from functools import cache
from typing import Any

import llvmlite.binding as llvm

from graphc.errors import VerificationError
from runtime.llvm_backend.cache import ByteCache, locate
from runtime.llvm_backend.machine import host, open_target_machine

_FORMAT = "graphc object 1"  # raise it where the way from text to object changes

# LLVM itself is not safe after a fork in the midst of it: a fork waits until nobody is in there.
lock = threading.RLock()
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)


def key_of(text: str) -> str:
    """The name of the object of `text` on this machine: 40 hexadecimal digits."""
    digest = _begun().copy()
    digest.update(text.encode())
    key: str = digest.hexdigest()[:40]
    return key


def symbol_of(function: str, key: str) -> str:
    """What `function` of a module is called in the object of that key."""
    return f"{function}.{key}"


def objects() -> ByteCache:
    """The cache of objects; GRAPHC_CACHE is read anew at each call."""
    return _cache_in(locate())


def make_object(name: str, text: str) -> bytes:
    """The object code of the module `text`, compiled unless the cache has it.

    Raises: VerificationError naming `name` where the text is no valid LLVM module.
    """
    key = key_of(text)
    kept = objects()
    found = kept.get(key)
    if found is None:
        found = _compile(name, text, key)
        kept.put(key, found)
    return found


def _compile(name: str, text: str, key: str) -> bytes:
    with lock:
        try:
            module = llvm.parse_assembly(text)
            module.verify()
        except RuntimeError as error:
            raise VerificationError(f"kernel {name}: its LLVM text is not valid: {error}") from None
        for function in module.functions:
            if not function.is_declaration and function.linkage is llvm.Linkage.external:
                function.name = symbol_of(function.name, key)
        image: bytes = _target_machine().emit_object(module)
        return image


@cache
def _begun() -> Any:
    return hashlib.sha256("\n".join((_FORMAT, host().describe(), "")).encode())


@cache
def _cache_in(folder: str | None) -> ByteCache:
    return ByteCache(folder)


@cache
def _target_machine() -> Any:
    return open_target_machine()
