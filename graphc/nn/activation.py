"""Activations. All keep the shape and dtype of their operand, which is a float."""

from __future__ import annotations

import math
from typing import Any

from graphc.conversion import as_tensor
from graphc.errors import DTypeError
from graphc.explanation import explains
from graphc.ops import (
    abs,
    equal,
    exp,
    expm1,
    greater,
    identity,
    log,
    max,
    minimum,
    normal_cdf,
    relu,
    sigmoid,
    stop_gradient,
    sum,
    where,
)
from graphc.tensor import Tensor


def _floating(function: str, x: Any) -> Tensor:
    """`x` as a tensor. Raises: DTypeError unless it is a float."""
    tensor = as_tensor(x)
    if not tensor.dtype.is_floating:
        raise DTypeError(f"{function}: a float is wanted, not {tensor.type}: cast it")
    return tensor


def named(x: Tensor, name: str | None) -> Tensor:
    """`x` under `name`, if there is one."""
    return x if name is None else identity(x, name=name)


@explains
def relu6(x: Any, name: str | None = None) -> Tensor:
    """``min(max(x, 0), 6)``.

    Shapes: ``[...] -> [...]``.
    """
    return minimum(relu(_floating("relu6", x)), 6, name=name)


@explains
def leaky_relu(x: Any, slope: float = 0.2, name: str | None = None) -> Tensor:
    """`x` where it is positive, ``slope * x`` elsewhere; the slope at 0 is `slope`.

    Shapes: ``[...] -> [...]``.
    """
    x = _floating("leaky_relu", x)
    return where(greater(x, 0), x, x * slope, name=name)


@explains
def elu(x: Any, alpha: float = 1.0, name: str | None = None) -> Tensor:
    """`x` where it is positive, ``alpha * (exp(x) - 1)`` elsewhere.

    Shapes: ``[...] -> [...]``.

    Source: Clevert, Unterthiner, Hochreiter, "Fast and accurate deep network learning by exponential
    linear units", ICLR 2016.
    """
    x = _floating("elu", x)
    return where(greater(x, 0), x, expm1(minimum(x, 0)) * alpha, name=name)


_SELU_ALPHA = 1.6732632423543772848170429916717
_SELU_SCALE = 1.0507009873554804934193349852946


@explains
def selu(x: Any, name: str | None = None) -> Tensor:
    """The self-normalizing `elu`: ``1.0507 * elu(x, 1.6733)``.

    Shapes: ``[...] -> [...]``.

    Source: Klambauer, Unterthiner, Mayr, Hochreiter, "Self-normalizing neural networks", NIPS 2017.
    """
    return named(elu(x, _SELU_ALPHA) * _SELU_SCALE, name)


@explains
def gelu(x: Any, name: str | None = None) -> Tensor:
    """``x * P(X <= x)`` of a standard normal X, exactly.

    Shapes: ``[...] -> [...]``.

    Source: Hendrycks, Gimpel, "Gaussian error linear units", arXiv 1606.08415.
    """
    x = _floating("gelu", x)
    return named(x * normal_cdf(x), name)


@explains
def silu(x: Any, name: str | None = None) -> Tensor:
    """``x * sigmoid(x)``, also called swish.

    Shapes: ``[...] -> [...]``.
    """
    x = _floating("silu", x)
    return named(x * sigmoid(x), name)


@explains
def softsign(x: Any, name: str | None = None) -> Tensor:
    """``x / (1 + |x|)``.

    Shapes: ``[...] -> [...]``.
    """
    x = _floating("softsign", x)
    return named(x / (abs(x) + 1), name)


def _shifted(x: Tensor, axis: Any) -> tuple[Tensor, Tensor]:
    """`x` less its maximum over `axis`, and the sum of the exponentials of that.

    A row that is -inf throughout stays so, and its sum is given as 1: exponentials over the sum are 0
    there, and no slope is NaN.
    """
    top = stop_gradient(max(x, axis=axis, keepdims=True, empty=-math.inf))
    rest = x - where(equal(top, -math.inf), 0, top)
    total = sum(exp(rest), axis=axis, keepdims=True)
    return rest, where(equal(total, 0), 1, total)


@explains
def softmax(x: Any, axis: Any = -1, name: str | None = None) -> Tensor:
    """``exp(x) / sum(exp(x))`` over `axis`, stable for large `x`; a row of -inf gives zeros.

    Shapes: ``[...] -> [...]``.
    """
    rest, total = _shifted(_floating("softmax", x), axis)
    return named(exp(rest) / total, name)


@explains
def log_softmax(x: Any, axis: Any = -1, name: str | None = None) -> Tensor:
    """``x - log(sum(exp(x)))`` over `axis`, stable for large `x`; a row of -inf stays so.

    Shapes: ``[...] -> [...]``.
    """
    rest, total = _shifted(_floating("log_softmax", x), axis)
    return named(rest - log(total), name)
