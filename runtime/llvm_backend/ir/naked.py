"""Naked: functions that are one assembly, with the numbers that it needs computed before it.

LLVM gives such a function no frame and no registers, and its assembly has no operands: nothing of it is
selected or allocated, which takes half as long. Arguments come as the System V ABI has them, on all systems.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from graphc.freezing import frozen
from graphc.sizes import Size
from runtime.llvm_backend.ir.writer import Value, Writer

CONVENTION = "x86_64_sysvcc "  # what LLVM calls it, where a naked function is written or called
_GIVEN = ("%rdi", "%rsi", "%rdx", "%rcx", "%r8", "%r9")
_FREE = ("%rax", "%r10", "%r11")
_KEPT = ("%rbx", "%rbp", "%r12", "%r13", "%r14", "%r15")  # a function leaves them as they were
_MASKS = 7  # the first mask register says that there is none
_MOST_LANES = 64
_WORD = 8  # bytes
_COPY = ("movq {1}, {0}",)
_SCALED = {
    2: "(,{1},2)",
    3: "({1},{1},2)",
    4: "(,{1},4)",
    5: "({1},{1},4)",
    8: "(,{1},8)",
    9: "({1},{1},8)",
}


class Unwritable(Exception):  # noqa: N818 - it is no error
    """A naked function has no instructions for what is asked, or not enough registers."""


@frozen
class _Op:
    """Instructions that write `made`, which is {0}, and read the others, {1} and so on; what they are for."""

    lines: Sequence[str]
    made: str
    reads: Sequence[Value]
    serves: str


class Registers(Writer):
    """Arithmetic in general registers; words and what arguments have no registers for stay where they lie.

    The words are those of `w`. `parameters` are the names of the arguments, the first of them the block.
    """

    def __init__(self, w: Writer, parameters: Sequence[str]) -> None:
        super().__init__(w.first_word, w.module)
        self.words = w.words
        self._ops: list[_Op] = []
        self._made: dict[tuple[object, ...], str] = {}
        self._masks: dict[str, str] = {}
        self._block = parameters[0]
        self._given = dict(zip(parameters, _GIVEN, strict=False))
        self._stacked = {name: i for i, name in enumerate(parameters[len(_GIVEN) :])}
        self._slots: dict[str, int] = {}

    # ---- arithmetic ------------------------------------------------------------------------------

    def word(self, size: Size) -> Value:
        """The value of a size: itself, or a word of the argument block."""
        if isinstance(size, int):
            return size
        number = self.words.setdefault(size, len(self.words))
        name = f"%word{number}"
        self._slots[name] = self.first_word + number
        return name

    def computed(self, what: str, x: Value, y: Value) -> Value:
        """`x` and `y` by ``addq``, ``subq`` or ``imulq``; some products by ``leaq``."""
        if what != "mul":
            return self._make(("movq {1}, {0}", f"{what}q {{2}}, {{0}}"), x, y)
        if isinstance(x, int):
            x, y = y, x
        if not isinstance(y, int):
            return self._make(("movq {1}, {0}", "imulq {2}, {0}"), x, y)
        if y in _SCALED and not self._is_in_memory(x):
            return self._make((f"leaq {_SCALED[y]}, {{0}}",), x)
        return self._make(("imulq {2}, {1}, {0}",), x, y)

    def min(self, x: Value, y: Value) -> Value:
        """The smaller one."""
        both = isinstance(x, int) and isinstance(y, int)
        return super().min(x, y) if both else self._choose("cmovgq", x, y)

    def max(self, x: Value, y: Value) -> Value:
        """The larger one."""
        both = isinstance(x, int) and isinstance(y, int)
        return super().max(x, y) if both else self._choose("cmovlq", x, y)

    def mask(self, count: Value, width: int) -> str:
        """The first `count` lanes of a vector."""
        if isinstance(count, int) or width > _MOST_LANES or len(self._masks) == _MASKS:
            raise Unwritable
        name, register = f"%mask{len(self._masks)}", f"%k{len(self._masks) + 1}"
        some = self.max(0, count)
        self._make(("movq $$-1, {0}", "bzhiq {1}, {0}, {0}", f"kmovq {{0}}, {register}"), some, serves=name)
        self._masks[name] = register
        return name

    def value(self, instruction: str) -> str:
        """There are none of LLVM's. Raises: Unwritable."""
        raise Unwritable(instruction)

    def do(self, instruction: str) -> None:
        """There are none of LLVM's. Raises: Unwritable."""
        raise Unwritable(instruction)

    def _is_in_memory(self, x: Value) -> bool:
        return x in self._slots or x in self._stacked

    def _choose(self, move: str, x: Value, y: Value) -> Value:
        if x == y:
            return x
        first, other = (x, y) if isinstance(x, int) else (y, x)
        return self._make(("movq {1}, {0}", "cmpq {2}, {0}", f"{move} {{2}}, {{0}}"), first, other)

    def _make(self, lines: Sequence[str], *reads: Value, serves: str = "") -> str:
        """What `lines` compute of `reads`, numbers among them."""
        key = (lines, reads)
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = self._add(lines, reads, serves)
        return found

    def _add(self, lines: Sequence[str], reads: Sequence[Value], serves: str = "") -> str:
        name = f"%t{len(self._ops)}"
        self._ops.append(_Op(lines, name, reads, serves))
        return name

    # ---- the function ----------------------------------------------------------------------------

    def write(
        self,
        body: Callable[[Sequence[str], Mapping[str, str]], Iterable[str]],
        changed: Sequence[Value],
        needed: Sequence[str],
        taken: Sequence[str],
    ) -> str:
        """The assembly of the function.

        ``body(registers, names)`` gives its lines, with the registers of what it has `changed` at the end and
        the `names` of those that are `needed`; those that are `taken` it has for itself.

        Raises: Unwritable where there are too few.
        """
        own = [self._add(_COPY, [x]) if self._is_shared(x, needed) else x for x in changed]
        held = {
            x: self._add(_COPY, [x]) if self._is_in_memory(x) else x for x in needed if x not in self._masks
        }
        ops, last = self._used([*map(str, own), *held.values(), *needed])
        registers, kept = self._allocate(ops, last, taken)
        before: list[str] = []
        for _, op in ops:
            operands = [self._place(x, registers, kept) for x in (op.made, *op.reads)]
            before += [line.format(*operands) for line in op.lines]
        names = {**self._masks, **{x: registers[there] for x, there in held.items()}}
        lines = body([registers[str(x)] for x in own], names)
        saved = [f"pushq {x}" for x in kept]
        restored = [f"popq {x}" for x in reversed(kept)]
        return "\\0A".join([*saved, *before, *lines, *restored, "vzeroupper", "retq"])

    def _is_shared(self, x: Value, needed: Sequence[str]) -> bool:
        """Whether `x` is in no register, or in one that something else is read from."""
        return isinstance(x, int) or self._is_in_memory(x) or x in needed

    def _place(self, x: Value, registers: Mapping[str, str], kept: Sequence[str]) -> str:
        """How an instruction names what it reads."""
        if isinstance(x, int):
            return f"$${x}"
        if x in registers:
            return registers[x]
        if x in self._slots:
            return f"{_WORD * self._slots[x]}({_GIVEN[0]})"
        return f"{_WORD * (1 + len(kept) + self._stacked[x])}(%rsp)"

    def _used(self, wanted: Iterable[str]) -> tuple[list[tuple[int, _Op]], dict[Value, int]]:
        """The operations that something comes of, by number; the last one that reads each value."""
        last: dict[Value, int] = dict.fromkeys(wanted, len(self._ops))
        found = []
        for i in range(len(self._ops) - 1, -1, -1):
            op = self._ops[i]
            if op.made in last or op.serves in last:
                found.append((i, op))
                for x in op.reads:
                    last.setdefault(self._block if x in self._slots else x, i)
        return found[::-1], last

    def _allocate(
        self, ops: Sequence[tuple[int, _Op]], last: Mapping[Value, int], taken: Sequence[str]
    ) -> tuple[dict[str, str], list[str]]:
        """The register of each value; those that are the caller's."""
        found = {x: register for x, register in self._given.items() if x in last}
        unused = [register for x, register in self._given.items() if x not in last]
        pool = [x for x in (*unused, *_FREE, *_KEPT) if x not in taken]
        read_last: dict[int, list[str]] = {}  # by each operation, or all
        for x in (*found, *(op.made for _, op in ops if op.made in last)):
            read_last.setdefault(last[x], []).append(x)
        for i, op in ops:
            free = [found[x] for x in read_last[i]] if i in read_last else []
            if len(op.lines) == 1:  # it reads before it writes
                pool, free = free + pool, []
            if not pool:
                raise Unwritable
            made = found[op.made] = pool.pop(0)
            if op.made not in last:
                free.append(made)
            pool = free + pool
        used = {found[op.made] for _, op in ops}
        return found, [x for x in _KEPT if x in used]
