"""Rules of roots, powers, exponentials and logarithms that round differently: none of them is exact."""

from __future__ import annotations

from graphc import ops
from graphc.op import Op
from graphc.tensor import Tensor
from passes.rewrite import Match, Rule, rule
from passes.simplification.matching import NUMBERS, alike, fits, is_number, number

_INVERSES: dict[Op, Op] = {ops.exp: ops.log, ops.log: ops.exp, ops.expm1: ops.log1p, ops.log1p: ops.expm1}


@rule(*_INVERSES, of=tuple(_INVERSES))
def inverse_functions(match: Match) -> Tensor | None:
    """``exp(log(x)) -> x`` and ``log(exp(x)) -> x``, likewise `expm1` and `log1p`."""
    (made,) = match.inputs
    if made.op is not _INVERSES[match.node.op] or made.inputs[0].type != match.node.type:
        return None
    return made.inputs[0]


@rule(ops.sqrt, of=(ops.square,))
def root_of_square(match: Match) -> Tensor | None:
    """``sqrt(square(x)) -> abs(x)``."""
    (made,) = match.inputs
    return ops.abs(made.inputs[0]) if made.op is ops.square and made.dtype.is_floating else None


@rule(ops.square, of=(ops.sqrt,))
def square_of_root(match: Match) -> Tensor | None:
    """``square(sqrt(x)) -> x``."""
    (made,) = match.inputs
    if made.op is not ops.sqrt or made.inputs[0].type != match.node.type:
        return None
    return made.inputs[0]


@rule(ops.power, of=NUMBERS)
def power_of_few(match: Match) -> Tensor | None:
    """``x ** 3 -> x * x * x``, ``x ** 4 -> square(square(x))``, ``x ** -1 -> 1 / x``, of floats."""
    x, exponent = match.inputs
    value = number(exponent)
    if value not in (-1, 3, 4) or x.type != match.node.type or not x.dtype.is_floating:
        return None
    if value == -1:
        return ops.reciprocal(x)
    return ops.mul(ops.square(x), x) if value == 3 else ops.square(ops.square(x))


@rule(ops.power, of=NUMBERS)
def power_of_half(match: Match) -> Tensor | None:
    """``x ** 0.5 -> sqrt(x)``, and ``x ** -0.5 -> rsqrt(x)``."""
    x, exponent = match.inputs
    value = number(exponent)
    if value not in (0.5, -0.5) or x.type != match.node.type:
        return None
    return ops.sqrt(x) if value == 0.5 else ops.rsqrt(x)


@rule(ops.div, of=(ops.sqrt,))
def divide_by_root(match: Match) -> Tensor | None:
    """``x / sqrt(y) -> x * rsqrt(y)``."""
    x, root = match.inputs
    if root.op is not ops.sqrt or not match.used_once(root):
        return None
    return ops.mul(x, ops.rsqrt(root.inputs[0]))


@rule(ops.sub, of=(ops.exp,))
def exponential_less_one(match: Match) -> Tensor | None:
    """``exp(x) - 1 -> expm1(x)``."""
    made, one = match.inputs
    if made.op is not ops.exp or not is_number(one, 1) or made.type != match.node.type:
        return None
    return ops.expm1(made.inputs[0]) if match.used_once(made) else None


@rule(ops.log, of=(ops.add,))
def logarithm_of_one_more(match: Match) -> Tensor | None:
    """``log(x + 1) -> log1p(x)``."""
    (made,) = match.inputs
    if made.op is not ops.add or not is_number(made.inputs[1], 1) or not match.used_once(made):
        return None
    return alike(match, ops.log1p(made.inputs[0]))


@rule(ops.log1p, of=(ops.exp,))
def logarithm_as_softplus(match: Match) -> Tensor | None:
    """``log1p(exp(x)) -> softplus(x)``."""
    (made,) = match.inputs
    return ops.softplus(made.inputs[0]) if made.op is ops.exp and match.used_once(made) else None


@rule(ops.reciprocal, of=(ops.add,))
def reciprocal_as_sigmoid(match: Match) -> Tensor | None:
    """``1 / (exp(-x) + 1) -> sigmoid(x)``."""
    (total,) = match.inputs
    if total.op is not ops.add or not is_number(total.inputs[1], 1) or not match.used_once(total):
        return None
    made = total.inputs[0]
    if made.op is not ops.exp or made.inputs[0].op is not ops.neg:
        return None
    return alike(match, ops.sigmoid(made.inputs[0].inputs[0]))


@rule(ops.mul, of=(ops.exp,))
def product_of_exponentials(match: Match) -> Tensor | None:
    """``exp(x) * exp(y) -> exp(x + y)``."""
    x, y = match.inputs
    if x.op is not ops.exp or y.op is not ops.exp or x.inputs[0].dtype is not y.inputs[0].dtype:
        return None
    if not (match.used_once(x) and match.used_once(y)):
        return None
    return alike(match, ops.exp(ops.add(x.inputs[0], y.inputs[0])))


@rule(ops.log, of=(ops.div,))
def logarithm_of_softmax(match: Match) -> Tensor | None:
    """``log(exp(x) / t) -> x - log(t)``: of a softmax, its logarithm without underflow."""
    (made,) = match.inputs
    if made.op is not ops.div or made.inputs[0].op is not ops.exp or not match.used_once(made):
        return None
    x, total = made.inputs[0].inputs[0], made.inputs[1]
    if x.dtype is not total.dtype or not fits(total, made):
        return None
    return alike(match, ops.sub(x, ops.log(total)))


@rule(ops.log, of=(ops.sum,))
def logarithm_of_summed(match: Match) -> Tensor | None:
    """``log(sum(exp(x))) -> logsumexp(x)``."""
    (total,) = match.inputs
    if total.op is not ops.sum or total.inputs[0].op is not ops.exp:
        return None
    if not (match.used_once(total) and match.used_once(total.inputs[0])):
        return None
    return alike(match, ops.logsumexp(total.inputs[0].inputs[0], **total.attrs))


RULES: tuple[Rule, ...] = ()
FAST_RULES: tuple[Rule, ...] = (
    *(inverse_functions, root_of_square, square_of_root, power_of_few, power_of_half),
    *(divide_by_root, exponential_less_one, logarithm_of_one_more, logarithm_as_softplus),
    *(reciprocal_as_sigmoid, product_of_exponentials, logarithm_of_softmax, logarithm_of_summed),
)
