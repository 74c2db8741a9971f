"""Objects: from the text of LLVM modules to object code, which is kept by what it was made of.

The key of an object is the hash of its text, the machine and the versions, so it never is out of date.
Functions that a module hands out bear its key in the object (``kernel`` becomes ``kernel.<key>``): many
objects fit into one library without a clash of names.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from passes.stages import count, is_counted
from runtime.llvm_backend.engine.cache import ByteCache, locate
from runtime.llvm_backend.engine.compiler import Job, Text, begin, finish
from runtime.llvm_backend.engine.llvm import THOROUGH
from runtime.llvm_backend.engine.machine import host
from runtime.llvm_backend.engine.splitting import join, split

ENTRY = "kernel"
_GOES_ON = re.compile(r"[\w.$-]").match  # in the name of a function
_FORMAT = "graphc object 5"  # raise it where the way from text to object changes


@dataclass(frozen=True, slots=True)
class Module:
    """The text of an LLVM module.

    Attributes:
        name: what messages call it. It is no part of what is compiled: equal texts are one.
        text: it calls nothing but intrinsics and what `imports` name.
        functions: those that it hands out. They are external; all else in it is internal or private.
        imports: the address of each symbol that it declares only.
        effort: `llvm.THOROUGH`, or `llvm.QUICK` where making its code takes longer than running it is worth.
    """

    name: str
    text: str
    functions: tuple[str, ...] = (ENTRY,)
    imports: Mapping[str, int] = field(default_factory=dict)
    effort: int = THOROUGH
    _key: str = field(default="", init=False, compare=False, repr=False)  # once it was asked for

    def key(self) -> str:
        """The name of its object on this machine: 40 hexadecimal digits."""
        if not self._key:
            digest = _begun().copy()
            digest.update("\n".join((*self.functions, "", f"; effort {self.effort}", self.text)).encode())
            object.__setattr__(self, "_key", digest.hexdigest()[:40])
        return self._key


def symbol_of(function: str, key: str) -> str:
    """What `function` of a module is called in the object of that key."""
    return f"{function}.{key}"


def objects() -> ByteCache:
    """The cache of objects; GRAPHC_CACHE is read anew at each call."""
    return _cache_in(locate())


def expect(modules: Iterable[Module]) -> None:
    """Has the objects of `modules` made that the cache lacks, by other threads, while the caller goes on."""
    kept = objects()
    for module in modules:
        key = module.key()
        if key not in _coming and kept.get(key) is None:
            texts, keep = _prepared(module, key, kept)
            _coming[key] = begin(texts, keep)
    while len(_coming) > _MOST_COMING:  # what nobody came for, because something failed
        _coming.pop(next(iter(_coming)), None)


def make_objects(modules: Iterable[Module]) -> dict[str, bytes]:
    """The object code of `modules` by key: from the cache, or compiled, on all cores if there are many.

    Raises: VerificationError naming a module whose text is not valid.
    """
    kept = objects()
    found: dict[str, bytes] = {}
    jobs: dict[str, list[Job]] = {}
    missing: dict[str, Module] = {}
    for module in modules:
        key = module.key()
        if key in found or key in jobs or key in missing:
            continue
        coming = _coming.pop(key, None)
        if coming is not None:
            jobs[key] = coming
        elif (image := kept.get(key)) is not None:
            found[key] = image
        else:
            missing[key] = module
    count("modules from cache", len(found))
    for key, module in missing.items():
        texts, keep = _prepared(module, key, kept)
        jobs[key] = begin(texts, keep, len(missing) == 1)
    if jobs:
        images = iter(finish([job for each in jobs.values() for job in each]))
        found.update((key, join([next(images) for _ in each])) for key, each in jobs.items())
    count("object bytes", sum(map(len, found.values())))
    return found


_MOST_COMING = 1024
_coming: dict[str, list[Job]] = {}  # what `expect` was told of and nobody has come for, by key
if hasattr(os, "register_at_fork"):  # the threads that compile stay with the parent
    os.register_at_fork(after_in_child=_coming.clear)


def _prepared(module: Module, key: str, kept: ByteCache) -> tuple[list[Text], Callable[[Job], None]]:
    """What jobs are begun with, and what is done when one of them has ended."""
    text = object_text(module, key)
    parts = split(text, key) if module.effort == THOROUGH else [(text, module.effort)]
    texts = [(module.name, part, effort) for part, effort in parts]
    images: dict[str, bytes] = {}  # by their texts

    def keep(job: Job) -> None:
        if job.image is not None:
            images[job.text] = job.image
        if len(images) == len(texts):  # maybe on two threads at once, which put the same
            kept.put(key, join([images[part] for _, part, _ in texts]))

    if is_counted():
        count("modules compiled", 1)
        count("IR instructions", count_instructions(text))
    return texts, keep


def count_instructions(text: str) -> int:
    """The instructions in the text of a module: its indented lines, as this project writes them."""
    return sum(line.startswith("  ") for line in text.splitlines())


def object_text(module: Module, key: str) -> str:
    """The text of `module` with its functions under the names that the object of that key gives them."""
    text = module.text
    for function in module.functions:
        begun, *parts = text.split(f"@{function}")
        text = begun + "".join([_called(function, key, behind) + behind for behind in parts])
    return text


def _called(function: str, key: str, behind: str) -> str:
    """What stands for ``@function``, unless it is the beginning of another name, which goes on `behind`."""
    return f"@{function}" if _GOES_ON(behind) else f"@{function}.{key}"


@cache
def _begun() -> Any:
    return hashlib.sha256("\n".join((_FORMAT, host().identity, "")).encode())


@cache
def _cache_in(folder: str | None) -> ByteCache:
    return ByteCache(folder)
