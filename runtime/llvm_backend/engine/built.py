"""Built: linked code that comes with this package, of modules that are the same in all programs.

One file for each system, found by its name. The texts depend on nothing else: what Pythons and NumPys differ
in is looked at before code relies on it (`table.builtin.find_trouble`). With each code stands the hash of the
text that it was made of. No run writes the text to compare them; a test does (`table.building` makes the file
anew). On systems that have none these modules are compiled as all others are. See
docs/decisions/0022-the-engine-is-built-ahead.md.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import sys
from collections.abc import Mapping
from functools import cache

from graphc.freezing import frozen
from runtime.llvm_backend.engine.linking import Code
from runtime.llvm_backend.engine.machine import architecture
from runtime.llvm_backend.engine.mapping import can_map

LEVEL = "x86-64"  # what it is built for: all CPUs of this architecture
FOLDER = os.path.join(os.path.dirname(os.path.dirname(__file__)), "built")
_DIGEST = hashlib.sha256().digest_size
_LENGTH = struct.Struct("<Q")


@frozen
class Built:
    """Code, whose functions have the names that the text gives them.

    Attributes:
        text: the hash of that text. code: what was made of it.
    """

    text: str
    code: Code


def file_name() -> str:
    """What the file for this system is called."""
    return f"{sys.platform}-{architecture()}.code"


def pack(parts: Mapping[str, Built]) -> bytes:
    """What a file holds: how long the head is, the head, the code of each part, a hash of all that."""
    head, contents = {}, []
    for name, part in parts.items():
        code = part.code
        head[name] = [part.text, len(code.content), code.size, code.fixed, code.symbols, code.imports]
        contents.append(code.content)
    text = json.dumps(head, separators=(",", ":")).encode()
    packed = b"".join((_LENGTH.pack(len(text)), text, *contents))
    return packed + hashlib.sha256(packed).digest()


def unpack(data: bytes) -> dict[str, Built]:
    """What `pack` was given; nothing where the file is damaged."""
    packed = data[:-_DIGEST]
    if hashlib.sha256(packed).digest() != data[-_DIGEST:]:
        return {}
    at = _LENGTH.size + _LENGTH.unpack_from(packed)[0]
    parts = {}
    for name, (text, length, *rest) in json.loads(packed[_LENGTH.size : at]).items():
        parts[name] = Built(text, Code(packed[at : at + length], *rest))
        at += length
    return parts


@cache
def _read(path: str) -> dict[str, Built]:
    try:
        with open(path, "rb") as file:
            return unpack(file.read())
    except OSError:
        return {}


def find(name: str) -> Built | None:
    """The part of that name; None where there is none for this system, or the file is damaged."""
    return _read(os.path.join(FOLDER, file_name())).get(name) if can_map() else None
