"""Loop kernels: machine code of loops over rows, for ops that are neither contractions nor fused rows.

    void kernel(ptr block, i64 chunk)

computes one chunk. `block` holds 8-byte words, as `LoopKernel.words` lists them: pointers to operands and
results, sizes, the flag of the run, scratch. Sizes stand in words even where they are known, so that one
text serves all sizes and equal kernels are compiled once.

Kernels that may fail set the flag and leave out what would lie outside of memory. Every element of a
result is written by one chunk, in an order that its sizes alone decide: its bits depend on no thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from graphc.freezing import frozen
from graphc.sizes import Size, maximum, minimum
from graphc.tensor import Tensor
from graphc.types import DType
from runtime.llvm_backend.contractions.strided import see_dense
from runtime.llvm_backend.engine.machine import host
from runtime.llvm_backend.ir.text import Emitter, Module, target_of
from runtime.llvm_backend.ir.values import memory_dtype, memory_scalar
from runtime.llvm_backend.ir.writer import Value, Writer
from runtime.llvm_backend.table.steptable import FAIL_TEXT

CHUNK_BYTES = 1 << 16  # what a chunk moves, at least


@frozen
class Word:
    """A word of the argument block: an operand or result by number, a size, the flag, or scratch.

    Scratch begins `size` bytes behind where the step's scratch does. "given" is where the size goes that
    the step gives.
    """

    kind: Literal["operand", "result", "size", "flag", "scratch", "given"]
    number: int = 0
    size: Size = 0


@frozen
class LoopKernel:
    """A kernel and what it is called with.

    Attributes:
        name: for users to look at.
        text: the module; its function is ``kernel``.
        words: of the block, in order.
        chunks: how many there are.
        scratch: how many bytes of scratch the step takes.
        positive: sizes that must not be 0; a run where one is goes another way.
        natural: likewise sizes that must not be negative.
        imports: the functions of the C library that the text calls.
        late: whether it runs once there is memory of the size that the step gives.
    """

    name: str
    text: str
    words: tuple[Word, ...]
    chunks: Size
    scratch: Size = 0
    positive: tuple[Size, ...] = ()
    natural: tuple[Size, ...] = ()
    imports: tuple[str, ...] = ()
    late: bool = False


class LoopWriter(Writer):
    """Writes ``kernel``; pointers and sizes are asked for by name, and loaded where it begins."""

    def __init__(self, module: Module | None = None) -> None:
        super().__init__(module=module or Module(target_of(host())))
        self.scratch_bytes: Size = 0
        self._slots: dict[str, Word] = {}
        self._table: tuple[Word, ...] = ()
        self._imports: dict[str, None] = {}
        self._helpers: dict[str, str] = {}
        self.begin("void @kernel(ptr %block, i64 %chunk) nounwind")

    # Words.

    def operand(self, number: int, name: str = "") -> str:
        """Where operand `number` lies; texts that name it alike are alike for all operands."""
        return self._slot(name or f"x{number}", Word("operand", number))

    def operands(self, numbers: Sequence[int], sizes: Sequence[Size] = ()) -> str:
        """A table behind the other words: where some operands lie, then some sizes. There is one."""
        words = [Word("operand", number) for number in numbers]
        self._table = (*words, *(Word("size", 0, size) for size in sizes))
        return "%in.table"

    def result(self, number: int = 0) -> str:
        """Where result `number` lies."""
        return self._slot(f"y{number}", Word("result", number))

    def size(self, name: str, size: Size) -> str:
        """`size` at the run; two of one name are one."""
        return self._slot(name, Word("size", 0, size))

    def given(self) -> str:
        """Where the size goes that the step gives."""
        return self._slot("given", Word("given"))

    def scratch(self, name: str, bytes: Size) -> str:
        """Where `bytes` more bytes of scratch begin; what one kernel of a step leaves the next one finds."""
        at = self.scratch_bytes
        self.scratch_bytes = at + (bytes + 63) // 64 * 64
        return self._slot(name, Word("scratch", 0, at))

    def _slot(self, name: str, word: Word) -> str:
        self._slots.setdefault(name, word)
        return f"%in.{name}"

    # Elements of memory.

    def load(self, type: str, pointer: str, index: Value = 0) -> str:
        """Element `index` of an array of `type`."""
        return self.value(f"load {type}, ptr {self.address(pointer, index, type)}, align {bytes_of(type)}")

    def store(self, type: str, value: Value, pointer: str, index: Value = 0) -> None:
        """Sets element `index` of an array of `type`."""
        self.do(f"store {type} {value}, ptr {self.address(pointer, index, type)}, align {bytes_of(type)}")

    def copy(self, to: str, source: str, bytes: Value) -> None:
        """Copies bytes between parts of memory that do not meet."""
        self._imports["memcpy"] = None
        self.module.declare("@memcpy", "declare ptr @memcpy(ptr, ptr, i64)")
        self.value(f"call ptr @memcpy(ptr {to}, ptr {source}, i64 {bytes})")

    def move(self, to: str, source: str, bytes: int) -> None:
        """Copies a few bytes without a call."""
        name = "@llvm.memcpy.inline.p0.p0.i64"
        self.module.declare(name, f"declare void {name}(ptr, ptr, i64, i1)")
        self.do(f"call void {name}(ptr {to}, ptr {source}, i64 {bytes}, i1 false)")

    def import_copy(self) -> None:
        """Lets functions of the module use `copy`."""
        self._imports["memcpy"] = None

    def clear(self, to: str, bytes: Value) -> None:
        """Sets bytes to 0."""
        self._imports["memset"] = None
        self.module.declare("@memset", "declare ptr @memset(ptr, i32, i64)")
        self.value(f"call ptr @memset(ptr {to}, i32 0, i64 {bytes})")

    # Control.

    def each(self, stop: Value, body: Callable[[Value], None], start: Value = 0, step: int = 1) -> None:
        """`body` for each number from `start` to below `stop`."""
        self.loop(stop, lambda i, _: body(i), start=start, step=step)

    def own(self, count: Value, per: Value, body: Callable[[Value], None]) -> None:
        """`body` for each number below `count` that is this chunk's, which has `per` of them."""
        first = self.mul("%chunk", per)
        self.each(self.min(self.add(first, per), count), body, start=first)

    def fail(self, code: int, value: Value = 0) -> None:
        """Notes that the run has failed."""
        self._helpers["fail"] = FAIL_TEXT
        flag = self._slot("flag", Word("flag"))
        self.do(f"call void @fail(ptr {flag}, i64 {code}, i64 {value})")

    def emitter(self, width: int) -> Emitter:
        """An emitter whose lines are those of the function, in the order in which both are asked."""
        self._count += 1
        emitter = Emitter(self.module, width, prefix=f"e{self._count}.", label=self._label)
        emitter.lines = self._lines
        return emitter

    def mark(self) -> int:
        """The place of the next line, for `insert`."""
        return len(self._lines)

    def insert(self, place: int, lines: Sequence[str]) -> None:
        """Puts lines at a place that was marked, such as the phis of a loop."""
        self._lines[place:place] = [f"  {line}" for line in lines]

    def until(
        self,
        types: Sequence[str],
        first: Sequence[Value],
        goes_on: Callable[[list[str]], str],
        body: Callable[[list[str]], Sequence[Value]],
    ) -> list[str]:
        """``while goes_on(values): values = body(values)``; gives the last ones."""
        before, head, inside, done = (self.fresh(name) for name in ("before", "head", "inside", "done"))
        values = [self.fresh("v") for _ in types]
        self.do(f"br label {before}")
        self.label(before)
        self.do(f"br label {head}")
        self.label(head)
        place = self.mark()
        self.do(f"br i1 {goes_on(values)}, label {inside}, label {done}")
        self.label(inside)
        after = list(body(values))
        latch = self._label
        self.do(f"br label {head}")
        rows = zip(values, types, first, after, strict=True)
        self.insert(place, [f"{v} = phi {t} [{a}, {before}], [{b}, %{latch}]" for v, t, a, b in rows])
        self.label(done)
        return values

    # The end.

    def kernel(
        self, name: str, chunks: Size, positive: Sequence[Size] = (), natural: Sequence[Size] = ()
    ) -> LoopKernel:
        """What was written."""
        self.end()
        text = "\n".join([self.module.text, *self._helpers.values(), self.functions()])
        return LoopKernel(
            name, text, (*self._slots.values(), *self._table), chunks, self.scratch_bytes,
            tuple(positive), tuple(natural), tuple(self._imports),
        )  # fmt: skip

    def end(self, result: str = "void") -> None:
        """Closes the function, which begins with loading all words."""
        loads = []
        for i, (name, word) in enumerate(self._slots.items()):
            type = "i64" if word.kind == "size" else "ptr"
            loads.append(f"  %at.{name} = getelementptr inbounds i64, ptr %block, i64 {i}")
            loads.append(f"  %in.{name} = load {type}, ptr %at.{name}, align 8")
        if self._table:
            loads.append(f"  %in.table = getelementptr inbounds i64, ptr %block, i64 {len(self._slots)}")
        self._lines[:0] = loads
        super().end(result)


_BYTES = {"i1": 1, "i8": 1, "i16": 2, "i32": 4, "i64": 8, "float": 4, "double": 8, "ptr": 8}


def bytes_of(type: str) -> int:
    """The bytes of an LLVM scalar."""
    return _BYTES[type]


def bits_type(dtype: DType) -> str:
    """The LLVM type of an element in memory as bits, to be moved."""
    return f"i{8 * item_bytes(dtype)}"


def item_bytes(dtype: DType) -> int:
    """The bytes of an element in memory; bfloat16 is held as float32."""
    return dtype.numpy.itemsize


def memory_type(dtype: DType) -> str:
    """The LLVM type of an element in memory."""
    return memory_scalar(memory_dtype(dtype))


def cut_in_chunks(count: Size, bytes: Size) -> tuple[Size, Size]:
    """How many of `count` things, of `bytes` each, a chunk takes, and how many chunks there are."""
    per = maximum(CHUNK_BYTES // maximum(bytes, 1), 1)
    return per, (count + per - 1) // per


def cut_at_most(count: Size, most: int) -> tuple[Size, Size]:
    """As `cut_in_chunks`: at most `most` chunks."""
    per = maximum((count + (most - 1)) // most, 1)
    return per, minimum((count + per - 1) // per, most)


def dense_strides(tensor: Tensor) -> tuple[Size, ...]:
    """How many elements one step along each axis moves."""
    return see_dense(tensor).strides


def broadcast_strides(tensor: Tensor, shape: Sequence[Size], fixed: int | None = None) -> tuple[Size, ...]:
    """The strides of `tensor` as it is walked along `shape`: 0 where it repeats, and along axis `fixed`."""
    own, strides = tensor.result.sizes, dense_strides(tensor)
    lead = len(shape) - len(own)
    kept = (
        0 if axis == fixed or size == 1 else stride
        for axis, (size, stride) in enumerate(zip(own, strides, strict=True))
    )
    return (*(0 for _ in range(lead)), *kept)


def decoded(
    w: LoopWriter, number: Value, shape: Sequence[Size], strides: Mapping[str, Sequence[Size]]
) -> list[Value]:
    """For each of `strides`, named, where element `number` of a dense array of `shape` lies with them."""
    places: list[Value] = [0] * len(strides)
    for axis in reversed(range(len(shape))):
        if axis:
            size = w.size(f"d{axis}", shape[axis])
            index, number = w.rem(number, size), w.div(number, size)
        else:
            index = number
        for i, (name, moves) in enumerate(strides.items()):
            places[i] = w.add(places[i], w.mul(index, w.size(f"{name}.d{axis}", moves[axis])))
    return places
