"""Sort steps: lines along an axis sorted, or the places that sort them.

Three ways, by sizes. Short lines that are not the last axis are sorted side by side, one in each lane; so are
many of up to some hundred elements that are, transposed on the way.
Other lines are sorted one by one, each by one chunk. Of a long line chunks sort `_PARTS` parts, which
further kernels merge, two and two, a chunk for each piece of the result.

Of values alone only keys are sorted. Those of NaN, and the order of -0.0 and 0.0, are mended afterwards:
where there are some, which is rare, they are copied from the operand in their order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from graphc.sizes import Size, maximum, minimum, product
from graphc.tensor import Tensor
from graphc.types import DType
from runtime.llvm_backend.ir.writer import Value
from runtime.llvm_backend.loops.lines import Lines, capacity_of, limits_of, records_of, wide_records
from runtime.llvm_backend.loops.loop_kernel import LoopKernel, LoopWriter, cut_at_most
from runtime.llvm_backend.loops.merges import merge_runs, sort_records, sort_short, split_runs
from runtime.llvm_backend.loops.networks import rows_of, sort_columns
from runtime.llvm_backend.loops.packed_lines import packed_records, sort_packed
from runtime.llvm_backend.loops.records import Records

_LONG = 1 << 16  # elements of a line from which on it is sorted in parts
_TALL = 1 << 12  # of a line that is not the last axis, up to which lines are sorted side by side
_DENSE = 1 << 8  # of a line that is the last axis
_PARTS = 16
_PASSES = 4  # that merge so many parts
_PIECE = 1 << 16  # elements that a chunk merges
_MOST_CHUNKS = 64  # each has scratch of its own


def sorting(places: bool) -> Callable[[Tensor], Sequence[LoopKernel]]:
    """Kernels of a sort, of values or of `places`."""

    def make(node: Tensor) -> Sequence[LoopKernel]:
        return Sorting(node, places).kernels()

    return make


def _above(size: Size, limit: int) -> Size:
    """1 where `size` is more than `limit`, else 0."""
    return minimum(size // (limit + 1), 1)


class Sorting:
    """Writes the kernels of one sort.

    Args:
        node: its operand's lines along `axis` (else the last one) are sorted.
        places: whether the result is where the elements were, not the elements.
        kept: how many of each line are results, elements and places both; None: all, of one kind.
    """

    def __init__(self, node: Tensor, places: bool, kept: int | None = None) -> None:
        self.node, self.places, self.kept = node, places, kept
        self.dtype: DType = node.inputs[0].dtype
        shape = node.inputs[0].result.sizes
        axis = node.attrs.get("axis", len(shape) - 1)
        self.length, self.inner = shape[axis], product(shape[axis + 1 :])
        self.outer: Size = product(shape[:axis])
        self.lines: Size = self.outer * self.inner
        self.name = f"{node.op.name} of {self.dtype}"
        self.long = _above(self.length, _LONG)
        self.tall: Size = 1 - _above(self.length, _TALL) if self.inner != 1 else 0

    def kernels(self) -> list[LoopKernel]:
        """All of them, in order."""
        found = [self._first()]
        if self.long != 0:
            found += [self._merge(i) for i in range(_PASSES)]
            found.append(self._finish())
            if self._may_mend:
                found.append(self._mend())
        return found

    @property
    def _packs(self) -> bool:
        """Whether lines of keys and places are first tried as one integer each."""
        return self.places and self.inner == 1 and self.dtype.numpy.itemsize == 8

    @property
    def _may_mend(self) -> bool:
        return self.dtype.is_floating and not self.places

    def _lines(self, w: LoopWriter) -> Lines:
        records = records_of(w, self.dtype, self.places, self.length)
        inner = 1 if self.inner == 1 else w.size("inner", self.inner)
        n = w.size("n", self.length)
        return Lines(w, self.node, records, self.places, n, inner, nan_first=self.kept is not None)

    # The layout of scratch, the same for all kernels of a step.

    def _part(self, block: int) -> tuple[Size, Size]:
        """How many elements of a line a part has, and how many records it has room for."""
        per = (self.length + (_PARTS - 1)) // _PARTS
        return per, (per + (block - 1)) // block * block

    def _halves(self, w: LoopWriter, lines: Lines) -> tuple[str, str, str, Value]:
        """Where the records of long lines lie: two halves, where flags lie, and bytes of a plane."""
        records = lines.records
        _, stride = self._part(lines.block)
        plane = self.long * self.lines * (stride * _PARTS * records.bytes) + 64
        one = w.scratch("one", plane * len(records.types))
        two = w.scratch("two", plane * len(records.types))
        return one, two, w.scratch("flags", self.long * self.lines * _PARTS), w.size("plane", plane)

    # The first kernel.

    def _first(self) -> LoopKernel:
        w = LoopWriter()
        lines = self._lines(w)
        wide = wide_records(w, self.dtype, self.places)
        if self._turns(w, wide):
            return self._transposed(w, lines, replace(lines, records=wide))
        width = lines.records.width
        blocks = (self.inner + (width - 1)) // width
        per_block, tall_chunks = cut_at_most(self.outer * blocks, _MOST_CHUNKS // 2)
        per_line, line_chunks = cut_at_most(self.lines, _MOST_CHUNKS)
        long_chunks = self.lines * _PARTS
        if self.inner != 1 and self.tall != 0:
            is_tall = w.compare("eq", w.size("tall", self.tall), 1) if self.tall != 1 else "true"

            def side_by_side() -> None:
                count, per = w.size("blocks", self.outer * blocks), w.size("blocks.per", per_block)
                x, _, plane = self._own_scratch(w, lines, self.tall, _MOST_CHUNKS // 2, width)
                w.own(count, per, lambda i: self._side_by_side(w, lines, i, blocks, x, plane))

            w.choose(is_tall, side_by_side, lambda: self._one_by_one(w, lines, per_line))
        else:
            self._one_by_one(w, lines, per_line)
        rest = 1 - self.tall
        chunks = self.tall * tall_chunks + rest * (1 - self.long) * line_chunks + self.long * long_chunks
        natural = limits_of(lines.records, self.length, self.kept or 0) if self.places else []
        return w.kernel(self.name, chunks, natural=natural)

    def _turns(self, w: LoopWriter, wide: Records) -> bool:
        """Whether dense lines of narrow keys are sorted side by side where they fill the lanes."""
        if self.inner != 1 or self.kept is not None or not w.module.target.masks or wide.bytes > 4:
            return False
        is_short = isinstance(self.length, int) and wide.width <= self.length <= _DENSE
        self.tall = minimum(self.lines // wide.width, 1) if is_short else 0
        return self.tall != 0

    def _transposed(self, w: LoopWriter, lines: Lines, wide: Lines) -> LoopKernel:
        width = wide.records.width
        blocks = (self.lines + (width - 1)) // width
        per_block, chunks = cut_at_most(blocks, _MOST_CHUNKS // 2)
        per_line, line_chunks = cut_at_most(self.lines, _MOST_CHUNKS)

        def side_by_side() -> None:
            x, _, plane = self._own_scratch(w, wide, self.tall, _MOST_CHUNKS // 2, width)
            rows = rows_of(w, wide.records, w.mul(wide.n, width))
            last = w.sub(w.size("lines", self.lines), 1)

            def block(index: Value) -> None:
                first = w.mul(index, width)
                odd = wide.prepare_lines(x, plane, first, last, rows)
                w.do(f"call void {sort_columns(w, wide.records)}(ptr {x}, i64 {plane}, i64 {rows})")
                wide.give_lines(x, plane, first, last)
                if odd is not None:
                    count = w.min(w.sub(w.add(last, 1), first), width)
                    w.when(odd, lambda: w.each(count, lambda i: wide.mend(wide.start(w.add(first, i)))))

            w.own(w.size("blocks", blocks), w.size("blocks.per", per_block), block)

        if self.tall == 1:
            side_by_side()
        else:
            fills = w.compare("eq", w.size("tall", self.tall), 1)
            w.choose(fills, side_by_side, lambda: self._one_by_one(w, lines, per_line))
        natural = limits_of(lines.records, self.length) if self.places else []
        return w.kernel(self.name, self.tall * chunks + (1 - self.tall) * line_chunks, natural=natural)

    def _own_scratch(
        self, w: LoopWriter, lines: Lines, used: Size, chunks: Size, lanes: int
    ) -> tuple[str, str, Value]:
        """Two parts of scratch that are this chunk's, and the bytes of a plane of one."""
        records = lines.records
        room = capacity_of(self.length, records, lanes)
        if self._packs:
            room = maximum(room, capacity_of(self.length, packed_records(records), lanes))
        plane = used * (room * records.bytes + 64)
        bytes = plane * len(records.types)
        many = 1 if lanes > 1 else 2
        base = w.scratch(f"own{lanes}", bytes * (many * chunks))
        own = w.address(base, w.mul("%chunk", w.size(f"own{lanes}.bytes", bytes * many)), "i8")
        return own, w.address(own, w.size(f"own{lanes}.half", bytes), "i8"), w.size(f"plane{lanes}", plane)

    def _one_by_one(self, w: LoopWriter, lines: Lines, per_line: Size) -> None:
        def short() -> None:
            used = (1 - self.tall) * (1 - self.long)
            x, y, plane = self._own_scratch(w, lines, used, minimum(self.lines, _MOST_CHUNKS), 1)
            sort = self._sort(w, lines)
            n = lines.n

            def give(sorted: Lines, found: str, number: Value, start: Value) -> None:
                if self.kept is None:
                    sorted.give(found, plane, start, 0, n)
                else:
                    sorted.give_places(found, plane, start, w.mul(number, self.kept), self.kept)

            def plain(number: Value, start: Value) -> None:
                odd = lines.prepare(x, plane, start, 0, n)
                found = w.value(f"call ptr {sort}(ptr {x}, ptr {y}, i64 {n}, i64 {plane})")
                give(lines, found, number, start)
                if odd is not None:
                    w.when(odd, lambda: lines.mend(start))

            def line(number: Value) -> None:
                start = lines.start(number)
                if not self._packs:
                    plain(number, start)
                    return
                narrow = self._sort(w, replace(lines, records=packed_records(lines.records)))
                packed, found, wrong = sort_packed(w, lines, start, x, y, plane, narrow)
                w.choose(wrong, lambda: plain(number, start), lambda: give(packed, found, number, start))

            w.own(w.size("lines", self.lines), w.size("per", per_line), line)

        if self.long == 0:
            short()
        elif self.long == 1:
            self._long(w, lines)
        else:
            w.choose(w.compare("eq", w.size("long", self.long), 1), lambda: self._long(w, lines), short)

    def _sort(self, w: LoopWriter, lines: Lines) -> str:
        if isinstance(self.length, int) and self.length <= lines.block:
            return sort_short(w, lines.records)
        return sort_records(w, lines.records, lines.block)

    def _side_by_side(
        self, w: LoopWriter, lines: Lines, number: Value, blocks: Size, x: str, plane: Value
    ) -> None:
        many = w.size("blocks.many", maximum(blocks, 1))
        row, column = w.div(number, many), w.mul(w.rem(number, many), lines.records.width)
        start = w.add(w.mul(w.mul(row, lines.n), lines.inner), column)
        left = w.sub(lines.inner, column)
        rows = rows_of(w, lines.records, w.mul(lines.n, lines.records.width))
        odd = lines.prepare_columns(x, plane, start, left, rows)
        w.do(f"call void {sort_columns(w, lines.records)}(ptr {x}, i64 {plane}, i64 {rows})")
        lines.give_columns(x, plane, start, left)
        if odd is not None:
            lanes = w.min(left, lines.records.width)
            w.when(odd, lambda: w.each(lanes, lambda i: lines.mend(w.add(start, i))))

    def _long(self, w: LoopWriter, lines: Lines) -> None:
        """Sorts one part of one line, into the first half."""
        one, two, flags, plane = self._halves(w, lines)
        per, stride = (
            w.size(name, size) for name, size in zip(("part", "stride"), self._part(lines.block), strict=True)
        )
        line, part = w.div("%chunk", _PARTS), w.rem("%chunk", _PARTS)
        first = w.mul(part, per)
        count = w.max(w.min(w.sub(lines.n, first), per), 0)
        at = w.mul(w.mul("%chunk", stride), lines.records.bytes)
        x, y = w.address(one, at, "i8"), w.address(two, at, "i8")
        odd = lines.prepare(x, plane, lines.start(line), first, count)
        found = w.value(
            f"call ptr {sort_records(w, lines.records, lines.block)}"
            f"(ptr {x}, ptr {y}, i64 {count}, i64 {plane})"
        )

        def bring() -> None:
            bytes = w.mul(count, lines.records.bytes)
            for i in range(len(lines.records.types)):
                to, source = (w.address(p, w.mul(plane, i), "i8") for p in (x, found))
                w.copy(to, source, bytes)

        w.when(w.value(f"icmp ne ptr {found}, {x}"), bring)
        if odd is not None:
            w.store("i8", w.value(f"zext i1 {odd} to i8"), flags, "%chunk")

    # The other ones.

    def _merge(self, number: int) -> LoopKernel:
        """Merges each two runs of 2 ** `number` parts, piece by piece."""
        w = LoopWriter()
        lines = self._lines(w)
        records = lines.records
        one, two, _, plane = self._halves(w, lines)
        given, to = (one, two) if number % 2 == 0 else (two, one)
        part, room = self._part(lines.block)
        run = part * 2**number
        pairs = _PARTS // 2 ** (number + 1)
        pieces = (run * 2 + (_PIECE - 1)) // _PIECE
        own, many = w.size("run", run), w.size("pieces", pieces)
        step = w.size("step", room * (2**number * records.bytes))
        pair, piece = w.div("%chunk", many), w.rem("%chunk", many)
        before = w.mul(w.rem(pair, w.size("pairs", pairs)), w.mul(own, 2))
        left = w.max(w.sub(lines.n, before), 0)
        nx = w.min(left, own)
        ny = w.min(w.sub(left, nx), own)
        at = w.mul(w.mul(pair, step), 2)
        x = w.address(given, at, "i8")
        y, result = w.address(x, step, "i8"), w.address(to, at, "i8")
        low = w.min(w.mul(piece, _PIECE), left)
        high = w.min(w.add(low, _PIECE), w.add(nx, ny))

        def merge() -> None:
            split = split_runs(w, records)
            i, k = (
                w.value(f"call i64 {split}(ptr {x}, i64 {nx}, ptr {y}, i64 {ny}, i64 {count}, i64 {plane})")
                for count in (low, high)
            )
            j = w.sub(low, i)
            x_at, y_at, to_at = (
                w.address(run, w.mul(index, records.bytes), "i8")
                for run, index in ((x, i), (y, j), (result, low))
            )
            w.do(
                f"call void {merge_runs(w, records)}(ptr {x_at}, i64 {w.sub(k, i)}, ptr {y_at}, "
                f"i64 {w.sub(w.sub(high, k), j)}, ptr {to_at}, i64 {plane})"
            )

        w.when(w.compare("slt", low, high), merge)
        return w.kernel(f"{self.name}, merge", self.long * self.lines * pairs * pieces)

    def _finish(self) -> LoopKernel:
        w = LoopWriter()
        lines = self._lines(w)
        one, _, _, plane = self._halves(w, lines)
        pieces = ((self.length if self.kept is None else self.kept) + (_PIECE - 1)) // _PIECE
        many = w.size("pieces", maximum(pieces, 1))
        line, first = w.div("%chunk", many), w.mul(w.rem("%chunk", many), _PIECE)
        bytes = self._part(lines.block)[1] * (_PARTS * lines.records.bytes)
        found = w.address(one, w.mul(line, w.size("bytes", bytes)), "i8")
        start = lines.start(line)
        if self.kept is None:
            lines.give(found, plane, start, first, w.min(w.sub(lines.n, first), _PIECE))
        else:
            count = w.min(w.sub(self.kept, first), _PIECE)
            source = w.address(found, w.mul(first, lines.records.bytes), "i8")
            lines.give_places(source, plane, start, w.add(w.mul(line, self.kept), first), count)
        return w.kernel(f"{self.name}, results", self.long * self.lines * pieces)

    def _mend(self) -> LoopKernel:
        w = LoopWriter()
        lines = self._lines(w)
        _, _, flags, _ = self._halves(w, lines)
        own = w.address(flags, w.mul("%chunk", _PARTS), "i8")
        odd = w.value(f"icmp ne i128 {w.value(f'load i128, ptr {own}, align 1')}, 0")
        w.when(odd, lambda: lines.mend(lines.start("%chunk")))
        return w.kernel(f"{self.name}, zeros and NaN", self.long * self.lines)


LOOPS: dict[str, Callable[[Tensor], Sequence[LoopKernel]]] = {
    "sort": sorting(places=False),
    "argsort": sorting(places=True),
}
