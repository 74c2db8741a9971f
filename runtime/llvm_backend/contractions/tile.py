"""Tiles: how a dim is split among register tiles, what a tile's kernel is called, where its operands lie.

A size known now is split evenly: 128 rows of at most 12 are 7 x 12 + 4 x 11, never a bad edge. A size
known at the run is full tiles, then tiles of up to four rows whose surplus rows repeat the last one: such
a row is loaded, computed and stored alike, so one kernel serves any number of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from graphc.types import DType
from runtime.llvm_backend.contractions.contraction import AS_IT_IS, Access, Contract, Expression, Step
from runtime.llvm_backend.contractions.registers import VectorUnit
from runtime.llvm_backend.contractions.schedule import A, B, Loop, Schedule
from runtime.llvm_backend.ir.lanes import scalar_type
from runtime.llvm_backend.ir.scalars import emit_op
from runtime.llvm_backend.ir.writer import Value, Writer

REST = 4  # rows of the tiles that follow the full ones
Masks = Literal["none", "last", "all"]


class EmitStep(Protocol):
    """Writes a step of an expression; operands are registers of their dtypes. Gives the result's name."""

    def __call__(
        self, w: Writer, step: Step, operands: Sequence[str], dtypes: Sequence[DType], width: int
    ) -> str:
        """Writes the step into the function that `w` is writing."""
        ...


@dataclass(frozen=True, slots=True)
class Tile:
    """One micro-kernel: rows by columns, and whether rows repeat or lanes are masked at the edge."""

    pair: int
    height: int
    clamped: bool
    across: int
    masks: Masks
    clamped_columns: bool = False

    def name(self, kernel: str) -> str:
        """The function of the tile in a kernel."""
        edge = f"{'c' if self.clamped else ''}{'d' if self.clamped_columns else ''}"
        return f"@{kernel}.tile.{self.pair}.{self.height}.{self.across}.{self.masks}{edge}"


@dataclass(frozen=True, slots=True)
class Frame:
    """All that the parts of one kernel share.

    Attributes:
        name: the kernel's: what the names of its functions begin with.
        flagged: whether a tile's reduction may take several calls: `first`, `last` tell which one.
        direct: whether partial sums may lie in the output itself.
        dtypes: of each operand as a micro-kernel sees it: a packed one is of the accumulator's.
        counted: whether the first inner loop runs as often as the call says: it is a block of a loop.
        inner: the loops of the reduction as a micro-kernel sees them: packed strides for packed operands.
        rows: likewise the loops of the rows.
    """

    name: str
    contract: Contract
    schedule: Schedule
    machine: VectorUnit
    emit_step: EmitStep
    flagged: bool
    direct: bool
    counted: bool
    dtypes: tuple[DType, ...]
    inner: tuple[Loop, ...]
    rows: tuple[Loop, ...]

    @property
    def accumulator(self) -> DType:
        """The dtype that is combined in."""
        return self.contract.accumulator

    @property
    def used(self) -> tuple[int, ...]:
        """The operands there are: all but B where there is one input."""
        return tuple(i for i, access in enumerate(self.schedule.operands) if access is not None)

    def expression(self, operand: int) -> Expression:
        """The prologue of A or B; nothing where packing has applied it."""
        done = self.schedule.copy if operand == A else self.schedule.pack
        return AS_IT_IS if done else self.prologue(operand)

    def prologue(self, operand: int) -> Expression:
        """The prologue of A or B."""
        if operand == B and len(self.contract.ins) == 1:
            return AS_IT_IS
        return self.contract.input_expression(self.schedule.inputs[operand])

    def reads(self, operand: int) -> tuple[int, ...]:
        """The operands that the expression of A, B or out reads."""
        first = 3
        for owner in (A, B):
            count = len(self.prologue(owner).reads)
            if owner == operand:
                return tuple(range(first, first + count))
            first += count
        return tuple(range(first, first + len(self.contract.epilogue.reads)))

    @property
    def also(self) -> tuple[tuple[int, int], ...]:
        """What is stored besides out: the number of the epilogue's value, and the operand."""
        first = len(self.schedule.operands) - len(self.contract.also)
        return tuple((value, first + i) for i, (value, _) in enumerate(self.contract.also))

    def access(self, operand: int) -> Access:
        """The access of an operand that there is."""
        found = self.schedule.operands[operand]
        assert found is not None  # B is asked for only where there are two inputs
        return found


Pointers = Mapping[int, str]


def advance(w: Writer, frame: Frame, pointers: Pointers, loop: Loop, index: Value) -> dict[int, str]:
    """The pointers moved to `index` of a loop."""
    return {
        operand: w.address(
            pointer, w.mul(index, w.word(loop.strides[operand])), scalar_type(frame.dtypes[operand])
        )
        for operand, pointer in pointers.items()
    }


def signature(frame: Frame, name: str) -> str:
    """The head of a micro-kernel."""
    pointers = ", ".join(f"ptr noalias %p{operand}" for operand in frame.used)
    steps = "".join(f"i64 %step{i}, " for i in range(len(frame.inner))) if frame.schedule.adaptive else ""
    return (
        f"internal void {name}(ptr %block, {pointers}, i64 %count, i64 %rows, i64 %lanes, "
        f"{steps}i1 %first, i1 %last) noinline nounwind"
    )


def call_tile(
    w: Writer, frame: Frame, tile: Tile, pointers: Pointers, numbers: Sequence[Value], flags: Sequence[str]
) -> None:
    """Calls the micro-kernel: `numbers` are count, rows, lanes and B's steps; `flags` first and last."""
    arguments = [f"ptr {pointers[operand]}" for operand in frame.used]
    arguments += [f"i64 {number}" for number in numbers] + [f"i1 {flag}" for flag in flags]
    w.do(f"call void {tile.name(frame.name)}(ptr %block, {', '.join(arguments)})")


# ---- splits ------------------------------------------------------------------------------------------


def tile_count(w: Writer, size: Value, step: int) -> Value:
    """How many tiles of at most `step` cover `size`."""
    if isinstance(size, int):
        return -(-size // step)
    full = w.div(size, step)
    return w.add(full, w.ceil_div(w.sub(size, w.mul(full, step)), min(step, REST)))


def tile_start(w: Writer, size: Value, step: int, index: Value) -> Value:
    """Where tile `index` begins, and the size where it is one past the last."""
    if isinstance(size, int):
        count = -(-size // step)
        tall = size - (step - 1) * count
        start = w.mul(index, step)
        return start if tall == count else w.sub(start, w.max(w.sub(index, tall), 0))
    full, rest = w.div(size, step), min(step, REST)
    start = w.mul(w.min(index, full), step)
    return w.min(size, w.add(start, w.mul(w.max(w.sub(index, full), 0), rest)))


def visit_tile(
    w: Writer, size: Value, step: int, index: Value, body: Callable[[int, bool, Value, Value], None]
) -> None:
    """Writes ``body(extent, clamped, start, valid)`` for each kind of tile that `index` may be."""
    if isinstance(size, int):
        count = -(-size // step)
        tall = size - (step - 1) * count

        def short() -> list[str]:
            start = w.sub(w.mul(index, step), w.sub(index, tall))
            body(step - 1, False, start, step - 1)
            return []

        if tall == count:
            body(step, False, w.mul(index, step), step)
        else:
            w.choose(w.compare("slt", index, tall), lambda: _full(w, step, index, body), short)
        return
    full, rest = w.div(size, step), min(step, REST)

    def last() -> list[str]:
        start = w.add(w.mul(full, step), w.mul(w.sub(index, full), rest))
        body(rest, True, start, w.min(w.sub(size, start), rest))
        return []

    w.choose(w.compare("slt", index, full), lambda: _full(w, step, index, body), last)


def _full(w: Writer, step: int, index: Value, body: Callable[[int, bool, Value, Value], None]) -> list[str]:
    body(step, False, w.mul(index, step), step)
    return []


def visit_panel(
    w: Writer, frame: Frame, size: Value, index: Value, body: Callable[[int, Masks, Value, Value], None]
) -> None:
    """Writes ``body(vectors, masks, start, lanes)`` for each kind of panel that `index` may be."""
    width, most = frame.schedule.width, frame.schedule.vectors
    if not isinstance(size, int):
        full = w.div(size, most * width)

        def whole() -> list[str]:
            body(most, "none", w.mul(index, most * width), most * width)
            return []

        def rest() -> list[str]:
            start = w.mul(index, most * width)
            body(most, "all", start, w.sub(size, start))
            return []

        w.choose(w.compare("slt", index, full), whole, rest)
        return
    vectors = -(-size // width)

    def plain(across: int, _: bool, start: Value, __: Value) -> None:
        body(across, "none", w.mul(start, width), across * width)

    if size % width == 0:
        visit_tile(w, vectors, most, index, plain)
        return
    count = -(-vectors // most)
    across = most if vectors - (most - 1) * count == count else most - 1

    def edge() -> list[str]:
        start = (vectors - across) * width
        body(across, "last", start, size - start)
        return []

    def before() -> list[str]:
        visit_tile(w, vectors, most, index, plain)
        return []

    if count == 1:
        edge()
    else:
        w.choose(w.compare("slt", index, count - 1), before, edge)


def panel_count(w: Writer, frame: Frame, size: Value) -> Value:
    """How many panels cover the column."""
    if frame.schedule.form == "dot":
        return tile_count(w, size, frame.schedule.vectors)
    width, most = frame.schedule.width, frame.schedule.vectors
    return w.ceil_div(w.ceil_div(size, width), most)


# ---- expressions -------------------------------------------------------------------------------------


def apply(
    w: Writer,
    frame: Frame,
    expression: Expression,
    given: tuple[str, DType],
    reads: Sequence[str],
    width: int,
) -> tuple[str, DType]:
    """The value of an expression, and its dtype."""
    return evaluate(w, frame, expression, given, reads, width)[-1]


def evaluate(
    w: Writer,
    frame: Frame,
    expression: Expression,
    given: tuple[str, DType],
    reads: Sequence[str],
    width: int,
) -> list[tuple[str, DType]]:
    """All values of an expression that has steps, with their dtypes; else the given one."""
    if not expression.steps:
        return [given]
    values = [given, *((x, access.dtype) for x, access in zip(reads, expression.reads, strict=True))]
    for step in expression.steps:
        operands, dtypes = zip(*(values[i] for i in step.operands), strict=True)
        values.append((frame.emit_step(w, step, operands, dtypes, width), step.dtype))
    return values


def emit_scalar_step(
    w: Writer, step: Step, operands: Sequence[str], dtypes: Sequence[DType], width: int
) -> str:
    """Any op of `runtime.llvm_backend.ir.scalars` that cannot fail at the run."""
    return w.emit(width, lambda em: emit_op(em, step.op, operands, dtypes, step.dtype))
