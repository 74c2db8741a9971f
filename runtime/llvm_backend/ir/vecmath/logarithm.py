"""Logarithms, and the inverses of the hyperbolic functions, which are logarithms.

``x = 2 ** k (1 + f)`` with ``sqrt(1/2) < 1 + f < sqrt(2)``, then ``log(x) = k ln 2 + log(1 + f)``. In double
as in FDLIBM's e_log.c, in float by a polynomial of degree 10.
"""

from __future__ import annotations

from math import inf, nan

from runtime.llvm_backend.ir.vecmath.exponential import exp
from runtime.llvm_backend.ir.vecmath.lanes import Lanes

_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_LN2 = 0.693147182464599609375

# FDLIBM: log(1 + f) = f - s (f - R), s = f / (2 + f), R(s ** 2).
_LOG_DOUBLE = (
    6.666666666666735130e-01,
    3.999999999940941908e-01,
    2.857142874366239149e-01,
    2.222219843214978396e-01,
    1.818357216161805012e-01,
    1.531383769920937332e-01,
    1.479819860511658591e-01,
)
# (asinh(x) / x - 1) / x ** 2 and (atanh(x) / x - 1) / x ** 2 in x ** 2 on |x| <= 1/2.
_ASINH_DOUBLE = (
    -0.16666666666666666,
    0.0749999999999992,
    -0.044642857142677225,
    0.030381944428513684,
    -0.022372158355736263,
    0.0173527441556904,
    -0.013964483323351326,
    0.011547475926257406,
    -0.009725716144151688,
    0.00818236764637779,
    -0.0064746008466359025,
    0.00413835813140252,
    -0.0014988358499957474,
)
_ASINH_SINGLE = (
    *(-0.16666666572814728, 0.07499972893955255, -0.04463002194351896),
    *(0.03015617861934598, -0.020526793468173554, 0.009936504309217447),
)
_ATANH_DOUBLE = (
    0.3333333333333333,
    0.19999999999999934,
    0.14285714285734208,
    0.11111111108774245,
    0.09090909234076455,
    0.07692302426298539,
    0.0666679262425516,
    0.05880296593962229,
    0.05286736995315698,
    0.0456935407180027,
    0.05468265249637926,
    -0.005783645920519892,
    0.16366841241041946,
    -0.18450627783481666,
    0.22653799107253964,
)
_ATANH_SINGLE = (
    0.3333333134651184,
    0.2000047266483307,
    0.14263980090618134,
    0.11469875276088715,
    0.06493489444255829,
    0.15751780569553375,
)


def split(v: Lanes, x: str) -> tuple[str, str]:
    """The bits of ``2 ** k`` less those of 1, and ``1 + f``, of a normal positive `x`."""
    bits = v.bits(x)
    root_half = 0x3FE6A09E667F3BCD if v.double else 0x3F2AAAAB
    shifted = v.on_bits("sub", bits, root_half)
    exponent = v.on_bits("and", shifted, -(1 << v.mantissa))
    return exponent, v.from_bits(v.on_bits("sub", bits, exponent))


def as_number(v: Lanes, exponent: str) -> str:
    """The k of `split` as a float."""
    # x86 has no vector instruction from i64 to double before AVX-512: go through i32, which k fits.
    if not v.double:
        whole = v.emitter.convert("sitofp", "i32", "float", exponent)
        return v.multiply(whole, v.number(2.0**-23))
    high = v.emitter.convert("trunc", "i64", "i32", v.on_bits("ashr", exponent, 52))
    return v.emitter.convert("sitofp", "i32", "double", high)


def of_parts(v: Lanes, k: str, f: str, low: str | None = None) -> str:
    """``k ln 2 + log(1 + f) + low``."""
    if not v.double:
        single = _of_parts_single(v, k, f)
        return single if low is None else v.add(single, low)
    half = v.multiply(v.multiply(f, f), v.number(0.5))
    s = v.divide(f, v.add(f, v.number(2.0)))
    z = v.multiply(s, s)
    rest = v.multiply(v.horner(_LOG_DOUBLE, z), z)
    small = v.multiply(k, v.number(_LN2_LOW))
    if low is not None:
        small = v.add(small, low)
    total = v.muladd(s, v.add(half, rest), small)
    total = v.add(v.subtract(total, half), f)
    return v.muladd(k, v.number(_LN2_HIGH), total)


def _of_parts_single(v: Lanes, k: str, f: str) -> str:
    c = v.number
    s = v.multiply(f, f)
    r = v.muladd(c(-0.130310059), s, c(-0.121483512))
    t = v.muladd(c(0.140869141), s, c(0.139814854))
    r = v.muladd(r, s, c(-0.166846126))
    t = v.muladd(t, s, c(0.200120345))
    r = v.muladd(r, s, c(-0.249996200))
    r = v.muladd(t, f, r)
    r = v.muladd(r, f, c(0.333331972))
    r = v.muladd(r, f, c(-0.5))
    r = v.muladd(r, s, f)
    return v.muladd(k, c(_LN2), r)


def at_edges(v: Lanes, x: str, result: str) -> str:
    """`result`, but what a logarithm is at 0, below 0, at infinity and NaN."""
    result = v.select(v.compare("olt", x, v.number(inf)), result, x)
    result = v.select(v.compare("olt", x, v.number(0.0)), v.number(nan), result)
    return v.select(v.compare("oeq", x, v.number(0.0)), v.number(-inf), result)


def log(v: Lanes, x: str) -> str:
    """The natural logarithm."""
    grown = 54.0 if v.double else 23.0
    denormal = v.compare("olt", x, v.number(v.tiny))
    normal = v.select(denormal, v.multiply(x, v.number(2.0**grown)), x)
    exponent, m = split(v, normal)
    k = v.add(as_number(v, exponent), v.select(denormal, v.number(-grown), v.number(0.0)))
    return at_edges(v, x, of_parts(v, k, v.subtract(m, v.number(1.0))))


def log1p(v: Lanes, x: str) -> str:
    """``log(1 + x)``: k of the rounded sum, then ``f = 2 ** -k x + (2 ** -k - 1)``, which is nearly exact."""
    total = v.add(x, v.number(1.0))
    exponent, m = split(v, total)
    back = v.from_bits(v.on_bits("sub", v.integer(v.bias << v.mantissa), exponent))
    exact = v.muladd(x, back, v.subtract(back, v.number(1.0)))
    huge = v.compare("ogt", x, v.number(2.0**60))  # there 2 ** -k may be denormal, and 1 does not count
    f = v.select(huge, v.subtract(m, v.number(1.0)), exact)
    result = of_parts(v, as_number(v, exponent), f)
    result = v.select(v.compare("olt", v.magnitude(x), v.number(v.tiny * 2.0**60)), x, result)
    edges = v.select(v.compare("olt", x, v.number(inf)), result, x)
    edges = v.select(v.compare("olt", x, v.number(-1.0)), v.number(nan), edges)
    return v.select(v.compare("oeq", x, v.number(-1.0)), v.number(-inf), edges)


def softplus(v: Lanes, x: str) -> str:
    """``max(x, 0) + log1p(exp(-|x|))``."""
    small = exp(v, v.negate(v.magnitude(x)))
    zero, one, half = v.number(0.0), v.number(1.0), v.number(0.5)
    high = v.compare("ogt", small, v.pick(0.4142135, 0.3333333))  # then 1 + small is 2 (1 + f)
    f = v.select(high, v.muladd(small, half, v.number(-0.5)), small)
    tail = of_parts(v, v.select(high, one, zero), f)
    return v.add(v.at_least(zero, x), tail)


def atanh(v: Lanes, x: str) -> str:
    """A polynomial up to 1/2, then ``log((1 + x) / (1 - x)) / 2``."""
    size, square = v.magnitude(x), v.multiply(x, x)
    cube = v.multiply(v.multiply(x, square), v.polynomial(_ATANH_DOUBLE, _ATANH_SINGLE, square))
    one = v.number(1.0)
    ratio = v.divide(v.add(one, size), v.subtract(one, size))
    large = v.multiply(log(v, ratio), v.number(0.5))
    return v.select(v.compare("olt", size, v.number(0.5)), v.add(x, cube), v.with_sign(large, x))


def asinh(v: Lanes, x: str) -> str:
    """A polynomial up to 1/2, then ``log(|x| + sqrt(x ** 2 + 1))``."""
    size, square = v.magnitude(x), v.multiply(x, x)
    cube = v.multiply(v.multiply(size, square), v.polynomial(_ASINH_DOUBLE, _ASINH_SINGLE, square))
    large = _log_of_sum(v, size, 1.0)
    return v.with_sign(v.select(v.compare("olt", size, v.number(0.5)), v.add(size, cube), large), x)


def acosh(v: Lanes, x: str) -> str:
    """``log(x + sqrt(x ** 2 - 1))``."""
    result = _log_of_sum(v, x, -1.0)
    return v.select(v.compare("olt", x, v.number(1.0)), v.number(nan), result)


def _log_of_sum(v: Lanes, x: str, term: float) -> str:
    """``log(x + sqrt(x * x + term))`` for x >= 1/2, the sum kept to twice the precision."""
    large = v.compare("ogt", x, v.number(2.0**30))  # x * x may overflow, and the term does not count
    y = v.select(large, v.number(2.0), x)
    square, low = v.exact_product(y, y)
    inner, error = v.exact_sum(square, v.number(term))
    low = v.add(low, error)
    root = v.root(inner)
    again, rounding = v.exact_product(root, root)
    left = v.add(v.subtract(v.subtract(inner, again), rounding), low)
    rest = v.divide(v.multiply(left, v.number(0.5)), root)
    rest = v.select(v.compare("ogt", root, v.number(0.0)), rest, v.number(0.0))
    total, error = v.exact_sum(y, root)
    rest = v.add(rest, error)
    argument = v.select(large, x, total)
    exponent, m = split(v, argument)
    k = v.add(as_number(v, exponent), v.select(large, v.number(1.0), v.number(0.0)))
    low = v.select(large, v.number(0.0), v.divide(rest, total))
    return at_edges(v, argument, of_parts(v, k, v.subtract(m, v.number(1.0)), low))
