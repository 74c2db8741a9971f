"""Library: modules as functions of this process, all those of a graph loaded at once.

Equal modules are loaded once: a library shares what another one still holds. Code is unmapped when the
last library that uses it is dropped, and no earlier. LLVM keeps some 10 KB of books for each library
that ever was in a linker, so a linker takes `_LIBRARIES` of them and is then closed with its last.
"""

from __future__ import annotations

import ctypes
import itertools
import sys
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import llvmlite.binding as llvm

from graphc.errors import VerificationError
from passes.stages import stage
from runtime.llvm_backend.engine import objects
from runtime.llvm_backend.engine.compiler import lock
from runtime.llvm_backend.engine.machine import open_target_machine
from runtime.llvm_backend.engine.objects import ENTRY, Module, make_objects, symbol_of

__all__ = ["ENTRY", "Library", "Module", "expect", "load"]

_LIBRARIES = 64


class Library:
    """The functions of modules, by address; valid as long as the library lives."""

    def __init__(self, images: Mapping[str, tuple[_Image, str]]) -> None:
        self._images = dict(images)

    def address(self, name: str, function: str = ENTRY) -> int:
        """Where `function` of the module called `name` begins. Raises: KeyError."""
        image, key = self._images[name]
        return image.address(symbol_of(function, key))

    def __contains__(self, name: object) -> bool:
        return name in self._images

    def __len__(self) -> int:
        return len(self._images)

    def pin(self) -> Library:
        """Keeps its code until the process ends: threads and builtins run in it to the very end."""
        for image in {id(image): image for image, _ in self._images.values()}.values():
            image.pin()
        return self


def load(modules: Iterable[Module]) -> Library:
    """A library of `modules`, whose names differ unless they are equal.

    Raises: VerificationError naming the module where a text is not valid or a symbol is missing.
    """
    known: dict[str, Module] = {}
    for module in modules:
        if known.setdefault(module.name, module) != module:
            raise VerificationError(f"two kernels are called {module.name}")
    keys = {name: module.key() for name, module in known.items()}
    with lock, stage("load"):
        _clear_up()
        images: dict[str, tuple[_Image, str]] = {}
        missing: dict[_Identity, Module] = {}
        for name, module in known.items():
            identity = _identify(module, keys[name])
            image = _loaded.get(identity)
            if image is None:
                missing[identity] = module
            else:
                images[name] = image, keys[name]
        for group in _compatible(missing):
            image = _link(group)
            for identity in group:
                _loaded[identity] = image
        for name, module in known.items():
            if name not in images:
                images[name] = _loaded[_identify(module, keys[name])], keys[name]
        return Library(images)


def expect(modules: Iterable[Module]) -> None:
    """Has the code of `modules` made, where it is not there, while the caller does other things."""
    missing = [module for module in modules if _identify(module, module.key()) not in _loaded]
    objects.expect(missing)


_Identity = tuple[str, tuple[str, ...], tuple[tuple[str, int], ...]]  # key, functions, imports
_loaded: weakref.WeakValueDictionary[_Identity, _Image] = weakref.WeakValueDictionary()
_serial = itertools.count()


def _identify(module: Module, key: str) -> _Identity:
    return key, module.functions, tuple(sorted(module.imports.items()))


def _compatible(missing: Mapping[_Identity, Module]) -> list[dict[_Identity, Module]]:
    """Groups that can be linked at once: each object once, one address for each symbol."""
    groups: list[tuple[dict[_Identity, Module], dict[str, int]]] = []
    for identity, module in missing.items():
        for group, imports in groups:
            alike = all(imports.get(name, at) == at for name, at in module.imports.items())
            if alike and all(other[0] != identity[0] for other in group):
                group[identity] = module
                imports.update(module.imports)
                break
        else:
            groups.append(({identity: module}, dict(module.imports)))
    return [group for group, _ in groups]


def keep_for_ever(thing: object) -> None:
    """Lets nothing free `thing`: as all ends, module globals are cleared before the last thread stops."""
    if hasattr(ctypes, "pythonapi"):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))
    else:
        _kept.append(thing)


_kept: list[object] = []  # on PyPy, which frees nothing when it ends


class _Linker:
    """An LLJIT; it closes when the last image in it is gone."""

    def __init__(self) -> None:
        self.jit = llvm.create_lljit_compiler(open_target_machine(), use_jit_link=True, suppress_errors=True)
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


class _Image:
    """What one link put into memory; it is unmapped with its last library."""

    def __init__(self, linker: _Linker, tracker: Any) -> None:
        self._linker, self._tracker = linker, tracker

    def address(self, symbol: str) -> int:
        found: int = self._tracker[symbol]
        return found

    def pin(self) -> None:
        keep_for_ever(self)

    def __del__(self, is_ending: Callable[[], bool] = sys.is_finalizing) -> None:
        if is_ending():
            return
        _dropped.append((self._tracker, self._linker))
        # Whoever is in LLVM now may be waiting for this very thread: then the next load clears up.
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


def _link(group: Mapping[_Identity, Module]) -> _Image:
    builder = llvm.JITLibraryBuilder()
    images = make_objects(group.values())
    for key, functions, imports in group:
        builder.add_object_img(images[key])
        for function in functions:
            builder.export_symbol(symbol_of(function, key))
        for name, address in imports:
            builder.import_symbol(name, address)
    linker = _current_linker()
    try:
        tracker = builder.link(linker.jit, f"graphc{next(_serial)}")
    except RuntimeError as error:
        names = ", ".join(module.name for module in group.values())
        raise VerificationError(f"kernels cannot be linked ({names}): {error}") from None
    return _Image(linker, tracker)
