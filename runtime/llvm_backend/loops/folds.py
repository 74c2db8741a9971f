"""Folds: what a reduction keeps while it walks elements: how it begins, takes one, joins two, and ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from graphc.freezing import frozen
from graphc.types import FLOAT32, FLOAT64, DType
from runtime.llvm_backend.ir.casts import cast
from runtime.llvm_backend.ir.scalars import emit_op
from runtime.llvm_backend.ir.text import Emitter
from runtime.llvm_backend.ir.values import register_scalar
from runtime.llvm_backend.ir.writer import Value
from runtime.llvm_backend.loops.loop_kernel import LoopWriter

Values = Sequence[str]


class Fold(Protocol):
    """A fold of elements of one dtype; values are those of the dtypes `kept`, in registers of any width."""

    @property
    def kept(self) -> tuple[DType, ...]:
        """The dtypes of the values."""
        ...

    def first(self, em: Emitter) -> list[str]:
        """What no element gives."""
        ...

    def take(self, em: Emitter, values: Values, x: str, index: str) -> list[str]:
        """With one element more, at `index` (i64) of the reduced axis."""
        ...

    def join(self, em: Emitter, x: Values, y: Values) -> list[str]:
        """Of two parts."""
        ...


@frozen
class Combine:
    """An op on a total of dtype `total`: add, mul, maximum, logical_and, logical_or, from `neutral` on."""

    op: str
    given: DType
    total: DType
    neutral: float

    @property
    def kept(self) -> tuple[DType, ...]:
        """The total."""
        return (self.total,)

    def first(self, em: Emitter) -> list[str]:
        """The neutral element."""
        scalar = register_scalar(self.total)
        if self.total.is_floating:
            return [em.number(scalar, self.neutral)]
        return [em.integer(scalar, int(self.neutral))]

    def take(self, em: Emitter, values: Values, x: str, index: str) -> list[str]:
        """``total op x``."""
        return self.join(em, values, [cast(em, x, self.given, self.total)])

    def join(self, em: Emitter, x: Values, y: Values) -> list[str]:
        """``x op y``."""
        return [emit_op(em, self.op, [x[0], y[0]], [self.total] * 2, self.total)]


@frozen
class SumOfExponentials:
    """``sum(exp(x - shift))``, the exponentials in `wide`, their sum in float64; `shifts` by width."""

    given: DType
    wide: DType
    shifts: dict[int, str]
    kept: tuple[DType, ...] = (FLOAT64,)

    def first(self, em: Emitter) -> list[str]:
        """Zero."""
        return [em.number("double", 0.0)]

    def take(self, em: Emitter, values: Values, x: str, index: str) -> list[str]:
        """With ``exp(x - shift)``."""
        two = [self.wide] * 2
        away = emit_op(em, "sub", [cast(em, x, self.given, self.wide), self.shifts[em.width]], two, self.wide)
        power = emit_op(em, "exp", [away], [self.wide], self.wide)
        return self.join(em, values, [cast(em, power, self.wide, FLOAT64)])

    def join(self, em: Emitter, x: Values, y: Values) -> list[str]:
        """The sum of both."""
        return [em.binary("fadd", "double", x[0], y[0])]


@frozen
class Axis:
    """Neighbouring axes of a dense array that are all reduced, or all kept: their size and stride."""

    reduced: bool
    size: Value
    stride: Value


def in_lanes(w: LoopWriter, scalar: str, values: str, width: int) -> list[str]:
    """The lanes of a vector."""
    return [w.value(f"extractelement <{width} x {scalar}> {values}, i64 {i}") for i in range(width)]


def half_or_single(dtype: DType) -> DType:
    """What exponentials of `dtype` are computed in."""
    return FLOAT32 if dtype.is_floating and dtype is not FLOAT64 else FLOAT64
