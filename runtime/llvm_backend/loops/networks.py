"""Sorting networks: blocks of records in place, by comparisons that do not depend on the data.

A block is a matrix of `rows` vectors, rows a power of two. First each column (lane) is sorted: squares by
Batcher's odd-even merges in registers, then by bitonic merges whose stages compare whole vectors. Then
columns are merged, two, four, ... at a time: only the stages between lanes move lanes. Element e of the
sorted block is row ``e % rows`` of lane ``e // rows``, which transposing squares makes a line again.

K. E. Batcher, "Sorting networks and their applications", 1968.
"""

from __future__ import annotations

from collections.abc import Iterator

from runtime.llvm_backend.ir.lanes import transpose
from runtime.llvm_backend.ir.writer import Value
from runtime.llvm_backend.loops.loop_kernel import LoopWriter
from runtime.llvm_backend.loops.records import Records, Vector, function

_AHEAD = 4  # rows that a pass over a block holds at once


def odd_even_pairs(n: int) -> Iterator[tuple[int, int]]:
    """The comparisons that sort `n` elements, a power of two."""
    p = 1
    while p < n:
        k = p
        while k:
            for j in range(k % p, n - k, 2 * k):
                for i in range(min(k, n - j - k)):
                    if (i + j) // (2 * p) == (i + j + k) // (2 * p):
                        yield i + j, i + j + k
            k //= 2
        p *= 2


def sort_columns(w: LoopWriter, records: Records) -> str:
    """The name of ``void columns(ptr base, i64 plane, i64 rows)``: each lane of a block is sorted."""
    name = f"@columns.{records.name}"
    function(w, name, f"void {name}(ptr %base, i64 %plane, i64 %rows)", lambda f: _columns(f, records))
    return name


def sort_block(w: LoopWriter, records: Records) -> str:
    """The name of ``void block(ptr base, i64 plane, i64 rows, ptr to)``: a sorted line, at `to`."""
    name = f"@block.{records.name}"
    signature = f"void {name}(ptr %base, i64 %plane, i64 %rows, ptr %to)"
    function(w, name, signature, lambda f: _block(f, records))
    return name


def rows_of(w: LoopWriter, records: Records, count: Value) -> Value:
    """How many rows a block of `count` records, at least one, has."""
    needed = w.max(w.ceil_div(count, records.width), records.width)
    w.declare("i64 @llvm.ctlz.i64(i64, i1)")
    zeros = w.value(f"call i64 @llvm.ctlz.i64(i64 {w.sub(needed, 1)}, i1 false)")
    return w.value(f"shl i64 1, {w.sub(64, zeros)}")


def square_rows(rows: int, width: int) -> int:
    """The rows of a block where at least `rows` are needed: a power of two from `width` on."""
    return max(1 << max(rows - 1, 0).bit_length(), width)


class _Rows:
    """The rows of the block that a function is called with."""

    def __init__(self, w: LoopWriter, records: Records) -> None:
        self.w, self.records = w, records

    def load(self, row: Value) -> Vector:
        return self.records.load(self.w, "%base", "%plane", self.w.mul(row, self.records.width))

    def store(self, x: Vector, row: Value) -> None:
        self.records.store(self.w, x, "%base", "%plane", self.w.mul(row, self.records.width))

    def network(self, places: list[Value], pairs: Iterator[tuple[int, int]]) -> None:
        """Compares some rows in registers."""
        found = [self.load(place) for place in places]
        for i, j in pairs:
            found[i], found[j] = self.records.exchange(self.w, found[i], found[j])
        for x, place in zip(found, places, strict=True):
            self.store(x, place)


def _columns(w: LoopWriter, records: Records) -> str:
    rows, width = _Rows(w, records), records.width
    clean = _clean(w, records)

    def square(first: Value) -> None:
        rows.network([w.add(first, i) for i in range(width)], odd_even_pairs(width))

    w.each("%rows", square, step=width)
    quarter_rows = w.div("%rows", 4)

    def merge(state: list[str]) -> list[Value]:
        (size,) = state
        quarter = w.div(size, 4)
        low_bits = w.sub(quarter, 1)

        def four(t: Value) -> None:
            i = w.value(f"and i64 {t}, {low_bits}")
            first = w.mul(w.sub(t, i), 4)
            lower, upper = w.add(first, i), w.sub(w.sub(w.add(first, size), 1), i)
            places = [lower, w.add(lower, quarter), w.sub(upper, quarter), upper]
            rows.network(places, iter(((0, 3), (1, 2), (0, 1), (2, 3))))

        w.each(quarter_rows, four)
        w.do(f"call void {clean}(ptr %base, i64 %plane, i64 %rows, i64 {w.div(size, 8)})")
        return [w.mul(size, 2)]

    w.until(["i64"], [2 * width], lambda state: w.value(f"icmp sle i64 {state[0]}, %rows"), merge)
    return "void"


def _clean(w: LoopWriter, records: Records) -> str:
    """The stages of bitonic merges that compare rows `distance`, half of it, ..., 1 apart."""
    name = f"@clean.{records.name}"

    def write(f: LoopWriter) -> str:
        rows = _Rows(f, records)
        quarter_rows = f.div("%rows", 4)

        def two_stages(state: list[str]) -> list[Value]:
            half = f.div(state[0], 2)
            low_bits = f.sub(half, 1)

            def four(t: Value) -> None:
                i = f.value(f"and i64 {t}, {low_bits}")
                first = f.sub(f.mul(t, 4), f.mul(i, 3))
                places = [f.add(first, f.mul(half, k)) for k in range(4)]
                rows.network(places, iter(((0, 2), (1, 3), (0, 1), (2, 3))))

            f.each(quarter_rows, four)
            return [f.div(state[0], 4)]

        last = f.until(["i64"], ["%distance"], lambda s: f.value(f"icmp sgt i64 {s[0]}, 1"), two_stages)

        def neighbours(first: Value) -> None:
            rows.network([f.add(first, i) for i in range(4)], iter(((0, 1), (2, 3))))

        f.when(f.compare("eq", last[0], 1), lambda: f.each("%rows", neighbours, step=_AHEAD))
        return "void"

    function(w, name, f"void {name}(ptr %base, i64 %plane, i64 %rows, i64 %distance)", write)
    return name


def _block(w: LoopWriter, records: Records) -> str:
    rows, width = _Rows(w, records), records.width
    w.do(f"call void {sort_columns(w, records)}(ptr %base, i64 %plane, i64 %rows)")
    half = w.div("%rows", 2)
    lanes = 2
    while lanes <= width:
        _merge_lanes(w, rows, half, lanes)
        w.do(f"call void {_clean(w, records)}(ptr %base, i64 %plane, i64 %rows, i64 {half})")
        lanes *= 2

    def square(first: Value) -> None:
        found = [rows.load(w.add(first, i)) for i in range(width)]
        turned = [transpose(w, [x[i] for x in found], type) for i, type in enumerate(records.types)]
        for lane in range(width):
            place = w.add(first, w.mul("%rows", lane))
            records.store(w, tuple(part[lane] for part in turned), "%to", "%plane", place)

    w.each("%rows", square, step=width)
    return "void"


def _merge_lanes(w: LoopWriter, rows: _Rows, half: Value, lanes: int) -> None:
    """The stages between lanes that merge each `lanes` columns, of which both halves are sorted.

    Row v of lane i meets the mirrored row of the mirrored lane.
    """
    records = rows.records

    def pair(v: Value) -> None:
        mirrored = w.sub(w.sub("%rows", 1), v)
        x = rows.load(v)
        y = records.permute(w, rows.load(mirrored), lambda i: i ^ (lanes - 1))
        first, other = records.exchange_by(w, x, y, lambda i: bool(i & (lanes // 2)))
        last = records.permute(w, other, lambda i: i ^ (lanes - 1))
        distance = lanes // 4
        while distance:
            first, last = (records.clean_lanes(w, z, distance) for z in (first, last))
            distance //= 2
        rows.store(first, v)
        rows.store(last, mirrored)

    w.each(half, pair)
