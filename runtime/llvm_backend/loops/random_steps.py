"""Random steps: the draws of `graphc.philox` bit by bit, in vectors of blocks.

A chunk makes words of 32 bits for a stretch of the result into memory of its own, then turns them into
numbers. Additions, multiplications, divisions and roots are those of the meaning, one rounding each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphc import philox
from graphc.sizes import product
from graphc.tensor import Tensor
from graphc.types import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, DType
from runtime.llvm_backend.ir.text import Emitter, numbered
from runtime.llvm_backend.ir.values import memory_dtype, memory_scalar, rounded, to_memory
from runtime.llvm_backend.ir.vecmath.lanes import Lanes
from runtime.llvm_backend.ir.writer import Value
from runtime.llvm_backend.loops.loop_kernel import LoopKernel, LoopWriter, item_bytes

_STRETCH = 4096  # words that a chunk makes; they stay in the nearest cache
_LOW = 0xFFFFFFFF
_MASK64 = (1 << 64) - 1


def _scrambled(w: LoopWriter, seed: str) -> str:
    """`philox.scramble`."""
    z = w.value(f"add i64 {seed}, {_signed(0x9E3779B97F4A7C15)}")
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z = w.value(f"xor i64 {z}, {w.value(f'lshr i64 {z}, {shift}')}")
        z = w.value(f"mul i64 {z}, {_signed(factor)}")
    return w.value(f"xor i64 {z}, {w.value(f'lshr i64 {z}, 31')}")


def _signed(bits: int) -> int:
    return bits - (1 << 64) if bits >> 63 else bits


def _fold_in(node: Tensor) -> Sequence[LoopKernel]:
    from runtime.llvm_backend.loops.index_steps import load_index  # beside what only draws need

    w = LoopWriter()
    state, to = w.operand(0), w.result()
    index = load_index(w, node.inputs[1].dtype, w.operand(1), 0)
    first = _scrambled(w, w.load("i64", state))
    seed = _scrambled(w, w.value(f"add i64 {w.value(f'add i64 {first}, 1')}, {index}"))
    w.store("i64", seed, to)
    w.store("i64", w.load("i64", state, 1), to, 1)
    return (w.kernel("fold_in", 1),)


def _drawing(convert: Callable[[Emitter, DType, str], str]) -> Callable[[Tensor], Sequence[LoopKernel]]:
    """`convert` makes numbers of words, which are i32, or i64 for dtypes of 8 bytes."""

    def make(node: Tensor) -> Sequence[LoopKernel]:
        dtype, count = node.dtype, product(node.result.sizes)
        each = 2 if dtype.itemsize == 8 else 1
        stretch = _STRETCH // each
        w = LoopWriter()
        to, n = w.result(), w.size("count", count)
        words = w.value(f"alloca [{_STRETCH} x i32], align 64")
        first = w.mul("%chunk", stretch)
        left = w.min(w.sub(n, first), stretch)
        _make_words(w, node.attrs["key"], words, w.mul(first, each), w.mul(left, each))
        width = max(w.module.target.vector_bits // 8 // max(item_bytes(memory_dtype(dtype)), 4), 1)
        source = "i64" if each == 2 else "i32"

        def numbers(lanes: int) -> Callable[[Value], None]:
            def write(i: Value) -> None:
                def put(em: Emitter) -> None:
                    at = em.let(f"getelementptr {source}, ptr {words}, i64 {i}")
                    made = convert(em, dtype, em.let(f"load {em.type(source)}, ptr {at}, align {4 * each}"))
                    kept = made if not dtype.is_floating else to_memory(em, memory_dtype(dtype), made)
                    scalar = memory_scalar(memory_dtype(dtype))
                    goal = em.let(f"getelementptr {scalar}, ptr {to}, i64 {place}")
                    em.do(f"store {em.type(scalar)} {kept}, ptr {goal}, align {item_bytes(dtype)}")

                place = w.add(first, i)
                w.emit(lanes, put)

            return write

        whole = w.mul(w.div(left, width), width)
        w.each(whole, numbers(width), step=width)
        if width > 1:
            w.each(left, numbers(1), start=whole)
        return (w.kernel(f"{node.op.name} of {dtype}", (count + (stretch - 1)) // stretch),)

    return make


def _make_words(w: LoopWriter, key: int, words: str, first: Value, count: Value) -> None:
    """Words `first` .. ``first + count`` of the draw, whole vectors of blocks of them."""
    state = w.operand(0)
    mixed = w.value(f"xor i64 {w.size('key', _signed(key))}, {_scrambled(w, w.load('i64', state))}")
    run = w.load("i64", state, 1)
    width = max(w.module.target.vector_bits // 64, 1)
    many = "" if width == 1 else f"<{width} x i64>"
    type = many or "i64"

    def spread(value: str) -> str:
        return w.emit(width, lambda em: em.broadcast("i64", value))

    def on(operation: str, x: str, y: str | int) -> str:
        other = w.emit(width, lambda em: em.integer("i64", y)) if isinstance(y, int) else y
        return w.value(f"{operation} {type} {x}, {other}")

    keys = [w.value(f"and i64 {mixed}, {_LOW}"), w.value(f"lshr i64 {mixed}, 32")]
    low, high = spread(w.value(f"and i64 {run}, {_LOW}")), spread(w.value(f"lshr i64 {run}, 32"))
    rounds = [
        tuple(spread(w.value(f"and i64 {w.value(f'add i64 {k}, {i * step}')}, {_LOW}")) for k, step in
              zip(keys, (0x9E3779B9, 0xBB67AE85), strict=True))
        for i in range(10)
    ]  # fmt: skip
    begin = w.div(first, 4)

    def block(i: Value) -> None:
        number = spread(str(w.add(begin, i)))
        if width > 1:
            number = w.value(f"add {type} {number}, {numbered(width)}")
        a, b, c, d = on("and", number, _LOW), on("lshr", number, 32), low, high
        for k0, k1 in rounds:
            left, right = on("mul", a, 0xD2511F53), on("mul", c, 0xCD9E8D57)
            a = on("xor", on("xor", on("lshr", right, 32), b), k0)
            c = on("xor", on("xor", on("lshr", left, 32), d), k1)
            b, d = on("and", right, _LOW), on("and", left, _LOW)
        place = w.address(words, w.mul(i, 4), "i32")
        # Words 0 and 1 of a block are one of 64 bits, low part first; so are 2 and 3.
        halves = [on("or", x, on("shl", y, 32)) for x, y in ((a, b), (c, d))]
        if width == 1:
            w.store("i64", halves[0], place)
            w.store("i64", halves[1], place, 1)
            return
        order = ", ".join(f"i32 {j}, i32 {j + width}" for j in range(width))
        both = w.value(f"shufflevector {type} {halves[0]}, {type} {halves[1]}, <{2 * width} x i32> <{order}>")
        w.do(f"store <{2 * width} x i64> {both}, ptr {place}, align 8")

    w.each(w.ceil_div(count, 4), block, step=width)


# What is made of words.


def _bits(em: Emitter, dtype: DType, words: str) -> str:
    return words


def _uniform(em: Emitter, dtype: DType, words: str) -> str:
    v = Lanes(em, dtype is FLOAT64)
    if dtype is FLOAT64:
        whole = em.binary("lshr", "i64", words, em.integer("i64", 11))
        return v.multiply(em.convert("uitofp", "i64", "double", whole), v.number(2.0**-53))
    bits = {FLOAT16: 11, BFLOAT16: 8, FLOAT32: 24}[dtype]
    whole = em.binary("lshr", "i32", words, em.integer("i32", 32 - bits))
    return v.multiply(em.convert("sitofp", "i32", "float", whole), v.number(2.0**-bits))


def _normal(truncated: bool) -> Callable[[Emitter, DType, str], str]:
    """By Wichura's rational functions: `graphc.philox` says how."""

    def convert(em: Emitter, dtype: DType, words: str) -> str:
        double = dtype is FLOAT64
        v, width, whole = Lanes(em, double), 64 if double else 32, "i64" if double else "i32"
        most = em.integer(whole, (1 << (width - 1)) - 1)
        half, scale = v.number(0.5), v.number(2.0**-width)

        def scaled(integers: str) -> str:
            return v.multiply(v.add(em.convert("sitofp", whole, v.scalar, integers), half), scale)

        magnitude = em.binary("and", whole, words, most)
        middle, tail = scaled(magnitude), scaled(em.binary("sub", whole, most, magnitude))
        if truncated:
            middle = v.multiply(middle, v.number(philox.TWO_SIGMA))
            tail = v.subtract(half, middle)
        a, b, c, d, e, f = philox.PPND16 if double else philox.PPND7
        r = v.subtract(v.number(0.180625), v.multiply(middle, middle))
        central = v.divide(v.multiply(middle, _horner(v, a, r)), _horner(v, b, r))
        root = v.root(em.let(f"fneg {em.type(v.scalar)} {_logarithm(em, v, tail)}"))
        near, beyond = v.subtract(root, v.number(1.6)), v.subtract(root, v.number(5.0))
        outer = v.select(
            v.compare("ole", root, v.number(5.0)),
            v.divide(_horner(v, c, near), _horner(v, d, near)),
            v.divide(_horner(v, e, beyond), _horner(v, f, beyond)),
        )
        value = v.select(v.compare("ogt", middle, v.number(0.425)), outer, central)
        minus = em.compare("slt", whole, words, em.integer(whole, 0))
        negative = em.let(f"fneg {em.type(v.scalar)} {value}")
        return rounded(em, dtype, v.select(minus, negative, value))

    return convert


def _horner(v: Lanes, coefficients: Sequence[float], x: str) -> str:
    total = v.number(coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        total = v.add(v.multiply(total, x), v.number(coefficient))
    return total


def _logarithm(em: Emitter, v: Lanes, x: str) -> str:
    """`philox.logarithm` of positive normal numbers."""
    double = v.scalar == "double"
    whole, fraction_bits, bias = ("i64", 52, 1022) if double else ("i32", 23, 126)
    bits = em.convert("bitcast", v.scalar, whole, x)
    exponent = em.binary("sub", whole, em.binary("lshr", whole, bits, em.integer(whole, fraction_bits)),
                         em.integer(whole, bias))  # fmt: skip
    kept = em.binary("and", whole, bits, em.integer(whole, (1 << fraction_bits) - 1))
    kept = em.binary("or", whole, kept, em.integer(whole, bias << fraction_bits))
    fraction = em.convert("bitcast", whole, v.scalar, kept)
    low = v.compare("olt", fraction, v.number(0.7071067811865476))
    fraction = v.select(low, v.add(fraction, fraction), fraction)
    exponent = em.binary("sub", whole, exponent, em.convert("zext", "i1", whole, low))
    power = em.convert("sitofp", whole, v.scalar, exponent)
    s = v.divide(v.subtract(fraction, v.number(1.0)), v.add(fraction, v.number(1.0)))
    terms = philox.LOG_TERMS["float64" if double else "float32"]
    series = _horner(v, [1.0 / (2 * i + 1) for i in range(terms)], v.multiply(s, s))
    return v.add(v.multiply(power, v.number(0.6931471805599453)), v.multiply(v.add(s, s), series))


LOOPS: dict[str, Callable[[Tensor], Sequence[LoopKernel]]] = {
    "fold_in": _fold_in,
    "random_bits": _drawing(_bits),
    "random_uniform": _drawing(_uniform),
    "random_normal": _drawing(_normal(truncated=False)),
    "random_truncated_normal": _drawing(_normal(truncated=True)),
}
