"""Splitting: a long text as several that are compiled at once, each with the effort that it is worth.

What asks LLVM to be quick (``optnone``) is made by a machine of no effort, which takes half as long as the
other one takes with it. Functions that one part calls of another are handed out, under names that no other
module has; whoever links the module finds them there.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence

from graphc.freezing import frozen
from runtime.llvm_backend.engine.llvm import QUICK, THOROUGH

_LEAST = 4_000  # characters that are worth a part of their own: each takes LLVM 0.2 to 0.7 ms
_MOST = 30_000  # of a part that takes effort, if its functions allow
_HEAD = re.compile(r"define (internal )?([^@{}]*)@([\w.]+)\(([^{}()]*)\)([^{}()]*)\{\n")
_NAME = re.compile(r"@(?!llvm\.)([\w.]+)")
_NAMED = re.compile(r"^.*@(?!llvm\.).*$", re.MULTILINE)
_CALL = re.compile(r"\bcall [^@]*@([\w.]+)\([^@]*$")
_PARTS, _SIZE = b"graphc parts", struct.Struct("<Q")


@frozen
class _Function:
    """A function, and those of its lines that name something but intrinsics."""

    head: re.Match[str]
    named: list[str]

    @property
    def text(self) -> str:
        """All of it."""
        return self.head.string

    @property
    def name(self) -> str:
        return self.head[3]

    @property
    def declaration(self) -> str:
        """What a part says of it that calls it."""
        types = re.sub(r" %[\w.]+", "", self.head[4])
        return f"declare {self.head[2]}@{self.name}({types})\n"


def split(text: str, key: str) -> list[tuple[str, int]]:
    """Texts that make up `text`, and their efforts; what they share bears the `key`.

    The text stays whole where parts would be short, where it has data, or where it takes the address of a
    function that would be in another part.
    """
    whole = [(text, THOROUGH)]
    first, *pieces = f"\n{text}".split("\ndefine ") if len(text) >= 2 * _LEAST else [""]
    cut = [piece.partition("\n}") for piece in pieces]
    rest = f"{first}\n{''.join(after for _, _, after in cut)}\n"
    functions = [_read(f"define {body}\n}}\n") for body, _, _ in cut]
    found = [function for function in functions if function is not None]
    groups = _divide(found) if len(found) == len(functions) else []
    if len(groups) < 2 or "\n@" in rest:
        return whole
    group_of = {function.name: i for i, (group, _) in enumerate(groups) for function in group}
    functions_by_name = {function.name: function for function in found}
    shared: set[str] = set()
    wanted: list[dict[str, None]] = []
    for i, (group, _) in enumerate(groups):
        needed: dict[str, None] = {}
        for line in (line for function in group for line in function.named):
            others = [name for name in _NAME.findall(line) if group_of.get(name, i) != i]
            call = _CALL.search(line)
            if others and (call is None or [call[1]] != others):
                return whole
            needed.update(dict.fromkeys(others))
        shared.update(needed)
        wanted.append(needed)

    def told(match: re.Match[str]) -> str:
        return f"@{match[1]}.{key}" if match[1] in shared else match[0]

    def written(function: _Function) -> str:
        text = _NAME.sub(told, function.text)
        return text.replace("define internal ", "define ", 1) if function.name in shared else text

    parts = []
    for (group, effort), needed in zip(groups, wanted, strict=True):
        declared = (_NAME.sub(told, functions_by_name[name].declaration) for name in needed)
        parts.append(("".join([rest, *declared, *map(written, group)]), effort))
    return parts


def _read(text: str) -> _Function | None:
    head = _HEAD.match(text)
    return None if head is None else _Function(head, _NAMED.findall(text))


def _divide(functions: Sequence[_Function]) -> list[tuple[list[_Function], int]]:
    """Groups of functions, and their efforts."""
    sides: tuple[list[_Function], list[_Function]] = [], []
    for function in functions:
        sides["optnone" in function.head[5]].append(function)
    slow, quick = sides
    groups: list[list[_Function]] = [[] for _ in range(-(-_measure(slow) // _MOST))]
    for function in sorted(slow, key=lambda x: _measure([x]), reverse=True):
        min(groups, key=_measure).append(function)
    if any(_measure(group) < _MOST // 3 for group in groups):
        groups = [slow]
    if slow and _measure(quick) < _LEAST:
        groups[-1] += quick
        quick = []
    found = [(group, THOROUGH) for group in groups]
    return [*found, (quick, QUICK)] if quick else found


def _measure(functions: Sequence[_Function]) -> int:
    return sum(len(function.text) for function in functions)


def join(images: Sequence[bytes]) -> bytes:
    """The objects of the parts of a module as one."""
    if len(images) == 1:
        return images[0]
    return b"".join([_PARTS, *(x for image in images for x in (_SIZE.pack(len(image)), image))])


def parts_of(image: bytes) -> Iterator[bytes]:
    """The objects that are in what `join` has made. Raises: ValueError where it is cut off."""
    if not image.startswith(_PARTS):
        yield image
        return
    at = len(_PARTS)
    while at < len(image):
        (size,) = _SIZE.unpack_from(image, at)
        at += _SIZE.size
        if len(image) - at < size:
            raise ValueError("a part is cut off")
        yield image[at : at + size]
        at += size
