"""Machine: from LLVM text to functions of this process."""

from __future__ import annotations

import ctypes
import itertools
import threading
from collections.abc import Callable
from functools import cache
from typing import Any

import llvmlite.binding as llvm

_lock = threading.Lock()
_serial = itertools.count()
_loaded: list[Any] = []  # what is dropped here is unmapped, and its functions with it


class _Engine:
    """The host's target machine, and the linker that loads what it emits."""

    def __init__(self) -> None:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        self.target_machine = self._open()
        self.linker = llvm.create_lljit_compiler(self._open(), use_jit_link=True)

    @staticmethod
    def _open() -> Any:
        # JITLink with position-independent code turns a bad symbol into an error instead of an abort.
        return llvm.Target.from_default_triple().create_target_machine(
            cpu=llvm.get_host_cpu_name(),
            features=llvm.get_host_cpu_features().flatten(),
            opt=2,
            reloc="pic",
            codemodel="small",
            jit=True,
        )


@cache
def _engine() -> _Engine:
    return _Engine()


def load(text: str, name: str, pointers: int) -> Callable[..., None]:
    """The function `name` of the module `text`: it takes `pointers` addresses and a count."""
    with _lock:
        engine = _engine()
        module = llvm.parse_assembly(text)
        module.verify()
        image = engine.target_machine.emit_object(module)
        library = llvm.JITLibraryBuilder().add_object_img(image).add_current_process().export_symbol(name)
        tracker = library.link(engine.linker, f"graphc{next(_serial)}")
        _loaded.append(tracker)
        address = tracker[name]
    signature = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * pointers, ctypes.c_int64)
    return signature(address)


def describe_machine() -> dict[str, str]:
    """The CPU, the width of its vectors, the version of LLVM, where objects are kept: as texts."""
    features = llvm.get_host_cpu_features()
    widths = {"avx512f": 512, "avx2": 256, "avx": 256, "sse2": 128, "neon": 128}
    width = next((bits for feature, bits in widths.items() if features.get(feature)), None)
    return {
        "cpu": llvm.get_host_cpu_name(),
        "vector width": f"{width} bits" if width else "unknown",
        "llvm": ".".join(map(str, llvm.llvm_version_info)),
        "cache": "none: kernels live as long as the process",
    }
