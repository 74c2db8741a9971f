"""Fold steps: reductions over any axes that are no contractions.

Where the last axis is kept a vector holds one element each of several results; else it holds parts of one
result, lane i those at i, i + width, ..., which are joined at the end in the order of the lanes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from graphc.sizes import Size, product
from graphc.tensor import Tensor
from graphc.types import BOOL, FLOAT64, INT64
from runtime.llvm_backend.ir.casts import cast
from runtime.llvm_backend.ir.scalars import emit_op
from runtime.llvm_backend.ir.text import Emitter, numbered
from runtime.llvm_backend.ir.values import load, memory_dtype, register_scalar, store
from runtime.llvm_backend.ir.writer import Value
from runtime.llvm_backend.loops.folds import (
    Axis,
    Combine,
    Fold,
    SumOfExponentials,
    half_or_single,
    in_lanes,
)
from runtime.llvm_backend.loops.loop_kernel import (
    LoopKernel,
    LoopWriter,
    cut_in_chunks,
    item_bytes,
)


class _Reduction:
    """Writes the kernel of one reduction."""

    def __init__(self, node: Tensor, axes: Sequence[int]) -> None:
        self.node, self.w = node, LoopWriter()
        self.given = node.inputs[0].dtype
        shape = node.inputs[0].result.sizes
        self.reduced: Size = product(shape[i] for i in axes)
        groups: list[tuple[bool, Size]] = []
        for i, size in enumerate(shape):
            is_reduced = i in axes
            if groups and groups[-1][0] == is_reduced:
                groups[-1] = is_reduced, groups[-1][1] * size
            else:
                groups.append((is_reduced, size))
        if not axes:
            groups.append((True, 1))
        bits = 8 if node.dtype is BOOL and groups[-1][0] and _is_long(groups[-1][1]) else 64
        self.width = max(self.w.module.target.vector_bits // bits, 1)
        strides = [product(size for _, size in groups[i + 1 :]) for i in range(len(groups))]
        self.groups = [
            Axis(is_reduced, self.w.size(f"size{i}", size), self.w.size(f"stride{i}", stride))
            for i, ((is_reduced, size), stride) in enumerate(zip(groups, strides, strict=True))
        ]
        self.in_columns = not groups[-1][0]
        self.columns: Size = groups[-1][1] if self.in_columns else 1
        self.rows: Size = product(size for is_reduced, size in groups[: -1 or None] if not is_reduced)
        if not self.in_columns:
            self.rows = product(size for is_reduced, size in groups if not is_reduced)
        self.source, self.to = self.w.operand(0), self.w.result()
        self.start: Value = 0

    def kernel(self, write: Callable[[int], None], positive: Sequence[Size] = ()) -> LoopKernel:
        """``write(width)`` writes one result, or with columns `width` of them, to where `place` says."""
        w = self.w
        if not self.in_columns:
            per, chunks = cut_in_chunks(self.rows, self.reduced * item_bytes(self.given))
            w.own(w.size("rows", self.rows), w.size("per", per), lambda row: self._at(row, 0, 1, write))
            return w.kernel(f"{self.node.op.name} of {self.given}", chunks, positive)
        blocks = (self.columns + (self.width - 1)) // self.width
        per, chunks = cut_in_chunks(self.rows * blocks, self.reduced * self.width * item_bytes(self.given))
        many, columns = w.size("blocks", blocks), w.size("columns", self.columns)

        def block(number: Value) -> None:
            row, first = w.div(number, many), w.mul(w.rem(number, many), self.width)
            left = w.sub(columns, first)

            def whole() -> None:
                self._at(row, first, self.width, write)

            def rest() -> None:
                w.each(left, lambda i: self._at(row, w.add(first, i), 1, write))

            if self.width == 1:
                whole()
            else:
                w.choose(w.compare("sge", left, self.width), whole, rest)

        w.own(w.size("count", self.rows * blocks), w.size("per", per), block)
        return w.kernel(f"{self.node.op.name} of {self.given} in columns", chunks, positive)

    def _at(self, row: Value, column: Value, width: int, write: Callable[[int], None]) -> None:
        w = self.w
        outer = [g for g in self.groups if not g.reduced]
        self.place = row
        if self.in_columns:
            outer = outer[:-1]
            self.place = w.add(w.mul(row, w.size("columns", self.columns)), column)
        start, number = column, row
        for i, group in enumerate(reversed(outer)):
            if i + 1 < len(outer):
                index, number = w.rem(number, group.size), w.div(number, group.size)
            else:
                index = number
            start = w.add(start, w.mul(index, group.stride))
        self.start = start
        write(width)

    def store(self, write: Callable[[Emitter], str], width: int) -> None:
        """Stores what `write` gives as the results."""
        dtype, place = memory_dtype(self.node.dtype), str(self.place)
        self.w.emit(width, lambda em: store(em, dtype, write(em), self.to, place))

    def fold(self, fold: Fold, width: int) -> list[str]:
        """What the elements give: of `width` columns, or of one result."""
        groups = [g for g in self.groups if g.reduced]
        if not self.in_columns and self.width > 1:
            return self._in_parts(fold, groups)
        return self._walk(fold, width, groups, self.start, self.w.emit(width, fold.first))

    def _types(self, fold: Fold, width: int) -> list[str]:
        scalars = [register_scalar(dtype) for dtype in fold.kept]
        return [scalar if width == 1 else f"<{width} x {scalar}>" for scalar in scalars]

    def _walk(
        self, fold: Fold, width: int, groups: Sequence[Axis], at: Value, values: Sequence[str]
    ) -> list[str]:
        """Nested loops over `groups`, of `width` neighbours at once."""
        if len(groups) == 1:
            return self._line(fold, width, groups[0], at, values, (0, groups[0].size))
        carried = list(zip(self._types(fold, width), values, strict=True))
        return self.w.loop(
            groups[0].size,
            lambda i, inner: self._walk(
                fold, width, groups[1:], self.w.add(at, self.w.mul(i, groups[0].stride)), inner
            ),
            carried,
        )

    def _line(
        self,
        fold: Fold,
        width: int,
        axis: Axis,
        at: Value,
        values: Sequence[str],
        ends: tuple[Value, Value],
    ) -> list[str]:
        """One loop along `axis` from the first of `ends` to the second, on `width` lanes.

        They are neighbours in the line, or in columns one element each of several lines.
        """
        w, own = self.w, not self.in_columns and width > 1

        def round(i: Value, kept: Sequence[str]) -> list[str]:
            place = str(w.add(at, w.mul(i, axis.stride)))

            def write(em: Emitter) -> list[str]:
                index = em.broadcast("i64", str(i))
                if own:
                    index = em.binary("add", "i64", index, numbered(width))
                return fold.take(em, kept, load(em, memory_dtype(self.given), self.source, place), index)

            return w.emit(width, write)

        carried = list(zip(self._types(fold, width), values, strict=True))
        return w.loop(ends[1], round, carried, start=ends[0], step=width if own else 1)

    def _in_parts(self, fold: Fold, groups: Sequence[Axis]) -> list[str]:
        w, width = self.w, self.width
        *outer, last = groups
        whole = w.mul(w.div(last.size, width), width)
        types = [*self._types(fold, width), *self._types(fold, 1)]
        count = len(fold.kept)

        def walk(axes: Sequence[Axis], at: Value, values: Sequence[str]) -> list[str]:
            if axes:
                return w.loop(
                    axes[0].size,
                    lambda i, inner: walk(axes[1:], w.add(at, w.mul(i, axes[0].stride)), inner),
                    list(zip(types, values, strict=True)),
                )
            wide = self._line(fold, width, last, at, values[:count], (0, whole))
            return wide + self._line(fold, 1, last, at, values[count:], (whole, last.size))

        values = walk(outer, self.start, [*w.emit(width, fold.first), *w.emit(1, fold.first)])
        scalars = [register_scalar(dtype) for dtype in fold.kept]
        lanes = [in_lanes(w, s, v, width) for s, v in zip(scalars, values[:count], strict=True)]
        total = [lane[0] for lane in lanes]
        for part in [*zip(*(lane[1:] for lane in lanes), strict=True), tuple(values[count:])]:
            total = w.emit(1, partial(fold.join, x=total, y=part))
        return total


def _is_long(size: Size) -> bool:
    """Whether what whole vectors of bytes leave over of a line is no matter."""
    return not isinstance(size, int) or size >= 1 << 10


def _mean(node: Tensor) -> list[LoopKernel]:
    reduction = _Reduction(node, node.attrs["axis"])
    w, count = reduction.w, reduction.w.size("reduced", reduction.reduced)

    def write(width: int) -> None:
        (total,) = reduction.fold(Combine("add", reduction.given, FLOAT64, 0.0), width)
        number = w.value(f"sitofp i64 {count} to double")

        def divide(em: Emitter) -> str:
            average = em.binary("fdiv", "double", total, em.broadcast("double", number))
            return cast(em, average, FLOAT64, node.dtype)

        reduction.store(divide, width)

    return [reduction.kernel(write)]


def _logsumexp(node: Tensor) -> list[LoopKernel]:
    reduction = _Reduction(node, node.attrs["axis"])
    given, wide = memory_dtype(reduction.given), half_or_single(reduction.given)
    w = reduction.w
    scalar = register_scalar(wide)

    def write(width: int) -> None:
        (largest,) = reduction.fold(Combine("maximum", given, wide, float("-inf")), width)

        def limit(em: Emitter) -> str:
            finite = emit_op(em, "isfinite", [largest], [wide], BOOL)
            return em.select(finite, scalar, largest, em.number(scalar, 0.0))

        shift = w.emit(width, limit)
        shifts = {width: shift}
        if not reduction.in_columns and reduction.width > 1:
            shifts[reduction.width] = w.emit(reduction.width, lambda em: em.broadcast(scalar, shift))
        (total,) = reduction.fold(SumOfExponentials(given, wide, shifts), width)

        def finish(em: Emitter) -> str:
            log = emit_op(em, "log", [total], [FLOAT64], FLOAT64)
            result = em.binary("fadd", "double", log, cast(em, shift, wide, FLOAT64))
            return cast(em, result, FLOAT64, node.dtype)

        reduction.store(finish, width)

    return [reduction.kernel(write)]


def _prod(node: Tensor) -> list[LoopKernel]:
    reduction = _Reduction(node, node.attrs["axis"])
    given = memory_dtype(reduction.given)
    total = FLOAT64 if node.dtype.is_floating else node.dtype  # parts of it neither vanish nor overflow

    def write(width: int) -> None:
        (result,) = reduction.fold(Combine("mul", given, total, 1.0), width)
        reduction.store(lambda em: cast(em, result, total, node.dtype), width)

    return [reduction.kernel(write)]


def _truth(op: str, neutral: int) -> Callable[[Tensor], list[LoopKernel]]:
    """Of bools; an extremum of none is an error."""

    def make(node: Tensor) -> list[LoopKernel]:
        reduction = _Reduction(node, node.attrs["axis"])

        def write(width: int) -> None:
            (result,) = reduction.fold(Combine(op, BOOL, BOOL, neutral), width)
            reduction.store(lambda em: result, width)

        return [reduction.kernel(write, [reduction.reduced] if node.op.fallible else [])]

    return make


def _extremum(op: str) -> Callable[[Tensor], list[LoopKernel]]:
    """Of bools, and of what memory holds as another dtype."""

    def make(node: Tensor) -> list[LoopKernel]:
        dtype = memory_dtype(node.dtype)
        if dtype is BOOL:
            return _truth("logical_or", 0)(node) if op == "maximum" else _truth("logical_and", 1)(node)
        if not dtype.is_floating:
            return []
        reduction = _Reduction(node, node.attrs["axis"])

        def write(width: int) -> None:
            neutral = float("-inf") if op == "maximum" else float("inf")
            (result,) = reduction.fold(Combine(op, dtype, dtype, neutral), width)
            reduction.store(lambda em: result, width)

        return [reduction.kernel(write, [reduction.reduced])]

    return make


def _sum(node: Tensor) -> list[LoopKernel]:
    reduction = _Reduction(node, node.attrs["axis"])
    total = FLOAT64 if node.dtype.is_floating else node.dtype

    def write(width: int) -> None:
        (result,) = reduction.fold(Combine("add", memory_dtype(reduction.given), total, 0), width)
        reduction.store(lambda em: cast(em, result, total, node.dtype), width)

    return [reduction.kernel(write)]


def _segment_count(node: Tensor) -> list[LoopKernel]:
    reduction = _Reduction(node, (0,))

    def write(width: int) -> None:
        (last,) = reduction.fold(Combine("maximum", reduction.given, INT64, -1), width)
        reduction.store(lambda em: em.binary("add", "i64", last, em.integer("i64", 1)), width)

    return [reduction.kernel(write)]


LOOPS: dict[str, Callable[[Tensor], Sequence[LoopKernel]]] = {
    "mean": _mean,
    "prod": _prod,
    "sum": _sum,
    "max": _extremum("maximum"),
    "min": _extremum("minimum"),
    "segment_count": _segment_count,
    "any": _truth("logical_or", 0),
    "all": _truth("logical_and", 1),
    "logsumexp": _logsumexp,
}
