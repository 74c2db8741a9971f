"""Pairs: products of narrow numbers by dot instructions of the CPU, several steps of the reduction at once.

    numbers          a word (32 bits) holds     instruction     sums
    bfloat16         2 of one row or column     vdpbf16ps       float32, rounded when finished
    int8, uint8      4                          vpdpbusd        int32, of which the low byte is the result

The first phase packs both operands into words: A row by row, B in panels of ``steps x (vectors * W)``; the
second computes ``acc[i, j] += dot(A[i, word], B[word, j])``. Words are filled up with 0.

bfloat16: arrays hold it as float32 whose low half is 0, so a word is two high halves. A word's two products
are added one after the other, each rounded to float32; numbers below 2**-126, given or made, count as 0
(Intel SDM, VDPBF16PS: DAZ and FTZ). NaN and infinity are as in float32.

int8: ``vpdpbusd`` multiplies unsigned by signed bytes. A byte read with the other sign differs by 256, so the
sums are right modulo 256, which is what wrapping int8 and uint8 ask for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from graphc.types import BFLOAT16, FLOAT32, INT8, INT32, UINT8, DType
from runtime.llvm_backend.contractions.contraction import Contract, Dim, Expression, Step
from runtime.llvm_backend.contractions.schedule import OUT, A, B, Loop
from runtime.llvm_backend.engine import llvm
from runtime.llvm_backend.engine.machine import Machine, open_target_machine
from runtime.llvm_backend.ir import lanes
from runtime.llvm_backend.ir.writer import Writer

ROUNDED = Expression((), (Step("cast", (0,), BFLOAT16), Step("cast", (1,), FLOAT32)))
"""What finishes sums of bfloat16 products, in arrays that hold bfloat16 as float32."""


@dataclass(frozen=True, slots=True)
class Words:
    """How numbers are grouped: `held` is one in memory, `count` are in a word, `total` is added up in."""

    held: DType
    count: int
    total: DType
    intrinsic: str
    lane: str  # of the instruction's operands, in LLVM's words

    def operand(self, width: int) -> str:
        """The type of the instruction's operands."""
        return f"<{width * (2 if self.lane == 'bfloat' else 1)} x {self.lane}>"


PAIRS = Words(FLOAT32, 2, FLOAT32, "llvm.x86.avx512bf16.dpbf16ps", "bfloat")
BYTES = {x: Words(x, 4, INT32, "llvm.x86.avx512.vpdpbusd", "i32") for x in (INT8, UINT8)}


@dataclass(frozen=True, slots=True)
class Product:
    """A contract as rows of A by columns of B. Loops have strides in A, B and out, in this order."""

    contract: Contract
    words: Words
    inputs: tuple[int, int]  # which is A, which B
    batch: tuple[Loop, ...]
    row: Loop
    column: Loop
    deep: Loop


def words_of(contract: Contract) -> Words | None:
    """How the numbers of a contract are grouped; None where no dot instruction is for them."""
    if contract.combine != "multiply_add" or contract.prologue or contract.also or contract.within:
        return None
    dtypes = {access.dtype for access in (*contract.ins, contract.out)}
    if contract.values is BFLOAT16 and dtypes == {FLOAT32} and contract.epilogue == ROUNDED:
        return PAIRS
    if len(dtypes) == 1 and not contract.epilogue.steps:
        return BYTES.get(contract.out.dtype)
    return None


def has_dots(machine: Machine, words: Words) -> bool:
    """Whether the CPU has the instruction, and this LLVM knows it by that name."""
    there = machine.bf16 if words is PAIRS else machine.int8
    wide = machine.architecture == "x86_64" and machine.masks and machine.vector_bytes >= 32
    return there and wide and is_known(words.intrinsic, words.lane, machine.vector_bytes)


@cache
def is_known(intrinsic: str, lane: str, vector_bytes: int) -> bool:
    """Intrinsics of one CPU change between versions of LLVM: a function of two lines is tried."""
    words = next(x for x in (PAIRS, BYTES[INT8]) if x.intrinsic == intrinsic)
    w, width = Writer(), vector_bytes // 4
    total, operand = lanes.vector_type(words.total, width), words.operand(width)
    w.begin(f"{total} @probe({total} %total, {operand} %x, {operand} %y)")
    w.end(f"{total} {dot(w, words, width, '%total', '%x', '%y')}")
    try:
        module = llvm.binding().parse_assembly(f"{w.module.text}\n{w.functions()}")
        module.verify()
        return intrinsic.rpartition(".")[2] in open_target_machine().emit_assembly(module)
    except RuntimeError:
        return False


def dot(w: Writer, words: Words, width: int, total: str, x: str, y: str) -> str:
    """``total + x . y`` in each lane."""
    sums, operand = lanes.vector_type(words.total, width), words.operand(width)
    name = f"@{words.intrinsic}.{32 * width}"
    w.declare(f"{sums} {name}({sums}, {operand}, {operand})")
    return w.value(f"call {sums} {name}({sums} {total}, {operand} {x}, {operand} {y})")


# ---- roles -------------------------------------------------------------------------------------------


def as_product(contract: Contract, words: Words) -> Product | None:
    """The contract as rows by columns; None where there is more than one loop of either, or nothing."""
    dims = [dim for dim in contract.dims if dim.size != 1]
    named = {dim.name: dim for dim in dims}
    kept = [named[name] for name in contract.out.strides if name in named]  # outermost first
    reduced = [dim for dim in dims if dim.name not in contract.out.strides]
    lane = next((dim for dim in kept if contract.out.stride(dim.name) == 1), None)
    if lane is None or any(dim.size == 0 for dim in dims):
        return None
    moved = [access.stride(lane.name) != 0 for access in contract.ins]
    if moved[0] == moved[1]:
        return None
    b = moved.index(True)
    operands = (contract.ins[1 - b], contract.ins[b], contract.out)

    def loop(dim: Dim) -> Loop:
        return Loop(dim.size, tuple(access.stride(dim.name) for access in operands))

    outputs = [loop(dim) for dim in kept]
    batch = [x for x in outputs if x.strides[A] != 0 and x.strides[B] != 0]
    rows = _merged([x for x in outputs if x.strides[B] == 0])
    columns = _merged([x for x in outputs if x.strides[A] == 0])
    deep = _merged([loop(dim) for dim in reduced])
    if not len(rows) == len(columns) == len(deep) == 1 or 0 in deep[0].strides[:OUT]:
        return None
    if rows[0].strides[A] == 0 or columns[0].strides[B] == 0 or columns[0].strides[OUT] != 1:
        return None
    return Product(contract, words, (1 - b, b), _merged(batch), rows[0], columns[0], deep[0])


def _merged(loops: Sequence[Loop]) -> tuple[Loop, ...]:
    found: list[Loop] = []
    for loop in loops:
        if found and all(x == loop.size * y for x, y in zip(found[-1].strides, loop.strides, strict=True)):
            found[-1] = Loop(found[-1].size * loop.size, loop.strides)
        else:
            found.append(loop)
    return tuple(found)
