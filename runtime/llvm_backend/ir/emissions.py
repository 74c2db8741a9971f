"""Emissions: how one op, or a kind of ops, is written. `scalars` says which op is which."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import NamedTuple

from graphc.types import BOOL, FLOAT16, DType
from runtime.llvm_backend.ir import integers
from runtime.llvm_backend.ir.text import Emitter
from runtime.llvm_backend.ir.values import lanes, register_scalar, rounded
from runtime.llvm_backend.ir.vecmath.lanes import Lanes
from runtime.llvm_backend.ir.vecmath.power import power


class Call(NamedTuple):
    """One op on its way into text: the emitter, operands of one dtype (`where`: x's), the result's dtype."""

    em: Emitter
    operands: tuple[str, ...]
    dtype: DType
    result: DType

    @property
    def scalar(self) -> str:
        """The type of a lane of the operands."""
        return register_scalar(self.dtype)

    @property
    def lanes(self) -> Lanes:
        """The algebra of floating operands."""
        return lanes(self.em, self.dtype)

    def zero(self) -> str:
        """0 in the operands' dtype."""
        em = self.em
        return em.number(self.scalar, 0.0) if self.dtype.is_floating else em.integer(self.scalar, 0)


Emission = Callable[[Call], str]


def instruction(of_float: str, of_integer: str, of_bool: str = "") -> Emission:
    """One instruction on two operands, by the kind of their dtype."""

    def emit(call: Call) -> str:
        by_kind = {"f": of_float, "b": of_bool or of_integer}
        return call.em.binary(by_kind.get(call.dtype.kind, of_integer), call.scalar, *call.operands)

    return emit


def compared(of_float: str, of_integer: str) -> Emission:
    """A comparison; NaN compares as nothing but different."""

    def emit(call: Call) -> str:
        if call.dtype.is_floating:
            return call.em.compare(of_float, call.scalar, *call.operands)
        sign = "" if of_integer in ("eq", "ne") else "s" if call.dtype.kind == "i" else "u"
        return call.em.compare(sign + of_integer, call.scalar, *call.operands)

    return emit


def real_function(of_lanes: Callable[..., str]) -> Emission:
    """A function of real numbers."""
    return lambda call: of_lanes(call.lanes, *call.operands)


def made_whole(intrinsic: str) -> Emission:
    """Integers are whole already."""

    def emit(call: Call) -> str:
        x = call.operands[0]
        return call.em.intrinsic(intrinsic, call.scalar, x) if call.dtype.is_floating else x

    return emit


def tested(of_lanes: Callable[[Lanes, str], str], otherwise: int) -> Emission:
    """A test of floats, whose answer is the same for all integers."""

    def emit(call: Call) -> str:
        if call.dtype.is_floating:
            return of_lanes(call.lanes, call.operands[0])
        return call.em.integer("i1", otherwise)

    return emit


def divided(
    of_integers: Callable[..., tuple[str, str]], part: int, of_floats: Callable[..., str]
) -> Emission:
    """A quotient (part 0) or a remainder (part 1)."""

    def emit(call: Call) -> str:
        if call.dtype.is_floating:
            return of_floats(call.lanes, *call.operands)
        return of_integers(call.em, call.dtype, *call.operands)[part]

    return emit


def _extremum(larger: bool) -> Emission:
    """Of x and y the one that compares so, else y, which may be NaN; but x where that is NaN."""

    def emit(call: Call) -> str:
        em, (x, y) = call.em, call.operands
        if call.dtype.is_floating:
            chosen = em.select(em.compare("ogt" if larger else "olt", call.scalar, x, y), call.scalar, x, y)
            return em.select(em.compare("uno", call.scalar, x, x), call.scalar, x, chosen)
        sign = "s" if call.dtype.kind == "i" else "u"
        return em.intrinsic(f"{sign}{'max' if larger else 'min'}", call.scalar, x, y)

    return emit


maximum, minimum = _extremum(True), _extremum(False)


def clip(call: Call) -> str:
    """``minimum(maximum(x, low), high)``."""
    x, low, high = call.operands
    above = maximum(Call(call.em, (x, low), call.dtype, call.result))
    return minimum(Call(call.em, (above, high), call.dtype, call.result))


def relu(call: Call) -> str:
    """``max(x, 0)``, where 0 is known not to be NaN."""
    if call.dtype.is_floating:
        return call.lanes.at_least(call.zero(), call.operands[0])
    return maximum(Call(call.em, (call.operands[0], call.zero()), call.dtype, call.result))


def showing_relu(v: Lanes, x: str) -> str:
    """``max(x, 0)``, but NaN of a negative infinity."""
    if v.scales:
        return v.by_kind(x, x, 0x08030000)
    return v.muladd(x, v.number(0.0), v.at_least(v.number(0.0), x))


def negative(call: Call) -> str:
    """``-x``; integers wrap."""
    if call.dtype.is_floating:
        return call.lanes.negate(call.operands[0])
    return call.em.binary("sub", call.scalar, call.zero(), call.operands[0])


def magnitude(call: Call) -> str:
    """``|x|``; the lowest integer wraps to itself."""
    x = call.operands[0]
    if call.dtype.is_floating:
        return call.lanes.magnitude(x)
    if call.dtype.kind != "i":
        return x
    below = call.em.compare("slt", call.scalar, x, call.zero())
    return call.em.select(below, call.scalar, negative(call), x)


def signed_unit(call: Call) -> str:
    """-1, 0 or 1; NaN of NaN."""
    em, x, scalar, zero = call.em, call.operands[0], call.scalar, call.zero()
    if call.dtype.is_floating:
        v = call.lanes
        unit = v.select(v.compare("ogt", x, zero), v.number(1.0), zero)
        unit = v.select(v.compare("olt", x, zero), v.number(-1.0), unit)
        return v.select(v.is_nan(x), x, unit)
    unit = em.convert("zext", "i1", scalar, em.compare("ne", scalar, x, zero))
    if call.dtype.kind == "u":
        return unit
    below = em.compare("slt", scalar, x, zero)
    return em.select(below, scalar, em.integer(scalar, -1), unit)


def squared(call: Call) -> str:
    """``x * x``."""
    x = call.operands[0]
    return call.em.binary("fmul" if call.dtype.is_floating else "mul", call.scalar, x, x)


def reciprocal(v: Lanes, x: str) -> str:
    """``1 / x``."""
    return v.divide(v.number(1.0), x)


def rsqrt(call: Call) -> str:
    """NumPy rounds the root of a float16 before it divides."""
    v = call.lanes
    root = v.root(call.operands[0])
    return reciprocal(v, rounded(call.em, call.dtype, root) if call.dtype is FLOAT16 else root)


def guarded_multiply(v: Lanes, x: str, slope: str) -> str:
    """0 where x is 0 and the slope not finite: there the product is NaN or x."""
    zero = v.number(0.0)
    infinite = v.compare("ueq", v.magnitude(slope), v.number(inf))
    guarded = v.emitter.both(v.compare("oeq", x, zero), infinite)
    return v.select(guarded, zero, v.multiply(x, slope))


def chosen(call: Call) -> str:
    """One of two, by a condition."""
    condition, x, y = call.operands
    return call.em.select(condition, register_scalar(call.result), x, y)


def opposite(call: Call) -> str:
    """All bits turned."""
    minus = 1 if call.dtype is BOOL else -1
    return call.em.binary("xor", call.scalar, call.operands[0], call.em.integer(call.scalar, minus))


def raised(call: Call) -> str:
    """``x ** y``."""
    if call.dtype.is_floating:
        return power(call.lanes, *call.operands)
    return integers.power(call.em, call.dtype, *call.operands)


def shifted(function: Callable[..., str]) -> Emission:
    """A function of integers."""
    return lambda call: function(call.em, call.dtype, *call.operands)
