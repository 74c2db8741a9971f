"""Kernels of elementwise expressions, to test ops and functions with: whole vectors, then what is left.

    void kernel(ptr out..., ptr in..., [ptr flag,] i64 n)

The inputs are contiguous arrays of n elements, or single elements that meet all n. All inputs of a lane are
read before an output of that lane is written, so an output may be the array of an input with elements of the
same size. `n` is known only at the run: one kernel serves all sizes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from graphc.types import DType
from runtime.llvm_backend.engine.machine import host
from runtime.llvm_backend.ir.scalars import emit_op
from runtime.llvm_backend.ir.text import Emitter, Module, Target, target_of
from runtime.llvm_backend.ir.values import load, load_single, register_bytes, store

KERNEL = "kernel"


@dataclass(frozen=True, slots=True)
class Input:
    """An operand of a kernel: an array of n elements, or a single element."""

    dtype: DType
    single: bool = False


@dataclass(frozen=True, slots=True)
class Operation:
    """One op of a body. `operands` count the inputs first, then the operations before this one."""

    op: str
    operands: tuple[int, ...]
    dtype: DType


@dataclass(frozen=True, slots=True)
class Body:
    """An elementwise expression with several results; `outputs` count as operands do."""

    inputs: tuple[Input, ...]
    operations: tuple[Operation, ...]
    outputs: tuple[int, ...]

    @property
    def dtypes(self) -> tuple[DType, ...]:
        """The dtypes of the inputs and of all operations."""
        return (*(x.dtype for x in self.inputs), *(step.dtype for step in self.operations))

    @property
    def fallible(self) -> bool:
        """Whether a lane may fail, and the kernel therefore takes a flag."""
        return any(_may_fault(step.op, self.dtypes[step.operands[0]]) for step in self.operations)


def _may_fault(op: str, dtype: DType) -> bool:
    divides = op in ("floor_divide", "remainder", "fmod")
    return dtype.is_integer and (divides or (op == "power" and dtype.kind == "i"))


@dataclass(frozen=True, slots=True)
class Kernel:
    """The text of a kernel.

    Attributes:
        name: the function in it.
        text: the LLVM module.
        pointers: how many it takes: outputs, inputs, and a flag (an i32 that it sets where a lane fails, to
            `integers.DIVISION` or `integers.NEGATIVE_POWER`) where `fallible`.
        fallible: whether there is a flag.
        width: the lanes of its main loop.
    """

    name: str
    text: str
    pointers: int
    fallible: bool
    width: int


@cache
def host_target() -> Target:
    """The machine this runs on."""
    return target_of(host())


def kernel_width(body: Body, target: Target) -> int:
    """As many lanes as the widest dtype of the body has in a register."""
    widest = max((register_bytes(dtype) for dtype in body.dtypes), default=1)
    return max(target.vector_bits // 8 // widest, 2)


def emit_body(em: Emitter, body: Body, values: Sequence[str]) -> list[str]:
    """Writes the operations of `body` on the `values` of its inputs; gives those of its outputs."""
    known, dtypes = list(values), body.dtypes
    for step in body.operations:
        operands, given = [known[i] for i in step.operands], [dtypes[i] for i in step.operands]
        known.append(emit_op(em, step.op, operands, given, step.dtype))
    return [known[i] for i in body.outputs]


def elementwise_kernel(body: Body, *, name: str = KERNEL, target: Target | None = None) -> Kernel:
    """The kernel of `body` for `target` (default: the host)."""
    target = target or host_target()
    width = kernel_width(body, target)
    module = Module(target)
    outs = [f"%out{i}" for i in range(len(body.outputs))]
    ins = [f"%in{i}" for i in range(len(body.inputs))]
    flag = ["%flag"] if body.fallible else []
    head = Emitter(module, width, prefix="e")
    one = Emitter(module, 1, prefix="s")
    main = Emitter(module, width, prefix="v")
    tail = Emitter(module, width if target.masks else 1, prefix="t")
    singles, single_tail = {}, {}
    for i, given in enumerate(body.inputs):
        if given.single:
            singles[i] = load_single(head, given.dtype, ins[i])
            single_tail[i] = singles[i] if target.masks else load_single(one, given.dtype, ins[i])
    parameters = ", ".join(f"ptr {pointer}" for pointer in (*outs, *ins, *flag))
    head.lines += one.lines
    lines = [
        f"define void @{name}({parameters}, i64 %n) nounwind {{",
        *("entry:", *head.lines),
        f"  %whole = and i64 %n, {-width}",
        "  %some = icmp sgt i64 %whole, 0",
        "  br i1 %some, label %main, label %check",
        *("main:", "  %i = phi i64 [0, %entry], [%i.next, %main.end]"),
        *_loop_body(main, body, singles, "%i", None),
        *("  br label %main.end", "main.end:"),
        f"  %i.next = add nuw nsw i64 %i, {width}",
        "  %more = icmp slt i64 %i.next, %whole",
        "  br i1 %more, label %main, label %check",
        *("check:", "  %left = icmp slt i64 %whole, %n", "  br i1 %left, label %tail, label %done"),
        "tail:",
    ]
    if target.masks:
        mask = _tail_mask(tail)
        lines += [*_loop_body(tail, body, single_tail, "%whole", mask), "  br label %done"]
    else:
        lines += [
            "  %j = phi i64 [%whole, %check], [%j.next, %tail.end]",
            *_loop_body(tail, body, single_tail, "%j", None),
            *("  br label %tail.end", "tail.end:"),
            "  %j.next = add nuw nsw i64 %j, 1",
            "  %again = icmp slt i64 %j.next, %n",
            "  br i1 %again, label %tail, label %done",
        ]
    lines += ["done:", "  ret void", "}"]
    text = f"{module.text}\n" + "\n".join(lines) + "\n"
    return Kernel(name, text, len(outs) + len(ins) + len(flag), body.fallible, width)


def _tail_mask(em: Emitter) -> str:
    """The lanes from `%whole` on that are below `%n`."""
    width = em.width
    left = em.let("sub i64 %n, %whole")
    count = em.broadcast("i32", em.let(f"trunc i64 {left} to i32"))
    places = ", ".join(f"i32 {k}" for k in range(width))
    return em.let(f"icmp ugt <{width} x i32> {count}, <{places}>")


def _loop_body(
    em: Emitter, body: Body, singles: Mapping[int, str], index: str, mask: str | None
) -> list[str]:
    """One turn of a loop: all loads, the operations, all stores."""
    em.active = mask
    values = [
        singles[i] if given.single else load(em, given.dtype, f"%in{i}", index, mask)
        for i, given in enumerate(body.inputs)
    ]
    dtypes = body.dtypes
    results = emit_body(em, body, values)
    for i, (place, value) in enumerate(zip(body.outputs, results, strict=True)):
        store(em, dtypes[place], value, f"%out{i}", index, mask)
    em.raise_faults("%flag")
    return em.lines
