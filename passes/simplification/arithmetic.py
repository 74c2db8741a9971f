"""Rules of arithmetic: identities of sums, products, quotients and powers."""

from __future__ import annotations

from graphc import ops
from graphc.tensor import Tensor
from passes.rewrite import Match, Rule, rule
from passes.simplification.matching import is_number, number


@rule(ops.add, ops.mul, ops.maximum, ops.minimum)
def constants_right(match: Match) -> Tensor | None:
    """``c + x -> x + c``, and so for every op whose operands may change places."""
    x, y = match.inputs
    if number(x) is not None and number(y) is None:
        return match.node.op(y, x)
    return None


@rule(ops.mul)
def multiply_by_one(match: Match) -> Tensor | None:
    """``x * 1 -> x``."""
    x, one = match.inputs
    if is_number(one, 1) and x.type == match.node.type:
        return x
    return None


@rule(ops.neg)
def negate_twice(match: Match) -> Tensor | None:
    """``-(-x) -> x``."""
    (inner,) = match.inputs
    return inner.inputs[0] if inner.op is ops.neg else None


RULES: tuple[Rule, ...] = (constants_right, multiply_by_one, negate_twice)
FAST_RULES: tuple[Rule, ...] = ()
