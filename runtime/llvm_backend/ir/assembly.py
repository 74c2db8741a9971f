"""Assembly: the loop of a tile of multiply-adds in the instructions of x86-64.

LLVM takes 15 us for each line of such a loop: it looks for instructions, their order and registers, where
all three are known. A line of these takes it 2 us, and runs alike whatever effort the rest is made with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from graphc.freezing import frozen
from graphc.types import FLOAT32, FLOAT64, DType
from runtime.llvm_backend.ir import lanes
from runtime.llvm_backend.ir.text import Target
from runtime.llvm_backend.ir.writer import Value, Writer

_REGISTERS = {256: "ymm", 512: "zmm"}  # by their bits
_SUFFIXES = {FLOAT32: "s", FLOAT64: "d"}
_FAR = 1 << 31  # how far an instruction reaches
_AHEAD = "r10"  # where the line lies that is asked for
_LEFT = "r11"  # counts the steps that are left, where a loop is around them
_LINE = 64  # bytes of a line of the cache
_MASKS = 7  # the first mask register says that there is none
_POINTERS = 13  # general registers that may be asked for: one holds the stack, one may hold the frame


@frozen
class Row:
    """Where a row of A lies: `offset` times `scale` bytes behind the first."""

    offset: Value
    scale: int = 1


@frozen
class Lines:
    """Lines of the cache to ask for: `many` from `first` on in a round, and `step` bytes on in the next."""

    first: str
    many: int
    step: int


@frozen
class Products:
    """``acc[i, j] += A[i, k] * B[k, j]`` for all k, where ``B[k, j]`` are vectors side by side.

    Attributes:
        dtype, width: of the lanes of a vector.
        rows: of A.
        a, b: how many bytes a step moves A and B.
        masks: which lanes each vector of B has; None: all.
        count: of the steps.
        around: a loop around all that: how often it runs, and how far it moves A and B from where the last
            step has left them.
        by_pairs: whether two steps are written one after the other: their count is even, and `b` a register.
        ahead: how many bytes on the next rows of A lie, side by side: every other step asks for a line of
            them. None: none does.
        soon: what every round of the outermost loop asks for; not with `ahead`.
    """

    dtype: DType
    width: int
    rows: Sequence[Row]
    a: Value
    b: Value
    masks: Sequence[str | None]
    count: Value
    around: tuple[Value, Value, Value] | None = None
    by_pairs: bool = False
    ahead: Value | None = None
    soon: Lines | None = None

    def fits(self, target: Target) -> bool:
        """Whether the CPU has such instructions, and as many registers."""
        bits = 8 * self.width * self.dtype.itemsize
        sums = len(self.rows) * len(self.masks)
        return (
            target.assembly
            and self.dtype in _SUFFIXES
            and bits in _REGISTERS
            and bits <= target.vector_bits
            and (not any(self.masks) or (target.masks and self.width in (8, 16)))
            and sums + len(self._scratch(target)) <= _count_vectors(target)
            and len(set(filter(None, self.masks))) <= _MASKS
            and self._count_pointers() <= _POINTERS
            and all(-_FAR <= x < _FAR for x in self._numbers() if isinstance(x, int))
        )

    def add(self, w: Writer, a: str, b: str, sums: Sequence[str]) -> list[str]:
        """Writes the loop from `a` and `b` on; gives `sums` with the products added."""
        target, many = w.module.target, len(sums)
        inputs = dict.fromkeys(self._names(), ("i64", "r"))
        inputs |= dict.fromkeys(filter(None, self.masks), (f"<{self.width} x i1>", "^Yk"))
        inputs |= {self.soon.first: ("ptr", "r")} if self.soon else {}
        names = {x: f"${many + 3 + i}" for i, x in enumerate(inputs)}
        lines, changed = [], [("ptr", a), ("ptr", b), ("i64", self.around[0] if self.around else self.count)]
        vector = lanes.vector_type(self.dtype, self.width)
        if set(sums) == {lanes.constant(0, self.dtype, self.width)}:
            clear = "vpxord" if target.masks else "vpxor"
            lines = [f"{clear} ${i}, ${i}, ${i}" for i in range(many)]
        else:
            changed = [*((vector, x) for x in sums), *changed]
        lines += self._lines(target, names, many)
        constraints = [
            *["=&v"] * many,
            *["=&r"] * 3,
            *(kind for _, kind in inputs.values()),
            *(str(i) for i in range(many + 3 - len(changed), many + 3)),
            *(f"~{{xmm{i}}}" for i in self._scratch(target)),
            *([f"~{{{_LEFT}}}"] if self.around else []),
            *([f"~{{{_AHEAD}}}"] if self._looks_ahead else []),
            "~{memory}",
            "~{flags}",
        ]
        type = f"%sums.{many}.{lanes.suffix(self.dtype, self.width)}"
        w.module.declare(type, f"{type} = type {{{', '.join([vector] * many)}, ptr, ptr, i64}}")
        given = [*(f"{kind} {x}" for x, (kind, _) in inputs.items()), *(f"{of} {x}" for of, x in changed)]
        text = "\\0A".join(lines)
        found = w.value(f'call {type} asm sideeffect "{text}", "{",".join(constraints)}"({", ".join(given)})')
        return [w.value(f"extractvalue {type} {found}, {i}") for i in range(many)]

    @property
    def _looks_ahead(self) -> bool:
        return self.ahead is not None or self.soon is not None

    def _count_pointers(self) -> int:
        """How many general registers there have to be."""
        own = 3 + (self.around is not None) + self._looks_ahead
        return len(self._names()) + own + (self.soon is not None)

    def _numbers(self) -> list[Value]:
        moves = (self.count, *self.around[1:]) if self.around else ()
        ahead = [] if self.ahead is None else [self.ahead]
        return [self.a, self.b, *(row.offset for row in self.rows), *moves, *ahead]

    def _names(self) -> list[str]:
        """What has to be in general registers, besides two pointers and a count."""
        return list(dict.fromkeys(x for x in self._numbers() if isinstance(x, str)))

    def _scratch(self, target: Target) -> list[int]:
        """The registers of A's element, and of B's vectors: a row alone multiplies them where they lie."""
        last = _count_vectors(target) - 1
        return [last - i for i in range(1 + (len(self.masks) if len(self.rows) > 1 else 0))]

    def _lines(self, target: Target, names: Mapping[str, str], many: int) -> list[str]:
        a, b, count = (f"${many + i}" for i in range(3))
        left = f"%{_LEFT}" if self.around else count
        loop, start = [*self._step(target, names, a, f"({b})"), _move(self.a, a, names)], []
        if self.ahead is not None:
            taken = 2 * len(self.rows) * self.dtype.itemsize
            start = [f"movq {a}, %{_AHEAD}", _move(self.ahead, f"%{_AHEAD}", names)]
            loop += [f"prefetcht0 (%{_AHEAD})", f"addq $${taken}, %{_AHEAD}"]
        if self.by_pairs:
            loop += [*self._step(target, names, a, f"({b}, {names[str(self.b)]})"), _move(self.a, a, names)]
            loop.append(_move(self.b, b, names))
        asked = [] if self.soon is None else _ask(self.soon)
        first = [] if self.soon is None else [f"movq {names[self.soon.first]}, %{_AHEAD}"]
        if self.around is None:
            loop, start = [*loop, *asked], [*start, *first]
        loop += [_move(self.b, b, names), f"subq $${1 + self.by_pairs}, {left}", "jg 1b"]
        loop = [*start, f"testq {left}, {left}", "jle 2f", ".p2align 5", "1:", *loop, "2:"]
        if self.around is None:
            return loop
        _, beyond_a, beyond_b = self.around
        loop = [*asked, f"movq {_operand(self.count, names)}, {left}", *loop]
        loop += [_move(beyond_a, a, names), _move(beyond_b, b, names), f"subq $$1, {count}", "jg 3b"]
        return [*first, f"testq {count}, {count}", "jle 4f", "3:", *loop, "4:"]

    def _step(self, target: Target, names: Mapping[str, str], a: str, b: str) -> Iterator[str]:
        """A step from `a` and `b` on; an instruction's last operand is written."""
        size, kind = self.dtype.itemsize, _SUFFIXES[self.dtype]
        register = _REGISTERS[8 * self.width * size]
        element, *columns = (f"%{register}{i}" for i in self._scratch(target))
        places = [f"{j * self.width * size}{b}" for j in range(len(self.masks))]
        masks = [f" {{{names[x]}}}" if x else "" for x in self.masks]
        for place, column, mask in zip(places, columns, masks, strict=False):
            yield f"vmovup{kind} {place}, {column}{mask and f'{mask}{{z}}'}"
        for i, row in enumerate(self.rows):
            place = _place(a, row, names)
            # What is used once is read, in all lanes, where it is used.
            if len(columns) == 1 and target.masks:
                yield f"vfmadd231p{kind} {place}{{1to{self.width}}}, {columns[0]}, ${i}"
                continue
            yield f"vbroadcasts{kind} {place}, {element}"
            for j, (there, mask) in enumerate(zip(places, masks, strict=True)):
                factor, mask = (columns[j], "") if columns else (there, mask)
                yield f"vfmadd231p{kind} {factor}, {element}, ${i * len(places) + j}{mask}"


def _count_vectors(target: Target) -> int:
    return 32 if target.masks else 16


def _ask(lines: Lines) -> list[str]:
    asked = [f"prefetcht1 {_LINE * i}(%{_AHEAD})" for i in range(lines.many)]
    return [*asked, f"addq $${lines.step}, %{_AHEAD}"]


def _place(base: str, row: Row, names: Mapping[str, str]) -> str:
    if isinstance(row.offset, int):
        return f"{row.offset * row.scale}({base})"
    return f"({base}, {names[row.offset]}, {row.scale})"


def _move(step: Value, pointer: str, names: Mapping[str, str]) -> str:
    return f"addq {_operand(step, names)}, {pointer}"


def _operand(x: Value, names: Mapping[str, str]) -> str:
    return f"$${x}" if isinstance(x, int) else names[x]
