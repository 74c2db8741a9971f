"""Angles brought into ``[-pi/4, pi/4]``: by parts of pi/2 up to a limit, by its reciprocal's bits beyond."""

from __future__ import annotations

from math import inf

from graphc.freezing import frozen
from runtime.llvm_backend.ir.text import Emitter, Module
from runtime.llvm_backend.ir.vecmath.lanes import Lanes

_TWO_OVER_PI = 0.6366197723675814
# pi/2 in parts of 33 bits, whose products with n < 2 ** 20 are exact in double, and a last one of 53.
_PARTS_DOUBLE = (
    float.fromhex("0x1.921fb544p+0"),
    float.fromhex("0x1.0b4611a6p-34"),
    float.fromhex("0x1.3198a2e0p-69"),
    float.fromhex("0x1.b839a252049c1p-104"),
)
# In parts of 53 bits, for a fused multiply-add: the angle less n times the first is exact.
_PARTS_FUSED = (
    float.fromhex("0x1.921fb54442d18p+0"),
    float.fromhex("0x1.1a62633145c07p-54"),
    float.fromhex("-0x1.f1976b7ed8fbcp-110"),
)
# In float the parts rest on the product being exact inside a fused multiply-add.
_PARTS_SINGLE = (
    float.fromhex("0x1.921fb0p+00"),
    float.fromhex("0x1.5110b4p-22"),
    float.fromhex("0x1.846988p-48"),
)
_LIMIT_DOUBLE, _LIMIT_SINGLE = 1.0e6, 1.0e5

# 2 / pi, 64 bits before the point and 1280 behind it.
_BITS = """
0
a2f9836e4e441529 fc2757d1f534ddc0 db6295993c439041 fe5163abdebbc561 b7246e3a424dd2e0
06492eea09d1921c fe1deb1cb129a73e e88235f52ebb4484 e99c7026b45f7e41 3991d639835339f4
9c845f8bbdf9283b 1ff897ffde05980f ef2f118b5a0a6d1f 6d367ecf27cb09b7 4f463f669e5fea2d
7527bac7ebe5f17b 3d0739f78a5292ea 6bfb5fb11f8d5d08 56033046fc7b6bab f0cfbc209af4361d
"""


@frozen
class Turned:
    """``x = quadrant * pi/2 + angle + low``; the two low bits of `quadrant` count."""

    angle: str
    low: str
    quadrant: str


def reduce(v: Lanes, x: str, *, exact: bool = True) -> Turned:
    """The angle of `x` in its quadrant; where a lane is large, by `_large` for that lane.

    Where it need not be `exact`, a float's angle is rounded and `low` is 0.
    """
    near = _reduce_double(v, x) if v.double else _reduce_single(v, x, exact)
    size = v.magnitude(x)
    limit = v.pick(_LIMIT_DOUBLE, _LIMIT_SINGLE)
    large = v.emitter.both(v.compare("ogt", size, limit), v.compare("olt", size, v.number(inf)))
    return _merge_large(v, x, large, near)


def _reduce_double(v: Lanes, x: str) -> Turned:
    shifted = v.muladd(x, v.number(_TWO_OVER_PI), v.number(v.magic))
    n = v.subtract(shifted, v.number(v.magic))
    if v.emitter.target.fma:
        first, second, third = (v.number(-part) for part in _PARTS_FUSED)
        product, error = v.exact_product(n, second)
        angle, low = v.exact_sum(v.muladd(n, first, x), product)
        return Turned(angle, v.muladd(n, third, v.add(low, error)), v.bits(shifted))
    parts = [v.multiply(n, v.number(part)) for part in _PARTS_DOUBLE]
    rest = v.subtract(x, parts[0])
    rest, first = v.exact_sum(rest, v.negate(parts[1]))
    rest, second = v.exact_sum(rest, v.negate(parts[2]))
    low = v.subtract(v.add(first, second), parts[3])
    angle, low = v.ordered_sum(rest, low)
    return Turned(angle, low, v.bits(shifted))


def _reduce_single(v: Lanes, x: str, exact: bool) -> Turned:
    if not v.emitter.target.fma:
        wide = v.widened()
        long = wide.widen(v.widen(x))
        shifted = wide.muladd(long, wide.number(_TWO_OVER_PI), wide.number(wide.magic))
        n = wide.subtract(shifted, wide.number(wide.magic))
        long = wide.subtract(long, wide.multiply(n, wide.number(_PARTS_DOUBLE[0])))
        long = wide.subtract(long, wide.multiply(n, wide.number(_PARTS_DOUBLE[1])))
        quadrant = v.emitter.convert("trunc", "i64", "i32", wide.bits(shifted))
        angle = v.narrow(long)
        return Turned(angle, v.narrow(wide.subtract(long, v.widen(angle))), quadrant)
    shifted = v.muladd(x, v.number(_TWO_OVER_PI), v.number(v.magic))
    n = v.subtract(shifted, v.number(v.magic))
    first, second, third = (v.number(-part) for part in _PARTS_SINGLE)
    rest = v.muladd(n, first, x)
    if not exact:
        angle = v.muladd(n, third, v.muladd(n, second, rest))
        return Turned(angle, v.number(0.0), v.bits(shifted))
    product, error = v.exact_product(n, second)
    angle, low = v.exact_sum(rest, product)
    return Turned(angle, v.muladd(n, third, v.add(low, error)), v.bits(shifted))


def _merge_large(v: Lanes, x: str, large: str, near: Turned) -> Turned:
    """`near`, where no lane is large; else what the helper makes of it."""
    em = v.emitter
    real, whole = em.type(v.scalar), em.type(v.whole)
    helper = f"@vecmath.turn.{em.suffix(v.scalar)}"
    result = f"{{ {real}, {real}, {whole} }}"
    em.module.define(helper, lambda: _lanewise(em.module, em.width, v.double))
    slow, done, before = em.fresh_label("slow"), em.fresh_label("turned"), em.fresh_label("near")
    em.do(f"br label %{before}")
    em.begin(before)
    em.do(f"br i1 {em.any(large)}, label %{slow}, label %{done}, !prof !900")
    em.module.declare("!900", '!900 = !{!"branch_weights", i32 1, i32 1000}')
    em.begin(slow)
    mask = em.type("i1")
    far = em.let(
        f"call {result} {helper}({real} {x}, {mask} {large}, "
        f"{real} {near.angle}, {real} {near.low}, {whole} {near.quadrant})"
    )
    fields = [em.let(f"extractvalue {result} {far}, {i}") for i in range(3)]
    em.do(f"br label %{done}")
    em.begin(done)
    merged = [
        em.let(f"phi {of} [{kept}, %{before}], [{field}, %{slow}]")
        for of, kept, field in zip(
            (real, real, whole), (near.angle, near.low, near.quadrant), fields, strict=True
        )
    ]
    return Turned(*merged)


def _lanewise(module: Module, width: int, double: bool) -> str:
    """The helper that turns the lanes of a mask, one at a time, in memory: it is short, and seldom called."""
    module.declare("@vecmath.two_over_pi", _table())
    module.define("@vecmath.turn", lambda: _large(module))
    em = Emitter(module, width)
    v = Lanes(em, double)
    real, whole, mask = em.type(v.scalar), em.type(v.whole), em.type("i1")
    result = f"{{ {real}, {real}, {whole} }}"
    head = (
        f"define internal {result} @vecmath.turn.{em.suffix(v.scalar)}"
        f"({real} %x, {mask} %large, {real} %angle, {real} %low, {whole} %quadrant) noinline cold nounwind {{"
    )
    names = {"x": real, "angle": real, "low": real, "quadrant": whole}
    for name, of in names.items():
        em.do(f"%{name}s = alloca {of}")
        em.do(f"store {of} %{name}, ptr %{name}s")
    bits = "%large" if width == 1 else em.let(f"bitcast {mask} %large to i{width}")
    bits = em.let(f"zext i{width} {bits} to i64")
    em.do("br label %lane")
    em.begin("lane")
    em.do("%lane.number = phi i64 [0, %entry], [%lane.after, %next]")
    chosen = em.let(f"trunc i64 {em.let(f'lshr i64 {bits}, %lane.number')} to i1")
    em.do(f"br i1 {chosen}, label %turn, label %next")
    em.begin("turn")
    _turn_one(Lanes(Emitter(module, 1, prefix="lane."), double), em)
    em.do("br label %next")
    em.begin("next")
    em.do("%lane.after = add i64 %lane.number, 1")
    more = em.let(f"icmp ult i64 %lane.after, {width}")
    em.do(f"br i1 {more}, label %lane, label %done")
    em.begin("done")
    total = "poison"
    for place, (name, of) in enumerate(list(names.items())[1:]):
        value = em.let(f"load {of}, ptr %{name}s")
        total = em.let(f"insertvalue {result} {total}, {of} {value}, {place}")
    em.do(f"ret {result} {total}")
    return "\n".join([head, "entry:", *em.lines, "}"])


def _turn_one(v: Lanes, em: Emitter) -> None:
    """Turns the lane of this number in memory, in the lines of `em`."""
    one = v.emitter
    one.lines = em.lines

    def place(name: str, scalar: str) -> str:
        return one.let(f"getelementptr {scalar}, ptr %{name}s, i64 %lane.number")

    x = one.let(f"load {v.scalar}, ptr {place('x', v.scalar)}")
    parts = "{ double, double, i64 }"
    far = one.let(f"call {parts} @vecmath.turn(double {v.widen(x)})")
    angle, low, quadrant = (one.let(f"extractvalue {parts} {far}, {i}") for i in range(3))
    if not v.double:
        long = angle
        angle = v.narrow(long)
        low = v.narrow(v.widened().subtract(long, v.widen(angle)))
        quadrant = one.let(f"trunc i64 {quadrant} to i32")
    for name, scalar, value in (
        ("angle", v.scalar, angle),
        ("low", v.scalar, low),
        ("quadrant", v.whole, quadrant),
    ):
        one.do(f"store {scalar} {value}, ptr {place(name, scalar)}")


def _table() -> str:
    words = ", ".join(f"i64 {int(word, 16)}" for word in _BITS.split())
    return f"@vecmath.two_over_pi = internal constant [{len(_BITS.split())} x i64] [{words}]"


def _large(module: Module) -> str:
    """M. H. Payne and R. N. Hanek, "Radian reduction for trigonometric functions", SIGNUM 18 (1983).

    ``x = m 2 ** e`` with a whole m. Of ``m * 2/pi`` only the 192 bits below weight 4 count: from 2/pi the
    192 bits are taken whose products end there; what is left out is below 2 ** -128 of a quadrant.
    """
    em = Emitter(module, 1)
    v = Lanes(em, double=True)
    bits = v.bits("%x")
    exponent = v.on_bits("and", v.on_bits("lshr", bits, 52), 2047)
    m = v.on_bits("or", v.on_bits("and", bits, (1 << 52) - 1), 1 << 52)
    # Bit i behind the point has, in x * 2/pi, the weight 2 ** (exponent - 1075 - i): 2 or less counts,
    # and the table has 64 bits before the point.
    first = v.on_bits("sub", exponent, 1077 - 64)
    word, offset = v.on_bits("lshr", first, 6), v.on_bits("and", first, 63)
    words = []
    for i in range(4):
        at = em.let(f"getelementptr i64, ptr @vecmath.two_over_pi, i64 {v.on_bits('add', word, i)}")
        words.append(em.let(f"load i64, ptr {at}, align 8"))
    window = "0"
    for i in range(3):
        piece = em.intrinsic("fshl", "i64", words[i], words[i + 1], offset)
        wide = em.let(f"zext i64 {piece} to i192")
        window = em.let(f"or i192 {window}, {em.let(f'shl i192 {wide}, {128 - 64 * i}')}")
    product = em.let(f"mul i192 {window}, {em.let(f'zext i64 {m} to i192')}")
    rounded = em.let(f"add i192 {product}, {1 << 189}")
    quadrant = em.let(f"trunc i192 {em.let(f'lshr i192 {rounded}, 190')} to i64")
    fraction = em.let(f"shl i192 {product}, 2")
    sign = em.let(f"ashr i192 {fraction}, 191")
    size = em.let(f"sub i192 {em.let(f'xor i192 {fraction}, {sign}')}, {sign}")
    module.declare("@llvm.ctlz.i192", "declare i192 @llvm.ctlz.i192(i192, i1)")
    zeros = em.let(f"call i192 @llvm.ctlz.i192(i192 {size}, i1 false)")
    size = em.let(f"shl i192 {size}, {zeros}")
    high = em.let(f"trunc i192 {em.let(f'lshr i192 {size}, 139')} to i64")
    low = em.let(f"trunc i192 {em.let(f'lshr i192 {size}, 86')} to i64")
    low = v.on_bits("and", low, (1 << 53) - 1)
    power = v.on_bits("sub", "0", em.let(f"trunc i192 {zeros} to i64"))
    unit = v.power_of_two(power)
    turn = v.multiply(v.multiply(em.convert("uitofp", "i64", "double", high), v.number(2.0**-53)), unit)
    rest = v.multiply(v.multiply(em.convert("uitofp", "i64", "double", low), v.number(2.0**-106)), unit)
    quarter, quarter_low = 1.5707963267948966, 6.123233995736766e-17
    angle, error = v.exact_product(turn, v.number(quarter))
    error = v.add(error, v.add(v.multiply(turn, v.number(quarter_low)), v.multiply(rest, v.number(quarter))))
    angle, error = v.ordered_sum(angle, error)
    negative = em.let(f"trunc i192 {sign} to i1")
    flipped = em.let(f"xor i1 {negative}, {em.compare('slt', 'i64', bits, '0')}")
    angle = v.select(flipped, v.negate(angle), angle)
    error = v.select(flipped, v.negate(error), error)
    quadrant = em.select(
        em.compare("slt", "i64", bits, "0"), "i64", v.on_bits("sub", "0", quadrant), quadrant
    )
    parts = "{ double, double, i64 }"
    total = "poison"
    for i, (of, value) in enumerate((("double", angle), ("double", error), ("i64", quadrant))):
        total = em.let(f"insertvalue {parts} {total}, {of} {value}, {i}")
    em.do(f"ret {parts} {total}")
    head = f"define internal {parts} @vecmath.turn(double %x) noinline cold nounwind {{"
    return "\n".join([head, "entry:", *em.lines, "}"])
