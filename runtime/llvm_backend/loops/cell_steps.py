"""Cell steps: fused reductions over a few rows that lie apart, and what is done for each element of those.

A chunk walks the places that are kept, and along the row of each. For one vector of it there is one vector
for each cell, so all of a body is computed between loading what is read and storing what is asked for,
however many reductions it has:

    for each place, for each vector of its row:
        load the vectors of all cells; x = f(vectors), r = reduce(x), y = g(x, r); store r, or y of all cells

Cells are combined in the order in which they lie. Sums of float32 are added up in float64, but for sums of
bools, which float32 holds exactly.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import reduce

from graphc.sizes import Size, product
from graphc.tensor import Tensor
from graphc.types import BOOL, FLOAT64
from passes.cells import Cells, cells_of
from runtime.llvm_backend.engine.machine import host
from runtime.llvm_backend.ir.casts import cast
from runtime.llvm_backend.ir.scalars import emit_op, spelled
from runtime.llvm_backend.ir.text import Emitter, Module, target_of
from runtime.llvm_backend.ir.values import load, load_single, register_bytes, store
from runtime.llvm_backend.loops.copies import merged
from runtime.llvm_backend.loops.loop_kernel import LoopKernel, Word, cut_in_chunks, item_bytes
from runtime.llvm_backend.rows.row_loop import RowLoop

_MEETING = {"max": "maximum", "min": "minimum"}
_VIEWS = ("reshape", "expand_dims", "squeeze")


def _cells(node: Tensor) -> Sequence[LoopKernel]:
    cells = cells_of(node)
    return () if cells is None else (_CellWriter(node, cells).kernel(),)


class _CellWriter:
    """Writes one kernel. A value of the body is one register, or one for each cell."""

    def __init__(self, node: Tensor, cells: Cells) -> None:
        self.body, self.cells = node.attrs["body"], cells
        nodes = self.body.nodes()
        self.given = {x: i for i, x in enumerate(self.body.inputs)}
        self.inside = [x for x in nodes if x not in self.given]
        target = target_of(host())
        self.module = Module(target)
        self.one = Emitter(self.module, 1, prefix="s")
        widest = max(register_bytes(x.dtype) for x in nodes)
        width = max(target.vector_bits // 8 // widest, 1)
        self.wide = Emitter(self.module, width, prefix="v") if width > 1 else self.one
        self.wide.lines = self.one.lines
        self.loops = RowLoop(self.one, self.wide)
        self.words: list[Word] = []

    def kernel(self) -> LoopKernel:
        """What the node is."""
        body, cells, one = self.body, self.cells, self.one
        self.reads = [self._word(Word("operand", i), "ptr") for i in range(len(body.inputs))]
        self.writes = [self._word(Word("result", i), "ptr") for i in range(len(body.outputs))]
        strides = [product(cells.whole[axis + 1 :]) for axis in range(len(cells.whole))]
        axes = [axis for axis in range(len(cells.whole) - 1) if axis not in cells.over]
        places = merged(
            [cells.whole[axis] for axis in axes], [strides[axis] for axis in axes], [0] * len(axes)
        )
        count, row = product(cells.whole[axis] for axis in axes), cells.whole[-1]
        per, chunks = cut_in_chunks(count, self._bytes())
        steps = [
            sum((i * strides[axis] for i, axis in zip(index, cells.over, strict=True)), start=0)
            for index in itertools.product(*(range(self._number(axis)) for axis in cells.over))
        ]
        total, each, length = self._size(count), self._size(per), self._size(row)
        offsets = [self._size(step) for step in steps]
        sizes = [(self._size(place.size), self._size(place.source)) for place in places]
        first = one.let(f"mul i64 %chunk, {each}")
        last = one.intrinsic("smin", "i64", one.let(f"add i64 {first}, {each}"), total)
        self.loops.walk(first, last, 1, [], lambda at, _: self._place(at, length, sizes, offsets))
        text = "\n".join([*one.lines, "  ret void"])
        self.module.define(
            "kernel", lambda: f"define void @kernel(ptr %block, i64 %chunk) {{\nentry:\n{text}\n}}"
        )
        name = ".".join(x.op.name for x in self.inside if x.op.name not in _VIEWS)
        return LoopKernel(f"{name} of cells", self.module.text, tuple(self.words), chunks)

    def _number(self, axis: int) -> int:
        size = self.cells.whole[axis]
        assert isinstance(size, int)  # as cells are
        return size

    def _bytes(self) -> Size:
        """What one place reads and writes."""
        kept = [x for x in (*self.body.inputs, *self.body.outputs) if not self.cells.is_along(x)]
        many = product(self._number(axis) for axis in self.cells.over)
        row = self.cells.whole[-1]
        return sum(((many if self.cells.is_whole(x) else 1) * row * item_bytes(x.dtype) for x in kept), 0)

    def _word(self, word: Word, type: str) -> str:
        at = self.one.let(f"getelementptr i64, ptr %block, i64 {len(self.words)}")
        self.words.append(word)
        return self.one.let(f"load {type}, ptr {at}, align 8")

    def _size(self, size: Size) -> str:
        return self._word(Word("size", 0, size), "i64")

    def _place(
        self, place: str, length: str, sizes: Sequence[tuple[str, str]], offsets: Sequence[str]
    ) -> list[str]:
        """The rows of all cells at `place`."""
        one = self.one
        kept, rest, whole = one.let(f"mul i64 {place}, {length}"), place, "0"
        for number, (size, stride) in enumerate(reversed(sizes)):
            index = rest
            if number + 1 < len(sizes):
                index, rest = (one.let(f"{what} i64 {rest}, {size}") for what in ("urem", "udiv"))
            whole = one.let(f"add i64 {whole}, {one.let(f'mul i64 {index}, {stride}')}")
        begins = [one.let(f"add i64 {whole}, {offset}") for offset in offsets]

        def elements(em: Emitter, j: str, mask: str | None) -> list[str]:
            at = one.let(f"add i64 {kept}, {j}")
            apart = [one.let(f"add i64 {begin}, {j}") for begin in begins]
            _Elements(self, em, mask, j, at, apart).write()
            return []

        row = self.cells.whole[-1]
        return self.loops.write([], "0", length, 1, elements, length=row if isinstance(row, int) else None)


class _Elements:
    """One vector of the row of each cell: from `j` on, which is element `at` of what is kept."""

    def __init__(
        self, writer: _CellWriter, em: Emitter, mask: str | None, j: str, at: str, apart: Sequence[str]
    ) -> None:
        self.writer, self.em, self.mask, self.j, self.at, self.apart = writer, em, mask, j, at, apart
        self.values: dict[Tensor, list[str]] = {}

    def write(self) -> None:
        """Computes all, and stores the results."""
        for node in self.writer.inside:
            operands = [self._value(x) for x in node.inputs]
            if node.op.name in _VIEWS:
                self.values[node] = operands[0]
            elif node.op.family == "elementwise":
                many = len(self.apart) if self.writer.cells.is_whole(node) else 1
                self.values[node] = [self._computed(node, operands, i) for i in range(many)]
            else:
                self.values[node] = [self._reduced(node, operands[0])]
        for output, array in zip(self.writer.body.outputs, self.writer.writes, strict=True):
            for value, at in zip(self.values[output], self._places(output), strict=True):
                store(self.em, output.dtype, value, array, at, self.mask)

    def _places(self, x: Tensor) -> Sequence[str]:
        return self.apart if self.writer.cells.is_whole(x) else [self.at]

    def _value(self, x: Tensor) -> list[str]:
        """What was computed, or is read when it is first asked for."""
        found = self.values.get(x)
        if found is None:
            found = self.values[x] = self._read(x, self.writer.reads[self.writer.given[x]])
        return found

    def _read(self, x: Tensor, array: str) -> list[str]:
        em, cells = self.em, self.writer.cells
        if cells.is_whole(x) or cells.is_kept(x):
            return [load(em, x.dtype, array, at, self.mask) for at in self._places(x)]
        if x.result.sizes and x.result.sizes[-1] != 1:
            return [load(em, x.dtype, array, self.j, self.mask)]
        return [load_single(em, x.dtype, array)]

    def _computed(self, node: Tensor, operands: Sequence[Sequence[str]], cell: int) -> str:
        own = [values[cell if len(values) > 1 else 0] for values in operands]
        op = spelled(node.op.name, node.attrs)
        return emit_op(self.em, op, own, [x.dtype for x in node.inputs], node.dtype)

    def _reduced(self, node: Tensor, values: Sequence[str]) -> str:
        em, (x,) = self.em, node.inputs
        dtype, meeting = x.dtype, _MEETING.get(node.op.name, "add")
        wide = meeting == "add" and not (x.op.name == "cast" and x.inputs[0].dtype is BOOL)
        total = FLOAT64 if wide else dtype
        found = reduce(
            lambda a, b: emit_op(em, meeting, [a, b], [total, total], total),
            [cast(em, value, dtype, total) for value in values],
        )
        return cast(em, found, total, dtype)


LOOPS: dict[str, Callable[[Tensor], Sequence[LoopKernel]]] = {"fused": _cells}
