"""Inspection: kernels as people read them: what they walk and compute, and the machine code of their text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from graphc.sizes import Size
from graphc.tensor import Tensor
from runtime.llvm_backend.contractions.contraction import Access, Contract, Expression
from runtime.llvm_backend.engine import llvm
from runtime.llvm_backend.engine.compiler import lock
from runtime.llvm_backend.engine.machine import open_target_machine
from runtime.llvm_backend.rows.row_plan import RowPlan

MOST_ASSEMBLY = 200_000  # characters of one kernel that are kept


def assemble(text: str) -> tuple[str, int]:
    """The assembly of an LLVM module, and the bytes of its object code, for this machine."""
    with lock:
        binding = llvm.binding()
        module = binding.parse_assembly(text, binding.create_context())
        machine = open_target_machine()
        assembly: str = machine.emit_assembly(module)
        size = len(machine.emit_object(module))
        module.close()
    if len(assembly) > MOST_ASSEMBLY:
        left = assembly[MOST_ASSEMBLY:].count("\n")
        assembly = f"{assembly[:MOST_ASSEMBLY]}\n# cut: {left} more lines"
    return assembly, size


def spell_plan(plan: Any) -> str:
    """A RowPlan or a Contract as text; empty for anything else."""
    if isinstance(plan, RowPlan):
        return "\n".join(_spell_rows(plan))
    if isinstance(plan, Contract):
        return "\n".join(_spell_contract(plan))
    return ""


def _spell_rows(plan: RowPlan) -> Iterator[str]:
    body = plan.body
    names = {node: f"x{i}" for i, node in enumerate(body.inputs)}
    for node in body.nodes():
        names.setdefault(node, f"%{len(names) - len(body.inputs)}")
    outer = ", ".join(map(str, plan.outer)) or "1"
    yield f"rows [{outer}] of {plan.inner}" + ("   (all elements are one row)" if plan.is_flat else "")
    for i, node in enumerate(body.inputs):
        yield f"read  x{i}: {node.type}"
    for number, phase in enumerate(plan.phases):
        yield f"phase {number}:"
        for each in phase.vectors:
            mark = "   (kept for a later phase)" if each in plan.kept else ""
            yield f"  along the row   {_call(each, names)}{mark}"
        for each in phase.reductions:
            yield f"  over the row    {_call(each, names)}"
        for each in phase.numbers:
            yield f"  once a row      {_call(each, names)}"
    for i, node in enumerate(body.outputs):
        access = plan.writes[i]
        where = "along the row" if access.inner else "once a row"
        yield f"write {names[node]}: {node.type}   ({where})"


def _call(node: Tensor, names: dict[Tensor, str]) -> str:
    return f"{names[node]} = {node.op.name}({', '.join(names[i] for i in node.inputs)}) : {node.type}"


def _spell_contract(contract: Contract) -> Iterator[str]:
    yield f"contract {contract.combine}"
    reduced = {dim.name for dim in contract.reduced_dims}
    for dim in contract.dims:
        yield f"  dim {dim.name:<4} {dim.size}" + ("   (reduced)" if dim.name in reduced else "")
    yield f"  out {_spell_access(contract.out)}"
    for i, access in enumerate(contract.ins):
        yield f"  in  {_spell_access(access)}"
        if contract.prologue:
            yield from _spell_expression("before", contract.prologue[i])
    yield from _spell_expression("after", contract.epilogue)


def _spell_access(access: Access) -> str:
    terms = [f"{_factor(stride)}{dim}" for dim, stride in access.strides.items()]
    if access.offset != 0 or not terms:
        terms.insert(0, str(access.offset))
    return f"{access.buffer}[{' + '.join(terms)}] {access.dtype.code}"


def _factor(stride: Size) -> str:
    return "" if stride == 1 else f"{stride}*" if isinstance(stride, int) else f"({stride})*"


def _spell_expression(when: str, expression: Expression) -> Iterator[str]:
    for i, access in enumerate(expression.reads):
        yield f"    {when}: v{1 + i} = {_spell_access(access)}"
    first = 1 + len(expression.reads)
    for i, step in enumerate(expression.steps):
        operands = ", ".join(f"v{k}" for k in step.operands)
        yield f"    {when}: v{first + i} = {step.op}({operands}) {step.dtype.code}"
