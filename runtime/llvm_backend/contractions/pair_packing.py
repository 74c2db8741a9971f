"""Pair packing: both operands of a product as words of 32 bits (see `pairs`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphc.sizes import Size, product
from graphc.types import UINT32, DType
from runtime.llvm_backend.contractions.driver import pointer_of
from runtime.llvm_backend.contractions.framing import PARTIALS
from runtime.llvm_backend.contractions.lane_choice import estimate
from runtime.llvm_backend.contractions.pairs import PAIRS, QUADRUPLES, WIDENED, Product, dot
from runtime.llvm_backend.contractions.registers import choose_tile, even_part
from runtime.llvm_backend.contractions.schedule import A, B
from runtime.llvm_backend.engine.machine import Machine
from runtime.llvm_backend.ir import lanes
from runtime.llvm_backend.ir.text import Module
from runtime.llvm_backend.ir.values import memory_scalar
from runtime.llvm_backend.ir.writer import Value, Writer

_MOST_CHUNKS, _PACK_GRAIN = 64, 1 << 15  # words that are worth a chunk of their own
_GAP = 16  # words between the rows of A, so that they fall in different sets of the cache
_FLIPS = 0x80808080  # the highest bit of each byte of a word: as each of them is, -128 or 128


class WordPacker:
    """What both phases share: where words lie, and how operands become words.

    Attributes:
        width: lanes of a vector of words. height, across: rows and vectors of a register tile.
        panel: columns of a panel. full, rest: whole words of a row, and the elements left over.
        length: words of a row. lead: words from one row of A to the next.
        begun: 1 where the first row of a panel is what sums begin with, else 0.
    """

    def __init__(self, found: Product, machine: Machine, name: str, module: Module) -> None:
        self.found, self.words, self.name = found, found.words, name
        self.width = machine.vector_bytes // 4
        rows, column = found.row.size, found.column.size
        in_all = -(-estimate(column) // self.width)
        height, across = choose_tile(estimate(rows), in_all, machine.vector_registers)
        self.height = even_part(rows, height) if isinstance(rows, int) else height
        self.across = even_part(in_all, across) if isinstance(column, int) else across
        self.panel = self.across * self.width
        steps = found.deep.size
        assert isinstance(steps, int)  # else it is not worth it
        self.full, self.rest = divmod(steps, self.words.count)
        self.length = self.full + (self.rest > 0)
        self.lead = self.length + _GAP
        self.begun = int(found.biased)
        contract, (a, b) = found.contract, found.inputs
        also = (access for _, access in contract.also)
        self.operands = (contract.ins[a], contract.ins[b], contract.out, *contract.epilogue.reads, *also)
        self.buffers = (*dict.fromkeys(x.buffer for x in contract.accesses), PARTIALS)
        self.slots = {buffer: slot for slot, buffer in enumerate(self.buffers)}
        self.out = contract.out.dtype
        self.w = Writer(len(self.buffers) + 4, module)

    # Counts: formulas of the sizes alone.

    @property
    def batch(self) -> Size:
        """How many products there are."""
        return product(loop.size for loop in self.found.batch)

    def panels(self, w: Writer) -> Value:
        """The panels of one product."""
        return w.ceil_div(w.word(self.found.column.size), self.panel)

    def groups(self, w: Writer) -> Value:
        """The groups of rows that are packed together."""
        return w.ceil_div(w.word(self.found.row.size), self.width)

    def pack_units(self, w: Writer) -> tuple[Value, Value]:
        """Panels of B, and groups of rows of A."""
        batch = w.word(self.batch)
        return w.mul(batch, self.panels(w)), w.mul(batch, self.groups(w))

    def pack_chunks(self, w: Writer) -> Value:
        """The chunks of the first phase."""
        panels, groups = self.pack_units(w)
        work = w.mul(w.add(w.mul(panels, self.across), groups), self.length * self.width)
        wanted = w.max(1, w.min(_MOST_CHUNKS, w.ceil_div(work, _PACK_GRAIN)))
        return w.min(w.add(panels, groups), wanted)

    # Places.

    def dtype(self, operand: int) -> DType:
        """Of an operand in memory."""
        found: DType = self.operands[operand].dtype
        return found

    def move(self, pointer: str, operand: int, offset: Value) -> str:
        """The address `offset` elements on."""
        return self.w.address(pointer, offset, memory_scalar(self.dtype(operand)))

    def base(self, operand: int) -> str:
        """Where an operand begins."""
        access = self.operands[operand]
        return pointer_of(self.w, self.slots, access.buffer, access.offset, access.dtype)

    def enter(self, pointer: str, operand: int, index: Value) -> str:
        """The operand at one index of the batch."""
        w = self.w
        at: Value = 0
        for number, loop in enumerate(reversed(self.found.batch)):
            size = w.word(loop.size)
            last = number == len(self.found.batch) - 1
            at = w.add(at, w.mul(index if last else w.rem(index, size), w.word(loop.strides[operand])))
            index = w.div(index, size)
        return self.move(pointer, operand, at)

    @property
    def panel_words(self) -> int:
        """The words of a panel."""
        return (self.begun + self.length) * self.panel

    def packed(self) -> tuple[str, str]:
        """Where packed rows of A begin, and packed panels of B, which come first."""
        w = self.w
        panels = pointer_of(w, self.slots, PARTIALS, 0, UINT32)
        many = w.mul(w.mul(w.word(self.batch), self.panels(w)), self.panel_words)
        return w.address(panels, many, "i32"), panels

    def ranges(self, units: Value, chunks: Value, unit: Callable[[Value], None]) -> None:
        """Runs `unit` on the units of this chunk."""
        w = self.w
        start = w.div(w.mul("%chunk", units), chunks)
        stop = w.div(w.mul(w.add("%chunk", 1), units), chunks)
        w.loop(stop, lambda index, _: unit(index), start=start)

    # Packing.

    def write_pack(self) -> None:
        """Writes the first phase."""
        w = self.w
        w.begin(f"void @{self.name}.pack(ptr %block, i64 %chunk) nounwind")
        rows, panels = self.packed()
        of_b, of_a = self.pack_units(w)
        a, b = self.base(A), self.base(B)

        def unit(index: Value) -> None:
            w.choose(
                w.compare("slt", index, of_b),
                lambda: self._pack_panel(b, panels, index),
                lambda: self._pack_rows(a, rows, w.sub(index, of_b)),
            )

        self.ranges(w.add(of_b, of_a), self.pack_chunks(w), unit)
        w.end()

    def _pack_panel(self, base: str, panels: str, index: Value) -> None:
        w, loop, width = self.w, self.found.column, self.width
        many = self.panels(w)
        first = w.mul(w.rem(index, many), self.panel)
        source = self.enter(base, B, w.div(index, many))
        across = w.word(loop.strides[B])
        source = self.move(source, B, w.mul(first, across))
        begun = w.address(panels, w.mul(index, self.panel_words), "i32")
        target = w.address(begun, self.begun * self.panel, "i32")
        valid = w.sub(w.word(loop.size), first)

        def pack(masks: Sequence[str | None]) -> None:
            done = 0
            if loop.strides[B] != 1 and self.found.deep.strides[B] == 1 and None in masks:
                done = self._squares(source, target, across)

            def word(at: Value, count: int) -> None:
                for j, mask in enumerate(masks):
                    place = self.move(source, B, w.mul(j * width, across))
                    found = self._word(place, B, at, across, count, mask, width)
                    to = w.address(target, w.add(w.mul(at, self.panel), j * width), "i32")
                    lanes.store(w, found, to, UINT32, width)

            self._each_word(word, done)
            if self.begun:
                self._begin(begun, target)

        def part() -> None:
            pack([w.mask(w.sub(valid, j * width), width) for j in range(self.across)])

        if isinstance(loop.size, int) and loop.size % self.panel == 0:
            pack([None] * self.across)
        else:
            w.choose(w.compare("sge", valid, self.panel), lambda: pack([None] * self.across), part)

    def _begin(self, begun: str, panel: str) -> None:
        """Writes what the sums of a panel begin with: less what is added to A, times its columns."""
        w, width = self.w, self.width
        vector = lanes.vector_type(self.words.total, width)
        off = lanes.broadcast(w, str(_FLIPS), "i32", width)

        def step(at: Value, sums: list[str]) -> list[str]:
            found = []
            for j, total in enumerate(sums):
                x = w.address(panel, w.add(w.mul(at, self.panel), j * width), "i32")
                found.append(self.multiply(total, off, w.value(f"load {vector}, ptr {x}, align 4")))
            return found

        sums = w.loop(self.length, step, [(vector, "zeroinitializer")] * self.across)
        for j, total in enumerate(sums):
            place = w.address(begun, j * width, "i32")
            lanes.store(w, w.value(f"sub {vector} zeroinitializer, {total}"), place, self.words.total, width)

    def multiply(self, total: str, of_a: str, of_b: str) -> str:
        """``total + a . b`` of words."""
        x, y = (of_b, of_a) if self.found.swapped else (of_a, of_b)
        return dot(self.w, self.words, self.width, total, x, y)

    def _pack_rows(self, base: str, rows: str, index: Value) -> None:
        w, loop, width = self.w, self.found.row, self.width
        groups, size = self.groups(w), w.word(loop.size)
        batch, first = w.div(index, groups), w.mul(w.rem(index, groups), width)
        source = self.enter(base, A, batch)
        down = w.word(loop.strides[A])
        valid = w.min(width, w.sub(size, first))
        source = self.move(source, A, w.mul(first, down))
        target = w.address(rows, w.mul(w.add(w.mul(batch, size), first), self.lead), "i32")
        if self.found.deep.strides[A] == 1:
            w.loop(valid, lambda row, _: self._pack_row(source, target, row))
            return
        mask = w.mask(valid, width)
        whole = self.full // width * width

        def word(at: Value, count: int) -> None:
            found = self._word(source, A, at, down, count, mask, width)
            lanes.store(w, found, w.address(target, at, "i32"), UINT32, width, self.lead, mask)

        def squares() -> None:
            def square(at: Value, _: list[str]) -> None:
                found = [
                    self._word(source, A, w.add(at, k), down, self.words.count, None, width)
                    for k in range(width)
                ]
                for row, x in enumerate(lanes.transpose(w, found, "i32")):
                    lanes.store(w, x, w.address(target, w.add(at, row * self.lead), "i32"), UINT32, width)

            w.loop(whole, square, step=width)
            self._each_word(word, whole)

        w.choose(w.compare("eq", valid, width), squares, lambda: self._each_word(word))

    def _squares(self, source: str, target: str, across: Value) -> int:
        """Packs a whole panel of columns whose steps lie side by side; gives how many words it has done."""
        w, width = self.w, self.width
        whole = self.full // width * width

        def square(at: Value, _: list[str]) -> None:
            for j in range(self.across):
                columns = [self.move(source, B, w.mul(j * width + c, across)) for c in range(width)]
                found = [
                    self._word(x, B, at, self.words.count, self.words.count, None, width) for x in columns
                ]
                for k, x in enumerate(lanes.transpose(w, found, "i32")):
                    to = w.add(w.mul(w.add(at, k), self.panel), j * width)
                    lanes.store(w, x, w.address(target, to, "i32"), UINT32, width)

        w.loop(whole, square, step=width)
        return whole

    def _pack_row(self, source: str, target: str, row: Value) -> None:
        """A row whose steps lie side by side: so do those of its words."""
        w, count = self.w, self.words.count
        source = self.move(source, A, w.mul(row, w.word(self.found.row.strides[A])))
        target = w.address(target, w.mul(row, self.lead), "i32")

        def put(at: Value, width: int, count: int = count) -> None:
            found = self._word(source, A, at, self.words.count, count, None, width)
            lanes.store(w, found, w.address(target, at, "i32"), UINT32, width)

        whole = self.full // self.width * self.width
        w.loop(whole, lambda at, _: put(at, self.width), step=self.width)
        w.loop(self.full, lambda at, _: put(at, 1), start=whole)
        if self.rest:
            put(self.full, 1, self.rest)

    def _each_word(self, word: Callable[[Value, int], None], start: int = 0) -> None:
        """Runs ``word(number, elements)`` from word `start` on."""
        self.w.loop(self.full, lambda at, _: word(at, self.words.count), start=start)
        if self.rest:
            word(self.full, self.rest)

    def _word(
        self, place: str, operand: int, at: Value, lane: Value, count: int, mask: str | None, width: int
    ) -> str:
        """Word `at` of lanes that are `lane` elements apart; `count` of its elements are there."""
        w, words, dtype = self.w, self.words, self.dtype(operand)
        deep = w.word(self.found.deep.strides[operand])
        place = self.move(place, operand, w.mul(w.mul(at, words.count), deep))
        if deep == 1 and count == words.count and (width == 1 or lane == count):
            found = self._fold(place, dtype, width)
        else:
            places = [self.move(place, operand, w.mul(e, deep)) for e in range(count)]
            found = self._join([lanes.load(w, x, dtype, width, lane, mask) for x in places], dtype, width)
        return self._apply("xor", found, _FLIPS, width) if operand == A and self.begun else found

    def _fold(self, place: str, dtype: DType, width: int) -> str:
        """All elements of a word, side by side in memory (the first in the low bits), as a word."""
        w, words = self.w, self.words
        word, whole = _ints(32, width), _ints(8 * dtype.itemsize * words.count, width)
        x = w.value(f"load {whole}, ptr {place}, align {dtype.itemsize}")
        if words is QUADRUPLES:
            return x
        if words is PAIRS:
            low = w.value(f"trunc {whole} {self._apply('lshr', x, 16, width, 64)} to {word}")
            high = w.value(f"trunc {whole} {self._apply('lshr', x, 32, width, 64)} to {word}")
            first = self._apply("and", low, 0xFFFF, width)
            return w.value(f"or {word} {first}, {self._apply('and', high, 0xFFFF0000, width)}")
        bytes, wide = (f"<{2 * width} x i{bits}>" for bits in (8, 16))
        apart = w.value(f"bitcast {whole} {x} to {bytes}")
        return w.value(f"bitcast {wide} {w.value(f'{_extend(dtype)} {bytes} {apart} to {wide}')} to {word}")

    def _join(self, parts: Sequence[str], dtype: DType, width: int) -> str:
        """Elements, each in its own register, as words."""
        w, words, word, source = self.w, self.words, _ints(32, width), lanes.vector_type(dtype, width)
        bits = 32 // words.count
        if words is PAIRS:
            wide = [w.value(f"bitcast {source} {x} to {word}") for x in parts]
            found = [self._apply("lshr", x, 16, width) for x in wide]
        else:
            extend = "zext" if words is QUADRUPLES else _extend(dtype)
            found = [w.value(f"{extend} {source} {x} to {word}") for x in parts]
        joined = found[0] if words is not WIDENED else self._apply("and", found[0], 0xFFFF, width)
        for number, x in enumerate(found[1:], 1):
            joined = w.value(f"or {word} {joined}, {self._apply('shl', x, bits * number, width)}")
        return joined

    def _apply(self, instruction: str, x: str, number: int, width: int, bits: int = 32) -> str:
        """An instruction with a number in every lane."""
        same = str(number) if width == 1 else "<" + ", ".join([f"i{bits} {number}"] * width) + ">"
        return self.w.value(f"{instruction} {_ints(bits, width)} {x}, {same}")


def _ints(bits: int, width: int) -> str:
    return f"i{bits}" if width == 1 else f"<{width} x i{bits}>"


def _extend(dtype: DType) -> str:
    return "sext" if dtype.kind == "i" else "zext"
