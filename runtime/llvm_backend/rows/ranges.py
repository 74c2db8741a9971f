"""Ranges: between which numbers a value lies, whatever its operands hold, as long as none is NaN.

``tanh`` lies between -1 and 1, even of an infinity. So what is computed from it by sums and products of
constants never becomes infinite, and need not be looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil, exp, floor, frexp, inf, isnan, ldexp, log, sqrt

import numpy as np

from graphc.function import Function
from graphc.sizes import product
from graphc.tensor import Tensor
from graphc.types import TensorType

Range = tuple[float, float]
ANY: Range = (-inf, inf)

_ROOM = 0.99  # of the largest number, beyond which rounding may matter
_STEP = 8  # constants are known to powers of 2**8, so that more of them share a kernel
_VIEWS = ("reshape", "transpose", "expand_dims", "squeeze", "broadcast_to", "identity", "after")
_JOINS = (*_VIEWS, "stack", "concat", "max", "min", "strided_slice", "gather")
_FIXED: Mapping[str, Range] = {
    "tanh": (-1, 1),
    "erf": (-1, 1),
    "sin": (-1, 1),
    "cos": (-1, 1),
    "sign": (-1, 1),
    "sigmoid": (0, 1),
    "erfc": (0, 2),
    "normal_cdf": (0, 1),
    "atan": (-2, 2),
}


def spread_ranges(body: Function, given: Sequence[Range]) -> dict[Tensor, Range]:
    """The range of each node of a fused `body` whose inputs have those `given`."""
    known = dict(zip(body.inputs, given, strict=True))
    for node in body.nodes():
        if node not in known:
            low, high = range_of(node, [known[x] for x in node.inputs])
            known[node] = low, min(high, 0.0) if _is_from_largest(node, known) else high
    return known


def range_of_input(node: Tensor) -> Range:
    """A range of a constant of few elements; of all else nothing is known."""
    if node.op.name != "constant" or not isinstance(node.type, TensorType):
        return ANY
    return _of_array(np.asarray(node.attrs["value"]))


def is_bounded(node: Tensor, range: Range) -> bool:
    """Whether no number of `range` is infinite in the dtype of `node`."""
    limit = _ROOM * float(np.finfo(node.dtype.numpy).max) if node.dtype.is_floating else inf
    return -limit < range[0] and range[1] < limit


def is_share(node: Tensor, ranges: Mapping[Tensor, Range]) -> bool:
    """Whether `node` is ``x / where(sum(x) == 0, c, sum(x))`` of an x that is not negative: at most 1."""
    if node.op.name != "div":
        return False
    x, divisor = _below(node.inputs[0]), _below(node.inputs[1])
    if divisor.op.name != "where" or ranges[x][0] < 0:
        return False
    test, other, total = divisor.inputs
    if test.op.name != "equal" or test.inputs[0] is not total or ranges[test.inputs[1]] != (0, 0):
        return False
    is_total = total.op.name == "sum" and _below(total.inputs[0]) is x
    return is_total and (ranges[other][0] > 0 or ranges[other][1] < 0)


def _is_from_largest(node: Tensor, ranges: Mapping[Tensor, Range]) -> bool:
    """Whether `node` is ``x - max(x)``, or ``x - where(max(x) == -inf, c, max(x))``."""
    if node.op.name != "sub":
        return False
    x, largest = map(_below, node.inputs)
    if largest.op.name == "where":
        test, _, largest = largest.inputs
        if test.op.name != "equal" or test.inputs[0] is not largest or ranges[test.inputs[1]][1] > -inf:
            return False
    return largest.op.name == "max" and _below(largest.inputs[0]) is x


def _below(node: Tensor) -> Tensor:
    while node.op.name in _VIEWS:
        node = node.inputs[0]
    return node


def range_of(node: Tensor, given: Sequence[Range]) -> Range:
    """The range of `node`, whose operands have those `given`."""
    name = node.op.name
    if name == "constant":
        return range_of_input(node)
    if not isinstance(node.type, TensorType) or not node.dtype.is_floating:
        return ANY
    if name in _FIXED:
        return _FIXED[name]
    if name in _JOINS:
        return min(low for low, _ in given), max(high for _, high in given)
    if name == "where":
        return min(given[1][0], given[2][0]), max(given[1][1], given[2][1])
    if name == "cast":
        return given[0] if node.inputs[0].dtype.is_floating else ANY
    if name == "mul":
        x, y = node.inputs
        if x is y:
            return _square(given[0])
        if _is_opposite(x, y) or _is_opposite(y, x):
            low, high = _square(given[0])
            return -high, -low
    if name == "mean":
        return (0, inf) if given[0][0] >= 0 else ANY  # of nothing it is NaN
    if name == "sum":
        sizes = node.inputs[0].result.sizes
        count = product([sizes[i] for i in node.attrs["axis"]])
        many = max(count, 1) if isinstance(count, int) else _MANY
        return min(given[0][0] * many, 0.0), max(given[0][1] * many, 0.0)
    rule = _RULES.get(name)
    if rule is None:
        return ANY
    low, high = rule(*given)
    return (-inf if isnan(low) else low, inf if isnan(high) else high)


def _is_opposite(x: Tensor, y: Tensor) -> bool:
    return x.op.name == "neg" and x.inputs[0] is y


def _product(x: Range, y: Range) -> Range:
    found = [0.0 if isnan(a * b) else a * b for a in x for b in y]
    return min(found), max(found)


def _square(x: Range) -> Range:
    low, high = _product(x, x)
    return max(low, 0.0), high


def _quotient(x: Range, y: Range) -> Range:
    if y[0] <= 0 <= y[1]:
        return ANY
    low, high = sorted((1 / y[0], 1 / y[1]))
    return _product(x, (low, high))


def _rising(function: Callable[[float], float], begin: float = -inf) -> Callable[[Range], Range]:
    """A function that rises from `begin` on, and is not defined below."""

    def apply(x: Range) -> Range:
        return (_at(function, x[0]), _at(function, x[1])) if x[0] >= begin else ANY

    return apply


def _at(function: Callable[[float], float], x: float) -> float:
    try:
        return function(x)
    except OverflowError:
        return inf
    except ValueError:  # the logarithm of 0
        return -inf


_RULES: Mapping[str, Callable[..., Range]] = {
    "add": lambda x, y: (x[0] + y[0], x[1] + y[1]),
    "sub": lambda x, y: (x[0] - y[1], x[1] - y[0]),
    "mul": _product,
    "div": _quotient,
    "neg": lambda x: (-x[1], -x[0]),
    "square": _square,
    "abs": lambda x: (max(x[0], -x[1], 0.0), max(-x[0], x[1])),
    "relu": lambda x: (max(x[0], 0.0), max(x[1], 0.0)),
    "maximum": lambda x, y: (max(x[0], y[0]), max(x[1], y[1])),
    "minimum": lambda x, y: (min(x[0], y[0]), min(x[1], y[1])),
    "reciprocal": lambda x: _quotient((1.0, 1.0), x),
    "exp": _rising(exp),
    "log": _rising(log, 0.0),
    "sqrt": _rising(sqrt, 0.0),
    "rsqrt": lambda x: _quotient((1.0, 1.0), _rising(sqrt, 0.0)(x)),
}


def _of_array(value: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> Range:
    if value.size == 0 or value.size > _MOST or value.dtype.kind not in "fiu":
        return ANY
    if value.dtype.kind == "f" and (value == -inf).all():
        return -inf, -inf
    if not np.isfinite(value).all():
        return ANY
    low, high = float(value.min()), float(value.max())
    return -_up(-low) if low < 0 else _down(low), _up(high) if high > 0 else -_down(-high)


_MOST = 64  # elements of a constant that is looked at
_MANY = 1 << 48  # elements that no array has


def _up(x: float) -> float:
    """The next power of two of those that are told apart, for a positive number."""
    fraction, exponent = frexp(x)
    exponent -= fraction == 0.5
    return ldexp(1.0, ceil(exponent / _STEP) * _STEP)


def _down(x: float) -> float:
    """The last one, 0 for 0."""
    return ldexp(1.0, floor((frexp(x)[1] - 1) / _STEP) * _STEP) if x else 0.0
