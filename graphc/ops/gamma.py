"""The logarithm of the gamma function and its derivatives. An integer is taken as float64."""

from __future__ import annotations

from math import factorial
from typing import Any

import numpy as np

from graphc.errors import ArgumentError
from graphc.op import op
from graphc.ops.elementwise import guarded_multiply
from graphc.ops.error_function import polynomial
from graphc.ops.rule import on_reals, real
from graphc.sizes import as_int
from graphc.tensor import Tensor
from graphc.types import TensorType

# log(gamma(2 + z)) / z as a polynomial in z on |z| <= 0.5, fitted at Chebyshev's nodes to 2e-17.
ABOUT_TWO = (
    0.42278433509846713,
    0.3224670334241132,
    -0.06735230105319563,
    0.02058080842778338,
    -0.007385551028935545,
    0.002890510330865901,
    -0.0011927539009983087,
    0.0005096695196526673,
    -0.00022315497746292723,
    9.945761692157133e-05,
    -4.4923727564247656e-05,
    2.050601970174762e-05,
    -9.45628851510172e-06,
    4.3828545383846665e-06,
    -1.9743106888421067e-06,
    9.242852225162277e-07,
    -5.811277768921246e-07,
    2.7475390051909663e-07,
)
# Bernoulli's numbers B2, B4, ..., B20.
BERNOULLI = (
    *(1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66),
    *(-691 / 2730, 7 / 6, -3617 / 510, 43867 / 798, -174611 / 330),
)
FROM_STIRLING = 12  # from here on the asymptotic series below are exact to the last bits


@op("elementwise")
def lgamma(x: Tensor) -> TensorType:
    """``log(abs(gamma(x)))``; infinity at 0 and the negative integers.

    Shapes: ``[...] -> [...]``, float; float64 of an integer.
    """
    return real(x)


@op("elementwise")
def digamma(x: Tensor) -> TensorType:
    """The derivative of `lgamma`; NaN at the negative integers.

    Shapes: ``[...] -> [...]``, float; float64 of an integer.
    """
    return real(x)


@op("elementwise")
def polygamma(x: Tensor, n: int) -> TensorType:
    """The derivative of order `n` of `digamma`, ``n >= 1``; `x` comes first here.

    Shapes: ``[...] -> [...]``, float; float64 of an integer.
    Raises: ArgumentError for an order below 1, or above 170, whose factorials are no float64.
    """
    if not 1 <= (as_int(n) or 0) <= 170:
        raise ArgumentError(f"the order is an int from 1 to 170, not {n!r}")
    return real(x)


def _lgamma(x: Any) -> Any:
    """Below 0.5 by ``log(pi / |sin(pi x)|) - lgamma(1 - x)``, where x is negative."""
    wide = x.astype(np.float64)
    negative = wide < 0
    value = _lgamma_positive(np.where(negative, 1.0 - wide, wide))
    sine = np.abs(np.sin(np.pi * (wide - np.rint(wide))))
    reflected = np.where(sine == 0, np.inf, np.log(np.pi / sine) - value)
    reflected = np.where(np.isneginf(wide), np.inf, reflected)
    return np.where(negative, reflected, value).astype(x.dtype)


def _lgamma_positive(x: Any) -> Any:
    """By ``gamma(x + 1) = x gamma(x)`` from about 2, by Stirling's series where x is large."""
    whole = np.rint(np.minimum(x, FROM_STIRLING))
    z = np.minimum(x, FROM_STIRLING) - whole
    product = np.ones_like(z)
    for step in range(2, FROM_STIRLING):
        product = product * np.where(whole > step, z + step, 1.0)
    below = np.where(whole < 1, x * (1.0 + x), np.where(whole < 2, x, 1.0))
    near = z * polynomial(ABOUT_TWO, z) + np.log(product) - np.log(below)
    large = np.maximum(x, FROM_STIRLING)
    inverse = 1.0 / large
    series = [b / ((2 * k + 2) * (2 * k + 1)) for k, b in enumerate(BERNOULLI)]
    tail = inverse * polynomial(series, inverse * inverse) + 0.5 * np.log(2 * np.pi)
    log = np.log(large)
    far = large * (log - 1.0) - 0.5 * log + tail
    return np.where(np.isposinf(x), np.inf, np.where(x < FROM_STIRLING, near, far))


def _digamma(x: Any) -> Any:
    """Where x is negative by ``digamma(1 - x) - pi / tan(pi x)``."""
    wide = x.astype(np.float64)
    negative = wide < 0
    value = _digamma_positive(np.where(negative, 1.0 - wide, wide))
    turn = wide - np.rint(wide)
    reflected = np.where(turn == 0, np.nan, value - np.pi / np.tan(np.pi * turn))
    pole = np.where(wide == 0, np.copysign(np.inf, -wide), value)
    return np.where(negative, reflected, pole).astype(x.dtype)


def _digamma_positive(x: Any) -> Any:
    """By ``digamma(x) = digamma(x + 1) - 1 / x`` and ``log(x) - 1 / 2x - sum(B2k / (2k x ** 2k))``."""
    shift = np.zeros_like(x)
    for _ in range(FROM_STIRLING):
        small = x < FROM_STIRLING
        shift = shift + np.where(small, 1.0 / x, 0.0)
        x = np.where(small, x + 1.0, x)
    inverse = 1.0 / x
    series = [b / (2 * k + 2) for k, b in enumerate(BERNOULLI)]
    squared = inverse * inverse
    return np.log(x) - 0.5 * inverse - squared * polynomial(series, squared) - shift


def _polygamma(x: Any, n: int) -> Any:
    """Where x is negative by ``(-1) ** n polygamma(1 - x, n) - pi * (d/dx) ** n cot(pi x)``."""
    wide = x.astype(np.float64)
    negative = wide < 0
    sign = -1.0 if n % 2 else 1.0
    value = -sign * factorial(n) * _zeta(n + 1, np.where(negative, 1.0 - wide, wide))
    turn = np.pi * (wide - np.rint(wide))
    slope = np.pi ** (n + 1) * polynomial(cotangent_slope(n), 1.0 / np.tan(turn))
    reflected = np.where(turn == 0, np.inf if n % 2 else np.nan, sign * value - slope)
    reflected = np.where(np.isneginf(wide), np.nan, reflected)
    return np.where(negative, reflected, value).astype(x.dtype)


def cotangent_slope(n: int) -> list[float]:
    """The derivative of order `n` of cot, a polynomial in cot: ``d P(c) = -(1 + c ** 2) P'(c)``."""
    coefficients = [0.0, 1.0]
    for _ in range(n):
        slope = [i * c for i, c in enumerate(coefficients)][1:]
        coefficients = [-(a + b) for a, b in zip([*slope, 0.0, 0.0], [0.0, 0.0, *slope], strict=True)]
    return coefficients


def _zeta(s: int, x: Any) -> Any:
    """Hurwitz's ``sum(1 / (x + k) ** s)`` for x >= 0: some terms, then Euler and Maclaurin's formula."""
    total = np.zeros_like(x)
    for _ in range(FROM_STIRLING + s):
        total = total + x**-s
        x = x + 1.0
    factor, correction = float(s), np.zeros_like(x)
    for k, bernoulli in enumerate(BERNOULLI):
        correction = correction + bernoulli / factorial(2 * k + 2) * factor * x ** (-s - 2 * k - 1)
        factor *= (s + 2 * k + 1) * (s + 2 * k + 2)
    return total + x ** (1 - s) / (s - 1) + 0.5 * x**-s + correction


def _polygamma_of(x: Any, n: int) -> Any:
    return on_reals(lambda real_x: _polygamma(real_x, n))(x)


lgamma.evaluate(on_reals(_lgamma))
digamma.evaluate(on_reals(_digamma))
polygamma.evaluate(_polygamma_of)
lgamma.gradient(lambda g, out, x: (guarded_multiply(g, digamma(x)),))
digamma.gradient(lambda g, out, x: (guarded_multiply(g, polygamma(x, n=1)),))
polygamma.gradient(lambda g, out, x, n: (guarded_multiply(g, polygamma(x, n=n + 1)),))
for _function in (lgamma, digamma):
    _function.example("f64[2,3]", domain=(0.5, 4.0))
    _function.example("f64[3]", domain=(-1.7, -1.3))
    _function.example(np.array([0.25, 1, 2, 30, 1e10, -0.5, -2.5, np.nan, np.inf], np.float32))
    _function.example("f32[0]")
    _function.example(np.array([1, 5], np.int32))
polygamma.example("f64[3]", domain=(0.5, 4.0), n=1)
polygamma.example("f64[3]", domain=(-1.7, -1.3), n=1)
polygamma.example("f64[2,1]", domain=(1.0, 4.0), n=2)
polygamma.example("f32[0]", n=3)
