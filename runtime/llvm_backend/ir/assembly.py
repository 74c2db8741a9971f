"""Assembly: the loop of a tile of multiply-adds in the instructions of x86-64.

LLVM takes 15 us for each line of such a loop: it looks for instructions, an order and registers, where all three
are known. One that is written down takes it 2 us, and runs alike at every level of effort.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphc.types import FLOAT32, FLOAT64, DType
from runtime.llvm_backend.ir import lanes
from runtime.llvm_backend.ir.text import Target
from runtime.llvm_backend.ir.writer import Value, Writer

_REGISTERS = {128: "xmm", 256: "ymm", 512: "zmm"}
_POINTERS = 13  # general registers that may be asked for: one holds the stack, one may hold the frame
_SUFFIX = {FLOAT32: "ps", FLOAT64: "pd"}


@dataclass(frozen=True, slots=True)
class Row:
    """Where a row of A lies: `offset` times `scale` bytes from the first; known, or in a register."""

    offset: Value
    scale: int = 1


@dataclass(frozen=True, slots=True)
class Products:
    """``acc[i, j] += A[i, k] * B[k, j]`` for all k: what the loop is made of.

    Attributes:
        rows: of A.
        a, b: how many bytes a step moves A and B.
        masks: of each vector of B.
        steps: that are written one after the other; how often the loop runs is a multiple.
    """

    dtype: DType
    width: int
    rows: Sequence[Row]
    a: Value
    b: Value
    masks: Sequence[str | None]
    steps: int = 1

    def fits(self, target: Target) -> bool:
        """Whether the CPU has such instructions, and as many registers."""
        bits = 8 * self.width * self.dtype.itemsize
        registers = 32 if target.masks else 16
        names = {x for x in (self.a, self.b, *(row.offset for row in self.rows)) if isinstance(x, str)}
        return (
            target.assembly
            and self.dtype in _SUFFIX
            and bits in _REGISTERS
            and bits <= target.vector_bits
            and (target.masks and self.width in (8, 16) or not any(self.masks))
            and len(self.rows) * len(self.masks) + self._held + 1 <= registers
            and len(names) + 3 <= _POINTERS
        )

    @property
    def _held(self) -> int:
        """How many vectors of B a step loads: a row alone reads them where it multiplies."""
        return len(self.masks) if len(self.rows) > 1 else 0

    def add(self, w: Writer, a: str, b: str, count: Value, sums: Sequence[str]) -> list[str]:
        """Writes the loop over `count` steps from `a` and `b` on; gives `sums` with the products added."""
        type = lanes.vector_type(self.dtype, self.width)
        known = [x for x in (self.a, self.b, *(row.offset for row in self.rows)) if isinstance(x, str)]
        inputs = [(f"i64 {x}", "r") for x in dict.fromkeys(known)]
        inputs += [(f"<{self.width} x i1> {x}", "^Yk") for x in dict.fromkeys(self.masks) if x]
        first = len(sums) + 3
        zero = set(sums) == {"zeroinitializer"}
        operand = {x.rpartition(" ")[2]: f"${first + i}" for i, (x, _) in enumerate(inputs)}
        masked = w.module.target.masks
        clear = "vpxord" if masked else "vpxor"
        lines = [f"{clear} ${i}, ${i}, ${i}" for i in range(len(sums))] if zero else []
        text = "\\0A".join(lines + self._lines(operand, len(sums), masked))
        carried = [f"ptr {a}", f"ptr {b}", f"i64 {count}"]
        if not zero:
            carried = [*(f"{type} {x}" for x in sums), *carried]
        constraints = ["=&v"] * len(sums) + ["=&r"] * 3 + [constraint for _, constraint in inputs]
        tied = range(len(sums) if zero else 0, first)
        constraints += [*map(str, tied), *self._clobbers(masked)]
        results = f"{{{', '.join([type] * len(sums))}, ptr, ptr, i64}}"
        found = w.value(
            f'call {results} asm sideeffect "{text}", "{",".join(constraints)}"'
            f"({', '.join([*(x for x, _ in inputs), *carried])})"
        )
        return [w.value(f"extractvalue {results} {found}, {i}") for i in range(len(sums))]

    def _scratch(self, masks: bool) -> list[int]:
        """The numbers of the registers of B's vectors and of A's element."""
        last = 31 if masks else 15
        return [last - i for i in range(self._held + 1)]

    def _clobbers(self, masks: bool) -> list[str]:
        return [*(f"~{{xmm{i}}}" for i in self._scratch(masks)), "~{memory}", "~{flags}"]

    def _lines(self, operand: dict[str, str], sums: int, masked: bool) -> list[str]:
        """The instructions, their operands by what the text calls them."""
        of, across = _SUFFIX[self.dtype], len(self.masks)
        itemsize = self.dtype.itemsize
        a, b, count = (f"${sums + i}" for i in range(3))
        kind = _REGISTERS[8 * self.width * itemsize]
        element, *columns = (f"%{kind}{i}" for i in self._scratch(masked))
        masks = [f" {{{operand[x]}}}" if x else "" for x in self.masks]
        places = [f"{j * self.width * itemsize}({b})" for j in range(across)]
        one = "s" + of[1]
        inside = across == 1 and columns and masked  # a single use: the multiply-add reads it itself

        def step() -> list[str]:
            found = [
                f"vmovu{of} {place}, {x}{mask}{'{z}' if mask else ''}"
                for place, x, mask in zip(places, columns, masks, strict=False)
            ]
            for i, row in enumerate(self.rows):
                place = _place(a, row, operand)
                if inside:
                    found.append(f"vfmadd231{of} {place}{{1to{self.width}}}, {columns[0]}, ${i}")
                    continue
                found.append(f"vbroadcast{one} {place}, {element}")
                for j in range(across):
                    at = f"${i * across + j}"
                    if columns:
                        found.append(f"vfmadd231{of} {columns[j]}, {element}, {at}")
                    else:
                        found.append(f"vfmadd231{of} {places[j]}, {element}, {at}{masks[j]}")
            return [*found, _move(a, self.a, operand), _move(b, self.b, operand)]

        return [
            f"testq {count}, {count}",
            "jle 2f",
            ".p2align 4",
            "1:",
            *(line for _ in range(self.steps) for line in step()),
            f"subq $${self.steps}, {count}",
            "jg 1b",
            "2:",
        ]


def _place(base: str, row: Row, operand: dict[str, str]) -> str:
    if isinstance(row.offset, int):
        return f"{row.offset * row.scale}({base})"
    return f"({base}, {operand[row.offset]}, {row.scale})"


def _move(pointer: str, step: Value, operand: dict[str, str]) -> str:
    return f"addq {f'$${step}' if isinstance(step, int) else operand[step]}, {pointer}"
