"""The logarithm of the gamma function and its derivatives, in double: the series of `graphc.ops.gamma`."""

from __future__ import annotations

from math import factorial, inf, nan, pi
from math import log as real_log

from graphc.ops.gamma import ABOUT_TWO, BERNOULLI, FROM_STIRLING, cotangent_slope
from runtime.llvm_backend.ir.vecmath.lanes import Lanes
from runtime.llvm_backend.ir.vecmath.logarithm import log
from runtime.llvm_backend.ir.vecmath.trigonometric import sin, tan

_LGAMMA_TAIL = [b / ((2 * k + 2) * (2 * k + 1)) for k, b in enumerate(BERNOULLI)]
_DIGAMMA_TAIL = [b / (2 * k + 2) for k, b in enumerate(BERNOULLI)]


def lgamma(v: Lanes, x: str) -> str:
    """The logarithm of ``|gamma(x)|``; where x is negative, ``log(pi / |sin(pi x)|)`` less that at 1 - x."""
    if not v.double:
        return v.narrow(lgamma(v.widened(), v.widen(x)))
    c = v.number
    negative = v.compare("olt", x, c(0.0))
    value = _lgamma_positive(v, v.select(negative, v.subtract(c(1.0), x), x))
    sine = v.magnitude(sin(v, v.multiply(_turn(v, x), c(pi))))
    reflected = v.subtract(log(v, v.divide(c(pi), sine)), value)
    pole = v.compare("oeq", sine, c(0.0))
    result = v.select(negative, v.select(pole, c(inf), reflected), value)
    return v.select(v.is_infinite(x), c(inf), result)


def _lgamma_positive(v: Lanes, x: str) -> str:
    """By ``gamma(x + 1) = x gamma(x)`` from about 2, by Stirling's series where x is large."""
    c = v.number
    near = v.compare("olt", x, c(FROM_STIRLING))
    least = v.at_most(c(FROM_STIRLING), x)
    whole = v.emitter.intrinsic("rint", v.scalar, least)
    z = v.subtract(least, whole)
    product = c(1.0)
    for step in range(2, FROM_STIRLING):
        factor = v.select(v.compare("ogt", whole, c(step)), v.add(z, c(step)), c(1.0))
        product = v.multiply(product, factor)
    below = v.select(v.compare("olt", whole, c(1.0)), v.multiply(x, v.add(x, c(1.0))), x)
    is_below = v.compare("olt", whole, c(2.0))
    logarithm = log(v, v.select(near, v.select(is_below, below, product), x))
    steps = v.select(is_below, v.negate(logarithm), logarithm)
    about_two = v.muladd(z, v.horner(ABOUT_TWO, z), steps)
    inverse = v.divide(c(1.0), x)
    series = v.multiply(inverse, v.horner(_LGAMMA_TAIL, v.multiply(inverse, inverse)))
    tail = v.muladd(logarithm, c(-0.5), v.add(series, c(0.5 * real_log(2 * pi))))
    far = v.muladd(x, v.subtract(logarithm, c(1.0)), tail)
    return v.select(near, about_two, far)


def digamma(v: Lanes, x: str) -> str:
    """The derivative of `lgamma`: where x is negative, ``digamma(1 - x) - pi / tan(pi x)``."""
    if not v.double:
        return v.narrow(digamma(v.widened(), v.widen(x)))
    c = v.number
    negative = v.compare("olt", x, c(0.0))
    value = _digamma_positive(v, v.select(negative, v.subtract(c(1.0), x), x))
    turn = _turn(v, x)
    reflected = v.subtract(value, v.divide(c(pi), tan(v, v.multiply(turn, c(pi)))))
    reflected = v.select(v.compare("oeq", turn, c(0.0)), c(nan), reflected)
    value = v.select(v.compare("oeq", x, c(0.0)), v.with_sign(c(inf), v.negate(x)), value)
    return v.select(negative, reflected, value)


def _digamma_positive(v: Lanes, x: str) -> str:
    """By ``digamma(x) = digamma(x + 1) - 1 / x``, then ``log(x) - 1 / 2x - sum(B2k / (2k x ** 2k))``."""
    c, shift = v.number, v.number(0.0)
    for _ in range(FROM_STIRLING):
        small = v.compare("olt", x, c(FROM_STIRLING))
        shift = v.add(shift, v.select(small, v.divide(c(1.0), x), c(0.0)))
        x = v.select(small, v.add(x, c(1.0)), x)
    inverse = v.divide(c(1.0), x)
    squared = v.multiply(inverse, inverse)
    series = v.muladd(squared, v.horner(_DIGAMMA_TAIL, squared), v.multiply(inverse, c(0.5)))
    return v.subtract(v.subtract(log(v, x), series), shift)


def polygamma(v: Lanes, x: str, n: int) -> str:
    """The derivative of order `n` of `digamma`, which is ``(-1) ** (n + 1) n! zeta(n + 1, x)``.

    Where x is negative, ``(-1) ** n polygamma(1 - x, n) - pi * (d/dx) ** n cot(pi x)``.
    """
    if not v.double:
        return v.narrow(polygamma(v.widened(), v.widen(x), n))
    c, sign = v.number, -1.0 if n % 2 else 1.0
    negative = v.compare("olt", x, c(0.0))
    zeta = _scaled_zeta(v, n, v.select(negative, v.subtract(c(1.0), x), x))
    value = v.negate(zeta) if n % 2 == 0 else zeta
    turn = v.multiply(_turn(v, x), c(pi))
    cotangent = v.divide(c(1.0), tan(v, turn))
    slope = v.horner([pi ** (n + 1) * each for each in cotangent_slope(n)], cotangent)
    reflected = v.subtract(v.multiply(value, c(sign)), slope)
    pole = v.compare("oeq", turn, c(0.0))
    reflected = v.select(pole, c(inf if n % 2 else nan), reflected)
    reflected = v.select(v.is_infinite(x), c(nan), reflected)
    return v.select(negative, reflected, value)


def _scaled_zeta(v: Lanes, n: int, x: str) -> str:
    """``n! sum(1 / (x + k) ** (n + 1))`` over k >= 0, of x >= 0.

    Where x is small that is some terms, and Euler and Maclaurin's formula for the rest, which is added up
    first, since terms fall.
    """
    c, count, scale = v.number, FROM_STIRLING + n + 1, float(factorial(n))
    near = v.compare("olt", x, c(count))
    y, y_low = (v.select(near, *each) for each in zip(v.exact_sum(c(count), x), (x, c(0.0)), strict=True))
    inverse = v.divide(c(1.0), y)
    factors, factor = [], scale * (n + 1)
    for k, bernoulli in enumerate(BERNOULLI):
        factors.append(bernoulli / factorial(2 * k + 2) * factor)
        factor *= (n + 2 * k + 2) * (n + 2 * k + 3)
    squared = v.multiply(inverse, inverse)
    series = v.muladd(squared, v.horner(factors, squared), v.multiply(inverse, c(0.5 * scale)))
    total = _over_power(v, v.add(series, c(scale / n)), y, y_low, n)
    rest = c(0.0)
    for k in reversed(range(count)):
        own = v.exact_sum(c(k), x) if k else (x, c(0.0))
        term = v.select(near, _over_power(v, c(scale), *own, n + 1), c(0.0))
        more, error = v.exact_sum(total, term)
        finite = v.compare("olt", v.magnitude(error), c(inf))
        total, rest = more, v.add(rest, v.select(finite, error, c(0.0)))
    return v.add(total, rest)


def _over_power(v: Lanes, number: str, x: str, x_low: str, n: int) -> str:
    """``number / (x + x_low) ** n``, nearly rounded once; what is tiny or huge as rounded as its steps."""
    power, low = x, x_low
    for bit in bin(n)[3:]:
        twice = v.multiply(v.multiply(power, low), v.number(2.0))
        power, error = v.exact_product(power, power)
        low = v.add(error, twice)
        if bit == "1":
            cross = v.muladd(power, x_low, v.multiply(low, x))
            power, error = v.exact_product(power, x)
            low = v.add(error, cross)
    ratio = v.precise_ratio(number, v.number(0.0), power, low)
    plain = v.divide(number, x)
    if n > 1:
        before = x
        for bit in bin(n - 1)[3:]:
            before = v.multiply(before, before)
            before = v.multiply(before, x) if bit == "1" else before
        plain = v.divide(v.divide(number, before), x)
    return v.select(v.is_nan(ratio), plain, ratio)


def _turn(v: Lanes, x: str) -> str:
    """How far x is from the nearest whole number."""
    return v.subtract(x, v.emitter.intrinsic("rint", v.scalar, x))
