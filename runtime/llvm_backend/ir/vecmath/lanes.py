"""The algebra in which functions are written: operations on lanes of float or of double."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha1
from math import inf

from runtime.llvm_backend.ir.text import Emitter, float_texts

# Of x and y the larger one, else y, by the bytes of a register and of a lane.
_LARGER = {
    (32, 4): "@llvm.x86.avx.max.ps.256",
    (32, 8): "@llvm.x86.avx.max.pd.256",
    (64, 4): "@llvm.x86.avx512.max.ps.512",
    (64, 8): "@llvm.x86.avx512.max.pd.512",
}
# The instruction that takes one of so many numbers for every lane, by the kind and number of those.
_PERMUTATIONS = {
    ("float", 16, 16): "@llvm.x86.avx512.permvar.sf.512",
    ("float", 16, 32): "@llvm.x86.avx512.vpermi2var.ps.512",
    ("float", 8, 16): "@llvm.x86.avx512.vpermi2var.ps.256",
    ("double", 8, 16): "@llvm.x86.avx512.vpermi2var.pd.512",
}


class Lanes:
    """Operations on values whose lanes are all float or all double.

    Attributes:
        emitter: where the lines go.
        double: whether lanes are double.
        scalar: ``float`` or ``double``.
        whole: the integer of the same width, ``i32`` or ``i64``.
        mantissa: the stored bits of the significand.
        bias: the exponent of 1.
    """

    def __init__(self, emitter: Emitter, double: bool) -> None:
        self.emitter, self.double = emitter, double
        self.scalar, self.whole = ("double", "i64") if double else ("float", "i32")
        self.mantissa, self.bias = (52, 1023) if double else (23, 127)
        self._binary, self._number = emitter.binary, emitter.number

    @property
    def magic(self) -> float:
        """Added to a small number this rounds it: its low bits then hold the nearest whole number."""
        return 1.5 * 2.0**self.mantissa

    @property
    def magic_bits(self) -> int:
        """The bits of `magic`."""
        return 0x4338000000000000 if self.double else 0x4B400000

    @property
    def tiny(self) -> float:
        """The least normal number."""
        return 2.0 ** (1 - self.bias)

    def pick(self, double: float, single: float) -> str:
        """The constant for this precision."""
        return self._number(self.scalar, double if self.double else single)

    def number(self, value: float) -> str:
        """A constant."""
        return self._number(self.scalar, value)

    def integer(self, value: int) -> str:
        """A constant of type `whole`."""
        return self.emitter.integer(self.whole, value)

    def add(self, x: str, y: str) -> str:
        """``x + y``."""
        return self._binary("fadd", self.scalar, x, y)

    def subtract(self, x: str, y: str) -> str:
        """``x - y``."""
        return self._binary("fsub", self.scalar, x, y)

    def multiply(self, x: str, y: str) -> str:
        """``x * y``."""
        return self._binary("fmul", self.scalar, x, y)

    def divide(self, x: str, y: str) -> str:
        """``x / y``."""
        return self._binary("fdiv", self.scalar, x, y)

    def negate(self, x: str) -> str:
        """``-x``."""
        return self.emitter.let(f"fneg {self.emitter.type(self.scalar)} {x}")

    def muladd(self, x: str, y: str, z: str) -> str:
        """``x * y + z``, in one rounding or two."""
        return self.emitter.intrinsic("fmuladd", self.scalar, x, y, z)

    def magnitude(self, x: str) -> str:
        """``|x|``."""
        return self.emitter.intrinsic("fabs", self.scalar, x)

    def root(self, x: str) -> str:
        """The square root."""
        return self.emitter.intrinsic("sqrt", self.scalar, x)

    def with_sign(self, x: str, sign: str) -> str:
        """``|x|`` with the sign of `sign`."""
        return self.emitter.intrinsic("copysign", self.scalar, x, sign)

    def compare(self, predicate: str, x: str, y: str) -> str:
        """The mask of lanes where ``x predicate y``."""
        return self.emitter.compare(predicate, self.scalar, x, y)

    def select(self, mask: str, x: str, y: str) -> str:
        """`x` where `mask` holds, else `y`."""
        return self.emitter.select(mask, self.scalar, x, y)

    def at_most(self, limit: str, x: str) -> str:
        """``min(limit, x)``: one instruction, and NaN stays."""
        return self.select(self.compare("olt", limit, x), limit, x)

    def at_least(self, limit: str, x: str) -> str:
        """``max(limit, x)``: one instruction, and NaN stays.

        LLVM's lowest level looks for a selection among lanes in all that comes before it.
        """
        em, of, size = self.emitter, self.emitter.type(self.scalar), 8 if self.double else 4
        target, bytes = em.module.target, em.width * size
        fits = target.assembly and 8 * bytes <= target.vector_bits  # widened floats fill two registers
        name = _LARGER.get((bytes, size)) if fits else None
        if name is None:
            return self.select(self.compare("ogt", limit, x), limit, x)
        more, rounding = (", i32", ", i32 4") if bytes == 64 else ("", "")
        em.module.declare(name, f"declare {of} {name}({of}, {of}{more})")
        return em.let(f"call {of} {name}({of} {limit}, {of} {x}{rounding})")

    def is_nan(self, x: str) -> str:
        """The mask of NaN."""
        return self.compare("uno", x, x)

    def is_infinite(self, x: str) -> str:
        """The mask of infinities."""
        return self.compare("oeq", self.magnitude(x), self.number(inf))

    def bits(self, x: str) -> str:
        """The bits of `x`, of type `whole`."""
        return self.emitter.convert("bitcast", self.scalar, self.whole, x)

    def from_bits(self, x: str) -> str:
        """What the bits mean."""
        return self.emitter.convert("bitcast", self.whole, self.scalar, x)

    def on_bits(self, instruction: str, x: str, y: str | int) -> str:
        """``instruction x, y`` on values of type `whole`."""
        return self._binary(instruction, self.whole, x, self.integer(y) if isinstance(y, int) else y)

    def horner(self, coefficients: Sequence[float], x: str) -> str:
        """``sum(c[i] * x ** i)``."""
        total = self.number(coefficients[-1])
        for coefficient in coefficients[-2::-1]:
            total = self.muladd(total, x, self.number(coefficient))
        return total

    def polynomial(self, double: Sequence[float], single: Sequence[float], x: str) -> str:
        """`horner` of the coefficients for this precision."""
        return self.horner(double if self.double else single, x)

    # Error-free transformations (T. J. Dekker, "A floating-point technique for extending the available
    # precision", Numerische Mathematik 18, 1971).

    def exact_sum(self, x: str, y: str) -> tuple[str, str]:
        """``x + y`` as a rounded sum and its error."""
        total = self.add(x, y)
        of_y = self.subtract(total, x)
        of_x = self.subtract(total, of_y)
        return total, self.add(self.subtract(x, of_x), self.subtract(y, of_y))

    def ordered_sum(self, x: str, y: str) -> tuple[str, str]:
        """`exact_sum` where ``|x| >= |y|``."""
        total = self.add(x, y)
        return total, self.subtract(y, self.subtract(total, x))

    def exact_product(self, x: str, y: str) -> tuple[str, str]:
        """``x * y`` as a rounded product and its error."""
        product = self.multiply(x, y)
        if self.emitter.target.fma:
            return product, self.emitter.intrinsic("fma", self.scalar, x, y, self.negate(product))
        (a, b), (c, d) = self._halves(x), self._halves(y)
        error = self.subtract(self.multiply(a, c), product)
        error = self.add(self.add(error, self.multiply(a, d)), self.multiply(b, c))
        return product, self.add(error, self.multiply(b, d))

    def precise_ratio(self, x: str, x_low: str, y: str, y_low: str) -> str:
        """``(x + x_low) / (y + y_low)``, nearly rounded once."""
        ratio = self.divide(x, y)
        back, error = self.exact_product(ratio, y)
        left = self.subtract(self.subtract(x, back), error)
        left = self.add(left, self.subtract(x_low, self.multiply(ratio, y_low)))
        return self.add(ratio, self.divide(left, y))

    def _halves(self, x: str) -> tuple[str, str]:
        kept = -(1 << 27) if self.double else -(1 << 12)
        high = self.from_bits(self.on_bits("and", self.bits(x), kept))
        return high, self.subtract(x, high)

    @property
    def scales(self) -> bool:
        """Whether `scaled` is one instruction: AVX-512 on whole registers."""
        em = self.emitter
        size = em.width * (8 if self.double else 4)
        return em.target.masks and size in (32, 64)

    @property
    def looks_up(self) -> bool:
        """Whether `looked_up` is worth it: at all widths on machines where whole registers have it.

        Functions that ask give the same bits at every width, wherever an element happens to lie. Most tables
        are of floats: those of double are for functions that have one for it.
        """
        return self.emitter.target.masks and not self.double

    def looked_up(self, table: Sequence[float], index: str) -> str:
        """The one of 16 numbers, or 32 floats, that the last four or five bits of `index` say."""
        em, of = self.emitter, self.scalar
        numbers = [f"{of} {text}" for text in float_texts(of, table)]
        if name := _PERMUTATIONS.get((of, em.width, len(table))):
            lanes, whole = em.type(of), em.type(self.whole)
            parts = [
                f"{lanes} <{', '.join(numbers[i : i + em.width])}>" for i in range(0, len(table), em.width)
            ]
            operands = [parts[0], f"{whole} {index}", *parts[1:]]
            types = ", ".join([lanes, whole, lanes][: len(operands)])
            em.module.declare(name, f"declare {lanes} {name}({types})")
            return em.let(f"call {lanes} {name}({', '.join(operands)})")
        held = f"@held.{sha1(repr((of, table)).encode()).hexdigest()[:16]}"
        em.module.declare(
            held, f"{held} = private constant [{len(table)} x {of}] [{', '.join(numbers)}], align 64"
        )
        found, within = "poison", self.on_bits("and", index, len(table) - 1)
        for i in range(em.width):
            lane = within
            if em.width > 1:
                lane = em.let(f"extractelement {em.type(self.whole)} {within}, i64 {i}")
            one = em.let(f"load {of}, ptr {em.let(f'getelementptr {of}, ptr {held}, {self.whole} {lane}')}")
            if em.width == 1:
                return one
            found = em.let(f"insertelement {em.type(of)} {found}, {of} {one}, i64 {i}")
        return found

    def scaled(self, x: str, n: str) -> str:
        """``x * 2 ** floor(n)``, rounded once; where `scales` holds."""
        em, of = self.emitter, self.emitter.type(self.scalar)
        whole_register = em.width * (8 if self.double else 4) == 64
        kind = f"{'pd' if self.double else 'ps'}.{512 if whole_register else 256}"
        mask = f"i{max(em.width, 8)}"
        more, rounding = (", i32", ", i32 4") if whole_register else ("", "")
        name = f"@llvm.x86.avx512.mask.scalef.{kind}"
        em.module.declare(name, f"declare {of} {name}({of}, {of}, {of}, {mask}{more})")
        return em.let(f"call {of} {name}({of} {x}, {of} {n}, {of} {x}, {mask} -1{rounding})")

    def held_within(self, x: str, bound: float) -> str:
        """`x`, but `bound` with its sign where that is nearer 0, or `x` is NaN; where `scales` holds."""
        em, of = self.emitter, self.emitter.type(self.scalar)
        whole_register = em.width * (8 if self.double else 4) == 64
        kind = f"{'pd' if self.double else 'ps'}.{512 if whole_register else 256}"
        mask = f"i{max(em.width, 8)}"
        more, rounding = (", i32", ", i32 4") if whole_register else ("", "")
        name, least_magnitude = f"@llvm.x86.avx512.mask.range.{kind}", 2
        em.module.declare(name, f"declare {of} {name}({of}, {of}, i32, {of}, {mask}{more})")
        operands = (
            f"{of} {x}, {of} {self.number(bound)}, i32 {least_magnitude}, {of} {x}, {mask} -1{rounding}"
        )
        return em.let(f"call {of} {name}({operands})")

    def by_kind(self, x: str, of: str, answers: int) -> str:
        """`x`, but where `of` is of a kind that `answers` names another number; where `scales` holds.

        Four bits for each kind, the lowest first: quiet and other NaN, 0, 1, -inf, inf, negative, positive.
        0 stands for `x`, 3 for NaN, 8 for 0 and 10 for 1 (VFIXUPIMM in Intel's manual).
        """
        em, type = self.emitter, self.emitter.type(self.scalar)
        whole_register = em.width * (8 if self.double else 4) == 64
        kind = f"{'pd' if self.double else 'ps'}.{512 if whole_register else 256}"
        mask, table = f"i{max(em.width, 8)}", em.type(self.whole)
        more, rounding = (", i32", ", i32 4") if whole_register else ("", "")
        name = f"@llvm.x86.avx512.mask.fixupimm.{kind}"
        em.module.declare(name, f"declare {type} {name}({type}, {type}, {table}, i32, {mask}{more})")
        return em.let(
            f"call {type} {name}({type} {x}, {type} {of}, {table} {self.integer(answers)}, i32 0, "
            f"{mask} -1{rounding})"
        )

    def power_of_two(self, exponent: str) -> str:
        """``2 ** exponent`` for an integer of type `whole` in the normal range."""
        return self.from_bits(self.on_bits("shl", self.on_bits("add", exponent, self.bias), self.mantissa))

    # Between precisions.

    def widened(self) -> Lanes:
        """The same lanes as double."""
        return Lanes(self.emitter, double=True)

    def widen(self, x: str) -> str:
        """`x` as double."""
        return x if self.double else self.emitter.convert("fpext", "float", "double", x)

    def narrow(self, x: str) -> str:
        """A double rounded to these lanes."""
        return x if self.double else self.emitter.convert("fptrunc", "double", "float", x)
