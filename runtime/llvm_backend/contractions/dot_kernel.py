"""Dot kernel: ``acc[i, j] += A[i, k..k+W] * B[j, k..k+W]``, where lanes are steps, added up at the end."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.llvm_backend.contractions.epilogue import Epilogue
from runtime.llvm_backend.contractions.register_tile import Offsets, TileWriter, walk
from runtime.llvm_backend.contractions.schedule import OUT, A, B, dot_copies
from runtime.llvm_backend.contractions.tile import apply
from runtime.llvm_backend.ir import lanes
from runtime.llvm_backend.ir.values import memory_scalar
from runtime.llvm_backend.ir.writer import Value


class DotTile(TileWriter):
    """A tile of the dot form."""

    def write(self) -> None:
        """Writes the body of the function."""
        w, frame, tile = self.w, self.frame, self.tile
        self.width = frame.schedule.width
        self.type = lanes.vector_type(self.dtype, self.width)
        self.find_rows(frame.used)
        self.columns = self._columns()
        pairs = len(self.rows) * tile.across
        self.copies = dot_copies(pairs)
        start = lanes.identity(frame.contract.combine, self.dtype, self.width)
        state = [start] * (pairs * self.copies)
        state = walk(w, frame, self.steps, state, self.type, self._innermost)
        totals = [self._total(state[i * self.copies : (i + 1) * self.copies]) for i in range(pairs)]
        if frame.flagged:
            scalar = memory_scalar(self.dtype)
            totals = w.choose("%first", lambda: totals, lambda: self._continue(totals), [scalar] * pairs)
        self.store(lambda finished: self._store(totals, finished))

    def _columns(self) -> list[Offsets]:
        w, column = self.w, self.frame.schedule.column
        indices: list[Value] = list(range(self.tile.across))
        if self.tile.clamped_columns:
            limit = w.sub("%lanes", 1)
            indices = [0, *(w.min(j, limit) for j in range(1, self.tile.across))]
        return [{x: w.mul(j, w.word(column.strides[x])) for x in self.frame.used} for j in indices]

    def _innermost(self, offsets: Offsets, state: list[str]) -> list[str]:
        w, loop = self.w, self.frame.inner[-1]
        counted = self.frame.counted and len(self.frame.inner) == 1
        size: Value = "%count" if counted else w.word(loop.size)
        width, many = self.width, self.copies * self.width
        whole, full = w.sub(size, w.rem(size, many)), w.sub(size, w.rem(size, width))
        carried = [(self.type, x) for x in state]
        state = w.loop(whole, lambda k, x: self._steps(offsets, k, x, self.copies), carried, step=many)
        carried = [(self.type, x) for x in state]
        state = w.loop(full, lambda k, x: self._steps(offsets, k, x, 1), carried, start=whole, step=width)
        rest = w.sub(size, full)
        if rest == 0:
            return state

        def tail() -> list[str]:
            return self._steps(offsets, full, state, 1, w.mask(rest, width) if width > 1 else None)

        return w.choose(w.compare("ne", rest, 0), tail, lambda: state, [self.type] * len(state))

    def _steps(
        self, offsets: Offsets, k: Value, state: Sequence[str], copies: int, mask: str | None = None
    ) -> list[str]:
        w, found, loop = self.w, list(state), self.frame.inner[-1]
        for copy in range(copies):
            at = {
                x: w.add(offsets[x], w.mul(w.add(k, copy * self.width), w.word(loop.strides[x])))
                for x in self.steps
            }
            rights = [] if self.unary else [self._read(B, at, None, column, mask) for column in self.columns]
            for i, row in enumerate(self.rows):
                if self.unary or not self._columns_move():
                    left = self._read(A, at, row, self.columns[0], mask)
                for j, column in enumerate(self.columns):
                    place = (i * len(self.columns) + j) * self.copies + copy
                    if self.unary:
                        found[place] = lanes.merge(
                            w, self.frame.contract.combine, found[place], left, self.dtype, self.width
                        )
                        continue
                    if self._columns_move():
                        left = self._read(A, at, row, column, mask)
                    found[place] = lanes.multiply_add(
                        w, left, rights[j], found[place], self.dtype, self.width
                    )
        return found

    def _columns_move(self) -> bool:
        """Whether the lanes of A are others for each column."""
        strides = self.frame.schedule.column.strides
        return any(strides[x] != 0 for x in (A, *self.frame.reads(A)))

    def _read(self, operand: int, at: Offsets, row: Offsets | None, column: Offsets, mask: str | None) -> str:
        w, frame, loop = self.w, self.frame, self.frame.inner[-1]

        def lane(x: int) -> str:
            offset = w.add(w.add(at[x], row[x] if row else 0), column[x])
            stride = w.word(loop.strides[x])
            return lanes.load(w, self.place(x, offset), frame.dtypes[x], self.width, stride, mask)

        value, dtype = lane(operand), frame.dtypes[operand]
        expression = frame.expression(operand)
        if expression.steps:
            reads = [lane(x) for x in frame.reads(operand)]
            value, dtype = apply(w, expression, (value, dtype), reads, self.width)
        value = lanes.convert(w, value, dtype, self.dtype, self.width)
        if mask and (expression.steps or frame.contract.combine in ("max", "min")):
            nothing = lanes.identity(frame.contract.combine, self.dtype, self.width)
            value = w.value(f"select <{self.width} x i1> {mask}, {self.type} {value}, {self.type} {nothing}")
        return value

    def _total(self, copies: list[str]) -> str:
        combine = self.frame.contract.combine
        while len(copies) > 1:
            halves = zip(copies[::2], copies[1::2], strict=False)
            odd = copies[-1:] if len(copies) % 2 else []
            copies = [lanes.merge(self.w, combine, x, y, self.dtype, self.width) for x, y in halves] + odd
        return lanes.reduce_lanes(self.w, combine, copies[0], self.dtype, self.width)

    def _places(self) -> list[Offsets]:
        return [
            {x: self.w.add(row[x], column[x]) for x in self.frame.used}
            for row in self.rows
            for column in self.columns
        ]

    def _continue(self, totals: Sequence[str]) -> list[str]:
        combine, found = self.frame.contract.combine, []
        for at, total in zip(self._places(), totals, strict=True):
            before = lanes.load(self.w, self.place(OUT, at[OUT], self.dtype), self.dtype, 1)
            found.append(lanes.merge(self.w, combine, before, total, self.dtype, 1))
        return found

    def _store(self, totals: Sequence[str], finished: bool) -> None:
        epilogue = Epilogue(self, 1, dict.fromkeys(self.frame.used, 0))
        for at, total in zip(self._places(), totals, strict=True):
            epilogue.put(total, at, 0, None, finished)
