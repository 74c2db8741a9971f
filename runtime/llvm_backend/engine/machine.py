"""Machine: what the CPU is, as kernels and schedules need to know it.

On Linux on x86-64 the kernel's own description of the CPU is read: what runs code that was compiled before
has no need of LLVM's library. Elsewhere LLVM is asked.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import numpy as np

from graphc.errors import ArgumentError
from graphc.freezing import frozen
from runtime.llvm_backend.engine import llvm
from runtime.llvm_backend.engine.cache import locate

# CPUs with one unit for their widest vectors, where narrower ones keep two busy: clients of Intel. Its
# servers have two (a few of the cheaper ones one: there both widths are as fast).
VECTOR_BYTES = {
    "cannonlake": 32,
    "icelake-client": 32,
    "tigerlake": 32,
    "rocketlake": 32,
}
# The same by what the system calls them: Intel's family 6, by model (llvm/TargetParser/Host.cpp).
_MODELS = {
    102: "cannonlake",
    125: "icelake-client",
    126: "icelake-client",
    140: "tigerlake",
    141: "tigerlake",
    167: "rocketlake",
}
_AMD = "znver"  # how LLVM names its CPUs that have AVX-512
_WIDEST = (("avx512vl", 64), ("avx2", 32), ("avx", 32))  # for all others: by feature, else 16
_SAID_AT_ONCE = 4096  # bytes: one processor takes 1500
_CACHES = (32 << 10, 512 << 10, 8 << 20)  # where the system does not say: one core's L1 and L2, all's L3


@frozen
class Machine:
    """A CPU, and what its code is good at.

    Attributes:
        architecture: ``"x86_64"``, ``"aarch64"``.
        level: the one that GRAPHC_CPU names; "" for the CPU of this process.
        identity: what objects made for it depend on.
        vector_bytes: W, the width of the vectors to use.
        vector_registers: how many of them.
        l1, l2, l3: bytes of data cache; 0: there is none.
        far_l3: what L2 does not hold comes slowly, unless the hardware knows ahead what is next: so on a mesh
            of many cores, as Intel's servers have.
        fma: multiply-add in one rounding.
        half: float16 and float32 are converted by an instruction.
        masks: masked loads and stores cost no more than whole ones (AVX-512).
        bf16: a dot product of bfloat16 pairs.
        int8: a dot product of int8 quadruples.
        f16: arithmetic on float16.
    """

    architecture: str
    level: str
    identity: str
    vector_bytes: int
    vector_registers: int
    l1: int
    l2: int
    l3: int
    far_l3: bool
    fma: bool
    half: bool
    masks: bool
    bf16: bool
    int8: bool
    f16: bool


# The levels of x86-64 (https://gitlab.com/x86-psABIs/x86-64-ABI): their widest vectors, how many registers.
_LEVELS = {"x86-64-v2": (16, 16), "x86-64-v3": (32, 16), "x86-64-v4": (64, 32)}


@cache
def host() -> Machine:
    """The machine to compile for: the one this process runs on, or the level that GRAPHC_CPU names.

    A level gives the same kernels on every machine that has it, whatever else that has.

    Raises: ArgumentError for another GRAPHC_CPU than x86-64-v2, -v3 or -v4.
    """
    level = os.environ.get("GRAPHC_CPU")
    return _level(level) if level else own() or as_probed()


@cache
def own() -> Machine | None:
    """The machine this process runs on, as far as its system describes it."""
    return as_told()


def _level(name: str) -> Machine:
    if name not in _LEVELS:
        raise ArgumentError(f"GRAPHC_CPU is {' or '.join(_LEVELS)}, not {name!r}")
    width, registers = _LEVELS[name]
    l1, l2, l3 = _CACHES
    return Machine(
        architecture=architecture(),
        level=name,
        identity=_identify(name),
        vector_bytes=width,
        vector_registers=registers,
        l1=l1,
        l2=l2,
        l3=l3,
        far_l3=False,
        fma=width > 16,
        half=width > 16,
        masks=width == 64,
        bf16=False,
        int8=False,
        f16=False,
    )


def as_probed() -> Machine:
    """This machine as LLVM finds it."""
    cpu, features = llvm.host_cpu()
    identity = _identify(cpu, *sorted(name for name in features if features[name]))
    return _machine(cpu, features, identity, intel=not cpu.startswith(_AMD))


def as_told(path: str = "/proc/cpuinfo") -> Machine | None:
    """This machine as its system describes it; None where it does not, or is not known to be right."""
    if not sys.platform.startswith("linux") or architecture() != "x86_64":
        return None
    try:
        lines = dict(_first_processor(path))
        family, model = int(lines["cpu family"]), int(lines["model"])
        flags = lines["flags"].split()
    except (OSError, KeyError, ValueError):
        return None
    if any(flag in flags and _asked().get(flag.upper()) is False for flag in ("avx2", "avx512f")):
        return None  # an emulator, such as valgrind, shows this process another CPU than the system's
    intel = lines.get("vendor_id") == "GenuineIntel" and family == 6
    features = dict.fromkeys((x.replace("avx512_", "avx512") for x in flags), True)  # as LLVM spells them
    parts = (lines.get("vendor_id", ""), str(family), str(model), lines.get("stepping", ""), *sorted(flags))
    return _machine(_MODELS.get(model, "") if intel else "", features, _identify(*parts), intel)


def _first_processor(path: str) -> Iterator[tuple[str, str]]:
    """What is said of it, as names and values. The system writes what is read, so no more than that is."""
    said = b""
    with open(path, "rb", buffering=0) as file:
        while b"\n\n" not in said and (more := file.read(_SAID_AT_ONCE)):
            said += more
    for line in said.partition(b"\n\n")[0].decode(errors="replace").split("\n"):
        name, _, value = line.partition(":")
        yield name.strip(), value.strip()


def _machine(cpu: str, features: Mapping[str, bool], identity: str, intel: bool) -> Machine:
    def has(name: str) -> bool:
        return bool(features.get(name))

    kind = architecture()
    arm = kind == "aarch64"
    width = VECTOR_BYTES.get(cpu) or next((width for name, width in _WIDEST if has(name)), 16)
    l1, l2, l3 = cache_sizes()
    return Machine(
        architecture=kind,
        level="",
        identity=identity,
        vector_bytes=width,
        vector_registers=32 if has("avx512vl") or arm else 16,
        l1=l1,
        l2=l2,
        l3=l3,
        far_l3=intel and width == 64,
        fma=has("fma") or arm,
        half=has("f16c") or arm,
        masks=has("avx512vl") and has("avx512bw"),
        bf16=has("avx512bf16") or has("bf16"),
        int8=has("avx512vnni") or has("dotprod"),
        f16=has("avx512fp16") or has("fullfp16"),
    )


def architecture() -> str:
    """The kind of CPU that this system is for: ``"x86_64"``, ``"aarch64"``."""
    if hasattr(os, "uname"):
        name = os.uname().machine.lower()
    else:
        import platform  # on Windows only: it takes a millisecond

        name = platform.machine().lower()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(name, name)


def _identify(*parts: str) -> str:
    """A hash of the CPU, the system, LLVM, and what the CPU itself says it can do."""
    can = sorted(name for name, there in _asked().items() if there)
    text = "\n".join((sys.platform, architecture(), llvm.version(), *parts, "", *can))
    return hashlib.sha256(text.encode()).hexdigest()


def _asked() -> Mapping[str, bool]:
    """What the CPU can do by NumPy, which asks it itself and not its system; empty where it does not say."""
    core = getattr(np, "_core", None)
    return getattr(getattr(core, "_multiarray_umath", None), "__cpu_features__", {})


def open_target_machine(effort: int = llvm.THOROUGH) -> Any:
    """A new llvmlite TargetMachine for the host, as `llvm.open_machine`."""
    binding, level = llvm.binding(), host().level
    features = "" if level else binding.get_host_cpu_features().flatten()  # a level has its own
    return binding.Target.from_triple(binding.get_default_triple()).create_target_machine(
        cpu=level or binding.get_host_cpu_name(),
        features=features,
        opt=effort,
        jit=True,
        **llvm.OPTIONS,
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
    with open(path, encoding="utf-8") as file:
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
        "cpu": machine.level or llvm.host_cpu()[0],
        "vector width": f"{machine.vector_bytes * 8} bits",
        "llvm": ".".join(map(str, llvm.binding().llvm_version_info)),
        "cache": locate() or "none on disk: kernels live as long as the process",
    }
