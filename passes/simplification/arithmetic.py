"""Rules of arithmetic: sums, differences, products, quotients; those of integers stand in `integer`."""

from __future__ import annotations

import math

from graphc import ops
from graphc.tensor import Tensor
from passes.rewrite import Match, Rule, rule
from passes.simplification.matching import (
    NUMBERS,
    alike,
    constant_operand,
    everywhere,
    exact_inverse,
    instead,
    is_number,
    neutral_zero,
    number,
    operand_of,
    scalar,
)

_COMMUTE = (
    *(ops.add, ops.mul, ops.maximum, ops.minimum, ops.equal, ops.not_equal),
    *(ops.bitwise_and, ops.bitwise_or, ops.bitwise_xor),
    *(ops.logical_and, ops.logical_or, ops.logical_xor),
)


@rule(*_COMMUTE, of=NUMBERS)
def constants_right(match: Match) -> Tensor | None:
    """``c + x -> x + c``, and so for every op whose operands may change places."""
    x, y = match.inputs
    value = number(x)
    if value is None or number(y) is not None:
        return None
    if value == 0 and x.dtype.is_floating and match.node.op in (ops.maximum, ops.minimum):
        return None  # which zero is the larger one depends on their order
    return alike(match, match.node.op(y, x))


@rule(ops.add, of=NUMBERS)
def add_nothing(match: Match) -> Tensor | None:
    """``x + 0 -> x``; of floats ``x + (-0.0) -> x``, since ``-0.0 + 0.0`` is 0.0."""
    x, zero = match.inputs
    return instead(match, x, zero) if is_number(zero, neutral_zero(x.dtype)) else None


@rule(ops.sub, of=NUMBERS)
def subtract_nothing(match: Match) -> Tensor | None:
    """``x - 0 -> x``."""
    x, zero = match.inputs
    return instead(match, x, zero) if is_number(zero, 0) else None


@rule(ops.sub, of=NUMBERS)
def subtract_from_nothing(match: Match) -> Tensor | None:
    """``0 - x -> -x``; of floats ``-0.0 - x -> -x``, since ``0.0 - 0.0`` is 0.0."""
    zero, x = match.inputs
    return alike(match, ops.neg(x)) if is_number(zero, neutral_zero(x.dtype)) else None


@rule(ops.mul, of=NUMBERS)
def multiply_by_one(match: Match) -> Tensor | None:
    """``x * 1 -> x``."""
    x, one = match.inputs
    return instead(match, x, one) if is_number(one, 1) else None


@rule(ops.div, of=NUMBERS)
def divide_by_one(match: Match) -> Tensor | None:
    """``x / 1 -> x``, of floats."""
    x, one = match.inputs
    return instead(match, x, one) if is_number(one, 1) else None


@rule(ops.mul, ops.div, of=NUMBERS)
def multiply_by_minus_one(match: Match) -> Tensor | None:
    """``x * -1 -> -x``, and ``x / -1 -> -x``."""
    x, one = match.inputs
    if x.type == match.node.type and is_number(one, -1):
        return ops.neg(x)
    return None


@rule(ops.neg, of=(ops.neg,))
def negate_twice(match: Match) -> Tensor | None:
    """``-(-x) -> x``."""
    return operand_of(match.inputs[0], ops.neg)


@rule(ops.add, of=(ops.neg,))
def add_negative(match: Match) -> Tensor | None:
    """``x + (-y) -> x - y``, and ``(-x) + y -> y - x``."""
    x, y = match.inputs
    if y.op is ops.neg:
        return ops.sub(x, y.inputs[0])
    return alike(match, ops.sub(y, x.inputs[0])) if x.op is ops.neg else None


@rule(ops.sub, of=(ops.neg,))
def subtract_negative(match: Match) -> Tensor | None:
    """``x - (-y) -> x + y``."""
    x, y = match.inputs
    return ops.add(x, y.inputs[0]) if y.op is ops.neg else None


@rule(ops.mul, ops.div, of=(ops.neg,))
def negatives_cancel(match: Match) -> Tensor | None:
    """``(-x) * (-y) -> x * y``, and ``(-x) / (-y) -> x / y`` of floats."""
    x, y = match.inputs
    if x.op is not ops.neg or y.op is not ops.neg:
        return None
    if match.node.op is ops.div and not x.dtype.is_floating:
        return None  # the lowest integer is its own negative
    return match.node.op(x.inputs[0], y.inputs[0])


@rule(ops.mul, of=(ops.neg,))
def negative_into_constant(match: Match) -> Tensor | None:
    """``(-x) * c -> x * (-c)``."""
    x, factor = match.inputs
    value = number(factor)
    if x.op is not ops.neg or value is None or match.node.dtype.kind == "u":
        return None
    return alike(match, ops.mul(x.inputs[0], scalar(-value, x.dtype)))


@rule(ops.neg, of=(ops.mul,))
def negate_product(match: Match) -> Tensor | None:
    """``-(x * c) -> x * (-c)``."""
    (made,) = match.inputs
    if made.op is not ops.mul or match.node.dtype.kind == "u" or not match.used_once(made):
        return None
    value = constant_operand(made)
    return None if value is None else alike(match, ops.mul(made.inputs[0], scalar(-value, made.dtype)))


@rule(ops.neg, of=(ops.mul, ops.div))
def negate_negative_factor(match: Match) -> Tensor | None:
    """``-(x * (-y)) -> x * y``, and so for the other factor, and for quotients of floats."""
    (made,) = match.inputs
    if made.op not in (ops.mul, ops.div) or not match.used_once(made):
        return None
    x, y = made.inputs
    if made.op is ops.div and not x.dtype.is_floating:
        return None  # the lowest integer is its own negative
    if y.op is ops.neg:
        return made.op(x, y.inputs[0])
    return made.op(x.inputs[0], y) if x.op is ops.neg else None


@rule(ops.neg, of=(ops.mul,))
def negate_factor_of_constant(match: Match) -> Tensor | None:
    """``-(x * (y * c)) -> x * (y * (-c))``, and so for the other factor."""
    (made,) = match.inputs
    if made.op is not ops.mul or made.dtype.kind == "u" or not match.used_once(made):
        return None
    for i, factor in enumerate(made.inputs):
        if factor.op is not ops.mul or not match.used_once(factor):
            continue
        value = constant_operand(factor)
        if value is not None:
            opposite = ops.mul(factor.inputs[0], scalar(-value, factor.dtype))
            other = made.inputs[1 - i]
            return alike(match, ops.mul(opposite, other) if i == 0 else ops.mul(other, opposite))
    return None


@rule(ops.div, of=NUMBERS)
def divide_by_power_of_two(match: Match) -> Tensor | None:
    """``x / c -> x * (1 / c)`` where c is a power of two, whose inverse is exact."""
    x, divisor = match.inputs
    value = number(divisor)
    if value is None or not x.dtype.is_floating:
        return None
    inverse = exact_inverse(value, x.dtype)
    return None if inverse is None else alike(match, ops.mul(x, scalar(inverse, x.dtype)))


@rule(ops.div, of=NUMBERS)
def divide_one(match: Match) -> Tensor | None:
    """``1 / x -> reciprocal(x)``, of floats."""
    one, x = match.inputs
    if x.type == match.node.type and is_number(one, 1):
        return ops.reciprocal(x)
    return None


@rule(ops.mul, repeated=True)
def multiply_by_itself(match: Match) -> Tensor | None:
    """``x * x -> square(x)``."""
    x, y = match.inputs
    return ops.square(x) if x is y and x.dtype.kind != "b" else None


@rule(ops.square, of=(ops.neg, ops.abs))
def square_of_negative(match: Match) -> Tensor | None:
    """``square(-x) -> square(x)``, and so of ``abs(x)``."""
    (x,) = match.inputs
    return ops.square(x.inputs[0]) if x.op in (ops.neg, ops.abs) else None


@rule(ops.guarded_multiply, of=(*NUMBERS, ops.cast))
def guard_of_finite_slope(match: Match) -> Tensor | None:
    """``guarded_multiply(x, c) -> x * c`` where c is finite, so that nothing needs a guard."""
    x, slope = match.inputs
    value = number(slope)
    finite = slope.op is ops.cast and not slope.inputs[0].dtype.is_floating and slope.dtype != "f16"
    if (value is not None and math.isfinite(value)) or finite:
        return ops.mul(x, slope)
    return None


@rule(ops.guarded_multiply, of=NUMBERS)
def guard_of_nonzero(match: Match) -> Tensor | None:
    """``guarded_multiply(c, y) -> y * c`` where c is not 0, the only value that is guarded."""
    x, slope = match.inputs
    value = number(x)
    return alike(match, ops.mul(slope, x)) if value is not None and value != 0 else None


# Not exact: these round differently.


@rule(ops.neg, of=(ops.sub,))
def negate_difference(match: Match) -> Tensor | None:
    """``-(x - y) -> y - x``, which differs in the sign of 0."""
    (made,) = match.inputs
    if made.op is not ops.sub or not match.used_once(made):
        return None
    return alike(match, ops.sub(made.inputs[1], made.inputs[0]))


@rule(ops.add, ops.sub, of=NUMBERS)
def add_nothing_fast(match: Match) -> Tensor | None:
    """``x + 0.0 -> x``, which differs for -0.0."""
    x, zero = match.inputs
    return instead(match, x, zero) if number(zero) == 0 else None


@rule(ops.mul, of=NUMBERS)
def multiply_by_zero_fast(match: Match) -> Tensor | None:
    """``x * 0.0 -> 0.0``, which differs for -0.0, infinity and NaN."""
    x, zero = match.inputs
    if not x.dtype.is_floating or number(zero) != 0:
        return None
    return everywhere(match, 0.0)


@rule(ops.mul, of=(ops.mul,))
def scale_twice_fast(match: Match) -> Tensor | None:
    """``(x * a) * b -> x * (a * b)``."""
    made = match.inputs[0]
    if made.op is not ops.mul or not made.dtype.is_floating or not match.used_once(made):
        return None
    a, b = constant_operand(made), constant_operand(match.node)
    if a is None or b is None:
        return None
    return alike(match, ops.mul(made.inputs[0], scalar(a * b, made.dtype)))


@rule(ops.mul, of=(ops.reciprocal,))
def multiply_by_reciprocal_fast(match: Match) -> Tensor | None:
    """``x * reciprocal(y) -> x / y``."""
    x, inverse = match.inputs
    if inverse.op is not ops.reciprocal or not match.used_once(inverse):
        return None
    return ops.div(x, inverse.inputs[0])


@rule(ops.reciprocal, of=(ops.reciprocal,))
def reciprocal_twice_fast(match: Match) -> Tensor | None:
    """``reciprocal(reciprocal(x)) -> x``."""
    return operand_of(match.inputs[0], ops.reciprocal)


@rule(ops.sub, repeated=True)
def subtract_itself_fast(match: Match) -> Tensor | None:
    """``x - x -> 0.0``, which differs for infinity and NaN."""
    x, y = match.inputs
    return everywhere(match, 0.0) if x is y and x.dtype.is_floating else None


RULES: tuple[Rule, ...] = (
    *(constants_right, add_nothing, subtract_nothing, subtract_from_nothing, multiply_by_one),
    *(divide_by_one, multiply_by_minus_one, negate_twice, add_negative, subtract_negative),
    *(negatives_cancel, negative_into_constant, negate_product, negate_negative_factor),
    *(negate_factor_of_constant, divide_by_power_of_two, divide_one, multiply_by_itself),
    *(square_of_negative, guard_of_finite_slope, guard_of_nonzero),
)
FAST_RULES: tuple[Rule, ...] = (
    *(negate_difference, add_nothing_fast, multiply_by_zero_fast, scale_twice_fast),
    *(multiply_by_reciprocal_fast, reciprocal_twice_fast, subtract_itself_fast),
)
