"""``x ** y = exp(y log|x|)``, for double with the logarithm kept to twice the precision."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, log, log2, nan

from runtime.llvm_backend.ir.text import Emitter, Module
from runtime.llvm_backend.ir.vecmath.exponential import (
    SIXTEENTHS,
    SIXTEENTHS_LOW,
    exp,
    halves,
    scale_sixteenths,
)
from runtime.llvm_backend.ir.vecmath.lanes import Lanes
from runtime.llvm_backend.ir.vecmath.logarithm import as_number, split

_LN2 = (
    float.fromhex("0x1.62e42feep-1"),
    float.fromhex("0x1.a39ef35793c76p-33"),
    float.fromhex("0x1.cc01f97b57a08p-87"),
)
_TWO_THIRDS = (0.6666666666666666, 3.700743415417188e-17)
# log((1 + s) / (1 - s)) = 2 s + 2/3 s ** 3 + s ** 5 p(s ** 2).
_SERIES = (
    0.4,
    0.2857142857142937,
    0.22222222221654733,
    0.1818181833565416,
    0.15384594934597917,
    0.13334806212100603,
    0.11706195689881364,
    0.11723603622905411,
)


# log2(1 + f) / f for 1 + f between the roots of 1/2 and 2, and 2 ** r on |r| <= 1/2: to 2 ** -33
# and 2 ** -28, so that 150 times the first error is a fifth of a float's last place.
_LOG2 = (
    1.4426950409582302,
    -0.7213475248945522,
    0.4808983110824002,
    -0.360672845348936,
    0.28854145553597715,
    -0.24050279825001172,
    0.20607165109914127,
    -0.17905123203322462,
    0.15931300522348446,
    -0.15722652971153048,
    0.1534528693745451,
    -0.08433521045800585,
)
_EXP2 = (
    1.0,
    0.6931472067028326,
    0.24022650922288757,
    0.05550327226670302,
    0.009618056678524637,
    0.0013400428177615838,
    0.0001546144469856913,
)


# About 1 / x of 1, 33/32, ..., 44/32 and 45/64, ..., 63/64, by the first five bits behind the point, and less
# its logarithm: two floats, the first so short that k is added exactly.
_LEAST = 0x3F320000  # 89/128, below which 2 x is nearer to one of them
_INVERSE = halves([32 / (32 + i) if i < 13 else 64 / (32 + i) for i in range(32)])[0]
_LOG2_HIGH = [round(-log2(x) * 2**15) / 2**15 for x in _INVERSE]
_LOG2_LOW = [-log2(x) - high for x, high in zip(_INVERSE, _LOG2_HIGH, strict=True)]
_LOG2_E = (*halves([1 / log(2)])[0], *halves([1 / log(2)])[1])
# (log2(1 + r) - r / ln 2) / r ** 2 on |r| <= 1/64, (2 ** r - 1) / r on |r| <= 1/32: to 2 ** -29 and 2 ** -23.
_LOG2_NEAR = (-0.7213475187613902, 0.48089837198263713, -0.36073063782178433, 0.2883642810219903)
_EXP2_NEAR = (0.6931471809060731, 0.2402335735056787, 0.05550367498501011)


_MOST = 250.0  # beyond all exponents of floats, and no more than twice the range of a power of two


# The same of sixteenths, 1 to 22/16 and 23/32 to 31/32, for double; k is added to the natural logarithm.
_LEAST_DOUBLE = 0x3FE6800000000000  # 45/64
_INVERSE_DOUBLE = [16 / (16 + i) if i < 7 else 32 / (16 + i) for i in range(16)]
_LOG_HIGH = [
    x / 2**32
    for x in (
        0,
        260380768,
        505874286,
        738091233,
        958394255,
        1167946415,
        1367748360,
        -1418377245,
        -1235585093,
        -1060255961,
        -891804281,
        -729710807,
        -573512964,
        -422796893,
        -277190838,
        -136359621,
    )
]
_LOG_LOW = (
    *(0.0, 7.905956311909564e-12, 3.906178038991116e-11, 7.199101823058367e-11),
    *(4.8388839392411926e-11, -7.403771961561434e-11, 1.0320999546433957e-10, 2.6775509313387077e-11),
    *(4.053549331393662e-11, -9.404372393661418e-11, -1.9738139852117177e-11, 7.959721819269656e-11),
    *(-7.256400669158887e-11, -8.120625949647528e-11, 8.892434658413635e-11, 1.1247444379646227e-11),
)
# (log(1 + r) - r + r ** 2 / 2) / r ** 3 on |r| <= 1/32, to 2 ** -57.
_LOG_NEAR = (
    0.3333333333333333,
    -0.24999999999999792,
    0.20000000000007387,
    -0.1666666666967553,
    0.14285714239274688,
    -0.12499988213110856,
    0.11111199762618217,
    -0.10017148169213214,
    0.09045060230654352,
)


def power(v: Lanes, x: str, y: str) -> str:
    """``x ** y`` with the special cases of C99's pow, which are seldom met."""
    if not v.emitter.target.masks:
        return _with_edges(v, x, y, _of_doubles if v.double else _of_floats)
    em, of = v.emitter, v.emitter.type(v.scalar)
    way = _doubles_by_table if v.double else _floats_by_table
    inside = em.both(v.compare("oge", x, v.number(v.tiny)), v.compare("olt", x, v.number(inf)))
    outside = em.opposite(em.both(inside, v.compare("olt", v.magnitude(y), v.number(inf))))
    helper = f"@vecmath.power.{em.suffix(v.scalar)}"
    em.module.define(helper, lambda: _function(em.module, em.width, v.double, helper))
    usual, seldom, done = (em.fresh_label(label) for label in ("usual", "seldom", "raised"))
    em.module.declare("!900", '!900 = !{!"branch_weights", i32 1, i32 1000}')
    em.do(f"br i1 {em.any(outside)}, label %{seldom}, label %{usual}, !prof !900")
    em.begin(seldom)
    any = em.let(f"call {of} {helper}({of} {x}, {of} {y})")
    em.do(f"br label %{done}")
    em.begin(usual)
    found = way(v, x, y, usual=True)
    em.do(f"br label %{done}")
    em.begin(done)
    return em.let(f"phi {of} [{any}, %{seldom}], [{found}, %{usual}]")


def _function(module: Module, width: int, double: bool, name: str) -> str:
    v = Lanes(Emitter(module, width), double)
    of = v.emitter.type(v.scalar)
    result = _with_edges(v, "%x", "%y", _doubles_by_table if double else _floats_by_table)
    head = f"define internal {of} {name}({of} %x, {of} %y) noinline nounwind {{"
    return "\n".join([head, "entry:", *v.emitter.lines, f"  ret {of} {result}", "}"])


def _with_edges(v: Lanes, x: str, y: str, way: Callable[[Lanes, str, str], str]) -> str:
    """``x ** y``, which `way` gives of an x that is not negative."""
    em, zero, one = v.emitter, v.number(0.0), v.number(1.0)
    size = v.magnitude(x)
    result = way(v, size, y)
    whole = v.compare("oeq", em.intrinsic("rint", v.scalar, y), y)
    half = v.multiply(y, v.number(0.5))
    odd = em.both(whole, v.compare("une", em.intrinsic("rint", v.scalar, half), half))
    signed = v.select(odd, v.with_sign(result, x), result)
    negative = em.both(v.compare("olt", x, zero), v.compare("ogt", x, v.number(-inf)))
    outside = em.both(negative, v.compare("one", em.intrinsic("rint", v.scalar, y), y))
    signed = v.select(outside, v.number(nan), signed)
    unit = em.either(v.compare("oeq", x, one), v.compare("oeq", y, zero))
    unit = em.either(unit, em.both(v.compare("oeq", size, one), v.is_infinite(y)))
    return v.select(unit, one, signed)


def _of_doubles(v: Lanes, x: str, y: str) -> str:
    """``x ** y`` of an x that is not negative."""
    high, low = _precise_log(v, x)
    product, error = v.exact_product(y, high)
    error = v.muladd(y, low, error)
    moderate = v.compare("olt", v.magnitude(product), v.number(2000.0))
    return exp(v, product, low=v.select(moderate, error, v.number(0.0)))


def _of_floats(v: Lanes, x: str, y: str) -> str:
    """``2 ** (y log2(x))`` of an x that is not negative, in double: there every float but 0 is normal."""
    w = v.widened()
    x, y = v.widen(x), v.widen(y)
    exponent, m = split(w, x)
    f = w.subtract(m, w.number(1.0))
    found = w.muladd(w.horner(_LOG2, f), f, as_number(w, exponent))
    found = w.select(w.compare("olt", x, w.number(inf)), found, x)
    found = w.select(w.compare("oeq", x, w.number(0.0)), w.number(-inf), found)
    t = w.at_least(w.number(-300.0), w.at_most(w.number(300.0), w.multiply(y, found)))
    shifted = w.add(t, w.number(w.magic))
    rest = w.subtract(t, w.subtract(shifted, w.number(w.magic)))
    n = w.on_bits("sub", w.bits(shifted), w.magic_bits)
    return v.narrow(w.multiply(w.horner(_EXP2, rest), w.power_of_two(n)))


def _parted(v: Lanes, x: str, least: int, digits: int | None) -> tuple[str, str, str]:
    """The bits of `x` over a power of two, so that they are `least` or more; that power's; what to add to it.

    A number below all normal ones is multiplied by two, `digits` times; None: there is none.
    """
    normal, less = x, v.number(0.0)
    if digits is not None:
        denormal = v.compare("olt", x, v.number(v.tiny))
        normal = v.select(denormal, v.multiply(x, v.number(2.0**digits)), x)
        less = v.select(denormal, v.number(-float(digits)), less)
    bits = v.bits(normal)
    exponent = v.on_bits("and", v.on_bits("sub", bits, least), -(1 << v.mantissa))
    return v.on_bits("sub", bits, exponent), exponent, less


def _floats_by_table(v: Lanes, x: str, y: str, usual: bool = False) -> str:
    """``2 ** (y log2(x))`` in pairs of floats, the logarithm being that of a near number and of what is left.

    With `usual` x is a normal number, and y finite.
    """
    m, exponent, less = _parted(v, x, _LEAST, None if usual else 23)
    whole = v.emitter.convert("sitofp", "i32", "float", exponent)
    near = v.on_bits("lshr", v.on_bits("add", m, 1 << 17), 18)
    inverse, high, low = (v.looked_up(table, near) for table in (_INVERSE, _LOG2_HIGH, _LOG2_LOW))
    product, rest_low = v.exact_product(v.from_bits(m), inverse)
    rest = v.subtract(product, v.number(1.0))
    rest_low = v.subtract(rest_low, v.multiply(rest, rest_low))  # the slope of log(1 + r) there
    main, error = v.exact_product(rest, v.number(_LOG2_E[0]))
    low = v.add(low, v.muladd(rest, v.number(_LOG2_E[1]), v.muladd(rest_low, v.number(_LOG2_E[0]), error)))
    low = v.muladd(v.multiply(rest, rest), v.horner(_LOG2_NEAR, rest), low)
    k = v.muladd(whole, v.number(2.0**-23), less)
    found, error = v.ordered_sum(v.add(k, high), main)
    found, low = v.ordered_sum(found, v.add(low, error))
    if not usual:
        found = v.select(v.compare("olt", x, v.number(inf)), found, x)
        found = v.select(v.compare("oeq", x, v.number(0.0)), v.number(-inf), found)
    t, t_low = v.exact_product(y, found)
    t_low = v.muladd(y, low, t_low)
    t_low = v.select(v.compare("olt", v.magnitude(t), v.number(_MOST)), t_low, v.number(0.0))
    t = v.at_least(v.number(-_MOST), v.at_most(v.number(_MOST), t))
    shifted = v.add(t, v.number(1.5 * 2.0**19))  # whose last four bits are sixteenths
    n = v.subtract(shifted, v.number(1.5 * 2.0**19))
    rest = v.add(v.subtract(t, n), t_low)
    power, power_low = (v.looked_up(table, v.bits(shifted)) for table in (SIXTEENTHS, SIXTEENTHS_LOW))
    grown = v.multiply(rest, v.horner(_EXP2_NEAR, rest))
    return scale_sixteenths(v, v.add(v.muladd(power, grown, power_low), power), n, shifted)


def _doubles_by_table(v: Lanes, x: str, y: str, usual: bool = False) -> str:
    """``exp(y log(x))`` likewise, the logarithm as two doubles."""
    one, half = v.number(1.0), v.number(-0.5)
    m, exponent, less = _parted(v, x, _LEAST_DOUBLE, None if usual else 54)
    near = v.on_bits("lshr", v.on_bits("add", m, 1 << 47), 48)
    inverse, high, low = (v.looked_up(table, near) for table in (_INVERSE_DOUBLE, _LOG_HIGH, _LOG_LOW))
    k = v.add(as_number(v, exponent), less)
    product, rest_low = v.exact_product(v.from_bits(m), inverse)
    rest = v.subtract(product, one)
    square, square_low = v.exact_product(rest, rest)
    rest_low = v.muladd(v.subtract(square, rest), rest_low, rest_low)  # by the slope of log(1 + r) there
    main = v.muladd(square, half, rest)
    error = v.muladd(square, half, v.subtract(rest, main))
    error = v.add(v.muladd(square_low, half, error), rest_low)
    low = v.add(v.muladd(k, v.number(_LN2[1]), low), error)
    low = v.muladd(v.multiply(square, rest), v.horner(_LOG_NEAR, rest), low)
    found, error = v.ordered_sum(v.muladd(k, v.number(_LN2[0]), high), main)
    found, low = v.ordered_sum(found, v.add(low, error))
    if not usual:
        found = v.select(v.compare("olt", x, v.number(inf)), found, x)
        found = v.select(v.compare("oeq", x, v.number(0.0)), v.number(-inf), found)
    product, error = v.exact_product(y, found)
    moderate = v.compare("olt", v.magnitude(product), v.number(2000.0))
    return exp(v, product, low=v.select(moderate, v.muladd(y, low, error), v.number(0.0)))


def _precise_log(v: Lanes, x: str) -> tuple[str, str]:
    """``log(x)`` of x >= 0 as two numbers, to about 2 ** -68 of itself."""
    denormal = v.compare("olt", x, v.number(v.tiny))
    exponent, m = split(v, v.select(denormal, v.multiply(x, v.number(2.0**54)), x))
    k = v.add(as_number(v, exponent), v.select(denormal, v.number(-54.0), v.number(0.0)))
    # s = f / (2 + f), and what the division left over.
    f = v.subtract(m, v.number(1.0))
    bottom, bottom_low = v.exact_sum(v.number(2.0), f)
    s = v.divide(f, bottom)
    back, back_low = v.exact_product(s, bottom)
    left = v.subtract(v.subtract(f, back), v.muladd(s, bottom_low, back_low))
    s_low = v.divide(left, bottom)
    z, z_low = v.exact_product(s, s)
    z_low = v.muladd(v.add(s, s), s_low, z_low)
    cube, cube_low = v.exact_product(s, z)
    cube_low = v.add(cube_low, v.muladd(s, z_low, v.multiply(s_low, z)))
    # The factor of s ** 3: 2/3 + z p(z).
    series = v.multiply(z, v.horner(_SERIES, z))
    factor, factor_low = v.ordered_sum(v.number(_TWO_THIRDS[0]), series)
    factor_low = v.add(factor_low, v.number(_TWO_THIRDS[1]))
    third, third_low = v.exact_product(cube, factor)
    third_low = v.add(third_low, v.muladd(cube, factor_low, v.multiply(cube_low, factor)))
    # k ln 2 + 2 s + the third.
    high = v.multiply(k, v.number(_LN2[0]))
    low, low_rest = v.exact_product(k, v.number(_LN2[1]))
    low_rest = v.muladd(k, v.number(_LN2[2]), low_rest)
    twice, twice_low = v.add(s, s), v.add(s_low, s_low)
    total, first = v.exact_sum(high, twice)
    total, second = v.exact_sum(total, third)
    total, fourth = v.exact_sum(total, low)
    rest = v.add(v.add(first, second), v.add(fourth, low_rest))
    rest = v.add(rest, v.add(twice_low, third_low))
    total, rest = v.ordered_sum(total, rest)
    edge = v.select(v.compare("oeq", x, v.number(0.0)), v.number(-inf), x)
    proper = v.emitter.both(v.compare("ogt", x, v.number(0.0)), v.compare("olt", x, v.number(inf)))
    return v.select(proper, total, edge), v.select(proper, rest, v.number(0.0))
