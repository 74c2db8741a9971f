"""Remainders of floats, exact as C's fmod, and what Python makes of them."""

from __future__ import annotations

from math import inf

from runtime.llvm_backend.ir.text import Emitter
from runtime.llvm_backend.ir.vecmath.exponential import scale_by
from runtime.llvm_backend.ir.vecmath.lanes import Lanes


def fmod(v: Lanes, x: str, y: str) -> str:
    """``x - trunc(x / y) * y``, exactly.

    Where the quotient is moderate one multiply-subtract gives it without rounding: in float by way of
    double, in double by a fused multiply-add. Other lanes are divided in integers, one by one.
    """
    em = v.emitter
    size, divisor = v.magnitude(x), v.magnitude(y)
    wide = v.widened()
    long, by = v.widen(size), v.widen(divisor)
    count = em.intrinsic("trunc", "double", wide.divide(long, by))
    if v.double:
        easy = v.compare("olt", count, v.number(2.0**52))
        minus = wide.negate(count)
        if not em.target.fma:  # then only what needs no rounding
            easy = v.compare("olt", count, v.number(1.0))
            rest = wide.muladd(minus, by, long)
        else:
            rest = em.intrinsic("fma", "double", minus, by, long)
    else:
        easy = wide.compare("olt", count, wide.number(2.0**28))
        rest = wide.subtract(long, wide.multiply(count, by))
    # The rounded quotient may be one too large.
    rest = wide.select(wide.compare("olt", rest, wide.number(0.0)), wide.add(rest, by), rest)
    near = v.with_sign(v.narrow(rest), x)
    near = v.select(v.compare("olt", size, divisor), x, near)  # y may be infinite
    easy = em.either(easy, v.compare("olt", size, divisor))
    proper = em.both(v.compare("olt", size, v.number(inf)), v.compare("ogt", divisor, v.number(0.0)))
    return _merge_hard(v, x, y, em.both(em.opposite(easy), proper), near)


def _merge_hard(v: Lanes, x: str, y: str, hard: str, near: str) -> str:
    em = v.emitter
    of, mask = em.type(v.scalar), em.type("i1")
    helper = f"@vecmath.fmod.{em.suffix(v.scalar)}"
    em.module.define(helper, lambda: _lanewise(Emitter(em.module, em.width), v.double, helper))
    slow, done, before = em.fresh_label("slow"), em.fresh_label("divided"), em.fresh_label("near")
    em.do(f"br label %{before}")
    em.begin(before)
    em.do(f"br i1 {em.any(hard)}, label %{slow}, label %{done}")
    em.begin(slow)
    far = em.let(f"call {of} {helper}({of} {x}, {of} {y}, {mask} {hard}, {of} {near})")
    em.do(f"br label %{done}")
    em.begin(done)
    return em.let(f"phi {of} [{near}, %{before}], [{far}, %{slow}]")


def _lanewise(em: Emitter, double: bool, name: str) -> str:
    """The helper that divides the lanes of a mask, one at a time."""
    em.module.define("@vecmath.fmod", lambda: _scalar(Emitter(em.module, 1)))
    v = Lanes(em, double)
    of, mask = em.type(v.scalar), em.type("i1")
    result = "%near"
    for lane in range(em.width):
        one = Lanes(Emitter(em.module, 1, prefix=f"lane{lane}."), double)
        text = one.emitter
        x, y, hard = "%x", "%y", "%hard"
        if em.width > 1:
            x, y = (text.let(f"extractelement {of} {value}, i64 {lane}") for value in (x, y))
            hard = text.let(f"extractelement {mask} %hard, i64 {lane}")
        before, turn, after = (f"{word}{lane}" for word in ("before", "divide", "after"))
        text.do(f"br label %{before}")
        text.begin(before)
        text.do(f"br i1 {hard}, label %{turn}, label %{after}")
        text.begin(turn)
        far = text.let(f"call double @vecmath.fmod(double {one.widen(x)}, double {one.widen(y)})")
        new = one.narrow(far)
        if em.width > 1:
            new = text.let(f"insertelement {of} {result}, {v.scalar} {new}, i64 {lane}")
        text.do(f"br label %{after}")
        text.begin(after)
        result = text.let(f"phi {of} [{result}, %{before}], [{new}, %{turn}]")
        em.lines += text.lines
    em.do(f"ret {of} {result}")
    head = (
        f"define internal {of} {name}({of} %x, {of} %y, {mask} %hard, {of} %near) noinline cold nounwind {{"
    )
    return "\n".join([head, "entry:", *em.lines, "}"])


def _scalar(em: Emitter) -> str:
    """Fmod of finite ``|x| >= |y| > 0``: ``m 2 ** e`` by ``n 2 ** f`` in whole numbers, 11 bits at a time."""
    v = Lanes(em, double=True)
    (m, e), (n, f) = _whole_parts(v, "%x"), _whole_parts(v, "%y")
    first = em.binary("urem", "i64", m, n)
    distance = v.on_bits("sub", e, f)
    em.do("br label %loop")
    em.begin("loop")
    em.do(f"%rest = phi i64 [{first}, %entry], [%next, %step]")
    em.do(f"%left = phi i64 [{distance}, %entry], [%fewer, %step]")
    em.do(f"br i1 {em.compare('sgt', 'i64', '%left', '0')}, label %step, label %done")
    em.begin("step")
    bits = em.intrinsic("smin", "i64", "%left", "11")
    em.do(f"%next = urem i64 {v.on_bits('shl', '%rest', bits)}, {n}")
    em.do(f"%fewer = sub i64 %left, {bits}")
    em.do("br label %loop")
    em.begin("done")
    number = em.convert("uitofp", "i64", "double", "%rest")
    result = v.with_sign(scale_by(v, number, v.on_bits("sub", f, 1075)), "%x")
    em.do(f"ret double {result}")
    head = "define internal double @vecmath.fmod(double %x, double %y) noinline cold nounwind {"
    return "\n".join([head, "entry:", *em.lines, "}"])


def _whole_parts(v: Lanes, x: str) -> tuple[str, str]:
    """``|x| = m 2 ** (e - 1075)`` with a whole m; denormals have e = 1."""
    bits = v.on_bits("and", v.bits(x), (1 << 63) - 1)
    exponent, stored = v.on_bits("lshr", bits, 52), v.on_bits("and", bits, (1 << 52) - 1)
    denormal = v.emitter.compare("eq", "i64", exponent, "0")
    m = v.emitter.select(denormal, "i64", stored, v.on_bits("or", stored, 1 << 52))
    return m, v.emitter.select(denormal, "i64", "1", exponent)


def remainder(v: Lanes, x: str, y: str) -> str:
    """With the sign of y; NaN where y is 0."""
    zero = v.number(0.0)
    rest, differ = _signs(v, x, y)
    moved = v.select(differ, v.add(rest, y), rest)
    result = v.select(v.compare("oeq", rest, zero), v.with_sign(zero, y), moved)
    return v.select(v.compare("oeq", y, zero), rest, result)


def _signs(v: Lanes, x: str, y: str) -> tuple[str, str]:
    """C's remainder, and where it is not 0 and its sign is not that of y."""
    zero, em = v.number(0.0), v.emitter
    rest = fmod(v, x, y)
    opposite = em.binary("xor", "i1", v.compare("olt", y, zero), v.compare("olt", rest, zero))
    return rest, em.both(v.compare("une", rest, zero), opposite)


def floor_divide(v: Lanes, x: str, y: str) -> str:
    """``(x - x % y) / y`` made whole, as Python and NumPy do it; ``x / y`` where y is 0."""
    em, zero, one = v.emitter, v.number(0.0), v.number(1.0)
    rest, differ = _signs(v, x, y)
    ratio = v.divide(x, y)
    quotient = v.divide(v.subtract(x, rest), y)
    quotient = v.select(differ, v.subtract(quotient, one), quotient)
    whole = em.intrinsic("floor", v.scalar, quotient)
    far = v.compare("ogt", v.subtract(quotient, whole), v.number(0.5))
    whole = v.select(far, v.add(whole, one), whole)
    whole = v.select(v.compare("oeq", quotient, zero), v.with_sign(zero, ratio), whole)
    return v.select(v.compare("oeq", y, zero), ratio, whole)
