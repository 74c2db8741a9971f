"""Copies: the elements of an array that lies with some strides, put where it lies with others.

Axes of one element are left out, and neighbours that lie in a row on both sides become one. What is left says
the way, which gives every chunk about `CHUNK_BYTES` to move:

    rows      both sides step by one element along the last axis: blocks of bytes
    mirrored  the source steps backwards along it: vectors that are turned around
    stepped   the source steps by a few elements along it: those wanted are picked out of whole vectors
    turned    the source steps by one along another axis: squares that are transposed in registers, in
              blocks that touch few pages of either side
    cells     the last axes are known to be tiny: what they hold is written out
    elements  anything else, one by one
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from graphc.freezing import frozen
from graphc.sizes import Size, product
from graphc.tensor import Tensor
from runtime.llvm_backend.ir.lanes import transpose
from runtime.llvm_backend.ir.steps import MOST_STEPS, load_steps
from runtime.llvm_backend.ir.writer import Value
from runtime.llvm_backend.loops.loop_kernel import (
    CHUNK_BYTES,
    LoopKernel,
    LoopWriter,
    bits_type,
    cut_in_chunks,
    decoded,
    item_bytes,
)

SEGMENT = 2 * CHUNK_BYTES  # bytes of a long row that are one chunk
_BLOCK = 64  # elements along both axes of a block that is turned
_MOST_LANES = 16
_LEAST_SIDE = 4  # of a square that is transposed
_MOST_MOVES = 16  # loads and stores that are written out
_MANY = 1 << 11  # elements that are worth a text of their own
_LEAST_MIRRORED = 8  # elements of a row that is turned around as a vector

Lie = tuple[Size, Sequence[Size]]  # where the first element lies, and how far each axis steps


@frozen
class Axis:
    """One axis of what is copied: its size, and how far a step along it goes on both sides."""

    size: Size
    source: Size
    to: Size


def merge_axes(axes: Iterable[tuple[Size, Sequence[Size]]]) -> list[tuple[Size, Sequence[Size]]]:
    """`axes`, each with its size and how far it steps in several arrays, as few as can be, in order."""
    found: list[tuple[Size, Sequence[Size]]] = []
    for size, steps in axes:
        if size == 1:
            continue
        if found and list(found[-1][1]) == [size * step for step in steps]:
            found[-1] = found[-1][0] * size, steps
        else:
            found.append((size, steps))
    return found


def merged(shape: Sequence[Size], source: Sequence[Size], to: Sequence[Size]) -> list[Axis]:
    """The axes of a copy, as few as can be; the order of the elements stays."""
    axes = merge_axes(zip(shape, zip(source, to, strict=False), strict=False))
    return [Axis(size, *steps) for size, steps in axes] or [Axis(1, 1, 1)]


def copied(
    node: Tensor, shape: Sequence[Size], source: Lie, to: Lie, natural: Sequence[Size] = (), operand: int = 0
) -> LoopKernel:
    """The kernel that copies `operand`, an array of `shape` that lies as `source` says, to where `to` says.

    Sizes in `natural` must not be negative at the run.
    """
    return _kernel(node, merged(shape, source[1], to[1]), source[0], to[0], natural, operand)


def _kernel(
    node: Tensor, axes: Sequence[Axis], source: Size, to: Size, natural: Sequence[Size] = (), operand: int = 0
) -> LoopKernel:
    w, type = LoopWriter(), bits_type(node.dtype)
    x = w.address(w.operand(operand, "source"), w.size("x", source), type)
    y = w.address(w.result(), w.size("y", to), type)
    way, chunks = _way(_Copy(w, type, item_bytes(node.dtype), axes, x, y))
    return w.kernel(f"{node.op.name} of {type}, {way}", chunks, natural=natural)


def in_parts(
    w: LoopWriter, rows: Size, size: Size, item: int, body: Callable[[Value, Value, Value], None]
) -> Size:
    """Calls `body` with row, first element and count for the parts of this chunk; gives how many chunks.

    Chunks are groups of short rows, or segments of a long one, of `size` elements of `item` bytes.
    """
    most = max(SEGMENT // max(item, 1), 1)
    segments = (size + (most - 1)) // most
    per, groups = cut_in_chunks(rows, size * item)
    parts, many = w.size("segments", segments), w.size("per", per)
    group, begin = w.div("%chunk", parts), w.mul(w.rem("%chunk", parts), most)
    count = w.min(w.sub(w.size("inner", size), begin), most)
    first = w.mul(group, many)
    last = w.min(w.add(first, many), w.size("rows", rows))
    w.each(last, lambda row: body(row, begin, count), start=first)
    return groups * segments


@frozen
class _Copy:
    w: LoopWriter
    type: str
    item: int
    axes: Sequence[Axis]
    x: str
    y: str

    def outer(self, row: Value, axes: Sequence[Axis]) -> tuple[str, str]:
        """Where row number `row` of `axes` begins on both sides."""
        moves = {"x": [a.source for a in axes], "y": [a.to for a in axes]}
        x, y = decoded(self.w, row, [a.size for a in axes], moves)
        return self.w.address(self.x, x, self.type), self.w.address(self.y, y, self.type)


def _way(copy: _Copy) -> tuple[str, Size]:
    name = way_of(copy.axes, copy.w.module.target.vector_bits // (8 * copy.item))
    return name, _WAYS[name](copy)


def way_of(axes: Sequence[Axis], lanes: int) -> str:
    """The way that suits `axes`, with vectors of so many lanes."""
    last = axes[-1]
    if last.to == 1 and last.source not in (1, -1):
        sides = [last.size, *(axis.size for axis in axes[:-1] if axis.source == 1)]
        if len(sides) > 1 and all(not isinstance(n, int) or n >= _LEAST_SIDE for n in sides):
            return "turned"
    if (
        last.to == 1
        and last.source == -1
        and not (isinstance(last.size, int) and last.size < _LEAST_MIRRORED)
    ):
        return "mirrored"
    total = product(axis.size for axis in axes)
    shares = _is_row(last) and isinstance(total, int) and total < _MANY  # the text that serves all rows
    if _count_cells(axes) and not shares:
        return "cells"
    if last.to != 1 or not isinstance(last.source, int):
        return "elements"
    if last.source == 1:
        return "rows"
    return "stepped" if 1 < abs(last.source) <= min(MOST_STEPS, _fitting(lanes, last) // 2) else "elements"


def _rows(copy: _Copy) -> Size:
    w, (*outer, last) = copy.w, copy.axes

    def part(row: Value, begin: Value, count: Value) -> None:
        x, y = (w.address(p, begin, copy.type) for p in copy.outer(row, outer))
        w.copy(y, x, w.mul(count, copy.item))

    return in_parts(w, product(a.size for a in outer), last.size, copy.item, part)


def goes_by_cells(shape: Sequence[Size], source: Sequence[Size], to: Sequence[Size]) -> bool:
    """Whether the last axes of such a copy are so tiny that they are written out."""
    return way_of(merged(shape, source, to), _MOST_LANES) == "cells"


def _count_cells(axes: Sequence[Axis]) -> int:
    """How many of the last axes are so few moves that they are written out; a row of elements is one."""
    found, moves = 0, 1
    for axis in reversed(axes):
        if not isinstance(axis.size, int) or not 0 < moves * axis.size <= _MOST_MOVES:
            break
        found, moves = found + 1, 1 if _is_row(axis) else moves * axis.size
    return found


def _is_row(axis: Axis) -> bool:
    return (axis.source, axis.to) == (1, 1)


def _cells(copy: _Copy) -> Size:
    w, many = copy.w, _count_cells(copy.axes)
    inner, outer = list(copy.axes[len(copy.axes) - many :]), list(copy.axes[: len(copy.axes) - many])
    along = outer.pop() if outer else Axis(1, 0, 0)
    x_step, y_step = w.size("x.step", along.source), w.size("y.step", along.to)
    places: list[tuple[Value, Value]] = [(0, 0)]
    row = inner.pop().size if inner and _is_row(inner[-1]) else 1
    assert isinstance(row, int)
    for number, axis in enumerate(inner):
        steps = [
            step if isinstance(step, int) else w.size(f"{name}.cell{number}", step)
            for name, step in (("x", axis.source), ("y", axis.to))
        ]
        assert isinstance(axis.size, int)
        moves = [[w.mul(k, step) for step in steps] for k in range(axis.size)]
        places = [(w.add(x, i), w.add(y, j)) for x, y in places for i, j in moves]

    def part(number: Value, begin: Value, count: Value) -> None:
        x, y = copy.outer(number, outer)

        def cell(i: Value) -> None:
            source = w.address(x, w.mul(i, x_step), copy.type)
            to = w.address(y, w.mul(i, y_step), copy.type)
            for a, b in places:
                w.move(w.address(to, b, copy.type), w.address(source, a, copy.type), row * copy.item)

        def several(i: Value) -> None:
            for k in range(at_once):
                cell(w.add(i, k))

        whole = w.add(begin, w.sub(count, w.rem(count, at_once)))
        w.each(whole, several, start=begin, step=at_once)
        w.each(w.add(begin, count), cell, start=whole)

    at_once = max(_MOST_MOVES // 4 // len(places), 1)
    return in_parts(w, product(a.size for a in outer), along.size, copy.item * row * len(places), part)


def _fitting(lanes: int, row: Axis) -> int:
    """Lanes of vectors of which some fit in a row, if its size is known."""
    return min(lanes, 1 << max(row.size.bit_length() - 1, 0)) if isinstance(row.size, int) else lanes


def _stepped(copy: _Copy) -> Size:
    w, (*outer, last) = copy.w, copy.axes
    step, width = last.source, _fitting(_full_lanes(copy), last)
    assert isinstance(step, int)

    def part(row: Value, begin: Value, count: Value) -> None:
        x, y = copy.outer(row, outer)

        def pick(i: Value) -> None:
            at = w.address(x, w.mul(i, step), copy.type)
            found = load_steps(w.module, w.value, copy.type, width, at, step, copy.item)
            w.do(
                f"store <{width} x {copy.type}> {found}, ptr {w.address(y, i, copy.type)}, align {copy.item}"
            )

        def element(i: Value) -> None:
            w.store(copy.type, w.load(copy.type, x, w.mul(i, step)), y, i)

        whole = w.add(begin, w.sub(count, w.rem(count, width)))
        w.each(whole, pick, start=begin, step=width)
        w.each(w.add(begin, count), element, start=whole)

    return in_parts(w, product(a.size for a in outer), last.size, copy.item, part)


def _turned(copy: _Copy) -> Size:
    """Blocks of the axis that lies in a row in the source by the one that does in the result."""
    w, (*others, across) = copy.w, copy.axes
    down = next(axis for axis in others if axis.source == 1)
    others.remove(down)
    cut = [
        Axis((axis.size + (_BLOCK - 1)) // _BLOCK, axis.source * _BLOCK, axis.to * _BLOCK)
        for axis in (down, across)
    ]
    axes = [*others, *cut]
    count = product(axis.size for axis in axes)
    per, chunks = cut_in_chunks(count, 2 * copy.item * _BLOCK * _BLOCK)
    rows, columns = w.size("down", down.size), w.size("across", across.size)
    x_step, y_step = w.size("x.step", across.source), w.size("y.step", down.to)
    many = w.size("blocks", cut[1].size)
    lanes = _lanes(copy, down.size, across.size)
    vector = f"<{lanes} x {copy.type}>"

    def block(number: Value) -> None:
        x, y = copy.outer(number, axes)
        j = w.mul(w.rem(number, many), _BLOCK)
        i = w.mul(w.rem(w.div(number, many), w.size("blocks.down", cut[0].size)), _BLOCK)
        height, breadth = w.min(w.sub(rows, i), _BLOCK), w.min(w.sub(columns, j), _BLOCK)
        high, broad = (w.sub(n, w.rem(n, lanes)) for n in (height, breadth))

        def element(i: Value, j: Value) -> None:
            value = w.load(copy.type, x, w.add(i, w.mul(j, x_step)))
            w.store(copy.type, value, y, w.add(w.mul(i, y_step), j))

        def square(i: Value, j: Value) -> None:
            rows = []
            for k in range(lanes):
                at = w.address(x, w.add(i, w.mul(w.add(j, k), x_step)), copy.type)
                rows.append(w.value(f"load {vector}, ptr {at}, align {copy.item}"))
            for k, row in enumerate(transpose(w, rows, copy.type)):
                at = w.address(y, w.add(w.mul(w.add(i, k), y_step), j), copy.type)
                w.do(f"store {vector} {row}, ptr {at}, align {copy.item}")

        w.each(high, lambda i: w.each(broad, lambda j: square(i, j), step=lanes), step=lanes)
        w.each(high, lambda i: w.each(breadth, lambda j: element(i, j), start=broad))
        w.each(height, lambda i: w.each(breadth, lambda j: element(i, j)), start=high)

    w.own(w.size("count", count), w.size("per", per), block)
    return chunks


def _lanes(copy: _Copy, *sizes: Size) -> int:
    """The side of a square that is transposed, of axes of these sizes."""
    known = [size for size in sizes if isinstance(size, int)]
    return min(_full_lanes(copy), _MOST_LANES, *(1 << (size.bit_length() - 1) for size in known))


def _full_lanes(copy: _Copy) -> int:
    return max(copy.w.module.target.vector_bits // (8 * copy.item), 1)


_WAYS: dict[str, Callable[[_Copy], Size]] = {
    "rows": _rows,
    "mirrored": _stepped,
    "stepped": _stepped,
    "turned": _turned,
    "cells": _cells,
    "elements": _cells,
}
