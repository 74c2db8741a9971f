"""Elementwise arithmetic and functions. Operands meet in one dtype and broadcast, as in NumPy."""

from __future__ import annotations

import numpy as np

from graphc.op import op
from graphc.tensor import Tensor
from graphc.types import DType, TensorType, broadcast


@op("elementwise")
def add(x: Tensor, y: Tensor) -> TensorType:
    """``x + y``.

    Shapes: ``[...], [...] -> [...]``, broadcast.
    """
    return TensorType(x.dtype, broadcast(x.result, y.result))


add.evaluate(np.add)
add.gradient(lambda g, out, x, y: (g, g))
add.example("f64[2,3]", "f64[3]")
add.example("i32[2,1]", "i32[3]")
add.example("f32[]", "f32[0,4]")


@op("elementwise")
def mul(x: Tensor, y: Tensor) -> TensorType:
    """``x * y``.

    Shapes: ``[...], [...] -> [...]``, broadcast.
    """
    return TensorType(x.dtype, broadcast(x.result, y.result))


mul.evaluate(np.multiply)
mul.gradient(lambda g, out, x, y: (g * y, g * x))
mul.example("f64[2,3]", "f64[3]")
mul.example("bool[2]", "bool[2]")


@op("elementwise")
def exp(x: Tensor) -> TensorType:
    """``e ** x``.

    Shapes: ``[...] -> [...]``.
    """
    return x.result


exp.evaluate(np.exp)
exp.gradient(lambda g, out, x: (g * out,))
exp.example("f64[4]")


@op("elementwise", promotes=())
def cast(x: Tensor, dtype: DType) -> TensorType:
    """`x` as another dtype.

    Shapes: ``[...] -> [...]``.
    """
    return TensorType(dtype, x.result.shape)


cast.evaluate(lambda x, dtype: x.astype(dtype.numpy))
cast.gradient(lambda g, out, x, dtype: (cast(g, x.dtype),))
cast.example("f64[4]", dtype="float32")
