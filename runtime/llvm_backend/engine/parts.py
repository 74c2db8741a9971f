"""Parts: code that every program needs beside its kernels, and that no run waits for while it is compiled."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace

from passes.stages import count
from runtime.llvm_backend.engine import built, objects
from runtime.llvm_backend.engine.library import keep_for_ever, load
from runtime.llvm_backend.engine.linking import UnlinkableError
from runtime.llvm_backend.engine.mapping import MappedCode
from runtime.llvm_backend.engine.objects import Module

lock = threading.RLock()  # held while a part is loaded
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)


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

    @property
    def is_built(self) -> bool:
        """Whether it came with this package, so that to load it takes little."""
        return built.find(self.name) is not None

    def is_coming(self) -> bool:
        """Whether another thread is compiling it, and nobody waits for that: then there is another way."""
        return self._address is None and not self.is_built and objects.is_coming(self.module)

    def address(self, function: str) -> int:
        """Where `function` begins; waits for it."""
        return (self._address or self.load())(function)

    def load(self) -> Callable[[str], int]:
        """It, as the function `address`; waits for it."""
        with lock:
            if self._address is None:
                imports = self._imports()
                self._address = self._map(imports) or self._compile(imports)
            return self._address

    def _map(self, imports: Mapping[str, int]) -> Callable[[str], int] | None:
        """What was built ahead, in memory; None where there is none."""
        found = built.find(self.name)
        if found is None:
            return None
        try:
            code = MappedCode(found.code, (), imports)
        except (UnlinkableError, OSError) as error:
            count(f"built code that is not used: {error}", 1)
            return None
        keep_for_ever(code)
        return code.__getitem__

    def _compile(self, imports: Mapping[str, int]) -> Callable[[str], int]:
        library = load([replace(self.module, imports=imports)]).pin()
        return lambda function: library.address(self.name, function)
