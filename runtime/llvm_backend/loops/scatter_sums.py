"""Scatter sums: many updates added up, in their order, in scratch that holds all slices.

A chunk has one part of the result: it walks all updates of the part, and then writes what was there plus the
sums.
"""

from __future__ import annotations

from collections.abc import Callable

from graphc.freezing import frozen
from graphc.sizes import Size
from graphc.tensor import Tensor
from graphc.types import BOOL, FLOAT64, DType
from runtime.llvm_backend.ir.casts import cast
from runtime.llvm_backend.ir.text import Emitter
from runtime.llvm_backend.ir.values import load, memory_dtype, register_bytes, register_scalar, store
from runtime.llvm_backend.ir.writer import Value
from runtime.llvm_backend.loops.index_steps import missed
from runtime.llvm_backend.loops.loop_kernel import LoopKernel, LoopWriter


@frozen
class Updates:
    """Parts of the result, in each of which `slices` may be meant by `updates`, each of `inner` elements.

    `adds`: all updates of a slice count, else the last one.
    """

    parts: Size
    slices: Size
    updates: Size
    inner: Size
    adds: bool


Place = Callable[[LoopWriter, Value, Value], tuple[Value, str, Value]]


def left_out(w: LoopWriter, given: Value, strict: bool) -> None:
    """What an index that names no slice does: it fails the run, unless it is negative and may be."""
    if strict:
        missed(w, given)
    else:
        w.when(w.compare("sge", given, 0), lambda: missed(w, given))


def sum_updates(
    node: Tensor, updates: Updates, number: int, base: int | None, place: Place, strict: bool
) -> LoopKernel:
    """The kernel; `place` gives for update k of a part: its slice, whether there is one, and its index."""
    w, dtype = LoopWriter(), memory_dtype(node.dtype)
    total = FLOAT64 if dtype.is_floating else dtype
    bytes = register_bytes(total)
    sums = w.scratch("sums", updates.parts * updates.slices * updates.inner * bytes)
    given, to = w.operand(number), w.result()
    before = None if base is None else w.operand(base)
    slices, many = w.size("slices", updates.slices), w.size("updates", updates.updates)
    # Where it is one, there are no loops over it.
    inner: Value = 1 if updates.inner == 1 else w.size("inner", updates.inner)
    size = w.mul(w.mul(slices, inner), bytes)
    own = w.address(sums, w.mul("%chunk", size), "i8")
    w.clear(own, size)
    first_slice, first_update = w.mul("%chunk", slices), w.mul("%chunk", many)

    def add(k: Value) -> None:
        slice, inside, index = place(w, "%chunk", k)

        def note() -> None:
            at = w.mul(w.add(first_update, k), inner)
            goal = w.mul(slice, inner)

            def column(em: Emitter, i: Value) -> None:
                x = cast(em, load(em, dtype, given, str(w.add(at, i))), dtype, total)
                place = str(w.add(goal, i))
                store(em, total, added(em, total, load(em, total, own, place), x), own, place)

            if inner == 1:
                w.emit(1, lambda em: column(em, 0))
            else:
                _in_vectors(w, inner, column)

        w.choose(inside, note, lambda: left_out(w, index, strict))

    w.each(many, add)

    first = w.mul(first_slice, inner)

    def finish(em: Emitter, i: Value) -> None:
        result, goal = load(em, total, own, str(i)), str(w.add(first, i))
        if before is not None:
            result = added(em, total, cast(em, load(em, dtype, before, goal), dtype, total), result)
        store(em, dtype, cast(em, result, total, node.dtype), to, goal)

    _in_vectors(w, w.mul(slices, inner), finish)
    return w.kernel(f"{node.op.name} of many {node.dtype}", updates.parts)


def _in_vectors(w: LoopWriter, count: Value, column: Callable[[Emitter, Value], None]) -> None:
    """`column` for vectors of columns, then for those left over, one by one."""
    width = max(w.module.target.vector_bits // 64, 1)
    whole = w.mul(w.div(count, width), width)
    w.each(whole, lambda i: w.emit(width, lambda em: column(em, i)), step=width)
    if width > 1:
        w.each(count, lambda i: w.emit(1, lambda em: column(em, i)), start=whole)


def added(em: Emitter, dtype: DType, x: str, y: str) -> str:
    """``x + y``; whether one of two bools holds."""
    if dtype is BOOL:
        return em.either(x, y)
    return em.binary("fadd" if dtype.is_floating else "add", register_scalar(dtype), x, y)
