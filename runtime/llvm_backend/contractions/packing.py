"""Packing: a panel of B as ``steps x (vectors * W)``, and A with its rows or its steps side by side.

A copy is in the accumulator's dtype with the prologue applied, so a cast or a scale costs as much as the
operand has elements, not as much as the product has steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from graphc.sizes import Size
from graphc.types import DType
from runtime.llvm_backend.contractions.contraction import Access
from runtime.llvm_backend.contractions.schedule import A, B, Loop, Schedule, square_side
from runtime.llvm_backend.contractions.tile import Frame, apply
from runtime.llvm_backend.ir import lanes
from runtime.llvm_backend.ir.values import ask, memory_scalar
from runtime.llvm_backend.ir.writer import Value, Writer
from runtime.llvm_backend.table.scratch import part_bytes

PACK, COPY = ".pack", ".copy"
_STEPS_AHEAD = 16  # of the reduction: what is packed then is asked for now: 0.75 to 0.94 of the time
_LINE = 64  # bytes of a line of the cache
_PAD = 16  # elements between the rows of a copy, so that they fall in different sets of the cache


def panel_width(schedule: Schedule) -> int:
    """Elements of a packed panel for one step of the reduction."""
    return schedule.vectors * schedule.width


def packed_loops(schedule: Schedule) -> tuple[Loop, ...]:
    """The inner loops of the reduction with the strides of what is packed or copied."""
    loops = list(schedule.inner)
    if schedule.pack:
        loops = _dense(loops, B, panel_width(schedule))
    if schedule.copy:
        along = row_stride(schedule)
        loops = _dense(loops, A, 1 if along != 1 else _leading(schedule))
    return tuple(loops)


def _dense(loops: Sequence[Loop], operand: int, stride: Size) -> list[Loop]:
    found: list[Loop] = []
    for loop in reversed(loops):
        found.append(loop.moving(operand, stride))
        stride = stride * loop.size
    return found[::-1]


def row_stride(schedule: Schedule) -> Size:
    """How far apart the rows of a copied A are: 1 where they were, else whole rows and a gap."""
    return 1 if schedule.rows[-1].strides[A] == 1 else schedule.steps + _PAD


def _leading(schedule: Schedule) -> Size:
    return schedule.rows[-1].size + _PAD


def panel_elements(schedule: Schedule) -> Size:
    """Elements of a packed panel."""
    return schedule.steps * panel_width(schedule) if schedule.pack else 0


def copy_elements(schedule: Schedule) -> Size:
    """Elements of a copy of A."""
    if not schedule.copy:
        return 0
    if row_stride(schedule) == 1:
        return schedule.steps * _leading(schedule)
    return schedule.rows[-1].size * (schedule.steps + _PAD)


def scratch_bytes(frame: Frame) -> Size:
    """Bytes that a chunk claims for both."""
    schedule = frame.schedule
    return part_bytes(panel_elements(schedule) + copy_elements(schedule), frame.accumulator.itemsize)


class _Packer:
    """The nest of loops of a copy, and how its source is read."""

    def __init__(self, w: Writer, frame: Frame, operand: int) -> None:
        self.w, self.frame, self.operand = w, frame, operand
        self.expression = frame.prologue(operand)
        self.reads = (operand, *frame.reads(operand)) if self.expression.steps else (operand,)
        self.target = frame.accumulator
        self.width = frame.schedule.width

    def parameters(self) -> str:
        """The pointers of the source and its reads."""
        return ", ".join(f"ptr noalias %p{x}" for x in self.reads)

    def dtype(self, x: int) -> DType:
        """The dtype of a source, as it lies in memory."""
        found: Access = self.frame.access(x)
        return found.dtype

    def nest(
        self, loops: Sequence[tuple[Loop, bool, Size]], body: Callable[[dict[int, Value], Value], None]
    ) -> None:
        """Runs `body` on the offsets of the sources and of the copy; a loop has its stride there."""
        w = self.w

        def enter(depth: int, offsets: dict[int, Value], to: Value) -> None:
            if depth == len(loops):
                body(offsets, to)
                return
            loop, counted, stride = loops[depth]

            def step(index: Value, _: list[str]) -> None:
                moved = {x: w.add(offsets[x], w.mul(index, w.word(loop.strides[x]))) for x in self.reads}
                enter(depth + 1, moved, w.add(to, w.mul(index, w.word(stride))))

            w.loop("%count" if counted else w.word(loop.size), step)

        enter(0, dict.fromkeys(self.reads, 0), 0)

    def move(
        self, offsets: dict[int, Value], to: Value, along: Loop, mask: str | None, width: int | None = None
    ) -> None:
        """Copies lanes that lie along a loop to places side by side."""
        w, lanes_in_all = self.w, self.width if width is None else width
        found = [
            lanes.load(
                w, self.place(x, offsets[x]), self.dtype(x), lanes_in_all, w.word(along.strides[x]), mask
            )
            for x in self.reads
        ]
        self.put(found, to, None if self.operand == B else mask, lanes_in_all)

    def put(self, found: Sequence[str], to: Value, mask: str | None, width: int) -> None:
        """Stores a value read from the sources, its prologue applied."""
        value, dtype = found[0], self.dtype(self.operand)
        if self.expression.steps:
            value, dtype = apply(self.w, self.expression, (value, dtype), found[1:], width)
        value = lanes.convert(self.w, value, dtype, self.target, width)
        place = self.w.address("%to", to, memory_scalar(self.target))
        lanes.store(self.w, value, place, self.target, width, 1, mask)

    def ask(self, offsets: dict[int, Value], loop: Loop) -> None:
        """Asks the memory for the vectors that are read some steps of `loop` later.

        They are few lines, and those of the next step lie elsewhere: the hardware fetches none ahead.
        """
        w, dtype = self.w, self.dtype(self.operand)
        later = w.add(offsets[self.operand], w.mul(_STEPS_AHEAD, w.word(loop.strides[self.operand])))
        for first in range(0, panel_width(self.frame.schedule), _LINE // dtype.itemsize):
            w.emit(
                1, partial(ask, dtype=dtype, array=self.place(self.operand, w.add(later, first)), index="0")
            )

    def place(self, x: int, offset: Value) -> str:
        """The address of a source."""
        return self.w.address(f"%p{x}", offset, memory_scalar(self.dtype(x)))


def write_pack(w: Writer, frame: Frame) -> None:
    """Writes ``@kernel.pack(block, B and its reads, to, count, lanes)``: a panel of `lanes` columns."""
    packer, schedule = _Packer(w, frame, B), frame.schedule
    w.begin(
        f"internal void @{frame.name}{PACK}(ptr %block, {packer.parameters()}, "
        "ptr noalias %to, i64 %count, i64 %lanes) noinline nounwind"
    )
    packed = packed_loops(schedule)
    loops = [
        (source, frame.counted and i == 0, there.strides[B])
        for i, (source, there) in enumerate(zip(schedule.inner, packed, strict=True))
    ]
    if schedule.transposed:
        _transpose_panel(packer, loops)
    else:
        _copy_panel(packer, loops)
    w.end()


def _columns(packer: _Packer, offsets: dict[int, Value], first: Value) -> dict[int, Value]:
    """The offsets `first` columns on."""
    w, column = packer.w, packer.frame.schedule.column
    return {x: w.add(offsets[x], w.mul(first, w.word(column.strides[x]))) for x in packer.reads}


def _copy_panel(packer: _Packer, loops: Sequence[tuple[Loop, bool, Size]]) -> None:
    w, schedule, width = packer.w, packer.frame.schedule, packer.width
    column = schedule.column

    def whole() -> None:
        def body(offsets: dict[int, Value], to: Value) -> None:
            if packer.frame.facts.far_rows and packer.frame.machine.far_l3:
                packer.ask(offsets, loops[-1][0])
            for j in range(schedule.vectors):
                packer.move(_columns(packer, offsets, j * width), w.add(to, j * width), column, None)

        packer.nest(loops, body)

    def part() -> None:
        masks = [w.mask(w.sub("%lanes", j * width), width) for j in range(schedule.vectors)]

        def body(offsets: dict[int, Value], to: Value) -> None:
            for j, mask in enumerate(masks):
                packer.move(_columns(packer, offsets, j * width), w.add(to, j * width), column, mask)

        packer.nest(loops, body)

    if schedule.panels.even:
        whole()
    else:
        w.choose(w.compare("eq", "%lanes", schedule.vectors * width), whole, part)


def _transpose_panel(packer: _Packer, loops: Sequence[tuple[Loop, bool, Size]]) -> None:
    """W columns in squares of 16 bytes through registers; the edges of columns and of steps lane by lane."""
    w, schedule, width = packer.w, packer.frame.schedule, packer.width
    column = schedule.column
    at = next(i for i, (loop, _, _) in enumerate(loops) if loop.strides[B] == 1)
    contiguous, counted, step = loops[at]
    others = [*loops[:at], *loops[at + 1 :]]
    size = "%count" if counted else w.word(contiguous.size)
    piece = square_side(schedule)
    whole = w.sub(size, w.rem(size, piece))
    masked = schedule.panels.open or schedule.panels.edge
    full: Value = w.sub("%lanes", w.rem("%lanes", width)) if masked else "%lanes"
    rest = w.sub("%lanes", full)
    mask = w.mask(rest, width) if masked else None

    def along(offsets: dict[int, Value], k: Value) -> dict[int, Value]:
        return {x: w.add(offsets[x], w.mul(k, w.word(contiguous.strides[x]))) for x in packer.reads}

    def target(to: Value, k: Value, j: Value) -> Value:
        return w.add(w.add(to, w.mul(k, w.word(step))), j)

    def squares(offsets: dict[int, Value], to: Value, k: Value, j: Value) -> None:
        here, dtype = along(offsets, k), packer.dtype(B)
        offset = [w.add(here[B], w.mul(q, w.word(column.strides[B]))) for q in range(width)]
        read = [lanes.load(w, packer.place(B, x), dtype, piece) for x in offset]
        rows = [lanes.join(w, read[q::piece], dtype, piece) for q in range(piece)]
        for q, row in enumerate(lanes.transpose_pieces(w, rows, dtype, width)):
            deeper = along(here, q)
            found = [
                lanes.load(w, packer.place(x, deeper[x]), packer.dtype(x), width, w.word(column.strides[x]))
                for x in packer.reads[1:]
            ]
            packer.put([row, *found], target(to, w.add(k, q), j), None, width)

    def body(offsets: dict[int, Value], to: Value) -> None:
        def columns(j: Value, _: list[str]) -> None:
            here = _columns(packer, offsets, j)
            w.loop(whole, lambda k, _: squares(here, to, k, j), step=piece)
            w.loop(
                size,
                lambda k, _: packer.move(along(here, k), target(to, k, j), column, None),
                start=whole,
            )

        def edge() -> None:
            here = _columns(packer, offsets, full)
            w.loop(size, lambda k, _: packer.move(along(here, k), target(to, k, full), column, mask))

        w.loop(full, columns, step=width)
        w.when(w.compare("ne", rest, 0), edge)

    packer.nest(others, body)


def write_copy(w: Writer, frame: Frame) -> None:
    """Writes ``@kernel.copy(block, A and its reads, to, count, rows)``: `rows` rows of A."""
    packer, schedule = _Packer(w, frame, A), frame.schedule
    w.begin(
        f"internal void @{frame.name}{COPY}(ptr %block, {packer.parameters()}, "
        "ptr noalias %to, i64 %count, i64 %rows) noinline nounwind"
    )
    row = schedule.rows[-1]
    packed = packed_loops(schedule)
    loops = [
        (source, frame.counted and i == 0, there.strides[A])
        for i, (source, there) in enumerate(zip(schedule.inner, packed, strict=True))
    ]
    if row_stride(schedule) == 1:
        _sweep(packer, loops, row, "%rows")
    else:
        along, counted, _ = loops[-1]

        def one(index: Value, _: list[str]) -> None:
            shifted = {x: w.mul(index, w.word(row.strides[x])) for x in packer.reads}
            to = w.mul(index, w.word(row_stride(schedule)))
            size = "%count" if counted else w.word(along.size)
            _sweep(packer, loops[:-1], along, size, shifted, to)

        w.loop("%rows", one)
    w.end()


def _sweep(
    packer: _Packer,
    loops: Sequence[tuple[Loop, bool, Size]],
    along: Loop,
    size: Value,
    offsets: dict[int, Value] | None = None,
    to: Value = 0,
) -> None:
    """Copies vectors along one loop within the nest of the others."""
    w, width = packer.w, packer.width
    full = w.sub(size, w.rem(size, width))
    mask = w.mask(w.sub(size, full), width) if full != size else None

    def body(inside: dict[int, Value], there: Value) -> None:
        base = {x: w.add(inside[x], (offsets or {}).get(x, 0)) for x in packer.reads}
        there = w.add(there, to)

        def vector(k: Value, lane_mask: str | None) -> None:
            moved = {x: w.add(base[x], w.mul(k, w.word(along.strides[x]))) for x in packer.reads}
            packer.move(moved, w.add(there, k), along, lane_mask)

        def step(k: Value, _: list[str]) -> None:
            vector(k, None)

        w.loop(full, step, step=width)
        w.when(w.compare("ne", full, size), lambda: vector(full, mask))

    packer.nest(loops, body)
