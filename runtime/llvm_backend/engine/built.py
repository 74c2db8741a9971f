"""Built: objects that come with this package, of modules that are the same in all programs.

An object is found by the hash of its module's text. Where that has changed and nobody has built it anew
(`table.building`), and on systems that none is built for, the module is compiled as all others are. See
docs/decisions/0022-the-engine-is-built-ahead.md.
"""

from __future__ import annotations

import hashlib
import os
import sys
from functools import cache

from runtime.llvm_backend.engine.machine import architecture

LEVEL = "x86-64"  # what it is built for: all CPUs of this architecture
FOLDER = os.path.join(os.path.dirname(os.path.dirname(__file__)), "built")
SUFFIX = ".o"
_DIGEST = hashlib.sha256().digest_size


def sealed(image: bytes) -> bytes:
    """What a file holds: the object, and what tells whether it is whole."""
    return image + hashlib.sha256(image).digest()


@cache
def find(key: str) -> bytes | None:
    """The object of `key`; None where there is none for this system, or it is damaged."""
    if not sys.platform.startswith("linux") or architecture() != "x86_64":
        return None
    try:
        with open(os.path.join(FOLDER, key + SUFFIX), "rb") as file:
            content = file.read()
    except OSError:
        return None
    image = content[:-_DIGEST]
    return image if content == sealed(image) else None
