"""The hyperbolic tangent."""

from __future__ import annotations

from runtime.llvm_backend.ir.vecmath.exponential import exp_in_range, half_expm1
from runtime.llvm_backend.ir.vecmath.lanes import Lanes
from runtime.llvm_backend.ir.vecmath.tanh_table import tanh_by_table

# (tanh(x) / x - 1) / x ** 2 in x ** 2.
_TANH_DOUBLE = (
    -0.3333333333333333,
    0.13333333333333042,
    -0.05396825396789699,
    0.021869488519008305,
    -0.008863235103240878,
    0.0035921217511549622,
    -0.0014557754120478055,
    0.0005896606577757043,
    -0.0002375906496055562,
    9.257116129556769e-05,
    -3.12011014257974e-05,
    6.485163482793113e-06,
)


def tanh(v: Lanes, x: str) -> str:
    """In float by table, or ``t / (t + 1)`` with ``t = (exp(2 |x|) - 1) / 2``.

    In double a polynomial up to 0.625, beyond it ``1 - 2 / (exp(2 |x|) + 1)``.
    """
    if v.looks_up:
        return tanh_by_table(v, x)
    size = v.magnitude(x)
    if not v.double:
        t = half_expm1(v, v.at_most(v.number(20.0), v.add(size, size)))
        return v.with_sign(v.divide(t, v.add(t, v.number(1.0))), x)
    square = v.multiply(x, x)
    series = v.multiply(v.horner(_TANH_DOUBLE, square), square)
    small = v.muladd(series, size, size)
    grown = exp_in_range(v, v.at_most(v.number(40.0), v.add(size, size)))
    one = v.number(1.0)
    large = v.subtract(one, v.divide(v.number(2.0), v.add(grown, one)))
    return v.with_sign(v.select(v.compare("olt", size, v.number(0.625)), small, large), x)
