"""LLVM: loaded when machine code is to be made and no earlier.

Code that was compiled before comes from the disk, and then LLVM is not needed. To make code takes a dozen
functions of the library that llvmlite brings. They are called as they are (`calls`): llvmlite's own modules
take longer to import than the library takes to load, and they let one thread at a time into LLVM. Linking by
LLVM, looking at assembly and telling what is wrong with a text go through llvmlite (`binding`).
"""

from __future__ import annotations

import ctypes
import hashlib
import os
from functools import cache
from importlib.util import find_spec
from threading import RLock
from typing import Any

# Position-independent code in the small model: other relocations to imported data end the process.
OPTIONS = {"reloc": "pic", "codemodel": "small"}
# LLVM's level of optimization. Texts are written as they are to run, so level 1 makes of them what level 3
# makes, in another order, and sooner. Level 0 takes a fifth to an eighth of that, and keeps in memory what
# outlives a block: for code whose blocks run a few times for each run of a program.
THOROUGH, QUICK = 1, 0
_KNOWN = ("0.45.", "0.46.", "0.47.", "0.48.", "0.49.", "0.50.")  # llvmlite with the functions below
_P, _S, _I = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
_TEXT = ctypes.POINTER(_S)
_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "InitializeNativeTarget": (_I, ()),
    "InitializeNativeAsmPrinter": (_I, ()),
    "InitializeNativeAsmParser": (_I, ()),
    "GetDefaultTargetTriple": (None, (_TEXT,)),
    "GetHostCPUName": (None, (_TEXT,)),
    "GetHostCPUFeatures": (_I, (_TEXT,)),
    "GetTargetFromTriple": (_P, (_S, _TEXT)),
    "CreateTargetMachine": (_P, (_P, _S, _S, _S, _I, _S, _S, _I, _I, _S)),
    "ContextCreate": (_P, ()),
    "ContextDispose": (None, (_P,)),
    "ParseAssembly": (_P, (_P, _S, _TEXT)),
    "VerifyModule": (ctypes.c_bool, (_P, _TEXT)),
    "DisposeModule": (None, (_P,)),
    "TargetMachineEmitToMemory": (_P, (_P, _P, _I, _TEXT)),
    "GetBufferStart": (_P, (_P,)),
    "GetBufferSize": (ctypes.c_size_t, (_P,)),
    "DisposeMemoryBuffer": (None, (_P,)),
    "DisposeString": (None, (_P,)),
}
# Those that take no time keep the GIL: who gives it up may wait for it long.
_LONG = frozenset(
    (
        *("InitializeNativeTarget", "GetHostCPUFeatures", "CreateTargetMachine"),
        *("ParseAssembly", "VerifyModule", "TargetMachineEmitToMemory", "DisposeModule"),
    )
)
_loading = RLock()


@cache
def binding() -> Any:
    """``llvmlite.binding``, with the target of this machine ready."""
    import llvmlite.binding as llvm  # here, and nowhere else

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    llvm.initialize_native_asmparser()
    return llvm


def calls() -> dict[str, Any] | None:
    """The functions of LLVM's C interface by name; None where this llvmlite has others."""
    with _loading:
        return _load()


@cache
def _load() -> dict[str, Any] | None:
    library = _open_known() or _open_by_llvmlite()
    if library is None:
        return None
    brief = ctypes.PyDLL(library._name, handle=library._handle)
    found = {}
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library if name in _LONG else brief, f"LLVMPY_{name}")
        function.restype, function.argtypes = result, arguments
        found[name] = function
    found["InitializeNativeTarget"]()
    found["InitializeNativeAsmPrinter"]()
    found["InitializeNativeAsmParser"]()  # of `ir.assembly`: without it such a text ends the process
    return found


def _open_known() -> Any:
    """The library of an llvmlite that is known; None for others."""
    folder = _folder()
    if folder is None:
        return None
    try:
        told, libraries = _installed(folder)
        _, _, version = told.decode().partition("version = '")
        if not version.startswith(_KNOWN):
            return None
        (path,) = (x for x in libraries if x.endswith((".so", ".dylib")))
        return _opened(path)
    except (OSError, ValueError):
        return None


def _opened(path: str) -> Any:
    """The library at `path`. Python would keep the GIL while the system loads it, which takes 5 ms."""
    opening = ctypes.CDLL(None).dlopen
    opening.restype, opening.argtypes = _P, (_S, _I)
    opened = opening(os.fsencode(path), os.RTLD_NOW)
    return ctypes.CDLL(path, handle=opened)  # where that is None, it says why


def _open_by_llvmlite() -> Any:
    """The library as llvmlite opens it, if its functions take as many arguments as here; else None."""
    try:
        library = binding().ffi.lib
        for name, (_, arguments) in _SIGNATURES.items():
            given = getattr(library, f"LLVMPY_{name}").argtypes
            if given is not None and len(given) != len(arguments):  # None: it says nothing of them
                return None
        return ctypes.CDLL(library._name, handle=library._handle)
    except AttributeError:
        return None


def open_machine(level: str, effort: int = THOROUGH) -> int:
    """What makes code for this CPU, or for the `level` of x86-64, with `calls`. It is never given back."""
    call = calls()
    assert call is not None
    triple, cpu, features = _target(level)
    message = _S()
    target = call["GetTargetFromTriple"](triple, ctypes.byref(message))
    reloc, model = OPTIONS["reloc"].encode(), OPTIONS["codemodel"].encode()
    machine = call["CreateTargetMachine"](target, triple, cpu, features, effort, reloc, model, 0, 1, b"")
    assert machine, message
    return int(machine)


@cache
def _target(level: str) -> tuple[bytes, bytes, bytes]:
    """The system, the CPU and its features, or those of the `level`."""
    call = calls()
    assert call is not None
    cpu = level.encode() or _told(call, "GetHostCPUName")
    told = b"" if level else _told(call, "GetHostCPUFeatures")  # a level has its own
    features = ",".join(sorted(told.decode().split(","), key=_name_of)).encode()
    return _told(call, "GetDefaultTargetTriple"), cpu, features


def _name_of(feature: str) -> str:
    return feature[1:]  # behind its sign


def _told(call: dict[str, Any], name: str) -> bytes:
    """The text that the function `name` gives."""
    text = _S()
    call[name](ctypes.byref(text))
    value = text.value or b""
    if text:
        call["DisposeString"](text)
    return value


@cache
def version() -> str:
    """What tells this llvmlite and its LLVM from others, without loading it."""
    folder = _folder()
    if folder is None:
        return "none"
    digest = hashlib.sha256()
    try:
        told, libraries = _installed(folder)
        digest.update(told)
        for path in libraries:
            digest.update(f"{os.path.basename(path)} {os.path.getsize(path)}".encode())
    except OSError:
        llvm = binding()
        return f"{llvm.__name__} {llvm.llvm_version_info}"
    return digest.hexdigest()


@cache
def _folder() -> str | None:
    """Where llvmlite is installed."""
    spec = find_spec("llvmlite")
    return None if spec is None or spec.origin is None else os.path.dirname(spec.origin)


@cache
def _installed(folder: str) -> tuple[bytes, tuple[str, ...]]:
    """What it says of its version, and its libraries: `version` asks for them long before they are opened."""
    with open(os.path.join(folder, "_version.py"), "rb") as file:
        told = file.read()
    with os.scandir(os.path.join(folder, "binding")) as entries:
        paths = [x.path for x in entries if x.name.startswith(("libllvmlite", "llvmlite."))]
    return told, tuple(sorted(paths))


def host_cpu() -> tuple[str, dict[str, bool]]:
    """The name of this CPU and its features, as LLVM spells them."""
    llvm = binding()
    return llvm.get_host_cpu_name(), dict(llvm.get_host_cpu_features())
