"""What every elementwise op is in LLVM IR: the one table from an op's name to its emission.

`emit_op` writes an op at the width of its emitter. Operands have come to one dtype already, as the graph's
casts make them. An op outside the table has no machine code and runs by its meaning: lgamma, digamma and
polygamma.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from graphc.types import BOOL, FLOAT16, FLOAT64, DType
from runtime.llvm_backend import integers
from runtime.llvm_backend.casts import cast
from runtime.llvm_backend.text import Emitter
from runtime.llvm_backend.values import lanes, register_scalar, rounded
from runtime.llvm_backend.vecmath import error, exponential, hyperbolic, logarithm, remainder, trigonometric
from runtime.llvm_backend.vecmath.lanes import Lanes
from runtime.llvm_backend.vecmath.power import power


@dataclass(frozen=True, slots=True)
class Call:
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


def emit_op(
    em: Emitter,
    name: str,
    operands: Sequence[str],
    dtypes: Sequence[DType],
    result: DType,
    attrs: Mapping[str, Any] | None = None,
) -> str:
    """Writes the op `name` and gives its value, of the register type of `result` at the width of `em`.

    Args:
        em: where lines go; a fallible op notes its faults there (`Emitter.raise_faults` tells the flag).
        name: an op for which `has_code` holds.
        operands: values in registers, each of the type of its dtype.
        dtypes: those of the operands.
        result: the dtype of the result.
        attrs: the op's attributes; none that is known here has any but `cast`, whose dtype is `result`.
    """
    if name == "cast":
        return cast(em, operands[0], dtypes[0], result)
    if name in _REAL and not dtypes[0].is_floating:
        operands = [cast(em, x, given, FLOAT64) for x, given in zip(operands, dtypes, strict=True)]
        dtypes = [FLOAT64] * len(operands)
    value = _TABLE[name](Call(em, tuple(operands), dtypes[-1], result))
    return value if name in _EXACT else rounded(em, result, value)


def has_code(name: str) -> bool:
    """Whether `emit_op` knows the op, on all dtypes that the op takes."""
    return name == "cast" or name in _TABLE


def may_fault(name: str, dtypes: Sequence[DType]) -> bool:
    """Whether the op can fail at the run on these dtypes."""
    integer = dtypes[0].is_integer
    return integer and (name in _DIVIDES or (name == "power" and dtypes[0].kind == "i"))


def _instruction(of_float: str, of_integer: str, of_bool: str = "") -> Emission:
    """One instruction on two operands, by the kind of their dtype."""

    def emit(call: Call) -> str:
        by_kind = {"f": of_float, "b": of_bool or of_integer}
        return call.em.binary(by_kind.get(call.dtype.kind, of_integer), call.scalar, *call.operands)

    return emit


def _compare(of_float: str, of_integer: str) -> Emission:
    def emit(call: Call) -> str:
        if call.dtype.is_floating:
            return call.em.compare(of_float, call.scalar, *call.operands)
        sign = "" if of_integer in ("eq", "ne") else "s" if call.dtype.kind == "i" else "u"
        return call.em.compare(sign + of_integer, call.scalar, *call.operands)

    return emit


def _function(of_lanes: Callable[..., str]) -> Emission:
    """A function of real numbers."""
    return lambda call: of_lanes(call.lanes, *call.operands)


def _rounding(intrinsic: str) -> Emission:
    """Integers are whole already."""

    def emit(call: Call) -> str:
        x = call.operands[0]
        return call.em.intrinsic(intrinsic, call.scalar, x) if call.dtype.is_floating else x

    return emit


def _test(of_lanes: Callable[[Lanes, str], str], otherwise: int) -> Emission:
    """A test of floats, whose answer is the same for all integers."""

    def emit(call: Call) -> str:
        if call.dtype.is_floating:
            return of_lanes(call.lanes, call.operands[0])
        return call.em.integer("i1", otherwise)

    return emit


def _divided(
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


_maximum, _minimum = _extremum(True), _extremum(False)


def _clip(call: Call) -> str:
    x, low, high = call.operands
    raised = _maximum(Call(call.em, (x, low), call.dtype, call.result))
    return _minimum(Call(call.em, (raised, high), call.dtype, call.result))


def _relu(call: Call) -> str:
    """``max(x, 0)``, where 0 is known not to be NaN."""
    if call.dtype.is_floating:
        return call.lanes.at_least(call.zero(), call.operands[0])
    return _maximum(Call(call.em, (call.operands[0], call.zero()), call.dtype, call.result))


def _negative(call: Call) -> str:
    if call.dtype.is_floating:
        return call.lanes.negate(call.operands[0])
    return call.em.binary("sub", call.scalar, call.zero(), call.operands[0])


def _magnitude(call: Call) -> str:
    x = call.operands[0]
    if call.dtype.is_floating:
        return call.lanes.magnitude(x)
    if call.dtype.kind != "i":
        return x
    below = call.em.compare("slt", call.scalar, x, call.zero())
    return call.em.select(below, call.scalar, _negative(call), x)


def _sign(call: Call) -> str:
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


def _square(call: Call) -> str:
    x = call.operands[0]
    return call.em.binary("fmul" if call.dtype.is_floating else "mul", call.scalar, x, x)


def _reciprocal(v: Lanes, x: str) -> str:
    return v.divide(v.number(1.0), x)


def _rsqrt(call: Call) -> str:
    """NumPy rounds the root of a float16 before it divides."""
    v = call.lanes
    root = v.root(call.operands[0])
    return _reciprocal(v, rounded(call.em, call.dtype, root) if call.dtype is FLOAT16 else root)


def _guarded_multiply(v: Lanes, x: str, slope: str) -> str:
    """0 where x is 0 and the slope not finite: there the product is NaN or x."""
    zero = v.number(0.0)
    infinite = v.compare("ueq", v.magnitude(slope), v.number(inf))
    guarded = v.emitter.both(v.compare("oeq", x, zero), infinite)
    return v.select(guarded, zero, v.multiply(x, slope))


def _where(call: Call) -> str:
    condition, x, y = call.operands
    return call.em.select(condition, register_scalar(call.result), x, y)


def _opposite(call: Call) -> str:
    minus = 1 if call.dtype is BOOL else -1
    return call.em.binary("xor", call.scalar, call.operands[0], call.em.integer(call.scalar, minus))


def _power(call: Call) -> str:
    if call.dtype.is_floating:
        return power(call.lanes, *call.operands)
    return integers.power(call.em, call.dtype, *call.operands)


def _shift(function: Callable[..., str]) -> Emission:
    return lambda call: function(call.em, call.dtype, *call.operands)


_TABLE: dict[str, Emission] = {
    "add": _instruction("fadd", "add", "or"),
    "sub": _instruction("fsub", "sub"),
    "mul": _instruction("fmul", "mul", "and"),
    "div": _function(Lanes.divide),
    "neg": _negative,
    "square": _square,
    "sqrt": _function(Lanes.root),
    "rsqrt": _rsqrt,
    "reciprocal": _function(_reciprocal),
    "guarded_multiply": _function(_guarded_multiply),
    "identity": lambda call: call.operands[0],
    "maximum": _maximum,
    "minimum": _minimum,
    "clip": _clip,
    "relu": _relu,
    "abs": _magnitude,
    "sign": _sign,
    "floor": _rounding("floor"),
    "ceil": _rounding("ceil"),
    "round": _rounding("rint"),
    "trunc": _rounding("trunc"),
    "equal": _compare("oeq", "eq"),
    "not_equal": _compare("une", "ne"),
    "less": _compare("olt", "lt"),
    "less_equal": _compare("ole", "le"),
    "greater": _compare("ogt", "gt"),
    "greater_equal": _compare("oge", "ge"),
    "logical_and": _instruction("", "and"),
    "logical_or": _instruction("", "or"),
    "logical_xor": _instruction("", "xor"),
    "logical_not": _opposite,
    "bitwise_and": _instruction("", "and"),
    "bitwise_or": _instruction("", "or"),
    "bitwise_xor": _instruction("", "xor"),
    "bitwise_not": _opposite,
    "left_shift": _shift(integers.left_shift),
    "right_shift": _shift(integers.right_shift),
    "isnan": _test(Lanes.is_nan, 0),
    "isinf": _test(Lanes.is_infinite, 0),
    "isfinite": _test(lambda v, x: v.compare("olt", v.magnitude(x), v.number(inf)), 1),
    "where": _where,
    "floor_divide": _divided(integers.floored, 0, remainder.floor_divide),
    "remainder": _divided(integers.floored, 1, remainder.remainder),
    "fmod": _divided(integers.divide, 1, remainder.fmod),
    "power": _power,
    "exp": _function(exponential.exp),
    "expm1": _function(exponential.expm1),
    "sigmoid": _function(exponential.sigmoid),
    "sinh": _function(exponential.sinh),
    "cosh": _function(exponential.cosh),
    "tanh": _function(hyperbolic.tanh),
    "log": _function(logarithm.log),
    "log1p": _function(logarithm.log1p),
    "softplus": _function(logarithm.softplus),
    "asinh": _function(logarithm.asinh),
    "acosh": _function(logarithm.acosh),
    "atanh": _function(logarithm.atanh),
    "erf": _function(error.erf),
    "erfc": _function(error.erfc),
    "sin": _function(trigonometric.sin),
    "cos": _function(trigonometric.cos),
    "tan": _function(trigonometric.tan),
    "asin": _function(trigonometric.asin),
    "acos": _function(trigonometric.acos),
    "atan": _function(trigonometric.atan),
    "atan2": _function(trigonometric.atan2),
}
# Real functions take integers as float64.
_REAL = frozenset(
    [
        *("div", "sqrt", "rsqrt", "exp", "expm1", "log", "log1p", "sigmoid", "softplus", "erf", "erfc"),
        *("sin", "cos", "tan", "asin", "acos", "atan", "atan2"),
        *("sinh", "cosh", "tanh", "asinh", "acosh", "atanh"),
    ]
)
# Their results need no rounding to float16 or bfloat16: they are operands, whole or not floating.
_EXACT = frozenset(
    [
        *("neg", "identity", "maximum", "minimum", "clip", "relu", "abs", "sign", "where"),
        *("floor", "ceil", "round", "trunc", "isnan", "isinf", "isfinite"),
        *("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"),
    ]
)
_DIVIDES = frozenset(["floor_divide", "remainder", "fmod"])
