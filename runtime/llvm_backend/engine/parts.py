"""Parts: code that every program needs beside its kernels."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from passes.stages import count
from runtime.llvm_backend.engine import built, objects
from runtime.llvm_backend.engine.library import keep_for_ever, load
from runtime.llvm_backend.engine.linking import UnlinkableError
from runtime.llvm_backend.engine.mapping import MappedCode
from runtime.llvm_backend.engine.objects import Module

_lock = threading.RLock()  # held while a part is loaded
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


class Part:
    """A module that is loaded once, when it is first asked for, and stays to the end of the process.

    `make` makes it, of that `name`, where it was not built ahead; `imports` finds what it imports (its code
    does not depend on that) when it is loaded.
    """

    def __init__(
        self, name: str, make: Callable[[], Module], imports: Callable[[], Mapping[str, int]] = dict
    ) -> None:
        self.name, self._make, self._imports = name, make, imports
        self._module: Module | None = None
        self._address: Callable[[str], int] | None = None

    @property
    def module(self) -> Module:
        """It without its imports."""
        found = self._module
        if found is None:
            found = self._module = self._make()
        return found

    @property
    def is_loaded(self) -> bool:
        """Whether it is there."""
        return self._address is not None

    def begin(self) -> None:
        """Loads it where it was built ahead, and has it compiled by other threads where it was not."""
        if self._address is None and not self._map():
            objects.expect([self.module])

    def address(self, function: str) -> int:
        """Where `function` begins; waits for it."""
        return (self._address or self._map() or self._compile())(function)

    def _map(self) -> Callable[[str], int] | None:
        """What was built ahead, in memory; None where there is none."""
        found = built.find(self.name)
        if found is None:
            return None
        with _lock:
            if self._address is None:
                try:
                    code = MappedCode(found.code, (), self._imports())
                except (UnlinkableError, OSError) as error:
                    count(f"built code that is not used: {error}", 1)
                    return None
                keep_for_ever(code)
                self._address = code.__getitem__
            return self._address

    def _compile(self) -> Callable[[str], int]:
        with _lock:
            if self._address is None:
                library = load([replace(self.module, imports=self._imports())]).pin()
                self._address = partial(library.address, self.name)
            return self._address
