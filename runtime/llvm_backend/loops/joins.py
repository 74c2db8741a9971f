"""Joins: arrays put side by side along an axis, as `concat` and `stack` do.

Neighbours of one size that lie in one piece each share a kernel, which finds them in a table behind its other
words: as many as there are, the text is one, and so is the step. Any other operand has a copy of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

from graphc.sizes import Size, maximum, minimum, product
from graphc.tensor import Tensor
from runtime.llvm_backend.contractions.strided import Look, Strided
from runtime.llvm_backend.ir.writer import Value
from runtime.llvm_backend.loops.copies import SEGMENT, copied
from runtime.llvm_backend.loops.loop_kernel import (
    CHUNK_BYTES,
    LoopKernel,
    LoopWriter,
    bits_type,
    dense_strides,
    item_bytes,
)

_LINE = 64  # bytes of a line of the cache: as many columns are written at once,
_ROWS = 128  # in as many rows, so that their lines stay in the nearest cache


def _concat(node: Tensor, look: Look) -> Sequence[LoopKernel]:
    counts = [x.result.sizes[node.attrs["axis"]] for x in node.inputs]
    return _Join(node, look, dense_strides(node)).kernels(counts)


def _stack(node: Tensor, look: Look) -> Sequence[LoopKernel]:
    axis, to = node.attrs["axis"], dense_strides(node)
    return _Join(node, look, (*to[:axis], *to[axis + 1 :])).kernels([1] * len(node.inputs))


JOINS: dict[str, Callable[[Tensor, Look], Sequence[LoopKernel]]] = {"concat": _concat, "stack": _stack}


class _Join:
    """Operands whose elements lie in the result `along` these strides."""

    def __init__(self, node: Tensor, look: Look, along: Sequence[Size]) -> None:
        self.node, self.along = node, along
        self.seen = [look(x) for x in node.inputs]
        self.step = dense_strides(node)[node.attrs["axis"]]

    def kernels(self, counts: Sequence[Size]) -> list[LoopKernel]:
        """One for neighbours that are alike, one for each other; operand i is `counts[i]` slices."""
        made: list[LoopKernel] = []
        start: Size = 0
        alike = [
            (n, _is_dense(x, seen)) for n, x, seen in zip(counts, self.node.inputs, self.seen, strict=True)
        ]
        for (count, in_one_piece), group in groupby(range(len(counts)), key=alike.__getitem__):
            numbers = list(group)
            if count != 0 and in_one_piece and len(numbers) > 1:
                made.append(self._together(numbers, count * self.step, start * self.step))
            elif count != 0:
                made += [self._alone(number, start + i * count) for i, number in enumerate(numbers)]
            start = start + count * len(numbers)
        return made

    def _alone(self, number: int, start: Size) -> LoopKernel:
        shape, seen = self.node.inputs[number].result.sizes, self.seen[number]
        to = start * self.step, self.along
        return copied(self.node, shape, (seen.offset, seen.strides), to, operand=number)

    def _together(self, numbers: Sequence[int], length: Size, start: Size) -> LoopKernel:
        """Rows of `length` elements of each, from `start` on in rows of the result.

        A chunk is some rows of all operands, or one row of some, or a segment of a row of one.
        """
        node, many = self.node, len(numbers)
        shape, axis = node.result.sizes, node.attrs["axis"]
        rows, whole = product(shape[:axis]), shape[axis] * self.step
        w, type, item = LoopWriter(), bits_type(node.dtype), item_bytes(node.dtype)
        bundle = minimum(maximum(CHUNK_BYTES // maximum(length * item, 1), 1), many)  # operands of a chunk
        per = maximum(CHUNK_BYTES // maximum(length * item * bundle, 1), 1)  # rows of a chunk
        most = max(SEGMENT // item, 1)  # elements of a chunk of one row
        groups, bundles = (rows + per - 1) // per, (many + bundle - 1) // bundle
        segments = (length + (most - 1)) // most
        offsets = [self.seen[number].offset for number in numbers]
        is_shifted = any(offset != 0 for offset in offsets)
        table = w.operands(numbers, offsets if is_shifted else ())
        size, stride, parts = w.size("length", length), w.size("whole", whole), w.size("segments", segments)
        to = w.address(w.result(), w.size("start", start), type)
        begin, rest = w.mul(w.rem("%chunk", parts), most), w.div("%chunk", parts)
        count = w.min(w.sub(size, begin), most)
        which, group = w.rem(rest, w.size("bundles", bundles)), w.div(rest, w.size("bundles", bundles))
        first, top = w.mul(which, w.size("bundle", bundle)), w.mul(group, w.size("per", per))
        last = w.min(w.add(first, w.size("bundle", bundle)), w.size("many", many))
        bottom = w.min(w.add(top, w.size("per", per)), w.size("rows", rows))

        def found(number: Value) -> tuple[str, Value]:
            """Where an operand begins: a pointer, and elements from there."""
            offset: Value = w.load("i64", table, w.add(number, w.size("many", many))) if is_shifted else 0
            return w.load("ptr", table, number), offset

        def move(row: Value, number: Value) -> None:
            source, offset = found(number)
            x = w.address(source, w.add(w.add(w.mul(row, size), begin), offset), type)
            y = w.address(to, w.add(w.add(w.mul(row, stride), w.mul(number, size)), begin), type)
            w.copy(y, x, w.mul(count, item))

        def column(number: Value, above: Value, below: Value) -> None:
            source, offset = found(number)

            def element(row: Value) -> None:
                y = w.add(w.mul(row, stride), number)
                w.store(type, w.load(type, source, w.add(row, offset)), to, y)

            w.each(below, element, start=above)

        def columns(left: Value) -> None:
            right = w.min(w.add(left, at_once), last)

            def block(above: Value) -> None:
                below = w.min(w.add(above, _ROWS), bottom)
                w.each(right, lambda number: column(number, above, below), start=left)

            w.each(bottom, block, start=top, step=_ROWS)

        if length == 1:
            at_once = max(_LINE // item, 1)
            w.each(last, columns, start=first, step=at_once)
        else:
            w.each(bottom, lambda row: w.each(last, lambda i: move(row, i), start=first), start=top)
        what = "elements" if length == 1 else "slices"
        return w.kernel(f"{node.op.name} of {what}", groups * bundles * segments)


def _is_dense(x: Tensor, seen: Strided) -> bool:
    """Whether `x`, which is `seen`, lies in one piece."""
    strides = zip(x.result.sizes, seen.strides, dense_strides(x), strict=True)
    return all(size == 1 or stride == dense for size, stride, dense in strides)
