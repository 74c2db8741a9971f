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


class _Scan:
    """Lines along the axis, of the elements of all operands, `reverse` from their ends."""

    def __init__(self, node: Tensor, total: DType, neutral: float, exclusive: bool, take: Take) -> None:
        self.node, self.total, self.exclusive, self.take = node, total, exclusive, take
        self.neutral, self.scalar = neutral, register_scalar(total)
        axis, shape = node.attrs["axis"], node.result.sizes
        self.outer, self.length, self.inner = product(shape[:axis]), shape[axis], product(shape[axis + 1 :])
        self.w = w = LoopWriter()
        self.width = 1 if self.inner == 1 else max(w.module.target.vector_bits // 64, 1)
        self.blocks = (self.inner + (self.width - 1)) // self.width
        self.sources = [w.operand(i) for i in range(len(node.inputs))]
        self.to, self.n = w.result(), w.size("n", self.length)
        self.columns: Value = 1 if self.inner == 1 else w.size("inner", self.inner)

    def kernel(self) -> LoopKernel:
        """The kernel, whose chunks are some lines side by side."""
        w, node = self.w, self.node
        many = w.size("blocks", self.blocks)

        def block(number: Value) -> None:
            row, column = w.div(number, many), w.mul(w.rem(number, many), self.width)
            start = w.add(w.mul(w.mul(row, self.n), self.columns), column)
            left = w.sub(self.columns, column)

            def whole() -> None:
                self._line(start, self.width)

            def rest() -> None:
                w.each(left, lambda i: self._line(w.add(start, i), 1))

            if self.width == 1:
                whole()
            else:
                w.choose(w.compare("sge", left, self.width), whole, rest)

        bytes = self.length * (self.width * 2 * item_bytes(node.dtype))
        per, chunks = cut_in_chunks(self.outer * self.blocks, bytes)
        w.own(w.size("count", self.outer * self.blocks), w.size("per", per), block)
        return w.kernel(f"{node.op.name} of {node.inputs[-1].dtype}", chunks)

    def _line(self, start: Value, lanes: int) -> None:
        """So many lines side by side, from `start` on."""
        w, n = self.w, self.n

        def several(i: Value, totals: Sequence[str]) -> list[str]:
            for k in range(_AT_ONCE):
                totals = self._element(start, w.add(i, k), lanes, totals)
            return list(totals)

        type = self.scalar if lanes == 1 else f"<{lanes} x {self.scalar}>"
        whole = w.sub(n, w.rem(n, _AT_ONCE))
        (begun,) = w.loop(whole, several, [(type, w.emit(lanes, self._first))], step=_AT_ONCE)
        w.loop(n, lambda i, totals: self._element(start, i, lanes, totals), [(type, begun)], start=whole)

    def _first(self, em: Emitter) -> str:
        if self.total.is_floating:
            return em.number(self.scalar, self.neutral)
        return em.integer(self.scalar, int(self.neutral))

    def _element(self, start: Value, i: Value, lanes: int, totals: Sequence[str]) -> list[str]:
        """Element `i` of the lines at `start`; gives the next totals."""
        w, node = self.w, self.node
        turn = w.sub(w.sub(self.n, 1), i) if node.attrs["reverse"] else i
        place = str(w.add(start, w.mul(turn, self.columns)))

        def write(em: Emitter) -> str:
            held = zip(node.inputs, self.sources, strict=True)
            xs = [load(em, memory_dtype(x.dtype), source, place) for x, source in held]
            after = self.take(em, totals[0], xs)
            shown = cast(em, totals[0] if self.exclusive else after, self.total, node.dtype)
            store(em, memory_dtype(node.dtype), shown, self.to, place)
            return after

        return [w.emit(lanes, write)]


def _running(op: str, neutral: int) -> Callable[[Tensor], Sequence[LoopKernel]]:
    def make(node: Tensor) -> Sequence[LoopKernel]:
        given, result = memory_dtype(node.inputs[0].dtype), node.dtype
        wide = FLOAT64 if op == "add" and result.is_floating else memory_dtype(result)

        def take(em: Emitter, total: str, xs: list[str]) -> str:
            return emit_op(em, op, [total, cast(em, xs[0], given, wide)], [wide, wide], wide)

        exclusive = node.attrs["exclusive"]
        begin = -0.0 if op == "add" and not exclusive else neutral  # -0.0 + x is x, -0.0 too
        return (_Scan(node, wide, begin, exclusive, take).kernel(),)

    return make


def _recurrence(node: Tensor) -> Sequence[LoopKernel]:
    total = memory_dtype(node.dtype)

    def take(em: Emitter, before: str, xs: list[str]) -> str:
        two = [total, total]
        return emit_op(em, "add", [emit_op(em, "mul", [xs[0], before], two, total), xs[1]], two, total)

    return (_Scan(node, total, 0, False, take).kernel(),)


LOOPS: dict[str, Callable[[Tensor], Sequence[LoopKernel]]] = {
    "cumsum": _running("add", 0),
    "cumprod": _running("mul", 1),
    "linear_recurrence": _recurrence,
}
