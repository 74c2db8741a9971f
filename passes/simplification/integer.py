"""Rules of integers and their bits, which wrap: what rounding forbids for floats is exact here."""

from __future__ import annotations

from graphc import ops
from graphc.tensor import Tensor
from passes.rewrite import Match, Rule, rule
from passes.simplification.matching import (
    NUMBERS,
    alike,
    constant_operand,
    everywhere,
    instead,
    is_number,
    is_power_of_two,
    operand_of,
    scalar,
)


def _is_whole(x: Tensor) -> bool:
    return x.dtype.is_integer


def _all_ones(x: Tensor) -> int:
    """The value of `x`'s dtype whose bits are all set."""
    if x.dtype.kind == "b":
        return True
    return -1 if x.dtype.kind == "i" else (1 << 8 * x.dtype.itemsize) - 1


def _whole_constant(node: Tensor) -> int | None:
    """The integer that the last operand of `node` is."""
    value = constant_operand(node)
    return int(value) if value is not None and _is_whole(node) else None


@rule(ops.mul, of=NUMBERS, integers=True)
def multiply_by_zero(match: Match) -> Tensor | None:
    """``x * 0 -> 0``, of integers and bools."""
    x, zero = match.inputs
    return everywhere(match, 0) if not x.dtype.is_floating and is_number(zero, 0) else None


@rule(ops.sub, ops.bitwise_xor, ops.logical_xor, repeated=True, integers=True)
def subtract_itself(match: Match) -> Tensor | None:
    """``x - x -> 0`` and ``x ^ x -> 0``, of integers and bools."""
    x, y = match.inputs
    return everywhere(match, 0) if x is y and not x.dtype.is_floating else None


@rule(ops.add, ops.sub, of=(ops.add, ops.sub), integers=True)
def shift_in_turn(match: Match) -> Tensor | None:
    """``(x + a) + b -> x + (a + b)``, and so with differences, of integers."""
    inner = match.inputs[0]
    b = _whole_constant(match.node)
    if b is None or inner.op not in (ops.add, ops.sub) or not match.used_once(inner):
        return None
    a = _whole_constant(inner)
    if a is None:
        return None
    total = (a if inner.op is ops.add else -a) + (b if match.node.op is ops.add else -b)
    return alike(match, ops.add(inner.inputs[0], scalar(total, inner.dtype)))


@rule(ops.mul, of=(ops.mul,), integers=True)
def scale_in_turn(match: Match) -> Tensor | None:
    """``(x * a) * b -> x * (a * b)``, of integers."""
    inner = match.inputs[0]
    b = _whole_constant(match.node)
    if b is None or inner.op is not ops.mul or not match.used_once(inner):
        return None
    a = _whole_constant(inner)
    return None if a is None else alike(match, ops.mul(inner.inputs[0], scalar(a * b, inner.dtype)))


@rule(ops.sub, of=(ops.add,), integers=True)
def subtract_what_was_added(match: Match) -> Tensor | None:
    """``(x + y) - y -> x`` and ``(x + y) - x -> y``, of integers."""
    made, gone = match.inputs
    if made.op is not ops.add or not _is_whole(made):
        return None
    x, y = made.inputs
    if y is gone:
        return instead(match, x, y)
    return instead(match, y, x) if x is gone else None


@rule(ops.add, of=(ops.sub,), integers=True)
def add_what_was_subtracted(match: Match) -> Tensor | None:
    """``(x - y) + y -> x`` and ``y + (x - y) -> x``, of integers."""
    for made, gone in (match.inputs, match.inputs[::-1]):
        if made.op is ops.sub and _is_whole(made) and made.inputs[1] is gone:
            return instead(match, made.inputs[0], gone)
    return None


@rule(ops.add, of=(ops.mul,), integers=True)
def factor_out(match: Match) -> Tensor | None:
    """``x * y + x * z -> x * (y + z)``, of integers."""
    left, right = match.inputs
    if left.op is not ops.mul or right.op is not ops.mul or not _is_whole(left) or left is right:
        return None
    if not (match.used_once(left) and match.used_once(right)):
        return None
    for i in (0, 1):
        for j in (0, 1):
            if left.inputs[i] is right.inputs[j]:
                rest = ops.add(left.inputs[1 - i], right.inputs[1 - j])
                return alike(match, ops.mul(left.inputs[i], rest))
    return None


@rule(ops.floor_divide, of=NUMBERS, integers=True)
def floor_divide_by_one(match: Match) -> Tensor | None:
    """``x // 1 -> x``, of integers."""
    x, one = match.inputs
    return instead(match, x, one) if _whole_constant(match.node) == 1 else None


@rule(ops.remainder, of=NUMBERS, integers=True)
def remainder_by_one(match: Match) -> Tensor | None:
    """``x % 1 -> 0``, of integers."""
    return everywhere(match, 0) if _whole_constant(match.node) == 1 else None


@rule(ops.floor_divide, of=NUMBERS, integers=True)
def floor_divide_by_power_of_two(match: Match) -> Tensor | None:
    """``x // 2 ** k -> x >> k``, of integers; both round down."""
    x = match.inputs[0]
    value = _whole_constant(match.node)
    if value is None or not is_power_of_two(value):
        return None
    return alike(match, ops.right_shift(x, scalar(value.bit_length() - 1, x.dtype)))


@rule(ops.remainder, of=NUMBERS, integers=True)
def remainder_by_power_of_two(match: Match) -> Tensor | None:
    """``x % 2 ** k -> x & (2 ** k - 1)``, of integers; neither is negative."""
    x = match.inputs[0]
    value = _whole_constant(match.node)
    if value is None or not is_power_of_two(value):
        return None
    return alike(match, ops.bitwise_and(x, scalar(value - 1, x.dtype)))


@rule(ops.bitwise_and, ops.bitwise_or, ops.bitwise_xor, ops.left_shift, ops.right_shift, of=NUMBERS)
def neutral_bits(match: Match) -> Tensor | None:
    """``x & 1...1 -> x``, and ``x | 0``, ``x ^ 0``, ``x << 0``, ``x >> 0 -> x``."""
    x, y = match.inputs
    neutral = _all_ones(x) if match.node.op is ops.bitwise_and else 0
    return instead(match, x, y) if is_number(y, neutral) else None


@rule(ops.bitwise_and, ops.bitwise_or, of=NUMBERS)
def absorbing_bits(match: Match) -> Tensor | None:
    """``x & 0 -> 0``, and ``x | 1...1 -> 1...1``."""
    x, y = match.inputs
    absorbing = 0 if match.node.op is ops.bitwise_and else _all_ones(x)
    return everywhere(match, absorbing) if is_number(y, absorbing) else None


@rule(ops.bitwise_not, ops.logical_not, of=(ops.bitwise_not, ops.logical_not))
def invert_twice(match: Match) -> Tensor | None:
    """``~~x -> x``, and ``!!x -> x``."""
    return operand_of(match.inputs[0], match.node.op)


@rule(ops.floor, ops.ceil, ops.round, ops.trunc, integers=True)
def round_an_integer(match: Match) -> Tensor | None:
    """``floor(x) -> x``, and every other rounding, of integers and bools."""
    (x,) = match.inputs
    return None if x.dtype.is_floating else x


@rule(ops.abs, ops.relu, integers=True)
def magnitude_of_unsigned(match: Match) -> Tensor | None:
    """``abs(x) -> x`` and ``relu(x) -> x`` where the dtype of x has no sign."""
    (x,) = match.inputs
    return x if x.dtype.kind in "ub" else None


RULES: tuple[Rule, ...] = (
    *(multiply_by_zero, subtract_itself, shift_in_turn, scale_in_turn, subtract_what_was_added),
    *(add_what_was_subtracted, factor_out, floor_divide_by_one, remainder_by_one),
    *(floor_divide_by_power_of_two, remainder_by_power_of_two, neutral_bits, absorbing_bits),
    *(invert_twice, round_an_integer, magnitude_of_unsigned),
)
FAST_RULES: tuple[Rule, ...] = ()
