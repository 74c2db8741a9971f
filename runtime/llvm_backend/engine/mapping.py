"""Mapping: linked code in memory, where it can be executed."""

from __future__ import annotations

import ctypes
import mmap
import struct
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

from runtime.llvm_backend.engine.linking import PAGE, Code, UnlinkableError
from runtime.llvm_backend.engine.machine import architecture

_WORD = struct.Struct("<Q")


@cache
def can_map() -> bool:
    """Whether objects of this system are of the kind that is linked here: ELF for x86-64."""
    words = architecture() == "x86_64" and ctypes.sizeof(ctypes.c_void_p) == 8
    return words and sys.platform.startswith("linux") and mmap.PAGESIZE == PAGE


class MappedCode:
    """Code in pages of its own, which are written first and executed then, never both; they go with it.

    Args:
        code: what to map. wanted: the functions that it must have. addresses: those of its imports.

    Raises: UnlinkableError where a function or an import is missing; OSError where the system gives no pages.
    """

    def __init__(self, code: Code, wanted: Iterable[str], addresses: Mapping[str, int]) -> None:
        self._address: int | None = None
        missing = [*code.imports.keys() - addresses.keys(), *(set(wanted) - code.symbols.keys())]
        if missing:
            raise UnlinkableError(f"no symbol is called {missing[0]}")
        content = bytearray(code.content)
        for name, at in code.imports.items():
            _WORD.pack_into(content, at, addresses[name])
        self._symbols, self._imports, self._fixed = code.symbols, code.imports, code.fixed
        self._bytes, self._pages = code.size, max(-(-code.size // PAGE) * PAGE, code.fixed)
        library = system()
        # Pages of the module mmap would go when the interpreter ends, though a thread may still be in them.
        both = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        address = library.mmap(None, self._pages, *both, -1, 0)
        if address == ctypes.c_void_p(-1).value:
            raise OSError(ctypes.get_errno(), "no pages for code")
        self._address = address
        ctypes.memmove(address, bytes(content), len(content))
        if library.mprotect(address, code.fixed, mmap.PROT_READ | mmap.PROT_EXEC):
            raise OSError(ctypes.get_errno(), "pages cannot be made code")

    def __getitem__(self, symbol: str) -> int:
        """Where `symbol` begins. Raises: KeyError."""
        assert self._address is not None
        return self._address + self._symbols[symbol]

    def code(self) -> Code | None:
        """What it was made of; None where it may have written to that."""
        if self._address is None or self._bytes > self._fixed:
            return None
        content = bytearray(ctypes.string_at(self._address, self._bytes))
        for at in self._imports.values():
            _WORD.pack_into(content, at, 0)
        return Code(bytes(content), self._bytes, self._fixed, self._symbols, self._imports)

    def __del__(self, is_ending: Callable[[], bool] = sys.is_finalizing) -> None:
        if self._address is not None and not is_ending():  # then the process gives all of it back
            system().munmap(self._address, self._pages)


@cache
def system() -> Any:
    """The C library, with the types of what is called here."""
    library = ctypes.CDLL(None, use_errno=True)
    word, size, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    library.mmap.argtypes, library.mmap.restype = (word, size, number, number, number, ctypes.c_int64), word
    library.mprotect.argtypes = (word, size, number)
    library.munmap.argtypes = (word, size)
    return library
