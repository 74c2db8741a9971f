"""Divisors: one integer that many are divided by, as a multiplication and shifts.

For a divisor d of N bits, ``l = ceil(log2 d)`` and ``m = floor(2**N (2**l - d) / d) + 1`` the quotient of an
unsigned n is ``(t + ((n - t) >> min(l, 1))) >> max(l - 1, 0)`` with ``t = m n >> N``.

T. Granlund, P. L. Montgomery, "Division by invariant integers using multiplication", 1994.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from graphc.types import DType
from runtime.llvm_backend.ir.integers import DIVISION
from runtime.llvm_backend.ir.text import Emitter
from runtime.llvm_backend.ir.values import register_scalar
from runtime.llvm_backend.ir.writer import Carried

Body = Callable[[str, list[str]], Sequence[str]]
Walk = Callable[[str, str, int, Carried, Body], list[str]]  # a loop: from, to, step, what is carried, body

DIVISIONS = frozenset(("floor_divide", "remainder", "fmod"))


class Divisor(NamedTuple):
    """What stands for a divisor, as numbers or in all lanes: itself, its size, and by what is multiplied.

    `sign` is -1 of a negative one, else 0; `kept` has no bits where the divisor is 0, else all.
    """

    value: str
    size: str
    sign: str
    kept: str
    factor: str
    first: str
    last: str

    def broadcast(self, em: Emitter, dtype: DType) -> Divisor:
        """The same in all lanes of `em`."""
        own, wide = register_scalar(dtype), f"i{_bits(dtype)}"
        types = (own, own, own, own, wide, wide, wide)
        return Divisor(*(em.broadcast(type, x) for type, x in zip(types, self, strict=True)))


def _bits(dtype: DType) -> int:
    """How many the products have of which the upper half counts."""
    return max(8 * dtype.itemsize, 16)


def make_divisor(em: Emitter, walk: Walk, dtype: DType, d: str) -> Divisor:
    """That of the number `d`; `em` writes numbers."""
    own, bits = register_scalar(dtype), _bits(dtype)
    zero = em.compare("eq", own, d, "0")
    kept = em.select(zero, own, "0", "-1")
    sign, size = "0", d
    if dtype.kind == "i":
        sign = em.binary("ashr", own, d, str(8 * dtype.itemsize - 1))
        size = em.binary("sub", own, em.binary("xor", own, d, sign), sign)
    size = em.select(zero, own, "1", size)
    wide = size if own == "i64" else em.convert("zext", own, "i64", size)
    em.module.declare("@llvm.ctlz.i64", "declare i64 @llvm.ctlz.i64(i64, i1)")
    zeros = em.let(f"call i64 @llvm.ctlz.i64(i64 {em.binary('sub', 'i64', wide, '1')}, i1 false)")
    log = em.binary("sub", "i64", "64", zeros)
    first = em.intrinsic("umin", "i64", log, "1")
    last = em.binary("sub", "i64", log, first)
    # 2**log, which is 0 of 2**64.
    power = em.binary("shl", "i64", em.binary("shl", "i64", "1", last), first)
    above = em.binary("sub", "i64", power, wide)
    if bits < 64:
        quotient = em.binary("udiv", "i64", em.binary("shl", "i64", above, str(bits)), wide)
    else:
        quotient = _long_division(em, walk, above, wide)
    parts = [em.binary("add", "i64", quotient, "1"), first, last]
    if bits < 64:
        parts = [em.convert("trunc", "i64", f"i{bits}", part) for part in parts]
    return Divisor(d, size, sign, kept, *parts)


def _long_division(em: Emitter, walk: Walk, above: str, d: str) -> str:
    """``2**64 above / d``, where above is less than d, bit by bit."""

    def bit(_: str, state: list[str]) -> list[str]:
        quotient, rest = state
        carried = em.compare("slt", "i64", rest, "0")
        twice = em.binary("shl", "i64", rest, "1")
        fits = em.either(carried, em.compare("uge", "i64", twice, d))
        rest = em.select(fits, "i64", em.binary("sub", "i64", twice, d), twice)
        more = em.binary("shl", "i64", quotient, "1")
        return [em.binary("or", "i64", more, em.convert("zext", "i1", "i64", fits)), rest]

    return walk("0", "64", 1, [("i64", "0"), ("i64", above)], bit)[0]


def divide_by(em: Emitter, op: str, dtype: DType, x: str, d: Divisor) -> str:
    """``x op d``, as `integers` has it: 0 and a fault where d is 0."""
    scalar = register_scalar(dtype)
    em.fault(em.compare("eq", scalar, d.value, em.integer(scalar, 0)), DIVISION)
    if dtype.kind == "u":
        found = _quotient(em, dtype, x, d)
    elif op == "fmod":
        sign = em.binary("ashr", scalar, x, em.integer(scalar, 8 * dtype.itemsize - 1))
        size = em.binary("sub", scalar, em.binary("xor", scalar, x, sign), sign)
        rest = _rest(em, scalar, size, _quotient(em, dtype, size, d), d.size)
        return _kept(em, scalar, em.binary("sub", scalar, em.binary("xor", scalar, rest, sign), sign), d)
    else:
        # floor(x / d) = ~(~n / |d|) for a negative n, that is x with the sign of d.
        turned = em.binary("xor", scalar, x, d.sign)
        below = em.convert("sext", "i1", scalar, em.compare("slt", scalar, turned, d.sign))
        size = em.binary("xor", scalar, em.binary("sub", scalar, turned, d.sign), below)
        found = em.binary("xor", scalar, _quotient(em, dtype, size, d), below)
    return _kept(em, scalar, found if op == "floor_divide" else _rest(em, scalar, x, found, d.value), d)


def _kept(em: Emitter, scalar: str, x: str, d: Divisor) -> str:
    return em.binary("and", scalar, x, d.kept)


def _rest(em: Emitter, scalar: str, x: str, quotient: str, d: str) -> str:
    return em.binary("sub", scalar, x, em.binary("mul", scalar, quotient, d))


def _quotient(em: Emitter, dtype: DType, n: str, d: Divisor) -> str:
    """``n / d`` of unsigned integers."""
    own, wide = register_scalar(dtype), f"i{_bits(dtype)}"
    if own != wide:
        n = em.convert("zext", own, wide, n)
    t = _upper_half(em, _bits(dtype), n, d.factor)
    rest = em.binary("lshr", wide, em.binary("sub", wide, n, t), d.first)
    found = em.binary("lshr", wide, em.binary("add", wide, t, rest), d.last)
    return found if own == wide else em.convert("trunc", wide, own, found)


def _upper_half(em: Emitter, bits: int, x: str, y: str) -> str:
    """Of the product of unsigned integers."""
    own, double = f"i{bits}", f"i{2 * bits}"
    if bits < 64 or em.width == 1:
        product = em.binary("mul", double, *(em.convert("zext", own, double, z) for z in (x, y)))
        return em.convert("trunc", double, own, em.binary("lshr", double, product, em.integer(double, bits)))
    # By halves of 32 bits, which vectors can multiply.
    low, half = em.integer("i64", (1 << 32) - 1), em.integer("i64", 32)
    (a, b), (c, e) = ((em.binary("lshr", "i64", z, half), em.binary("and", "i64", z, low)) for z in (x, y))
    lower = _shifted(em, em.binary("mul", "i64", b, e))
    middle = em.binary("add", "i64", em.binary("mul", "i64", a, e), lower)
    other = em.binary("add", "i64", em.binary("mul", "i64", b, c), em.binary("and", "i64", middle, low))
    upper = em.binary("add", "i64", em.binary("mul", "i64", a, c), _shifted(em, middle))
    return em.binary("add", "i64", upper, _shifted(em, other))


def _shifted(em: Emitter, x: str) -> str:
    return em.binary("lshr", "i64", x, em.integer("i64", 32))
