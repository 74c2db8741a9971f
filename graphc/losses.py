"""Losses: how far predictions are from the truth. All arguments are given by name.

Cross-entropies give one value per example (or per element); the others are means, which are scalars.
"""

from __future__ import annotations

from typing import Any

from graphc.conversion import as_tensor, promoted
from graphc.errors import DTypeError, ShapeError
from graphc.explanation import explains
from graphc.nn.activation import log_softmax, named
from graphc.ops import (
    abs,
    cast,
    greater_equal,
    guarded_multiply,
    less_equal,
    log,
    mean,
    neg,
    relu,
    rsqrt,
    softplus,
    square,
    squeeze,
    sum,
    where,
)
from graphc.ops.label import pick_class
from graphc.tensor import Tensor
from graphc.types import broadcast


def _scores(function: str, logits: Any) -> Tensor:
    tensor = as_tensor(logits)
    if not tensor.dtype.is_floating:
        raise DTypeError(f"{function}: logits are floats, not {tensor.type}")
    if tensor.result.shape == ():
        raise ShapeError(f"{function}: logits have a last axis of classes, and {tensor.type} has none")
    return tensor


def _like(labels: Any, reference: Tensor) -> Tensor:
    """`labels` in the dtype of `reference`: truth often comes as integers, bool or Python numbers."""
    tensor = as_tensor(labels)
    if not tensor.dtype.is_floating:
        return cast(tensor, reference.dtype)
    return promoted((labels, reference))[0]


@explains
def softmax_cross_entropy(*, labels: Any, logits: Any, name: str | None = None) -> Tensor:
    """``-sum(labels * log(softmax(logits)))`` over the last axis; the labels are probabilities.

    A class of probability 0 costs nothing, whatever its logit.

    Shapes: ``[..., classes], [..., classes] -> [...]``.

    Raises: ShapeError for shapes that do not broadcast; DTypeError unless the logits are floats.
    """
    logits = _scores("softmax_cross_entropy", logits)
    labels = _like(labels, logits)
    try:
        broadcast(labels.result, logits.result)
    except ShapeError:
        raise ShapeError(
            f"softmax_cross_entropy: labels {labels.type} do not fit logits {logits.type}"
        ) from None
    return named(sum(guarded_multiply(labels, neg(log_softmax(logits))), axis=-1), name)


@explains
def sparse_softmax_cross_entropy(*, labels: Any, logits: Any, name: str | None = None) -> Tensor:
    """``-log(softmax(logits))`` of the class that each label numbers, from 0.

    Shapes: ``[...], [..., classes] -> [...]``.

    Raises: ShapeError where the labels do not have the shape of the logits without their last axis;
        DTypeError unless the labels are integers; IndexOutOfRangeError at the run for a label that
        numbers no class.
    """
    logits = _scores("sparse_softmax_cross_entropy", logits)
    return named(neg(pick_class(log_softmax(logits), labels)), name)


@explains
def sigmoid_cross_entropy(*, labels: Any, logits: Any, name: str | None = None) -> Tensor:
    """``-labels * log(sigmoid(logits)) - (1 - labels) * log(1 - sigmoid(logits))``, for each element.

    It is ``softplus(x) - labels * x``, and ``softplus(-x) + (1 - labels) * x`` where x >= 0, which is
    the same without loss of digits.

    Shapes: ``[...], [...] -> [...]``, broadcast.
    """
    logits = as_tensor(logits)
    if not logits.dtype.is_floating:
        raise DTypeError(f"sigmoid_cross_entropy: logits are floats, not {logits.type}")
    labels = _like(labels, logits)
    right = softplus(-logits) + (1 - labels) * logits
    left = softplus(logits) - labels * logits
    return where(greater_equal(logits, 0), right, left, name=name)


def _difference(labels: Any, predictions: Any) -> Tensor:
    given = as_tensor(predictions)
    if not given.dtype.is_floating:
        raise DTypeError(f"a loss: predictions are floats, not {given.type}")
    return given - _like(labels, given)


@explains
def mean_squared_error(*, labels: Any, predictions: Any, name: str | None = None) -> Tensor:
    """``mean((predictions - labels) ** 2)`` over all elements.

    Shapes: ``[...], [...] -> []``, broadcast.
    """
    return mean(square(_difference(labels, predictions)), name=name)


@explains
def absolute_difference(*, labels: Any, predictions: Any, name: str | None = None) -> Tensor:
    """``mean(|predictions - labels|)`` over all elements.

    Shapes: ``[...], [...] -> []``, broadcast.
    """
    return mean(abs(_difference(labels, predictions)), name=name)


@explains
def huber(*, labels: Any, predictions: Any, delta: float = 1.0, name: str | None = None) -> Tensor:
    """The mean of ``d ** 2 / 2`` where ``|d| <= delta``, else ``delta * (|d| - delta / 2)``.

    Shapes: ``[...], [...] -> []``, broadcast.
    """
    d = _difference(labels, predictions)
    size = abs(d)
    return mean(where(less_equal(size, delta), square(d) * 0.5, (size - delta / 2) * delta), name=name)


@explains
def hinge(*, labels: Any, logits: Any, name: str | None = None) -> Tensor:
    """``mean(max(0, 1 - (2 * labels - 1) * logits))``; labels are 0 or 1.

    Shapes: ``[...], [...] -> []``, broadcast.
    """
    logits = as_tensor(logits)
    return mean(relu(1 - (_like(labels, logits) * 2 - 1) * logits), name=name)


@explains
def kl_divergence(*, labels: Any, predictions: Any, name: str | None = None) -> Tensor:
    """``sum(labels * log(labels / predictions))`` over the last axis, of probabilities.

    A class of probability 0 among the labels adds nothing.

    Shapes: ``[..., classes], [..., classes] -> [...]``.
    """
    predictions = as_tensor(predictions)
    labels = _like(labels, predictions)
    return named(sum(guarded_multiply(labels, log(labels) - log(predictions)), axis=-1), name)


@explains
def cosine_distance(
    *, labels: Any, predictions: Any, axis: int = -1, eps: float = 1e-12, name: str | None = None
) -> Tensor:
    """``1 - cos(angle)`` of the vectors along `axis`; `eps` is the least squared length.

    Shapes: ``[..., n], [..., n] -> [...]``.
    """
    x, y = promoted((labels, predictions))
    lengths = [
        where(less_equal(s, eps), eps, s) for s in (sum(square(v), axis=axis, keepdims=True) for v in (x, y))
    ]
    cosine = sum(x * y, axis=axis, keepdims=True) * rsqrt(lengths[0]) * rsqrt(lengths[1])
    return named(1 - squeeze(cosine, axis), name)
