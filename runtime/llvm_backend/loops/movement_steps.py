"""Movement steps: elements copied as bits to other places: cut out, placed among zeros."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphc.ops.window import span
from graphc.sizes import Size, minimum, product
from graphc.tensor import Tensor
from runtime.llvm_backend.contractions.strided import Look, is_inside, is_strided, see, see_dense
from runtime.llvm_backend.ir.text import OTHER
from runtime.llvm_backend.ir.writer import Value
from runtime.llvm_backend.loops.copies import SEGMENT, Lie, copied, goes_by_cells, in_parts
from runtime.llvm_backend.loops.joins import JOINS
from runtime.llvm_backend.loops.loop_kernel import (
    LoopKernel,
    LoopWriter,
    dense_strides,
    item_bytes,
)


def _slice(node: Tensor) -> Sequence[LoopKernel]:
    (x,), attrs = node.inputs, node.attrs
    whole, starts, steps = x.result.sizes, attrs["starts"], attrs["steps"]
    offset, strides = _part(dense_strides(x), starts, steps)
    inside = _inside(whole, starts, attrs["sizes"], steps)
    return (copied(node, attrs["sizes"], (offset, strides), (0, dense_strides(node)), inside),)


def _windows(node: Tensor) -> Sequence[LoopKernel]:
    seen = see(node, see_dense(node.inputs[0]))
    shape, attrs = node.result.sizes, node.attrs
    reaches = [span(n, dilation) for n, dilation in zip(attrs["size"], attrs["dilations"], strict=True)]
    whole = node.inputs[0].result.sizes
    fits = [whole[axis] - reach for axis, reach in zip(attrs["axes"], reaches, strict=True)]
    return (copied(node, shape, (seen.offset, seen.strides), (0, dense_strides(node)), fits),)


def _embed(node: Tensor) -> Sequence[LoopKernel]:
    (x,), attrs = node.inputs, node.attrs
    shape, starts, steps = x.result.sizes, attrs["starts"], attrs["steps"]
    inside = _inside(attrs["shape"], starts, shape, steps)
    to = _part(dense_strides(node), starts, steps)
    if _is_frame(node) and not goes_by_cells(shape, dense_strides(x), to[1]):
        return (_framed(node, inside),)
    return _cleared(node), copied(node, shape, (0, dense_strides(x)), to, inside)


def _is_frame(node: Tensor) -> bool:
    """Whether the operand of an `embed` stays in one piece."""
    return bool(node.result.sizes) and all(step == 1 for step in node.attrs["steps"])


def _framed(node: Tensor, inside: Sequence[Size]) -> LoopKernel:
    """The operand in one piece, with zeros around it: each row of the result is written once.

    The last axis that gets zeros, and what lies behind it, is a row.
    """
    w = LoopWriter()
    chunks = _write_frame(w, node, w.operand(0), w.result())
    return w.kernel("embed in a frame", chunks, natural=inside)


def zeros_around(node: Tensor) -> Sequence[LoopKernel]:
    """The zeros around those results of a `fused` node that it stores in one piece among such."""
    found = []
    for part, result in enumerate(node.attrs["body"].outputs if node.op.name == "fused" else ()):
        if result.op.name == "embed":
            w = LoopWriter()
            found.append(w.kernel("zeros around", _write_frame(w, result, None, w.result(part))))
    return found


def _write_frame(w: LoopWriter, node: Tensor, source: str | None, to: str) -> Size:
    """Writes the rows of a chunk, from `source` if there is one; gives how many chunks there are."""
    (x,), starts = node.inputs, node.attrs["starts"]
    own, whole = x.result.sizes, node.result.sizes
    last = max((axis for axis in range(len(own)) if own[axis] != whole[axis]), default=0)
    behind = product(own[last + 1 :]) * item_bytes(node.dtype)
    before, size, row = (
        w.size(name, n * behind)
        for name, n in (("before", starts[last]), ("size", own[last]), ("row", whole[last]))
    )

    def move(number: Value, begin: Value, count: Value) -> None:
        place, holds = _row_inside(w, number, whole[:last], own[:last], starts[:last])
        target = w.address(to, w.mul(number, row), "i8")
        end = w.add(begin, count)

        def clear(first: Value, stop: Value) -> None:
            w.clear(w.address(target, first, "i8"), w.max(w.sub(stop, first), 0))

        def fill() -> None:
            after = w.add(before, size)
            first, stop = w.max(begin, before), w.min(end, after)
            read = w.add(w.mul(place, size), w.sub(first, before))
            clear(begin, w.min(end, before))
            if source is not None:
                at = source
                w.when(
                    w.compare("slt", first, stop),
                    lambda: w.copy(
                        w.address(target, first, "i8"), w.address(at, read, "i8"), w.sub(stop, first)
                    ),
                )
            clear(w.max(begin, after), end)

        w.choose(holds, fill, lambda: clear(begin, end))

    return in_parts(w, product(whole[:last]), whole[last] * behind, 1, move)


def _row_inside(
    w: LoopWriter, number: Value, whole: Sequence[Size], own: Sequence[Size], starts: Sequence[Size]
) -> tuple[Value, str]:
    """The row of the operand that row `number` of the result is, and whether there is one."""
    place: Value = 0
    stride: Value = 1
    holds = "true"
    for axis in reversed(range(len(whole))):
        size = w.size(f"whole{axis}", whole[axis])
        index, number = (w.rem(number, size), w.div(number, size)) if axis else (number, 0)
        index, count = w.sub(index, w.size(f"start{axis}", starts[axis])), w.size(f"own{axis}", own[axis])
        holds = w.both(holds, w.value(f"icmp ult i64 {index}, {count}"))
        place, stride = w.add(place, w.mul(index, stride)), w.mul(stride, count)
    return place, holds


def _part(strides: Sequence[Size], starts: Sequence[Size], steps: Sequence[int]) -> Lie:
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


def _cleared(node: Tensor) -> LoopKernel:
    w = LoopWriter()
    bytes = product(node.result.sizes) * item_bytes(node.dtype)
    first = w.mul("%chunk", SEGMENT)
    w.clear(w.address(w.result(), first, "i8"), w.min(w.sub(w.size("bytes", bytes), first), SEGMENT))
    return w.kernel("zeros", (bytes + (SEGMENT - 1)) // SEGMENT)


def _check(node: Tensor) -> Sequence[LoopKernel]:
    """The condition, which fails the run where a byte of it is 0."""
    w = LoopWriter()
    count = product(node.result.sizes)
    source, to = w.operand(0), w.result()

    def element(i: Value) -> None:
        holds = w.load("i8", source, i)
        w.store("i8", holds, to, i)
        w.when(w.value(f"icmp eq i8 {holds}, 0"), lambda: w.fail(OTHER, i))

    w.own(w.size("count", count), SEGMENT, element)
    return (w.kernel("check", (count + (SEGMENT - 1)) // SEGMENT),)


def _repeat(node: Tensor, look: Look) -> Sequence[LoopKernel]:
    """A `broadcast_to` whose last axes are tiny."""
    (x,) = node.inputs
    if x.result.shape is None or node.result.shape is None:
        return ()
    shape, seen, to = node.result.sizes, look(x), dense_strides(node)
    own = (0 if size == 1 else stride for size, stride in zip(x.result.sizes, seen.strides, strict=True))
    source = (*[0] * (len(shape) - len(x.result.sizes)), *own)
    if not goes_by_cells(shape, source, to):
        return ()
    return (copied(node, shape, (seen.offset, source), (0, to)),)


def copies_of(node: Tensor, look: Look) -> Sequence[LoopKernel]:
    """The kernels of a node that only moves elements of what is seen as `look` says.

    None where it does something else, or where a contraction moves them as well.
    """
    if node.op.name == "embed":
        (x,), attrs = node.inputs, node.attrs
        known = is_inside(attrs["shape"], attrs["starts"], x.result.sizes, attrs["steps"])
        return _embed(node) if known and _is_frame(node) and look(x) == see_dense(x) else ()
    if node.op.name in JOINS:
        return JOINS[node.op.name](node, look)
    if node.op.name == "broadcast_to":
        return _repeat(node, look)
    if node.op.name not in ("transpose", "strided_slice") or not is_strided(node):
        return ()
    shape, seen, to = node.result.sizes, see(node, look(node.inputs[0])), dense_strides(node)
    return (copied(node, shape, (seen.offset, seen.strides), (0, to)),)


LOOPS: dict[str, Callable[[Tensor], Sequence[LoopKernel]]] = {
    "strided_slice": _slice,
    "windows": _windows,
    "check": _check,
    "embed": _embed,
}
