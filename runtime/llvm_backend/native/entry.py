"""Entry: which programs can be native, and what they are compiled to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from graphc.types import OPERATION, TensorType
from passes.failure import may_fail
from passes.memory import phases_of
from passes.program import Program
from runtime.execution import BoundProgram
from runtime.llvm_backend.loops.loop_steps import LOOPS
from runtime.llvm_backend.native.native_lowering import inner_variables, lower, program_symbols
from runtime.llvm_backend.native.native_program import NativeProgram
from runtime.llvm_backend.native.native_regions import find_unknown
from runtime.llvm_backend.rows.numerics import find_unchecked

_AGAIN = frozenset(("print", "call_python"))  # whoever runs them twice is noticed


def compile_native(
    program: Program, bound: BoundProgram, threads: int, looks: bool = False, clocked: bool = False
) -> NativeProgram | str:
    """The native program, or why there is none.

    `looks`: one that looks for NaN and infinity (`numerics`); `clocked`: one whose steps are timed.
    """
    reason = _find_reason(program, looks)
    return reason or NativeProgram(lower(program, bound, threads, looks, clocked), threads)


def _find_reason(program: Program, looks: bool) -> str:
    """Why `program` cannot be native; "" where it can."""
    late = phases_of(program)
    reason = find_unknown(program, frozenset((*program_symbols(program), *late)))
    if reason:
        return reason
    if looks and (reason := find_unchecked(program)):
        return reason
    if any(node.op.name in _AGAIN for node in _all_nodes(program)):
        kernels = (node for node in _all_nodes(program) if node.op.name in ("fused", *LOOPS))
        if looks or late or any(map(may_fail, kernels)):
            return "a failing run would print or call Python twice"
    for buffer in program.outputs:
        fetched = program.nodes[buffer].type
        if not isinstance(fetched, TensorType) and fetched != OPERATION:
            return "an op with several results is fetched"
    if any(_unknown(type) for type in inner_variables(program).values()):
        return "a body reads a variable whose size is known only at the run"
    return ""


def _unknown(type: TensorType) -> bool:
    return type.shape is None or not all(isinstance(size, int) for size in type.shape)


def _all_nodes(program: Program) -> Iterator[Any]:
    pending = [program]
    while pending:
        current = pending.pop()
        for step in current.steps:
            yield step.node
            if step.programs:
                pending.extend(step.regions)
