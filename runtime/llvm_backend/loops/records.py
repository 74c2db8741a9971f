"""Records: what is sorted, in vectors: keys, or keys with the places they came from.

A record is one or two signed integers, ordered by the first, then by the second. Each kind lies in an array
of its own, the second `plane` bytes behind the first. Records that have no number come last: all their
integers are the highest ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphc.freezing import frozen
from runtime.llvm_backend.ir.text import load_text, numbered, store_text
from runtime.llvm_backend.ir.writer import Value, Writer
from runtime.llvm_backend.loops.loop_kernel import LoopWriter, bytes_of

Vector = tuple[str, ...]  # a vector, or a number, for each kind of integer


@frozen
class Records:
    """Records of integers of `types`, of which a vector holds `width`."""

    types: tuple[str, ...]
    width: int

    @property
    def name(self) -> str:
        """Tells functions of several kinds of records apart."""
        return f"{'.'.join(self.types)}.{self.width}"

    @property
    def bytes(self) -> int:
        """Of one record, on one plane."""
        return bytes_of(self.types[0])

    @property
    def highest(self) -> tuple[int, ...]:
        """What comes behind all others."""
        return tuple(2 ** (8 * bytes_of(type) - 1) - 1 for type in self.types)

    def vector(self, type: str) -> str:
        """The type of vectors of `type`."""
        return f"<{self.width} x {type}>"

    # Memory.

    def _planes(self, w: Writer, base: str, plane: Value, index: Value) -> list[str]:
        places = [w.address(base, w.mul(plane, i), "i8") for i in range(len(self.types))]
        return [w.address(place, index, type) for place, type in zip(places, self.types, strict=True)]

    def load(self, w: Writer, base: str, plane: Value, index: Value) -> Vector:
        """The vectors from record `index` on."""
        return tuple(
            w.value(f"load {self.vector(type)}, ptr {at}, align {bytes_of(type)}")
            for type, at in zip(self.types, self._planes(w, base, plane, index), strict=True)
        )

    def load_some(self, w: Writer, base: str, plane: Value, index: Value, count: Value) -> Vector:
        """As `load`, but of the first `count` records only; behind them come the highest ones."""
        found = []
        for type, at, highest in zip(
            self.types, self._planes(w, base, plane, index), self.highest, strict=True
        ):
            mask, others = self.first(w, type, count), f"splat ({type} {highest})"
            found.append(w.value(load_text(w.module, type, self.width, at, bytes_of(type), mask, others)))
        return tuple(found)

    def first(self, w: Writer, type: str, count: Value) -> str:
        """The mask of the first `count` lanes."""
        bits = 8 * bytes_of(type)
        scalar = f"i{bits}"
        kept = count
        if bits < 64:
            kept = w.value(f"trunc i64 {w.min(w.max(count, 0), self.width)} to {scalar}")
        limit = w.emit(self.width, lambda em: em.broadcast(scalar, str(kept)))
        return w.value(f"icmp slt <{self.width} x {scalar}> {numbered(self.width, scalar)}, {limit}")

    def store(self, w: Writer, x: Vector, base: str, plane: Value, index: Value) -> None:
        """Stores vectors from record `index` on."""
        for type, at, part in zip(self.types, self._planes(w, base, plane, index), x, strict=True):
            w.do(f"store {self.vector(type)} {part}, ptr {at}, align {bytes_of(type)}")

    def store_some(self, w: Writer, x: Vector, base: str, plane: Value, index: Value, count: Value) -> None:
        """As `store`, of the first `count` records only."""
        for type, at, part in zip(self.types, self._planes(w, base, plane, index), x, strict=True):
            mask = self.first(w, type, count)
            w.do(store_text(w.module, type, self.width, part, at, bytes_of(type), mask))

    def load_one(self, w: LoopWriter, base: str, plane: Value, index: Value) -> Vector:
        """Record `index`."""
        places = self._planes(w, base, plane, index)
        return tuple(w.load(type, at) for type, at in zip(self.types, places, strict=True))

    def store_one(self, w: LoopWriter, x: Sequence[Value], base: str, plane: Value, index: Value) -> None:
        """Sets record `index`."""
        for type, at, part in zip(self.types, self._planes(w, base, plane, index), x, strict=True):
            w.store(type, part, at)

    def splat(self, values: Sequence[int]) -> Vector:
        """A record known now, in all lanes."""
        return tuple(f"splat ({type} {value})" for type, value in zip(self.types, values, strict=True))

    # Order.

    def below(self, w: Writer, x: Sequence[str], y: Sequence[str], width: int = 1) -> str:
        """Whether record `x` comes before `y`, of numbers or of vectors of `width`."""
        of = [type if width == 1 else f"<{width} x {type}>" for type in self.types]
        mask = "i1" if width == 1 else f"<{width} x i1>"
        less = w.value(f"icmp slt {of[0]} {x[0]}, {y[0]}")
        if len(of) == 1:
            return less
        alike = w.value(f"icmp eq {of[0]} {x[0]}, {y[0]}")
        earlier = w.value(f"icmp slt {of[1]} {x[1]}, {y[1]}")
        return w.value(f"or {mask} {less}, {w.value(f'and {mask} {alike}, {earlier}')}")

    def exchange(self, w: Writer, x: Vector, y: Vector) -> tuple[Vector, Vector]:
        """The lower and the higher record of each lane."""
        if len(self.types) == 1:
            return (self._extreme(w, "smin", x, y),), (self._extreme(w, "smax", x, y),)
        return self._swap(w, self.below(w, y, x, self.width), x, y)

    def exchange_by(
        self, w: Writer, x: Vector, y: Vector, upper: Callable[[int], bool]
    ) -> tuple[Vector, Vector]:
        """As `exchange`, but in lanes that are `upper` the higher record is given first."""
        if len(self.types) == 1:
            low, high = self._extreme(w, "smin", x, y), self._extreme(w, "smax", x, y)
            return (self._blend(w, low, high, upper),), (self._blend(w, high, low, upper),)
        turned = ", ".join(f"i1 {int(upper(i))}" for i in range(self.width))
        mask = w.value(f"xor <{self.width} x i1> {self.below(w, y, x, self.width)}, <{turned}>")
        return self._swap(w, mask, x, y)

    def clean_lanes(self, w: Writer, x: Vector, distance: int) -> Vector:
        """One stage within vectors: lane i and lane i + distance are put in order."""
        partner = self.permute(w, x, lambda i: i ^ distance)
        return self.exchange_by(w, x, partner, lambda i: bool(i & distance))[0]

    def permute(self, w: Writer, x: Vector, source: Callable[[int], int]) -> Vector:
        """Lane i of the result is lane ``source(i)``."""
        lanes = ", ".join(f"i32 {source(i)}" for i in range(self.width))
        return tuple(
            w.value(f"shufflevector {of} {part}, {of} poison, <{self.width} x i32> <{lanes}>")
            for of, part in zip(map(self.vector, self.types), x, strict=True)
        )

    def _extreme(self, w: Writer, name: str, x: Vector, y: Vector) -> str:
        of = self.vector(self.types[0])
        full = f"{of} @llvm.{name}.v{self.width}{self.types[0]}"
        w.declare(f"{full}({of}, {of})")
        return w.value(f"call {full}({of} {x[0]}, {of} {y[0]})")

    def _blend(self, w: Writer, x: str, y: str, second: Callable[[int], bool]) -> str:
        of = self.vector(self.types[0])
        lanes = ", ".join(f"i32 {i + self.width * second(i)}" for i in range(self.width))
        return w.value(f"shufflevector {of} {x}, {of} {y}, <{self.width} x i32> <{lanes}>")

    def _swap(self, w: Writer, mask: str, x: Vector, y: Vector) -> tuple[Vector, Vector]:
        """Both, exchanged where the mask holds.

        By their difference: of selections LLVM would make masked stores, which loads soon after wait for.
        """
        pairs = []
        for of, a, b in zip(map(self.vector, self.types), x, y, strict=True):
            apart = w.value(f"xor {of} {a}, {b}")
            apart = w.value(f"select <{self.width} x i1> {mask}, {of} {apart}, {of} zeroinitializer")
            pairs.append((w.value(f"xor {of} {a}, {apart}"), w.value(f"xor {of} {b}, {apart}")))
        return tuple(a for a, _ in pairs), tuple(b for _, b in pairs)


def function(w: LoopWriter, name: str, signature: str, write: Callable[[LoopWriter], str]) -> None:
    """Adds a function to the module of `w`, once; `write` gives what it returns."""

    def text() -> str:
        inner = LoopWriter(w.module)
        inner.begin(f"internal {signature} nounwind")
        inner.end(write(inner))
        return inner.functions()

    w.module.define(name, text)
