"""Selection steps: the k largest of each line, without sorting it.

A buffer holds the best records so far and what came after them. Elements that do not beat the k-th best
are passed over, a vector at a time; others are put behind. When the buffer is full it is sorted, and its
first k stay. So elements are read once, and few of them are sorted. A long line is cut into parts, whose k
largest are put together by a second kernel. Where k is large, or the line hardly longer, it is sorted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
_FRESH = 32  # records at least that come in before the buffer is sorted


def _top_k(node: Tensor) -> Sequence[LoopKernel]:
    k, length = node.attrs["k"], node.inputs[0].result.sizes[-1]
    if k == 0:
        return (LoopWriter().kernel("none of the largest", 0),)
    made = _Selection(node, k)
    if made.room > made.block // 2 or (isinstance(length, int) and length <= made.room):
        return Sorting(node, places=True, kept=k).kernels()
    return made.kernels()


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

    def _buffer(self, w: LoopWriter, records: Records) -> tuple[str, str, int]:
        """Two buffers that are this chunk's, and the bytes of a plane of one."""
        plane = self.room * records.bytes + 64
        bytes = plane * len(records.types)
        own = w.address(w.scratch("own", 2 * bytes * _MOST_CHUNKS), w.mul("%chunk", 2 * bytes), "i8")
        return own, w.address(own, bytes, "i8"), plane

    def _keep(self, w: LoopWriter, records: Records) -> str:
        """The name of ``void keep(ptr x, ptr y, i64 count, i64 plane)``: the k best of x first, in order."""
        name = f"@keep.{self.k}.{records.name}"

        def write(f: LoopWriter) -> str:
            end = f.mul(rows_of(f, records, "%count"), records.width)
            last = [str(x) for x in records.highest]
            f.each(end, lambda i: records.store_one(f, last, "%x", "%plane", i), start="%count")
            f.value(f"call ptr {sort_short(f, records)}(ptr %x, ptr %y, i64 %count, i64 %plane)")
            for i in range(len(records.types)):
                to, source = (f.address(p, f.mul("%plane", i), "i8") for p in ("%x", "%y"))
                f.copy(to, source, self.k * records.bytes)
            return "void"

        w.import_copy()
        function(w, name, f"void {name}(ptr %x, ptr %y, i64 %count, i64 %plane)", write)
        return name

    def _push(
        self, w: LoopWriter, records: Records, record: Sequence[str], count: Value, x: str, y: str, plane: int
    ) -> tuple[str, str]:
        """Puts a record behind the others; gives how many there are, and whether they were sorted."""
        records.store_one(w, record, x, plane, count)
        after = w.add(count, 1)
        full = w.compare("eq", after, self.room)

        def sort() -> list[str]:
            w.do(f"call void {self._keep(w, records)}(ptr {x}, ptr {y}, i64 {after}, i64 {plane})")
            return [str(self.k)]

        (left,) = w.choose(full, sort, lambda: [str(after)], ["i64"])
        return left, full

    def _select(self) -> LoopKernel:
        w, lines, found, plane = self._begin()
        records = lines.records
        x, y, own_plane = self._buffer(w, records)
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
            lines.prepare(x, own_plane, start, first, begun)
            self._keep_now(w, records, x, y, begun, own_plane)
            count = self._scan(w, lines, start, w.add(first, begun), end, x, y, own_plane)
            self._keep_now(w, records, x, y, count, own_plane)
            if self.parts == 1:
                self._give(w, lines, line, x, own_plane)
            else:
                to = w.address(found, w.mul(number, self.k * records.bytes), "i8")
                for i in range(len(records.types)):
                    w.copy(
                        w.address(to, w.mul(plane, i), "i8"), w.address(x, own_plane * i, "i8"),
                        self.k * records.bytes,
                    )  # fmt: skip

        w.own(w.size("tasks", tasks), w.size("per", per), task)
        return w.kernel(self.name, chunks, natural=limits_of(records, self.length, self.k))

    def _keep_now(self, w: LoopWriter, records: Records, x: str, y: str, count: Value, plane: int) -> None:
        keep = self._keep(w, records)
        w.do(f"call void {keep}(ptr {x}, ptr {y}, i64 {count}, i64 {plane})")

    def _give(self, w: LoopWriter, lines: Lines, line: Value, x: str, plane: int) -> None:
        lines.give_places(x, plane, lines.start(line), w.mul(line, self.k), self.k)

    def _scan(
        self, w: LoopWriter, lines: Lines, start: Value, first: Value, end: Value, x: str, y: str, plane: int
    ) -> Value:
        """Puts elements from `first` on that beat the k-th best into the buffer; gives how many it holds."""
        records, dtype = lines.records, memory_dtype(self.dtype)
        width = max(w.module.target.vector_bits // (8 * register_bytes(dtype)), 1)
        scalar, source = register_scalar(dtype), w.operand(0)

        def limit() -> list[str]:
            """The k-th best element, and where the walk ends: nothing beats NaN."""
            em = w.emitter(1)
            place = lines.place_of(em, records.load_one(w, x, plane, self.k - 1))
            inside = w.select(w.compare("slt", place, lines.n), place, 0)
            value = load(em, dtype, source, str(w.add(start, inside)))
            if not dtype.is_floating:
                return [value, str(end)]
            none = em.compare("uno", scalar, value, value)
            return [value, str(w.select(none, 0, end))]

        def beats(em_width: int, place: Value, best: str) -> str:
            em = w.emitter(em_width)
            value = load(em, dtype, source, str(place))
            wanted = em.broadcast(scalar, best)
            if dtype.is_floating:
                return em.compare("ugt", scalar, value, wanted)
            return em.compare("sgt" if dtype.kind == "i" else "ugt", scalar, value, wanted)

        def put(i: Value, state: list[str]) -> list[str]:
            """Element i, whose k-th best is still that of `state`: count, limit, end."""
            em = w.emitter(1)
            raw = lines.load_raw(em, w.add(start, i), None)
            count, full = self._push(w, records, lines.record(em, raw, i), state[0], x, y, plane)
            best, stop = w.choose(full, limit, lambda: state[1:], [scalar, "i64"])
            return [count, best, stop]

        types = ["i64", scalar, "i64"]
        if width == 1:
            whole = first
            state = [str(self.k), *limit()]
        else:

            def vector(values: list[str]) -> list[Value]:
                i, *state = values
                mask = beats(width, w.add(start, i), state[1])
                bits = w.value(f"bitcast <{width} x i1> {mask} to i{width}")
                if width < 64:
                    bits = w.value(f"zext i{width} {bits} to i64")

                def some() -> list[str]:
                    def each(inner: list[str]) -> list[Value]:
                        left, *now = inner
                        lane = w.value(f"call i64 @llvm.cttz.i64(i64 {left}, i1 true)")
                        after = put(w.add(i, lane), now)
                        return [w.value(f"and i64 {left}, {w.sub(left, 1)}"), *after]

                    w.declare("i64 @llvm.cttz.i64(i64, i1)")
                    done = w.until(["i64", *types], [bits, *state], lambda v: w.compare("ne", v[0], 0), each)
                    return done[1:]

                after = w.choose(w.compare("ne", bits, 0), some, lambda: state, types)
                return [w.add(i, width), *after]

            whole, *state = w.until(
                ["i64", *types], [first, str(self.k), *limit()],
                lambda v: w.compare("slt", w.add(v[0], width - 1), v[3]), vector,
            )  # fmt: skip

        def single(values: list[str]) -> list[Value]:
            i, *state = values
            better = beats(1, w.add(start, i), state[1])
            return [w.add(i, 1), *w.choose(better, lambda: put(i, state), lambda: state, types)]

        last = w.until(["i64", *types], [whole, *state], lambda v: w.compare("slt", v[0], v[3]), single)
        return last[1]

    def _join(self) -> LoopKernel:
        w, lines, found, plane = self._begin()
        records = lines.records
        x, y, own_plane = self._buffer(w, records)
        many = w.size("parts", self.parts)
        per, chunks = cut_at_most(self.lines, _MOST_CHUNKS)

        def line(number: Value) -> None:
            first = w.mul(w.mul(number, many), self.k)

            def copy(i: Value) -> None:
                records.store_one(w, records.load_one(w, found, plane, w.add(first, i)), x, own_plane, i)

            w.each(self.k, copy)

            def part(index: Value, outer: list[str]) -> list[str]:
                begin = w.add(first, w.mul(index, self.k))

                def better(values: list[str]) -> str:
                    i, _ = values
                    some = w.compare("slt", i, self.k)
                    at = w.add(begin, w.select(some, i, 0))
                    best = records.load_one(w, x, own_plane, self.k - 1)
                    return w.both(some, records.below(w, records.load_one(w, found, plane, at), best))

                def put(values: list[str]) -> list[Value]:
                    i, count = values
                    record = records.load_one(w, found, plane, w.add(begin, i))
                    return [w.add(i, 1), self._push(w, records, record, count, x, y, own_plane)[0]]

                return [w.until(["i64", "i64"], [0, outer[0]], better, put)[1]]

            (count,) = w.loop(many, part, [("i64", str(self.k))], start=1)
            self._keep_now(w, records, x, y, count, own_plane)
            self._give(w, lines, number, x, own_plane)

        w.own(w.size("lines", self.lines), w.size("per", per), line)
        return w.kernel(f"{self.name}, parts", chunks, natural=limits_of(records, self.length, self.k))


LOOPS: dict[str, Callable[[Tensor], Sequence[LoopKernel]]] = {"top_k": _top_k}
