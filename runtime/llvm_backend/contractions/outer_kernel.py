"""Outer kernel: ``acc[i, j] += broadcast(A[i, k]) * B[k, j]``, where lanes are outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from graphc.types import DType
from runtime.llvm_backend.contractions.epilogue import (
    Epilogue,
    is_long,
    put_by_stack,
    put_in_loops,
    steps_in_place,
)
from runtime.llvm_backend.contractions.register_tile import Offsets, TileWriter, step_of, walk
from runtime.llvm_backend.contractions.schedule import CHAINS, OUT, SHORT, A, B
from runtime.llvm_backend.contractions.tile import SOON, apply
from runtime.llvm_backend.ir import lanes
from runtime.llvm_backend.ir.assembly import Products
from runtime.llvm_backend.ir.naked import Registers
from runtime.llvm_backend.ir.operands import Ending, Lines, Place, Row
from runtime.llvm_backend.ir.values import memory_scalar
from runtime.llvm_backend.ir.writer import Value

_WIDE, _NARROW = 4, 2  # vectors
_STEPS = 2  # at once, where a row is alone or a tile is wide
_LINE = 64  # bytes of a line of the cache
_NEAR = 4  # steps on lies what a tile asks for of a large panel: 0.97 of the time
_FAR = 8  # of a narrow one, or of a B from an L3 that is far: the most that an address is scaled by
_FEW_SUMS = 2  # of a tile: where there are so few, `CHAINS` are made of each output


class OuterTile(TileWriter):
    """A tile of the outer form."""

    def write(self) -> None:
        """Writes the body of the function."""
        w, frame, tile = self.w, self.frame, self.tile
        self._begin()
        count = tile.pair * tile.height * tile.across
        products = self._products(2) or self._products(1)
        self.find_rows(frame.used)
        long = is_long(frame.contract, count)
        if long and self.unary and not frame.flagged and all(loop.size == 1 for loop in frame.inner):
            put_in_loops(self, Epilogue(self, self.width, self.across), self._element, self.width)
            return
        self.stack = w.value(f"alloca [{count} x {self.type}], align 64") if long else ""
        state = [lanes.identity(frame.contract.combine, self.dtype, self.width)] * count
        if frame.flagged:
            started = list(state)
            state = w.choose("%first", lambda: started, self._partials, [self.type] * count)
        if products is None:
            state = walk(w, frame, self.steps, state, self.type, self._innermost)
        else:
            state = self._swept(products, state)
        self.store(lambda finished: self._store(state, finished))

    def write_whole(self, registers: Registers) -> str | None:
        """The function as one assembly; None where that is not possible."""
        self._begin()
        products = self._products(2) or self._products(1)
        ended = products and self._ended(products)
        return ended.whole(registers, "%p0", "%p1") if ended else None

    def _begin(self) -> None:
        w, frame = self.w, self.frame
        self.width = frame.schedule.width
        self.type = lanes.vector_type(self.dtype, self.width)
        self.masks = self._masks()
        self.across = {x: w.word(frame.schedule.column.strides[x]) for x in frame.used}
        if frame.schedule.pack:
            self.across[B] = 1
        if frame.schedule.copy:
            self.across[A] = 0

    def _masks(self) -> list[str | None]:
        w, tile = self.w, self.tile
        if tile.masks == "none":
            return [None] * tile.across
        if tile.masks == "last":
            rest = w.sub("%lanes", (tile.across - 1) * self.width)
            return [*[None] * (tile.across - 1), w.mask(rest, self.width)]
        return [w.mask(w.sub("%lanes", j * self.width), self.width) for j in range(tile.across)]

    def _element(self, above: Value, index: Value, j: Value, row: Offsets, mask: str | None) -> str:
        """A vector of a reduction of one step."""
        w, combine = self.w, self.frame.contract.combine

        def read(x: int) -> str:
            place = self.place(x, w.add(row[x], w.mul(w.mul(j, self.width), self.across[x])))
            return lanes.load(w, place, self.frame.dtypes[x], self.width, self.across[x], mask)

        start = lanes.identity(combine, self.dtype, self.width)
        return lanes.merge(w, combine, start, self._prologue(A, read, self.width), self.dtype, self.width)

    def _partials(self) -> list[str]:
        return [
            lanes.load(
                self.w, self._out(row, j, self.dtype), self.dtype, self.width, self.across[OUT], self.masks[j]
            )
            for row in self.rows
            for j in range(self.tile.across)
        ]

    def _out(self, row: Offsets, j: int, dtype: DType) -> str:
        offset = self.w.add(row[OUT], self.w.mul(j * self.width, self.across[OUT]))
        return self.place(OUT, offset, dtype)

    def _innermost(self, offsets: Offsets, state: list[str]) -> list[str]:
        w, loop, last = self.w, self.frame.inner[-1], len(self.frame.inner) - 1
        counted = self.frame.counted and len(self.frame.inner) == 1
        size: Value = "%count" if counted else w.word(loop.size)

        def step(index: Value, state: list[str]) -> list[str]:
            moved = {
                x: self.place(x, w.add(offsets[x], w.mul(index, step_of(w, self.frame, last, x))))
                for x in self.steps
            }
            return self._step(moved, state)

        if isinstance(size, int) and size <= SHORT:
            for k in range(size):
                state = step(k, state)
            return state
        count, chains = len(state), 1 if counted else self._chains()
        pairs = self._goes_by_pairs()
        many = max(chains, _STEPS if pairs or len(self.rows) == 1 else 1)

        def steps(index: Value, state: list[str]) -> list[str]:
            found = [state[i : i + count] for i in range(0, len(state), count)]
            for k in range(many):
                found[k % chains] = step(w.add(index, k), found[k % chains])
            return [x for each in found for x in each]

        zeros = [lanes.identity(self.frame.contract.combine, self.dtype, self.width)] * count
        carried = [(self.type, x) for x in (*state, *zeros * (chains - 1))]
        whole = size if pairs else w.sub(size, w.rem(size, many))
        sums = w.loop(whole, steps, carried, step=many)
        while len(sums) > count:  # in pairs
            half = len(sums) // 2
            sums = [self._merge(x, y) for x, y in zip(sums[:half], sums[half:], strict=True)]
        return w.loop(size, step, [(self.type, x) for x in sums], start=whole)

    def _swept(self, products: Products, state: list[str]) -> list[str]:
        """The reduction with its last loops in the CPU's own instructions."""
        inside = 1 if products.around is None else 2
        self.is_light = len(self.frame.inner) == inside and not self.stack and len(self.rows) > 1

        def body(offsets: Offsets, state: list[str]) -> list[str]:
            return products.add(self.w, self.place(A, offsets[A]), self.place(B, offsets[B]), state)

        return walk(self.w, self.frame, (A, B), state, self.type, body, inside)

    def _ended(self, products: Products) -> Products | None:
        """The whole tile in the CPU's own instructions, where that is possible."""
        frame, contract, tile = self.frame, self.frame.contract, self.tile
        inside = 1 if products.around is None else 2
        whole = len(frame.inner) == inside and not frame.flagged and not contract.also
        if not whole or tile.pair > 1 or tile.height == 1 or frame.access(OUT).dtype is not self.dtype:
            return None
        steps, reads = steps_in_place(contract.epilogue, self.dtype), frame.reads(OUT)
        alike = all(frame.dtypes[x] is self.dtype and self.across[x] in (0, 1) for x in reads)
        if steps is None or not alike or self.across[OUT] != 1:
            return None
        places = [
            Place(
                f"%p{x}",
                self.w.mul(self.w.word(frame.rows[-1].strides[x]), self.dtype.itemsize),
                self.across[x] == 0,
            )
            for x in (OUT, *reads)
        ]
        rows = "%rows" if tile.clamped else None
        ways = (True, False) if frame.facts.far_out else (False,)  # to ask takes a register
        endings = (Ending(steps, places[1:], places[0], self.masks, rows, asks) for asks in ways)
        made = (replace(products, ending=ending) for ending in endings)
        return next((x for x in made if x.fits(self.w.module.target)), None)

    def _products(self, inside: int) -> Products | None:
        """The last loops in the CPU's own instructions; None where it has none, or there are not so many."""
        w, frame = self.w, self.frame
        if len(frame.inner) < inside:
            return None
        loops = frame.inner[-inside:]
        known = isinstance(loops[-1].size, int) and loops[-1].size <= SHORT
        plain = not self.unary and not any(frame.expression(x).steps for x in (A, B))
        if not plain or self.across[A] != 0 or self.across[B] != 1 or self._chains() > 1:
            return None
        if known or any(frame.dtypes[x] is not self.dtype for x in (A, B)):
            return None
        a, b = self._moves(1)
        count = first = (
            "%count" if frame.counted and len(loops) == len(frame.inner) else w.word(loops[0].size)
        )
        around = None
        if inside > 1:
            count, (far_a, far_b) = w.word(loops[-1].size), self._moves(inside)
            around = first, w.sub(far_a, w.mul(count, a)), w.sub(far_b, w.mul(count, b))
        packed = frame.schedule.pack and not frame.schedule.adaptive
        masks = [None] * self.tile.across if packed else self.masks
        near = self._steps_ahead()
        pairs = self._goes_by_pairs() and isinstance(b, str) and not near
        rows = self._places_of_rows()
        ahead = self._rows_ahead(1 + pairs) if pairs or near else None
        asked = frame.facts.ahead
        soon = Lines(SOON, asked.lines, asked.step) if asked else None
        apart = frame.facts.apart and frame.machine.far_l3
        asks = (ahead, near, apart, soon)
        made = Products(self.dtype, self.width, rows, a, b, masks, count, around, pairs, *asks)
        return made if made.fits(w.module.target) else None

    def _steps_ahead(self) -> int:
        """How many steps on lies what a tile asks for of B; 0: it does not ask."""
        frame, facts = self.frame, self.frame.facts
        if self.tile.pair * self.tile.height == 1:
            return 0  # it gave a row alone nothing
        if not frame.schedule.pack:
            return _FAR if facts.far and facts.many else 0
        if not facts.large_panel or not frame.machine.far_l3:
            return 0
        return _NEAR if self.tile.across > _NARROW else _FAR

    def _rows_ahead(self, steps: int) -> Value | None:
        """How many bytes on the rows of the next tile lie, where they are as long as the reduction.

        Each begins in another page, so the hardware fetches none of them ahead by itself. They are asked for
        by a line in so many `steps`, where that is enough.
        """
        tile, size = self.tile, self.dtype.itemsize
        beside = tile.pair == 1 and self.frame.facts.adjoining and not self.frame.counted
        if not beside or steps * tile.height * size > _LINE:
            return None
        return self.w.mul(self.w.word(self.frame.rows[-1].strides[A]), tile.height * size)

    def _moves(self, back: int) -> tuple[Value, Value]:
        """How many bytes A and B move in a step of a loop: the last one is 1 back."""
        w, frame, size = self.w, self.frame, self.dtype.itemsize
        a, b = (w.mul(step_of(w, frame, len(frame.inner) - back, x), size) for x in (A, B))
        return a, b

    def _places_of_rows(self) -> list[Row]:
        """Where rows of A lie: where all are as far apart, multiples of that by 2, 4 and 8 are one number."""
        w, size = self.w, self.dtype.itemsize
        if self.tile.pair > 1:
            self.find_rows([A])
            return [Row(w.mul(row[A], size)) for row in self.rows]
        stride = w.mul(w.word(self.frame.rows[-1].strides[A]), size)
        if self.tile.clamped or isinstance(stride, int):
            return [Row(w.mul(index, stride)) for _, index in self.indices]
        scales = [min(i & -i, 8) or 1 for i in range(self.tile.height)]
        factors = [i // scale for i, scale in enumerate(scales)]
        multiples = {factor: w.mul(factor, stride) for factor in dict.fromkeys(factors)}
        return [Row(multiples[factor], scale) for factor, scale in zip(factors, scales, strict=True)]

    def _goes_by_pairs(self) -> bool:
        """Whether two steps are one: 0.88 of the time where rows of B lie half a page apart.

        Measured, not explained: few sets of L1 hold such rows, and what the hardware fetches ahead for an
        instruction that goes on by half a page may drive out what is still to be read.
        """
        frame, tile = self.frame, self.tile
        if self.unary or frame.schedule.pack or frame.counted or len(frame.inner) > 1:
            return False
        wide = tile.across >= _WIDE and tile.masks == "none" and not tile.clamped
        return wide and frame.facts.even

    def _chains(self) -> int:
        """How many sums are made of each output: several of a row alone, or steps wait for steps."""
        schedule = self.frame.schedule
        alone = schedule.height * schedule.pair == 1 and schedule.vectors <= _FEW_SUMS
        return CHAINS if alone and self.frame.facts.many and not self.unary and self.dtype.is_floating else 1

    def _merge(self, x: str, y: str) -> str:
        return lanes.merge(self.w, self.frame.contract.combine, x, y, self.dtype, self.width)

    def _lanes(self, operand: int, places: Mapping[int, str], row: Offsets, j: int) -> str:
        """One vector of A or B, its prologue applied."""
        packed = operand == B and self.frame.schedule.pack and not self.frame.schedule.adaptive
        mask = None if packed else self.masks[j]

        def read(x: int) -> str:
            offset = self.w.add(row[x], self.w.mul(j * self.width, self.across[x]))
            dtype = self.frame.dtypes[x]
            place = self.w.address(places[x], offset, memory_scalar(dtype))
            return lanes.load(self.w, place, dtype, self.width, self.across[x], mask)

        return self._prologue(operand, read, self.width)

    def _prologue(self, operand: int, read: Callable[[int], str], width: int) -> str:
        frame = self.frame
        value, dtype = read(operand), frame.dtypes[operand]
        if (expression := frame.expression(operand)).steps:
            reads = [read(x) for x in frame.reads(operand)]
            value, dtype = apply(self.w, expression, (value, dtype), reads, width)
        return lanes.convert(self.w, value, dtype, self.dtype, width)

    def _scalar(self, places: Mapping[int, str], row: Offsets) -> str:
        """One element of A in every lane."""

        def read(x: int) -> str:
            dtype = self.frame.dtypes[x]
            place = self.w.address(places[x], row[x], memory_scalar(dtype))
            return lanes.load(self.w, place, dtype, 1)

        value = self._prologue(A, read, 1)
        return lanes.broadcast(self.w, value, memory_scalar(self.dtype), self.width)

    def _step(self, places: Mapping[int, str], state: list[str]) -> list[str]:
        w, across, state = self.w, self.tile.across, list(state)
        combine = self.frame.contract.combine
        still: Offsets = dict.fromkeys(self.frame.used, 0)
        reads = self.frame.reads(A) if self.frame.expression(A).steps else ()
        in_lanes = self.unary or any(self.across[x] != 0 for x in (A, *reads))
        columns = [] if self.unary else [self._lanes(B, places, still, j) for j in range(across)]
        for i, row in enumerate(self.rows):
            same = "" if in_lanes else self._scalar(places, row)
            for j in range(across):
                value = self._lanes(A, places, row, j) if in_lanes else same
                at = i * across + j
                if self.unary:
                    state[at] = lanes.merge(w, combine, state[at], value, self.dtype, self.width)
                else:
                    state[at] = lanes.multiply_add(w, value, columns[j], state[at], self.dtype, self.width)
        return state

    def _store(self, state: Sequence[str], finished: bool) -> None:
        epilogue = Epilogue(self, self.width, self.across)
        if finished and self.stack:
            put_by_stack(self, epilogue, self.stack, state, self.width)
            return
        across = self.tile.across
        for j in range(across):
            for i, row in enumerate(self.rows):
                epilogue.put(state[i * across + j], row, j * self.width, self.masks[j], finished)
