"""Functions of floats by sixteen polynomials, whose tables fill one register each.

Intervals are four in each octave of ``x + 1``, for ``0 <= x < 15``. Each has a polynomial in the distance d
from about its middle c, which is exact; c is such that f(c) is nearly a float, so the sum is rounded once.
"""

from __future__ import annotations

from collections.abc import Sequence

from runtime.llvm_backend.ir.vecmath.lanes import Lanes

_BELOW_QUARTERS = 21  # bits of a float


def piecewise(v: Lanes, x: str, tables: Sequence[Sequence[float]], rest: str | None = None) -> str:
    """``f(x + rest)``, or NaN; where `Lanes.looks_up` holds.

    `tables` are c, f(c), and the polynomial in d that ``(f(c + d) - f(c)) / d`` is, lowest first: for each
    interval, by the last four of the bits of x + 1 down to its quarter octave.
    """
    centres, values, *slopes = tables
    quarter = v.on_bits("lshr", v.bits(v.add(x, v.number(1.0))), _BELOW_QUARTERS)
    d = v.subtract(x, v.looked_up(centres, quarter))
    if rest is not None:
        d = v.add(d, rest)
    *lower, slope = (v.looked_up(table, quarter) for table in slopes)
    for coefficient in reversed(lower):
        slope = v.muladd(slope, d, coefficient)
    return v.muladd(slope, d, v.looked_up(values, quarter))
