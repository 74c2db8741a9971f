"""Fill kernel: one number in all of memory. Sizes are words, so that one text serves all of a width."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from graphc.sizes import product
from graphc.tensor import Tensor
from graphc.types import TensorType
from runtime.llvm_backend.ir.writer import Value
from runtime.llvm_backend.loops.loop_kernel import LoopKernel, LoopWriter, item_bytes

_CHUNK_BYTES = 1 << 18
_LANES = 64  # bytes stored at once


def fill_of(node: Tensor) -> LoopKernel | None:
    """The kernel of a `broadcast_to` of one number; None for all else."""
    if node.op.name != "broadcast_to" or not isinstance(node.type, TensorType) or node.type.shape is None:
        return None
    (x,) = node.inputs
    if x.result.shape is None or any(size != 1 for size in x.result.shape):
        return None
    size, count = item_bytes(node.dtype), product(node.result.sizes)
    per = _CHUNK_BYTES // size
    kernel = _fill(size)
    words = tuple(replace(word, size=count) if word.kind == "size" else word for word in kernel.words)
    return replace(kernel, words=words, chunks=(count + per - 1) // per)


@cache
def _fill(size: int) -> LoopKernel:
    """That of elements of `size` bytes; how many there are is a word."""
    type, lanes, per = f"i{8 * size}", _LANES // size, _CHUNK_BYTES // size
    w = LoopWriter()
    count, result = w.size("count", 0), w.result()
    number = w.load(type, w.operand(0))
    one = w.value(f"insertelement <{lanes} x {type}> undef, {type} {number}, i64 0")
    zeros = f"<{lanes} x i32> zeroinitializer"
    vector = w.value(f"shufflevector <{lanes} x {type}> {one}, <{lanes} x {type}> undef, {zeros}")
    first = w.mul("%chunk", per)
    last = w.min(w.add(first, per), count)
    whole = w.sub(last, w.value(f"urem i64 {last}, {lanes}"))  # a chunk begins at a whole vector

    def store(i: Value) -> None:
        w.do(f"store <{lanes} x {type}> {vector}, ptr {w.address(result, i, type)}, align {size}")

    w.each(whole, store, start=first, step=lanes)
    w.each(last, lambda i: w.store(type, number, result, i), start=w.max(first, whole))
    return w.kernel(f"fill({type})", 0)
