"""Partials: a long reduction is cut by its size alone; the sums of its parts are added up in pairs.

The kernel's main phase leaves the sum of each part in the buffer `PARTIALS`, laid out as the output is.
One phase adds them in pairs, one runs the epilogue; neither has a chunk where there is one part only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from graphc.sizes import Size
from runtime.llvm_backend.contractions.contraction import Access, Contract, Expression
from runtime.llvm_backend.contractions.cuts import LONG_REDUCTION
from runtime.llvm_backend.contractions.driver import pointer_of
from runtime.llvm_backend.contractions.framing import PARTIALS, make_frame
from runtime.llvm_backend.contractions.planning import plan
from runtime.llvm_backend.contractions.tile import Frame
from runtime.llvm_backend.ir import lanes
from runtime.llvm_backend.ir.text import QUICKLY
from runtime.llvm_backend.ir.values import memory_scalar
from runtime.llvm_backend.ir.writer import Value, Writer


def count_tree(w: Writer, cuts: Value, span: Size) -> Value:
    """The chunks of the phase that adds up `cuts` partial sums."""
    wanted = w.max(1, w.min(64, w.div(w.mul(cuts, w.word(span)), LONG_REDUCTION)))
    return w.select(w.compare("eq", cuts, 1), 0, wanted)


def write_tree(
    w: Writer, frame: Frame, slots: Mapping[str, int], span: Size, cuts: Callable[[Writer], Value]
) -> None:
    """Adds partial sums in pairs, in the order of their index: part[i] += part[i + 1, 2, 4, ...]."""
    dtype, width = frame.accumulator, frame.schedule.width
    type = memory_scalar(dtype)
    w.begin(f"void @{frame.name}.tree(ptr %block, i64 %chunk) {QUICKLY} nounwind")
    many, size = cuts(w), w.word(span)
    chunks = count_tree(w, many, span)
    parts = pointer_of(w, slots, PARTIALS, 0, dtype)
    first = w.div(w.mul("%chunk", size), chunks)
    stop = w.div(w.mul(w.add("%chunk", 1), size), chunks)
    w.declare("i64 @llvm.ctlz.i64(i64, i1)")
    rounds = w.sub(64, w.value(f"call i64 @llvm.ctlz.i64(i64 {w.sub(many, 1)}, i1 false)"))

    def tier(number: Value, _: list[str]) -> None:
        apart = w.value(f"shl i64 1, {number}")
        pairs = w.div(w.sub(w.add(many, apart), 1), w.mul(apart, 2))

        def pair(index: Value, _: list[str]) -> None:
            left = w.address(parts, w.mul(w.mul(w.mul(index, 2), apart), size), type)
            right = w.address(left, w.mul(apart, size), type)

            def add(at: Value, lanes_in_all: int) -> None:
                places = [w.address(pointer, at, type) for pointer in (left, right)]
                x, y = (lanes.load(w, place, dtype, lanes_in_all) for place in places)
                total = lanes.merge(w, frame.contract.combine, x, y, dtype, lanes_in_all)
                lanes.store(w, total, places[0], dtype, lanes_in_all)

            length = w.sub(stop, first)
            whole = w.add(first, w.sub(length, w.rem(length, width)))
            w.loop(whole, lambda at, _: add(at, width), start=first, step=width)
            w.loop(stop, lambda at, _: add(at, 1), start=whole)

        w.loop(pairs, pair)

    w.loop(rounds, tier)
    w.end()


def finish_frame(frame: Frame, shift: Size, contract: Contract) -> Frame:
    """That of the phase that runs the epilogue on finished sums, where they are not in the output already."""
    sums, total = frame.contract.out.strides, frame.accumulator
    finish = Contract(
        dims=contract.output_dims,
        ins=(Access(PARTIALS, shift, sums, total),),
        out=contract.out,
        combine="add" if contract.combine == "multiply_add" else contract.combine,
        prologue=(Expression(),),
        epilogue=contract.epilogue,
        also=contract.also,
    )
    schedule = plan(finish, frame.machine)
    return make_frame(finish, schedule, frame.machine, f"{frame.name}.finish")


def count_finish(w: Writer, frame: Frame, cuts: Value, chunks: Value) -> Value:
    """Those of `chunks` that are run, where there are `cuts` partial sums."""
    return w.select(w.compare("eq", cuts, 1), 0, chunks) if frame.direct else chunks
