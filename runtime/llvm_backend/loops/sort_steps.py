"""Sort steps: lines along an axis sorted by keys (`ordering`), with the places they came from.

Runs of 1, 2, 4, ... elements are merged from one half of a chunk's scratch to the other; of equal keys
the left one goes first, so the order is stable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphc.sizes import Size, product
from graphc.tensor import Tensor
from runtime.llvm_backend.ir.text import Emitter
from runtime.llvm_backend.ir.writer import Value
from runtime.llvm_backend.loops.loop_kernel import LoopKernel, LoopWriter, bits_type, limited
from runtime.llvm_backend.loops.ordering import key_type, load_raw, order_key

_MOST_CHUNKS = 16  # each has scratch of its own


def _sorting(values: bool, places: bool) -> Callable[[Tensor], Sequence[LoopKernel]]:
    """The results: elements, where they came from, or both; all of a line, or its first `k`."""

    def make(node: Tensor) -> Sequence[LoopKernel]:
        (x,) = node.inputs
        shape = x.result.sizes
        axis = node.attrs.get("axis", len(shape) - 1)
        length, inner = shape[axis], product(shape[axis + 1 :])
        kept: Size = node.attrs.get("k", length)
        first = "k" in node.attrs
        rows = product(shape[:axis]) * inner
        w = LoopWriter()
        per, chunks = limited(rows, _MOST_CHUNKS)
        n, behind, count = w.size("n", length), w.size("inner", inner), w.size("kept", kept)
        source, results = w.operand(0), [w.result(i) for i in range(values + places)]
        own = w.add(w.mul(n, 8), 64)  # bytes of a half, with room for a key that is read beyond the last
        base = w.address(
            w.scratch("lines", chunks * (length * 8 + 64) * 4), w.mul("%chunk", w.mul(own, 4)), "i8"
        )
        halves = [w.address(base, w.mul(own, i), "i8") for i in range(4)]
        dtype, type = x.dtype, bits_type(x.dtype)

        def line(row: Value) -> None:
            outer, column = w.div(row, behind), w.rem(row, behind)
            start = w.add(w.mul(w.mul(outer, n), behind), column)

            def prepare(i: Value) -> None:
                place = w.add(start, w.mul(i, behind))

                def key(em: Emitter) -> str:
                    descending = first or node.attrs["descending"]
                    found = order_key(em, dtype, load_raw(em, dtype, source, place), descending, first)
                    return (
                        found
                        if key_type(dtype) == "i64"
                        else em.convert("zext", key_type(dtype), "i64", found)
                    )

                w.store("i64", w.emit(1, key), halves[0], i)
                w.store("i64", i, halves[1], i)

            w.each(n, prepare)
            order = _merged(w, n, halves)
            result_start = w.add(w.mul(w.mul(outer, count), behind), column)

            def give(i: Value) -> None:
                place = w.load("i64", order, i)
                to = w.add(result_start, w.mul(i, behind))
                if values:
                    found = w.load(type, source, w.add(start, w.mul(place, behind)))
                    w.store(type, found, results[0], to)
                if places:
                    w.store("i64", place, results[-1], to)

            w.each(count, give)

        w.own(w.size("rows", rows), w.size("per", per), line)
        # A line too short for the k largest is an error.
        return (w.kernel(f"{node.op.name} of {dtype}", chunks, natural=[length - kept] if first else []),)

    return make


def _merged(w: LoopWriter, n: Value, halves: Sequence[str]) -> str:
    """Sorts keys and places of the first two halves by way of the others; gives where the places are."""

    def merge_all(values: list[str]) -> list[Value]:
        run, keys, places, to_keys, to_places = values
        double = w.mul(run, 2)

        def merge(state: list[str]) -> list[Value]:
            (low,) = state
            middle, high = w.min(w.add(low, run), n), w.min(w.add(low, double), n)

            def choose(at: list[str]) -> list[Value]:
                left, right, to = at
                a, b = w.load("i64", keys, left), w.load("i64", keys, right)
                ordered = w.value(f"icmp ule i64 {a}, {b}")
                some_left = w.compare("slt", left, middle)
                none_right = w.compare("sge", right, high)
                either = w.value(f"or i1 {none_right}, {ordered}")
                takes = w.both(some_left, either)
                place = w.load("i64", places, w.select(takes, left, right))
                w.store("i64", w.select(takes, a, b), to_keys, to)
                w.store("i64", place, to_places, to)
                step = w.value(f"zext i1 {takes} to i64")
                return [w.add(left, step), w.sub(w.add(right, 1), step), w.add(to, 1)]

            w.until(["i64"] * 3, [low, middle, low], lambda at: w.compare("slt", at[2], high), choose)
            return [high]

        w.until(["i64"], [0], lambda state: w.compare("slt", state[0], n), merge)
        return [double, to_keys, to_places, keys, places]

    first: list[Value] = [1, *halves]
    last = w.until(["i64", *["ptr"] * 4], first, lambda values: w.compare("slt", values[0], n), merge_all)
    return last[2]


LOOPS: dict[str, Callable[[Tensor], Sequence[LoopKernel]]] = {
    "sort": _sorting(values=True, places=False),
    "argsort": _sorting(values=False, places=True),
    "top_k": _sorting(values=True, places=True),
}
