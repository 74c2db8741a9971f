"""Movement steps: elements copied as bits to other places: joined, cut out, placed among zeros."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphc.sizes import Size, product
from graphc.tensor import Tensor
from runtime.llvm_backend.loop_kernel import CHUNK_BYTES, LoopKernel, LoopWriter, bits_type, item_bytes
from runtime.llvm_backend.loop_kernel import split_evenly as split

_SEGMENT = 2 * CHUNK_BYTES


def _concat(node: Tensor) -> Sequence[LoopKernel]:
    axis = node.attrs["axis"]
    return _joined(node, [x.result.sizes[axis] for x in node.inputs], node.result.sizes[:axis], axis + 1)


def _stack(node: Tensor) -> Sequence[LoopKernel]:
    axis = node.attrs["axis"]
    return _joined(node, [1] * len(node.inputs), node.result.sizes[:axis], axis + 1)


def _joined(node: Tensor, counts: Sequence[Size], outer: Sequence[Size], behind: int) -> list[LoopKernel]:
    """Each operand is `counts` slices of what lies `behind`, in each of the `outer` rows."""
    rows, inner = product(outer), product(node.result.sizes[behind:])
    kernels: list[LoopKernel] = []
    start: Size = 0
    whole = sum(counts[1:], counts[0])
    for number, count in enumerate(counts):
        if count != 0:
            join = _join_elements if count * inner == 1 else _join_slices
            kernels.append(join(node, number, rows, count * inner, start * inner, whole * inner))
        start = start + count
    return kernels


def _join_elements(
    node: Tensor, number: int, rows: Size, length: Size, start: Size, whole: Size
) -> LoopKernel:
    w, type = LoopWriter(), bits_type(node.dtype)
    per, chunks = split(rows, item_bytes(node.dtype))
    source, to = w.operand(number), w.address(w.result(), w.size("start", start), type)
    stride = w.size("whole", whole)
    w.own(
        w.size("rows", rows),
        w.size("per", per),
        lambda row: w.store(type, w.load(type, source, row), to, w.mul(row, stride)),
    )
    return w.kernel(f"{node.op.name} of elements", chunks)


def _join_slices(node: Tensor, number: int, rows: Size, length: Size, start: Size, whole: Size) -> LoopKernel:
    """Chunks are groups of short rows, or segments of a long one."""
    w, item = LoopWriter(), item_bytes(node.dtype)
    bytes = length * item
    segments = (bytes + (_SEGMENT - 1)) // _SEGMENT
    per, groups = split(rows, bytes)
    source, to = w.operand(number), w.address(w.result(), w.size("start", start * item), "i8")
    size, stride, parts = w.size("bytes", bytes), w.size("whole", whole * item), w.size("segments", segments)
    group, part = w.div("%chunk", parts), w.rem("%chunk", parts)
    begin = w.mul(part, _SEGMENT)
    count = w.min(w.sub(size, begin), _SEGMENT)
    first = w.mul(group, w.size("per", per))

    def move(row: str | int) -> None:
        w.copy(
            w.address(to, w.add(w.mul(row, stride), begin), "i8"),
            w.address(source, w.add(w.mul(row, size), begin), "i8"),
            count,
        )

    w.each(w.min(w.add(first, w.size("per", per)), w.size("rows", rows)), move, start=first)
    return w.kernel(f"{node.op.name} of slices", groups * segments)


LOOPS: dict[str, Callable[[Tensor], Sequence[LoopKernel]]] = {
    "concat": _concat,
    "stack": _stack,
}
