"""Register tile: what micro-kernels share: where rows lie, how the reduction is walked, what is stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphc.laziness import Lazy
from graphc.types import DType
from runtime.llvm_backend.contractions.schedule import A, B
from runtime.llvm_backend.contractions.tile import Frame, Tile
from runtime.llvm_backend.ir.values import memory_scalar
from runtime.llvm_backend.ir.writer import Value, Writer

Offsets = dict[int, Value]
Body = Callable[[Offsets, list[str]], list[str]]


def step_of(w: Writer, frame: Frame, depth: int, operand: int) -> Value:
    """How far an inner loop moves an operand; the call tells it where B may or may not be packed."""
    if operand == B and frame.schedule.adaptive:
        return f"%step{depth}"
    return w.word(frame.inner[depth].strides[operand])


def walk(
    w: Writer,
    frame: Frame,
    operands: Sequence[int],
    state: list[str],
    type: str,
    body: Body,
    inside: int = 1,
) -> list[str]:
    """Runs `body` on the offsets of `operands` in every step of all but the last loops, carrying `state`.

    How many those are, `inside` says.
    """
    loops = frame.inner

    def enter(depth: int, offsets: Offsets, values: list[str]) -> list[str]:
        if depth == len(loops) - inside:
            return body(offsets, values)
        loop = loops[depth]
        size = "%count" if frame.counted and depth == 0 else w.word(loop.size)

        def step(index: Value, carried: list[str]) -> list[str]:
            moved = {x: w.add(offsets[x], w.mul(index, step_of(w, frame, depth, x))) for x in operands}
            return enter(depth + 1, moved, carried)

        return w.loop(size, step, [(type, x) for x in values])

    return enter(0, dict.fromkeys(operands, 0), state)


class TileWriter:
    """What both forms share: the places of rows and columns, and how a finished value is stored.

    Attributes:
        is_light: whether what is written is as fast where LLVM makes it quickly.
    """

    is_light = False

    def __init__(self, w: Writer, frame: Frame, tile: Tile) -> None:
        self.w, self.frame, self.tile = w, frame, tile
        self.dtype: DType = frame.accumulator
        self.unary = len(frame.contract.ins) == 1
        self.steps = [A] if self.unary else [A, B]  # the operands that move along the reduction
        self.steps += [
            x for owner in list(self.steps) if frame.expression(owner).steps for x in frame.reads(owner)
        ]
        self.rows: list[Offsets] = [{} for _ in range(tile.pair * tile.height)]

    @Lazy
    def indices(self) -> list[tuple[Value, Value]]:
        """Each row of the tile by its numbers: the one above, and the one that it is or stands for."""
        return [(i, self._valid(j)) for i in range(self.tile.pair) for j in range(self.tile.height)]

    def find_rows(self, operands: Sequence[int]) -> None:
        """Puts the offset of every row in each of `operands` into `rows`, where it is not there yet."""
        for x in operands:
            if x not in self.rows[0]:
                strides = self._strides(x)
                for row, place in zip(self.rows, self.indices, strict=True):
                    row[x] = self._offset(strides, *place)

    def row(self, above: Value, index: Value) -> Offsets:
        """The offsets of one row: number `index` under number `above` of the pair."""
        index = self._valid(index)
        return {x: self._offset(self._strides(x), above, index) for x in self.frame.used}

    def _valid(self, index: Value) -> Value:
        """The row that `index` stands for: surplus ones are the last one again."""
        w = self.w
        return w.min(index, w.sub("%rows", 1)) if self.tile.clamped and index != 0 else index

    def _strides(self, x: int) -> list[Value]:
        """How far apart rows of an operand lie, and the pair's."""
        w, rows = self.w, self.frame.rows
        last = w.word(rows[-1].strides[x])
        return [last, w.word(rows[-2].strides[x])] if self.tile.pair > 1 else [last]

    def _offset(self, strides: Sequence[Value], above: Value, index: Value) -> Value:
        w, (stride, *pairs) = self.w, strides
        offset = w.mul(index, stride)
        return w.add(offset, w.mul(above, pairs[0])) if pairs else offset

    def place(self, operand: int, offset: Value, dtype: DType | None = None) -> str:
        """The address of an operand `offset` elements on."""
        return self.w.address(f"%p{operand}", offset, memory_scalar(dtype or self.frame.dtypes[operand]))

    def store(self, write: Callable[[bool], None]) -> None:
        """Stores finished values, or partial ones where the reduction goes on in another call."""
        contract = self.frame.contract
        alike = contract.out.dtype is self.dtype and not contract.epilogue.steps and not contract.also
        if not self.frame.flagged or alike:
            write(True)
        elif not self.frame.direct:
            write(False)
        else:
            self.w.choose("%last", lambda: write(True), lambda: write(False))
