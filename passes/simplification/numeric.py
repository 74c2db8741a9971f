"""Rules of single numbers: magnitudes, rounding, bounds, casts, powers, exponentials."""

from __future__ import annotations

import math

import numpy as np

from graphc import ops
from graphc.tensor import Tensor
from graphc.types import BFLOAT16, DType
from passes.rewrite import Match, Rule, rule
from passes.simplification.matching import (
    NUMBERS,
    alike,
    constant_operand,
    everywhere,
    fits,
    instead,
    is_number,
    is_same_number,
    number,
)
from passes.simplification.vocabulary import clip

_ROUNDINGS = (ops.floor, ops.ceil, ops.round, ops.trunc)
_EVEN = (ops.abs, ops.cos, ops.cosh)
_ODD = (ops.sin, ops.tan, ops.sinh, ops.tanh, ops.asinh, ops.asin, ops.atan, ops.atanh, ops.trunc, ops.round)
_NEVER_NEGATIVE = (ops.abs, ops.square, ops.exp, ops.sigmoid, ops.cosh)


@rule(*_EVEN, of=(ops.neg, ops.abs))
def even_of_negative(match: Match) -> Tensor | None:
    """``abs(-x) -> abs(x)``, and so for `cos` and `cosh`, also of ``abs(x)``."""
    (x,) = match.inputs
    if x.op not in (ops.neg, ops.abs) or not (x.dtype.is_floating or match.node.op is ops.abs):
        return None
    return match.node.op(x.inputs[0])


@rule(ops.neg, of=_ODD)
def odd_of_negative(match: Match) -> Tensor | None:
    """``-sin(-x) -> sin(x)``, and so for every odd function, of floats."""
    (made,) = match.inputs
    if made.op not in _ODD or not made.inputs or made.inputs[0].op is not ops.neg:
        return None
    x = made.inputs[0].inputs[0]
    return made.op(x) if x.dtype.is_floating and match.used_once(made) else None


@rule(ops.abs, ops.relu, of=_NEVER_NEGATIVE)
def magnitude_of_positive(match: Match) -> Tensor | None:
    """``abs(y) -> y`` and ``relu(y) -> y`` where y is an exponential, a square, a magnitude, of floats."""
    (y,) = match.inputs
    return y if y.op in _NEVER_NEGATIVE and y.dtype.is_floating else None


@rule(ops.relu, ops.sign, of=(ops.relu, ops.sign))
def same_function_twice(match: Match) -> Tensor | None:
    """``relu(relu(x)) -> relu(x)``, and so for `sign`."""
    (y,) = match.inputs
    return y if y.op is match.node.op else None


@rule(*_ROUNDINGS, of=(*_ROUNDINGS, ops.cast))
def round_a_whole(match: Match) -> Tensor | None:
    """``floor(ceil(x)) -> ceil(x)``, and so for every rounding of a rounded or cast integer."""
    (y,) = match.inputs
    is_cast = y.op is ops.cast and not y.inputs[0].dtype.is_floating
    return y if y.op in _ROUNDINGS or is_cast else None


@rule(ops.maximum, of=NUMBERS)
def maximum_with_zero(match: Match) -> Tensor | None:
    """``maximum(0, x) -> relu(x)``; of integers ``maximum(x, 0)`` too, which of floats makes 0.0 of -0.0."""
    zero, x = match.inputs
    if not x.dtype.is_floating and is_number(x, 0):
        zero, x = x, zero
    if x.type != match.node.type or x.dtype.kind == "b" or not is_number(zero, 0) or not fits(zero, x):
        return None
    return ops.relu(x)


@rule(ops.maximum, ops.minimum, of=NUMBERS)
def bound_beyond_all(match: Match) -> Tensor | None:
    """``maximum(x, -inf) -> x`` and ``minimum(x, inf) -> x``; of integers, the lowest and the highest."""
    x, bound = match.inputs
    lowest, highest = _limits(x.dtype)
    wanted = lowest if match.node.op is ops.maximum else highest
    return instead(match, x, bound) if number(bound) == wanted else None


def _limits(dtype: DType) -> tuple[float, float]:
    if dtype.is_floating:
        return -math.inf, math.inf
    if dtype.kind == "b":
        return False, True
    limits = np.iinfo(dtype.numpy)
    return int(limits.min), int(limits.max)


@rule(ops.maximum, ops.minimum, of=(ops.maximum, ops.minimum))
def nested_bounds(match: Match) -> Tensor | None:
    """``maximum(maximum(x, a), b) -> maximum(x, max(a, b))``, and so for `minimum`; a and b differ."""
    inner, last = match.inputs
    if inner.op is not match.node.op:
        return None
    x = inner.inputs[0]
    a, b = constant_operand(inner), constant_operand(match.node)
    if a is None or b is None or a == b or math.isnan(a) or math.isnan(b):
        return None
    if (a > b) == (match.node.op is ops.maximum):
        return instead(match, inner, last)
    return alike(match, match.node.op(x, last))


@rule(ops.minimum, of=(ops.maximum,))
def bounds_as_clip(match: Match) -> Tensor | None:
    """``minimum(maximum(x, a), b) -> clip(x, a, b)``."""
    inner, high = match.inputs
    if inner.op is not ops.maximum or not match.used_once(inner) or number(high) is None:
        return None
    x, low = inner.inputs
    return alike(match, clip(x, low, high)) if number(low) is not None else None


@rule(clip, of=(clip,))
def clip_twice(match: Match) -> Tensor | None:
    """``clip(clip(x, a, b), a, b) -> clip(x, a, b)``."""
    inner, low, high = match.inputs
    if inner.op is not clip or inner.type != match.node.type:
        return None
    same = all(a is b or is_same_number(a, b) for a, b in zip((low, high), inner.inputs[1:], strict=True))
    return instead(match, inner, low, high) if same else None


# Casts.


@rule(ops.cast)
def cast_to_own(match: Match) -> Tensor | None:
    """``cast(x, its dtype) -> x``."""
    (x,) = match.inputs
    return x if x.dtype is match.node.dtype else None


@rule(ops.cast, of=(ops.cast,))
def cast_twice(match: Match) -> Tensor | None:
    """``cast(cast(x, wide), dtype) -> cast(x, dtype)`` where every x has its place in `wide`."""
    (inner,) = match.inputs
    if inner.op is not ops.cast:
        return None
    x, final = inner.inputs[0], match.node.dtype
    if not holds(inner.dtype, x.dtype):
        return None
    wraps = final.is_integer and x.dtype.is_integer and inner.dtype.is_floating
    if wraps and not holds(final, x.dtype):  # a float is kept in range, an integer wraps
        return None
    if final is BFLOAT16 and not x.dtype.is_floating:
        return None
    return ops.cast(x, final)


def holds(wide: DType, dtype: DType) -> bool:
    """Whether every value of `dtype` is one of `wide`."""
    if dtype is wide or dtype.kind == "b":
        return True
    if wide.kind == "b":
        return False
    if dtype.is_floating:
        return wide.is_floating and (_digits(wide) >= _digits(dtype) and _reach(wide) >= _reach(dtype))
    bits = 8 * dtype.itemsize - (dtype.kind == "i")
    if wide.is_floating:
        return bits <= _digits(wide)
    return (wide.kind == "i" or dtype.kind == "u") and bits <= 8 * wide.itemsize - (wide.kind == "i")


def _digits(dtype: DType) -> int:
    return 8 if dtype is BFLOAT16 else int(np.finfo(dtype.numpy).nmant) + 1


def _reach(dtype: DType) -> int:
    return int(np.finfo(dtype.numpy).maxexp)


# Powers.


@rule(ops.power, of=NUMBERS)
def power_of_one(match: Match) -> Tensor | None:
    """``x ** 1 -> x``."""
    x, one = match.inputs
    return instead(match, x, one) if is_number(one, 1) else None


@rule(ops.power, of=NUMBERS)
def power_of_zero(match: Match) -> Tensor | None:
    """``x ** 0 -> 1``, of NaN too."""
    return everywhere(match, 1) if number(match.inputs[1]) == 0 else None


@rule(ops.power, of=NUMBERS)
def power_of_two(match: Match) -> Tensor | None:
    """``x ** 2 -> square(x)``."""
    x, two = match.inputs
    if x.type == match.node.type and is_number(two, 2) and fits(two, x):
        return ops.square(x)
    return None


@rule(ops.power, of=NUMBERS)
def power_of_minus_one(match: Match) -> Tensor | None:
    """``x ** -1 -> reciprocal(x)``, of floats."""
    x, minus = match.inputs
    if x.dtype.is_floating and x.type == match.node.type and is_number(minus, -1) and fits(minus, x):
        return ops.reciprocal(x)
    return None


@rule(ops.reciprocal, of=(ops.sqrt,))
def reciprocal_of_root(match: Match) -> Tensor | None:
    """``reciprocal(sqrt(x)) -> rsqrt(x)``."""
    (root,) = match.inputs
    if root.op is not ops.sqrt or root.dtype is BFLOAT16 or not match.used_once(root):
        return None
    return ops.rsqrt(root.inputs[0])


RULES: tuple[Rule, ...] = (
    *(even_of_negative, odd_of_negative, magnitude_of_positive, same_function_twice, round_a_whole),
    *(bound_beyond_all, nested_bounds, bounds_as_clip, maximum_with_zero, clip_twice),
    *(cast_to_own, cast_twice, power_of_one, power_of_zero, power_of_two),
    *(power_of_minus_one, reciprocal_of_root),
)
FAST_RULES: tuple[Rule, ...] = ()
