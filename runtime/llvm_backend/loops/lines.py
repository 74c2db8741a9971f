"""Lines: how elements along an axis become records that are sorted, and come back."""

from __future__ import annotations

from dataclasses import astuple

from graphc.freezing import frozen
from graphc.sizes import Size
from graphc.tensor import Tensor
from graphc.types import UINT8, UINT16, UINT32, UINT64, DType
from runtime.llvm_backend.ir.lanes import transpose
from runtime.llvm_backend.ir.text import Emitter, numbered
from runtime.llvm_backend.ir.values import load, store
from runtime.llvm_backend.ir.writer import Value
from runtime.llvm_backend.loops.loop_kernel import LoopWriter, bits_type, bytes_of, item_bytes
from runtime.llvm_backend.loops.networks import rows_of, square_rows
from runtime.llvm_backend.loops.ordering import is_nan, key_type, magnitude, signed_key, value_of
from runtime.llvm_backend.loops.records import Records, Vector

_BLOCK_BYTES = 1 << 15  # of a block of records: half of it is in L1 while it is sorted
_RAW = {1: UINT8, 2: UINT16, 4: UINT32, 8: UINT64}
_HALF = 32  # bits that a place takes beside a key of as many


def wide_records(w: LoopWriter, dtype: DType, places: bool) -> Records:
    """What sorts elements of `dtype`: keys, keys above places in one integer, or keys and places."""
    bytes = item_bytes(dtype)
    types = ("i64",) if bytes <= 4 or not places else ("i64", "i64")
    if bytes <= 4 and not places:
        types = ("i32",) if bytes == 4 else ("i16",)
    return Records(types, max(w.module.target.vector_bits // (8 * bytes_of(types[0])), 4))


def records_of(w: LoopWriter, dtype: DType, places: bool, length: Size) -> Records:
    """The same for one line of `length`."""
    wide = wide_records(w, dtype, places)
    width = wide.width
    while isinstance(length, int) and width > 4 and length <= width * width // 2:
        width //= 2  # a block is a square at least
    return Records(wide.types, width)


def block_of(records: Records) -> int:
    """How many records are sorted by one network."""
    return _BLOCK_BYTES // (records.bytes * len(records.types))


def limits_of(records: Records, length: Size, kept: Size = 0) -> list[Size]:
    """What must not be negative: `kept` of a line are there, and places fit beside narrow keys."""
    limits = [length - kept]
    if records.types == ("i64",):
        limits.append((1 << _HALF) - 1 - length)
    return [limit for limit in limits if not isinstance(limit, int) or limit < 0]


def capacity_of(length: Size, records: Records, lanes: int = 1) -> Size:
    """Room for the blocks of a line, or of lines side by side in `lanes`, one of which may be half empty."""
    if isinstance(length, int):
        block, width = block_of(records), records.width
        if lanes > 1:
            return square_rows(length, width) * width
        whole = length // block * block
        rest = length - whole
        sorts_rest = rest or not length  # of nothing at all too, which is a square of what comes last
        return whole + (square_rows((rest + width - 1) // width, width) * width if sorts_rest else 0)
    return length * (2 * lanes) + records.width * records.width


@frozen
class Packing:
    """How keys of 64 bits are packed: from `low` on, `shift` bits up; `mask` has the bits of a place."""

    low: str
    shift: str
    mask: str


@frozen
class Lines:
    """Lines of the operand of `node` along an axis: `n` elements, `inner` apart.

    What is wanted are the `places` of elements, or else their values.
    """

    w: LoopWriter
    node: Tensor
    records: Records
    places: bool
    n: Value
    inner: Value
    nan_first: bool = False
    packing: Packing | None = None

    @property
    def block(self) -> int:
        """How many records are sorted by one network."""
        return block_of(self.records)

    @property
    def dtype(self) -> DType:
        """Of the elements."""
        return self.node.inputs[0].dtype

    @property
    def descending(self) -> bool:
        """Whether the largest one comes first."""
        return bool(self.node.attrs.get("descending", True))

    def start(self, number: Value) -> Value:
        """Where line `number` begins."""
        w = self.w
        if self._is_dense:
            return w.mul(number, self.n)
        outer, column = w.div(number, self.inner), w.rem(number, self.inner)
        return w.add(w.mul(w.mul(outer, self.n), self.inner), column)

    @property
    def _is_dense(self) -> bool:
        return self.inner == 1

    # To records.

    def prepare(self, base: str, plane: Value, start: Value, first: Value, count: Value) -> str | None:
        """The records of elements `first` ... of a line, and behind them those that fill the last block.

        Gives whether there is a NaN or -0.0, where that matters.
        """
        w, records, width = self.w, self.records, self.records.width
        from_here = w.add(start, w.mul(first, self.inner))

        def some(i: Value, lanes: int, mask: str | None, state: list[str]) -> list[str]:
            em = w.emitter(lanes)
            raw = self.load_raw(em, w.add(from_here, w.mul(i, self.inner)), mask)
            x = self.record(em, raw, w.add(first, i))
            if lanes == 1:
                records.store_one(w, x, base, plane, i)
            else:
                records.store(w, x if mask is None else self._filled(em, x, mask), base, plane, i)
            return self._noted(em, raw, state)

        if not self._is_dense:
            noted = w.loop(count, lambda i, state: some(i, 1, None, state), self._flags(1))
            begin = w.mul(w.ceil_div(count, width), width)
            last = [str(x) for x in records.highest]
            w.each(begin, lambda i: records.store_one(w, last, base, plane, i), start=count)
        else:
            whole = w.mul(w.div(count, width), width)
            kept = w.loop(whole, lambda i, state: some(i, width, None, state), self._flags(width), step=width)

            def rest() -> list[str]:
                return some(whole, width, self._mask(w.sub(count, whole)), kept)

            types = [type for type, _ in self._flags(width)]
            noted = w.choose(w.compare("ne", whole, count), rest, lambda: kept, types)
        over = w.rem(count, self.block)
        room = w.mul(rows_of(w, records, over), width)
        end = w.add(w.sub(count, over), w.select(w.compare("eq", over, 0), 0, room))
        pad = records.splat(records.highest)
        begin = w.mul(w.ceil_div(count, width), width)
        w.each(end, lambda i: records.store(w, pad, base, plane, i), start=begin, step=width)
        return self._any(noted, width if self._is_dense else 1)

    def prepare_columns(self, base: str, plane: Value, start: Value, left: Value, rows: Value) -> str | None:
        """As `prepare`, of lines side by side, one in each lane; `left` are there."""
        w, records, width = self.w, self.records, self.records.width
        mask = self._mask(left)

        def row(i: Value, state: list[str]) -> list[str]:
            em = w.emitter(width)
            raw = self.load_raw(em, w.add(start, w.mul(i, self.inner)), mask)
            records.store(w, self.record(em, raw, i, 0), base, plane, w.mul(i, width))
            return self._noted(em, raw, state)

        noted = w.loop(self.n, row, self._flags(width))
        pad = records.splat(records.highest)
        w.each(rows, lambda i: records.store(w, pad, base, plane, w.mul(i, width)), start=self.n)
        return self._any(noted, width)

    def prepare_lines(self, base: str, plane: Value, number: Value, last: Value, rows: Value) -> str | None:
        """As `prepare_columns`, of dense lines from `number` on; behind the `last` one it comes again."""
        w, records, width = self.w, self.records, self.records.width
        starts = [self.start(w.min(w.add(number, i), last)) for i in range(width)]

        def square(i: Value, state: list[str]) -> list[str]:
            em, mask, found = w.emitter(width), self._mask(w.sub(self.n, i)), list[Vector]()
            for start in starts:
                raw = self.load_raw(em, w.add(start, i), mask)
                found.append(self._filled(em, self.record(em, raw, i), mask))
                state = self._noted(em, raw, state)
            for k, x in enumerate(self._turned(found)):
                records.store(w, x, base, plane, w.mul(w.add(i, k), width))
            return state

        noted = w.loop(self.n, square, self._flags(width), step=width)
        pad, begin = records.splat(records.highest), w.mul(w.ceil_div(self.n, width), width)
        w.each(rows, lambda i: records.store(w, pad, base, plane, w.mul(i, width)), start=begin)
        return self._any(noted, width)

    def _turned(self, rows: list[Vector]) -> list[Vector]:
        """A square of records, transposed."""
        types = self.records.types
        turned = [transpose(self.w, [x[i] for x in rows], type) for i, type in enumerate(types)]
        return list(zip(*turned, strict=True))

    def record(self, em: Emitter, raw: str, place: Value, step: int = 1) -> Vector:
        """The records of elements in lanes, the first of which is at `place` of its line."""
        key, type = self.key(em, raw), self.records.types[0]
        if key_type(self.dtype) != type:
            key = em.convert("sext", key_type(self.dtype), type, key)
        if not self.places:
            return (key,)
        at = em.broadcast("i64", str(place))
        if em.width > 1 and step:
            at = em.binary("add", "i64", at, numbered(em.width))
        if len(self.records.types) == 2:
            return key, at
        if self.packing is None:
            high = em.binary("shl", "i64", key, em.integer("i64", _HALF))
            return (em.binary("or", "i64", high, at),)
        low, shift, mask = (em.broadcast("i64", x) for x in astuple(self.packing))
        high = em.binary("shl", "i64", em.binary("sub", "i64", key, low), shift)
        # Unsigned numbers, as signed ones in the same order.
        high = em.binary("xor", "i64", high, em.integer("i64", -(1 << 63)))
        kept = em.binary("and", "i64", high, em.binary("xor", "i64", mask, em.integer("i64", -1)))
        return (em.binary("or", "i64", kept, at),)

    def key(self, em: Emitter, raw: str) -> str:
        """The keys of elements."""
        return signed_key(
            em, self.dtype, raw,
            descending=self.descending, nan_first=self.nan_first, apart=not self.places,
        )  # fmt: skip

    def load_raw(self, em: Emitter, index: Value, mask: str | None) -> str:
        """Elements as bits, from `index` of the operand on."""
        return load(em, _RAW[item_bytes(self.dtype)], self.w.operand(0), str(index), mask)

    def _mask(self, count: Value) -> str:
        return self.records.first(self.w, self.records.types[0], count)

    def _filled(self, em: Emitter, x: Vector, mask: str) -> Vector:
        """The highest records outside the mask."""
        return tuple(
            em.select(mask, type, part, em.integer(type, highest))
            for type, part, highest in zip(self.records.types, x, self.records.highest, strict=True)
        )

    # Whether there are NaN, or -0.0.

    def _flags(self, width: int) -> list[tuple[str, str]]:
        if self.places or not self.dtype.is_floating:
            return []
        return [("i1", "false")] if width == 1 else [(f"<{width} x i1>", "zeroinitializer")]

    def _noted(self, em: Emitter, raw: str, state: list[str]) -> list[str]:
        if not state:
            return state
        type = key_type(self.dtype)
        lowest = em.integer(type, -(1 << (8 * bytes_of(type) - 1)))
        odd = em.either(is_nan(em, self.dtype, raw), em.compare("eq", type, raw, lowest))
        return [em.either(state[0], odd)]

    def _any(self, noted: list[str], width: int) -> str | None:
        return self.w.emitter(width).any(noted[0]) if noted else None

    # Back.

    def give(self, found: str, plane: Value, start: Value, first: Value, count: Value) -> None:
        """The results `first` ... of a line, from its records."""
        w, width = self.w, self.records.width
        from_here = w.add(start, w.mul(first, self.inner))
        if not self._is_dense:
            w.each(
                count,
                lambda i: self._give_one(
                    found, plane, w.add(first, i), w.add(from_here, w.mul(i, self.inner))
                ),
            )
            return
        whole = w.mul(w.div(count, width), width)

        def some(i: Value, mask: str | None = None) -> None:
            x = self.records.load(w, found, plane, w.add(first, i))
            self._store(x, w.add(from_here, i), mask)

        w.each(whole, some, step=width)
        rest = w.sub(count, whole)
        w.when(w.compare("ne", rest, 0), lambda: some(whole, self._mask(rest)))

    def give_places(self, found: str, plane: Value, start: Value, to: Value, count: Value) -> None:
        """Elements of a line and their places, of the first `count` records: from `to` on of both results."""
        w, type = self.w, bits_type(self.dtype)
        source, values, places = w.operand(0), w.result(0), w.result(1)

        def one(i: Value) -> None:
            place = self.place_of(w.emitter(1), self.records.load_one(w, found, plane, i))
            index = w.add(to, w.mul(i, self.inner))
            w.store(type, w.load(type, source, w.add(start, w.mul(place, self.inner))), values, index)
            w.store("i64", place, places, index)

        w.each(count, one)

    def _give_one(self, found: str, plane: Value, index: Value, to: Value) -> None:
        x = self.records.load_one(self.w, found, plane, index)
        self._store(x, to, None, 1)

    def give_columns(self, base: str, plane: Value, start: Value, left: Value) -> None:
        """The results of lines side by side."""
        w, width = self.w, self.records.width
        mask = self._mask(left)

        def row(i: Value) -> None:
            x = self.records.load(w, base, plane, w.mul(i, width))
            self._store(x, w.add(start, w.mul(i, self.inner)), mask)

        w.each(self.n, row)

    def give_lines(self, base: str, plane: Value, number: Value, last: Value) -> None:
        """The results of dense lines, as `prepare_lines` has them."""
        w, records, width = self.w, self.records, self.records.width
        starts = [self.start(w.min(w.add(number, i), last)) for i in range(width)]

        def square(i: Value) -> None:
            mask = self._mask(w.sub(self.n, i))
            rows = [records.load(w, base, plane, w.mul(w.add(i, k), width)) for k in range(width)]
            for start, x in zip(starts, self._turned(rows), strict=True):
                self._store(x, w.add(start, i), mask)

        w.each(self.n, square, step=width)

    def _store(self, x: Vector, to: Value, mask: str | None, width: int = 0) -> None:
        em, result = self.w.emitter(width or self.records.width), self.w.result()
        if self.places:
            store(em, UINT64, self.place_of(em, x), result, str(to), mask)
            return
        key, type = x[0], key_type(self.dtype)
        if type != self.records.types[0]:
            key = em.convert("trunc", self.records.types[0], type, key)
        value = value_of(em, self.dtype, key, self.descending)
        store(em, _RAW[item_bytes(self.dtype)], value, result, str(to), mask)

    def place_of(self, em: Emitter, x: Vector) -> str:
        """Where in its line a record was."""
        if len(x) == 2:
            return x[1]
        if self.packing is None:
            return em.binary("and", "i64", x[0], em.integer("i64", (1 << _HALF) - 1))
        return em.binary("and", "i64", x[0], em.broadcast("i64", self.packing.mask))

    def mend(self, start: Value) -> None:
        """Copies the NaN and zeros of a line, whose keys say too little, to where their keys came."""
        w, type, inner = self.w, bits_type(self.dtype), self.inner
        source, result = w.operand(0), w.result()

        def at(i: Value) -> Value:
            return w.add(start, w.mul(i, inner))

        def kinds(i: Value) -> tuple[str, str, str]:
            em, bits = w.emitter(1), w.load(type, source, at(i))
            zero = em.compare("eq", type, magnitude(em, self.dtype, bits), em.integer(type, 0))
            return bits, is_nan(em, self.dtype, bits), zero

        def count(i: Value, state: list[str]) -> list[str]:
            bits, nan, zero = kinds(i)
            minus = w.value(f"icmp {'sgt' if self.descending else 'slt'} {type} {bits}, 0")
            before = w.value(f"select i1 {w.value(f'or i1 {nan}, {zero}')}, i1 false, i1 {minus}")
            nans = w.add(state[0], w.value(f"zext i1 {nan} to i64"))
            return [str(nans), str(w.add(state[1], w.value(f"zext i1 {before} to i64")))]

        nans, below = w.loop(self.n, count, [("i64", "0"), ("i64", "0")])

        def copy(i: Value, state: list[str]) -> list[str]:
            bits, nan, zero = kinds(i)
            to = w.select(nan, state[0], state[1])
            w.when(w.value(f"or i1 {nan}, {zero}"), lambda: w.store(type, bits, result, at(to)))
            ones = [w.value(f"zext i1 {kind} to i64") for kind in (nan, zero)]
            return [str(w.add(x, one)) for x, one in zip(state, ones, strict=True)]

        w.loop(self.n, copy, [("i64", str(w.sub(self.n, nans))), ("i64", below)])
