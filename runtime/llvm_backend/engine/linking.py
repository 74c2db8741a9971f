"""Linking: objects of x86-64 in ELF become code that runs wherever it is mapped (`mapping`).

All that an object refers to lies a fixed distance away: its own sections, and a word for the address of
each import, which is read there, or jumped to by a stub. So the code is one block of bytes, and nothing in
it depends on where it lies but those words. In order: the words, the stubs, what is executed, what is only
read; on pages of its own what is written.

The relocations are those that LLVM makes for position-independent code in the small model. An object with
anything else is refused, and left to JITLink. The formats: https://refspecs.linuxfoundation.org/elf/gabi4+
and https://gitlab.com/x86-psABIs/x86-64-ABI.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence

from graphc.freezing import frozen
from runtime.llvm_backend.engine.splitting import parts_of

PAGE = 4096
_MOST_BYTES = 1 << 30  # so that 32 bits reach from anywhere to anywhere
_LINE = 64
_WORD = 8

_FILE = struct.Struct("<4sBB10xHH20xQ10xHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELOCATION = struct.Struct("<QIIq")
_DISTANCE = struct.Struct("<i")
_JUMP, _JUMP_THROUGH, _JUMP_BYTES = struct.Struct("<Hi2x"), 0x25FF, 6  # jmp [rip + distance]
_OBJECT = (b"\x7fELF", 2, 1, 1, 62)  # of 64 bits, little-endian, relocatable, for x86-64
_CONTENT, _SYMBOLS, _RELOCATIONS, _ZEROS, _UNWINDING = 1, 2, 4, 8, 0x70000001  # types of sections
_WRITTEN, _IN_MEMORY, _EXECUTED, _MERGED = 1, 2, 4, 0x10  # their flags
_FLAGS = _WRITTEN | _IN_MEMORY | _EXECUTED | _MERGED
_LOCAL = 0  # a symbol that no other object sees
_GOT = frozenset((9, 41, 42))  # R_X86_64_GOTPCREL, GOTPCRELX, REX_GOTPCRELX
_DIRECT = frozenset((2, 4))  # R_X86_64_PC32, PLT32
_THROUGH = _GOT | {4}  # what an import is reached by


class UnlinkableError(Exception):
    """Something in an object is not linked here, or it is no object."""


@frozen
class Code:
    """Linked objects.

    Attributes:
        content: the bytes; zeros follow them up to `size`. fixed: how many, whole pages, nobody writes to.
        symbols: where each function begins. imports: where the address of each import must stand.
    """

    content: bytes
    size: int
    fixed: int
    symbols: dict[str, int]
    imports: dict[str, int]


def link(images: Iterable[bytes]) -> Code:
    """The code of some objects, whose functions have different names.

    Raises: UnlinkableError.
    """
    try:
        return _linked([_Object(part) for image in images for part in parts_of(image)])
    except (struct.error, IndexError, ValueError, OverflowError) as error:  # it points beyond its own end
        raise UnlinkableError(f"an object is damaged: {error}") from None


class _Object:
    """An object, and where its parts go.

    Attributes:
        begins: where those sections begin that are in memory; `_linked` says it.
        wanted: the names of its imports, by the number of the symbol.
        given: the numbers of its functions, by their names.
    """

    def __init__(self, image: bytes) -> None:
        magic, bits, order, kind, machine, at, size, count, _ = _FILE.unpack_from(image)
        if (magic, bits, order, kind, machine) != _OBJECT or size != _SECTION.size:
            raise UnlinkableError("not an object of x86-64 in ELF")
        self._image = image
        self._sections = list(_SECTION.iter_unpack(_part(image, at, size * count)))
        self.begins: dict[int, int] = {}
        self.wanted: dict[int, str] = {}
        self.given: dict[str, int] = {}
        tables = [section for section in self._sections if section[1] == _SYMBOLS]
        if len(tables) != 1:
            raise UnlinkableError("not one table of symbols")
        _, _, _, _, at, size, names, *_ = tables[0]
        self._symbols = list(_SYMBOL.iter_unpack(_part(image, at, size)))
        for number, (name, info, _, section, _, _) in enumerate(self._symbols):
            if info >> 4 != _LOCAL:
                name += self._sections[names][4]
                text = image[name : image.index(0, name)].decode("ascii")
                if section:
                    self.given[text] = number
                else:
                    self.wanted[number] = text

    def sections(self) -> Iterator[tuple[int, int, int, int]]:
        """What goes into memory: which of the kinds, in order, it is; alignment, bytes, number."""
        for number, (_, type, flags, _, _, size, _, _, alignment, _) in enumerate(self._sections):
            if not flags & _IN_MEMORY or type == _UNWINDING:  # nothing is thrown through kernels
                continue
            if type not in (_CONTENT, _ZEROS) or flags & ~_FLAGS:
                raise UnlinkableError(f"a section of type {type:#x} with flags {flags:#x}")
            if alignment & (alignment - 1) or alignment > PAGE or size > _MOST_BYTES:
                raise UnlinkableError("a section too large")
            kind = 2 if flags & _WRITTEN else 0 if flags & _EXECUTED else 1
            yield kind, max(alignment, 1), size, number

    def copy(self, content: bytearray) -> None:
        """Puts the bytes of its sections where they go."""
        for number, begin in self.begins.items():
            _, type, _, _, at, size, *_ = self._sections[number]
            if type == _CONTENT:
                content[begin : begin + size] = _part(self._image, at, size)

    def place(self, symbol: int) -> int:
        """Where what it defines as `symbol` is."""
        _, _, _, section, value, _ = self._symbols[symbol]
        begin: int | None = self.begins.get(section)
        if begin is None or value > self._sections[section][5]:
            raise UnlinkableError("a symbol that is nowhere")
        return begin + int(value)

    def relocate(
        self,
        content: bytearray,
        words: Mapping[str, int],
        stubs: Mapping[str, int],
        functions: Mapping[str, int],
    ) -> None:
        """Writes the distances; `words` and `stubs` say where those of each import are.

        `functions` says where those of all objects begin.
        """
        places: dict[int, int] = {}
        put = _DISTANCE.pack_into
        for _, type, _, _, at, size, _, target, *_ in self._sections:
            if type != _RELOCATIONS or target not in self.begins:
                continue
            begin, last = self.begins[target], self._sections[target][5] - _DISTANCE.size
            for offset, kind, symbol, addend in _RELOCATION.iter_unpack(_part(self._image, at, size)):
                name = self.wanted.get(symbol)
                if name is not None and name in functions:
                    if kind not in _DIRECT:
                        raise UnlinkableError(f"a function of another object by a relocation of type {kind}")
                    place = functions[name]
                elif name is not None:
                    if kind not in _THROUGH:
                        raise UnlinkableError(f"an import by a relocation of type {kind}")
                    place = (words if kind in _GOT else stubs)[name]
                elif kind in _DIRECT:
                    found = places.get(symbol)
                    place = places[symbol] = self.place(symbol) if found is None else found
                else:
                    raise UnlinkableError(f"a relocation of type {kind}")
                if offset > last:
                    raise UnlinkableError("a relocation beyond its section")
                put(content, begin + offset, place + addend - begin - offset)


def _linked(objects: Sequence[_Object]) -> Code:
    given = {name for each in objects for name in each.given}
    names = sorted({name for each in objects for name in each.wanted.values()} - given)
    words = {name: _WORD * i for i, name in enumerate(names)}
    stubs = {name: _WORD * (len(names) + i) for i, name in enumerate(names)}
    sections = sorted((*section, i) for i, each in enumerate(objects) for section in each.sections())
    end, fixed = 2 * _WORD * len(names), 0
    for kind, alignment, size, number, i in sections:
        if kind == 2 and not fixed:
            end = fixed = _up(end, PAGE)
        end = _up(end, max(alignment, _LINE))
        objects[i].begins[number] = end
        end += size
        if end > _MOST_BYTES:
            raise UnlinkableError("too large")
    content = bytearray(end)
    for name, at in stubs.items():
        _JUMP.pack_into(content, at, _JUMP_THROUGH, words[name] - at - _JUMP_BYTES)
    symbols: dict[str, int] = {}
    for each in objects:
        each.copy(content)
        for name, number in each.given.items():
            if symbols.setdefault(name, place := each.place(number)) != place:
                raise UnlinkableError(f"two functions are called {name}")
    for each in objects:
        each.relocate(content, words, stubs, symbols)
    if fixed:  # what is written may be zeros, many of them
        del content[max(fixed, len(content.rstrip(b"\0"))) :]
    return Code(bytes(content), end, fixed or _up(end, PAGE), symbols, words)


def _part(image: bytes, at: int, size: int) -> bytes:
    found = image[at : at + size]
    if len(found) != size:
        raise UnlinkableError("an object is cut off")
    return found


def _up(value: int, alignment: int) -> int:
    return -(-value // alignment) * alignment
