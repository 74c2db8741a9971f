"""Pair packing: both operands of a product as words of 32 bits (see `pairs`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphc.sizes import Size, product
from graphc.types import UINT32
from runtime.llvm_backend.contractions.driver import PARTIALS, pointer_of
from runtime.llvm_backend.contractions.lane_choice import estimate
from runtime.llvm_backend.contractions.pairs import PAIRS, Product
from runtime.llvm_backend.contractions.registers import choose_tile, even_part
from runtime.llvm_backend.contractions.schedule import A, B
from runtime.llvm_backend.engine.machine import Machine
from runtime.llvm_backend.ir import lanes
from runtime.llvm_backend.ir.text import Module
from runtime.llvm_backend.ir.writer import Value, Writer

_MOST_CHUNKS, _PACK_GRAIN = 64, 1 << 15  # words that are worth a chunk of their own
_GAP = 16  # words between the rows of A, so that they fall in different sets of the cache


class WordPacker:
    """What both phases share: where words lie, and how operands become words.

    Attributes:
        width: lanes of a vector of words. height, across: rows and vectors of a register tile.
        panel: columns of a panel. full, rest: whole words of a row, and the elements left over.
        length: words of a row. lead: words from one row of A to the next.
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
        contract = found.contract
        self.buffers = (*dict.fromkeys(x.buffer for x in (contract.out, *contract.ins)), PARTIALS)
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

    def base(self, operand: int) -> str:
        """Where an operand begins."""
        contract, (a, b) = self.found.contract, self.found.inputs
        access = (contract.ins[a], contract.ins[b], contract.out)[operand]
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
        return w.address(pointer, at, lanes.scalar_type(self.words.held))

    def packed(self) -> tuple[str, str]:
        """Where packed rows of A begin, and packed panels of B, which come first."""
        w = self.w
        panels = pointer_of(w, self.slots, PARTIALS, 0, UINT32)
        many = w.mul(w.mul(w.word(self.batch), self.panels(w)), self.length * self.panel)
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

    def _pack_panel(self, base: str, panels: str, index: Value) -> list[str]:
        w, loop, width = self.w, self.found.column, self.width
        many = self.panels(w)
        first = w.mul(w.rem(index, many), self.panel)
        source = self.enter(base, B, w.div(index, many))
        across = w.word(loop.strides[B])
        held = lanes.scalar_type(self.words.held)
        source = w.address(source, w.mul(first, across), held)
        target = w.address(panels, w.mul(index, self.length * self.panel), "i32")
        valid = w.sub(w.word(loop.size), first)

        def pack(masks: Sequence[str | None]) -> list[str]:
            done = 0
            if loop.strides[B] != 1 and self.found.deep.strides[B] == 1 and None in masks:
                done = self._squares(source, target, across)

            def word(at: Value, count: int) -> None:
                for j, mask in enumerate(masks):
                    place = w.address(source, w.mul(j * width, across), held)
                    found = self._word(place, B, at, across, count, mask, width)
                    to = w.address(target, w.add(w.mul(at, self.panel), j * width), "i32")
                    lanes.store(w, found, to, UINT32, width)

            self._each_word(word, done)
            return []

        def part() -> list[str]:
            return pack([lanes.mask_lanes(w, w.sub(valid, j * width), width) for j in range(self.across)])

        if isinstance(loop.size, int) and loop.size % self.panel == 0:
            return pack([None] * self.across)
        return w.choose(w.compare("sge", valid, self.panel), lambda: pack([None] * self.across), part)

    def _pack_rows(self, base: str, rows: str, index: Value) -> list[str]:
        w, loop, width = self.w, self.found.row, self.width
        groups, size = self.groups(w), w.word(loop.size)
        batch, first = w.div(index, groups), w.mul(w.rem(index, groups), width)
        source = self.enter(base, A, batch)
        held, down = lanes.scalar_type(self.words.held), w.word(loop.strides[A])
        valid = w.min(width, w.sub(size, first))
        source = w.address(source, w.mul(first, down), held)
        target = w.address(rows, w.mul(w.add(w.mul(batch, size), first), self.lead), "i32")
        if self.found.deep.strides[A] == 1:
            w.loop(valid, lambda row, _: self._pack_row(source, target, row))
            return []
        mask = lanes.mask_lanes(w, valid, width)
        whole = self.full // width * width

        def word(at: Value, count: int) -> None:
            found = self._word(source, A, at, down, count, mask, width)
            lanes.store(w, found, w.address(target, at, "i32"), UINT32, width, self.lead, mask)

        def squares() -> list[str]:
            def square(at: Value, _: list[str]) -> None:
                found = [
                    self._word(source, A, w.add(at, k), down, self.words.count, None, width)
                    for k in range(width)
                ]
                for row, x in enumerate(lanes.transpose(w, found, UINT32)):
                    lanes.store(w, x, w.address(target, w.add(at, row * self.lead), "i32"), UINT32, width)

            w.loop(whole, square, step=width)
            self._each_word(word, whole)
            return []

        def part() -> list[str]:
            self._each_word(word)
            return []

        return w.choose(w.compare("eq", valid, width), squares, part)

    def _squares(self, source: str, target: str, across: Value) -> int:
        """Packs a whole panel of columns whose steps lie side by side; gives how many words it has done."""
        w, width = self.w, self.width
        whole, held = self.full // width * width, lanes.scalar_type(self.words.held)

        def square(at: Value, _: list[str]) -> None:
            for j in range(self.across):
                columns = [w.address(source, w.mul(j * width + c, across), held) for c in range(width)]
                found = [
                    self._word(x, B, at, self.words.count, self.words.count, None, width) for x in columns
                ]
                for k, x in enumerate(lanes.transpose(w, found, UINT32)):
                    to = w.add(w.mul(w.add(at, k), self.panel), j * width)
                    lanes.store(w, x, w.address(target, to, "i32"), UINT32, width)

        w.loop(whole, square, step=width)
        return whole

    def _pack_row(self, source: str, target: str, row: Value) -> None:
        """A row whose steps lie side by side: so do those of its words."""
        w, count = self.w, self.words.count
        held = lanes.scalar_type(self.words.held)
        source = w.address(source, w.mul(row, w.word(self.found.row.strides[A])), held)
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
        w, words = self.w, self.words
        deep, held = w.word(self.found.deep.strides[operand]), lanes.scalar_type(words.held)
        place = w.address(place, w.mul(w.mul(at, words.count), deep), held)
        whole = f"i{8 * words.held.itemsize * words.count}"
        if deep == 1 and count == words.count and (width == 1 or lane == count):
            return self._fold(self._load(place, whole, width), whole, width)
        parts = [
            lanes.load(w, w.address(place, w.mul(e, deep), held), words.held, width, lane, mask)
            for e in range(count)
        ]
        return self._join(parts, width)

    def _load(self, place: str, type: str, width: int) -> str:
        vector = type if width == 1 else f"<{width} x {type}>"
        return self.w.value(f"load {vector}, ptr {place}, align {self.words.held.itemsize}")

    def _fold(self, x: str, type: str, width: int) -> str:
        """All elements of a word, side by side in memory (the first in the low bits), as a word."""
        if self.words is not PAIRS:
            return x
        w = self.w
        wide, word = (type, "i32") if width == 1 else (f"<{width} x {type}>", f"<{width} x i32>")
        low = w.value(f"trunc {wide} {self._shift(x, 'lshr', 16, type, width)} to {word}")
        high = w.value(f"trunc {wide} {self._shift(x, 'lshr', 32, type, width)} to {word}")
        first = self._mask(low, 0xFFFF, width)
        return w.value(f"or {word} {first}, {self._mask(high, 0xFFFF0000, width)}")

    def _join(self, parts: Sequence[str], width: int) -> str:
        """Elements, each in its own register, as words."""
        w, word = self.w, "i32" if width == 1 else f"<{width} x i32>"
        source = lanes.vector_type(self.words.held, width)
        if self.words is PAIRS:
            bits = [w.value(f"bitcast {source} {x} to {word}") for x in parts]
            first = self._shift(bits[0], "lshr", 16, "i32", width)
            if len(bits) == 1:
                return first
            return w.value(f"or {word} {first}, {self._mask(bits[1], 0xFFFF0000, width)}")
        found = ""
        for number, x in enumerate(parts):
            wide = w.value(f"zext {source} {x} to {word}")
            if number:
                wide = self._shift(wide, "shl", 8 * number, "i32", width)
            found = w.value(f"or {word} {found}, {wide}") if found else wide
        return found

    def _shift(self, x: str, instruction: str, bits: int, type: str, width: int) -> str:
        vector = type if width == 1 else f"<{width} x {type}>"
        same = str(bits) if width == 1 else "<" + ", ".join([f"{type} {bits}"] * width) + ">"
        return self.w.value(f"{instruction} {vector} {x}, {same}")

    def _mask(self, x: str, bits: int, width: int) -> str:
        return self._shift(x, "and", bits, "i32", width)
