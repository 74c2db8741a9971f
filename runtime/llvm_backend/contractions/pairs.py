"""Pairs: products of narrow numbers by dot instructions of the CPU, several steps of the reduction at once.

    numbers          a word (32 bits) holds     instruction           sums
    bfloat16         2 of one row or column     vdpbf16ps             float32, rounded when finished
    int8, uint8      4                          vpdpbusd              int32
    int8, uint8      2, each in 16 bits         vpmaddwd, vpaddd      int32: where there is no vpdpbusd

The first phase packs both operands into words: A row by row, B in panels of ``steps x (vectors * W)``; the
second computes ``acc[i, j] += dot(A[i, word], B[word, j])``. Words are filled up with 0.

bfloat16: arrays hold it as float32 whose low half is 0, so a word is two high halves. A word's two products
are added one after the other, each rounded to float32; numbers below 2**-126, given or made, count as 0
(Intel SDM, VDPBF16PS: DAZ and FTZ). NaN and infinity are as in float32.

Bytes may be cast to a wider integer first. Sums are right modulo 2**32, of which the low bits are what
narrower results want; wider ones are exact where so few steps cannot leave int32 (MOST_EXACT).
``vpdpbusd`` multiplies unsigned by signed bytes, so of operands of one sign A is packed less 128 (plus 128),
which is a flip of its highest bit, and sums begin with what that takes away:

    A, B signed      sum((a + 128) b) - 128 sum(b)
    A, B unsigned    sum((a - 128) b) + 128 sum(b)

Those first sums are the first row of a panel. Sums of bytes as they are need none: a byte read with the other
sign differs by 256.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from graphc.freezing import frozen
from graphc.types import BFLOAT16, FLOAT32, INT8, INT32, UINT8, DType
from runtime.llvm_backend.contractions.contraction import Contract, Dim, Expression, Step
from runtime.llvm_backend.contractions.schedule import OUT, A, B, Loop
from runtime.llvm_backend.engine import llvm
from runtime.llvm_backend.engine.machine import Machine, open_target_machine
from runtime.llvm_backend.ir import lanes
from runtime.llvm_backend.ir.writer import Writer

ROUNDED = Expression((), (Step("cast", (0,), BFLOAT16), Step("cast", (1,), FLOAT32)))
"""What finishes sums of bfloat16 products, in arrays that hold bfloat16 as float32."""

MOST_EXACT = 1 << 15
"""Steps whose products of bytes add up to less than 2**31."""

_BYTES = (INT8, UINT8)


@frozen
class Words:
    """How numbers are grouped: `count` of them are in a word, `total` is added up in.

    `lane` is that of the instruction's operands, in LLVM's words; `intrinsics` are by bytes of a vector.
    """

    count: int
    total: DType
    lane: str
    intrinsics: tuple[tuple[int, str], ...]

    def operand(self, width: int) -> str:
        """The type of the instruction's operands."""
        return f"<{width * (1 if self.lane == 'i32' else 2)} x {self.lane}>"


def _by_width(name: str) -> tuple[tuple[int, str], ...]:
    return tuple((size, f"{name}.{8 * size}") for size in (32, 64))


PAIRS = Words(2, FLOAT32, "bfloat", _by_width("llvm.x86.avx512bf16.dpbf16ps"))
QUADRUPLES = Words(4, INT32, "i32", _by_width("llvm.x86.avx512.vpdpbusd"))
WIDENED = Words(2, INT32, "i16", ((32, "llvm.x86.avx2.pmadd.wd"), (64, "llvm.x86.avx512.pmaddw.d.512")))


@frozen
class Product:
    """A contract as rows of A by columns of B.

    Loops have strides in A, B and out, in what the epilogue reads, and in what else is stored.

    Attributes:
        swapped: whether B is the instruction's first operand, which is the unsigned one.
        biased: whether A is packed 128 off, and sums begin with what makes up for it.
    """

    contract: Contract
    words: Words
    inputs: tuple[int, int]  # which is A, which B
    batch: tuple[Loop, ...]
    row: Loop
    column: Loop
    deep: Loop
    swapped: bool
    biased: bool


def words_of(contract: Contract, machine: Machine) -> Words | None:
    """How the numbers of a contract are grouped; None where no dot instruction of `machine` is for them."""
    if contract.combine != "multiply_add" or contract.within:
        return None
    if contract.values is BFLOAT16:
        plain = not contract.prologue and not contract.also and contract.epilogue == ROUNDED
        floats = {x.dtype for x in (*contract.ins, contract.out)} == {FLOAT32}
        return PAIRS if plain and floats and has_dots(machine, PAIRS) else None
    if any(x.dtype not in _BYTES for x in contract.ins) or not _widens(contract):
        return None
    return next((words for words in (QUADRUPLES, WIDENED) if has_dots(machine, words)), None)


def _widens(contract: Contract) -> bool:
    """Whether bytes are cast to a wider integer, or multiplied as they are."""
    if not contract.prologue:
        return contract.ins[0].dtype is contract.ins[1].dtype
    total = contract.accumulator
    cast = Expression((), (Step("cast", (0,), total),))
    return total.is_integer and all(expression == cast for expression in contract.prologue)


def has_dots(machine: Machine, words: Words) -> bool:
    """Whether the CPU has the instruction, and this LLVM knows it by that name."""
    size = machine.vector_bytes
    if machine.architecture != "x86_64" or size < 32:
        return False
    if words is WIDENED:
        return (size == 32 or machine.masks) and is_known(words, size)
    return (machine.bf16 if words is PAIRS else machine.int8) and machine.masks and is_known(words, size)


@cache
def is_known(words: Words, vector_bytes: int) -> bool:
    """Intrinsics of one CPU change between versions of LLVM: a function of two lines is tried."""
    w, width = Writer(), vector_bytes // 4
    total, operand = lanes.vector_type(words.total, width), words.operand(width)
    w.begin(f"{total} @probe({total} %total, {operand} %x, {operand} %y)")
    w.end(f"{total} {dot(w, words, width, '%total', '%x', '%y')}")
    try:
        module = llvm.binding().parse_assembly(f"{w.module.text}\n{w.functions()}")
        module.verify()
        return "llvm.x86" not in open_target_machine().emit_assembly(module)
    except RuntimeError:
        return False


def dot(w: Writer, words: Words, width: int, total: str, x: str, y: str) -> str:
    """``total + x . y`` in each lane."""
    sums, operand = lanes.vector_type(words.total, width), words.operand(width)
    name = f"@{dict(words.intrinsics)[4 * width]}"
    if words is WIDENED:
        w.declare(f"{sums} {name}({operand}, {operand})")
        return w.value(f"add {sums} {total}, {w.value(f'call {sums} {name}({operand} {x}, {operand} {y})')}")
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
    further = (*contract.epilogue.reads, *(access for _, access in contract.also))
    operands = (contract.ins[1 - b], contract.ins[b], contract.out, *further)

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
    of_a, of_b = (access.dtype for access in operands[:OUT])
    return Product(
        contract,
        words,
        (1 - b, b),
        _merged(batch),
        rows[0],
        columns[0],
        deep[0],
        swapped=words is QUADRUPLES and of_b is UINT8,
        biased=words is QUADRUPLES and of_a is of_b and contract.accumulator.itemsize > 1,
    )


def _merged(loops: Sequence[Loop]) -> tuple[Loop, ...]:
    found: list[Loop] = []
    for loop in loops:
        if found and all(x == loop.size * y for x, y in zip(found[-1].strides, loop.strides, strict=True)):
            found[-1] = Loop(found[-1].size * loop.size, loop.strides)
        else:
            found.append(loop)
    return tuple(found)
