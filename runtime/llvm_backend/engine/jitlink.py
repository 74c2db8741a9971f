"""JITLink: LLVM's own linker, for objects of systems and machines that `linking` does not know.

LLVM keeps some 10 KB of books for each library that ever was in an LLJIT, so one takes `_LIBRARIES` of them
and is then closed with its last.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from runtime.llvm_backend.engine import llvm
from runtime.llvm_backend.engine.compiler import lock
from runtime.llvm_backend.engine.machine import open_target_machine
from runtime.llvm_backend.engine.splitting import parts_of

_LIBRARIES = 64
_serial = itertools.count()


class _Linker:
    """An LLJIT; it closes when the last image in it is gone."""

    def __init__(self) -> None:
        create = llvm.binding().create_lljit_compiler
        self.jit = create(open_target_machine(), use_jit_link=True, suppress_errors=True)
        self.libraries = 0

    def __del__(self, is_ending: Callable[[], bool] = sys.is_finalizing) -> None:
        if not is_ending():  # then the process gives all of it back, and LLVM may be half gone
            self.jit.close()


_linker: _Linker | None = None


def _current_linker() -> _Linker:
    global _linker  # the one that takes the next library; older ones live with their images
    if _linker is None or _linker.libraries >= _LIBRARIES:
        _linker = _Linker()
    _linker.libraries += 1
    return _linker


class LinkedCode:
    """What one link put into memory; it is unmapped with it.

    `images` are the objects, `functions` what they must have, `addresses` those of the imports.
    Raises: RuntimeError where a symbol is missing.
    """

    def __init__(
        self, images: Iterable[bytes], functions: Iterable[str], addresses: Mapping[str, int]
    ) -> None:
        builder = llvm.binding().JITLibraryBuilder()
        for image in images:
            for part in parts_of(image):
                builder.add_object_img(part)
        for function in functions:
            builder.export_symbol(function)
        for name, address in addresses.items():
            builder.import_symbol(name, address)
        with lock:
            _clear_up()
            self._linker = _current_linker()
            self._tracker: Any = builder.link(self._linker.jit, f"graphc{next(_serial)}")

    def __getitem__(self, symbol: str) -> int:
        """Where `symbol` begins."""
        found: int = self._tracker[symbol]
        return found

    def __del__(self, is_ending: Callable[[], bool] = sys.is_finalizing) -> None:
        if is_ending() or not hasattr(self, "_tracker"):
            return
        _dropped.append((self._tracker, self._linker))
        # Whoever is in LLVM now may be waiting for this very thread: then the next link clears up.
        if lock.acquire(blocking=False):
            try:
                _clear_up()
            finally:
                lock.release()


_dropped: list[tuple[Any, _Linker]] = []


def _clear_up() -> None:
    while _dropped:
        tracker, _ = _dropped.pop()
        tracker.close()  # before its linker, which may end here
