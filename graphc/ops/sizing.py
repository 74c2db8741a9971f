"""Sizes as values: the shape, rank and number of elements of a tensor, for arithmetic in the graph."""

from __future__ import annotations

import numpy as np

from graphc import sizes
from graphc.attributes import Shape
from graphc.op import op
from graphc.tensor import Tensor
from graphc.types import INT64, TensorType


@op("sizing")
def shape(x: Tensor) -> TensorType:
    """The sizes of `x` as int64.

    Shapes: ``[...] -> [rank]``.
    """
    return TensorType(INT64, (len(x.result.sizes),))


shape.evaluate(lambda x: np.array(x.shape, np.int64))
shape.gradient(None)
shape.example("f64[2,0,3]", smooth=False)
shape.example("i32[]")


@op("sizing")
def rank(x: Tensor) -> TensorType:
    """The number of axes of `x` as int64.

    Shapes: ``[...] -> []``.
    """
    return TensorType(INT64, ())


rank.evaluate(lambda x: np.int64(x.ndim))
rank.gradient(None)
rank.example("f64[2,3]", smooth=False)


@op("sizing")
def size(x: Tensor) -> TensorType:
    """The number of elements of `x` as int64.

    Shapes: ``[...] -> []``.
    Raises: ShapeError where there are more than that.
    """
    sizes.require_countable(x.result.shape or ())
    return TensorType(INT64, ())


size.evaluate(lambda x: np.int64(x.size))
size.gradient(None)
size.example("f64[2,3]", smooth=False)
size.example("f32[0,3]")


@op("sizing")
def element_count(*witnesses: Tensor, shape: Shape) -> TensorType:
    """The number of elements that `shape` holds, as int64; `witnesses` bind sizes in it.

    Shapes: ``-> []``.
    Raises: ShapeError where there are more than that.
    """
    sizes.require_countable(shape)
    return TensorType(INT64, ())


element_count.evaluate(lambda *_, shape: np.int64(sizes.count(shape)))
element_count.gradient(None)
element_count.example(shape=(3, 4))
element_count.example(shape=())
