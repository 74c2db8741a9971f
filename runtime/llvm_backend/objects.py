"""Objects: from the text of LLVM modules to object code, which is kept by what it was made of.

The key of an object is the hash of its text, the machine and the versions, so it never is out of date.
Functions that a module hands out bear its key in the object (``kernel`` becomes ``kernel.<key>``): many
objects fit into one library without a clash of names.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from passes.stages import count, is_heard
from runtime.llvm_backend.cache import ByteCache, locate
from runtime.llvm_backend.compiler import compile_modules
from runtime.llvm_backend.machine import host

ENTRY = "kernel"
_FORMAT = "graphc object 2"  # raise it where the way from text to object changes


@dataclass(frozen=True, slots=True)
class Module:
    """The text of an LLVM module.

    Attributes:
        name: what messages call it. It is no part of what is compiled: equal texts are one.
        text: it calls nothing but intrinsics and what `imports` name.
        functions: those that it hands out. They are external; all else in it is internal or private.
        imports: the address of each symbol that it declares only.
    """

    name: str
    text: str
    functions: tuple[str, ...] = (ENTRY,)
    imports: Mapping[str, int] = field(default_factory=dict)

    def key(self) -> str:
        """The name of its object on this machine: 40 hexadecimal digits."""
        digest = _begun().copy()
        digest.update("\n".join((*self.functions, "", self.text)).encode())
        key: str = digest.hexdigest()[:40]
        return key


def symbol_of(function: str, key: str) -> str:
    """What `function` of a module is called in the object of that key."""
    return f"{function}.{key}"


def objects() -> ByteCache:
    """The cache of objects; GRAPHC_CACHE is read anew at each call."""
    return _cache_in(locate())


def make_objects(modules: Iterable[Module]) -> dict[str, bytes]:
    """The object code of `modules` by key: from the cache, or compiled, on all cores if there are many.

    Raises: VerificationError naming a module whose text is not valid.
    """
    kept = objects()
    found: dict[str, bytes] = {}
    missing: dict[str, Module] = {}
    for module in modules:
        key = module.key()
        if key not in found and key not in missing:
            image = kept.get(key)
            if image is None:
                missing[key] = module
            else:
                found[key] = image
    texts = [(module.name, _rename(module, key)) for key, module in missing.items()]
    for key, image in zip(missing, compile_modules(texts), strict=True):
        kept.put(key, image)
        found[key] = image
    if is_heard():
        count("modules compiled", len(missing))
        count("modules from cache", len(found) - len(missing))
        count("object bytes", sum(map(len, found.values())))
        count("IR instructions", sum(count_instructions(text) for _, text in texts))
    return found


def count_instructions(text: str) -> int:
    """The instructions in the text of a module: its indented lines, as this project writes them."""
    return sum(line.startswith("  ") for line in text.splitlines())


def _rename(module: Module, key: str) -> str:
    """The text with its functions under the names that the object gives them."""
    names = "|".join(map(re.escape, module.functions))
    return re.sub(rf"@({names})(?![\w.$-])", rf"@\1.{key}", module.text)


@cache
def _begun() -> Any:
    return hashlib.sha256("\n".join((_FORMAT, host().describe(), "")).encode())


@cache
def _cache_in(folder: str | None) -> ByteCache:
    return ByteCache(folder)
