"""Library: modules as functions of this process, all those of a graph loaded at once.

Equal modules are loaded once: a library shares what another one still holds. Code is unmapped when the
last library that uses it is dropped, and no earlier. Objects are linked and mapped here (`linking`,
`mapping`), which needs no LLVM; what is refused there goes through `jitlink`, and is counted. See
docs/decisions/0011-objects-are-linked-here.md.
"""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping

from graphc.errors import VerificationError
from passes.stages import count, stage
from runtime.llvm_backend.engine import objects
from runtime.llvm_backend.engine.jitlink import LinkedCode
from runtime.llvm_backend.engine.linking import Code, UnlinkableError, link
from runtime.llvm_backend.engine.mapping import MappedCode, can_map
from runtime.llvm_backend.engine.objects import ENTRY, Module, make_objects, symbol_of

__all__ = ["ENTRY", "Library", "Module", "Promises", "expect", "load"]

_lock = threading.RLock()
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


class Library:
    """The functions of modules, by address; valid as long as the library lives."""

    def __init__(self, images: Mapping[str, tuple[_Image, _Identity]]) -> None:
        self._images = dict(images)

    def address(self, name: str, function: str = ENTRY) -> int:
        """Where `function` of the module called `name` begins. Raises: KeyError."""
        image, (key, _, _) = self._images[name]
        return image.code[symbol_of(function, key)]

    def code(self) -> Code | None:
        """All its code, to be mapped by another process; None where that is not to be had."""
        images = {id(image): image.code for image, _ in self._images.values()}
        if len(images) == 1:
            (code,) = images.values()
            return code.code() if isinstance(code, MappedCode) else None
        keys = dict.fromkeys(key for _, (key, _, _) in self._images.values())
        kept = [objects.objects().get(key) for key in keys]
        try:
            return link([image for image in kept if image is not None]) if all(kept) else None
        except UnlinkableError:
            return None

    def functions(self) -> Iterator[tuple[str, int]]:
        """Each function by its name in `code`, and where it begins."""
        for image, (key, functions, _) in self._images.values():
            for function in functions:
                symbol = symbol_of(function, key)
                yield symbol, image.code[symbol]

    def __contains__(self, name: object) -> bool:
        return name in self._images

    def __len__(self) -> int:
        return len(self._images)

    def pin(self) -> Library:
        """Keeps its code until the process ends: threads and builtins run in it to the very end."""
        for image in {id(image): image for image, _ in self._images.values()}.values():
            keep_for_ever(image)
        return self


class Promises:
    """Numbers that stand for the addresses of functions until there is a library: they are below 0."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, str], int] = {}

    def address(self, name: str, function: str = ENTRY) -> int:
        """What stands for `function` of the module called `name`."""
        return self._numbers.setdefault((name, function), -1 - len(self._numbers))

    def kept_by(self, library: Library) -> dict[int, int]:
        """The address that each number stands for. Raises: KeyError."""
        return {number: library.address(*named) for named, number in self._numbers.items()}


def load(modules: Iterable[Module]) -> Library:
    """A library of `modules`, whose names differ unless they are equal.

    Raises: VerificationError naming the module where a text is not valid or a symbol is missing.
    """
    known: dict[str, Module] = {}
    for module in modules:
        if known.setdefault(module.name, module) != module:
            raise VerificationError(f"two kernels are called {module.name}")
    identities = {name: _identify(module) for name, module in known.items()}
    with _lock, stage("load"):
        images: dict[str, tuple[_Image, _Identity]] = {}
        missing: dict[_Identity, Module] = {}
        for name, module in known.items():
            identity = identities[name]
            image = _loaded.get(identity)
            if image is None:
                missing[identity] = module
            else:
                images[name] = image, identity
        for group in _compatible(missing):
            image = _link(group)
            for identity in group:
                _loaded[identity] = image
        for name, identity in identities.items():
            if name not in images:
                images[name] = _loaded[identity], identity
        return Library(images)


def expect(modules: Iterable[Module]) -> None:
    """Has the code of `modules` made, where it is not there, while the caller does other things."""
    objects.expect(module for module in modules if _identify(module) not in _loaded)


_Identity = tuple[str, tuple[str, ...], tuple[tuple[str, int], ...]]  # key, functions, imports
_loaded: weakref.WeakValueDictionary[_Identity, _Image] = weakref.WeakValueDictionary()


def _identify(module: Module) -> _Identity:
    return module.key(), module.functions, tuple(sorted(module.imports.items()))


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
    if _own is not None:
        _own(ctypes.py_object(thing))
    else:
        _kept.append(thing)


# Looked up here: while LLVM is loaded, the system looks up nothing.
_own = ctypes.pythonapi.Py_IncRef if hasattr(ctypes, "pythonapi") else None
_kept: list[object] = []  # on PyPy, which frees nothing when it ends


class _Image:
    """What one link put into memory; it is unmapped with its last library."""

    def __init__(self, code: MappedCode | LinkedCode) -> None:
        self.code = code


def _link(group: Mapping[_Identity, Module]) -> _Image:
    images = make_objects(group.values()).values()
    wanted = [symbol_of(function, key) for key, functions, _ in group for function in functions]
    addresses = {name: at for _, _, imports in group for name, at in imports}
    reason = "objects of this system"
    if can_map():
        try:
            return _Image(MappedCode(link(images), wanted, addresses))
        except (UnlinkableError, OSError) as error:
            reason = str(error)
    count(f"modules linked by LLVM: {reason}", len(group))
    try:
        return _Image(LinkedCode(images, wanted, addresses))
    except RuntimeError as error:
        names = ", ".join(module.name for module in group.values())
        raise VerificationError(f"kernels cannot be linked ({names}): {error}") from None
