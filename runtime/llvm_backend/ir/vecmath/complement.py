"""The complement of the error function in float, by tables that fill one register each.

``erfc(x) = exp(-x ** 2) f(x)`` for ``x >= 0``, where f, the scaled complement, falls slowly: it is
`piecewise`. ``x ** 2`` is taken with its error, for that of the exponential would grow with it.
"""

from __future__ import annotations

from runtime.llvm_backend.ir.vecmath.exponential import exp_by_table
from runtime.llvm_backend.ir.vecmath.lanes import Lanes
from runtime.llvm_backend.ir.vecmath.piecewise import piecewise

# At Chebyshev's nodes, to 7e-9 of f. Two are not used.
_SCALED = (
    (
        1.2500434,
        1.7500024,
        2.250085,
        2.7500057,
        3.5000515,
        4.500054,
        5.500136,
        6.500123,
        8.000232,
        1.0000379e01,
        0.0,
        0.0,
        1.2500331e-01,
        3.7500232e-01,
        6.2500507e-01,
        8.750174e-01,
    ),
    (
        3.6781386e-01,
        2.8497192e-01,
        2.3107973e-01,
        1.9366173e-01,
        1.5529153e-01,
        1.224834e-01,
        1.009598e-01,
        8.580408e-02,
        6.998317e-02,
        5.6138888e-02,
        0.0,
        0.0,
        8.7321883e-01,
        6.858558e-01,
        5.568117e-01,
        4.643061e-01,
    ),
    (
        -2.0881262e-01,
        -1.3097608e-01,
        -8.848106e-02,
        -6.3237414e-02,
        -4.1322485e-02,
        -2.6015347e-02,
        -1.7793925e-02,
        -1.2904983e-02,
        -8.616021e-03,
        -5.5588977e-03,
        0.0,
        0.0,
        -9.100687e-01,
        -6.139841e-01,
        -4.3235892e-01,
        -3.1582734e-01,
    ),
    (
        1.0678904e-01,
        5.5763423e-02,
        3.1989813e-02,
        1.9758482e-02,
        1.0660723e-02,
        5.4129465e-03,
        3.090796e-03,
        1.9201036e-03,
        1.0530145e-03,
        5.478098e-04,
        0.0,
        0.0,
        7.5945735e-01,
        4.556103e-01,
        2.865852e-01,
        1.8795167e-01,
    ),
    (
        -5.0211508e-02,
        -2.2259153e-02,
        -1.1000602e-02,
        -5.9342217e-03,
        -2.6726453e-03,
        -1.1044713e-03,
        -5.2940095e-04,
        -2.8271193e-04,
        -1.2775935e-04,
        -5.372714e-05,
        0.0,
        0.0,
        -5.434153e-01,
        -2.954165e-01,
        -1.6882657e-01,
        -1.00910366e-01,
    ),
    (
        2.2008233e-02,
        8.4061315e-03,
        3.618638e-03,
        1.7199259e-03,
        6.525578e-04,
        2.2124918e-04,
        8.947645e-05,
        4.120601e-05,
        1.5393509e-05,
        5.2442724e-06,
        0.0,
        0.0,
        3.4573793e-01,
        1.7241845e-01,
        9.052615e-02,
        4.982443e-02,
    ),
    (
        -9.206064e-03,
        -3.05339e-03,
        -1.1532343e-03,
        -4.8545856e-04,
        -1.5858961e-04,
        -4.415605e-05,
        -1.5076954e-05,
        -5.9924255e-06,
        -1.8816726e-06,
        -5.169198e-07,
        0.0,
        0.0,
        -2.0133534e-01,
        -9.280999e-02,
        -4.5111686e-02,
        -2.3020389e-02,
    ),
    (
        3.5987752e-03,
        1.0272255e-03,
        3.4918435e-04,
        1.2799511e-04,
        3.693839e-05,
        8.529013e-06,
        2.4618982e-06,
        8.5673184e-07,
        2.2384238e-07,
        5.055088e-08,
        0.0,
        0.0,
        1.08463384e-01,
        4.5896217e-02,
        2.120312e-02,
        1.0035365e-02,
    ),
)
_LIMIT = 10.2  # where the complement is less than half of the least float


def complement_by_table(v: Lanes, x: str) -> str:
    """``erfc(x)`` of floats; where `Lanes.looks_up` holds."""
    size = v.at_most(v.number(_LIMIT), v.magnitude(x))
    square, low = v.exact_product(size, size)
    far = tail_by_table(v, size, square, low)
    return v.select(v.compare("olt", x, v.number(0.0)), v.subtract(v.number(2.0), far), far)


def tail_by_table(
    v: Lanes, size: str, square: str, low: str, *, rest: str | None = None, offset: int = 0
) -> str:
    """``2 ** offset * exp(-(square + low)) f(size + rest)``, for sizes within the limit, or NaN."""
    factor = piecewise(v, size, _SCALED, rest)
    return exp_by_table(v, v.negate(square), offset, low=low, factor=factor)
