"""Selection steps: the k largest of each line, without sorting it.

A buffer holds the best records so far and what came after them. Elements that do not beat the k-th best
are passed over, a vector at a time; others are put behind. When the buffer is full it is sorted, and its
first k stay. So elements are read once, and few of them are sorted. A long line is cut into parts, whose k
largest are put together by a second kernel. Where k is large, or the line hardly longer, it is sorted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphc.freezing import frozen
from graphc.sizes import Size, maximum, minimum, product
from graphc.tensor import Tensor
from graphc.types import DType
from runtime.llvm_backend.ir.values import load, memory_dtype, register_bytes, register_scalar
from runtime.llvm_backend.ir.writer import Value
from runtime.llvm_backend.loops.lines import Lines, block_of, limits_of, records_of
from runtime.llvm_backend.loops.loop_kernel import LoopKernel, LoopWriter, cut_at_most
from runtime.llvm_backend.loops.merges import sort_short
from runtime.llvm_backend.loops.networks import rows_of, square_rows
from runtime.llvm_backend.loops.records import Records, function
from runtime.llvm_backend.loops.sort_steps import Sorting

_PART = 1 << 16  # elements of a part of a long line
_MOST_PARTS = 64
_MOST_CHUNKS = 64  # each has a buffer of its own
_LONG = (
    16  # times what the buffer has room for: of such a line few elements go into a buffer of a whole block
)
_FRESH = 32  # records at least that come in before the buffer is sorted


def _top_k(node: Tensor) -> Sequence[LoopKernel]:
    k, length = node.attrs["k"], node.inputs[0].result.sizes[-1]
    if k == 0:
        return (LoopWriter().kernel("none of the largest", 0),)
    made = _Selection(node, k)
    longest = isinstance(length, int) and length >= _LONG * made.room
    if made.room > made.block // (1 if longest else 2) or (isinstance(length, int) and length <= made.room):
        return Sorting(node, places=True, kept=k).kernels()
    return made.kernels()


@frozen
class _Buffer:
    """Memory of a chunk's own: in `x` the `k` best records so far, and what came after them.

    There is `room` for so many; `y` is as large, for sorting. A plane of each has `plane` bytes.
    """

    w: LoopWriter
    records: Records
    k: int
    room: int
    x: str
    y: str
    plane: int

    @staticmethod
    def of(w: LoopWriter, records: Records, k: int, room: int) -> _Buffer:
        """One for each chunk, in scratch."""
        plane = room * records.bytes + 64
        bytes = plane * len(records.types)
        own = w.address(w.scratch("own", 2 * bytes * _MOST_CHUNKS), w.mul("%chunk", 2 * bytes), "i8")
        return _Buffer(w, records, k, room, own, w.address(own, bytes, "i8"), plane)

    def last(self) -> tuple[str, ...]:
        """The k-th best."""
        return self.records.load_one(self.w, self.x, self.plane, self.k - 1)

    def store(self, record: Sequence[str], i: Value) -> None:
        """Sets record number i."""
        self.records.store_one(self.w, record, self.x, self.plane, i)

    def push(self, record: Sequence[str], count: Value) -> tuple[str, str]:
        """Puts a record behind the others; gives how many there are, and whether they were sorted."""
        w = self.w
        self.store(record, count)
        after = w.add(count, 1)
        full = w.compare("eq", after, self.room)

        def sort() -> list[str]:
            self.keep(after)
            return [str(self.k)]

        (left,) = w.choose(full, sort, lambda: [str(after)], ["i64"])
        return left, full

    def keep(self, count: Value) -> None:
        """Brings the k best of `count` records to the front, in order."""
        name = self._keeper()
        self.w.do(f"call void {name}(ptr {self.x}, ptr {self.y}, i64 {count}, i64 {self.plane})")

    def _keeper(self) -> str:
        """The name of ``void keep(ptr x, ptr y, i64 count, i64 plane)``."""
        records, name = self.records, f"@keep.{self.k}.{self.records.name}"

        def write(f: LoopWriter) -> str:
            end = f.mul(rows_of(f, records, "%count"), records.width)
            last = [str(x) for x in records.highest]
            f.each(end, lambda i: records.store_one(f, last, "%x", "%plane", i), start="%count")
            f.value(f"call ptr {sort_short(f, records)}(ptr %x, ptr %y, i64 %count, i64 %plane)")
            for i in range(len(records.types)):
                to, source = (f.address(p, f.mul("%plane", i), "i8") for p in ("%x", "%y"))
                f.copy(to, source, self.k * records.bytes)
            return "void"

        self.w.import_copy()
        function(self.w, name, f"void {name}(ptr %x, ptr %y, i64 %count, i64 %plane)", write)
        return name


class _Scan:
    """A walk over elements of a line, which begins at `start`, up to number `end`: into the buffer.

    What it carries along: how many records the buffer holds, the k-th best element, where the walk ends.
    """

    def __init__(self, lines: Lines, buffer: _Buffer, dtype: DType, start: Value, end: Value) -> None:
        self.w, self.lines, self.buffer, self.dtype = lines.w, lines, buffer, memory_dtype(dtype)
        self.start, self.end, self.source = start, end, lines.w.operand(0)
        self.scalar = register_scalar(self.dtype)
        self.types = ["i64", self.scalar, "i64"]

    def run(self, first: Value) -> Value:
        """Puts elements from `first` on that beat the k-th best into the buffer; gives how many it holds."""
        w = self.w
        width = max(w.module.target.vector_bits // (8 * register_bytes(self.dtype)), 1)
        state: list[Value] = [first, str(self.buffer.k), *self._limit()]
        types = ["i64", *self.types]
        if width > 1:
            state = [*w.until(
                types, state, lambda v: w.compare("slt", w.add(v[0], width - 1), v[3]),
                lambda values: self._vector(width, *values),
            )]  # fmt: skip
        return w.until(
            types, state, lambda v: w.compare("slt", v[0], v[3]), lambda values: self._single(*values)
        )[1]

    def _limit(self) -> list[str]:
        """The k-th best element, and where the walk ends: nothing beats NaN."""
        w, lines = self.w, self.lines
        em = w.emitter(1)
        place = lines.place_of(em, self.buffer.last())
        inside = w.select(w.compare("slt", place, lines.n), place, 0)
        value = load(em, self.dtype, self.source, str(w.add(self.start, inside)))
        if not self.dtype.is_floating:
            return [value, str(self.end)]
        none = em.compare("uno", self.scalar, value, value)
        return [value, str(w.select(none, 0, self.end))]

    def _beats(self, width: int, i: Value, best: str) -> str:
        """Whether elements from number i on beat the `best`."""
        place, em = self.w.add(self.start, i), self.w.emitter(width)
        value = load(em, self.dtype, self.source, str(place))
        wanted = em.broadcast(self.scalar, best)
        if self.dtype.is_floating:
            return em.compare("ugt", self.scalar, value, wanted)
        return em.compare("sgt" if self.dtype.kind == "i" else "ugt", self.scalar, value, wanted)

    def _put(self, i: Value, state: list[str]) -> list[str]:
        """What is carried behind element i, which goes into the buffer."""
        w, lines = self.w, self.lines
        em = w.emitter(1)
        raw = lines.load_raw(em, w.add(self.start, i), None)
        count, full = self.buffer.push(lines.record(em, raw, i), state[0])
        best, stop = w.choose(full, self._limit, lambda: state[1:], self.types[1:])
        return [count, best, stop]

    def _single(self, i: str, *state: str) -> list[Value]:
        w, kept = self.w, list(state)
        better = self._beats(1, i, kept[1])
        return [w.add(i, 1), *w.choose(better, lambda: self._put(i, kept), lambda: kept, self.types)]

    def _vector(self, width: int, i: str, *state: str) -> list[Value]:
        w, kept = self.w, list(state)
        mask = self._beats(width, i, kept[1])
        bits = w.value(f"bitcast <{width} x i1> {mask} to i{width}")
        if width < 64:
            bits = w.value(f"zext i{width} {bits} to i64")

        def some() -> list[str]:
            def each(inner: list[str]) -> list[Value]:
                left, *now = inner
                lane = w.value(f"call i64 @llvm.cttz.i64(i64 {left}, i1 true)")
                after = self._put(w.add(i, lane), now)
                return [w.value(f"and i64 {left}, {w.sub(left, 1)}"), *after]

            w.declare("i64 @llvm.cttz.i64(i64, i1)")
            types = ["i64", *self.types]
            return w.until(types, [bits, *kept], lambda v: w.compare("ne", v[0], 0), each)[1:]

        after = w.choose(w.compare("ne", bits, 0), some, lambda: kept, self.types)
        return [w.add(i, width), *after]


class _Selection:
    """Writes the kernels of one selection."""

    def __init__(self, node: Tensor, k: int) -> None:
        self.node, self.k = node, k
        self.dtype: DType = node.inputs[0].dtype
        shape = node.inputs[0].result.sizes
        self.length, self.lines = shape[-1], product(shape[:-1])
        self.parts = minimum((self.length + (_PART - 1)) // _PART, _MOST_PARTS)
        self.per_part = (self.length + maximum(self.parts, 1) - 1) // maximum(self.parts, 1)
        self.name = f"top_k of {self.dtype}"
        records = records_of(LoopWriter(), self.dtype, True, 1 << 20)
        width, self.block = records.width, block_of(records)
        self.room = square_rows((k + max(k, _FRESH) + width - 1) // width, width) * width

    def kernels(self) -> list[LoopKernel]:
        """One, or two where lines may have several parts."""
        return [self._select()] if self.parts == 1 else [self._select(), self._join()]

    def _begin(self) -> tuple[LoopWriter, Lines, str, Value]:
        """A writer, the lines, and where the k largest of all parts are found, and the bytes of a plane."""
        w = LoopWriter()
        records = records_of(w, self.dtype, True, 1 << 20)
        lines = Lines(w, self.node, records, True, w.size("n", self.length), 1, nan_first=True)
        plane: Size = 0 if self.parts == 1 else self.lines * self.parts * (self.k * records.bytes)
        found = w.scratch("found", plane * len(records.types))
        return w, lines, found, w.size("plane", plane)

    def _buffer(self, lines: Lines) -> _Buffer:
        return _Buffer.of(lines.w, lines.records, self.k, self.room)

    def _select(self) -> LoopKernel:
        w, lines, found, plane = self._begin()
        records, buffer = lines.records, self._buffer(lines)
        many = w.size("parts", maximum(self.parts, 1))
        per_part = w.size("part", self.per_part)
        tasks = self.lines * self.parts
        per, chunks = cut_at_most(tasks, _MOST_CHUNKS)

        def task(number: Value) -> None:
            line, part = (number, 0) if self.parts == 1 else (w.div(number, many), w.rem(number, many))
            start = lines.start(line)
            first = w.mul(part, per_part)
            end = w.max(w.min(lines.n, w.add(first, per_part)), first)
            begun = w.min(w.sub(end, first), self.room)
            lines.prepare(buffer.x, buffer.plane, start, first, begun)
            buffer.keep(begun)
            buffer.keep(_Scan(lines, buffer, self.dtype, start, end).run(w.add(first, begun)))
            if self.parts == 1:
                self._give(lines, line, buffer)
            else:
                to = w.address(found, w.mul(number, self.k * records.bytes), "i8")
                for i in range(len(records.types)):
                    goal = w.address(to, w.mul(plane, i), "i8")
                    w.copy(goal, w.address(buffer.x, buffer.plane * i, "i8"), self.k * records.bytes)

        w.own(w.size("tasks", tasks), w.size("per", per), task)
        return w.kernel(self.name, chunks, natural=limits_of(records, self.length, self.k))

    def _give(self, lines: Lines, line: Value, buffer: _Buffer) -> None:
        lines.give_places(buffer.x, buffer.plane, lines.start(line), lines.w.mul(line, self.k), self.k)

    def _join(self) -> LoopKernel:
        w, lines, found, plane = self._begin()
        records, buffer = lines.records, self._buffer(lines)
        many = w.size("parts", self.parts)
        per, chunks = cut_at_most(self.lines, _MOST_CHUNKS)

        def line(number: Value) -> None:
            first = w.mul(w.mul(number, many), self.k)

            w.each(self.k, lambda i: buffer.store(records.load_one(w, found, plane, w.add(first, i)), i))

            def part(index: Value, outer: list[str]) -> list[str]:
                begin = w.add(first, w.mul(index, self.k))

                def better(values: list[str]) -> str:
                    i, _ = values
                    some = w.compare("slt", i, self.k)
                    at = w.add(begin, w.select(some, i, 0))
                    best = buffer.last()
                    return w.both(some, records.below(w, records.load_one(w, found, plane, at), best))

                def put(values: list[str]) -> list[Value]:
                    i, count = values
                    record = records.load_one(w, found, plane, w.add(begin, i))
                    return [w.add(i, 1), buffer.push(record, count)[0]]

                return [w.until(["i64", "i64"], [0, outer[0]], better, put)[1]]

            (count,) = w.loop(many, part, [("i64", str(self.k))], start=1)
            buffer.keep(count)
            self._give(lines, number, buffer)

        w.own(w.size("lines", self.lines), w.size("per", per), line)
        return w.kernel(f"{self.name}, parts", chunks, natural=limits_of(records, self.length, self.k))


LOOPS: dict[str, Callable[[Tensor], Sequence[LoopKernel]]] = {"top_k": _top_k}
