"""LLVM: llvmlite's binding, loaded when machine code is to be made and no earlier.

To load it takes 20 ms and more of a process that may need it for nothing: code that was compiled before
comes from the disk.
"""

from __future__ import annotations

import hashlib
import os
from functools import cache
from importlib.util import find_spec
from typing import Any


@cache
def binding() -> Any:
    """``llvmlite.binding``, with the target of this machine ready."""
    import llvmlite.binding as llvm  # here, and nowhere else

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm


@cache
def version() -> str:
    """What tells this llvmlite and its LLVM from others, without loading it."""
    spec = find_spec("llvmlite")
    if spec is None or spec.origin is None:
        return "none"
    folder, digest = os.path.dirname(spec.origin), hashlib.sha256()
    try:
        with open(os.path.join(folder, "_version.py"), "rb") as file:
            digest.update(file.read())
        with os.scandir(os.path.join(folder, "binding")) as entries:
            libraries = [x for x in entries if x.name.startswith("libllvmlite")]
        for name, size in sorted((x.name, x.stat().st_size) for x in libraries):
            digest.update(f"{name} {size}".encode())
    except OSError:
        llvm = binding()
        return f"{llvm.__name__} {llvm.llvm_version_info}"
    return digest.hexdigest()


def host_cpu() -> tuple[str, dict[str, bool]]:
    """The name of this CPU and its features, as LLVM spells them."""
    llvm = binding()
    return llvm.get_host_cpu_name(), dict(llvm.get_host_cpu_features())
