"""Rules of reductions: over axes of size 1, over what repeats, twice, of what only moves."""

from __future__ import annotations

from typing import Any

from graphc import ops
from graphc.sizes import product
from graphc.tensor import Tensor
from graphc.types import FLOAT32, FLOAT64
from passes.match import is_certain
from passes.rewrite import Match, Rule, rule
from passes.simplification.matching import alike, constant_operand, like, number, scalar
from passes.simplification.vocabulary import broadcast_to, expand_dims, reshape, squeeze

_CHOICES = (ops.max, ops.min, ops.any, ops.all)  # whose result is one of the elements
_SUMS = (ops.sum, ops.mean)


def _shaped(made: Tensor, node: Tensor) -> Tensor:
    """`made` in the shape of `node`, of as many elements."""
    shape = node.result.sizes
    return made if made.result.sizes == shape else reshape(made, shape=shape)


def _kept_shape(node: Tensor) -> tuple[Any, ...]:
    """The shape of the reduction `node` with its axes of size 1."""
    axis = node.attrs["axis"]
    return tuple(1 if i in axis else size for i, size in enumerate(node.inputs[0].result.sizes))


def _over_ones(match: Match) -> Tensor | None:
    (x,) = match.inputs
    if x.dtype is not match.node.dtype or any(x.result.sizes[i] != 1 for i in match.attrs["axis"]):
        return None
    return _shaped(x, match.node)


@rule(*_CHOICES, ops.sum)
def reduce_ones(match: Match) -> Tensor | None:
    """``max(x) -> reshape(x)`` over axes of size 1, and so for `min`, `any`, `all`, `sum` of integers."""
    return None if match.node.op is ops.sum and match.node.dtype.is_floating else _over_ones(match)


@rule(*_CHOICES, ops.sum, of=(*_CHOICES, ops.sum))
def reduce_twice(match: Match) -> Tensor | None:
    """``max(max(x, i), j) -> max(x, i + j)``, and so for `min`, `any`, `all`, `sum` of integers."""
    return None if match.node.op is ops.sum and match.node.dtype.is_floating else _merged(match)


def _merged(match: Match) -> Tensor | None:
    (inner,) = match.inputs
    if inner.op is not match.node.op or not match.used_once(inner):
        return None
    if inner.attrs.get("empty") != match.attrs.get("empty"):
        return None
    x, first = inner.inputs[0], inner.attrs["axis"]
    rank = len(x.result.sizes)
    left = range(rank) if inner.attrs["keepdims"] else [i for i in range(rank) if i not in first]
    axes = tuple(sorted({*first, *(left[i] for i in match.attrs["axis"])}))
    return _shaped(match.node.op(x, **{**match.attrs, "axis": axes, "keepdims": False}), match.node)


@rule(*_CHOICES, *_SUMS, of=(ops.transpose,))
def reduce_transposed(match: Match) -> Tensor | None:
    """``sum(transpose(x, p), i) -> transpose(sum(x, p[i]), q)``, and so for every reduction."""
    (inner,) = match.inputs
    if inner.op is not ops.transpose:
        return None
    axes, reduced = inner.attrs["axes"], match.attrs["axis"]
    over = tuple(sorted(axes[i] for i in reduced))
    made = match.node.op(inner.inputs[0], **{**match.attrs, "axis": over})
    if match.attrs["keepdims"]:
        return ops.transpose(made, axes=axes)
    kept = [axes[i] for i in range(len(axes)) if i not in reduced]
    return ops.transpose(made, axes=tuple(sorted(kept).index(i) for i in kept)) if kept else made


def _repeated(match: Match) -> tuple[Tensor, int] | None:
    """What the node reduces repeats of, in the shape of the result, and how many there are of each."""
    node, (inner,) = match.node, match.inputs
    if inner.op is not broadcast_to or not is_certain(inner):
        return None
    x, whole = inner.inputs[0], inner.result.sizes
    lead = len(whole) - len(x.result.sizes)
    count = 1
    for i in match.attrs["axis"]:
        size = whole[i]
        if not isinstance(size, int) or size < 1 or (i >= lead and x.result.sizes[i - lead] != 1):
            return None
        count *= size
    return _shaped(broadcast_to(x, shape=_kept_shape(node)), node), count


@rule(*_CHOICES, of=(broadcast_to,))
def choose_among_repeated(match: Match) -> Tensor | None:
    """``max(broadcast_to(x, s)) -> x`` over axes that repeat, and so for `min`, `any`, `all`."""
    found = _repeated(match)
    return None if found is None else found[0]


@rule(ops.sum, of=(broadcast_to,), integers=True)
def sum_repeated(match: Match) -> Tensor | None:
    """``sum(broadcast_to(x, s)) -> x * n`` over axes that repeat n times, of integers."""
    if match.node.dtype.is_floating:
        return None
    found = _repeated(match)
    if found is None:
        return None
    x, count = found
    wide = x if x.dtype is match.node.dtype else ops.cast(x, match.node.dtype)
    return ops.mul(wide, scalar(count, wide.dtype))


@rule(ops.sum, of=(ops.neg,), integers=True)
def sum_of_negatives(match: Match) -> Tensor | None:
    """``sum(-x) -> -sum(x)``, of integers that a sum does not widen."""
    (made,) = match.inputs
    if made.op is not ops.neg or made.dtype is not match.node.dtype or made.dtype.is_floating:
        return None
    return ops.neg(ops.sum(made.inputs[0], **match.attrs)) if match.used_once(made) else None


@rule(ops.sum, of=(ops.mul,), integers=True)
def sum_of_scaled(match: Match) -> Tensor | None:
    """``sum(x * c) -> sum(x) * c``, of integers that a sum does not widen."""
    made = match.inputs[0]
    return None if made.dtype.is_floating or made.dtype is not match.node.dtype else _scaled(match)


def _scaled(match: Match) -> Tensor | None:
    (made,) = match.inputs
    if made.op is not ops.mul or not match.used_once(made):
        return None
    value = constant_operand(made)
    if value is None or made.inputs[0].type != made.type:
        return None
    return ops.mul(ops.sum(made.inputs[0], **match.attrs), scalar(value, made.dtype))


@rule(ops.sum, of=(ops.embed,), integers=True)
def sum_of_embedded(match: Match) -> Tensor | None:
    """``sum(embed(x, s)) -> sum(x)`` over all axes, of integers."""
    (made,) = match.inputs
    if made.op is not ops.embed or made.dtype.is_floating or not is_certain(made):
        return None
    if len(match.attrs["axis"]) != len(made.result.sizes):
        return None
    return ops.sum(made.inputs[0], **match.attrs)


@rule(ops.any, ops.all, of=(ops.logical_not,))
def negation_outside(match: Match) -> Tensor | None:
    """``any(!x) -> !all(x)``, and ``all(!x) -> !any(x)``."""
    (made,) = match.inputs
    if made.op is not ops.logical_not or not match.used_once(made):
        return None
    other = ops.all if match.node.op is ops.any else ops.any
    return ops.logical_not(other(made.inputs[0], **match.attrs))


@rule(reshape, squeeze, expand_dims, of=(*_CHOICES, *_SUMS, ops.logsumexp))
def keep_axes_at_once(match: Match) -> Tensor | None:
    """``reshape(sum(x)) -> sum(x, keepdims=True)`` where that is the shape, and back."""
    (made,) = match.inputs
    if made.op not in (*_CHOICES, *_SUMS, ops.logsumexp) or not match.used_once(made):
        return None
    flipped = made.op(made.inputs[0], **{**made.attrs, "keepdims": not made.attrs["keepdims"]})
    return alike(match, flipped) if is_certain(match.node) else None


@rule(ops.argmax, ops.argmin)
def index_of_one(match: Match) -> Tensor | None:
    """``argmax(x) -> 0`` along an axis of size 1, likewise `argmin`."""
    (x,), axis = match.inputs, match.attrs["axis"]
    if axis is None or x.result.sizes[axis] != 1 or not match.is_droppable(x):
        return None
    return like(match.node, 0)


@rule(ops.argmax, ops.argmin, of=(ops.neg,))
def index_of_negatives(match: Match) -> Tensor | None:
    """``argmax(-x) -> argmin(x)`` and back, of floats."""
    (made,) = match.inputs
    if made.op is not ops.neg or not made.dtype.is_floating:
        return None
    other = ops.argmin if match.node.op is ops.argmax else ops.argmax
    return other(made.inputs[0], **match.attrs)


# Not exact: sums in another order, or of another sign of 0.


@rule(*_SUMS)
def sum_ones_fast(match: Match) -> Tensor | None:
    """``sum(x) -> reshape(x)`` and ``mean(x) -> reshape(x)`` over axes of size 1; a sum has no -0.0."""
    return _over_ones(match)


@rule(ops.sum, of=(ops.sum,))
def sum_twice_fast(match: Match) -> Tensor | None:
    """``sum(sum(x, i), j) -> sum(x, i + j)``."""
    return _merged(match)


@rule(*_SUMS, of=(broadcast_to,))
def sum_repeated_fast(match: Match) -> Tensor | None:
    """``sum(broadcast_to(x, s)) -> x * n`` and ``mean(broadcast_to(x, s)) -> x`` over axes that repeat."""
    found = _repeated(match)
    if found is None or found[0].dtype is not match.node.dtype or not match.node.dtype.is_floating:
        return None
    x, count = found
    return x if match.node.op is ops.mean else ops.mul(x, scalar(count, x.dtype))


@rule(*_SUMS, of=(ops.neg,))
def sum_of_negatives_fast(match: Match) -> Tensor | None:
    """``sum(-x) -> -sum(x)``, and so for `mean`."""
    (made,) = match.inputs
    if made.op is not ops.neg or not made.dtype.is_floating or not match.used_once(made):
        return None
    return ops.neg(match.node.op(made.inputs[0], **match.attrs))


@rule(ops.sum, of=(ops.mul,))
def sum_of_scaled_fast(match: Match) -> Tensor | None:
    """``sum(x * c) -> sum(x) * c``."""
    return _scaled(match) if match.node.dtype.is_floating else None


@rule(ops.mul, ops.div, of=(ops.sum,))
def mean_fast(match: Match) -> Tensor | None:
    """``sum(x) / n -> mean(x)`` where n elements are added, also as ``sum(x) * (1 / n)``."""
    total, factor = match.inputs
    if total.op is not ops.sum or total.type != match.node.type or not match.used_once(total):
        return None
    x, value = total.inputs[0], number(factor)
    count = product(x.result.sizes[i] for i in total.attrs["axis"])
    if total.dtype not in (FLOAT32, FLOAT64) or not isinstance(count, int) or count < 1 or value is None:
        return None
    same = value == count if match.node.op is ops.div else value == scalar(1 / count, x.dtype).attrs["value"]
    return ops.mean(x, **total.attrs) if same else None


RULES: tuple[Rule, ...] = (
    *(reduce_ones, reduce_twice, reduce_transposed, choose_among_repeated, sum_repeated),
    *(sum_of_negatives, sum_of_scaled, sum_of_embedded, negation_outside, keep_axes_at_once),
    *(index_of_one, index_of_negatives),
)
FAST_RULES: tuple[Rule, ...] = (
    *(sum_ones_fast, sum_twice_fast, sum_repeated_fast, sum_of_negatives_fast),
    *(sum_of_scaled_fast, mean_fast),
)
