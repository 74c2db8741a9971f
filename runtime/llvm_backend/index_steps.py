"""Index steps: elements read from where integers say."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphc.sizes import Size, product
from graphc.tensor import Tensor
from graphc.types import DType
from runtime.llvm_backend.loop_kernel import (
    INDEX,
    LoopKernel,
    LoopWriter,
    bits_type,
    item_bytes,
    memory_type,
    split_evenly,
)
from runtime.llvm_backend.writer import Value


def load_index(w: LoopWriter, dtype: DType, array: str, place: Value) -> str:
    """An integer of memory as i64."""
    held = w.load(memory_type(dtype), array, place)
    if dtype.itemsize == 8:
        return held
    return w.value(f"{'sext' if dtype.kind == 'i' else 'zext'} {memory_type(dtype)} {held} to i64")


def wrapped(w: LoopWriter, dtype: DType, index: str, size: Value) -> tuple[str, str]:
    """`index` counted from the front, and whether it is one of an axis of `size`."""
    if dtype.kind == "i":
        negative = w.compare("slt", index, 0)
        index = w.value(f"select i1 {negative}, i64 {w.add(index, size)}, i64 {index}")
    return index, w.value(f"icmp ult i64 {index}, {size}")


def _gather(node: Tensor) -> Sequence[LoopKernel]:
    x, indices = node.inputs
    axis: int = node.attrs["axis"]
    shape = x.result.sizes
    outer, size, inner = product(shape[:axis]), shape[axis], product(shape[axis + 1 :])
    count, dtype, item = product(indices.result.sizes), indices.dtype, item_bytes(x.dtype)
    w = LoopWriter()
    per, chunks = split_evenly(outer * count, inner * (2 * item))
    source, places, to = w.operand(0), w.operand(1), w.result()
    n, many, length = w.size("n", size), w.size("count", count), w.size("inner", inner)

    def row(number: Value) -> None:
        before, k = (0, number) if outer == 1 else (w.div(number, many), w.rem(number, many))
        given = load_index(w, dtype, places, k)
        index, inside = wrapped(w, dtype, given, n)
        w.choose(
            inside,
            lambda: _moved(w, x.dtype, inner, length, source, w.add(w.mul(before, n), index), to, number),
            lambda: _missed(w, given),
        )

    w.own(w.size("rows", outer * count), w.size("per", per), row)
    return (w.kernel(f"gather of {x.dtype} by {dtype}", chunks),)


def _moved(
    w: LoopWriter, dtype: DType, inner: Size, length: Value, source: str, place: Value, to: str, number: Value
) -> list[str]:
    """Copies row `place` of the source to row `number` of the result."""
    if inner == 1:
        w.store(bits_type(dtype), w.load(bits_type(dtype), source, place), to, number)
    else:
        bytes = w.mul(length, item_bytes(dtype))
        start = w.address(source, w.mul(place, bytes), "i8")
        w.copy(w.address(to, w.mul(number, bytes), "i8"), start, bytes)
    return []


def _missed(w: LoopWriter, index: str) -> list[str]:
    w.fail(INDEX, index)
    return []


LOOPS: dict[str, Callable[[Tensor], Sequence[LoopKernel]]] = {
    "gather": _gather,
}
