"""Assembly: the loop of a tile of multiply-adds in the instructions of x86-64, and what ends the tile.

LLVM takes 15 us for each line of such a loop: it looks for instructions, their order and registers, where
all three are known. A line of these takes it 2 us, and runs alike whatever effort the rest is made with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from graphc.freezing import frozen
from graphc.types import FLOAT32, FLOAT64, DType
from runtime.llvm_backend.ir import lanes
from runtime.llvm_backend.ir.naked import Registers
from runtime.llvm_backend.ir.operands import Ending, Lines, Place, Row
from runtime.llvm_backend.ir.text import Target
from runtime.llvm_backend.ir.writer import Value, Writer

_BITS = (256, 512)  # of vectors
_SUFFIXES = {FLOAT32: "s", FLOAT64: "d"}
_FAR = 1 << 31  # how far an instruction reaches
_APART = 8  # steps on lies a line of A that is asked for by itself: the most that an address is scaled by
_AHEAD = "r10"  # where the line lies that is asked for
_LEFT = "r11"  # counts the steps that are left, where a loop is around them
_LINE = 64  # bytes of a line of the cache
_MASKS = 7  # the first mask register says that there is none
_MOVING = 3  # pointers that an ending moves: in the registers that the loop has changed, and needs no more
_POINTERS = 13  # general registers that may be asked for: one holds the stack, one may hold the frame
_ALL = 15  # where no LLVM is around


@frozen
class _Places:
    """Registers: of the sums, an element of A and vectors of B; what a loop changes; other values by name.

    Changed are where A and B lie, and the count.
    """

    vectors: Sequence[str]
    changed: Sequence[str]
    names: Mapping[str, str]


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
        ahead: how many bytes on the next rows of A lie, side by side: every step, or pair of steps, asks for
            a line of them. None: none does.
        near: how many steps on, at most eight, lies what a step asks for of B, into L1; 0: none.
        apart: whether each step asks for the line with the last row that A has eight steps on.
        soon: what every round of the outermost loop asks for; not with `ahead`.
        ending: what becomes of the sums, of which there are several rows; None: they are given back.
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
    near: int = 0
    apart: bool = False
    soon: Lines | None = None
    ending: Ending | None = None

    def fits(self, target: Target) -> bool:
        """Whether the CPU has such instructions, and as many registers."""
        bits = 8 * self.width * self.dtype.itemsize
        sums, masks, numbers = len(self.rows) * len(self.masks), self._held_masks(), self._numbers()
        return (
            target.assembly
            and self.dtype in _SUFFIXES
            and bits in _BITS
            and bits <= target.vector_bits
            and (not masks or (target.masks and self.width in (8, 16)))
            and sums + self._count_scratch() <= _count_vectors(target)
            and (self.ending is None or len(self.ending.moving) <= _MOVING)
            and len(masks) <= _MASKS
            and self._count_pointers(numbers) <= (_POINTERS if self.ending is None else _ALL)
            and all(-_FAR <= x < _FAR for x in numbers if isinstance(x, int))
        )

    def add(self, w: Writer, a: str, b: str, sums: Sequence[str]) -> list[str]:
        """Writes the loop from `a` and `b` on; gives `sums` with the products added. There is no ending.

        What is written to is given as results, for LLVM looks long for registers by their names.
        """
        target, many = w.module.target, len(sums)
        vectors = many + self._count_scratch()
        inputs = dict.fromkeys(_names(self._numbers()), ("i64", "r"))
        inputs |= dict.fromkeys(self._held_masks(), (f"<{self.width} x i1>", "^Yk"))
        inputs |= dict.fromkeys(self._given(), ("ptr", "r"))
        names = {x: f"${vectors + 3 + i}" for i, x in enumerate(inputs)}
        at = _Places([f"${i}" for i in range(vectors)], [f"${vectors + i}" for i in range(3)], names)
        lines, changed = [], [("ptr", a), ("ptr", b), ("i64", self._rounds())]
        vector = lanes.vector_type(self.dtype, self.width)
        places: Sequence[int] = range(vectors, vectors + 3)
        if set(sums) == {lanes.constant(0, self.dtype, self.width)}:
            lines = _clear(target, at.vectors[:many])
        else:
            changed, places = [*((vector, x) for x in sums), *changed], [*range(many), *places]
        lines += self._lines(target, at)
        constraints = [
            *["=&v"] * vectors,
            *["=&r"] * 3,
            *(kind for _, kind in inputs.values()),
            *map(str, places),
            *(f"~{{{register}}}" for register in self._taken()),
            "~{memory}",
            "~{flags}",
        ]
        type = f"%sums.{vectors}.{lanes.suffix(self.dtype, self.width)}"
        w.module.declare(type, f"{type} = type {{{', '.join([vector] * vectors)}, ptr, ptr, i64}}")
        given = [*(f"{kind} {x}" for x, (kind, _) in inputs.items()), *(f"{of} {x}" for of, x in changed)]
        text = "\\0A".join(lines)
        found = w.value(f'call {type} asm sideeffect "{text}", "{",".join(constraints)}"({", ".join(given)})')
        return [w.value(f"extractvalue {type} {found}, {i}") for i in range(many)]

    def whole(self, registers: Registers, a: str, b: str) -> str:
        """The assembly of a function that does all this from `a` and `b` on, its ending too.

        Raises: Unwritable where there are too few registers.
        """
        target, ending = registers.module.target, self.ending
        assert ending is not None
        kind, many = "zmm" if self._is_wide() else "ymm", len(self.rows) * len(self.masks)
        vectors = [f"%{kind}{i}" for i in range(many + self._count_scratch())]

        def body(changed: Sequence[str], names: Mapping[str, str]) -> list[str]:
            at = _Places(vectors, changed, names)
            asked = self._ask_to_store(ending.out, names) if ending.asks else []
            lines = [*_clear(target, vectors[:many]), *asked, *self._lines(target, at)]
            return [*lines, *self._end(target, ending, at)]

        needed = [*_names(self._numbers()), *self._held_masks(), *self._given()]
        taken = [f"%{register}" for register in self._taken()]
        return registers.write(body, [a, b, self._rounds()], needed, taken)

    @property
    def _looks_ahead(self) -> bool:
        asks = self.ending is not None and self.ending.asks
        return self.ahead is not None or self.soon is not None or asks

    def _is_wide(self) -> bool:
        return 8 * self.width * self.dtype.itemsize == _BITS[-1]

    def _rounds(self) -> Value:
        """What the outermost loop counts."""
        return self.around[0] if self.around else self.count

    def _taken(self) -> list[str]:
        """The registers that are asked for by name."""
        return [*([_LEFT] if self.around else []), *([_AHEAD] if self._looks_ahead else [])]

    def _count_pointers(self, numbers: Sequence[Value]) -> int:
        """How many general registers there have to be, some for `numbers`."""
        own = 3 + (self.around is not None) + self._looks_ahead
        return len(_names(numbers)) + len(self._given()) + own

    def _numbers(self) -> list[Value]:
        """What the instructions name besides two pointers and a count, each once."""
        moves = (self.count, *self.around[1:]) if self.around else ()
        ahead = [] if self.ahead is None else [self.ahead]
        ending = [] if self.ending is None else self.ending.numbers
        found = [self.a, self.b, *[row.offset for row in self.rows], *moves, *ahead, *ending]
        return list(dict.fromkeys(found))

    def _held_masks(self) -> list[str]:
        """What has to be in registers of masks."""
        masks = [*self.masks, *(self.ending.masks if self.ending else [])]
        return list(dict.fromkeys(filter(None, masks)))

    def _given(self) -> list[str]:
        """The pointers that have to be in general registers, besides two."""
        pointers = [] if self.soon is None else [self.soon.first]
        return list(dict.fromkeys([*pointers, *(self.ending.pointers if self.ending else [])]))

    def _count_scratch(self) -> int:
        """The registers of A's element, and of B's vectors: a row alone multiplies them where they lie."""
        return 1 + (len(self.masks) if len(self.rows) > 1 else 0)

    def _lines(self, target: Target, at: _Places) -> list[str]:
        (a, b, count), names = at.changed, at.names
        left = f"%{_LEFT}" if self.around else count
        loop, start = [*self._step(target, at, f"({b})"), _move(self.a, a, names)], []
        if self.ahead is not None:
            taken = (1 + self.by_pairs) * len(self.rows) * self.dtype.itemsize
            start = [f"movq {a}, %{_AHEAD}", _move(self.ahead, f"%{_AHEAD}", names)]
            loop += [f"prefetch{'t0' if self.by_pairs else 't1'} (%{_AHEAD})", f"addq $${taken}, %{_AHEAD}"]
        if self.by_pairs:
            loop += self._step(target, at, f"({b}, {names[str(self.b)]})")
            loop += [_move(self.a, a, names), _move(self.b, b, names)]
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

    def _across(self) -> int:
        """How many bytes a row of vectors has."""
        return len(self.masks) * self.width * self.dtype.itemsize

    def _columns(self, place: str) -> list[str]:
        """Where the vectors of a row lie."""
        return [f"{at}{place}" for at in range(0, self._across(), self.width * self.dtype.itemsize)]

    def _step(self, target: Target, at: _Places, b: str) -> list[str]:
        """A step from A and `b` on; an instruction's last operand is written."""
        kind, names, many = _SUFFIXES[self.dtype], at.names, len(self.rows) * len(self.masks)
        sums, (element, *columns) = at.vectors[:many], at.vectors[many:]
        places, masks, across = self._columns(b), _masked(self.masks, names), len(self.masks)
        lines = [
            f"vmovup{kind} {place}, {column}{mask and f'{mask}{{z}}'}"
            for place, column, mask in zip(places, columns, masks, strict=False)
        ]
        if self.near:
            lines += self._ask_near(at)
        if self.apart:
            lines.append(self._ask_apart(at))
        for i, row in enumerate(self.rows):
            place = _place(at.changed[0], row, names)
            # What is used once is read, in all lanes, where it is used.
            if len(columns) == 1 and target.masks:
                lines.append(f"vfmadd231p{kind} {place}{{1to{self.width}}}, {columns[0]}, {sums[i]}")
                continue
            lines.append(f"vbroadcasts{kind} {place}, {element}")
            here = sums[i * across : (i + 1) * across]
            if columns:
                lines += [
                    f"vfmadd231p{kind} {x}, {element}, {total}"
                    for x, total in zip(columns, here, strict=True)
                ]
            else:
                lines += [
                    f"vfmadd231p{kind} {x}, {element}, {total}{mask}"
                    for x, total, mask in zip(places, here, masks, strict=True)
                ]
        return lines

    def _ask_near(self, at: _Places) -> list[str]:
        """Asks for the lines of B that a later step reads."""
        b = at.changed[1]
        first, place = 0, f"({b}, {at.names[str(self.b)]}, {self.near})" if isinstance(self.b, str) else ""
        if isinstance(self.b, int):
            first, place = self.near * self.b, f"({b})"
        return [f"prefetcht0 {first + i}{place}" for i in range(0, self._across(), _LINE)]

    def _ask_apart(self, at: _Places) -> str:
        """Asks for a line of A that a later step reads."""
        a, last = at.changed[0], self.rows[-1]
        row = last.offset * last.scale if isinstance(last.offset, int) else 0
        if isinstance(self.a, int):
            return f"prefetcht0 {row + _APART * self.a}({a})"
        return f"prefetcht0 {row}({a}, {at.names[self.a]}, {_APART})"

    def _ask_to_store(self, out: Place, names: Mapping[str, str]) -> list[str]:
        """Asks for the lines that the ending writes, which no other core has then."""
        on = _move(out.row, f"%{_AHEAD}", names)
        asked = [f"prefetchw {x}(%{_AHEAD})" for x in range(0, self._across(), _LINE)]
        return [f"movq {names[out.first]}, %{_AHEAD}", *asked, *[on, *asked] * (len(self.rows) - 1)]

    def _end(self, target: Target, ending: Ending, at: _Places) -> list[str]:
        """What follows the loop."""
        kind, names, across = _SUFFIXES[self.dtype], at.names, len(self.masks)
        many, moving, masks = len(self.rows) * across, ending.moving, _masked(ending.masks, names)
        zero, alike = at.vectors[many : many + 2]
        there = {id(x): names[x.first] for x in (ending.out, *ending.reads)}
        there |= {id(x): register for x, register in zip(moving, at.changed, strict=False)}
        lines = [f"movq {names[moved.first]}, {there[id(moved)]}" for moved in moving]
        if any(op == "relu" for op, _ in ending.steps):
            lines += _clear(target, [zero])
        on = [_move(moved.row, there[id(moved)], names) for moved in moving]
        columns = {register: self._columns(f"({register})") for register in there.values()}
        for i in range(len(self.rows)):
            sums = at.vectors[i * across : (i + 1) * across]
            lines += on if i else []
            for op, number in ending.steps:
                if number is None:
                    lines += [f"vmaxp{kind} {x}, {zero}, {x}" for x in sums]
                    continue
                read = ending.reads[number]
                register = there[id(read)]
                if read.alike:
                    lines.append(f"vbroadcasts{kind} ({register}), {alike}")
                places = [alike] * across if read.alike else columns[register]
                lines += [
                    f"v{op}p{kind} {place}, {x}, {x}{mask}"
                    for x, place, mask in zip(sums, places, masks, strict=True)
                ]
            stored = zip(sums, columns[there[id(ending.out)]], masks, strict=True)
            lines += [f"vmovup{kind} {x}, {place}{mask}" for x, place, mask in stored]
            if ending.rows is not None and i + 1 < len(self.rows):
                lines += [f"cmpq $${i + 1}, {names[ending.rows]}", "jle 5f"]
        return lines if ending.rows is None else [*lines, "5:"]


def _names(numbers: Sequence[Value]) -> list[str]:
    """Those of `numbers` that have to be in general registers."""
    return [x for x in numbers if isinstance(x, str)]


def _clear(target: Target, registers: Sequence[str]) -> list[str]:
    clear = "vpxord" if target.masks else "vpxor"
    return [f"{clear} {x}, {x}, {x}" for x in registers]


def _masked(masks: Sequence[str | None], names: Mapping[str, str]) -> list[str]:
    """How instructions say which lanes count."""
    return [f" {{{names[mask]}}}" if mask else "" for mask in masks]


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
