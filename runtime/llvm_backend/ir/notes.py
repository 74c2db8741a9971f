"""Notes: the flags that floating arithmetic raises and the CPU keeps, as x86 has them (MXCSR).

Whoever reads them calls a function for what is noted: LLVM may order arithmetic around the reading itself.
"""

from __future__ import annotations

from runtime.llvm_backend.ir.text import QUICKLY, Emitter

FLAGS = 0b1101  # invalid operation, division by zero, overflow
DECLARATIONS = """declare void @llvm.x86.sse.stmxcsr(ptr)
declare void @llvm.x86.sse.ldmxcsr(ptr)"""


def in_all_lanes(em: Emitter, scalar: str, value: str) -> str:
    """`value`, which may be chosen: else LLVM would leave out where it is not, and the CPU note less."""
    return em.intrinsic("arithmetic.fence", scalar, value) if em.module.target.notes else value


def noting_text(name: str, inside: str, parameters: str, flag: int, kind: int) -> str:
    """A function `name` that calls `inside`; where that made what is not finite of what was, it tells `kind`.

    The first parameter is ``ptr %block``, whose word number `flag` points to the i32 to be told by.
    """
    return f"""define void @{name}({parameters}) {QUICKLY} nounwind {{
entry:
  %notes = alloca i32
  call void @llvm.x86.sse.stmxcsr(ptr %notes)
  %before = load i32, ptr %notes
  %old = and i32 %before, {FLAGS}
  %is.clear = icmp eq i32 %old, 0
  br i1 %is.clear, label %walk, label %clear
clear:
  %cleared = xor i32 %before, %old
  store i32 %cleared, ptr %notes
  call void @llvm.x86.sse.ldmxcsr(ptr %notes)
  br label %walk
walk:
  call void @{inside}({parameters})
  call void @llvm.x86.sse.stmxcsr(ptr %notes)
  %after = load i32, ptr %notes
  %new = and i32 %after, {FLAGS}
  %is.fine = icmp eq i32 %new, 0
  br i1 %is.fine, label %done, label %tell
tell:
  %at = getelementptr i64, ptr %block, i64 {flag}
  %flag = load ptr, ptr %at
  store i32 {kind}, ptr %flag
  br label %done
done:
  ret void
}}"""
