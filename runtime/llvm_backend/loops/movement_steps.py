"""Movement steps: elements copied as bits to other places: joined, cut out, placed among zeros."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphc.ops.window import span
from graphc.sizes import Size, minimum, product
from graphc.tensor import Tensor
from runtime.llvm_backend.contractions.strided import see, see_dense
from runtime.llvm_backend.ir.writer import Value
from runtime.llvm_backend.loops.loop_kernel import (
    CHUNK_BYTES,
    OTHER,
    LoopKernel,
    LoopWriter,
    bits_type,
    decoded,
    dense_strides,
    item_bytes,
)
from runtime.llvm_backend.loops.loop_kernel import split_evenly as split

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


def _slice(node: Tensor) -> Sequence[LoopKernel]:
    (x,), attrs = node.inputs, node.attrs
    whole, starts, steps = x.result.sizes, attrs["starts"], attrs["steps"]
    offset, strides = _part(dense_strides(x), starts, steps)
    inside = _inside(whole, starts, attrs["sizes"], steps)
    return (_placed(node, attrs["sizes"], (offset, strides), (0, dense_strides(node)), inside),)


def _windows(node: Tensor) -> Sequence[LoopKernel]:
    seen = see(node, see_dense(node.inputs[0]))
    shape, attrs = node.result.sizes, node.attrs
    reaches = [span(n, dilation) for n, dilation in zip(attrs["size"], attrs["dilations"], strict=True)]
    whole = node.inputs[0].result.sizes
    fits = [whole[axis] - reach for axis, reach in zip(attrs["axes"], reaches, strict=True)]
    return (_placed(node, shape, (seen.offset, seen.strides), (0, dense_strides(node)), fits),)


def _embed(node: Tensor) -> Sequence[LoopKernel]:
    (x,), attrs = node.inputs, node.attrs
    shape, starts, steps = x.result.sizes, attrs["starts"], attrs["steps"]
    inside = _inside(attrs["shape"], starts, shape, steps)
    to = _part(dense_strides(node), starts, steps)
    return _cleared(node), _placed(node, shape, (0, dense_strides(x)), to, inside)


_Lie = tuple[Size, Sequence[Size]]  # where the first element lies, and how far each axis steps


def _part(strides: Sequence[Size], starts: Sequence[Size], steps: Sequence[int]) -> _Lie:
    offset: Size = 0
    for start, stride in zip(starts, strides, strict=True):
        offset = offset + start * stride
    return offset, [step * stride for step, stride in zip(steps, strides, strict=True)]


def _inside(
    whole: Sequence[Size], starts: Sequence[Size], counts: Sequence[Size], steps: Sequence[int]
) -> list[Size]:
    """Numbers that are not negative where a slice lies inside of `whole`; one without elements does."""
    found: list[Size] = []
    for size, start, count, step in zip(whole, starts, counts, steps, strict=True):
        if (start, count, step) == (0, size, 1):
            continue
        end, some = start + (count - 1) * step, minimum(count, 1)
        low, high = (start, end) if step > 0 else (end, start)
        found += [count, some * low, some * (size - 1 - high)]
    return found


def _placed(
    node: Tensor, shape: Sequence[Size], source: _Lie, to: _Lie, natural: Sequence[Size]
) -> LoopKernel:
    """Copies an array of `shape` that lies as `source` says to where `to` says."""
    w, type, item = LoopWriter(), bits_type(node.dtype), item_bytes(node.dtype)
    outer, inner = (shape[:-1], shape[-1]) if shape else ((), 1)
    steps = [lie[1][-1] if shape else 1 for lie in (source, to)]
    per, chunks = split(product(outer), inner * (2 * item))
    first = w.address(w.operand(0), w.size("x", source[0]), type)
    goal = w.address(w.result(), w.size("y", to[0]), type)
    moves = {name: lie[1][: len(outer)] for name, lie in (("x", source), ("y", to))}
    count, x_step, y_step = w.size("inner", inner), w.size("x.step", steps[0]), w.size("y.step", steps[1])

    def row(number: Value) -> None:
        x, y = (
            w.address(p, at, type)
            for p, at in zip((first, goal), decoded(w, number, outer, moves), strict=True)
        )
        if steps == [1, 1]:
            w.copy(y, x, w.mul(count, item))
        else:
            w.each(count, lambda i: w.store(type, w.load(type, x, w.mul(i, x_step)), y, w.mul(i, y_step)))

    w.own(w.size("rows", product(outer)), w.size("per", per), row)
    return w.kernel(f"{node.op.name} of {type}", chunks, natural=natural)


def _cleared(node: Tensor) -> LoopKernel:
    w = LoopWriter()
    bytes = product(node.result.sizes) * item_bytes(node.dtype)
    first = w.mul("%chunk", _SEGMENT)
    w.clear(w.address(w.result(), first, "i8"), w.min(w.sub(w.size("bytes", bytes), first), _SEGMENT))
    return w.kernel("zeros", (bytes + (_SEGMENT - 1)) // _SEGMENT)


def _check(node: Tensor) -> Sequence[LoopKernel]:
    """The condition, which fails the run where a byte of it is 0."""
    w = LoopWriter()
    count = product(node.result.sizes)
    source, to = w.operand(0), w.result()

    def element(i: Value) -> None:
        holds = w.load("i8", source, i)
        w.store("i8", holds, to, i)
        w.when(w.value(f"icmp eq i8 {holds}, 0"), lambda: w.fail(OTHER, i))

    w.own(w.size("count", count), _SEGMENT, element)
    return (w.kernel("check", (count + (_SEGMENT - 1)) // _SEGMENT),)


LOOPS: dict[str, Callable[[Tensor], Sequence[LoopKernel]]] = {
    "concat": _concat,
    "stack": _stack,
    "strided_slice": _slice,
    "windows": _windows,
    "check": _check,
    "embed": _embed,
}
