"""Index steps: elements read from where integers say."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphc.sizes import Size, minimum, product
from graphc.tensor import Tensor
from graphc.types import DType
from runtime.llvm_backend.ir.text import INDEX
from runtime.llvm_backend.ir.writer import Value
from runtime.llvm_backend.loops.copies import in_parts
from runtime.llvm_backend.loops.loop_kernel import (
    LoopKernel,
    LoopWriter,
    bits_type,
    broadcast_strides,
    cut_in_chunks,
    decoded,
    dense_strides,
    item_bytes,
    memory_type,
)
from runtime.llvm_backend.loops.ordering import key_type, load_raw, order_key

_FEW = 64  # bytes of a row that is copied without a call


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
    source, places, to = w.operand(0), w.operand(1), w.result()
    n, many, length = w.size("n", size), w.size("count", count), w.size("length", inner)

    def part(before: Value, begin: Value, number: Value) -> None:
        above, behind = w.mul(before, n), w.mul(before, many)

        def row(k: Value) -> None:
            given = load_index(w, dtype, places, k)
            index, inside = wrapped(w, dtype, given, n)
            at, goal = w.add(above, index), w.add(behind, k)
            w.choose(
                inside,
                lambda: _moved(w, x.dtype, inner, length, source, at, to, goal),
                lambda: missed(w, given),
            )

        w.each(w.add(begin, number), row, start=begin)

    if outer == 1:
        per, chunks = cut_in_chunks(count, inner * (2 * item))
        first = w.mul("%chunk", w.size("per", per))
        part(0, first, w.min(w.sub(many, first), w.size("per", per)))
    else:
        chunks = in_parts(w, outer, count, 2 * item * (inner if isinstance(inner, int) else 1), part)
    kernel = w.kernel(f"gather of {x.dtype} by {dtype}", chunks)
    if isinstance(outer, int) and outer > 0:
        return (kernel,)
    return kernel, _look_at(indices, size, 1 - minimum(outer, 1))


def _look_at(indices: Tensor, size: Size, times: Size) -> LoopKernel:
    """Looks whether `indices` are of an axis of `size`, where they are read `times`, which is 0 or 1."""
    count, dtype = product(indices.result.sizes), indices.dtype
    w = LoopWriter()
    per, chunks = cut_in_chunks(count, dtype.itemsize)
    places, n = w.operand(1), w.size("n", size)

    def look(k: Value) -> None:
        given = load_index(w, dtype, places, k)
        _, inside = wrapped(w, dtype, given, n)
        w.choose(inside, lambda: None, lambda: missed(w, given))

    w.own(w.size("count", count), w.size("per", per), look)
    return w.kernel(f"look at {dtype}", chunks * times)


def _gather_nd(node: Tensor) -> Sequence[LoopKernel]:
    x, indices = node.inputs
    depth: int = node.attrs["depth"]
    shape = x.result.sizes
    inner, count = product(shape[depth:]), product(indices.result.sizes[:-1])
    w = LoopWriter()
    per, chunks = cut_in_chunks(count, inner * (2 * item_bytes(x.dtype)))
    source, places, to, length = w.operand(0), w.operand(1), w.result(), w.size("inner", inner)

    def row(number: Value) -> None:
        place, inside, given = coordinates(w, indices.dtype, places, number, shape[:depth])
        w.choose(
            inside,
            lambda: _moved(w, x.dtype, inner, length, source, place, to, number),
            lambda: missed(w, given),
        )

    w.own(w.size("rows", count), w.size("per", per), row)
    return (w.kernel(f"gather_nd of {x.dtype} by {depth} of {indices.dtype}", chunks),)


def coordinates(
    w: LoopWriter, dtype: DType, array: str, row: Value, shape: Sequence[Size]
) -> tuple[Value, str, Value]:
    """The place that a row of coordinates means, whether it is inside, and a coordinate that is not."""
    place: Value = 0
    outlier: Value = 0
    inside = "true"
    for axis, size in enumerate(shape):
        given = load_index(w, dtype, array, w.add(w.mul(row, len(shape)), axis))
        n = w.size(f"n{axis}", size)
        index, fits = wrapped(w, dtype, given, n)
        place = w.add(w.mul(place, n), index)
        outlier = w.select(fits, outlier, given)
        inside = w.both(inside, fits)
    return place, inside, outlier


def _take_along_axis(node: Tensor) -> Sequence[LoopKernel]:
    """Axes before the last one are decoded once a row."""
    x, indices = node.inputs
    axis: int = node.attrs["axis"]
    shape, type = node.result.sizes, bits_type(x.dtype)
    w = LoopWriter()
    moves = broadcast_strides(x, shape, axis), broadcast_strides(indices, shape)
    per, chunks = cut_in_chunks(product(shape[:-1]), shape[-1] * (2 * item_bytes(x.dtype)))
    source, places, to = w.operand(0), w.operand(1), w.result()
    n, step, last = (
        w.size("n", x.result.sizes[axis]),
        w.size("step", dense_strides(x)[axis]),
        w.size("last", shape[-1]),
    )
    x_step, i_step = (w.size(f"{name}.last", move[-1]) for name, move in zip("xi", moves, strict=True))

    def row(number: Value) -> None:
        x_at, i_at = decoded(w, number, shape[:-1], {"x": moves[0], "i": moves[1]})

        def element(j: Value) -> None:
            given = load_index(w, indices.dtype, places, w.add(i_at, w.mul(j, i_step)))
            index, inside = wrapped(w, indices.dtype, given, n)

            def take() -> None:
                at = w.add(w.add(x_at, w.mul(j, x_step)), w.mul(index, step))
                w.store(type, w.load(type, source, at), to, w.add(w.mul(number, last), j))

            w.choose(inside, take, lambda: missed(w, given))

        w.each(last, element)

    w.own(w.size("rows", product(shape[:-1])), w.size("per", per), row)
    return (w.kernel(f"take_along_axis of {x.dtype} by {indices.dtype}", chunks),)


def _searchsorted(node: Tensor) -> Sequence[LoopKernel]:
    """Halves of what is left: NaN lies behind all numbers, as in NumPy."""
    line, values = node.inputs
    dtype, count = line.dtype, product(values.result.sizes)
    w = LoopWriter()
    per, chunks = cut_in_chunks(count, 256)
    source, wanted, to, n = w.operand(0), w.operand(1), w.result(), w.size("n", line.result.sizes[0])
    right = node.attrs["side"] == "right"

    def search(number: Value) -> None:
        key = w.emit(1, lambda em: order_key(em, dtype, load_raw(em, dtype, wanted, number)))

        def halve(values: list[str]) -> list[Value]:
            low, left = values
            half = w.value(f"lshr i64 {left}, 1")
            middle = w.add(low, half)
            found = w.emit(1, lambda em: order_key(em, dtype, load_raw(em, dtype, source, middle)))
            before = w.value(f"icmp {'ule' if right else 'ult'} {key_type(dtype)} {found}, {key}")
            rest = w.sub(w.sub(left, half), 1)
            return [w.select(before, w.add(middle, 1), low), w.select(before, rest, half)]

        low, _ = w.until(["i64", "i64"], [0, n], lambda values: w.compare("ne", values[1], 0), halve)
        w.store("i64", low, to, number)

    w.own(w.size("rows", count), w.size("per", per), search)
    return (w.kernel(f"searchsorted in {dtype}", chunks),)


def _moved(
    w: LoopWriter, dtype: DType, inner: Size, length: Value, source: str, place: Value, to: str, number: Value
) -> None:
    """Copies row `place` of the source to row `number` of the result."""
    if inner == 1:
        w.store(bits_type(dtype), w.load(bits_type(dtype), source, place), to, number)
    else:
        bytes = w.mul(length, item_bytes(dtype))
        start, goal = w.address(source, w.mul(place, bytes), "i8"), w.address(to, w.mul(number, bytes), "i8")
        if isinstance(inner, int) and inner * item_bytes(dtype) <= _FEW:
            w.move(goal, start, inner * item_bytes(dtype))
        else:
            w.copy(goal, start, bytes)


def missed(w: LoopWriter, index: Value) -> None:
    """Notes that `index` is out of range."""
    w.fail(INDEX, index)


LOOPS: dict[str, Callable[[Tensor], Sequence[LoopKernel]]] = {
    "gather": _gather,
    "gather_nd": _gather_nd,
    "take_along_axis": _take_along_axis,
    "searchsorted": _searchsorted,
}
