"""Driver: loops over units, blocks of the reduction, panels and tiles around the micro-kernels."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from graphc.freezing import frozen
from graphc.sizes import Size
from graphc.types import DType
from runtime.llvm_backend.contractions.ahead import Ahead
from runtime.llvm_backend.contractions.contraction import Contract
from runtime.llvm_backend.contractions.framing import PARTIALS
from runtime.llvm_backend.contractions.grid import Grid, part_range
from runtime.llvm_backend.contractions.microkernel import write_naked_tile, write_tile
from runtime.llvm_backend.contractions.packing import (
    COPY,
    PACK,
    panel_elements,
    row_stride,
    scratch_bytes,
    write_copy,
    write_pack,
)
from runtime.llvm_backend.contractions.registers import least_tiles
from runtime.llvm_backend.contractions.schedule import OUT, A, B, Loop
from runtime.llvm_backend.contractions.splits import Masks, tile_start, visit_panel, visit_tile
from runtime.llvm_backend.contractions.tile import (
    Frame,
    Tile,
    advance,
    call_tile,
)
from runtime.llvm_backend.ir.naked import CONVENTION
from runtime.llvm_backend.ir.text import QUICKLY
from runtime.llvm_backend.ir.values import memory_scalar
from runtime.llvm_backend.ir.writer import Value, Writer
from runtime.llvm_backend.table.scratch import claim_part

_LARGE_TILE = 12  # vectors of outputs: with a reduction of a dozen steps some 100 cycles
SCRATCH = "scratch"  # the slot of the memory that chunks have while they run


@frozen
class Phase:
    """A function ``void name(ptr block, i64 chunk)`` of a kernel, and the formula of its chunks."""

    name: str
    count: Callable[[Writer], Value]


def _advance_plain(
    w: Writer, frame: Frame, pointers: Mapping[int, str], loop: Loop, index: Value
) -> dict[int, str]:
    """The pointers moved along a loop, where operands still lie as they do in memory."""
    found = {}
    for x, pointer in pointers.items():
        dtype = frame.dtypes[OUT] if x == OUT else frame.access(x).dtype
        found[x] = w.address(pointer, w.mul(index, w.word(loop.strides[x])), memory_scalar(dtype))
    return found


def span_of(contract: Contract) -> tuple[Size, Size]:
    """Elements between the first and the last of the output, and how far its index 0 is from the first."""
    span: Size = 1
    shift: Size = 0
    for dim in contract.output_dims:
        stride = contract.out.stride(dim.name)
        if isinstance(stride, int) and stride < 0:
            shift = shift + (dim.size - 1) * -stride
            stride = -stride
        span = span + (dim.size - 1) * stride
    return span, shift


def pointer_of(w: Writer, slots: Mapping[str, int], buffer: str, offset: Size, dtype: DType) -> str:
    """The address of element `offset` of a buffer of the argument block."""
    slot = w.address("%block", slots[buffer], "ptr")
    return w.address(w.value(f"load ptr, ptr {slot}, align 8"), w.word(offset), memory_scalar(dtype))


def write_main(
    w: Writer,
    frame: Frame,
    slots: Mapping[str, int],
    place: tuple[Size, Size],
    read: Callable[[Writer], Grid],
) -> bool:
    """The phase that computes the contract of `frame`; `place` is its `span_of`, `read` gives its grid.

    Whether all of it is as fast where LLVM makes it quickly.
    """
    schedule, light, size = frame.schedule, _is_light(frame), scratch_bytes(frame)
    effort = f"{QUICKLY} " if light else ""
    w.begin(f"void @{frame.name}(ptr %block, i64 %chunk) {effort}nounwind")
    part = None if size == 0 else claim_part(w, slots[SCRATCH], size)
    driver = Driver(w, frame, slots, place, read(w), part.address if part else "")
    driver.write()
    if part:
        part.give_back(w)
    w.end()
    for tile, naked in driver.tiles.items():
        light &= naked or write_tile(w, frame, tile)
    if schedule.pack:
        write_pack(w, frame)
    if schedule.copy:
        write_copy(w, frame)
    return light and not schedule.copy and not schedule.transposed


def _is_light(frame: Frame) -> bool:
    """Whether the driver's time is nothing beside that of a tile: then it is made quickly, not thoroughly.

    So it is where one matrix is multiplied by another, and the tile is no small one; or where it takes long.
    What finishes sums is little work beside those.
    """
    schedule = frame.schedule
    outputs = schedule.pair * schedule.height * schedule.vectors
    if len(frame.contract.ins) == 1:
        return frame.contract.ins[0].buffer == PARTIALS
    if outputs < _LARGE_TILE:
        return False
    return frame.facts.long_tile or not (schedule.batch or len(schedule.rows) > 1)


class Driver:
    """The loop nest of the main phase, outermost first: a method for each level."""

    def __init__(
        self,
        w: Writer,
        frame: Frame,
        slots: Mapping[str, int],
        place: tuple[Size, Size],
        grid: Grid,
        scratch: str,
    ) -> None:
        self.w, self.frame, self.schedule, self.slots = w, frame, frame.schedule, slots
        self.grid = grid
        self.span, self.shift = place
        self.panel = scratch
        self.split = frame.schedule.cut > 0 or (frame.flagged and not frame.direct)
        self.tiles: dict[Tile, bool] = {}  # in the order of their first use; whether they are written
        self.next: list[str] = []  # where A lies for the next block, and B

    def write(self) -> None:
        """Writes the body of the kernel."""
        w, frame = self.w, self.frame
        self.base = {
            x: pointer_of(
                w, self.slots, frame.access(x).buffer, frame.access(x).offset, frame.access(x).dtype
            )
            for x in frame.used
        }
        if self.split:
            self.partials = pointer_of(w, self.slots, PARTIALS, self.shift, frame.accumulator)
        if self.schedule.copy:
            self.copied = w.address(
                self.panel, w.word(panel_elements(self.schedule)), memory_scalar(frame.accumulator)
            )
        chunks, units = self.grid.chunks, self.grid.units
        start = w.div(w.mul("%chunk", units), chunks)
        stop = w.div(w.mul(w.add("%chunk", 1), units), chunks)
        w.loop(stop, lambda unit, _: self._unit(unit), start=start)

    def _unit(self, unit: Value) -> None:
        w, grid = self.w, self.grid
        group, rest = w.rem(unit, grid.groups), w.div(unit, grid.groups)
        part, rest = w.rem(rest, grid.parts), w.div(rest, grid.parts)
        cut, index = w.rem(rest, grid.cuts), w.div(rest, grid.cuts)
        pointers = self._enter(self.base, self.schedule.batch, index)
        if self.split:
            pointers[OUT] = self._target(pointers[OUT], index, cut)
        first = w.div(w.mul(cut, grid.blocks), grid.cuts)
        stop = w.div(w.mul(w.add(cut, 1), grid.blocks), grid.cuts)

        def block(number: Value, _: list[str]) -> None:
            begun = w.compare("eq", number, first)
            ended = w.compare("eq", w.add(number, 1), stop)
            if self.schedule.cut:
                ended = w.both(ended, w.compare("eq", grid.cuts, 1))
            self._block(number, pointers, part, group, (begun, ended))

        if grid.blocks == 1:
            block(0, [])
        else:
            w.loop(stop, block, start=first)

    def _enter(
        self, pointers: Mapping[int, str], loops: tuple[Loop, ...], index: Value, least: int = 0
    ) -> dict[int, str]:
        """The pointers at one flat index of a nest, whose last loop runs fastest.

        `least`: of a size; with 1, index 0 of an empty nest is where the nest begins.
        """
        w, found = self.w, dict(pointers)
        for number, loop in enumerate(reversed(loops)):
            if number == len(loops) - 1:
                return _advance_plain(w, self.frame, found, loop, index)
            size = w.max(least, w.word(loop.size)) if least else w.word(loop.size)
            found = _advance_plain(w, self.frame, found, loop, w.rem(index, size))
            index = w.div(index, size)
        return found

    def _target(self, out: str, index: Value, cut: Value) -> str:
        """Where the tile's sums go: the output, or the partial sums of this cut, which lie alike."""
        w, frame = self.w, self.frame
        moved = self._enter({OUT: self.partials}, self.schedule.batch, index)[OUT]
        there = w.address(moved, w.mul(cut, w.word(self.span)), memory_scalar(frame.accumulator))
        if not frame.direct:
            return there
        sole = w.compare("eq", self.grid.cuts, 1)
        if sole in ("true", "false"):
            return out if sole == "true" else there
        return w.value(f"select i1 {sole}, ptr {out}, ptr {there}")

    def _block(
        self, number: Value, pointers: dict[int, str], part: Value, group: Value, flags: tuple[str, str]
    ) -> None:
        """One block of the reduction."""
        w, schedule, grid = self.w, self.schedule, self.grid
        at, index = w.rem(number, grid.of_loop), w.div(number, grid.of_loop)
        pointers = self._enter(pointers, schedule.reduction[: schedule.outer], index, least=1)
        count: Value = 0
        if schedule.block is not None:
            loop = schedule.inner[0]
            size = w.word(loop.size)
            start = w.div(w.mul(at, size), grid.of_loop)
            count = w.sub(w.div(w.mul(w.add(at, 1), size), grid.of_loop), start)
            count = w.mul(count, self._outside())
            pointers = _advance_plain(w, self.frame, pointers, loop, start)
        rows = part_range(w, grid, part)
        if schedule.copy:
            pointers[A] = self._copy(pointers, rows, count)
        if ahead := self.frame.facts.ahead:
            self.next = self._next(pointers, ahead, count)
        first = w.div(w.mul(group, grid.panels), grid.groups)
        stop = w.div(w.mul(w.add(group, 1), grid.panels), grid.groups)
        w.loop(stop, lambda panel, _: self._panel(panel, pointers, rows, count, flags), start=first)

    def _outside(self) -> Value:
        """1; 0 where a loop of the reduction around the blocks may be empty, and is."""
        w = self.w
        found: Value = 1
        outside = self.schedule.reduction[: self.schedule.outer]
        for loop, has_steps in zip(outside, self.frame.facts.has_steps, strict=False):
            if not has_steps:
                found = w.mul(found, w.min(1, w.word(loop.size)))
        return found

    def _copy(self, pointers: Mapping[int, str], rows: tuple[Value, Value], count: Value) -> str:
        """Copies the rows of this unit; gives where row 0 would be."""
        w, frame, schedule = self.w, self.frame, self.schedule
        loop = schedule.rows[-1]
        start, stop = (tile_start(w, schedule.tiles[-1], index) for index in rows)
        operands = (A, *frame.reads(A)) if frame.prologue(A).steps else (A,)
        sources = _advance_plain(w, frame, {x: pointers[x] for x in operands}, loop, start)
        arguments = ", ".join(f"ptr {sources[x]}" for x in operands)
        w.do(
            f"call void @{frame.name}{COPY}(ptr %block, {arguments}, ptr {self.copied}, i64 {count}, "
            f"i64 {w.sub(stop, start)})"
        )
        back = w.sub(0, w.mul(start, w.word(row_stride(schedule))))
        return w.value(f"getelementptr {memory_scalar(frame.accumulator)}, ptr {self.copied}, i64 {back}")

    def _panel(
        self,
        panel: Value,
        pointers: Mapping[int, str],
        rows: tuple[Value, Value],
        count: Value,
        flags: tuple[str, str],
    ) -> None:
        """One panel of the column: B is packed here, and all rows of the unit use it."""
        w, frame, schedule = self.w, self.frame, self.schedule

        def run(across: int, masks: Masks, clamped: bool, start: Value, valid: Value) -> None:
            moved = _advance_plain(w, frame, pointers, schedule.column, start)
            steps: tuple[Value, ...] = ()
            if schedule.pack:
                moved[B], steps = self._pack(moved, rows, count, valid)
            tile = Tile(schedule.pair, schedule.height, False, across, masks, clamped)
            self._rows(0, tile, moved, rows, (count, valid, *steps), flags, panel)

        def outer(across: int, masks: Masks, start: Value, valid: Value) -> None:
            run(across, masks, False, start, valid)

        def dot(across: int, clamped: bool, start: Value, valid: Value) -> None:
            run(across, "none", clamped, start, valid)

        if schedule.form == "outer":
            visit_panel(w, schedule.panels, schedule.width, panel, outer)
        else:
            visit_tile(w, schedule.panels, panel, dot)

    def _pack(
        self, pointers: Mapping[int, str], rows: tuple[Value, Value], count: Value, valid: Value
    ) -> tuple[str, tuple[Value, ...]]:
        """Packs a panel; gives where B is now, and its steps where the run has decided."""
        w, frame, schedule = self.w, self.frame, self.schedule
        operands = (B, *frame.reads(B)) if frame.prologue(B).steps else (B,)
        arguments = ", ".join(f"ptr {pointers[x]}" for x in operands)
        steps = [w.word(loop.strides[B]) for loop in frame.inner]
        plain = [w.word(loop.strides[B]) for loop in schedule.inner]

        def pack() -> list[str]:
            w.do(
                f"call void @{frame.name}{PACK}(ptr %block, {arguments}, ptr {self.panel}, i64 {count}, "
                f"i64 {valid})"
            )
            return [self.panel, *map(str, steps)]

        if not schedule.adaptive:
            return pack()[0], ()
        across = [w.word(loop.size) for loop in schedule.rows]
        across[self.grid.level] = w.mul(w.sub(rows[1], rows[0]), self._extent())
        many: Value = 1
        for size in across:
            many = w.mul(many, size)
        worth = w.compare("sge", many, least_tiles(frame.facts.far) * schedule.height * schedule.pair)
        found = w.choose(worth, pack, lambda: [pointers[B], *map(str, plain)], ["ptr", *["i64"] * len(steps)])
        return found[0], tuple(found[1:])

    def _extent(self) -> int:
        """How many rows an index of the divided level stands for."""
        tiles = self.schedule.tiles
        place = self.grid.level - len(self.schedule.rows) + len(tiles)
        return tiles[place].step if place >= 0 else 1

    def _rows(
        self,
        level: int,
        tile: Tile,
        pointers: dict[int, str],
        rows: tuple[Value, Value],
        numbers: tuple[Value, ...],
        flags: tuple[str, str],
        number: Value,
    ) -> None:
        """The loops over rows, from `level` inward; the divided one runs over this unit's part.

        `number`: of what is around them, counted through.
        """
        w, frame, grid, ahead = self.w, self.frame, self.grid, self.frame.facts.ahead
        start, stop = rows if level == grid.level else (0, grid.levels[level])
        loop = frame.rows[level]
        depth = len(frame.rows) - level  # 1: the last, 2: the pair's
        across = tile.across, tile.masks, tile.clamped_columns

        def step(index: Value, _: list[str]) -> None:
            inner = w.add(w.mul(number, grid.levels[level]), index) if ahead else 0
            if depth > 2 or (depth == 2 and tile.pair == 1 and frame.schedule.pair == 1):
                moved = advance(w, frame, pointers, loop, index)
                self._rows(level + 1, tile, moved, rows, numbers, flags, inner)
                return

            def visit(extent: int, clamped: bool, at: Value, valid: Value) -> None:
                moved = advance(w, frame, pointers, loop, at)
                if depth == 2:
                    here = Tile(extent, tile.height, tile.clamped, *across)
                    self._rows(level + 1, here, moved, rows, numbers, flags, inner)
                    return
                leaf = Tile(tile.pair, extent, clamped, *across)
                naked = self.tiles.get(leaf)
                if naked is None:
                    naked = self.tiles[leaf] = write_naked_tile(w, frame, leaf)
                soon = self._soon(inner, ahead) if ahead else None
                convention = CONVENTION if naked else ""
                given = numbers[0], valid, *numbers[1:]
                call_tile(w, frame, leaf, moved, given, flags, soon, convention)

            visit_tile(w, frame.schedule.tiles[-depth], index, visit)

        w.loop(stop, step, start=start)

    def _next(self, pointers: Mapping[int, str], ahead: Ahead, count: Value) -> list[str]:
        """Where A and B lie for the next block, or what tiles ask for instead of A."""
        w, frame, schedule = self.w, self.frame, self.schedule
        loop = schedule.reduction[schedule.outer - 1] if ahead.by_outer else schedule.inner[0]
        moves = {x: w.mul(1 if ahead.by_outer else count, w.word(loop.strides[x])) for x in (A, B)}
        type = memory_scalar(frame.accumulator)
        a, b = (w.address(pointers[x], moves[x], type) for x in (A, B))
        return [a if ahead.in_a else b, b]

    def _soon(self, number: Value, ahead: Ahead) -> str:
        """Where the piece lies that tile `number` of a block asks for."""
        w = self.w
        a, b = self.next
        in_b = w.compare("slt", number, ahead.pieces)
        near = w.value(f"select i1 {in_b}, ptr {b}, ptr {a}")
        index = w.select(in_b, number, w.sub(number, ahead.pieces))
        return w.address(near, w.mul(index, ahead.piece), "i8")
