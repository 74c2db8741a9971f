"""Filling: tensors of one number, which need no data: `full`, `zeros`, `ones`, also like another tensor."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc import sizes
from graphc.conversion import as_tensor
from graphc.errors import ShapeError
from graphc.explanation import explains
from graphc.op import op
from graphc.ops import sizing
from graphc.ops.movement import broadcast_to
from graphc.ops.source import constant
from graphc.tensor import Tensor
from graphc.types import TensorType, as_dtype


@explains
def full(shape: Any, value: Any, dtype: Any = None, name: str | None = None) -> Tensor:
    """`value`, a scalar or what broadcasts, in every place of `shape`; nothing is stored for it.

    Shapes: ``-> shape``; sizes may be tensors, as may the whole shape.
    """
    return broadcast_to(as_tensor(value, dtype), shape, name=name)


@explains
def zeros(shape: Any, dtype: Any = "float32", name: str | None = None) -> Tensor:
    """Zeros (False for bool).

    Shapes: ``-> shape``; sizes may be tensors, as may the whole shape.
    """
    return full(shape, _scalar(0, dtype), name=name)


@explains
def ones(shape: Any, dtype: Any = "float32", name: str | None = None) -> Tensor:
    """Ones (True for bool).

    Shapes: ``-> shape``; sizes may be tensors, as may the whole shape.
    """
    return full(shape, _scalar(1, dtype), name=name)


def _scalar(value: int, dtype: Any) -> Tensor:
    held = as_dtype(dtype)
    return constant(np.array(value, held.numpy), held)


@op("movement")
def filled_like(x: Tensor, value: Tensor) -> TensorType:
    """The scalar `value` in every place of the shape of `x`.

    Shapes: ``[...], [] -> [...]``.
    Raises: ShapeError where `value` is no scalar.
    """
    if value.result.sizes != ():
        raise ShapeError(f"a scalar fills a shape, not {value.result}")
    return TensorType(value.dtype, x.result.shape)


filled_like.evaluate(lambda x, value: np.broadcast_to(value, x.shape))
filled_like.gradient(lambda g, out, x, value: (None, g))
filled_like.example("i32[2,3]", "f64[]")
filled_like.example("f32[0]", "f32[]")
filled_like.example("bool[1]", "i64[]")


@explains
def full_like(x: Any, value: Any, dtype: Any = None, name: str | None = None) -> Tensor:
    """`value`, a scalar or what broadcasts, in the shape of `x`, as `dtype` (None: that of `x`).

    Shapes: ``[...] -> [...]``.

    Raises: ShapeError where `value` does not broadcast to that shape, or is no scalar where the rank of
        `x` is unknown.
    """
    x = as_tensor(x)
    return _filled(x, as_tensor(value, x.dtype if dtype is None else dtype), name)


@explains
def zeros_like(x: Any, dtype: Any = None, name: str | None = None) -> Tensor:
    """Zeros of the shape of `x`, as `dtype` (None: that of `x`).

    Shapes: ``[...] -> [...]``.
    """
    x = as_tensor(x)
    return _filled(x, _scalar(0, x.dtype if dtype is None else dtype), name)


@explains
def ones_like(x: Any, dtype: Any = None, name: str | None = None) -> Tensor:
    """Ones of the shape of `x`, as `dtype` (None: that of `x`).

    Shapes: ``[...] -> [...]``.
    """
    x = as_tensor(x)
    return _filled(x, _scalar(1, x.dtype if dtype is None else dtype), name)


def _filled(x: Tensor, value: Tensor, name: str | None) -> Tensor:
    """`value` everywhere in the shape of `x`, asked for it only if that may be larger than it says."""
    own = x.result.shape
    if own is None:
        return filled_like(x, value, name=name)
    if not any(sizes.may_broadcast(size) for size in own):
        return broadcast_to(value, own, name=name)
    if value.result.shape == ():
        return filled_like(x, value, name=name)
    return broadcast_to(value, sizing.shape(x), name=name)
