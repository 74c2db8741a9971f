"""Scatter steps: slices added to, or put in the place of, those that integers name.

Where updates are few for the slices there are, a first kernel writes down for each slice which updates
meant it: a list that begins in `heads` and goes on in `following`, in the order of the updates (of
replacements only the last one). A second one makes each slice once, from what was there and its list. Where
they are many, `scatter_sums` adds them up instead; which of the two runs is a matter of sizes, and the other
has no chunks. No two chunks write to one place and the bits depend on no thread. Floats are added in float64
and rounded once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from graphc.freezing import frozen
from graphc.sizes import Size, maximum, minimum, product
from graphc.tensor import Tensor
from graphc.types import FLOAT64, DType
from runtime.llvm_backend.ir.casts import cast
from runtime.llvm_backend.ir.text import Emitter
from runtime.llvm_backend.ir.values import load, memory_dtype, register_scalar, store
from runtime.llvm_backend.ir.writer import Value
from runtime.llvm_backend.loops.index_steps import coordinates, load_index, wrapped
from runtime.llvm_backend.loops.loop_kernel import (
    LoopKernel,
    LoopWriter,
    bits_type,
    broadcast_strides,
    cut_in_chunks,
    decoded,
    item_bytes,
)
from runtime.llvm_backend.loops.scatter_sums import Place, Updates, added, left_out, sum_updates

_NONE = -1
_TILE = 8  # vectors of sums in registers while a list is walked
_FEW = 16  # slices for each update from which on lists of updates pay
_WIDE = 64  # elements of a slice from which on a walk is worth its while, however many updates there are


def _kernels(
    node: Tensor,
    lists: Updates,
    indices: int,
    updates: int,
    base: int | None,
    place: Place,
    strict: bool = True,
) -> Sequence[LoopKernel]:
    """`place` gives for update k of a part: its slice, whether there is one, and the index that says so.

    Operands are meant by number; without a `base` it is zeros. Unless `strict`, negative ones are left out.
    """
    if not lists.adds:
        return _link(node, lists, place, strict), _combine(node, lists, updates, base)
    wide = minimum(lists.inner // _WIDE, 1)  # 1 where the lists are read in tiles, else 0
    # 1 where lists would be longer to walk than all slices: updates are not far fewer than those.
    many = minimum(lists.updates * _FEW // maximum(lists.slices, 1), 1) * (1 - wide)
    found = []
    if many != 1:
        pair = _link(node, lists, place, strict), _combine(node, lists, updates, base)
        found += [_where(kernel, 1 - many) for kernel in pair]
    if many != 0:
        found.append(_where(sum_updates(node, lists, updates, base, place, strict), many))
    return found


def _where(kernel: LoopKernel, runs: Size) -> LoopKernel:
    """`kernel` where `runs` is 1; nothing of it where that is 0."""
    return replace(kernel, chunks=kernel.chunks * runs, scratch=kernel.scratch * runs)


def _scratch(w: LoopWriter, lists: Updates) -> tuple[str, str]:
    heads = w.scratch("heads", lists.parts * lists.slices * 8)
    if not lists.adds:
        return heads, ""
    return heads, w.scratch("following", lists.parts * lists.updates * 8)


def _link(node: Tensor, lists: Updates, place: Place, strict: bool) -> LoopKernel:
    """From the last update to the first, each goes to the front of its list."""
    w = LoopWriter()
    heads, following = _scratch(w, lists)
    slices, updates = w.size("slices", lists.slices), w.size("updates", lists.updates)
    per, chunks = cut_in_chunks(lists.parts, (lists.slices + lists.updates) * 16)

    def part(number: Value) -> None:
        first_slice, first_update = w.mul(number, slices), w.mul(number, updates)
        w.each(slices, lambda s: w.store("i64", _NONE, heads, w.add(first_slice, s)))

        def link(turn: Value) -> None:
            k = w.sub(w.sub(updates, 1), turn) if lists.adds else turn
            slice, inside, given = place(w, number, k)

            def note() -> None:
                at, update = w.add(first_slice, slice), w.add(first_update, k)
                if lists.adds:
                    w.store("i64", w.load("i64", heads, at), following, update)
                w.store("i64", update, heads, at)

            w.choose(inside, note, lambda: left_out(w, given, strict))

        w.each(updates, link)

    w.own(w.size("parts", lists.parts), w.size("per", per), part)
    return w.kernel(f"{node.op.name}: which updates meet", chunks)


def _combine(node: Tensor, lists: Updates, number: int, base: int | None) -> LoopKernel:
    w = LoopWriter()
    heads, following = _scratch(w, lists)
    rows = lists.parts * lists.slices
    per, chunks = cut_in_chunks(rows, lists.inner * (3 * item_bytes(node.dtype)))
    given, to = w.operand(number), w.result()
    inner: Value = 1 if lists.inner == 1 else w.size("inner", lists.inner)
    before = None if base is None else w.operand(base)
    slices = _Slices(w, node.dtype, following, given, before, to, inner)
    make = slices.add if lists.adds else slices.replace
    w.own(
        w.size("rows", rows),
        w.size("per", per),
        lambda at: make(w.load("i64", heads, at), w.mul(at, inner)),
    )
    return w.kernel(f"{node.op.name} of {node.dtype}", chunks)


@frozen
class _Slices:
    """Writes a slice of `inner` elements `to` where it lies: of what was there `before`, and of its list.

    The list of a slice begins with update `head`, and goes on as `following` says; updates are `given`.
    """

    w: LoopWriter
    dtype: DType
    following: str
    given: str
    before: str | None
    to: str
    inner: Value

    def replace(self, head: str, at: Value) -> None:
        """The update, or what was there."""
        w, item, type = self.w, item_bytes(self.dtype), bits_type(self.dtype)
        assert self.before is not None
        found = w.compare("sge", head, 0)
        array = w.value(f"select i1 {found}, ptr {self.given}, ptr {self.before}")
        start = w.select(found, w.mul(head, self.inner), at)

        def alone() -> None:
            w.store(type, w.load(type, array, start), self.to, at)

        def slice() -> None:
            w.copy(w.address(self.to, at, type), w.address(array, start, type), w.mul(self.inner, item))

        w.choose(w.compare("eq", self.inner, 1), alone, slice)

    def add(self, head: str, at: Value) -> None:
        """In tiles of vectors of float64 sums, in vectors, then element by element."""
        w = self.w
        lanes = max(w.module.target.vector_bits // 64, 1)

        def columns(width: int, many: int) -> Callable[[Value], None]:
            return lambda column: self._add_columns(width, many, head, at, column)

        done: Value = 0
        for width, many in dict.fromkeys(((lanes, _TILE), (lanes, 1), (1, 1))):
            step = width * many
            whole = self.inner if step == 1 else w.mul(w.div(self.inner, step), step)
            w.each(whole, columns(width, many), start=done, step=step)
            done = whole

    def _add_columns(self, width: int, many: int, head: str, at: Value, column: Value) -> None:
        """Sums of `many` vectors that lie side by side: the list is walked once for all of them."""
        w, dtype, memory, before = self.w, self.dtype, memory_dtype(self.dtype), self.before
        total = FLOAT64 if dtype.is_floating else dtype
        register = register_scalar(total)
        type = register if width == 1 else f"<{width} x {register}>"

        def widened(em: Emitter, array: str, index: str) -> str:
            return cast(em, load(em, memory, array, index), memory, total)

        def goes_on(values: list[str]) -> str:
            return w.compare("sge", values[-1], 0)

        def add(values: list[str]) -> list[Value]:
            *sums, update = values
            place = w.add(w.mul(update, self.inner), column)

            def adding(i: int) -> Callable[[Emitter], str]:
                where = str(w.add(place, i * width))
                return lambda em: added(em, total, sums[i], widened(em, self.given, where))

            return [*(w.emit(width, adding(i)) for i in range(many)), w.load("i64", self.following, update)]

        zero = "zeroinitializer" if width > 1 else ("0.0" if dtype.is_floating else "0")
        places = [str(w.add(w.add(at, column), i * width)) for i in range(many)]
        first: list[Value] = [zero] * many
        if before is not None and not dtype.is_floating:
            first = [w.emit(width, partial(widened, array=before, index=place)) for place in places]
        *sums, _ = w.until([*[type] * many, "i64"], [*first, head], goes_on, add)

        def finish(em: Emitter, result: str, place: str) -> None:
            if dtype.is_floating and before is not None:
                result = added(em, total, widened(em, before, place), result)
            store(em, memory, cast(em, result, total, dtype), self.to, place)

        for value, place in zip(sums, places, strict=True):
            w.emit(width, partial(finish, result=value, place=place))


# The ops.


def _along(node: Tensor, adds: bool) -> Sequence[LoopKernel]:
    x, indices, _ = node.inputs
    axis: int = node.attrs["axis"]
    shape = x.result.sizes
    lists = Updates(
        product(shape[:axis]), shape[axis], product(indices.result.sizes), product(shape[axis + 1 :]), adds
    )

    def place(w: LoopWriter, _: Value, k: Value) -> tuple[Value, str, Value]:
        given = load_index(w, indices.dtype, w.operand(1), k)
        index, inside = wrapped(w, indices.dtype, given, w.size("slices", lists.slices))
        return index, inside, given

    return _kernels(node, lists, 1, 2, 0, place)


def _along_axis(node: Tensor) -> Sequence[LoopKernel]:
    """Each update is of one element; a part is all that is behind one place of the axes before `axis`."""
    x, indices, updates = node.inputs
    axis: int = node.attrs["axis"]
    shape, given_shape = x.result.sizes, updates.result.sizes
    inner = product(shape[axis + 1 :])
    lists = Updates(product(shape[:axis]), shape[axis] * inner, given_shape[axis] * inner, 1, True)
    strides = broadcast_strides(indices, given_shape)

    def place(w: LoopWriter, part: Value, k: Value) -> tuple[Value, str, Value]:
        number = w.add(w.mul(part, w.size("updates", lists.updates)), k)
        alike = indices.result.sizes == given_shape
        at = number if alike else decoded(w, number, given_shape, {"i": strides})[0]
        given = load_index(w, indices.dtype, w.operand(1), at)
        index, inside = wrapped(w, indices.dtype, given, w.size("n", shape[axis]))
        if inner == 1:
            return index, inside, given
        behind = w.size("behind", inner)
        return w.add(w.mul(index, behind), w.rem(k, behind)), inside, given

    return _kernels(node, lists, 1, 2, 0, place)


def _nd(node: Tensor) -> Sequence[LoopKernel]:
    indices, _ = node.inputs
    shape, depth = node.attrs["shape"], node.attrs["depth"]
    count = product(indices.result.sizes[:-1])
    lists = Updates(1, product(shape[:depth]), count, product(shape[depth:]), True)

    def place(w: LoopWriter, _: Value, k: Value) -> tuple[Value, str, Value]:
        return coordinates(w, indices.dtype, w.operand(0), k, shape[:depth])

    return _kernels(node, lists, 0, 1, None, place)


def _segments(node: Tensor) -> Sequence[LoopKernel]:
    x, ids = node.inputs
    (count,) = node.attrs["shape"]
    shape = x.result.sizes
    lists = Updates(1, count, shape[0], product(shape[1:]), True)

    def place(w: LoopWriter, _: Value, k: Value) -> tuple[Value, str, Value]:
        given = load_index(w, ids.dtype, w.operand(1), k)
        inside = w.value(f"icmp ult i64 {given}, {w.size('slices', lists.slices)}")
        # What is negative is left out; of unsigned ids nothing is.
        return given, inside, given if ids.dtype.kind == "i" else 0

    return _kernels(node, lists, 1, 0, None, place, strict=False)


LOOPS: dict[str, Callable[[Tensor], Sequence[LoopKernel]]] = {
    "scatter_add": lambda node: _along(node, adds=True),
    "scatter_update": lambda node: _along(node, adds=False),
    "scatter_along_axis": _along_axis,
    "scatter_nd": _nd,
    "segment_sum": _segments,
}
