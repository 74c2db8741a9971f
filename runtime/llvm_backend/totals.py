"""Totals: what the reductions of a row gather in, across vectors, then across lanes."""

from __future__ import annotations

from dataclasses import dataclass

from graphc.tensor import Tensor
from graphc.types import FLOAT64, DType
from runtime.llvm_backend.scalars import emit_op
from runtime.llvm_backend.text import Emitter
from runtime.llvm_backend.values import register_scalar


@dataclass(frozen=True, slots=True)
class Total:
    """What a reduction gathers in: its dtype, its first value, the op by which two meet."""

    dtype: DType
    start: str
    meet: str


def total_of(em: Emitter, node: Tensor) -> Total:
    """The total of a sum, mean, max or min. Sums of floats gather in double, whatever they are of."""
    dtype = node.inputs[0].dtype
    if node.op.name in ("sum", "mean"):
        if dtype.is_floating:
            return Total(FLOAT64, em.number("double", 0.0), "add")
        return Total(dtype, "0", "add")
    largest = node.op.name == "max"
    meet = "maximum" if largest else "minimum"
    if dtype.is_floating:
        worst = float("-inf") if largest else float("inf")
        return Total(dtype, em.number(register_scalar(dtype), worst), meet)
    bits = 8 * dtype.itemsize
    low, high = (0, 2**bits - 1) if dtype.kind == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return Total(dtype, str(low if largest else high), meet)


def as_total(em: Emitter, total: Total, dtype: DType, value: str) -> str:
    """A value of `dtype` as what the total gathers."""
    given, wanted = register_scalar(dtype), register_scalar(total.dtype)
    return value if given == wanted else em.convert("fpext", given, wanted, value)


def across(one: Emitter, width: int, total: Total, value: str) -> str:
    """All lanes into one: halves onto halves, an order that depends on the width alone."""
    scalar = register_scalar(total.dtype)
    while width > 1:
        half = width // 2
        em = Emitter(one.module, half, prefix=f"h{one.name()[2:]}.")
        em.lines = one.lines
        parts = []
        for start in (0, half):
            places = ", ".join(f"i32 {start + i}" for i in range(half))
            of = f"<{width} x {scalar}>"
            part = one.let(f"shufflevector {of} {value}, {of} poison, <{half} x i32> <{places}>")
            if half == 1:
                part = one.let(f"extractelement <1 x {scalar}> {part}, i64 0")
            parts.append(part)
        value = emit_op(em, total.meet, parts, [total.dtype] * 2, total.dtype, {})
        width = half
    return value


def finish(one: Emitter, node: Tensor, total: str, count: str) -> str:
    """The number that a total over `count` elements stands for."""
    gathered, dtype = total_of(one, node).dtype, node.dtype
    if node.op.name == "mean":
        total = one.let(f"fdiv double {total}, {one.let(f'sitofp i64 {count} to double')}")
    if gathered is dtype:
        return total
    return emit_op(one, "cast", [total], [gathered], dtype, {"dtype": dtype})
