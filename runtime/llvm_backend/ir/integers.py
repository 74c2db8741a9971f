"""Integer arithmetic as NumPy's: it wraps, division by zero is a fault that yields 0."""

from __future__ import annotations

import numpy as np

from graphc.types import DType
from runtime.llvm_backend.ir.text import Emitter
from runtime.llvm_backend.ir.values import register_scalar

DIVISION, NEGATIVE_POWER = 1, 2  # kinds of failure in the flag


def divide(em: Emitter, dtype: DType, x: str, y: str) -> tuple[str, str]:
    """The quotient rounded to 0 and the remainder; where y is 0 a fault, and 0 for both."""
    scalar = register_scalar(dtype)
    zero, one = em.integer(scalar, 0), em.integer(scalar, 1)
    bad = em.compare("eq", scalar, y, zero)
    em.fault(bad, DIVISION)
    divisor = em.select(bad, scalar, one, y)
    if dtype.kind == "i":
        # The lowest integer by -1 wraps to itself, but the instruction traps.
        least = em.compare("eq", scalar, x, em.integer(scalar, int(np.iinfo(dtype.numpy).min)))
        minus = em.compare("eq", scalar, y, em.integer(scalar, -1))
        divisor = em.select(em.both(least, minus), scalar, one, divisor)
    quotient = _quotient(em, dtype, x, divisor)
    rest = em.binary("sub", scalar, x, em.binary("mul", scalar, quotient, divisor))
    return em.select(bad, scalar, zero, quotient), em.select(bad, scalar, zero, rest)


def _quotient(em: Emitter, dtype: DType, x: str, y: str) -> str:
    """Up to 32 bits by a division of floats, whose truncation is exact and which vectors can do."""
    scalar, signed = register_scalar(dtype), dtype.kind == "i"
    if dtype.itemsize == 8:
        return em.binary("sdiv" if signed else "udiv", scalar, x, y)
    real = "double" if dtype.itemsize == 4 else "float"
    numbers = [em.convert("sitofp" if signed else "uitofp", scalar, real, value) for value in (x, y)]
    ratio = em.binary("fdiv", real, *numbers)
    if dtype.itemsize == 4:
        return em.convert("fptosi" if signed else "fptoui", real, scalar, ratio)
    return em.convert("trunc", "i32", scalar, em.convert("fptosi", real, "i32", ratio))


def floored(em: Emitter, dtype: DType, x: str, y: str) -> tuple[str, str]:
    """The quotient rounded down and the remainder with the sign of y."""
    quotient, rest = divide(em, dtype, x, y)
    if dtype.kind == "u":
        return quotient, rest
    scalar = register_scalar(dtype)
    zero = em.integer(scalar, 0)
    differ = em.compare("slt", scalar, em.binary("xor", scalar, rest, y), zero)
    adjust = em.both(em.compare("ne", scalar, rest, zero), differ)
    less = em.binary("sub", scalar, quotient, em.integer(scalar, 1))
    more = em.binary("add", scalar, rest, y)
    return em.select(adjust, scalar, less, quotient), em.select(adjust, scalar, more, rest)


def left_shift(em: Emitter, dtype: DType, x: str, y: str) -> str:
    """``x << y``; 0 past the width and for negative y."""
    scalar = register_scalar(dtype)
    zero = em.integer(scalar, 0)
    inside = em.compare("ult", scalar, y, em.integer(scalar, 8 * dtype.itemsize))
    shifted = em.binary("shl", scalar, x, em.select(inside, scalar, y, zero))
    return em.select(inside, scalar, shifted, zero)


def right_shift(em: Emitter, dtype: DType, x: str, y: str) -> str:
    """``x >> y``; past the width and for negative y all bits are that of the sign."""
    scalar, last = register_scalar(dtype), 8 * dtype.itemsize - 1
    inside = em.compare("ule", scalar, y, em.integer(scalar, last))
    if dtype.kind == "i":
        return em.binary("ashr", scalar, x, em.select(inside, scalar, y, em.integer(scalar, last)))
    zero = em.integer(scalar, 0)
    shifted = em.binary("lshr", scalar, x, em.select(inside, scalar, y, zero))
    return em.select(inside, scalar, shifted, zero)


def power(em: Emitter, dtype: DType, x: str, y: str) -> str:
    """``x ** y`` by squaring; a negative y is a fault that yields 0."""
    scalar = register_scalar(dtype)
    of = em.type(scalar)
    zero = em.integer(scalar, 0)
    name = f"@integer.power.{em.suffix(scalar)}"
    em.module.define(name, lambda: _power_function(Emitter(em.module, em.width), name, scalar))
    if dtype.kind == "u":
        return em.let(f"call {of} {name}({of} {x}, {of} {y})")
    bad = em.compare("slt", scalar, y, zero)
    em.fault(bad, NEGATIVE_POWER)
    result = em.let(f"call {of} {name}({of} {x}, {of} {em.select(bad, scalar, zero, y)})")
    return em.select(bad, scalar, zero, result)


def _power_function(em: Emitter, name: str, scalar: str) -> str:
    of, zero, one = em.type(scalar), em.integer(scalar, 0), em.integer(scalar, 1)
    em.do("br label %loop")
    em.begin("loop")
    em.do(f"%result = phi {of} [{one}, %entry], [%raised, %loop]")
    em.do(f"%base = phi {of} [%x, %entry], [%squared, %loop]")
    em.do(f"%left = phi {of} [%y, %entry], [%fewer, %loop]")
    odd = em.compare("ne", scalar, em.binary("and", scalar, "%left", one), zero)
    factor = em.select(odd, scalar, "%base", one)
    em.do(f"%raised = mul {of} %result, {factor}")
    em.do(f"%squared = mul {of} %base, %base")
    em.do(f"%fewer = lshr {of} %left, {one}")
    more = em.any(em.compare("ne", scalar, "%fewer", zero))
    em.do(f"br i1 {more}, label %loop, label %done")
    em.begin("done")
    em.do(f"ret {of} %raised")
    return "\n".join(
        [f"define internal {of} {name}({of} %x, {of} %y) noinline nounwind {{", "entry:", *em.lines, "}"]
    )
