"""Column steps: reductions over the first axes, down the columns of a matrix that lies row by row.

The first kernel walks `BUNDLE` rows at a time, side by side, so that each is read in one stream: what they
come to together is added to the totals of a panel of columns, which stay in the cache. Rows are cut by sizes
alone; a second kernel joins the totals of all cuts in order. In a `fused` node the first one computes the
elements of what it reads (`passes.columns`).
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.function import Function
from graphc.sizes import Size, maximum, minimum
from graphc.tensor import Tensor
from passes.columns import columns_in, is_of_columns, matrix_of, varies
from runtime.llvm_backend.engine.machine import host
from runtime.llvm_backend.ir.scalars import emit_op, has_code, spelled
from runtime.llvm_backend.ir.text import Emitter, Module, target_of
from runtime.llvm_backend.ir.values import (
    load,
    load_single,
    memory_dtype,
    memory_scalar,
    register_scalar,
    store,
)
from runtime.llvm_backend.loops.loop_kernel import LoopKernel, Word
from runtime.llvm_backend.rows.row_loop import RowLoop, Span, Visit, lanes_of
from runtime.llvm_backend.rows.totals import Total, total_of

BUNDLE = 8  # rows that are walked side by side
_PANEL = 2048  # columns whose totals are in the cache
_GRAIN = 1 << 16  # elements that are worth a chunk of their own
_MOST_CUTS = 64
_BROADCAST = "broadcast_to"


def columns_of(node: Tensor) -> Sequence[LoopKernel]:
    """The two kernels of a reduction over the first axes; none where `node` is something else."""
    root = columns_in(node) if node.op.name == "fused" else node if is_of_columns(node) else None
    if root is None:
        return ()
    rows, columns = matrix_of(root)
    given = node.attrs["body"].inputs if root is not node else root.inputs
    panels = (columns + (_PANEL - 1)) // _PANEL
    per = maximum(_GRAIN // maximum(minimum(columns, _PANEL), 1), (rows + (_MOST_CUTS - 1)) // _MOST_CUTS)
    per = (maximum(per, 1) + (BUNDLE - 1)) // BUNDLE * BUNDLE
    cuts = maximum((rows + per - 1) // per, 1)
    scratch = cuts * columns * 8
    sizes: tuple[Size, ...] = (rows, columns, per, cuts, panels)
    operands = (Word("operand", i) for i in range(len(given)))
    words = (*operands, Word("result"), Word("scratch"), *(Word("size", 0, size) for size in sizes))
    inside = _inside(root, given)
    if any(x.op.name != _BROADCAST and not has_code(x.op.name) for x in inside):
        return ()
    name = f"{'.'.join(x.op.name for x in (*inside, root))} of columns of {root.inputs[0].dtype.name}"
    positive = (rows,) if root.op.name in ("max", "min") else ()
    first, second = (_ColumnWriter(root, given, inside).write(join) for join in (False, True))
    return (
        LoopKernel(name, first, words, cuts * panels, scratch, positive),
        LoopKernel(f"{name}: cuts joined", second, words, panels, scratch),
    )


def _inside(root: Tensor, given: Sequence[Tensor]) -> list[Tensor]:
    """What makes the elements that `root` reduces, in order."""
    if root.inputs[0] in given:
        return []
    return [x for x in Function(tuple(given), (root,)).nodes() if x not in given and x is not root]


class _ColumnWriter:
    """Writes one of the kernels of `node`, which reduces what the nodes `inside` make of what is `given`."""

    def __init__(self, node: Tensor, given: Sequence[Tensor], inside: Sequence[Tensor]) -> None:
        self.node, self.given, self.inside = node, given, inside
        self.module = Module(target_of(host()))
        dtypes = [x.dtype for x in (*given, *inside) if any(varies(x, node) or ())]
        self.loops = RowLoop(self.module, lanes_of(self.module.target, dtypes))
        self.one, self.wide, word = self.loops.one, self.loops.wide, self.loops.word
        self.total: Total = total_of(self.one, node)
        self.arrays = [word(i, "ptr") for i in range(len(given))]
        self.y, self.parts = (word(len(given) + i, "ptr") for i in range(2))
        first = len(given) + 2
        self.rows, self.columns, self.per, self.cuts, self.panels = (word(first + i) for i in range(5))

    def write(self, join: bool) -> str:
        """The module of one of the kernels."""
        one = self.one
        panel = "%chunk" if join else one.let(f"urem i64 %chunk, {self.panels}")
        begin = one.let(f"mul i64 {panel}, {_PANEL}")
        end = one.intrinsic("smin", "i64", one.let(f"add i64 {begin}, {_PANEL}"), self.columns)
        if join:
            self.write_join(begin, end)
        else:
            self.write_cut(one.let(f"udiv i64 %chunk, {self.panels}"), begin, end)
        self.loops.define()
        return self.module.text

    def write_cut(self, cut: str, begin: str, end: str) -> None:
        """The totals of the rows of one cut, in the panel's columns."""
        one = self.one
        first = one.let(f"mul i64 {cut}, {self.per}")
        last = one.intrinsic("smin", "i64", one.let(f"add i64 {first}, {self.per}"), self.rows)
        many = one.intrinsic("smax", "i64", one.let(f"sub i64 {last}, {first}"), "0")
        whole = one.let(f"sub i64 {last}, {one.let(f'urem i64 {many}, {BUNDLE}')}")
        offset = one.let(f"mul i64 {cut}, {self.columns}")

        def clear(em: Emitter, j: str, mask: str | None) -> list[str]:
            start = self.total.widened(em, em.broadcast(self.total.scalar, self.total.starts[0]))
            self.keep(em, start, one.let(f"add i64 {offset}, {j}"), mask)
            return []

        def add(row: str, count: int) -> list[str]:
            rows = [self._plus(row, i) for i in range(count)]
            places = [(each, one.let(f"mul i64 {each}, {self.columns}")) for each in rows]

            def elements(em: Emitter, j: str, mask: str | None) -> list[str]:
                shared: dict[Tensor, str] = {}
                states = [self.begun(em, self.element(em, place, j, mask, shared)) for place in places]
                value = self.settled(em, self.total.merge(em, states))
                at = one.let(f"add i64 {offset}, {j}")
                before = load(em, self.total.dtype, self.parts, at, mask)
                self.keep(em, self.total.join(em, before, value, self.total.dtype), at, mask)
                return []

            return self.loops.write(Visit(elements), Span(begin, end))

        self.loops.write(Visit(clear), Span(begin, end))
        self.loops.walk(first, whole, BUNDLE, [], lambda row, _: add(row, BUNDLE))
        self.loops.walk(whole, last, 1, [], lambda row, _: add(row, 1))

    def _plus(self, row: str, i: int) -> str:
        return self.one.let(f"add i64 {row}, {i}") if i else row

    def element(
        self, em: Emitter, place: tuple[str, str], j: str, mask: str | None, shared: dict[Tensor, str]
    ) -> str:
        """Elements of a row, as they are gathered; its number and where it begins are its `place`.

        What is the same in all rows is `shared` by those that are walked side by side.
        """
        values: dict[Tensor, str] = {}
        for x, array in zip(self.given, self.arrays, strict=True):
            by_rows, by_columns = varies(x, self.node) or (False, False)
            if not by_rows:
                if x not in shared:
                    shared[x] = self._read(em, x, array, j if by_columns else "", mask)
                values[x] = shared[x]
            elif by_columns:
                values[x] = self._read(em, x, array, self.one.let(f"add i64 {place[1]}, {j}"), mask)
            else:
                scalar = memory_scalar(memory_dtype(x.dtype))
                at = self.one.let(f"getelementptr {scalar}, ptr {array}, i64 {place[0]}")
                values[x] = self._read(em, x, at, "", mask)
        for x in self.inside:
            operands, dtypes = [values[y] for y in x.inputs], [y.dtype for y in x.inputs]
            op = "identity" if x.op.name == _BROADCAST else spelled(x.op.name, x.attrs)
            values[x] = emit_op(em, op, operands, dtypes, x.dtype)
        base = self.node.inputs[0]
        if register_scalar(base.dtype) == self.total.scalar:
            return values[base]
        return emit_op(em, "cast", [values[base]], [base.dtype], self.total.lanes)

    def _read(self, em: Emitter, x: Tensor, array: str, at: str, mask: str | None) -> str:
        """The elements of `array` from `at` on, or its first one in all lanes."""
        dtype = memory_dtype(x.dtype)
        return load(em, dtype, array, at, mask) if at else load_single(em, dtype, array)

    def begun(self, em: Emitter, value: str) -> list[str]:
        """The state of a total that has met `value` alone."""
        if not self.total.is_extremum:
            return [value]
        return [value, em.compare("uno", self.total.scalar, value, value)]

    def settled(self, em: Emitter, state: Sequence[str]) -> str:
        """What a state stands for, in the total's dtype."""
        if not self.total.is_extremum:
            return self.total.widened(em, state[0])
        nan = em.number(self.total.scalar, float("nan"))
        return em.select(state[1], self.total.scalar, nan, state[0])

    def keep(self, em: Emitter, value: str, at: str, mask: str | None) -> None:
        """Stores totals."""
        store(em, self.total.dtype, value, self.parts, at, mask)

    def write_join(self, begin: str, end: str) -> None:
        """The results of the panel's columns."""
        one, total, node = self.one, self.total, self.node
        count = one.let(f"sitofp i64 {self.rows} to double")

        def elements(em: Emitter, j: str, mask: str | None) -> list[str]:
            def join(cut: str, before: Sequence[str]) -> list[str]:
                at = one.let(f"add i64 {one.let(f'mul i64 {cut}, {self.columns}')}, {j}")
                value = load(em, total.dtype, self.parts, at, mask)
                return [total.join(em, before[0], value, total.dtype)]

            start = load(em, total.dtype, self.parts, j, mask)
            of = em.type(register_scalar(total.dtype))
            (value,) = self.loops.walk("1", self.cuts, 1, [(of, start)], join)
            if node.op.name == "mean":
                value = em.binary("fdiv", "double", value, em.broadcast("double", count))
            if total.dtype is not node.dtype:
                value = emit_op(em, "cast", [value], [total.dtype], node.dtype)
            store(em, node.dtype, value, self.y, j, mask)
            return []

        self.loops.write(Visit(elements), Span(begin, end))
