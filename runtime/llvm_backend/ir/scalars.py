"""What every elementwise op is in LLVM IR: the one table from an op's name to its emission.

`emit_op` writes an op at the width of its emitter. Operands have come to one dtype already, as the graph's
casts make them. An op outside the table has no machine code and runs by its meaning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

from graphc.types import FLOAT64, DType
from runtime.llvm_backend.ir import emissions, integers
from runtime.llvm_backend.ir.casts import cast
from runtime.llvm_backend.ir.emissions import Call, Emission
from runtime.llvm_backend.ir.text import Emitter
from runtime.llvm_backend.ir.values import rounded
from runtime.llvm_backend.ir.vecmath import (
    error,
    exponential,
    gamma,
    hyperbolic,
    logarithm,
    remainder,
    trigonometric,
)
from runtime.llvm_backend.ir.vecmath.lanes import Lanes


def emit_op(
    em: Emitter,
    name: str,
    operands: Sequence[str],
    dtypes: Sequence[DType],
    result: DType,
) -> str:
    """Writes the op `name` and gives its value, of the register type of `result` at the width of `em`.

    Args:
        em: where lines go; a fallible op notes its faults there (`Emitter.raise_faults` tells the flag).
        name: an op for which `has_code` holds, as `spelled`.
        operands: values in registers, each of the type of its dtype.
        dtypes: those of the operands.
        result: the dtype of the result.
    """
    if name == "cast":
        return cast(em, operands[0], dtypes[0], result)
    if name.partition(" ")[0] in _REAL and not dtypes[0].is_floating:
        operands = [cast(em, x, given, FLOAT64) for x, given in zip(operands, dtypes, strict=True)]
        dtypes = [FLOAT64] * len(operands)
    value = _emission_of(name)(Call(em, tuple(operands), dtypes[-1], result))
    return value if name in _EXACT else rounded(em, result, value)


def _emission_of(name: str) -> Emission:
    if name in _TABLE:
        return _TABLE[name]
    order = int(name.removeprefix(_ORDERED))
    return emissions.real_function(lambda v, x: gamma.polygamma(v, x, order))


def has_code(name: str) -> bool:
    """Whether `emit_op` knows the op, on all dtypes that the op takes."""
    return name in ("cast", _ORDERED) or name in _TABLE


def coded_ops() -> frozenset[str]:
    """The ops for which `has_code` holds."""
    return frozenset(("cast", _ORDERED, *_TABLE))


def spelled(name: str, attrs: Mapping[str, Any]) -> str:
    """The op with what of its attributes changes its code: ``polygamma 2``. No other but `cast` has any."""
    return f"{name} {attrs['n']}" if name == _ORDERED else name


_ORDERED = "polygamma"  # whose order is an attribute
_TABLE: dict[str, Emission] = {
    "add": emissions.instruction("fadd", "add", "or"),
    "sub": emissions.instruction("fsub", "sub"),
    "mul": emissions.instruction("fmul", "mul", "and"),
    "div": emissions.real_function(Lanes.divide),
    "neg": emissions.negative,
    "square": emissions.squared,
    "sqrt": emissions.real_function(Lanes.root),
    "rsqrt": emissions.rsqrt,
    "reciprocal": emissions.real_function(emissions.reciprocal),
    "guarded_multiply": emissions.real_function(emissions.guarded_multiply),
    "identity": lambda call: call.operands[0],
    "maximum": emissions.maximum,
    "minimum": emissions.minimum,
    "clip": emissions.clip,
    "relu": emissions.relu,
    "showing relu": emissions.real_function(emissions.showing_relu),
    "abs": emissions.magnitude,
    "sign": emissions.signed_unit,
    "floor": emissions.made_whole("floor"),
    "ceil": emissions.made_whole("ceil"),
    "round": emissions.made_whole("rint"),
    "trunc": emissions.made_whole("trunc"),
    "equal": emissions.compared("oeq", "eq"),
    "not_equal": emissions.compared("une", "ne"),
    "less": emissions.compared("olt", "lt"),
    "less_equal": emissions.compared("ole", "le"),
    "greater": emissions.compared("ogt", "gt"),
    "greater_equal": emissions.compared("oge", "ge"),
    "logical_and": emissions.instruction("", "and"),
    "logical_or": emissions.instruction("", "or"),
    "logical_xor": emissions.instruction("", "xor"),
    "logical_not": emissions.opposite,
    "bitwise_and": emissions.instruction("", "and"),
    "bitwise_or": emissions.instruction("", "or"),
    "bitwise_xor": emissions.instruction("", "xor"),
    "bitwise_not": emissions.opposite,
    "left_shift": emissions.shifted(integers.left_shift),
    "right_shift": emissions.shifted(integers.right_shift),
    "isnan": emissions.tested(Lanes.is_nan, 0),
    "isinf": emissions.tested(Lanes.is_infinite, 0),
    "isfinite": emissions.tested(lambda v, x: v.compare("olt", v.magnitude(x), v.number(inf)), 1),
    "where": emissions.chosen,
    "floor_divide": emissions.divided(integers.floored, 0, remainder.floor_divide),
    "remainder": emissions.divided(integers.floored, 1, remainder.remainder),
    "fmod": emissions.divided(integers.divide, 1, remainder.fmod),
    "power": emissions.raised,
    "exp": emissions.real_function(exponential.exp),
    "expm1": emissions.real_function(exponential.expm1),
    "sigmoid": emissions.real_function(exponential.sigmoid),
    "showing sigmoid": emissions.real_function(exponential.showing_sigmoid),
    "sinh": emissions.real_function(exponential.sinh),
    "cosh": emissions.real_function(exponential.cosh),
    "tanh": emissions.real_function(hyperbolic.tanh),
    "log": emissions.real_function(logarithm.log),
    "log1p": emissions.real_function(logarithm.log1p),
    "softplus": emissions.real_function(logarithm.softplus),
    "asinh": emissions.real_function(logarithm.asinh),
    "acosh": emissions.real_function(logarithm.acosh),
    "atanh": emissions.real_function(logarithm.atanh),
    "erf": emissions.real_function(error.erf),
    "erfc": emissions.real_function(error.erfc),
    "normal_cdf": emissions.real_function(error.normal_cdf),
    "lgamma": emissions.real_function(gamma.lgamma),
    "digamma": emissions.real_function(gamma.digamma),
    "sin": emissions.real_function(trigonometric.sin),
    "cos": emissions.real_function(trigonometric.cos),
    "tan": emissions.real_function(trigonometric.tan),
    "asin": emissions.real_function(trigonometric.asin),
    "acos": emissions.real_function(trigonometric.acos),
    "atan": emissions.real_function(trigonometric.atan),
    "atan2": emissions.real_function(trigonometric.atan2),
}
# Real functions take integers as float64.
_REAL = frozenset(
    [
        *("div", "sqrt", "rsqrt", "exp", "expm1", "log", "log1p", "sigmoid", "softplus"),
        *("erf", "erfc", "normal_cdf"),
        *("lgamma", "digamma", "polygamma"),
        *("sin", "cos", "tan", "asin", "acos", "atan", "atan2"),
        *("sinh", "cosh", "tanh", "asinh", "acosh", "atanh"),
    ]
)
# Their results need no rounding to float16 or bfloat16: they are operands, whole or not floating.
_EXACT = frozenset(
    [
        *("neg", "identity", "maximum", "minimum", "clip", "relu", "showing relu", "abs", "sign", "where"),
        *("floor", "ceil", "round", "trunc", "isnan", "isinf", "isfinite"),
        *("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"),
    ]
)
