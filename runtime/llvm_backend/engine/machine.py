"""Machine: what the CPU is, as kernels and schedules need to know it."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass
from functools import cache
from typing import Any

import llvmlite.binding as llvm

from graphc.errors import ArgumentError
from runtime.llvm_backend.engine.cache import locate

# CPUs whose widest vectors slow the clock or run in halves: they are better served by narrower ones.
VECTOR_BYTES = {
    "skylake-avx512": 32,
    "cascadelake": 32,
    "cooperlake": 32,
    "cannonlake": 32,
    "icelake-client": 32,
    "tigerlake": 32,
    "rocketlake": 32,
    "neoverse-v1": 16,  # its SVE is 32 bytes wide, but only at run time
}
_WIDEST = (("avx512vl", 64), ("avx2", 32), ("avx", 32))  # for all others: by feature, else 16
_CACHES = (32 << 10, 512 << 10, 8 << 20)  # where the system does not say: one core's L1 and L2, all's L3


@dataclass(frozen=True, slots=True)
class Machine:
    """A CPU, and what its code is good at.

    Attributes:
        triple, cpu, features: as LLVM calls them.
        llvm: the version that makes code for it.
        vector_bytes: W, the width of the vectors to use.
        vector_registers: how many of them.
        l1, l2, l3: bytes of data cache; 0: there is none.
        cores: how many threads run at once.
        fma: multiply-add in one rounding.
        masks: masked loads and stores cost no more than whole ones (AVX-512).
        bf16: a dot product of bfloat16 pairs.
        int8: a dot product of int8 quadruples.
        f16: arithmetic on float16.
    """

    triple: str
    cpu: str
    features: str
    llvm: str
    vector_bytes: int
    vector_registers: int
    l1: int
    l2: int
    l3: int
    cores: int
    fma: bool
    masks: bool
    bf16: bool
    int8: bool
    f16: bool

    @property
    def architecture(self) -> str:
        """The first part of the triple: ``"x86_64"``."""
        return self.triple.partition("-")[0]

    def describe(self) -> str:
        """What objects made for it depend on."""
        return "\n".join((self.triple, self.cpu, self.features, self.llvm))


# The levels of x86-64 (https://gitlab.com/x86-psABIs/x86-64-ABI): their widest vectors, how many registers.
_LEVELS = {"x86-64-v2": (16, 16), "x86-64-v3": (32, 16), "x86-64-v4": (64, 32)}


@cache
def host() -> Machine:
    """The machine to compile for: the one this process runs on, or the level that GRAPHC_CPU names.

    A level gives the same kernels on every machine that has it, whatever else that has.

    Raises: ArgumentError for another GRAPHC_CPU than x86-64-v2, -v3 or -v4.
    """
    level = os.environ.get("GRAPHC_CPU")
    return _probe() if not level else _level(level)


def _level(name: str) -> Machine:
    if name not in _LEVELS:
        raise ArgumentError(f"GRAPHC_CPU is {' or '.join(_LEVELS)}, not {name!r}")
    width, registers = _LEVELS[name]
    l1, l2, l3 = _CACHES
    return Machine(
        triple=llvm.get_default_triple(),
        cpu=name,
        features="",  # those of the level
        llvm=".".join(map(str, llvm.llvm_version_info)),
        vector_bytes=width,
        vector_registers=registers,
        l1=l1,
        l2=l2,
        l3=l3,
        cores=2,
        fma=width > 16,
        masks=width == 64,
        bf16=False,
        int8=False,
        f16=False,
    )


def _probe() -> Machine:
    features = dict(llvm.get_host_cpu_features())

    def has(name: str) -> bool:
        return bool(features.get(name))

    cpu = llvm.get_host_cpu_name()
    arm = platform.machine().lower() in ("aarch64", "arm64")
    width = VECTOR_BYTES.get(cpu) or next((width for name, width in _WIDEST if has(name)), 16)
    l1, l2, l3 = cache_sizes()
    return Machine(
        triple=llvm.get_default_triple(),
        cpu=cpu,
        features=llvm.get_host_cpu_features().flatten(),
        llvm=".".join(map(str, llvm.llvm_version_info)),
        vector_bytes=width,
        vector_registers=32 if has("avx512vl") or arm else 16,
        l1=l1,
        l2=l2,
        l3=l3,
        cores=os.cpu_count() or 1,
        fma=has("fma") or arm,
        masks=has("avx512vl") and has("avx512bw"),
        bf16=has("avx512bf16") or has("bf16"),
        int8=has("avx512vnni") or has("dotprod"),
        f16=has("avx512fp16") or has("fullfp16"),
    )


def open_target_machine() -> Any:
    """A new llvmlite TargetMachine for the host, whose objects JITLink can load anywhere.

    Position-independent code in the small model: other relocations to imported data end the process.
    """
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = host()
    return llvm.Target.from_triple(machine.triple).create_target_machine(
        cpu=machine.cpu, features=machine.features, opt=3, reloc="pic", codemodel="small", jit=True
    )


@cache
def cache_sizes() -> tuple[int, int, int]:
    """Bytes of the first core's L1 data cache, its L2, and the L3."""
    found = _sysctl_caches() if sys.platform == "darwin" else _sysfs_caches()
    if not found:
        return _CACHES
    l1, l2, _ = (found.get(level) or default for level, default in zip((1, 2, 3), _CACHES, strict=True))
    return l1, l2, found.get(3, 0)


def _sysfs_caches() -> dict[int, int]:
    """By level; empty where the system is not Linux, or does not tell."""
    folder = "/sys/devices/system/cpu/cpu0/cache"
    found: dict[int, int] = {}
    try:
        for index in sorted(os.listdir(folder)):
            if index.startswith("index"):
                level, type, size = (
                    _first_line(f"{folder}/{index}/{name}") for name in ("level", "type", "size")
                )
                if type in ("Data", "Unified"):
                    unit = {"K": 10, "M": 20, "G": 30}.get(size[-1:], 0)  # 48K
                    found[int(level)] = int(size.rstrip("KMG")) << unit
    except (OSError, ValueError):
        return {}
    return found


def _first_line(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.readline().strip()


def _sysctl_caches() -> dict[int, int]:
    """By level, as macOS tells them of the fast cores."""
    import ctypes  # only here

    found: dict[int, int] = {}
    library = ctypes.CDLL(None)
    for level, name in ((1, "l1dcachesize"), (2, "l2cachesize"), (3, "l3cachesize")):
        value, size = ctypes.c_int64(), ctypes.c_size_t(8)
        for prefix in ("hw.perflevel0.", "hw."):
            text = (prefix + name).encode()
            if not library.sysctlbyname(text, ctypes.byref(value), ctypes.byref(size), None, 0):
                found[level] = value.value
                break
    return found


def describe_machine() -> dict[str, str]:
    """The CPU, the width of its vectors, the version of LLVM, where objects are kept: as texts."""
    machine = host()
    return {
        "cpu": machine.cpu,
        "vector width": f"{machine.vector_bytes * 8} bits",
        "llvm": machine.llvm,
        "cache": locate() or "none on disk: kernels live as long as the process",
    }
