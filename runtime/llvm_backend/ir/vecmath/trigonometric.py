"""Sine, cosine, tangent and their inverses. The polynomials of double are those of FDLIBM."""

from __future__ import annotations

from runtime.llvm_backend.ir.vecmath.lanes import Lanes
from runtime.llvm_backend.ir.vecmath.reduction import reduce

_SIN_DOUBLE = (
    -1.66666666666666324348e-01,
    8.33333333332248946124e-03,
    -1.98412698298579493134e-04,
    2.75573137070700676789e-06,
    -2.50507602534068634195e-08,
    1.58969099521155010221e-10,
)
_COS_DOUBLE = (
    4.16666666666666019037e-02,
    -1.38888888888741095749e-03,
    2.48015872894767294178e-05,
    -2.75573143513906633035e-07,
    2.08757232129817482790e-09,
    -1.13596475577881948265e-11,
)
_SIN_SINGLE = (-1.66666672e-1, 8.33338592e-3, -1.98559923e-4, 2.86567956e-6)
_COS_SINGLE = (1.0, -0.5, 4.16666567e-2, -1.38877297e-3, 2.44677067e-5)

# (tan(x) / x - 1) / x ** 2 in x ** 2 on |x| <= pi/4.
_TAN_SINGLE = (
    *(0.3333333432674408, 0.133332297205925, 0.05399463325738907, 0.021619806066155434),
    *(0.009966779500246048, 0.0011779251508414745, 0.0038475263863801956),
)

# (atan(x) / x - 1) / x ** 2 in x ** 2 on |x| <= 1/2, and the same of asin.
_ATAN_DOUBLE = (
    -0.3333333333333333,
    0.19999999999999488,
    -0.14285714285599188,
    0.11111111100917376,
    -0.09090908620322523,
    0.07692294712540285,
    -0.06666435677235948,
    0.05879578429582425,
    -0.05240099507994713,
    0.04628024868570153,
    -0.03806653672057366,
    0.025006503566489507,
    -0.009215792047089858,
)
_ATAN_SINGLE = (
    *(-0.3333333432674408, 0.19999875128269196, -0.14279800653457642),
    *(0.11006880551576614, -0.0823550596833229, 0.042256858199834824),
)
_ASIN_DOUBLE = (
    0.16666666666666666,
    0.07500000000000118,
    0.044642857142551895,
    0.03038194447553234,
    0.02237215744350722,
    0.017352816540325496,
    0.01396378001220357,
    0.011566459612121669,
    0.009621842970100282,
    0.009319560794767446,
    0.0030448799094556773,
    0.019554513336123378,
    -0.01924167174674304,
    0.02961201126495512,
)
_ASIN_SINGLE = (
    *(0.1666666567325592, 0.07500094175338745, 0.04459940269589424),
    *(0.031100662425160408, 0.017149237915873528, 0.03369084745645523),
)
# Multiples of pi/4, each as two numbers, for double and for float.
_QUARTERS_DOUBLE = (
    (0.0, 0.0),
    (0.7853981633974483, 3.061616997868383e-17),
    (1.5707963267948966, 6.123233995736766e-17),
    (2.356194490192345, 9.184850993605148e-17),
    (3.141592653589793, 1.2246467991473532e-16),
)
_QUARTERS_SINGLE = (
    (0.0, 0.0),
    (0.7853981852531433, -2.1855694143368964e-08),
    (1.5707963705062866, -4.371138828673793e-08),
    (2.356194496154785, -5.962440319251527e-09),
    (3.1415927410125732, -8.742277657347586e-08),
)


def _sine(v: Lanes, x: str, low: str) -> tuple[str, str]:
    """``sin(x + low)`` of double on ``|x| <= pi/4``, as two terms."""
    z = v.multiply(x, x)
    cube = v.multiply(x, z)
    rest = v.muladd(v.multiply(cube, z), v.horner(_SIN_DOUBLE[1:], z), low)
    rest = v.muladd(v.multiply(z, v.number(-0.5)), low, rest)
    return x, v.muladd(cube, v.number(_SIN_DOUBLE[0]), rest)


def _cosine(v: Lanes, x: str, low: str) -> tuple[str, str]:
    """``cos(x + low)`` likewise: ``1 - x ** 2 / 2``, and the rest with its error."""
    z = v.multiply(x, x)
    one, half = v.number(1.0), v.multiply(z, v.number(0.5))
    most = v.subtract(one, half)
    error = v.subtract(v.subtract(one, most), half)
    rest = v.subtract(v.multiply(v.multiply(z, z), v.horner(_COS_DOUBLE, z)), v.multiply(x, low))
    return most, v.add(error, rest)


def _odd(v: Lanes, quadrant: str) -> str:
    return v.emitter.compare("ne", v.whole, v.on_bits("and", quadrant, 1), v.integer(0))


def _in_quadrant(v: Lanes, x: str, ahead: int) -> str:
    """``sin(x + ahead * pi/2)``."""
    turned = reduce(v, x, exact=v.double)
    quadrant = v.on_bits("add", turned.quadrant, ahead) if ahead else turned.quadrant
    if v.double:
        sine = v.add(*_sine(v, turned.angle, turned.low))
        cosine = v.add(*_cosine(v, turned.angle, turned.low))
    else:
        z = v.multiply(turned.angle, turned.angle)
        sine = v.muladd(v.horner(_SIN_SINGLE, z), v.multiply(turned.angle, z), turned.angle)
        cosine = v.horner(_COS_SINGLE, z)
    value = v.select(_odd(v, quadrant), cosine, sine)
    sign = v.on_bits("shl", v.on_bits("lshr", quadrant, 1), 63 if v.double else 31)
    return v.from_bits(v.on_bits("xor", v.bits(value), sign))


def sin(v: Lanes, x: str) -> str:
    """The sine."""
    result = _in_quadrant(v, x, 0)
    return v.select(v.compare("oeq", x, v.number(0.0)), x, result)  # the sign of -0


def cos(v: Lanes, x: str) -> str:
    """The cosine."""
    return _in_quadrant(v, x, 1)


def tan(v: Lanes, x: str) -> str:
    """``sin / cos``, or ``-cos / sin`` in the odd quadrants; in float ``t`` or ``-1 / t``, a polynomial."""
    turned = reduce(v, x)
    if not v.double:
        angle, z = turned.angle, v.multiply(turned.angle, turned.angle)
        low = v.muladd(turned.low, z, turned.low)
        t = v.add(v.muladd(v.horner(_TAN_SINGLE, z), v.multiply(angle, z), low), angle)
        result = v.select(_odd(v, turned.quadrant), v.divide(v.number(-1.0), t), t)
        return v.select(v.compare("oeq", x, v.number(0.0)), x, result)
    sine = v.ordered_sum(*_sine(v, turned.angle, turned.low))
    cosine = v.ordered_sum(*_cosine(v, turned.angle, turned.low))
    odd = _odd(v, turned.quadrant)
    top, top_low = (v.select(odd, v.negate(c), s) for s, c in zip(sine, cosine, strict=True))
    bottom, bottom_low = (v.select(odd, s, c) for s, c in zip(sine, cosine, strict=True))
    ratio = v.precise_ratio(top, top_low, bottom, bottom_low)
    return v.select(v.compare("oeq", x, v.number(0.0)), x, ratio)


def _arc(v: Lanes, y: str, x: str, behind: str | None) -> str:
    """The angle of ``(x, y)`` for x, y >= 0; ``pi`` less that where `behind` holds.

    ``atan(t)`` with t = y/x, (y - x) / (y + x) or -x/y, whichever is in [-1/2, 1/2], added to 0, pi/4 or
    pi/2: one division.
    """
    low = v.compare("ole", v.add(y, y), x)
    high = v.compare("ogt", y, v.add(x, x))
    top = v.select(low, y, v.select(high, v.negate(x), v.subtract(y, x)))
    bottom = v.select(low, x, v.select(high, y, v.add(y, x)))
    t = v.divide(top, bottom)
    z = v.multiply(t, t)
    rest = v.multiply(v.multiply(t, z), v.polynomial(_ATAN_DOUBLE, _ATAN_SINGLE, z))
    base = _choose(v, low, high, (0, 1, 2))
    if behind is not None:
        flipped = _choose(v, low, high, (4, 3, 2))
        base = tuple(v.select(behind, a, b) for a, b in zip(flipped, base, strict=True))
        t = v.select(behind, v.negate(t), t)
        rest = v.select(behind, v.negate(rest), rest)
    total, error = v.ordered_sum(base[0], t)
    # With base 0 the ordered sum is t itself, without an error.
    return v.add(total, v.add(v.add(error, base[1]), rest))


def _choose(v: Lanes, low: str, high: str, quarters: tuple[int, int, int]) -> tuple[str, ...]:
    table = _QUARTERS_DOUBLE if v.double else _QUARTERS_SINGLE
    near, middle, far = (tuple(map(v.number, table[quarter])) for quarter in quarters)
    return tuple(v.select(low, a, v.select(high, c, b)) for a, b, c in zip(near, middle, far, strict=True))


def atan(v: Lanes, x: str) -> str:
    """The inverse of the tangent."""
    return v.with_sign(_arc(v, v.magnitude(x), v.number(1.0), None), x)


def atan2(v: Lanes, y: str, x: str) -> str:
    """The angle of the point ``(x, y)``, with the signs of zeros that C99 wants."""
    zero, one = v.number(0.0), v.number(1.0)
    height, length = v.magnitude(y), v.magnitude(x)
    larger = v.select(v.compare("ogt", height, length), height, length)
    down = v.select(v.compare("ogt", larger, v.number(2.0 ** (v.bias - 3))), v.number(0.0625), one)
    height, length = v.multiply(height, down), v.multiply(length, down)
    infinite = v.emitter.both(v.is_infinite(height), v.is_infinite(length))
    height = v.select(infinite, one, height)
    # Only the sign of x tells where (0, 0) lies.
    nothing = v.emitter.both(v.compare("oeq", height, zero), v.compare("oeq", length, zero))
    length = v.select(v.emitter.either(infinite, nothing), one, length)
    behind = v.emitter.compare("slt", v.whole, v.bits(x), v.integer(0))
    return v.with_sign(_arc(v, height, length, behind), y)


def _arc_sine(v: Lanes, x: str, z: str) -> str:
    """``asin(x) - x`` with ``z = x ** 2 <= 1/4``."""
    return v.multiply(v.multiply(x, z), v.polynomial(_ASIN_DOUBLE, _ASIN_SINGLE, z))


def _halved(v: Lanes, size: str) -> tuple[str, str, str]:
    """Whether ``|x| <= 1/2``, and the s and s * s whose arc sine counts: x, or ``sqrt((1 - |x|) / 2)``."""
    near = v.compare("ole", size, v.number(0.5))
    half = v.multiply(v.subtract(v.number(1.0), size), v.number(0.5))
    z = v.select(near, v.multiply(size, size), half)
    return near, v.select(near, size, v.root(half)), z


def asin(v: Lanes, x: str) -> str:
    """The inverse of the sine; above 1/2 by that of ``sqrt((1 - |x|) / 2)``."""
    near, s, z = _halved(v, v.magnitude(x))
    rest = _arc_sine(v, s, z)
    high, low = (v.number(part) for part in (_QUARTERS_DOUBLE if v.double else _QUARTERS_SINGLE)[2])
    most, error = v.ordered_sum(high, v.multiply(s, v.number(-2.0)))
    far = v.add(most, v.add(error, v.muladd(rest, v.number(-2.0), low)))
    return v.with_sign(v.select(near, v.add(s, rest), far), x)


def acos(v: Lanes, x: str) -> str:
    """``2 asin(sqrt((1 - x) / 2))`` above 1/2, pi less that below -1/2, between them ``pi/2 - asin(x)``."""
    table = _QUARTERS_DOUBLE if v.double else _QUARTERS_SINGLE
    near, s, z = _halved(v, v.magnitude(x))
    rest = _arc_sine(v, s, z)
    negative = v.compare("olt", x, v.number(0.0))
    high, low = map(v.number, table[2])
    signed, signed_rest = v.with_sign(s, x), v.with_sign(rest, x)
    most, error = v.ordered_sum(high, v.negate(signed))
    middle = v.add(most, v.add(error, v.subtract(low, signed_rest)))
    twice = v.multiply(v.add(s, rest), v.number(2.0))
    high, low = map(v.number, table[4])
    behind = v.subtract(high, v.subtract(twice, low))
    return v.select(near, middle, v.select(negative, behind, twice))
