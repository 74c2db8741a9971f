"""Lanes: loads, stores, conversions and the combining instructions, `width` lanes wide.

Width 1 is a scalar, not a vector of one. A stride of 1 is a vector load, of 0 a broadcast, any other a
gather. Masks are made at the run from a count of valid lanes, so one kernel serves every last vector.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Literal

from graphc.types import DType
from runtime.llvm_backend.ir.casts import cast
from runtime.llvm_backend.ir.text import (
    float_text,
    halves,
    lanes_from,
    load_text,
    numbered,
    splat,
    store_text,
    suffix_of,
    vector_of,
)
from runtime.llvm_backend.ir.values import is_itself, memory_scalar, register_scalar, to_memory, to_register
from runtime.llvm_backend.ir.writer import Value, Writer

Combine = Literal["multiply_add", "add", "max", "min"]


def vector_type(dtype: DType, width: int) -> str:
    """`width` lanes in memory; a scalar where that is 1."""
    return vector_of(memory_scalar(dtype), width)


def suffix(dtype: DType, width: int) -> str:
    """How intrinsics spell the type."""
    return suffix_of(memory_scalar(dtype), width)


def constant(number: float, dtype: DType, width: int) -> str:
    """A number in every lane."""
    of = memory_scalar(dtype)
    return splat(of, float_text(of, number) if dtype.is_floating else str(int(number)), width)


def broadcast(w: Writer, x: str, type: str, width: int) -> str:
    """A scalar in every lane."""
    return x if width == 1 else w.emit(width, lambda em: em.broadcast(type, x))


def load(
    w: Writer, pointer: str, dtype: DType, width: int, stride: Value = 1, mask: str | None = None
) -> str:
    """Lanes at `pointer`, `stride` elements apart, in registers; those outside the mask are 0."""
    held = _load(w, pointer, dtype, width, stride, mask)
    return held if is_itself(dtype) else w.emit(width, lambda em: to_register(em, dtype, held))


def store(
    w: Writer, x: str, pointer: str, dtype: DType, width: int, stride: Value = 1, mask: str | None = None
) -> None:
    """The lanes of `x`, a register of `dtype`, to `pointer`, `stride` elements apart."""
    held = x if is_itself(dtype) else w.emit(width, lambda em: to_memory(em, dtype, x))
    _store(w, held, pointer, dtype, width, stride, mask)


def _load(
    w: Writer, pointer: str, dtype: DType, width: int, stride: Value = 1, mask: str | None = None
) -> str:
    type = memory_scalar(dtype)
    if stride == 0 or width == 1:
        return broadcast(w, w.value(f"load {type}, ptr {pointer}, align {dtype.itemsize}"), type, width)
    if stride == 1:
        return w.value(load_text(w.module, type, width, pointer, dtype.itemsize, mask))
    name, vector = suffix_of(type, width), vector_of(type, width)
    w.declare(
        f"{vector} @llvm.masked.gather.{name}.v{width}p0(<{width} x ptr>, i32, <{width} x i1>, {vector})"
    )
    return w.value(
        f"call {vector} @llvm.masked.gather.{name}.v{width}p0({_places(w, pointer, type, width, stride)}, "
        f"i32 {dtype.itemsize}, <{width} x i1> {mask or _all(width)}, {vector} zeroinitializer)"
    )


def _store(
    w: Writer, x: str, pointer: str, dtype: DType, width: int, stride: Value = 1, mask: str | None = None
) -> None:
    type = memory_scalar(dtype)
    if width == 1 or stride == 1:
        w.do(store_text(w.module, type, width, x, pointer, dtype.itemsize, None if width == 1 else mask))
        return
    vector, name = vector_of(type, width), f"@llvm.masked.scatter.{suffix_of(type, width)}.v{width}p0"
    w.declare(f"void {name}({vector}, <{width} x ptr>, i32, <{width} x i1>)")
    w.do(
        f"call void {name}({vector} {x}, {_places(w, pointer, type, width, stride)}, i32 {dtype.itemsize}, "
        f"<{width} x i1> {mask or _all(width)})"
    )


def _all(width: int) -> str:
    return "<" + ", ".join(["i1 true"] * width) + ">"


def _places(w: Writer, pointer: str, type: str, width: int, stride: Value) -> str:
    steps = broadcast(w, str(stride), "i64", width)
    offsets = w.value(f"mul nsw <{width} x i64> {steps}, {numbered(width)}")
    return f"<{width} x ptr> " + w.value(f"getelementptr {type}, ptr {pointer}, <{width} x i64> {offsets}")


def convert(w: Writer, x: str, source: DType, target: DType, width: int) -> str:
    """`x` in another dtype, as `graphc.cast` means it."""
    return x if source is target else w.emit(width, lambda em: cast(em, x, source, target))


def identity(combine: Combine, dtype: DType, width: int) -> str:
    """What changes nothing when combined: 0, or the lowest or highest number."""
    if combine in ("multiply_add", "add"):
        return constant(0, dtype, width)
    sign = -1 if combine == "max" else 1
    if dtype.is_floating:
        return constant(sign * math.inf, dtype, width)
    bits = 8 * dtype.itemsize
    if dtype.kind == "u":
        return constant(0 if sign < 0 else 2**bits - 1, dtype, width)
    return constant(-(2 ** (bits - 1)) if sign < 0 else 2 ** (bits - 1) - 1, dtype, width)


def multiply_add(w: Writer, x: str, y: str, total: str, dtype: DType, width: int) -> str:
    """``x * y + total``: fused where the machine can, `llvm.fma` would call a library where it cannot."""
    type = vector_type(dtype, width)
    if not dtype.is_floating:
        return w.value(f"add {type} {w.value(f'mul {type} {x}, {y}')}, {total}")
    name = f"@llvm.fmuladd.{suffix(dtype, width)}"
    w.declare(f"{type} {name}({type}, {type}, {type})")
    return w.value(f"call {type} {name}({type} {x}, {type} {y}, {type} {total})")


def merge(w: Writer, combine: Combine, total: str, x: str, dtype: DType, width: int) -> str:
    """Two totals into one; a maximum or minimum keeps NaN."""
    type = vector_type(dtype, width)
    if combine in ("multiply_add", "add"):
        return w.value(f"{'fadd' if dtype.is_floating else 'add'} {type} {total}, {x}")
    if dtype.is_floating:  # llvm.maximum tells 0 from -0 as well, at twice the instructions
        best = _select(w, f"fcmp {'ogt' if combine == 'max' else 'olt'} {type} {x}, {total}", type, x, total)
        return _select(w, f"fcmp uno {type} {x}, {x}", type, x, best)
    full = f"@llvm.{'s' if dtype.kind == 'i' else 'u'}{combine}.{suffix(dtype, width)}"
    w.declare(f"{type} {full}({type}, {type})")
    return w.value(f"call {type} {full}({type} {total}, {type} {x})")


def _select(w: Writer, test: str, type: str, x: str, y: str) -> str:
    mask = w.value(test)
    of = f"{type.partition(' x ')[0]} x i1>" if type.startswith("<") else "i1"
    return w.value(f"select {of} {mask}, {type} {x}, {type} {y}")


def reduce_lanes(w: Writer, combine: Combine, x: str, dtype: DType, width: int) -> str:
    """All lanes into a scalar, halves onto halves: one order on every machine of this width."""
    while width > 1:
        low, high = halves(w.value, memory_scalar(dtype), x, width)
        width //= 2
        x = merge(w, combine, low, high, dtype, width)
    return x


def join(w: Writer, parts: Sequence[str], dtype: DType, width: int) -> str:
    """Parts of `width` lanes each, a power of two of them, side by side."""
    found = list(parts)
    while len(found) > 1:
        type = f"<{width} x {register_scalar(dtype)}>"
        found = [
            w.value(f"shufflevector {type} {x}, {type} {y}, {lanes_from(0, 2 * width)}")
            for x, y in zip(found[::2], found[1::2], strict=True)
        ]
        width *= 2
    return found[0]


def transpose_pieces(w: Writer, rows: Sequence[str], dtype: DType, width: int) -> list[str]:
    """Squares side by side, each as wide as there are `rows` of `width` lanes, transposed where they are."""
    type, piece = f"<{width} x {register_scalar(dtype)}>", len(rows)

    def columns(found: Sequence[str], unit: int) -> list[str]:
        if len(found) == 1:
            return list(found)
        pairs = list(zip(found[::2], found[1::2], strict=True))
        made = []
        for first in (0, piece // 2):
            places = _in_turn(width, piece, first, unit)
            half = [w.value(f"shufflevector {type} {x}, {type} {y}, {places}") for x, y in pairs]
            made += columns(half, 2 * unit)
        return made

    return columns(rows, 1)


@cache
def _in_turn(width: int, piece: int, first: int, unit: int) -> str:
    """The lanes of units of two vectors in turn, from `first` on: of each piece one half."""
    units = [begin + at for begin in range(first, width, piece) for at in range(0, piece // 2, unit)]
    places = ", ".join([f"i32 {at + side + i}" for at in units for side in (0, width) for i in range(unit)])
    return f"<{width} x i32> <{places}>"


def transpose(w: Writer, rows: Sequence[str], scalar: str) -> list[str]:
    """A square of lanes of registers transposed in registers: log2(width) rounds of perfect shuffles."""
    width, found = len(rows), list(rows)
    type, half = f"<{width} x {scalar}>", width // 2
    pairs = [i for k in range(width) for i in (k, width + k)]
    sides = [", ".join(f"i32 {i}" for i in part) for part in (pairs[:width], pairs[width:])]
    for _ in range(width.bit_length() - 1):
        found = [
            w.value(f"shufflevector {type} {found[k]}, {type} {found[k + half]}, <{width} x i32> <{side}>")
            for k in range(half)
            for side in sides
        ]
    return found
