"""Cell steps: fused reductions over a few rows that lie apart, and what is done for each element of those.

A chunk walks the places that are kept, and along the row of each. For one vector of it there is one vector
for each cell, so all of a body is computed between loading what is read and storing what is asked for,
however many reductions it has:

    for each place, for each vector of its row:
        load the vectors of all cells; x = f(vectors), r = reduce(x), y = g(x, r); store r, or y of all cells

Cells of windows that overlap are vectors of the image, as far apart as the windows say.

Cells are combined in the order in which they lie. Sums of float32 are added up in float64, but for sums of
bools, which float32 holds exactly.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import NamedTuple

from graphc.sizes import Size, product
from graphc.tensor import Tensor
from graphc.types import BOOL, FLOAT32, FLOAT64
from passes.cells import Cells, cells_of
from runtime.llvm_backend.contractions.lane_choice import estimate
from runtime.llvm_backend.contractions.strided import see, see_dense, see_within
from runtime.llvm_backend.engine.machine import host
from runtime.llvm_backend.ir.casts import cast
from runtime.llvm_backend.ir.notes import in_all_lanes
from runtime.llvm_backend.ir.scalars import emit_op, spelled
from runtime.llvm_backend.ir.text import Emitter, Module, target_of
from runtime.llvm_backend.ir.values import (
    end_streams,
    load,
    load_single,
    memory_dtype,
    memory_scalar,
    register_scalar,
    store,
    stream,
)
from runtime.llvm_backend.loops.copies import merge_axes
from runtime.llvm_backend.loops.loop_kernel import LoopKernel, Word, cut_in_chunks, item_bytes
from runtime.llvm_backend.loops.movement_steps import zeros_around
from runtime.llvm_backend.rows.numerics import NONFINITE
from runtime.llvm_backend.rows.row_loop import CHUNK, RowLoop, Span, Visit, lanes_of
from runtime.llvm_backend.rows.row_notes import define_noted
from runtime.llvm_backend.rows.row_streams import outgrows_caches

_MEETING = {"max": "maximum", "min": "minimum"}
_WINDOWS = "windows"  # whose operand is read as they see it
_VIEWS = ("reshape", "expand_dims", "squeeze", "embed")  # the last is a matter of where it is stored


class _Lie(NamedTuple):
    """How a value lies in memory: where it begins, how far a step along each axis of cells moves.

    `is_whole`: whether it has an element for every cell.
    """

    offset: Size
    steps: tuple[Size, ...]
    is_whole: bool


def cells_in(node: Tensor, noted: bool = False) -> Sequence[LoopKernel]:
    """The kernels of a `fused` node of cells, none for another; `noted`: that tell what the CPU notes."""
    cells = cells_of(node)
    return () if cells is None else (*zeros_around(node), _CellWriter(node, cells, noted).kernel())


class _CellWriter:
    """Writes one kernel. A value of the body is one register, or one for each cell."""

    def __init__(self, node: Tensor, cells: Cells, noted: bool) -> None:
        self.body, self.cells, self.noted = node.attrs["body"], cells, noted
        nodes = self.body.nodes()
        self.given = {x: i for i, x in enumerate(self.body.inputs)}
        self.inside = [x for x in nodes if x not in self.given]
        target = target_of(host())
        self.module = Module(target)
        self.loops = RowLoop(self.module, lanes_of(target, (x.dtype for x in nodes)))
        self.one = self.loops.one
        self.words: list[Word] = []

    def kernel(self) -> LoopKernel:
        """What the node is."""
        body, cells, one = self.body, self.cells, self.one
        self.reads = [self._word(Word("operand", i), "ptr") for i in range(len(body.inputs))]
        self.writes = [self._word(Word("result", i), "ptr") for i in range(len(body.outputs))]
        axes = [axis for axis in range(len(cells.whole) - 1) if axis not in cells.over]
        count, row = product(cells.whole[axis] for axis in axes), cells.whole[-1]
        per, chunks = cut_in_chunks(count, self._bytes())
        total, each, length = self._size(count), self._size(per), self._size(row)
        windows = [x for x in self.inside if x.op.name == _WINDOWS]
        lies = dict.fromkeys(map(self.lie, (*self.given, *windows, *body.outputs)))
        lies.pop(None, None)
        walks = merge_axes([(cells.whole[axis], [lie.steps[axis] for lie in lies if lie]) for axis in axes])
        self.walks = [(self._size(size), list(map(self._size, steps))) for size, steps in walks]
        self.starts = {lie: list(map(self._size, self._offsets(lie))) for lie in lies if lie}
        self.streamed = {x for x in body.outputs if self._is_streamed(x)}
        first = one.let(f"mul i64 %chunk, {each}")
        last = one.intrinsic("smin", "i64", one.let(f"add i64 {first}, {each}"), total)
        self.loops.walk(first, last, 1, [], lambda at, _: self._place(at, length))
        if self.streamed:
            end_streams(one)
        self._define()
        name = ".".join(x.op.name for x in self.inside if x.op.name not in (*_VIEWS, _WINDOWS))
        return LoopKernel(f"{name} of cells", self.module.text, tuple(self.words), chunks)

    def _define(self) -> None:
        if self.noted:
            flag = len(self.words)
            self.words.append(Word("flag"))
            define_noted(self.module, "kernel", CHUNK, self.loops.body, flag, NONFINITE)
        else:
            self.loops.define()

    def lie(self, x: Tensor) -> _Lie | None:
        """How an operand or a result lies; None for what every place reads alike."""
        cells, framed = self.cells, x.op.name == "embed"
        if x.op.name == _WINDOWS:
            seen = see(x, see_dense(x.inputs[0]))
            return _Lie(seen.offset, seen.strides, True)
        value = x.inputs[0] if framed else x
        if not (cells.is_whole(value) or cells.is_kept(value)):
            return None
        if framed:
            seen = see_within(x)
            steps = cells.steps_in(value, seen.strides)
            assert steps is not None  # or it would not be framed
            return _Lie(seen.offset, steps, cells.is_whole(value))
        sizes = cells.whole if cells.is_whole(value) else cells.kept
        dense = tuple(product(sizes[axis + 1 :]) for axis in range(len(sizes)))
        return _Lie(0, dense, cells.is_whole(value))

    def _is_streamed(self, output: Tensor) -> bool:
        """Whether a result is stored past the caches: they hold little of it until it is read.

        What they do hold is read in half of the time. Vectors of it must lie at multiples of their bytes.
        """
        whole = estimate(self.cells.whole[-1]) % self.loops.width == 0
        return whole and output.dtype is FLOAT32 and outgrows_caches(output)

    def _offsets(self, lie: _Lie) -> list[Size]:
        """Where the cells of the first place begin."""
        over = self.cells.over if lie.is_whole else ()
        indices = itertools.product(*(range(self._number(axis)) for axis in over))
        return [
            sum((i * lie.steps[axis] for i, axis in zip(index, over, strict=True)), start=lie.offset)
            for index in indices
        ]

    @property
    def many(self) -> int:
        """How many cells there are for each place."""
        return math.prod(self._number(axis) for axis in self.cells.over)

    def _number(self, axis: int) -> int:
        size = self.cells.whole[axis]
        assert isinstance(size, int)  # as cells are
        return size

    def _bytes(self) -> Size:
        """What one place reads and writes."""
        total: Size = 0
        windows = [x for x in self.inside if x.op.name == _WINDOWS]
        for x in (*self.body.inputs, *windows, *self.body.outputs):
            lie = self.lie(x)
            if lie is not None:
                total = total + (self.many if lie.is_whole else 1) * item_bytes(x.dtype)
        return total * self.cells.whole[-1]

    def _word(self, word: Word, type: str) -> str:
        self.words.append(word)
        return self.loops.word(len(self.words) - 1, type)

    def _size(self, size: Size) -> str:
        return self._word(Word("size", 0, size), "i64")

    def _place(self, place: str, length: str) -> list[str]:
        """The rows of all cells at `place`."""
        one, rest = self.one, place
        moved = dict.fromkeys(self.starts, "0")
        for number, (size, steps) in enumerate(reversed(self.walks)):
            index = rest
            if number + 1 < len(self.walks):
                index, rest = (one.let(f"{what} i64 {rest}, {size}") for what in ("urem", "udiv"))
            for lie, step in zip(moved, steps, strict=True):
                moved[lie] = one.let(f"add i64 {moved[lie]}, {one.let(f'mul i64 {index}, {step}')}")
        begins = {
            lie: [one.let(f"add i64 {moved[lie]}, {start}") for start in starts]
            for lie, starts in self.starts.items()
        }

        def elements(em: Emitter, j: str, mask: str | None) -> list[str]:
            at = {lie: [one.let(f"add i64 {x}, {j}") for x in found] for lie, found in begins.items()}
            _Elements(self, em, mask, j, at).write()
            return []

        row = self.cells.whole[-1]
        return self.loops.write(Visit(elements), Span("0", length, row if isinstance(row, int) else None))


class _Elements:
    """One vector of the row of each cell: from `j` on, which `places` say for all that lies alike."""

    def __init__(
        self,
        writer: _CellWriter,
        em: Emitter,
        mask: str | None,
        j: str,
        places: Mapping[_Lie, Sequence[str]],
    ) -> None:
        self.writer, self.em, self.mask, self.j, self.places = writer, em, mask, j, places
        self.values: dict[Tensor, list[str]] = {}

    def write(self) -> None:
        """Computes all, and stores the results."""
        for node in self.writer.inside:
            if node.op.name == _WINDOWS:
                self.values[node] = self._read(node, self.writer.reads[self.writer.given[node.inputs[0]]])
                continue
            operands = [self._value(x) for x in node.inputs]
            if node.op.name in _VIEWS:
                self.values[node] = operands[0]
            elif node.op.family == "elementwise":
                many = max(map(len, operands))
                self.values[node] = [self._computed(node, operands, i) for i in range(many)]
            else:
                self.values[node] = [self._reduced(node, operands[0])]
        for output, array in zip(self.writer.body.outputs, self.writer.writes, strict=True):
            lie = self.writer.lie(output)
            assert lie is not None  # a result is of places
            for value, at in zip(self.values[output], self.places[lie], strict=True):
                if output in self.writer.streamed and self.mask is None:
                    stream(self.em, output.dtype, value, array, at)
                else:
                    store(self.em, output.dtype, value, array, at, self.mask)

    def _value(self, x: Tensor) -> list[str]:
        """What was computed, or is read when it is first asked for."""
        found = self.values.get(x)
        if found is None:
            found = self.values[x] = self._read(x, self.writer.reads[self.writer.given[x]])
        return found

    def _read(self, x: Tensor, array: str) -> list[str]:
        em, lie = self.em, self.writer.lie(x)
        if lie is not None:
            return [self._load(x, array, at) for at in self.places[lie]]
        if self.writer.cells.is_by_cell(x):
            type = memory_scalar(memory_dtype(x.dtype))
            places = [em.let(f"getelementptr {type}, ptr {array}, i64 {i}") for i in range(self.writer.many)]
            return [load_single(em, x.dtype, at) for at in places]
        if x.result.sizes and x.result.sizes[-1] != 1:
            return [self._load(x, array, self.j)]
        return [load_single(em, x.dtype, array)]

    def _load(self, x: Tensor, array: str, at: str) -> str:
        """A vector; of what the CPU notes lanes beyond the row are none, for they are as the first."""
        return load(self.em, x.dtype, array, at, self.mask, self.writer.noted)

    def _computed(self, node: Tensor, operands: Sequence[Sequence[str]], cell: int) -> str:
        own = [values[cell if len(values) > 1 else 0] for values in operands]
        if self.writer.noted and node.op.name == "where":
            own[1:] = [
                in_all_lanes(self.em, register_scalar(node.dtype), value) if x.inputs else value
                for x, value in zip(node.inputs[1:], own[1:], strict=True)
            ]
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


LOOPS: dict[str, Callable[[Tensor], Sequence[LoopKernel]]] = {"fused": cells_in}
