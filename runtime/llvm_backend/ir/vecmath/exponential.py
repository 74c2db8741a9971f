"""The exponential function and what is one division away from it: expm1, sigmoid, sinh, cosh.

``x = n ln 2 + r`` with ``|r| <= ln 2 / 2``, then ``e ** x = 2 ** n * (1 + r + r ** 2 q(r))``. In double the
error of ``r`` and the low part of ``1 + r`` are carried along, so the last rounding is nearly the only one.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import pack, unpack

from graphc.freezing import frozen
from runtime.llvm_backend.ir.vecmath.lanes import Lanes

_LOG2_E = 1.4426950408889634
# ln 2 in two parts, the first so short that its products with n are exact.
_LN2_DOUBLE = (float.fromhex("0x1.62e42feep-1"), float.fromhex("0x1.a39ef35793c76p-33"))
_LN2_SINGLE = (float.fromhex("0x1.62e400p-1"), float.fromhex("0x1.7f7d1cp-20"))

# (exp(r) - 1 - r) / r ** 2 on |r| <= ln 2 / 2, at Chebyshev's nodes: to 2e-18 and 7e-8.
_EXP_DOUBLE = (
    0.5,
    0.1666666666666667,
    0.04166666666666667,
    0.008333333333326084,
    0.0013888888888883711,
    0.0001984126987500228,
    2.480158732567746e-05,
    2.755725517000089e-06,
    2.755727347871858e-07,
    2.5105312729622103e-08,
    2.09147553258932e-09,
)
_EXP_SINGLE = (0.5, 0.16666576266288757, 0.04166655242443085, 0.00836323294788599, 0.0013926250394433737)

# (sinh(x) / x - 1) / x ** 2 in x ** 2 on |x| <= 1: to 2e-19 and 2e-10.
_SINH_DOUBLE = (
    0.16666666666666666,
    0.008333333333333333,
    0.0001984126984126984,
    2.7557319223985825e-06,
    2.505210838547607e-08,
    1.605904382690051e-10,
    7.647165414593481e-13,
    2.8112909646770106e-15,
)
_SINH_SINGLE = (0.1666666716337204, 0.008333339355885983, 0.00019838102161884308, 2.806280235745362e-06)


@frozen
class Reduced:
    """``e ** x = 2 ** n * (1 + rest + tail)``; `shifted` is n plus the magic number.

    In float `rest` holds the tail too, and `tail` is 0.
    """

    rest: str
    tail: str
    n: str
    shifted: str


def reduce(v: Lanes, x: str, low: str | None = None) -> Reduced:
    """The parts of ``exp(x + low)`` for x in the range where n is small, or NaN."""
    shifted = v.muladd(x, v.number(_LOG2_E), v.number(v.magic))
    n = v.subtract(shifted, v.number(v.magic))
    ln2 = _LN2_DOUBLE if v.double else _LN2_SINGLE
    near = v.muladd(n, v.number(-ln2[0]), x)
    if not v.double:
        rest = v.muladd(n, v.number(-ln2[1]), near)
        grown = v.muladd(v.horner(_EXP_SINGLE, rest), v.multiply(rest, rest), rest)
        return Reduced(grown, v.number(0.0), n, shifted)
    correction = v.multiply(n, v.number(ln2[1]))
    if low is not None:
        correction = v.subtract(correction, low)
    rest = v.subtract(near, correction)
    error = v.subtract(v.subtract(near, rest), correction)
    square = v.multiply(rest, rest)
    return Reduced(rest, v.muladd(v.horner(_EXP_DOUBLE, rest), square, error), n, shifted)


def significand(v: Lanes, parts: Reduced) -> str:
    """``1 + rest + tail``."""
    high, low = v.ordered_sum(v.number(1.0), parts.rest)
    return v.add(high, v.add(low, parts.tail))


def exponent(v: Lanes, parts: Reduced, offset: int = 0) -> str:
    """``n + offset`` as an integer."""
    return v.on_bits("sub", v.bits(parts.shifted), v.magic_bits - offset)


def scale(v: Lanes, x: str, n: str, shifted: str, offset: int = 0) -> str:
    """``x * 2 ** (n + offset)`` rounded once, n as `Reduced` has it."""
    if v.scales:
        return v.scaled(x, v.add(n, v.number(offset)) if offset else n)
    return scale_by(v, x, v.on_bits("sub", v.bits(shifted), v.magic_bits - offset))


def scale_by(v: Lanes, x: str, n: str) -> str:
    """``x * 2 ** n`` rounded once, for n in twice the range of exponents."""
    first = v.on_bits("ashr", n, 1)
    return v.multiply(v.multiply(x, v.power_of_two(first)), v.power_of_two(v.on_bits("sub", n, first)))


def limited(v: Lanes, x: str) -> str:
    """`x` where its exponential neither overflows nor vanishes wholly, else a bound beyond that."""
    return v.at_least(v.pick(-750.0, -107.0), v.at_most(v.pick(715.0, 92.0), x))


def exp(v: Lanes, x: str, *, low: str | None = None, offset: int = 0) -> str:
    """``2 ** offset * e ** (x + low)``."""
    if not v.double and low is None:
        return _exp_single(v, x, offset)
    parts = reduce(v, limited(v, x), low)
    return scale(v, significand(v, parts), parts.n, parts.shifted, offset)


def halves(numbers: Sequence[float]) -> tuple[list[float], list[float]]:
    """Each number as a float, and what that leaves."""
    floats = [unpack("f", pack("f", x))[0] for x in numbers]
    return floats, [x - near for x, near in zip(numbers, floats, strict=True)]


# 2 ** (k / 16) as a float and what that leaves; e ** r = 1 + r + r ** 2 (c[0] + c[1] r) on
# |r| <= ln 2 / 32, to 5e-9.
SIXTEENTHS, SIXTEENTHS_LOW = halves([2.0 ** (k / 16) for k in range(16)])
_EXP_NEAR = (0.5000098, 0.16666667)


def exp_by_table(
    v: Lanes, x: str, offset: int, *, low: str | None = None, factor: str | None = None, wide: bool = False
) -> str:
    """``2 ** offset * factor * e ** (x - low)`` of floats whose exponential is in range, or NaN.

    ``x = (n + k / 16) ln 2 + r``: the sixteenths of a power of two fill one register. With `wide`, of any x
    where lanes scale: n is so large wherever r is held that it alone decides, or it is NaN.
    """
    magic = v.number(1.5 * 2.0**19)
    shifted = v.muladd(x, v.number(_LOG2_E), magic)  # whose last four bits are k
    n = v.subtract(shifted, magic)
    rest = v.muladd(n, v.number(-_LN2_SINGLE[0]), x)
    rest = v.muladd(n, v.number(-_LN2_SINGLE[1]), rest)
    if low is not None:
        rest = v.subtract(rest, low)
    if wide:
        rest = v.held_within(rest, 0.03)
    power, power_low = (v.looked_up(table, v.bits(shifted)) for table in (SIXTEENTHS, SIXTEENTHS_LOW))
    p = v.muladd(v.horner(_EXP_NEAR, rest), rest, v.number(1.0))
    p = v.muladd(v.muladd(power, rest, power_low), p, power)
    if factor is not None:
        p = v.multiply(p, factor)
    return scale_sixteenths(v, p, n, shifted, offset)


def scale_sixteenths(v: Lanes, x: str, n: str, shifted: str, offset: int = 0) -> str:
    """``x * 2 ** (floor(n) + offset)`` rounded once; `shifted` is n plus ``1.5 * 2 ** 19``."""
    if v.scales:
        return v.scaled(x, v.add(n, v.number(offset)) if offset else n)
    sixteenths = v.on_bits("sub", v.bits(shifted), 0x49400000)  # the bits of that
    return scale_by(v, x, v.on_bits("add", v.on_bits("ashr", sixteenths, 4), offset))


def _exp_single(v: Lanes, x: str, offset: int) -> str:
    if v.looks_up:
        return exp_by_table(v, x if v.scales else limited(v, x), offset, wide=v.scales)
    n, shifted, p = _horner_single(v, limited(v, x))
    return scale(v, p, n, shifted, offset)


def _horner_single(v: Lanes, x: str) -> tuple[str, str, str]:
    shifted = v.muladd(x, v.number(_LOG2_E), v.number(v.magic))
    n = v.subtract(shifted, v.number(v.magic))
    rest = v.muladd(n, v.number(-_LN2_SINGLE[0]), x)
    rest = v.muladd(n, v.number(-_LN2_SINGLE[1]), rest)
    return n, shifted, v.horner((1.0, 1.0, *_EXP_SINGLE), rest)


def exp_in_range(v: Lanes, x: str) -> str:
    """``e ** x`` for an x whose exponential is normal and finite, or NaN."""
    if v.looks_up:
        return exp_by_table(v, x, 0)
    if v.double:
        parts = reduce(v, x)
        n, shifted, p = parts.n, parts.shifted, significand(v, parts)
    else:
        n, shifted, p = _horner_single(v, x)
    if v.scales:
        return v.scaled(p, n)
    return v.multiply(p, v.power_of_two(v.on_bits("sub", v.bits(shifted), v.magic_bits)))


def expm1(v: Lanes, x: str) -> str:
    """``e ** x - 1 = 2 ** n (rest + tail) + (2 ** n - 1)``, which for n = 0 is exact near 0."""
    parts = reduce(v, v.at_least(v.pick(-60.0, -40.0), v.at_most(v.pick(710.0, 89.0), x)))
    half = _half_power(v, parts)
    less_one = v.subtract(half, v.number(0.5))
    if v.double:
        high, low = v.exact_sum(less_one, v.multiply(half, parts.rest))
        total = v.add(high, v.muladd(half, parts.tail, low))
    else:
        total = v.muladd(half, parts.rest, less_one)
    result = v.multiply(total, v.number(2.0))
    tiny = v.compare("olt", v.magnitude(x), v.number(v.tiny * 2.0**60))  # keeps -0 and denormals
    return v.select(tiny, x, result)


def half_expm1(v: Lanes, x: str) -> str:
    """``(e ** x - 1) / 2`` of a float in ``[0, 20]``, or NaN."""
    parts = reduce(v, x)
    half = _half_power(v, parts)
    return v.muladd(half, parts.rest, v.subtract(half, v.number(0.5)))


def _half_power(v: Lanes, parts: Reduced) -> str:
    """``2 ** (n - 1)``, for ``2 ** n`` itself may overflow."""
    if v.scales:
        return v.scaled(v.number(0.5), parts.n)
    return v.power_of_two(exponent(v, parts, -1))


def sigmoid(v: Lanes, x: str, shows: bool = False) -> str:
    """``1 / (1 + e)`` or ``e / (1 + e)`` with ``e = exp(-|x|)``; with `shows`, NaN of an infinity."""
    small = exp(v, v.negate(v.magnitude(x)))
    if v.scales:
        top = v.by_kind(small, x, 0xA033AA00 if shows else 0xA0A0AA00)
    else:
        top = v.select(v.compare("olt", x, v.number(0.0)), small, v.number(1.0))
    found = v.divide(top, v.add(v.number(1.0), small))
    return v.muladd(x, v.number(0.0), found) if shows and not v.scales else found


def showing_sigmoid(v: Lanes, x: str) -> str:
    """`sigmoid`, but NaN of an infinity."""
    return sigmoid(v, x, shows=True)


def sinh(v: Lanes, x: str) -> str:
    """A polynomial up to 1, then ``h - 1 / 4h`` with ``h = exp(|x|) / 2``."""
    size, square = v.magnitude(x), v.multiply(x, x)
    cube = v.multiply(v.multiply(x, square), v.polynomial(_SINH_DOUBLE, _SINH_SINGLE, square))
    half = exp(v, size, offset=-1)
    large = v.with_sign(v.subtract(half, v.divide(v.number(0.25), half)), x)
    return v.select(v.compare("olt", size, v.number(1.0)), v.add(x, cube), large)


def cosh(v: Lanes, x: str) -> str:
    """``h + 1 / 4h`` with ``h = exp(|x|) / 2``."""
    half = exp(v, v.magnitude(x), offset=-1)
    return v.add(half, v.divide(v.number(0.25), half))
