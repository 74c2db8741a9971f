"""Circular and hyperbolic functions and their inverses. An integer is taken as float64."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.op import op
from graphc.ops.elementwise import div, guarded_multiply, reciprocal, rsqrt, square
from graphc.ops.rule import broadcast_numbers, on_reals, real
from graphc.tensor import Tensor
from graphc.types import FLOAT64, TensorType


@op("elementwise")
def sin(x: Tensor) -> TensorType:
    """The sine of an angle in radians.

    Shapes: ``[...] -> [...]``, float; float64 of an integer.
    """
    return real(x)


@op("elementwise")
def cos(x: Tensor) -> TensorType:
    """The cosine of an angle in radians.

    Shapes: ``[...] -> [...]``, float; float64 of an integer.
    """
    return real(x)


@op("elementwise")
def tan(x: Tensor) -> TensorType:
    """The tangent of an angle in radians.

    Shapes: ``[...] -> [...]``, float; float64 of an integer.
    """
    return real(x)


@op("elementwise")
def asin(x: Tensor) -> TensorType:
    """The angle in ``[-pi/2, pi/2]`` whose sine is `x`; NaN outside ``[-1, 1]``.

    Shapes: ``[...] -> [...]``, float; float64 of an integer.
    """
    return real(x)


@op("elementwise")
def acos(x: Tensor) -> TensorType:
    """The angle in ``[0, pi]`` whose cosine is `x`; NaN outside ``[-1, 1]``.

    Shapes: ``[...] -> [...]``, float; float64 of an integer.
    """
    return real(x)


@op("elementwise")
def atan(x: Tensor) -> TensorType:
    """The angle in ``[-pi/2, pi/2]`` whose tangent is `x`.

    Shapes: ``[...] -> [...]``, float; float64 of an integer.
    """
    return real(x)


@op("elementwise")
def sinh(x: Tensor) -> TensorType:
    """``(e ** x - e ** -x) / 2``.

    Shapes: ``[...] -> [...]``, float; float64 of an integer.
    """
    return real(x)


@op("elementwise")
def cosh(x: Tensor) -> TensorType:
    """``(e ** x + e ** -x) / 2``.

    Shapes: ``[...] -> [...]``, float; float64 of an integer.
    """
    return real(x)


@op("elementwise")
def tanh(x: Tensor) -> TensorType:
    """``sinh(x) / cosh(x)``.

    Shapes: ``[...] -> [...]``, float; float64 of an integer.
    """
    return real(x)


@op("elementwise")
def asinh(x: Tensor) -> TensorType:
    """The inverse of `sinh`.

    Shapes: ``[...] -> [...]``, float; float64 of an integer.
    """
    return real(x)


@op("elementwise")
def acosh(x: Tensor) -> TensorType:
    """The inverse of `cosh`, not negative; NaN below 1.

    Shapes: ``[...] -> [...]``, float; float64 of an integer.
    """
    return real(x)


@op("elementwise")
def atanh(x: Tensor) -> TensorType:
    """The inverse of `tanh`; NaN outside ``[-1, 1]``.

    Shapes: ``[...] -> [...]``, float; float64 of an integer.
    """
    return real(x)


sin.evaluate(on_reals(np.sin))
cos.evaluate(on_reals(np.cos))
tan.evaluate(on_reals(np.tan))
asin.evaluate(on_reals(np.arcsin))
acos.evaluate(on_reals(np.arccos))
atan.evaluate(on_reals(np.arctan))
sinh.evaluate(on_reals(np.sinh))
cosh.evaluate(on_reals(np.cosh))
tanh.evaluate(on_reals(np.tanh))
asinh.evaluate(on_reals(np.arcsinh))
acosh.evaluate(on_reals(np.arccosh))
atanh.evaluate(on_reals(np.arctanh))

sin.gradient(lambda g, out, x: (g * cos(x),))
cos.gradient(lambda g, out, x: (g * -sin(x),))
tan.gradient(lambda g, out, x: (guarded_multiply(g, square(out) + 1.0),))
asin.gradient(lambda g, out, x: (guarded_multiply(g, rsqrt((1.0 - x) * (1.0 + x))),))
acos.gradient(lambda g, out, x: (guarded_multiply(g, -rsqrt((1.0 - x) * (1.0 + x))),))
atan.gradient(lambda g, out, x: (guarded_multiply(g, reciprocal(square(x) + 1.0)),))
sinh.gradient(lambda g, out, x: (guarded_multiply(g, cosh(x)),))
cosh.gradient(lambda g, out, x: (guarded_multiply(g, sinh(x)),))
tanh.gradient(lambda g, out, x: (g * (1.0 - square(out)),))
asinh.gradient(lambda g, out, x: (guarded_multiply(g, rsqrt(square(x) + 1.0)),))
acosh.gradient(lambda g, out, x: (guarded_multiply(g, rsqrt((x - 1.0) * (x + 1.0))),))
atanh.gradient(lambda g, out, x: (guarded_multiply(g, reciprocal((1.0 - x) * (1.0 + x))),))

for _function, _domain in (
    *((f, (-1.4, 1.4)) for f in (sin, cos, tan, atan, sinh, cosh, tanh, asinh)),
    *((f, (-0.8, 0.8)) for f in (asin, acos, atanh)),
    (acosh, (1.3, 4.0)),
):
    _function.example("f64[2,3]", domain=_domain)
    _function.example(np.array([0, -0.0, 1, -1, 0.5, 1e-20, np.nan, np.inf, -np.inf], np.float32))
    _function.example("f32[0]")
    _function.example(np.array([0, 1], np.int32))


@op("elementwise")
def atan2(y: Tensor, x: Tensor) -> TensorType:
    """The angle of the point ``(x, y)``, in ``[-pi, pi]``.

    Shapes: ``[...], [...] -> [...]``, broadcast, float; float64 of integers.
    Raises: DTypeError for bools.
    """
    common = broadcast_numbers(y, x)
    return common if common.dtype.is_floating else TensorType(FLOAT64, common.shape)


def _atan2(y: Any, x: Any) -> Any:
    return np.arctan2(y, x) if y.dtype.kind == "f" else np.arctan2(y, x, dtype=np.float64)


def _turns(g: Tensor, along: Tensor, y: Tensor, x: Tensor) -> Tensor:
    return guarded_multiply(g, div(along, square(x) + square(y)))


atan2.evaluate(_atan2)
atan2.gradient(lambda g, out, y, x: (_turns(g, x, y, x), _turns(g, -y, y, x)))
atan2.example("f64[2,3]", "f64[3]", domain=(0.5, 2.0))
atan2.example("f64[3]", "f64[2,1]", domain=(-2.0, -0.5))
atan2.example(
    np.array([0, -0.0, 0, -0.0, np.inf], np.float32), np.array([0, 0, -0.0, -0.0, -np.inf], np.float32)
)
atan2.example("f32[0]", "f32[]")
atan2.example(np.array([0, 3], np.int32), np.array([-1, 4], np.int32))
