"""Kernel choice: the kernel of a contract on this machine, and how its numbers are checked.

What an epilogue makes is noted by the CPU as the sums are (`ir.notes`); it looks at nothing. So where numbers
are checked it takes along no op that does not tell, and none that would make something of 0 which no number
of a row is: lanes that no element is in hold that.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from graphc.tensor import Tensor
from graphc.types import FLOAT32, FLOAT64
from runtime.llvm_backend.contractions.contraction import Contract
from runtime.llvm_backend.contractions.fused_contraction import is_contraction
from runtime.llvm_backend.contractions.kernel import Kernel, emit_contraction
from runtime.llvm_backend.contractions.pair_kernel import emit_pairs
from runtime.llvm_backend.engine.machine import host
from runtime.llvm_backend.ir.notes import DECLARATIONS, noting_text
from runtime.llvm_backend.ir.text import target_of
from runtime.llvm_backend.ir.writer import INTERNAL
from runtime.llvm_backend.rows.numerics import NONFINITE, NOTED
from runtime.llvm_backend.rows.row_notes import SILENT, TELLING

_ENTRY = "contraction"
_AFTER = (TELLING | SILENT) - {"div", "reciprocal", "rsqrt", "log", "log1p"}


@lru_cache(maxsize=256)
def choose_kernel(contract: Contract, checked: bool, follows: bool) -> Kernel:
    """The kernel of `contract`; equal ones are written once.

    With `checked` it tells, if it can: if it `follows` all `is_checked_after` does, or has no epilogue.
    """
    machine, target = host(), target_of(host())
    noted = checked and (follows or (target.notes and _is_arithmetic(contract)))
    linkage, target = INTERNAL if noted else "", replace(target, notes=noted)
    made = emit_pairs(contract, machine, _ENTRY, target=target, linkage=linkage)
    made = made or emit_contraction(contract, machine, _ENTRY, target=target, linkage=linkage)
    return _noted(made) if noted else made


def _is_arithmetic(contract: Contract) -> bool:
    """Whether it makes what is not finite by instructions of which the CPU notes that."""
    expressions = (*contract.prologue, contract.epilogue)
    return (
        contract.combine in ("multiply_add", "add")
        and contract.values is None
        and all(access.dtype in (FLOAT32, FLOAT64) for access in contract.accesses)
        and all(step.op == "cast" for expression in expressions for step in expression.steps)
    )


def is_checked_product(node: Tensor) -> bool:
    """Whether `node` is a product whose kernel may go on with the sums, and tells what is not finite."""
    if node.op.name not in NOTED or not target_of(host()).notes:
        return False
    return all(x.dtype in (FLOAT32, FLOAT64) for x in (node, *node.inputs)) and is_contraction(node)


def is_checked_after(node: Tensor) -> bool:
    """Whether the epilogue of such a kernel may have `node`."""
    dtypes = [x.dtype for x in (node, *node.inputs)]
    real = all(dtype in (FLOAT32, FLOAT64) for dtype in dtypes if dtype.is_floating)
    return real and node.op.name in _AFTER


def _noted(kernel: Kernel) -> Kernel:
    """`kernel` of internal phases, as one that tells by a word more where they make what is not finite."""
    flag = kernel.first_word + len(kernel.words)
    phases = tuple(replace(phase, name=f"{phase.name}.noted") for phase in kernel.phases)
    functions = (
        noting_text(phase.name, before.name, "ptr %block, i64 %chunk", flag, NONFINITE)
        for phase, before in zip(phases, kernel.phases, strict=True)
    )
    text = "\n".join((DECLARATIONS, kernel.text, *functions, ""))
    return replace(kernel, text=text, phases=phases, flag=flag)
