"""Register tile: what micro-kernels share: where rows lie, how the reduction is walked, what is stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
        self.rows = self._rows()

    def _rows(self) -> list[Offsets]:
        """The offset of every row of the tile in every operand."""
        tile = self.tile
        return [self.row(above, index) for above in range(tile.pair) for index in range(tile.height)]

    def row(self, above: Value, index: Value) -> Offsets:
        """The offsets of one row: number `index` under number `above` of the pair."""
        w, frame = self.w, self.frame
        if self.tile.clamped and index != 0:
            index = w.min(index, w.sub("%rows", 1))
        offsets = {}
        for x in frame.used:
            offset = w.mul(index, w.word(frame.rows[-1].strides[x]))
            if self.tile.pair > 1:
                offset = w.add(offset, w.mul(above, w.word(frame.rows[-2].strides[x])))
            offsets[x] = offset
        return offsets

    def place(self, operand: int, offset: Value, dtype: DType | None = None) -> str:
        """The address of an operand `offset` elements on."""
        return self.w.address(f"%p{operand}", offset, memory_scalar(dtype or self.frame.dtypes[operand]))

    def store(self, write: Callable[[bool], None]) -> None:
        """Stores finished values, or partial ones where the reduction goes on in another call."""
        contract = self.frame.contract
        alike = contract.out.dtype == self.dtype and not contract.epilogue.steps and not contract.also
        if not self.frame.flagged or alike:
            write(True)
        elif not self.frame.direct:
            write(False)
        else:
            self.w.choose("%last", lambda: write(True), lambda: write(False))
