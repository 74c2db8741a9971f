"""Choice steps: of many elements those that are chosen, in order; how many they are only the run knows.

    count      chunk by chunk: how many are chosen
    total      where each chunk's begin, and how many there are in all: the size that the step gives
    fill       chunk by chunk, once there is memory: the results

`total` writes the word of the size, where the step binds it; where another step has bound it, it must be
that. Elements are looked at by words of up to 64, which become the bits of an integer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace

from graphc.sizes import Size, maximum, minimum, product
from graphc.tensor import Tensor
from runtime.llvm_backend.ir.text import OTHER
from runtime.llvm_backend.ir.values import load, memory_dtype, register_scalar
from runtime.llvm_backend.ir.writer import Value
from runtime.llvm_backend.loops.loop_kernel import (
    LoopKernel,
    LoopWriter,
    bits_type,
    item_bytes,
)

_MOST_CHUNKS = 64
_FEWEST = 1 << 14  # elements that a chunk looks at
_LANES = {1: 64, 2: 32, 4: 32, 8: 16}  # elements of a word, by their bytes

Put = Callable[[Value, Value], None]  # ``put(element, number)``: the result of a chosen element


class Choice(ABC):
    """Writes the kernels of one op that chooses.

    Args:
        node: the op; its results have the sizes that follow from how many are chosen.
        gives: whether the step binds that size; else it is known, and `wanted`.
        count: how many elements there are.
        lanes: how many of them are in a word.
    """

    def __init__(self, node: Tensor, gives: bool, count: Size, lanes: int) -> None:
        self.node, self.gives, self.count, self.lanes = node, gives, count, lanes
        self.wanted: Size = node.attrs["shape"][0]
        per = (count + (_MOST_CHUNKS - 1)) // _MOST_CHUNKS
        self.per = maximum((per + 63) // 64 * 64, _FEWEST)
        self.chunks = maximum((count + self.per - 1) // self.per, 1)
        self.name = f"{node.op.name} of {node.inputs[0].dtype}"
        self.begun: Size = 0  # how many are chosen before the elements, all by the first chunk

    # What an op says.

    @abstractmethod
    def bits(self, w: LoopWriter, first: Value, lanes: int) -> str:
        """An i64 with a bit for each of `lanes` elements from `first` on: whether it is chosen."""

    @abstractmethod
    def put(self, w: LoopWriter) -> Put:
        """What writes a result."""

    def begin(self, w: LoopWriter) -> None:
        """Writes the results that come before those of the elements."""
        return

    # The kernels.

    def kernels(self) -> Sequence[LoopKernel]:
        """All of them, in order."""
        return self._count(), self._total(), replace(self._fill(), late=self.gives)

    def _counts(self, w: LoopWriter) -> str:
        return w.scratch("counts", 8 * _MOST_CHUNKS)

    def _words(self, w: LoopWriter, state: Value, body: Callable[[str, Value, Value], Value]) -> Value:
        """``state = body(bits, first element, state)`` for each word of this chunk; gives the last one."""
        per, count = w.size("per", self.per), w.size("count", self.count)
        start = w.mul("%chunk", per)
        stop = w.max(w.min(w.add(start, per), count), start)
        whole = w.sub(stop, w.rem(w.sub(stop, start), self.lanes))
        for end, lanes in ((whole, self.lanes), (stop, 1)):

            def step(at: Value, carried: list[str], lanes: int = lanes) -> list[str]:
                return [str(body(self.bits(w, at, lanes), at, carried[0]))]

            (last,) = w.loop(end, step, [("i64", str(state))], start=start, step=lanes)
            state, start = last, end
        return state

    def _count(self) -> LoopKernel:
        w = LoopWriter()
        counts = self._counts(w)
        found = self._words(w, 0, lambda bits, _, before: w.add(before, ones(w, bits)))
        w.store("i64", found, counts, "%chunk")
        return w.kernel(f"{self.name}, count", self.chunks)

    def _total(self) -> LoopKernel:
        w = LoopWriter()
        counts = self._counts(w)

        def begin(chunk: Value, before: list[str]) -> list[str]:
            own = w.load("i64", counts, chunk)
            w.store("i64", before[0], counts, chunk)
            return [str(w.add(before[0], own))]

        begun = 0 if self.begun == 0 else w.size("begun", self.begun)
        (total,) = w.loop(w.size("chunks", self.chunks), begin, [("i64", str(begun))])
        if self.gives:
            w.store("i64", total, w.given())
        else:
            wanted = w.size("wanted", self.wanted)
            w.when(w.compare("ne", total, wanted), lambda: w.fail(OTHER, total))
        return w.kernel(f"{self.name}, total", 1)

    def _fill(self) -> LoopKernel:
        w = LoopWriter()
        put = self.put(w)
        wanted = 0 if self.gives else w.size("wanted", self.wanted)

        def word(bits: str, first: Value, number: Value) -> Value:
            if not self.gives:  # nothing is written behind the end
                fits = w.compare("sge", wanted, w.add(number, ones(w, bits)))
                bits = w.value(f"select i1 {fits}, i64 {bits}, i64 0")

            def one(state: list[str]) -> list[Value]:
                rest, at = state
                w.declare("i64 @llvm.cttz.i64(i64, i1)")
                lane = w.value(f"call i64 @llvm.cttz.i64(i64 {rest}, i1 true)")
                put(w.add(first, lane), at)
                below = w.value(f"add i64 {rest}, -1")
                return [w.value(f"and i64 {rest}, {below}"), w.add(at, 1)]

            _, after = w.until(["i64", "i64"], [bits, number], lambda s: w.compare("ne", s[0], 0), one)
            return after

        self._words(w, w.load("i64", self._counts(w), "%chunk"), word)
        self.begin(w)
        return w.kernel(f"{self.name}, results", self.chunks)


def ones(w: LoopWriter, bits: str) -> str:
    """How many bits of an i64 are set."""
    w.declare("i64 @llvm.ctpop.i64(i64)")
    return w.value(f"call i64 @llvm.ctpop.i64(i64 {bits})")


def as_bits(w: LoopWriter, mask: str, lanes: int) -> str:
    """A mask of lanes as an i64."""
    if lanes == 1:
        return w.value(f"zext i1 {mask} to i64")
    bits = w.value(f"bitcast <{lanes} x i1> {mask} to i{lanes}")
    return bits if lanes == 64 else w.value(f"zext i{lanes} {bits} to i64")


class _Nonzero(Choice):
    """The elements of `x` that are not 0."""

    def __init__(self, node: Tensor, gives: bool, x: Tensor) -> None:
        self.x, self.dtype = x, memory_dtype(x.dtype)
        super().__init__(node, gives, product(x.result.sizes), _LANES[item_bytes(x.dtype)])

    def bits(self, w: LoopWriter, first: Value, lanes: int) -> str:
        """A number is 0 where its bits are, but for the sign of a float."""
        em, type = w.emitter(lanes), bits_type(self.dtype)
        place = w.address(w.operand(self.node.inputs.index(self.x)), first, type)
        x = w.value(f"load {em.type(type)}, ptr {place}, align {item_bytes(self.dtype)}")
        if self.dtype.is_floating:
            x = em.binary("shl", type, x, em.integer(type, 1))
        return as_bits(w, em.compare("ne", type, x, em.integer(type, 0)), lanes)


class _Places(_Nonzero):
    """Where in the flat `x` they are."""

    def put(self, w: LoopWriter) -> Put:
        result = w.result()
        return lambda element, number: w.store("i64", element, result, number)


class _Indices(_Nonzero):
    """Where they are, one row for each axis of `x`."""

    def put(self, w: LoopWriter) -> Put:
        result, shape = w.result(), self.x.result.sizes
        rows = [w.mul(w.size("rows", self.wanted), axis) for axis in range(len(shape))]

        def put(element: Value, number: Value) -> None:
            for axis in reversed(range(len(shape))):
                index = element
                if axis:
                    size = w.size(f"d{axis}", shape[axis])
                    index, element = w.rem(element, size), w.div(element, size)
                w.store("i64", index, result, w.add(rows[axis], number))

        return put


class _Kept(_Nonzero):
    """The slices of the first operand where the mask holds."""

    def put(self, w: LoopWriter) -> Put:
        x, source, result = self.node.inputs[0], w.operand(0), w.result()
        each = product(x.result.sizes[len(self.x.result.sizes) :])
        if each == 1:
            type = bits_type(x.dtype)
            return lambda element, number: w.store(type, w.load(type, source, element), result, number)
        bytes = w.size("bytes", each * item_bytes(x.dtype))

        def put(element: Value, number: Value) -> None:
            to = w.address(result, w.mul(number, bytes), "i8")
            w.copy(to, w.address(source, w.mul(element, bytes), "i8"), bytes)

        return put


class _Starts(Choice):
    """Where an element is not the one before, and 0 where there are any.

    Elements are counted from the second. NaN next to each other are equal; they are last.
    """

    def __init__(self, node: Tensor, gives: bool) -> None:
        (x,) = node.inputs
        (size,), self.dtype = x.result.sizes, memory_dtype(x.dtype)
        super().__init__(node, gives, maximum(size - 1, 0), _LANES[item_bytes(x.dtype)])
        self.begun = minimum(size, 1)

    def bits(self, w: LoopWriter, first: Value, lanes: int) -> str:
        em, x, scalar = w.emitter(lanes), w.operand(0), register_scalar(self.dtype)
        before, own = (load(em, self.dtype, x, str(at)) for at in (first, w.add(first, 1)))
        if not self.dtype.is_floating:
            return as_bits(w, em.compare("ne", scalar, before, own), lanes)
        apart = em.compare("une", scalar, before, own)
        return as_bits(w, em.both(apart, em.compare("ord", scalar, before, before)), lanes)

    def put(self, w: LoopWriter) -> Put:
        result = w.result()
        return lambda element, number: w.store("i64", w.add(element, 1), result, number)

    def begin(self, w: LoopWriter) -> None:
        is_first = w.compare("eq", "%chunk", 0)
        some = w.compare("ne", w.size("begun", self.begun), 0)
        w.when(w.both(is_first, some), lambda: w.store("i64", 0, w.result()))


def _run_numbers(node: Tensor) -> Sequence[LoopKernel]:
    """Chunk by chunk of the order: the run of its first place is looked for, then they follow each other."""
    runs, places = (x.result.sizes[0] for x in node.inputs)
    w = LoopWriter()
    per = maximum((places + (_MOST_CHUNKS - 1)) // _MOST_CHUNKS, _FEWEST)
    starts, order, result = w.operand(0), w.operand(1), w.result()
    many, count, each = w.size("runs", runs), w.size("count", places), w.size("per", per)
    first = w.mul("%chunk", each)
    last = w.min(w.add(first, each), count)

    def halve(state: list[str]) -> list[Value]:
        low, high = state
        middle = w.div(w.add(low, high), 2)
        is_after = w.compare("sge", first, w.load("i64", starts, middle))
        return [w.select(is_after, middle, low), w.select(is_after, high, middle)]

    def wide(state: list[str]) -> str:
        return w.compare("slt", w.add(state[0], 1), state[1])

    run, _ = w.until(["i64", "i64"], [0, many], wide, halve)

    def number(state: list[str]) -> list[Value]:
        own, at = state
        following = w.add(own, 1)
        ends = w.choose(
            w.compare("slt", following, many),
            lambda: [w.load("i64", starts, following)],
            lambda: [str(count)],
            ["i64"],
        )[0]
        stop = w.max(w.min(ends, last), at)

        def place(i: Value) -> None:
            to = w.load("i64", order, i)
            inside = w.value(f"icmp ult i64 {to}, {count}")
            w.when(inside, lambda: w.store("i64", own, result, to))

        w.each(stop, place, start=at)
        return [following, stop]

    def more(state: list[str]) -> str:
        return w.both(w.compare("slt", state[0], many), w.compare("slt", state[1], last))

    w.until(["i64", "i64"], [run, first], more, number)
    return (w.kernel("run_numbers", (places + (per - 1)) // per),)


Front = Callable[[Tensor, bool], Sequence[LoopKernel]]

CHOICES: dict[str, Front] = {
    "flat_nonzero": lambda node, gives: _Places(node, gives, node.inputs[0]).kernels(),
    "nonzero": lambda node, gives: _Indices(node, gives, node.inputs[0]).kernels(),
    "boolean_mask": lambda node, gives: _Kept(node, gives, node.inputs[1]).kernels(),
    "run_starts": lambda node, gives: _Starts(node, gives).kernels(),
}
"""The kernels of ops that may bind the size in their attribute `shape`; whether the step does is told."""


def _known(front: Front) -> Callable[[Tensor], Sequence[LoopKernel]]:
    return lambda node: front(node, False)


LOOPS: dict[str, Callable[[Tensor], Sequence[LoopKernel]]] = {
    **{name: _known(front) for name, front in CHOICES.items()},
    "run_numbers": _run_numbers,
}
