"""Scan steps: running sums and products, the linear recurrence; vectors hold what lies behind the axis."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphc.sizes import product
from graphc.tensor import Tensor
from graphc.types import FLOAT64, DType
from runtime.llvm_backend.ir.casts import cast
from runtime.llvm_backend.ir.scalars import emit_op
from runtime.llvm_backend.ir.text import Emitter
from runtime.llvm_backend.ir.values import load, memory_dtype, register_scalar, store
from runtime.llvm_backend.ir.writer import Value
from runtime.llvm_backend.loops.loop_kernel import LoopKernel, LoopWriter, cut_in_chunks, item_bytes

_AT_ONCE = 4  # elements of a line that are written out: an addition takes no longer than counting

# ``take(em, total, elements) -> the next total``, of elements as memory holds them
Take = Callable[[Emitter, str, list[str]], str]


def _scan(node: Tensor, total: DType, neutral: float, exclusive: bool, take: Take) -> Sequence[LoopKernel]:
    """Lines along the axis, of the elements of all operands, `reverse` from their ends."""
    axis, reverse = node.attrs["axis"], node.attrs["reverse"]
    shape = node.result.sizes
    outer, length, inner = product(shape[:axis]), shape[axis], product(shape[axis + 1 :])
    w = LoopWriter()
    width = 1 if inner == 1 else max(w.module.target.vector_bits // 64, 1)
    blocks = (inner + (width - 1)) // width
    per, chunks = cut_in_chunks(outer * blocks, length * (width * 2 * item_bytes(node.dtype)))
    sources = [w.operand(i) for i in range(len(node.inputs))]
    given = [memory_dtype(x.dtype) for x in node.inputs]
    to, n, columns, many = (
        w.result(), w.size("n", length), 1 if inner == 1 else w.size("inner", inner), w.size("blocks", blocks)
    )  # fmt: skip
    scalar = register_scalar(total)

    def line(start: Value, lanes: int) -> None:
        type = scalar if lanes == 1 else f"<{lanes} x {scalar}>"

        def first(em: Emitter) -> str:
            return em.number(scalar, neutral) if total.is_floating else em.integer(scalar, int(neutral))

        def element(i: Value, totals: Sequence[str]) -> list[str]:
            turn = w.sub(w.sub(n, 1), i) if reverse else i
            place = str(w.add(start, w.mul(turn, columns)))

            def write(em: Emitter) -> str:
                xs = [load(em, d, source, place) for d, source in zip(given, sources, strict=True)]
                after = take(em, totals[0], xs)
                shown = cast(em, totals[0] if exclusive else after, total, node.dtype)
                store(em, memory_dtype(node.dtype), shown, to, place)
                return after

            return [w.emit(lanes, write)]

        def several(i: Value, totals: Sequence[str]) -> list[str]:
            for k in range(_AT_ONCE):
                totals = element(w.add(i, k), totals)
            return list(totals)

        whole = w.sub(n, w.rem(n, _AT_ONCE))
        (begun,) = w.loop(whole, several, [(type, w.emit(lanes, first))], step=_AT_ONCE)
        w.loop(n, element, [(type, begun)], start=whole)

    def block(number: Value) -> None:
        row, column = w.div(number, many), w.mul(w.rem(number, many), width)
        start = w.add(w.mul(w.mul(row, n), columns), column)
        left = w.sub(columns, column)

        def whole() -> None:
            line(start, width)

        def rest() -> None:
            w.each(left, lambda i: line(w.add(start, i), 1))

        if width == 1:
            whole()
        else:
            w.choose(w.compare("sge", left, width), whole, rest)

    w.own(w.size("count", outer * blocks), w.size("per", per), block)
    return (w.kernel(f"{node.op.name} of {node.inputs[-1].dtype}", chunks),)


def _running(op: str, neutral: int) -> Callable[[Tensor], Sequence[LoopKernel]]:
    def make(node: Tensor) -> Sequence[LoopKernel]:
        given, result = memory_dtype(node.inputs[0].dtype), node.dtype
        wide = FLOAT64 if op == "add" and result.is_floating else memory_dtype(result)

        def take(em: Emitter, total: str, xs: list[str]) -> str:
            return emit_op(em, op, [total, cast(em, xs[0], given, wide)], [wide, wide], wide)

        exclusive = node.attrs["exclusive"]
        begin = -0.0 if op == "add" and not exclusive else neutral  # -0.0 + x is x, -0.0 too
        return _scan(node, wide, begin, exclusive, take)

    return make


def _recurrence(node: Tensor) -> Sequence[LoopKernel]:
    total = memory_dtype(node.dtype)

    def take(em: Emitter, before: str, xs: list[str]) -> str:
        two = [total, total]
        return emit_op(em, "add", [emit_op(em, "mul", [xs[0], before], two, total), xs[1]], two, total)

    return _scan(node, total, 0, False, take)


LOOPS: dict[str, Callable[[Tensor], Sequence[LoopKernel]]] = {
    "cumsum": _running("add", 0),
    "cumprod": _running("mul", 1),
    "linear_recurrence": _recurrence,
}
