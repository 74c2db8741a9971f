"""Attention, and the rows of a table."""

from __future__ import annotations

import math
from typing import Any

from graphc import sizes
from graphc.conversion import as_tensor, promoted
from graphc.errors import DTypeError, ShapeError
from graphc.explanation import explains
from graphc.nn.activation import named, softmax
from graphc.ops import (
    cast,
    einsum,
    element_count,
    expand_dims,
    gather,
    greater_equal,
    iota,
    logical_and,
    rsqrt,
    where,
)
from graphc.ops.movement import of_size
from graphc.sizes import Size
from graphc.tensor import Tensor
from graphc.types import BOOL


@explains
def dot_product_attention(
    q: Any,
    k: Any,
    v: Any,
    causal: bool = False,
    mask: Any = None,
    scale: Any = None,
    name: str | None = None,
) -> Tensor:
    """``softmax(q k^T * scale) v``: each query's mean of the values, weighed by its match with the keys.

    Args:
        q: queries.
        k: keys, as many as values.
        v: values.
        causal: query i sees the keys 0 to i only.
        mask: bool, broadcast to ``[..., queries, keys]``; True where a query may see a key. A query that
            sees none gives zeros.
        scale: None is ``1 / sqrt(depth)``.
        name: the name of the result.

    Shapes: ``[..., m, depth], [..., n, depth], [..., n, width] -> [..., m, width]``.

    Raises: ShapeError for sizes that differ; DTypeError for a mask that is not bool.

    Source: Vaswani et al., "Attention is all you need", NIPS 2017.
    """
    q, k, v = promoted((q, k, v))
    for what, x in (("q", q), ("k", k), ("v", v)):
        if len(x.result.sizes) < 2:
            raise ShapeError(f"dot_product_attention: {what} is [..., length, depth], not {x.type}")
        if not x.dtype.is_floating:
            raise DTypeError(f"dot_product_attention: {what} is a float, not {x.type}")
    for what, x, y, axis in (("depth", q, k, -1), ("length", k, v, -2)):
        if sizes.meet(x.result.sizes[axis], y.result.sizes[axis]) is None:
            raise ShapeError(f"dot_product_attention: {x.type} and {y.type} differ in {what}")
    k = of_size(k, -1, q.result.sizes[-1])
    v = of_size(v, -2, k.result.sizes[-2])
    scores = einsum("...md,...nd->...mn", q, k) * (_root(q) if scale is None else scale)
    seen = _seen(causal, mask, q.result.sizes[-2], k.result.sizes[-2])
    if seen is not None:
        scores = where(seen, scores, -math.inf)
    return named(einsum("...mn,...nd->...md", softmax(scores), v), name)


def _root(q: Tensor) -> Any:
    depth = q.result.sizes[-1]
    if isinstance(depth, int):
        return 1 / math.sqrt(max(depth, 1))
    return rsqrt(cast(element_count(shape=(sizes.maximum(depth, 1),)), q.dtype))


def _seen(causal: bool, mask: Any, queries: Size, keys: Size) -> Tensor | None:
    """True where a query sees a key; None where every one sees all."""
    allowed = None
    if causal:
        allowed = greater_equal(expand_dims(iota(shape=(queries,)), 1), iota(shape=(keys,)))
    if mask is None:
        return allowed
    given = as_tensor(mask)
    if given.dtype is not BOOL:
        raise DTypeError(f"dot_product_attention: a mask is bool, True where seen, not {given.type}")
    return given if allowed is None else logical_and(given, allowed)


@explains
def embedding(table: Any, ids: Any, name: str | None = None) -> Tensor:
    """The rows of `table` that the integers `ids` number.

    Shapes: ``[n, depth], [...] -> [..., depth]``.

    Raises: IndexOutOfRangeError at the run.
    """
    return gather(table, ids, axis=0, name=name)
