"""Copies: the elements of an array that lies with some strides, put where it lies with others.

Axes of one element are left out, and neighbours that lie in a row on both sides become one. What is left says
the way, which gives every chunk about `CHUNK_BYTES` to move:

    rows      both sides step by one element along the last axis: blocks of bytes
    mirrored  the source steps backwards along it: vectors that are turned around
    turned    the source steps by one along another axis: squares that are transposed in registers, in
              blocks that touch few pages of either side
    elements  anything else, one by one
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from graphc.freezing import frozen
from graphc.sizes import Size, product
from graphc.tensor import Tensor
from runtime.llvm_backend.ir.lanes import transpose
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


def quickly_copied(node: Tensor, shape: Sequence[Size], source: Lie, to: Lie) -> LoopKernel | None:
    """As `copied`; None where that goes by elements, or its rows are known to be tiny."""
    axes = merged(shape, source[1], to[1])
    sizes = [axes[-1].size, *(axis.size for axis in axes[:-1] if axis.source == 1)]
    if _way_name(axes) == "elements" or any(isinstance(n, int) and n < _MOST_LANES for n in sizes):
        return None
    return _kernel(node, axes, source[0], to[0])


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
    most = SEGMENT // item
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


def _way_name(axes: Sequence[Axis]) -> str:
    last = axes[-1]
    if last.to != 1:
        return "elements"
    if last.source in (1, -1):
        return "rows" if last.source == 1 else "mirrored"
    return "turned" if any(axis.source == 1 for axis in axes) else "elements"


def _way(copy: _Copy) -> tuple[str, Size]:
    name = _way_name(copy.axes)
    write = {"rows": _rows, "mirrored": _mirrored, "turned": _turned, "elements": _elements}[name]
    return name, write(copy)


def _rows(copy: _Copy) -> Size:
    w, (*outer, last) = copy.w, copy.axes

    def part(row: Value, begin: Value, count: Value) -> None:
        x, y = (w.address(p, begin, copy.type) for p in copy.outer(row, outer))
        w.copy(y, x, w.mul(count, copy.item))

    return in_parts(w, product(a.size for a in outer), last.size, copy.item, part)


def _elements(copy: _Copy) -> Size:
    w, (*outer, last) = copy.w, copy.axes
    x_step, y_step = w.size("x.step", last.source), w.size("y.step", last.to)

    def part(row: Value, begin: Value, count: Value) -> None:
        x, y = copy.outer(row, outer)

        def element(i: Value) -> None:
            w.store(copy.type, w.load(copy.type, x, w.mul(i, x_step)), y, w.mul(i, y_step))

        w.each(w.add(begin, count), element, start=begin)

    return in_parts(w, product(a.size for a in outer), last.size, copy.item, part)


def _mirrored(copy: _Copy) -> Size:
    w, (*outer, last) = copy.w, copy.axes
    lanes = _lanes(copy)
    vector = f"<{lanes} x {copy.type}>"
    back = f"<{lanes} x i32> <{', '.join(f'i32 {k}' for k in reversed(range(lanes)))}>"

    def part(row: Value, begin: Value, count: Value) -> None:
        x, y = copy.outer(row, outer)

        def turn(i: Value) -> None:
            at = w.address(x, w.sub(1 - lanes, i), copy.type)
            value = w.value(f"load {vector}, ptr {at}, align {copy.item}")
            value = w.value(f"shufflevector {vector} {value}, {vector} poison, {back}")
            w.do(f"store {vector} {value}, ptr {w.address(y, i, copy.type)}, align {copy.item}")

        def element(i: Value) -> None:
            w.store(copy.type, w.load(copy.type, x, w.sub(0, i)), y, i)

        whole = w.add(begin, w.sub(count, w.rem(count, lanes)))
        w.each(whole, turn, start=begin, step=lanes)
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
    lanes = _lanes(copy)
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


def _lanes(copy: _Copy) -> int:
    return min(max(copy.w.module.target.vector_bits // (8 * copy.item), 1), _MOST_LANES)
