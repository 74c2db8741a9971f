"""Tiles: what a register tile's kernel is called, where its operands lie, how expressions are evaluated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from graphc.freezing import frozen
from graphc.types import DType
from runtime.llvm_backend.contractions.contraction import AS_IT_IS, Access, Contract, Expression
from runtime.llvm_backend.contractions.facts import Facts
from runtime.llvm_backend.contractions.registers import VectorUnit
from runtime.llvm_backend.contractions.schedule import A, B, Loop, Schedule
from runtime.llvm_backend.contractions.splits import Masks
from runtime.llvm_backend.ir.notes import in_all_lanes
from runtime.llvm_backend.ir.scalars import emit_op
from runtime.llvm_backend.ir.text import Emitter
from runtime.llvm_backend.ir.values import memory_scalar, register_scalar
from runtime.llvm_backend.ir.writer import Value, Writer

SOON = "%soon"  # where the lines lie that a tile asks for


@frozen
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


@frozen
class Frame:
    """All that the parts of one kernel share; where numbers are words, all that its text depends on.

    Attributes:
        name: the kernel's: what the names of its functions begin with.
        facts: what the numbers say that are words in `schedule`.
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
    facts: Facts
    machine: VectorUnit
    flagged: bool
    direct: bool
    counted: bool
    dtypes: tuple[DType, ...]
    inner: tuple[Loop, ...]
    rows: tuple[Loop, ...]

    def __hash__(self) -> int:
        return hash((self.name, self.contract, self.schedule, self.facts))  # the others follow from these

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
            pointer, w.mul(index, w.word(loop.strides[operand])), memory_scalar(frame.dtypes[operand])
        )
        for operand, pointer in pointers.items()
    }


def parameters(frame: Frame) -> list[tuple[str, str]]:
    """The types and names of what a micro-kernel is given."""
    steps = [f"%step{i}" for i in range(len(frame.inner))] if frame.schedule.adaptive else []
    return [
        ("ptr", "%block"),
        *(("ptr noalias", f"%p{operand}") for operand in frame.used),
        *_needed(frame, ["%count", "%rows", "%lanes", *steps], ["%first", "%last"]),
        *([("ptr", SOON)] if frame.facts.ahead else []),
    ]


def call_tile(
    w: Writer,
    frame: Frame,
    tile: Tile,
    pointers: Pointers,
    numbers: Sequence[Value],
    flags: Sequence[str],
    soon: str | None,
    convention: str = "",
) -> None:
    """Calls the micro-kernel: `numbers` are count, rows, lanes and B's steps; `flags` first and last.

    `soon`: where the lines lie that it is to ask for; `convention`: that of the call, as LLVM names it.
    """
    given = [("ptr", pointers[operand]) for operand in frame.used]
    given += [*_needed(frame, numbers, flags), *([("ptr", soon)] if soon else [])]
    arguments = "".join(f", {type} {x}" for type, x in given)
    w.do(f"call {convention}void {tile.name(frame.name)}(ptr %block{arguments})")


def _needed(frame: Frame, numbers: Sequence[Value], flags: Sequence[str]) -> list[tuple[str, str]]:
    """Those of the numbers and flags that some micro-kernel of the kernel asks for."""
    schedule = frame.schedule
    asked = [frame.counted, schedule.tiles[-1].open, schedule.panels.open or schedule.panels.edge]
    found = [("i64", str(x)) for x, needed in zip(numbers, asked, strict=False) if needed]
    found += [("i64", str(x)) for x in numbers[len(asked) :]]
    return [*found, *(("i1", flag) for flag in flags if frame.flagged)]


# ---- expressions -------------------------------------------------------------------------------------


def apply(
    w: Writer, expression: Expression, given: tuple[str, DType], reads: Sequence[str], width: int
) -> tuple[str, DType]:
    """The value of an expression, and its dtype."""
    return evaluate(w, expression, given, reads, width)[-1]


def evaluate(
    w: Writer, expression: Expression, given: tuple[str, DType], reads: Sequence[str], width: int
) -> list[tuple[str, DType]]:
    """All values of an expression, with their dtypes: the given one, the reads, what its steps make."""
    value, dtype = given
    dtypes = [dtype, *(access.dtype for access in expression.reads), *(x.dtype for x in expression.steps)]

    def write(em: Emitter, operands: Sequence[str]) -> list[str]:
        values = list(operands)
        for step in expression.steps:
            of, own = [dtypes[i] for i in step.operands], [values[i] for i in step.operands]
            if step.op == "where" and step.dtype.is_floating:
                own[1:] = [in_all_lanes(em, register_scalar(step.dtype), x) for x in own[1:]]
            values.append(emit_op(em, step.op, own, of, step.dtype))
        return values

    found = [value, *reads]
    if expression.steps:
        found = w.phrase(expression, (dtype, width), found, width, write)
    return list(zip(found, dtypes, strict=True))
