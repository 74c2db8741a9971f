"""The text of LLVM functions: fresh names, vector types, declarations and helper functions.

The form follows the width: at width ``W > 1`` a value is a vector ``<W x T>``, at width 1 a scalar ``T``,
and the same calls write both. A value is the text of an operand: a name such as ``%v12``, or a constant.
Scalar types are spelled as LLVM spells them: ``float``, ``double``, ``half``, ``i1`` ... ``i64``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import cache

from graphc.freezing import frozen
from runtime.llvm_backend.engine.machine import Machine

_SUFFIXES = {"half": "f16", "bfloat": "bf16", "float": "f32", "double": "f64", "ptr": "p0"}
FLOATS = ("half", "bfloat", "float", "double")
INDEX, OTHER = 1, 2  # kinds of failure in the flag; the walk of the steps in Python says which one


# Of a function that calls others and computes little itself: LLVM selects its instructions one by one, which
# takes half as long.
QUICKLY = "noinline optnone"


@frozen
class Target:
    """What of a machine changes the text.

    Attributes:
        vector_bits: the width of a register.
        fma: whether a fused multiply-add is one instruction.
        half: whether float and half are converted by an instruction.
        masks: whether masked loads and stores of every width are cheap.
        assembly: whether the instructions of `ir.assembly` are its own.
        notes: whether a register says which exceptions arithmetic met, to be read as x86 has it, and the text
            may be of a kernel that reads it.
    """

    vector_bits: int = 128
    fma: bool = False
    half: bool = False
    masks: bool = False
    assembly: bool = False
    notes: bool = False


def target_of(machine: Machine) -> Target:
    """What of `machine` changes the text."""
    is_x86 = machine.architecture == "x86_64"
    assembly = is_x86 and machine.fma
    return Target(8 * machine.vector_bytes, machine.fma, machine.half, machine.masks, assembly, is_x86)


class Module:
    """Functions and declarations on their way to one text; each helper is written once.

    Args:
        target: the machine the text is for.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self._declarations: dict[str, str] = {}
        self._functions: dict[str, str] = {}

    def declare(self, name: str, line: str) -> None:
        """Adds a declaration (or a global) once."""
        self._declarations.setdefault(name, line)

    def define(self, name: str, write: Callable[[], str]) -> None:
        """Adds the function `name`, whose text `write` gives, once."""
        if name not in self._functions:
            self._functions[name] = ""  # while it is written it may be named by itself
            self._functions[name] = write()

    @property
    def text(self) -> str:
        """The whole module."""
        return "\n".join([*self._declarations.values(), *self._functions.values(), ""])


class Emitter:
    """Lines of one function, written at one width.

    Several emitters may write parts of one function: `prefix` keeps their names apart.

    Attributes:
        module: where declarations and helpers go.
        width: the number of lanes.
        active: the mask of lanes that count, or None where all do; see `fault`.
        faults: for each kind of failure the masks of lanes that met it.
        lines: what was written so far.
        label: the block that is written now.
    """

    def __init__(self, module: Module, width: int, *, prefix: str = "v", label: str = "entry") -> None:
        self.module, self.target, self.width = module, module.target, width
        self.lines: list[str] = []
        self.label = label
        self.active: str | None = None
        self.faults: dict[int, list[str]] = {}
        self._prefix, self._count = prefix, 0

    # Types and constants.

    def type(self, scalar: str) -> str:
        """The type of a value whose lanes are `scalar`."""
        return vector_of(scalar, self.width)

    def suffix(self, scalar: str) -> str:
        """How intrinsics name that type, such as ``v16f32``."""
        return suffix_of(scalar, self.width)

    def number(self, scalar: str, value: float) -> str:
        """A floating constant in all lanes, rounded to `scalar`."""
        return splat(scalar, float_text(scalar, value), self.width)

    def integer(self, scalar: str, value: int) -> str:
        """An integer constant in all lanes; for i1, 0 or 1."""
        return splat(scalar, str(value), self.width)

    # Lines.

    def name(self) -> str:
        """A name that is not yet taken."""
        self._count += 1
        return f"%{self._prefix}{self._count}"

    def let(self, line: str) -> str:
        """Names what `line` computes."""
        self._count += 1
        name = f"%{self._prefix}{self._count}"
        self.lines.append(f"  {name} = {line}")
        return name

    def do(self, line: str) -> None:
        """A line without a result."""
        self.lines.append(f"  {line}")

    def fresh_label(self, meaning: str) -> str:
        """A label that is not yet taken."""
        self._count += 1
        return f"{meaning}.{self._prefix}{self._count}"

    def begin(self, label: str) -> None:
        """Begins a block."""
        self.lines.append(f"{label}:")
        self.label = label

    def binary(self, instruction: str, scalar: str, x: str, y: str) -> str:
        """``instruction x, y``."""
        return self.let(f"{instruction} {vector_of(scalar, self.width)} {x}, {y}")

    def compare(self, predicate: str, scalar: str, x: str, y: str) -> str:
        """The mask of lanes where ``x predicate y``."""
        kind = "fcmp" if scalar in FLOATS else "icmp"
        return self.let(f"{kind} {predicate} {vector_of(scalar, self.width)} {x}, {y}")

    def select(self, mask: str, scalar: str, x: str, y: str) -> str:
        """`x` where `mask` holds, else `y`."""
        of = vector_of(scalar, self.width)
        return self.let(f"select {vector_of('i1', self.width)} {mask}, {of} {x}, {of} {y}")

    def convert(self, instruction: str, before: str, after: str, x: str) -> str:
        """``instruction x to after``, such as ``sitofp``."""
        return self.let(
            f"{instruction} {vector_of(before, self.width)} {x} to {vector_of(after, self.width)}"
        )

    def intrinsic(self, name: str, scalar: str, *operands: str) -> str:
        """``llvm.name`` of operands and a result of one type."""
        of, full, declaration = intrinsic_of(name, scalar, self.width, len(operands))
        self.module.declare(full, declaration)
        return self.let(f"call {of} {full}({', '.join([f'{of} {x}' for x in operands])})")

    def counter(self, x: str) -> str:
        """`x`, an i64 that counts a loop; see `unseen`."""
        return self.let(unseen(self.module, x))

    def both(self, x: str, y: str) -> str:
        """Where both masks hold."""
        return self.binary("and", "i1", x, y)

    def either(self, x: str, y: str) -> str:
        """Where one of two masks holds."""
        return self.binary("or", "i1", x, y)

    def opposite(self, mask: str) -> str:
        """Where `mask` does not hold."""
        return self.binary("xor", "i1", mask, self.integer("i1", 1))

    def any(self, mask: str) -> str:
        """Whether `mask` holds in some lane: an i1."""
        if self.width == 1:
            return mask
        of = vector_of("i1", self.width)
        full = f"@llvm.vector.reduce.or.v{self.width}i1"
        self.module.declare(full, f"declare i1 {full}({of})")
        return self.let(f"call i1 {full}({of} {mask})")

    def broadcast(self, scalar: str, x: str) -> str:
        """A single `scalar` in all lanes."""
        if self.width == 1:
            return x
        of = vector_of(scalar, self.width)
        first = self.let(f"insertelement {of} poison, {scalar} {x}, i64 0")
        return self.let(f"shufflevector {of} {first}, {of} poison, <{self.width} x i32> zeroinitializer")

    def fault(self, mask: str, kind: int) -> None:
        """Notes that the lanes of `mask` failed; `raise_faults` tells the flag."""
        lanes = mask if self.active is None else self.both(mask, self.active)
        self.faults.setdefault(kind, []).append(lanes)

    def raise_faults(self, flag: str) -> None:
        """Stores the kind of failure in the i32 at `flag`, where there was one since the last call."""
        for kind, masks in self.faults.items():
            lanes = masks[0]
            for other in masks[1:]:
                lanes = self.either(lanes, other)
            failed, done = self.fresh_label("failed"), self.fresh_label("checked")
            self.do(f"br i1 {self.any(lanes)}, label %{failed}, label %{done}")
            self.begin(failed)
            self.do(f"store i32 {kind}, ptr {flag}, align 4")
            self.do(f"br label %{done}")
            self.begin(done)
        self.faults = {}


def unseen(module: Module, x: str) -> str:
    """An instruction that gives the i64 `x`, of which LLVM's passes over loops know nothing then.

    Nothing is left of it in the code. LLVM's strength reduction looks at all that depends on what counts a
    loop, which took a third of the time to compile a kernel of several loops, and finds nothing to do where
    addresses are written as they are to be.
    """
    module.declare("@llvm.expect.i64", "declare i64 @llvm.expect.i64(i64, i64)")
    return f"call i64 @llvm.expect.i64(i64 {x}, i64 0)"


def load_text(
    module: Module,
    scalar: str,
    width: int,
    pointer: str,
    align: int,
    mask: str | None,
    others: str = "zeroinitializer",
) -> str:
    """An instruction that loads elements from `pointer` on; lanes outside `mask` are those of `others`."""
    of = vector_of(scalar, width)
    if mask is None:
        return f"load {of}, ptr {pointer}, align {align}"
    name, masks = f"@llvm.masked.load.{suffix_of(scalar, width)}.p0", vector_of("i1", width)
    module.declare(name, f"declare {of} {name}(ptr, i32, {masks}, {of})")
    return f"call {of} {name}(ptr {pointer}, i32 {align}, {masks} {mask}, {of} {others})"


def store_text(
    module: Module, scalar: str, width: int, x: str, pointer: str, align: int, mask: str | None
) -> str:
    """An instruction that stores the elements of `x`, or those in `mask`, from `pointer` on."""
    of = vector_of(scalar, width)
    if mask is None:
        return f"store {of} {x}, ptr {pointer}, align {align}"
    name, masks = f"@llvm.masked.store.{suffix_of(scalar, width)}.p0", vector_of("i1", width)
    module.declare(name, f"declare void {name}({of}, ptr, i32, {masks})")
    return f"call void {name}({of} {x}, ptr {pointer}, i32 {align}, {masks} {mask})"


def halves(let: Callable[[str], str], scalar: str, x: str, width: int) -> list[str]:
    """The lower and the upper lanes of `x`, by what `let` makes of instructions; scalars where it has two."""
    half, of = width // 2, vector_of(scalar, width)
    parts = [let(f"shufflevector {of} {x}, {of} poison, {lanes_from(start, half)}") for start in (0, half)]
    return parts if half > 1 else [let(f"extractelement <1 x {scalar}> {part}, i64 0") for part in parts]


@cache
def vector_of(scalar: str, width: int) -> str:
    """The type of `width` lanes: a scalar where that is 1."""
    return scalar if width == 1 else f"<{width} x {scalar}>"


@cache
def suffix_of(scalar: str, width: int) -> str:
    """How intrinsics name that type, such as ``v16f32``."""
    of = _SUFFIXES.get(scalar, scalar)
    return of if width == 1 else f"v{width}{of}"


@cache
def intrinsic_of(name: str, scalar: str, width: int, operands: int) -> tuple[str, str, str]:
    """The type of ``llvm.name`` of so many operands, its full name, and how it is declared."""
    of = vector_of(scalar, width)
    full = f"@llvm.{name}.{suffix_of(scalar, width)}"
    return of, full, f"declare {of} {full}({', '.join([of] * operands)})"


@cache
def splat(scalar: str, text: str, width: int) -> str:
    """A constant in all lanes."""
    return text if width == 1 else f"splat ({scalar} {text})"


@cache
def lanes_from(start: int, many: int) -> str:
    """The mask of a shuffle that takes so many lanes that lie side by side."""
    return f"<{many} x i32> <{', '.join([f'i32 {start + i}' for i in range(many)])}>"


@cache
def numbered(width: int, scalar: str = "i64") -> str:
    """A constant whose lanes hold their own numbers, from 0 on."""
    return f"<{', '.join(f'{scalar} {i}' for i in range(width))}>"


def float_texts(scalar: str, values: Sequence[float]) -> list[str]:
    """`float_text` of each, which takes less for all of them at once."""
    singles, doubles, bits = (f"<{len(values)}{kind}" for kind in "fdQ")
    if scalar == "float":
        values = struct.unpack(singles, struct.pack(singles, *values))
    return [f"0x{x:016X}" for x in struct.unpack(bits, struct.pack(doubles, *values))]


def float_text(scalar: str, value: float) -> str:
    """LLVM spells a float as the bits of the double that it is exactly."""
    if scalar == "float":
        value = struct.unpack("<f", struct.pack("<f", value))[0]
    return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"
