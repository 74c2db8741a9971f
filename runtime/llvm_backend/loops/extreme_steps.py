"""Extreme steps: the place of the largest or smallest element of a line: the first such, or the first NaN.

Along the last axis a vector holds the best of every lane so far, taken from several vectors at once, and
another one where those began: there the element is looked for in the end. Along other axes lanes are lines,
and keep the place itself. Both pass over NaN, but note whether there was one, and then look for the first.

Long lines are cut into parts, a chunk for each, which a second kernel compares.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from graphc.sizes import Size, maximum, minimum, product
from graphc.tensor import Tensor
from graphc.types import BOOL, UINT8, DType
from runtime.llvm_backend.ir.text import Emitter, halves, numbered, store_text
from runtime.llvm_backend.ir.values import ahead, load, memory_dtype, register_bytes, register_scalar
from runtime.llvm_backend.ir.writer import Value
from runtime.llvm_backend.loops.loop_kernel import LoopKernel, LoopWriter, cut_in_chunks, item_bytes

_PART = 1 << 16  # elements of a part of a line, and rows where lanes are lines
_MOST_PARTS = 64
_AT_ONCE = 8  # vectors whose best is found before it is compared with that of others
_BESIDE = 4  # vectors of lines that are walked together
_NONE = (1 << 31) - 1


def _argument(largest: bool) -> Callable[[Tensor], Sequence[LoopKernel]]:
    return lambda node: _Search(node, largest).kernels()


class _Rows(NamedTuple):
    """Rows of lines side by side: `many` of them from row `first` on; elements begin at `start`.

    From one row to the next it is `stride` elements. The places go `to` an array, from `place` on.
    """

    first: Value
    many: Value
    stride: Value
    start: Value
    to: str
    place: Value


class _Search:
    """Writes the kernels of one argmax or argmin."""

    def __init__(self, node: Tensor, largest: bool) -> None:
        self.node, self.largest = node, largest
        given = memory_dtype(node.inputs[0].dtype)
        self.dtype: DType = UINT8 if given is BOOL else given
        self.scalar = register_scalar(self.dtype)
        shape, axis = node.inputs[0].result.sizes, node.attrs["axis"]
        self.outer: Size = 1 if axis is None else product(shape[:axis])
        self.length: Size = product(shape) if axis is None else shape[axis]
        self.inner: Size = 1 if axis is None else product(shape[axis + 1 :])
        self.name = f"{node.op.name} of {node.inputs[0].dtype}"
        parts = minimum((self.length + (_PART - 1)) // _PART, _MOST_PARTS)
        self.parts = maximum(parts, 1)
        self.per_part = (self.length + self.parts - 1) // self.parts

    def kernels(self) -> list[LoopKernel]:
        """One, or two where lines may have several parts."""
        first = self._lines() if self.inner == 1 else self._columns()
        return [first] if self.parts == 1 else [first, self._join()]

    def _width(self, w: LoopWriter, fitting: Size) -> int:
        """The lanes of a vector, less where there are fewer elements."""
        width = max(w.module.target.vector_bits // (8 * register_bytes(self.dtype)), 4)
        while isinstance(fitting, int) and width > 4 and fitting < width:
            width //= 2
        return width

    def _result(self, w: LoopWriter) -> str:
        """Where places go: to the result, or to scratch, for all parts."""
        if self.parts == 1:
            return w.result()
        return w.scratch("places", self.outer * self.parts * self.inner * 8)

    # Comparisons.

    def _worst(self) -> float:
        if self.dtype.is_floating:
            return -np.inf if self.largest else np.inf
        limits = np.iinfo(self.dtype.numpy)
        return int(limits.min if self.largest else limits.max)

    def _constant(self, em: Emitter, value: float) -> str:
        return (
            em.number(self.scalar, value) if self.dtype.is_floating else em.integer(self.scalar, int(value))
        )

    def _better(self, em: Emitter, x: str, y: str) -> str:
        sign = "o" if self.dtype.is_floating else "s" if self.dtype.kind == "i" else "u"
        return em.compare(f"{sign}{'gt' if self.largest else 'lt'}", self.scalar, x, y)

    def _best(self, em: Emitter, x: str, y: str) -> str:
        return em.select(self._better(em, x, y), self.scalar, x, y)

    def _nan(self, em: Emitter, x: str, y: str) -> str:
        return em.compare("uno", self.scalar, x, y)

    def _load(self, w: LoopWriter, width: int, index: Value, mask: str | None = None) -> str:
        return load(w.emitter(width), self.dtype, w.operand(0), str(index), mask)

    # Lines of the last axis.

    def _lines(self) -> LoopKernel:
        w = LoopWriter()
        width = self._width(w, self.length)
        tasks = self.outer * self.parts
        per, chunks = cut_in_chunks(tasks, self.per_part * item_bytes(self.dtype))
        many, n, per_part = (
            w.size("parts", self.parts), w.size("n", self.length), w.size("part", self.per_part)
        )  # fmt: skip
        to = self._result(w)

        def task(number: Value) -> None:
            line, part = (number, 0) if self.parts == 1 else (w.div(number, many), w.rem(number, many))
            first = w.mul(part, per_part)
            count = w.min(per_part, w.sub(n, first)) if self.parts != 1 else n
            found = self._in_line(w, width, w.add(w.mul(line, n), first), count)
            w.store("i64", w.add(first, found), to, number)

        w.own(w.size("tasks", tasks), w.size("per", per), task)
        return w.kernel(self.name, chunks, [self.length])

    def _in_line(self, w: LoopWriter, width: int, start: Value, count: Value) -> Value:
        """Where in `count` elements from `start` on it is; 0 of none, which are behind the last part."""

        def whole() -> list[str]:
            return [self._by_vectors(w, width, start, count)]

        def few() -> list[str]:
            return [self._one_by_one(w, start, count)]

        if isinstance(self.length, int) and self.parts == 1:
            return (whole() if self.length >= width else few())[0]
        return w.choose(w.compare("sge", count, width), whole, few, ["i64"])[0]

    def _one_by_one(self, w: LoopWriter, start: Value, count: Value) -> str:
        one = w.emitter(1)
        worst = self._constant(one, self._worst())

        def element(i: Value, state: list[str]) -> list[str]:
            best, place = state
            x, em = self._load(w, 1, w.add(start, i)), w.emitter(1)
            better = self._better_or_nan(em, x, best)
            return [em.select(better, self.scalar, x, best), em.select(better, "i64", str(i), place)]

        return w.loop(count, element, [(self.scalar, worst), ("i64", "0")])[1]

    def _better_or_nan(self, em: Emitter, x: str, best: str) -> str:
        better = self._better(em, x, best)
        if not self.dtype.is_floating:
            return better
        return em.either(better, em.both(self._nan(em, x, x), em.compare("ord", self.scalar, best, best)))

    def _by_vectors(self, w: LoopWriter, width: int, start: Value, count: Value) -> str:
        """At least one vector; the last one begins so that it ends with the line."""
        floating = self.dtype.is_floating
        types = [f"<{width} x {self.scalar}>", f"<{width} x i32>", *[f"<{width} x i1>"] * floating]

        def take(i: Value, vectors: int, state: list[str]) -> list[str]:
            em = w.emitter(width)
            places = [w.add(start, w.add(i, k * width)) for k in range(vectors)]
            xs = [self._load(w, width, place) for place in places]
            for place in places if self.parts != 1 and vectors > 1 else ():
                ahead(em, self.dtype, w.operand(0), str(place))
            nans = [self._nan(em, *(xs * 2)[k : k + 2]) for k in range(0, vectors, 2)] if floating else []
            while len(xs) > 1:
                xs = [self._best(em, *xs[k : k + 2]) for k in range(0, len(xs), 2)]
            best, begin, *nan = state
            better = self._better(em, xs[0], best)
            here = em.broadcast("i32", w.value(f"trunc i64 {i} to i32"))
            for mask in nans:
                nan = [em.either(nan[0], mask)]
            return [em.select(better, self.scalar, xs[0], best), em.select(better, "i32", here, begin), *nan]

        em = w.emitter(width)
        first = [self._constant(em, self._worst()), *["zeroinitializer"] * (1 + floating)]
        step = _AT_ONCE * width
        blocks = w.mul(w.div(count, step), step)
        whole = w.mul(w.div(count, width), width)
        state = w.loop(
            blocks, lambda i, s: take(i, _AT_ONCE, s), list(zip(types, first, strict=True)), step=step
        )
        state = w.loop(
            whole, lambda i, s: take(i, 1, s), list(zip(types, state, strict=True)), start=blocks, step=width
        )
        best, begin, *nan = take(w.sub(count, width), 1, state)
        em = w.emitter(width)

        def number() -> list[str]:
            value = self._joined(w, width, self.scalar, best, self._best)
            inside = w.emitter(width)
            same = inside.compare(
                "oeq" if floating else "eq", self.scalar, best, inside.broadcast(self.scalar, value)
            )
            place = inside.select(same, "i32", begin, inside.integer("i32", _NONE))
            lowest = self._joined(w, width, "i32", place, lambda e, x, y: e.intrinsic("umin", "i32", x, y))
            return [self._find(w, width, start, count, w.value(f"zext i32 {lowest} to i64"), value)]

        if not nan:
            return number()[0]
        return w.choose(
            em.any(nan[0]), lambda: [self._find(w, width, start, count, 0, None)], number, ["i64"]
        )[0]

    def _joined(
        self, w: LoopWriter, width: int, scalar: str, x: str, join: Callable[[Emitter, str, str], str]
    ) -> str:
        """One number of all lanes: halves with halves."""
        while width > 1:
            low, high = halves(w.value, scalar, x, width)
            width //= 2
            x = join(w.emitter(width), low, high)
        return x

    def _find(
        self, w: LoopWriter, width: int, start: Value, count: Value, begin: Value, value: str | None
    ) -> str:
        """Where the first element from `begin` on is that equals `value`, or is NaN; there is one."""
        last = w.sub(count, width)

        def look(i: Value) -> str:
            x, em = self._load(w, width, w.add(start, i)), w.emitter(width)
            if value is None:
                mask = self._nan(em, x, x)
            else:
                wanted = em.broadcast(self.scalar, value)
                mask = em.compare("oeq" if self.dtype.is_floating else "eq", self.scalar, x, wanted)
            bits = w.value(f"bitcast <{width} x i1> {mask} to i{width}")
            return bits if width == 64 else w.value(f"zext i{width} {bits} to i64")

        def further(state: list[str]) -> list[Value]:
            at = w.min(w.add(state[0], width), last)
            return [at, look(at)]

        at, bits = w.until(["i64", "i64"], [begin, look(begin)], lambda s: w.compare("eq", s[1], 0), further)
        w.declare("i64 @llvm.cttz.i64(i64, i1)")
        return str(w.add(at, w.value(f"call i64 @llvm.cttz.i64(i64 {bits}, i1 false)")))

    # Lines side by side.

    def _columns(self) -> LoopKernel:
        w = LoopWriter()
        width = self._width(w, self.inner)
        wide = width * _BESIDE
        blocks = (self.inner + (wide - 1)) // wide
        tasks = self.outer * self.parts * blocks
        per, chunks = cut_in_chunks(tasks, self.per_part * (wide * item_bytes(self.dtype)))
        n, inner, many = (
            w.size("n", self.length),
            w.size("inner", self.inner),
            w.size("blocks", maximum(blocks, 1)),
        )
        parts, per_part = w.size("parts", self.parts), w.size("part", self.per_part)
        to = self._result(w)

        def task(number: Value) -> None:
            group, column = w.div(number, many), w.mul(w.rem(number, many), wide)
            line, part = (group, 0) if self.parts == 1 else (w.div(group, parts), w.rem(group, parts))
            first = w.mul(part, per_part)
            count = w.min(per_part, w.sub(n, first)) if self.parts != 1 else n
            start = w.add(w.mul(w.add(w.mul(line, n), first), inner), column)
            place = w.add(w.mul(group, inner), column)
            left = w.sub(inner, column)
            rows = _Rows(first, count, inner, start, to, place)

            def whole() -> None:
                self._side_by_side(w, width, [None] * _BESIDE, rows)

            def rest() -> None:
                def some(i: Value) -> None:
                    mask = _lanes_below(w, width, w.sub(left, i))
                    moved = rows._replace(start=w.add(start, i), place=w.add(place, i))
                    self._side_by_side(w, width, [mask], moved)

                w.each(left, some, step=width)

            w.choose(w.compare("sge", left, wide), whole, rest)

        w.own(w.size("tasks", tasks), w.size("per", per), task)
        return w.kernel(f"{self.name} in columns", chunks, [self.length])

    def _side_by_side(self, w: LoopWriter, width: int, masks: Sequence[str | None], rows: _Rows) -> None:
        """Walks a vector of lines for each of `masks`, and stores the places."""
        many, floating = len(masks), self.dtype.is_floating
        types = [f"<{width} x {self.scalar}>"] * many + [f"<{width} x i32>"] * many
        em = w.emitter(width)
        begin = [self._constant(em, self._worst())] * many + ["zeroinitializer"] * many

        def row(i: Value, state: list[str], careful: bool) -> list[str]:
            em = w.emitter(width)
            at = w.add(rows.start, w.mul(i, rows.stride))
            here = em.broadcast("i32", w.value(f"trunc i64 {i} to i32"))
            xs = [self._load(w, width, w.add(at, k * width), mask) for k, mask in enumerate(masks)]
            values, places = [], []
            for k, x in enumerate(xs):
                best, kept = state[k], state[many + k]
                better = self._better_or_nan(em, x, best) if careful else self._better(em, x, best)
                values.append(em.select(better, self.scalar, x, best))
                places.append(em.select(better, "i32", here, kept))
            if careful or not floating:
                return values + places
            nan = state[-1]
            for k in range(0, many, 2):
                nan = em.either(nan, self._nan(em, *(xs * 2)[k : k + 2]))
            return [*values, *places, nan]

        def carefully() -> list[str]:
            found = w.loop(rows.many, lambda i, s: row(i, s, True), list(zip(types, begin, strict=True)))
            return found[many:]

        if floating:
            carried = [*zip(types, begin, strict=True), (f"<{width} x i1>", "zeroinitializer")]
            found = w.loop(rows.many, lambda i, s: row(i, s, False), carried)
            some = w.emitter(width).any(found[-1])
            places = w.choose(some, carefully, lambda: found[many:-1], types[many:])
        else:
            places = carefully()
        for k, (mask, kept) in enumerate(zip(masks, places, strict=True)):
            em = w.emitter(width)
            own = em.binary(
                "add", "i64", em.convert("zext", "i32", "i64", kept), em.broadcast("i64", str(rows.first))
            )
            _store_places(em, own, rows.to, w.add(rows.place, k * width), mask)

    # Parts.

    def _join(self) -> LoopKernel:
        """Compares what was found in the parts of each line, in order."""
        w = LoopWriter()
        found, to = self._result(w), w.result()
        n, inner, many = w.size("n", self.length), w.size("inner", self.inner), w.size("parts", self.parts)
        lines = self.outer * self.inner
        per, chunks = cut_in_chunks(lines, self.parts * 64)

        def line(number: Value) -> None:
            outer, column = w.div(number, inner), w.rem(number, inner)
            start = w.add(w.mul(w.mul(outer, n), inner), column)
            first = w.add(w.mul(w.mul(outer, many), inner), column)

            def part(i: Value, state: list[str]) -> list[str]:
                place = w.load("i64", found, w.add(first, w.mul(i, inner)))
                inside = w.select(w.compare("slt", place, n), place, 0)
                x, em = self._load(w, 1, w.add(start, w.mul(inside, inner))), w.emitter(1)
                better = self._better_or_nan(em, x, state[0])
                return [
                    em.select(better, self.scalar, x, state[0]),
                    em.select(better, "i64", str(inside), state[1]),
                ]

            worst = self._constant(w.emitter(1), self._worst())
            w.store("i64", w.loop(many, part, [(self.scalar, worst), ("i64", "0")])[1], to, number)

        w.own(w.size("lines", lines), w.size("per", per), line)
        return w.kernel(f"{self.name}, parts", chunks, [self.length])


def _lanes_below(w: LoopWriter, width: int, count: Value) -> str:
    """The mask of the first `count` lanes."""
    em = w.emitter(width)
    return em.compare("slt", "i64", numbered(width), em.broadcast("i64", str(count)))


def _store_places(em: Emitter, places: str, to: str, index: Value, mask: str | None) -> None:
    at = em.let(f"getelementptr i64, ptr {to}, i64 {index}")
    em.do(store_text(em.module, "i64", em.width, places, at, 8, mask))


LOOPS: dict[str, Callable[[Tensor], Sequence[LoopKernel]]] = {
    "argmax": _argument(largest=True),
    "argmin": _argument(largest=False),
}
