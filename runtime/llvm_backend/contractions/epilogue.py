"""Epilogue: what is done to the finished sums of a tile, and where they go.

A short one runs on the accumulators where they are. A long one would be written once for each of them, and
LLVM would spill them: then they go to the stack, and one loop finishes vector after vector.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from graphc.types import DType
from runtime.llvm_backend.contractions.contraction import Contract, Expression
from runtime.llvm_backend.contractions.register_tile import Offsets, TileWriter
from runtime.llvm_backend.contractions.schedule import OUT
from runtime.llvm_backend.contractions.tile import evaluate
from runtime.llvm_backend.ir import lanes
from runtime.llvm_backend.ir.writer import Value

Finished = Callable[[Value, Value, Value, Offsets, "str | None"], str]
_MOST_IN_REGISTERS = 40  # instructions of a tile's epilogue, about
_CHEAP = frozenset(
    [
        *("add", "sub", "mul", "div", "neg", "abs", "square", "maximum", "minimum", "relu", "where", "cast"),
        *(
            "greater",
            "greater_equal",
            "less",
            "less_equal",
            "equal",
            "not_equal",
            "logical_and",
            "logical_or",
        ),
    ]
)


def is_long(contract: Contract, vectors: int) -> bool:
    """Whether the epilogue of a tile of `vectors` is better run in a loop."""
    work = sum(1 if step.op in _CHEAP else 20 for step in contract.epilogue.steps)
    return vectors > 1 and work * vectors > max(_MOST_IN_REGISTERS, 2 * vectors)


def steps_in_place(expression: Expression, dtype: DType) -> list[tuple[str, int | None]] | None:
    """The steps as those of an `Ending`; None where not each goes on with the value of the one before."""
    found: list[tuple[str, int | None]] = []
    value, count = 0, len(expression.reads)
    for step in expression.steps:
        first, *others = step.operands
        if step.op in ("add", "mul") and others == [value]:
            first, others = value, [first]
        if first != value or step.dtype is not dtype:
            return None
        if step.op == "relu":
            found.append((step.op, None))
        elif step.op in ("add", "sub", "mul", "div") and 1 <= others[0] <= count:
            found.append((step.op, others[0] - 1))
        else:
            return None
        value = count + len(found)
    return found


class Epilogue:
    """Puts values where they belong; what it has read once it holds, as long as its block lasts."""

    def __init__(
        self,
        tile: TileWriter,
        width: int,
        across: Mapping[int, Value],
        held: Mapping[tuple[int, Value, Value], str] | None = None,
    ) -> None:
        self._tile, self._width, self._across = tile, width, across
        self._held: dict[tuple[int, Value, Value], str] = dict(held or {})
        self._reads, self._also = tile.frame.reads(OUT), tile.frame.also

    def within(self) -> Epilogue:
        """The same inside a loop: what it reads there is not held outside."""
        return Epilogue(self._tile, self._width, self._across, self._held)

    def hold(self) -> None:
        """Reads now what is the same for the whole tile."""
        for x in self._reads:
            if self._across[x] == 0 and all(row[x] == 0 for row in self._tile.rows):
                self._read(x, {x: 0}, 0, None)

    def put(self, value: str, row: Offsets, column: Value, mask: str | None, finished: bool) -> None:
        """Stores a value of the row at `row`, `column` columns on: finished, or a partial sum."""
        frame, w = self._tile.frame, self._tile.w
        total = self._tile.dtype
        if not finished:
            self._store(OUT, (value, total), total, row, column, mask)
            return
        reads = [self._read(x, row, column, mask) for x in self._reads]
        values = evaluate(w, frame.contract.epilogue, (value, total), reads, self._width)
        self._store(OUT, values[-1], frame.access(OUT).dtype, row, column, mask)
        for number, operand in self._also:
            self._store(operand, values[number], frame.dtypes[operand], row, column, mask)

    def _read(self, x: int, row: Offsets, column: Value, mask: str | None) -> str:
        key = x, row[x], column if self._across[x] != 0 else 0
        if key not in self._held:
            dtype = self._tile.frame.dtypes[x]
            place = self._tile.place(x, self._offset(x, row, column))
            self._held[key] = lanes.load(self._tile.w, place, dtype, self._width, self._across[x], mask)
        return self._held[key]

    def _store(
        self,
        operand: int,
        value: tuple[str, DType],
        dtype: DType,
        row: Offsets,
        column: Value,
        mask: str | None,
    ) -> None:
        w, width = self._tile.w, self._width
        held = lanes.convert(w, value[0], value[1], dtype, width)
        place = self._tile.place(operand, self._offset(operand, row, column), dtype)
        lanes.store(w, held, place, dtype, width, self._across[operand], mask)

    def _offset(self, operand: int, row: Offsets, column: Value) -> Value:
        w = self._tile.w
        return w.add(row[operand], w.mul(column, self._across[operand]))


def put_by_stack(tile: TileWriter, epilogue: Epilogue, stack: str, state: Sequence[str], width: int) -> None:
    """Finishes the accumulators of a tile by way of the stack, where there is room for them at `stack`."""
    w, across = tile.w, tile.tile.across
    type = lanes.vector_type(tile.dtype, width)
    for number, value in enumerate(state):
        lanes.store(w, value, w.address(stack, number, type), tile.dtype, width)

    def held(above: Value, index: Value, j: Value, row: Offsets, mask: str | None) -> str:
        first = w.mul(w.add(w.mul(above, tile.tile.height), index), across)
        return lanes.load(w, w.address(stack, w.add(first, j), type), tile.dtype, width)

    put_in_loops(tile, epilogue, held, width)


def put_in_loops(tile: TileWriter, epilogue: Epilogue, value: Finished, width: int) -> None:
    """Finishes each `value` of a tile: that of number `index` under `above` of the rows, `j` vectors on."""
    w, across = tile.w, tile.tile.across
    epilogue.hold()

    def row(above: Value, index: Value) -> None:
        offsets = tile.row(above, index)

        def vector(j: Value, mask: str | None) -> None:
            held = value(above, index, j, offsets, mask)
            epilogue.within().put(held, offsets, w.mul(j, width), mask, finished=True)

        def masked(j: Value, _: list[str]) -> None:
            vector(j, w.mask(w.sub("%lanes", w.mul(j, width)), width))

        whole = {"none": across, "last": across - 1, "all": 0}[tile.tile.masks]
        w.loop(whole, lambda j, _: vector(j, None))
        w.loop(across, masked, start=whole)

    def rows(above: Value, _: list[str]) -> None:
        w.loop(tile.tile.height, lambda index, _: row(above, index))

    w.loop(tile.tile.pair, rows)
