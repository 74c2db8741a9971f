"""Compiler: LLVM text to object code, several modules at once.

llvmlite lets one thread at a time into LLVM. LLVM itself asks for no more than a context and a target machine
for each thread, so where llvmlite's library can be reached past that lock, all cores compile. The
way past it is no public interface: where it is not as expected, one module is compiled after the other.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Sequence
from functools import cache
from typing import Any

import llvmlite.binding as llvm

from graphc.errors import VerificationError
from passes.stages import stage
from runtime.llvm_backend.machine import open_target_machine

# LLVM is not safe after a fork in the midst of it: a fork waits until none of us is in there.
lock = threading.RLock()
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)

_FUNCTIONS = (
    *("ContextCreate", "ContextDispose", "ParseAssembly", "VerifyModule", "DisposeModule"),
    *("TargetMachineEmitToMemory", "GetBufferStart", "GetBufferSize", "DisposeMemoryBuffer", "DisposeString"),
)
_OBJECT_FILE = 1
_machines: list[Any] = []  # a target machine for each thread there ever was at once


def compile_modules(texts: Sequence[tuple[str, str]]) -> list[bytes]:
    """The object code of each (name, text), in order.

    Raises: VerificationError naming the first whose text is no valid LLVM module.
    """
    with lock, stage("codegen"):
        found: list[bytes | None] = [None] * len(texts)
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        several = min(len(texts), cores)
        if several > 1 and _functions() is not None:
            _compile_at_once([text for _, text in texts], found, several)
        return [
            _compile(name, text) if image is None else image
            for (name, text), image in zip(texts, found, strict=True)
        ]


def _compile(name: str, text: str) -> bytes:
    context = llvm.create_context()  # what a module made of constants and types goes with it
    try:
        module = llvm.parse_assembly(text, context)
        module.verify()
    except RuntimeError as error:
        raise VerificationError(f"kernel {name}: its LLVM text is not valid: {error}") from None
    image: bytes = _machine(0).emit_object(module)
    module.close()
    return image


def _machine(number: int) -> Any:
    while len(_machines) <= number:
        _machines.append(open_target_machine())
    return _machines[number]


def _compile_at_once(texts: Sequence[str], found: list[bytes | None], several: int) -> None:
    """Fills `found`; what fails stays None, and is tried again by itself for the sake of its message."""
    left = list(reversed(range(len(texts))))  # popping is atomic

    def work(machine: Any) -> None:
        while True:
            try:
                number = left.pop()
            except IndexError:
                return
            found[number] = _compile_past_lock(machine, texts[number])

    machines = [_machine(i) for i in range(several)]
    threads = [threading.Thread(target=work, args=(machine,)) for machine in machines[1:]]
    started = []
    for thread in threads:
        try:
            thread.start()
        except RuntimeError:  # the system gives no more threads, or the interpreter is ending
            break
        started.append(thread)
    work(machines[0])
    for thread in started:
        thread.join()


def _compile_past_lock(machine: Any, text: str) -> bytes | None:
    call = _functions()
    assert call is not None
    image, messages = None, [ctypes.c_char_p() for _ in range(3)]  # verifying may leave one when all is well
    context = call["ContextCreate"]()
    module = call["ParseAssembly"](context, text.encode(), ctypes.byref(messages[0]))
    if not messages[0] and not call["VerifyModule"](module, ctypes.byref(messages[1])):
        emit = call["TargetMachineEmitToMemory"]
        buffer = emit(machine._ptr, module, _OBJECT_FILE, ctypes.byref(messages[2]))
        if buffer:
            image = ctypes.string_at(call["GetBufferStart"](buffer), call["GetBufferSize"](buffer))
            call["DisposeMemoryBuffer"](buffer)
    for message in messages:
        if message:
            call["DisposeString"](message)
    if module:
        call["DisposeModule"](module)
    call["ContextDispose"](context)
    return image


@cache
def _functions() -> dict[str, Any] | None:
    """LLVM's functions without llvmlite's lock, with the types it gave them; None: not to be had."""
    try:
        handle = llvm.ffi.lib._lib_handle
        functions = {name: getattr(handle, f"LLVMPY_{name}") for name in _FUNCTIONS}
    except AttributeError:
        return None
    return functions if functions["ParseAssembly"].argtypes is not None else None
