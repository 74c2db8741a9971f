"""The error function, its complement and the normal distribution."""

from __future__ import annotations

from graphc.ops.error_function import FAR
from runtime.llvm_backend.ir.vecmath.complement import complement_by_table, tail_by_table
from runtime.llvm_backend.ir.vecmath.exponential import exp_in_range, reduce, scale, significand
from runtime.llvm_backend.ir.vecmath.lanes import Lanes

# erf(x) / x - 1 in x ** 2 on |x| <= 1.
_NEAR_DOUBLE = (
    0.1283791670955126,
    -0.3761263890318375,
    0.11283791670954879,
    -0.026866170645076792,
    0.0052239776248180145,
    -0.000854832698083379,
    0.0001205533111164271,
    -1.4925595266831182e-05,
    1.6461000484121368e-06,
    -1.6350312701054695e-07,
    1.4659775274047436e-08,
    -1.1372848856791674e-09,
    5.957176147748911e-11,
)
# (1 + 2 x) exp(x ** 2) erfc(x) in (x - 4) / (x + 4) on x >= 1/2, after Shepherd and Laframboise,
# "Chebyshev approximation of (1 + 2x) exp(x^2) erfc x in 0 <= x < inf", Math. Comp. 36 (1981).
_FAR_FIRST = (1.2329951186255526, -4.625318921008717e-17)
_FAR = FAR[1:]
# The same for float, where x <= 10.2: to 6e-9, evaluated in double.
_FAR_SINGLE = (
    *(1.2329951188322252, -0.13962110977360076, 0.015379650937917638, 0.06809610182729198),
    *(-0.10104005872292991, 0.09375423134297613, -0.06630142400769598, 0.03701383168672842),
    *(-0.016460511830946687, 0.0053453565202260245),
)
# In float: erf(x) / x - 1 up to 0.92, and log(1 - erf(x)) / x + 1 up to 4.
_NEAR_SINGLE = (
    *(1.28379166e-1, -3.76125336e-1, 1.12819925e-1, -2.67681349e-2, 4.99119423e-3, -5.96761703e-4),
)


def erf(v: Lanes, x: str) -> str:
    """The error function."""
    return _erf_double(v, x) if v.double else _erf_single(v, x)


def _erf_single(v: Lanes, x: str) -> str:
    c = v.number
    t = v.at_most(c(4.0), v.magnitude(x))
    s = v.multiply(t, t)
    r = v.muladd(c(-1.72853470e-5), t, c(3.83197126e-4))
    u = v.muladd(c(-3.88396438e-3), t, c(2.42546219e-2))
    r = v.muladd(r, s, u)
    for coefficient in (-1.06777877e-1, -6.34846687e-1, -1.28717512e-1):
        r = v.muladd(r, t, c(coefficient))
    r = v.muladd(r, t, v.negate(t))
    large = v.with_sign(v.subtract(c(1.0), exp_in_range(v, r)), x)
    small = v.muladd(v.horner(_NEAR_SINGLE, s), x, x)
    return v.select(v.compare("ogt", t, c(0.927734375)), large, small)


def _erf_double(v: Lanes, x: str) -> str:
    size = v.magnitude(x)
    far = v.with_sign(v.subtract(v.number(1.0), _complement(v, v.at_most(v.number(6.0), size))), x)
    return v.select(v.compare("ogt", size, v.number(1.0)), far, _near(v, x))


def _near(v: Lanes, x: str) -> str:
    return v.muladd(v.horner(_NEAR_DOUBLE, v.multiply(x, x)), x, x)


def erfc(v: Lanes, x: str) -> str:
    """``1 - erf(x)``, exact in the tail."""
    if v.looks_up:
        return complement_by_table(v, x)
    size = v.magnitude(x)
    if v.double:
        far, near = _complement(v, v.at_most(v.number(28.0), size)), _near(v, x)
    else:
        far = _complement_single(v, v.at_most(v.number(10.2), size))
        near = v.muladd(v.horner(_NEAR_SINGLE, v.multiply(x, x)), x, x)
    far = v.select(v.compare("olt", x, v.number(0.0)), v.subtract(v.number(2.0), far), far)
    near = v.subtract(v.number(1.0), near)
    return v.select(v.compare("ole", size, v.number(0.5)), near, far)


def normal_cdf(v: Lanes, x: str) -> str:
    """``erfc(-x / sqrt(2)) / 2``; ``exp(-x ** 2 / 2)`` is of x itself: the error of a quotient would grow."""
    size, half = v.at_most(v.pick(39.5, 14.4), v.magnitude(x)), v.number(0.5)
    root, error = v.exact_product(size, v.pick(*_ROOT))
    rest = v.muladd(size, v.pick(*_ROOT_LOW), error)
    if v.looks_up or v.double:
        square, low = v.exact_product(size, v.multiply(size, half))
        tail = tail_by_table if v.looks_up else _tail
        far = tail(v, root, square, low, rest=rest, offset=-1)
    else:
        w, long = v.widened(), v.widen(size)
        square = w.multiply(w.multiply(long, w.number(0.5)), long)
        far = v.multiply(_tail_single(v, w.multiply(long, w.number(_ROOT[0])), square), half)
    if not v.looks_up:
        slope = v.horner(_NEAR_DOUBLE if v.double else _NEAR_SINGLE, v.multiply(root, root))
        near = v.add(root, v.muladd(slope, root, rest))
        far = v.select(v.compare("ole", root, half), v.muladd(near, v.number(-0.5), half), far)
    return v.select(v.compare("ogt", x, v.number(0.0)), v.subtract(v.number(1.0), far), far)


# The root of 1/2, and what it lacks: for double, and for float.
_ROOT = 0.7071067811865476, 0.70710677
_ROOT_LOW = -4.833646656726457e-17, 1.21e-8


def _complement(v: Lanes, x: str) -> str:
    """Erfc of ``0.5 <= x <= 28``, or NaN: ``exp(-x ** 2)`` to the last bit, for its error would grow."""
    return _tail(v, x, *v.exact_product(x, x))


def _tail(v: Lanes, x: str, square: str, low: str, *, rest: str | None = None, offset: int = 0) -> str:
    """``2 ** offset * exp(-(square + low)) f(x + rest)``, f being ``exp(x ** 2) erfc(x)``, or NaN."""
    parts = reduce(v, v.negate(square), v.negate(low))
    four = v.number(4.0)
    t = v.divide(v.subtract(x, four), v.add(x, four))
    # The sum's low part is kept, and so is the product's.
    first, first_low = map(v.number, _FAR_FIRST)
    factor, factor_low = v.ordered_sum(first, v.muladd(v.horner(_FAR, t), t, first_low))
    power = significand(v, parts)
    decay, low = v.exact_product(power, factor)
    low = v.muladd(power, factor_low, low)
    bottom, bottom_low = v.exact_sum(v.add(x, x), v.number(1.0))
    if rest is not None:
        bottom_low = v.muladd(rest, v.number(2.0), bottom_low)
    ratio = v.precise_ratio(decay, low, bottom, bottom_low)
    return scale(v, ratio, parts.n, parts.shifted, offset)


def _complement_single(v: Lanes, x: str) -> str:
    """Erfc of a float, ``0.5 <= x <= 10.2`` or NaN, in double, where ``x * x`` is exact."""
    long = v.widen(x)
    return _tail_single(v, long, v.widened().multiply(long, long))


def _tail_single(v: Lanes, long: str, square: str) -> str:
    """``exp(-square)`` of a double times what `_tail` has as f, as a float."""
    w = v.widened()
    four = w.number(4.0)
    t = w.divide(w.subtract(long, four), w.add(long, four))
    decay = w.multiply(exp_in_range(w, w.negate(square)), w.horner(_FAR_SINGLE, t))
    return v.narrow(w.divide(decay, w.muladd(long, w.number(2.0), w.number(1.0))))
