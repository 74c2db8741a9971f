"""Packed lines: keys of 64 bits and places in one integer, where the keys of a line leave room.

Keys are counted from the lowest one of their line, and moved up until the highest one has its first bit.
Then the low bits, as many as a place needs, are given up for the place. Whole numbers of a small range lose
nothing. Others may: then neighbours that differ in lost bits alone are looked at, and where one pair of them
is in the wrong order, which random numbers hardly ever have, the line is sorted anew, keys and places apart.
"""

from __future__ import annotations

from dataclasses import replace

from runtime.llvm_backend.ir.text import Emitter
from runtime.llvm_backend.ir.writer import Value
from runtime.llvm_backend.loops.lines import Lines, Packing
from runtime.llvm_backend.loops.loop_kernel import LoopWriter
from runtime.llvm_backend.loops.records import Records

_SIGN = 1 << 63


def packed_records(records: Records) -> Records:
    """What sorts packed lines."""
    return Records(("i64",), records.width)


def pack(lines: Lines, start: Value) -> tuple[Lines, str]:
    """The line from `start` on, as a packed one; and whether bits are lost."""
    w, n, width = lines.w, lines.n, lines.records.width
    whole = w.mul(w.div(n, width), width)

    def join(em: Emitter, i: Value, state: list[str]) -> list[str]:
        key = lines.key(em, lines.load_raw(em, w.add(start, i), None))
        return [em.intrinsic(name, "i64", x, key) for name, x in zip(("smin", "smax"), state, strict=True)]

    type, ends = f"<{width} x i64>", (_SIGN - 1, -_SIGN)
    wide = w.loop(
        whole, lambda i, state: join(w.emitter(width), i, state),
        [(type, f"splat (i64 {end})") for end in ends], step=width,
    )  # fmt: skip
    joined = []
    for name, x in zip(("smin", "smax"), wide, strict=True):
        full = f"i64 @llvm.vector.reduce.{name}.v{width}i64"
        w.declare(f"{full}({type})")
        joined.append(("i64", w.value(f"call {full}({type} {x})")))
    low, high = w.loop(n, lambda i, state: join(w.emitter(1), i, state), joined, start=whole)
    w.declare("i64 @llvm.ctlz.i64(i64, i1)")
    range = w.value(f"sub i64 {high}, {low}")
    shift = w.min(w.value(f"call i64 @llvm.ctlz.i64(i64 {range}, i1 false)"), 63)
    bits = w.sub(64, w.value(f"call i64 @llvm.ctlz.i64(i64 {n}, i1 false)"))
    mask = w.value(f"sub i64 {w.value(f'shl i64 1, {bits}')}, 1")
    packing = Packing(low, str(shift), mask)
    found = replace(lines, records=packed_records(lines.records), packing=packing)
    return found, w.compare("slt", shift, bits)


def is_wrong(lines: Lines, found: str, plane: Value, start: Value) -> str:
    """Whether records of a packed line that differ in lost bits alone are in the wrong order."""
    w, width = lines.w, lines.records.width
    assert lines.packing is not None
    mask = lines.packing.mask

    def alike(em: Emitter, a: str, b: str) -> str:
        kept = em.binary("xor", "i64", em.broadcast("i64", mask), em.integer("i64", -1))
        apart = em.binary("and", "i64", em.binary("xor", "i64", a, b), kept)
        return em.compare("eq", "i64", apart, em.integer("i64", 0))

    def some(i: Value, state: list[str]) -> list[str]:
        em = w.emitter(width)
        a, b = (lines.records.load(w, found, plane, w.add(i, k))[0] for k in (0, 1))
        return [em.either(state[0], alike(em, a, b))]

    # Vectors of pairs of neighbours; the last ones reach into what fills the block, which is like nothing.
    last = w.sub(lines.n, 1)
    close = w.loop(last, some, [(f"<{width} x i1>", "zeroinitializer")], step=width)[0]

    def check() -> list[str]:
        def pair(i: Value, state: list[str]) -> list[str]:
            em = w.emitter(1)
            a, b = (lines.records.load_one(w, found, plane, w.add(i, k)) for k in (0, 1))
            x, y = (
                lines.key(em, lines.load_raw(em, w.add(start, lines.place_of(em, record)), None))
                for record in (a, b)
            )
            wrong = em.both(alike(em, a[0], b[0]), em.compare("sgt", "i64", x, y))
            return [em.either(state[0], wrong)]

        return w.loop(last, pair, [("i1", "false")])

    return w.choose(w.emitter(width).any(close), check, lambda: ["false"], ["i1"])[0]


def sort_packed(
    w: LoopWriter, lines: Lines, start: Value, x: str, y: str, plane: Value, sort: str
) -> tuple[Lines, str, str]:
    """Sorts one line; gives the packed line, where its records are, and whether they are in disorder."""
    packed, loses = pack(lines, start)
    packed.prepare(x, plane, start, 0, lines.n)
    found = w.value(f"call ptr {sort}(ptr {x}, ptr {y}, i64 {lines.n}, i64 {plane})")
    (wrong,) = w.choose(loses, lambda: [is_wrong(packed, found, plane, start)], lambda: ["false"], ["i1"])
    return packed, found, wrong
