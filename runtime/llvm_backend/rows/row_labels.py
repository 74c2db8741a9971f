"""Row labels: the element that a label numbers, and rows that hold one there.

An element that is picked from a row that the kernel computes is computed by itself, as a number. A label
that numbers no class is a failure; then the first element stands for it, which is there.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.tensor import Tensor
from graphc.types import DType
from passes.fusion import PICK, PUT
from runtime.llvm_backend.ir.text import INDEX, Emitter, numbered
from runtime.llvm_backend.ir.values import register_scalar
from runtime.llvm_backend.rows.row_plan import RowPlan

BY_LABELS = frozenset((PICK.name, PUT.name))


def as_index(one: Emitter, label: str, dtype: DType) -> str:
    """`label`, a number in a register, as an i64; one that is too large for that is negative."""
    if dtype.itemsize == 8:
        return label
    return one.convert("sext" if dtype.kind == "i" else "zext", register_scalar(dtype), "i64", label)


def checked_index(one: Emitter, index: str, classes: str) -> str:
    """`index` where it is below `classes`; else 0, and a fault."""
    outside = one.compare("uge", "i64", index, classes)
    one.fault(outside, INDEX)
    return one.select(outside, "i64", "0", index)


def put_at(em: Emitter, one: Emitter, dtype: DType, value: str, index: str, j: str) -> str:
    """`value` in the lane of element `index`, and 0 in the others; the first lane is element `j`."""
    scalar = register_scalar(dtype)
    away = one.let(f"sub i64 {index}, {j}")
    zero = em.number(scalar, 0.0) if dtype.is_floating else em.integer(scalar, 0)
    if em.width == 1:
        return one.let(f"select i1 {one.compare('eq', 'i64', away, '0')}, {scalar} {value}, {scalar} {zero}")
    lane = one.let(f"trunc i64 {one.intrinsic('umin', 'i64', away, str(em.width))} to i32")
    here = em.compare("eq", "i32", numbered(em.width, "i32"), em.broadcast("i32", lane))
    return em.select(here, scalar, value, zero)


def needed_for(plan: RowPlan, row: Tensor) -> Sequence[Tensor]:
    """What is computed of each element of `row`, in order; nothing where it is read."""
    given = set(plan.body.inputs)
    found: set[Tensor] = set()
    pending = [row]
    while pending:
        node = pending.pop()
        if node not in found and node not in given and plan.spans(node):
            found.add(node)
            pending.extend(node.inputs)
    return [node for node in plan.body.nodes() if node in found and node not in plan.source]
