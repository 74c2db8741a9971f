"""Folds: what a reduction keeps while it walks elements: how it begins, takes one, joins two, and ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Protocol

import numpy as np

from graphc.types import BOOL, FLOAT32, FLOAT64, INT64, DType
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


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class Extreme:
    """The largest (or smallest) element and its index: the first on ties, the first NaN before all."""

    given: DType
    largest: bool

    @property
    def kept(self) -> tuple[DType, ...]:
        """The element and its index."""
        return self.given, INT64

    def first(self, em: Emitter) -> list[str]:
        """What loses against, or ties with, everything."""
        scalar = register_scalar(self.given)
        if self.given.is_floating:
            worst = em.number(scalar, -inf if self.largest else inf)
        elif self.given is BOOL:
            worst = em.integer(scalar, 0 if self.largest else 1)
        else:
            limits = np.iinfo(self.given.numpy)
            worst = em.integer(scalar, int(limits.min if self.largest else limits.max))
        return [worst, em.integer("i64", 0)]

    def take(self, em: Emitter, values: Values, x: str, index: str) -> list[str]:
        """An element behind all others."""
        better = self._better(em, x, values[0])
        return self._chosen(em, better, [x, index], values)

    def join(self, em: Emitter, x: Values, y: Values) -> list[str]:
        """The better one; of equal ones that of the lower index."""
        worse = self._better(em, x[0], y[0])
        tied = em.opposite(em.either(worse, self._better(em, y[0], x[0])))
        earlier = em.compare("slt", "i64", x[1], y[1])
        return self._chosen(em, em.either(worse, em.both(tied, earlier)), x, y)

    def _better(self, em: Emitter, x: str, y: str) -> str:
        scalar = register_scalar(self.given)
        if not self.given.is_floating:
            sign = "s" if self.given.kind == "i" else "u"
            return em.compare(f"{sign}{'gt' if self.largest else 'lt'}", scalar, x, y)
        beyond = em.compare("ogt" if self.largest else "olt", scalar, x, y)
        nan = em.both(em.compare("uno", scalar, x, x), em.compare("ord", scalar, y, y))
        return em.either(beyond, nan)

    def _chosen(self, em: Emitter, mask: str, x: Values, y: Values) -> list[str]:
        return [
            em.select(mask, register_scalar(dtype), a, b) for dtype, a, b in zip(self.kept, x, y, strict=True)
        ]


@dataclass(frozen=True, slots=True)
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
