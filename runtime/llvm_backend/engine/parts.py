"""Parts: code that every program needs beside its kernels, and that no run waits for while it is compiled."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace

from runtime.llvm_backend.engine import built, objects
from runtime.llvm_backend.engine.library import Library, load
from runtime.llvm_backend.engine.objects import Module

lock = threading.RLock()  # held while a part is loaded
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)


class Part:
    """A module that is loaded once, when it is first asked for, and stays to the end of the process.

    `make` makes it; `imports` finds what it imports (its object does not depend on that) when it is loaded.
    """

    def __init__(self, make: Callable[[], Module], imports: Callable[[], Mapping[str, int]] = dict) -> None:
        self._make, self._imports = make, imports
        self._module: Module | None = None
        self._library: Library | None = None

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
        return self._library is not None

    @property
    def is_built(self) -> bool:
        """Whether it came with this package, so that to load it takes little."""
        return built.find(self.module.key()) is not None

    def is_coming(self) -> bool:
        """Whether another thread is compiling it, and nobody waits for that: then there is another way."""
        return self._library is None and objects.is_coming(self.module)

    def address(self, function: str) -> int:
        """Where `function` begins; waits for it."""
        return self.load().address(self.module.name, function)

    def load(self) -> Library:
        """It; waits for it."""
        if self._library is None:
            with lock:
                if self._library is None:
                    self._library = load([replace(self.module, imports=self._imports())]).pin()
        return self._library
