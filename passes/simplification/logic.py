"""Rules of truth: comparisons, connectives, tests for NaN, and the choice `where`."""

from __future__ import annotations

from graphc import ops
from graphc.tensor import Tensor
from graphc.types import BFLOAT16, BOOL
from passes.rewrite import Match, Rule, rule
from passes.simplification.matching import (
    NUMBERS,
    alike,
    everywhere,
    fits,
    instead,
    is_number,
    number,
    operand_of,
    spread,
)

_OPPOSITES = {ops.equal: ops.not_equal, ops.not_equal: ops.equal}
_OPPOSITES_OF_ORDERED = {
    ops.less: ops.greater_equal,
    ops.less_equal: ops.greater,
    ops.greater: ops.less_equal,
    ops.greater_equal: ops.less,
}
_MIRRORED = {
    ops.less: ops.greater,
    ops.less_equal: ops.greater_equal,
    ops.greater: ops.less,
    ops.greater_equal: ops.less_equal,
}


@rule(*_MIRRORED, of=NUMBERS)
def compared_constants_right(match: Match) -> Tensor | None:
    """``c < x -> x > c``, and so for every ordered comparison."""
    x, y = match.inputs
    if number(x) is None or number(y) is not None:
        return None
    return alike(match, _MIRRORED[match.node.op](y, x))


@rule(ops.logical_and, ops.logical_or, ops.logical_xor, of=NUMBERS)
def neutral_truth(match: Match) -> Tensor | None:
    """``x and True -> x``, ``x or False -> x``, ``x xor False -> x``."""
    x, y = match.inputs
    return instead(match, x, y) if is_number(y, match.node.op is ops.logical_and) else None


@rule(ops.logical_and, ops.logical_or, of=NUMBERS)
def absorbing_truth(match: Match) -> Tensor | None:
    """``x and False -> False``, and ``x or True -> True``."""
    absorbing = match.node.op is ops.logical_or
    return everywhere(match, absorbing) if is_number(match.inputs[1], absorbing) else None


@rule(
    *(ops.logical_and, ops.logical_or, ops.bitwise_and, ops.bitwise_or, ops.maximum, ops.minimum),
    repeated=True,
)
def same_twice(match: Match) -> Tensor | None:
    """``x and x -> x``, and so for `or`, ``&``, ``|``, `maximum` and `minimum`."""
    x, y = match.inputs
    return x if x is y else None


@rule(ops.logical_xor, ops.not_equal, of=NUMBERS)
def differs_from_true(match: Match) -> Tensor | None:
    """``x xor True -> !x``, and ``x != True -> !x``."""
    x, y = match.inputs
    if x.dtype is BOOL and x.type == match.node.type and is_number(y, True) and fits(y, x):
        return ops.logical_not(x)
    return None


@rule(ops.equal, ops.not_equal, of=NUMBERS)
def compare_truth(match: Match) -> Tensor | None:
    """``x == True -> x``, ``x != False -> x``, ``x == False -> !x``, of bools."""
    x, y = match.inputs
    if x.dtype is not BOOL or x.type != match.node.type or not fits(y, x) or number(y) is None:
        return None
    same = is_number(y, match.node.op is ops.equal)
    return x if same else ops.logical_not(x)


@rule(ops.logical_and, ops.logical_or, of=(ops.logical_not,))
def de_morgan(match: Match) -> Tensor | None:
    """``!x and !y -> !(x or y)``, and with `and` and `or` exchanged."""
    x, y = match.inputs
    if x.op is not ops.logical_not or y.op is not ops.logical_not or x is y:
        return None
    if not (match.used_once(x) and match.used_once(y)):
        return None
    other = ops.logical_or if match.node.op is ops.logical_and else ops.logical_and
    return ops.logical_not(other(x.inputs[0], y.inputs[0]))


@rule(ops.logical_and, ops.logical_or, of=(ops.logical_not,))
def contradiction(match: Match) -> Tensor | None:
    """``x and !x -> False``, and ``x or !x -> True``."""
    x, y = match.inputs
    if operand_of(y, ops.logical_not) is x or operand_of(x, ops.logical_not) is y:
        return everywhere(match, match.node.op is ops.logical_or)
    return None


@rule(ops.logical_not, of=(*_OPPOSITES, *_OPPOSITES_OF_ORDERED))
def not_equal_instead(match: Match) -> Tensor | None:
    """``!(x == y) -> x != y`` and back; of integers also ``!(x < y) -> x >= y`` and its kind."""
    (made,) = match.inputs
    opposite = _OPPOSITES.get(made.op)
    if opposite is None and made.op in _OPPOSITES_OF_ORDERED and not made.inputs[0].dtype.is_floating:
        opposite = _OPPOSITES_OF_ORDERED[made.op]
    return None if opposite is None else opposite(*made.inputs)


@rule(ops.not_equal, repeated=True)
def differs_from_itself(match: Match) -> Tensor | None:
    """``x != x -> isnan(x)``."""
    x, y = match.inputs
    return ops.isnan(x) if x is y else None


@rule(ops.equal, ops.less, ops.less_equal, ops.greater, ops.greater_equal, repeated=True)
def compare_with_itself(match: Match) -> Tensor | None:
    """``x == x``, ``x <= x``, ``x >= x -> True`` of integers, and ``x < x``, ``x > x -> False`` of all."""
    x, y = match.inputs
    strict = match.node.op in (ops.less, ops.greater)
    if x is not y or (x.dtype.is_floating and not strict):
        return None
    return everywhere(match, not strict)


@rule(ops.isnan, ops.isinf, ops.isfinite, integers=True)
def integers_are_finite(match: Match) -> Tensor | None:
    """``isnan(x) -> False``, ``isinf(x) -> False``, ``isfinite(x) -> True``, of integers and bools."""
    if match.inputs[0].dtype.is_floating:
        return None
    return everywhere(match, match.node.op is ops.isfinite)


@rule(ops.isnan, ops.isinf, ops.isfinite, of=(ops.neg, ops.abs))
def signs_are_finite(match: Match) -> Tensor | None:
    """``isnan(-x) -> isnan(x)``, and so for `abs` and for the other tests."""
    (x,) = match.inputs
    return match.node.op(x.inputs[0]) if x.op in (ops.neg, ops.abs) else None


@rule(ops.greater_equal, ops.less, of=NUMBERS, integers=True)
def unsigned_below_zero(match: Match) -> Tensor | None:
    """``x >= 0 -> True`` and ``x < 0 -> False``, of unsigned integers and bools."""
    x, y = match.inputs
    if x.dtype.kind not in "ub" or not is_number(y, 0):
        return None
    return everywhere(match, match.node.op is ops.greater_equal)


@rule(ops.not_equal, of=(ops.cast,))
def truth_of_cast_truth(match: Match) -> Tensor | None:
    """``cast(x) != 0 -> x``, of a bool."""
    made, y = match.inputs
    if made.op is not ops.cast or made.inputs[0].dtype is not BOOL or number(y) != 0:
        return None
    return instead(match, made.inputs[0], y)


# Choices.


@rule(ops.where, of=NUMBERS)
def where_of_constant(match: Match) -> Tensor | None:
    """``where(True, x, y) -> x``, and ``where(False, x, y) -> y``."""
    condition, x, y = match.inputs
    value = number(condition)
    if value is None:
        return None
    return instead(match, x, condition, y) if value else instead(match, y, condition, x)


@rule(ops.where, repeated=True)
def where_equal_arms(match: Match) -> Tensor | None:
    """``where(c, x, x) -> x``."""
    condition, x, y = match.inputs
    return instead(match, x, condition) if x is y else None


@rule(ops.where, of=(ops.logical_not,))
def where_not(match: Match) -> Tensor | None:
    """``where(!c, x, y) -> where(c, y, x)``."""
    condition, x, y = match.inputs
    inner = operand_of(condition, ops.logical_not)
    return None if inner is None else alike(match, ops.where(inner, y, x))


@rule(ops.where, of=(ops.where,))
def where_of_where(match: Match) -> Tensor | None:
    """``where(c, where(c, a, b), y) -> where(c, a, y)``, and so on the other side."""
    condition, x, y = match.inputs
    for inner, kept, gone in ((x, 1, 2), (y, 2, 1)):
        if inner.op is not ops.where or inner.inputs[0] is not condition:
            continue
        if not match.is_droppable(inner.inputs[gone]) or not fits(inner.inputs[gone], inner):
            continue
        arm = inner.inputs[kept]
        return alike(match, ops.where(condition, arm, y) if inner is x else ops.where(condition, x, arm))
    return None


@rule(ops.where, of=NUMBERS)
def where_true_or_false(match: Match) -> Tensor | None:
    """``where(c, True, False) -> c``; with numbers, ``where(c, 1, 0) -> cast(c)``."""
    condition, x, y = match.inputs
    if not (is_number(x, 1) and is_number(y, 0) and fits(x, match.node) and fits(y, match.node)):
        return None
    kept = condition if x.dtype is BOOL else ops.cast(condition, x.dtype)
    return alike(match, spread(kept, match.node)) if fits(kept, match.node) else None


@rule(ops.where, of=NUMBERS)
def where_false_or_true(match: Match) -> Tensor | None:
    """``where(c, False, True) -> !c``."""
    condition, x, y = match.inputs
    if x.dtype is not BOOL or not (is_number(x, False) and is_number(y, True)):
        return None
    if not all(fits(operand, match.node) for operand in match.inputs):
        return None
    return spread(ops.logical_not(condition), match.node)


@rule(ops.where)
def where_of_alike(match: Match) -> Tensor | None:
    """``where(c, f(x), f(y)) -> f(where(c, x, y))`` where f has one operand and never fails."""
    condition, x, y = match.inputs
    if x.op is not y.op or x is y or len(x.inputs) != 1 or x.attrs != y.attrs:
        return None
    if x.op.family != "elementwise" or x.op.fallible or x.inputs[0].type != y.inputs[0].type:
        return None
    if x.type != match.node.type or x.dtype is BFLOAT16:
        return None
    if not (match.used_once(x) and match.used_once(y)):
        return None
    return alike(match, x.op(ops.where(condition, x.inputs[0], y.inputs[0]), **x.attrs))


@rule(ops.greater, ops.greater_equal, ops.less, ops.less_equal, of=(ops.neg,))
def compare_negatives(match: Match) -> Tensor | None:
    """``-x < -y -> y < x``, and so for every ordered comparison of floats."""
    x, y = match.inputs
    if x.op is not ops.neg or y.op is not ops.neg or not x.dtype.is_floating:
        return None
    return alike(match, match.node.op(y.inputs[0], x.inputs[0]))


RULES: tuple[Rule, ...] = (
    *(compared_constants_right, neutral_truth, absorbing_truth, same_twice, differs_from_true),
    *(compare_truth, de_morgan, contradiction, not_equal_instead, differs_from_itself),
    *(compare_with_itself, integers_are_finite, signs_are_finite, unsigned_below_zero),
    *(truth_of_cast_truth, where_of_constant, where_equal_arms, where_not, where_of_where),
    *(where_true_or_false, where_false_or_true, where_of_alike, compare_negatives),
)
FAST_RULES: tuple[Rule, ...] = ()
