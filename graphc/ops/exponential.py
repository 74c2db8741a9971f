"""Exponentials, logarithms and what is made of them. An integer is taken as float64."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.op import op
from graphc.ops.elementwise import div, guarded_multiply, reciprocal
from graphc.ops.rule import on_reals, real
from graphc.tensor import Tensor
from graphc.types import TensorType


@op("elementwise")
def exp(x: Tensor) -> TensorType:
    """``e ** x``.

    Shapes: ``[...] -> [...]``, float; float64 of an integer.
    """
    return real(x)


exp.evaluate(on_reals(np.exp))
exp.gradient(lambda g, out, x: (guarded_multiply(g, out),))
exp.example("f64[4]")
exp.example(np.array([-np.inf, -100, 0, 88, 89, np.inf, np.nan], np.float32))
exp.example("f32[2,0]")
exp.example("i32[3]")


@op("elementwise")
def expm1(x: Tensor) -> TensorType:
    """``e ** x - 1``, exact near 0.

    Shapes: ``[...] -> [...]``, float; float64 of an integer.
    """
    return real(x)


expm1.evaluate(on_reals(np.expm1))
expm1.gradient(lambda g, out, x: (guarded_multiply(g, exp(x)),))
expm1.example("f64[4]")
expm1.example(np.array([-np.inf, -100, 1e-20, 89, np.nan], np.float32))
expm1.example("i32[3]")


@op("elementwise")
def log(x: Tensor) -> TensorType:
    """The natural logarithm; minus infinity at 0, NaN below.

    Shapes: ``[...] -> [...]``, float; float64 of an integer.
    """
    return real(x)


log.evaluate(on_reals(np.log))
log.gradient(lambda g, out, x: (guarded_multiply(g, reciprocal(x)),))
log.example("f64[4]", domain=(0.5, 3.0))
log.example(np.array([0, -0.0, -1, 1e-40, np.inf, np.nan], np.float32))
log.example(np.array([0, 1, 10], np.int32))


@op("elementwise")
def log1p(x: Tensor) -> TensorType:
    """``log(1 + x)``, exact near 0.

    Shapes: ``[...] -> [...]``, float; float64 of an integer.
    """
    return real(x)


log1p.evaluate(on_reals(np.log1p))
log1p.gradient(lambda g, out, x: (guarded_multiply(g, div(1.0, x + 1.0)),))
log1p.example("f64[4]", domain=(-0.5, 3.0))
log1p.example(np.array([-1, -2, 1e-20, np.inf, np.nan], np.float32))
log1p.example(np.array([0, 1, 10], np.int32))


@op("elementwise")
def sigmoid(x: Tensor) -> TensorType:
    """``1 / (1 + e ** -x)``, without overflow and exact in the lower tail.

    Shapes: ``[...] -> [...]``, float; float64 of an integer.
    """
    return real(x)


def _sigmoid(x: Any) -> Any:
    """``e = exp(-|x|)``, then ``1 / (1 + e)`` or ``e / (1 + e)``; float16 is computed in float32."""
    wide = x.astype(np.float32) if x.dtype == np.float16 else x
    small = np.exp(-np.abs(wide))
    one = wide.dtype.type(1)
    return (np.where(wide < 0, small, one) / (one + small)).astype(x.dtype, copy=False)


sigmoid.evaluate(on_reals(_sigmoid))
sigmoid.gradient(lambda g, out, x: (g * (out * (1.0 - out)),))
sigmoid.example("f64[4]")
sigmoid.example(np.array([-np.inf, -100, -20, 0, 20, 100, np.inf, np.nan], np.float32))
sigmoid.example(np.array([-16, -5, 5, 16], np.float16))
sigmoid.example("i32[2,0]")


@op("elementwise")
def softplus(x: Tensor) -> TensorType:
    """``log(1 + e ** x)``, without overflow and exact in the lower tail.

    Shapes: ``[...] -> [...]``, float; float64 of an integer.
    """
    return real(x)


def _softplus(x: Any) -> Any:
    """``max(x, 0) + log1p(exp(-|x|))``; float16 is computed in float32."""
    wide = x.astype(np.float32) if x.dtype == np.float16 else x
    tail = np.log1p(np.exp(-np.abs(wide)))
    return (np.maximum(wide, wide.dtype.type(0)) + tail).astype(x.dtype, copy=False)


softplus.evaluate(on_reals(_softplus))
softplus.gradient(lambda g, out, x: (g * sigmoid(x),))
softplus.example("f64[4]")
softplus.example(np.array([-np.inf, -100, -20, 0, 20, 100, np.inf, np.nan], np.float32))
softplus.example(np.array([-16, -5, 5, 16], np.float16))
softplus.example("i32[2]")
