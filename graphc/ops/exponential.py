"""Exponentials, powers, logarithms and what is made of them. An integer is taken as float64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.errors import ArgumentError
from graphc.op import op
from graphc.ops.comparison import less_equal, where
from graphc.ops.elementwise import div, guarded_multiply, reciprocal
from graphc.ops.rule import broadcast_numbers, on_reals, real
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


@op("elementwise", fallible=True)
def power(x: Tensor, y: Tensor) -> TensorType:
    """``x ** y``.

    The slope towards the exponent is 0 where the base is not above 0.

    Shapes: ``[...], [...] -> [...]``, broadcast.
    Raises: DTypeError for bools; at the run, ArgumentError for an integer to a negative power.
    """
    return broadcast_numbers(x, y)


def _power(x: Any, y: Any) -> Any:
    if y.dtype.kind == "i" and y.size and x.size and y.min() < 0:
        raise ArgumentError(f"an integer to the power {y.min()} is no integer: cast it to a float")
    raised = np.power(x, y)
    if y.dtype.kind != "f":
        return raised
    half = y == 0.5  # NumPy takes a square root where all of a line has this exponent: NaN at -inf, -0 at -0
    return np.where(half, np.where(np.isneginf(x), np.inf, raised + 0.0), raised) if half.any() else raised


def _power_gradient(g: Tensor, out: Tensor, x: Tensor, y: Tensor) -> Sequence[Tensor]:
    """``dx = y * x ** (y - 1), dy = x ** y * log(x)``."""
    flat = less_equal(x, 0.0)
    towards_exponent = where(flat, 0.0, out * log(where(flat, 1.0, x)))
    return (
        guarded_multiply(g, guarded_multiply(y, power(x, y - 1.0))),
        guarded_multiply(g, towards_exponent),
    )


power.evaluate(_power)
power.gradient(_power_gradient)
power.example("f64[2,3]", "f64[3]", domain=(0.5, 2.0))
power.example(np.array([0, 0, -2, -2, 2], np.float32), np.array([0, -1, 3, 0.5, np.inf], np.float32))
power.example(np.array([-np.inf, -0.0, 4], np.float32), np.array(0.5, np.float32))
power.example(np.array([2, -3, 0], np.int32), np.array([31, 3, 0], np.int32))
power.example("f32[0]", "f32[1]")


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
