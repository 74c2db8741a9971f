"""The error function, its complement and the normal distribution. An integer is taken as float64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.op import op
from graphc.ops.elementwise import square
from graphc.ops.exponential import exp
from graphc.ops.rule import on_reals, real
from graphc.tensor import Tensor
from graphc.types import TensorType

# erf(x) / x as a polynomial in x ** 2 on |x| <= 1, fitted at Chebyshev's nodes to 8e-18.
_NEAR = (
    1.1283791670955126,
    -0.37612638903183543,
    0.11283791670945006,
    -0.02686617064323777,
    0.0052239776071164225,
    -0.0008548325975389692,
    0.00012055294904839707,
    -1.492473690741966e-05,
    1.6447424703317362e-06,
    -1.6208483801871705e-07,
    1.3720064546777686e-08,
    -7.795898827002142e-10,
)
# (1 + 2 x) exp(x ** 2) erfc(x) as a polynomial in (x - 4) / (x + 4) on x >= 0.5, fitted likewise. The
# form is that of Shepherd and Laframboise, "Chebyshev approximation of (1 + 2x) exp(x^2) erfc x in
# 0 <= x < inf", Mathematics of Computation 36 (1981).
FAR = (
    1.2329951186255526,
    -0.1396211168405625,
    0.01537965210262021,
    0.06809705425468858,
    -0.10103906603634742,
    0.09373283499851863,
    -0.06633036581087434,
    0.03716751553423657,
    -0.016197734077877748,
    0.0050319700130714105,
    -0.0007577731198845029,
    -0.00019925692900828166,
    0.0001506208125905374,
    -2.4398198695781975e-05,
    -1.1219239450968377e-05,
    5.706822301859325e-06,
    2.880833478272064e-07,
    -8.199551611794782e-07,
    8.187721285705348e-08,
    1.0358588303681392e-07,
    -2.30775672736564e-08,
    -9.752941425191894e-09,
    3.4238599655102397e-09,
)


@op("elementwise")
def erf(x: Tensor) -> TensorType:
    """The error function, ``2 / sqrt(pi)`` times the integral of ``exp(-t ** 2)`` from 0 to `x`.

    Shapes: ``[...] -> [...]``, float; float64 of an integer.
    """
    return real(x)


@op("elementwise")
def erfc(x: Tensor) -> TensorType:
    """``1 - erf(x)``, exact in the tail.

    Shapes: ``[...] -> [...]``, float; float64 of an integer.
    """
    return real(x)


@op("elementwise")
def normal_cdf(x: Tensor) -> TensorType:
    """``P(X <= x)`` of a standard normal X, ``erfc(-x / sqrt(2)) / 2``, exact in the tail.

    Shapes: ``[...] -> [...]``, float; float64 of an integer.
    """
    return real(x)


def polynomial(coefficients: Sequence[float], x: Any) -> Any:
    """``sum(c[i] * x ** i)``, by Horner's rule."""
    total = coefficients[-1] + 0 * x
    for coefficient in coefficients[-2::-1]:
        total = total * x + coefficient
    return total


def _near(x: Any) -> Any:
    inside = np.clip(x, -1.0, 1.0)
    return inside * polynomial(_NEAR, inside * inside)


def _far(x: Any) -> Any:
    """Erfc of ``x >= 0.5``."""
    x = np.clip(x, 0.5, 30.0)
    return _decay(x, 1.0) * _slow(x)


def _slow(x: Any) -> Any:
    """``exp(x * x) erfc(x)`` of ``x >= 0.5``."""
    return polynomial(FAR, (x - 4.0) / (x + 4.0)) / (1.0 + 2.0 * x)


def _decay(x: Any, share: float) -> Any:
    """``exp(-x * x * share)``, split, for the rounding of ``x * x`` would be seen."""
    high = np.floor(x * 16.0) / 16.0
    return np.exp(-high * high * share) * np.exp((high - x) * (high + x) * share)


def _erf(x: Any) -> Any:
    wide = x.astype(np.float64)
    far = np.copysign(1.0 - _far(np.abs(wide)), wide)
    return np.where(np.abs(wide) <= 1.0, _near(wide), far).astype(x.dtype)


def _erfc(x: Any) -> Any:
    wide = x.astype(np.float64)
    far = _far(np.abs(wide))
    outside = np.where(wide < 0, 2.0 - far, far)
    return np.where(np.abs(wide) <= 0.5, 1.0 - _near(wide), outside).astype(x.dtype)


def _normal_cdf(x: Any) -> Any:
    """The decay is that of `x` itself: rounding ``x / sqrt(2)`` would be seen too."""
    wide = x.astype(np.float64)
    size = np.clip(np.abs(wide), 0.0, 42.0)
    root = size * _ROOT
    far = 0.5 * _decay(size, 0.5) * _slow(np.maximum(root, 0.5))
    far = np.where(root <= 0.5, 0.5 - 0.5 * _near(root), far)
    return np.where(wide > 0, 1.0 - far, far).astype(x.dtype)


_ROOT = 0.5**0.5
_SCALE = 2.0 / np.pi**0.5

erf.evaluate(on_reals(_erf))
erfc.evaluate(on_reals(_erfc))
erf.gradient(lambda g, out, x: (g * (exp(-square(x)) * _SCALE),))
erfc.gradient(lambda g, out, x: (g * (exp(-square(x)) * -_SCALE),))
normal_cdf.evaluate(on_reals(_normal_cdf))
normal_cdf.gradient(lambda g, out, x: (g * (exp(square(x) * -0.5) * (_SCALE * _ROOT / 2)),))
for _function in (erf, erfc, normal_cdf):
    _function.example("f64[2,3]")
    _function.example(np.array([0, -0.0, 0.5, 1, -1, 4, -4, 10, np.nan, np.inf, -np.inf], np.float32))
    _function.example(np.array([0.25, -3], np.float16))
    _function.example("f32[0]")
    _function.example(np.array([0, 1], np.int32))
