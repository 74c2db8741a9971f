"""Source steps: values that come of sizes and of the run's state: counters, shapes, random numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphc.sizes import Size, product
from graphc.tensor import Tensor
from runtime.llvm_backend.ir.text import numbered
from runtime.llvm_backend.ir.writer import Value
from runtime.llvm_backend.loops import random_steps
from runtime.llvm_backend.loops.loop_kernel import (
    LoopKernel,
    LoopWriter,
    bits_type,
    cut_in_chunks,
    item_bytes,
)


def _iota(node: Tensor) -> Sequence[LoopKernel]:
    (count,) = node.result.sizes
    w = LoopWriter()
    width = max(w.module.target.vector_bits // 64, 1)
    per, chunks = cut_in_chunks((count + (width - 1)) // width, 8 * width)
    to, n = w.result(), w.size("count", count)

    def block(number: Value) -> None:
        first = w.mul(number, width)

        def whole() -> None:
            spread = w.emit(width, lambda em: em.broadcast("i64", str(first)))
            values = w.value(f"add <{width} x i64> {spread}, {numbered(width)}")
            w.do(f"store <{width} x i64> {values}, ptr {w.address(to, first, 'i64')}, align 8")

        def rest() -> None:
            w.each(n, lambda i: w.store("i64", i, to, i), start=first)

        if width > 1:
            w.choose(w.compare("sge", w.sub(n, first), width), whole, rest)
        else:
            w.store("i64", first, to, first)

    w.own(w.size("blocks", (count + (width - 1)) // width), w.size("per", per), block)
    return (w.kernel("iota", chunks),)


def _sizes(*found: Size) -> Sequence[LoopKernel]:
    """A few sizes, as int64."""
    w = LoopWriter()
    to = w.result()
    for i, size in enumerate(found):
        w.store("i64", w.size(f"d{i}", size), to, i)
    return (w.kernel("sizes", 1),)


def _filled_like(node: Tensor) -> Sequence[LoopKernel]:
    type, count = bits_type(node.dtype), product(node.result.sizes)
    w = LoopWriter()
    per, chunks = cut_in_chunks(count, item_bytes(node.dtype))
    to, value = w.result(), w.load(type, w.operand(1))
    w.own(w.size("count", count), w.size("per", per), lambda i: w.store(type, value, to, i))
    return (w.kernel(f"filled_like of {node.dtype}", chunks),)


LOOPS: dict[str, Callable[[Tensor], Sequence[LoopKernel]]] = {
    "iota": _iota,
    "shape": lambda node: _sizes(*node.inputs[0].result.sizes),
    "rank": lambda node: _sizes(len(node.inputs[0].result.sizes)),
    "size": lambda node: _sizes(product(node.inputs[0].result.sizes)),
    "element_count": lambda node: _sizes(product(node.attrs["shape"])),
    "filled_like": _filled_like,
    **random_steps.LOOPS,
}
