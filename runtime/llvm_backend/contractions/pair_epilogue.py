"""Pair epilogue: what finishes a tile of sums of dot instructions, and where the results go."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.types import DType
from runtime.llvm_backend.contractions.epilogue import is_long
from runtime.llvm_backend.contractions.pair_packing import WordPacker
from runtime.llvm_backend.contractions.schedule import OUT
from runtime.llvm_backend.contractions.tile import evaluate
from runtime.llvm_backend.ir import lanes
from runtime.llvm_backend.ir.writer import Value


class PairEpilogue:
    """Finishes the sums of one tile, in the function that its packer's writer writes.

    Operands lie at ``%p2`` (the result), ``%p3``, ...: the first row and column of the tile.
    """

    def __init__(self, packer: WordPacker, masks: Sequence[str | None]) -> None:
        self._packer, self._masks = packer, masks
        self._contract = packer.found.contract
        self._reads = range(OUT + 1, OUT + 1 + len(self._contract.epilogue.reads))
        self._held: dict[tuple[int, Value, Value], str] = {}

    def put(self, rows: Sequence[Value], sums: Sequence[str], last: Value | None) -> None:
        """Stores the results of rows by vectors; with `last` there are no rows behind that one."""
        packer, across = self._packer, len(self._masks)
        w, width, total = packer.w, packer.width, packer.words.total
        if not is_long(self._contract, len(sums)):
            for i, row in enumerate(rows):
                for j in range(across):
                    self._put(row, j, sums[i * across + j])
            return
        type = lanes.vector_type(total, width)
        stack = w.value(f"alloca [{len(sums)} x {type}], align 64")
        for number, value in enumerate(sums):
            lanes.store(w, value, w.address(stack, number, type), total, width)

        def finish(index: Value, _: list[str]) -> None:
            row = index if last is None else w.min(index, last)
            self._held = {}
            for j in range(across):
                place = w.address(stack, w.add(w.mul(index, across), j), type)
                self._put(row, j, lanes.load(w, place, total, width))

        w.loop(len(rows), finish)

    def _put(self, row: Value, j: int, total: str) -> None:
        packer, contract = self._packer, self._contract
        w, width = packer.w, packer.width
        first = lanes.convert(w, total, packer.words.total, contract.accumulator, width)
        reads = [self._read(x, row, j) for x in self._reads]
        values = evaluate(w, contract.epilogue, (first, contract.accumulator), reads, width)
        number = len(values) - 1
        for x, value in enumerate((number, *(value for value, _ in contract.also))):
            self._store(OUT if x == 0 else OUT + len(self._reads) + x, *values[value], row, j)

    def _place(self, x: int, row: Value, j: int) -> str:
        packer = self._packer
        w, found = packer.w, packer.found
        down, across = w.word(found.row.strides[x]), w.word(found.column.strides[x])
        return packer.move(f"%p{x}", x, w.add(w.mul(row, down), w.mul(j * packer.width, across)))

    def _read(self, x: int, row: Value, j: int) -> str:
        packer, found = self._packer, self._packer.found
        across = packer.w.word(found.column.strides[x])
        key = x, row if found.row.strides[x] != 0 else 0, j if across != 0 else 0
        if key not in self._held:
            mask, place = self._masks[j], self._place(x, row, j)
            self._held[key] = lanes.load(packer.w, place, packer.dtype(x), packer.width, across, mask)
        return self._held[key]

    def _store(self, x: int, value: str, dtype: DType, row: Value, j: int) -> None:
        packer = self._packer
        w, width = packer.w, packer.width
        held = lanes.convert(w, value, dtype, packer.dtype(x), width)
        across = w.word(packer.found.column.strides[x])
        lanes.store(w, held, self._place(x, row, j), packer.dtype(x), width, across, self._masks[j])
