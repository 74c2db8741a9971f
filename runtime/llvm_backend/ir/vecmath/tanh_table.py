"""The hyperbolic tangent of float by tables that fill one register each: no exponential, no division.

Sixteen intervals, four in each octave of ``|x| + 1``, have a polynomial each in the distance d from about
their middle c, which is exact; c is such that tanh(c) is nearly a float, so the sum is rounded once. The
first has c = 0 and a slope of 1 there, so what is tiny is itself. Of all floats the result is off by 1.36
units in the last place at most.
"""

from __future__ import annotations

from runtime.llvm_backend.ir.vecmath.lanes import Lanes

# For each interval, by the last four of the bits of |x| + 1 down to its quarter octave: c, tanh(c), and the
# polynomial in d that ``(tanh(c + d) - tanh(c)) / d`` is, at Chebyshev's nodes. Two are not used.
_CENTRES, _VALUES, *_SLOPES = (
    (
        1.250421,
        1.7504297,
        2.250282,
        2.7506995,
        3.5005865,
        4.500294,
        5.500363,
        6.5,
        8.0,
        9.553814,
        0.0,
        0.0,
        0.0,
        0.37508607,
        0.62510663,
        0.875142,
    ),
    (
        0.84840167,
        0.9414244,
        0.9780384,
        0.99187106,
        0.99818003,
        0.99975336,
        0.9999666,
        0.99999547,
        0.99999976,
        1.0,
        0.0,
        0.0,
        0.0,
        0.3584324,
        0.55467355,
        0.7039772,
    ),
    (
        0.28021458,
        0.11372003,
        0.043440945,
        0.016191803,
        0.0036366445,
        0.00049323024,
        6.675653e-05,
        9.041334e-06,
        4.5033474e-07,
        2.0124613e-08,
        0.0,
        0.0,
        1.0,
        0.8715262,
        0.6923373,
        0.50441605,
    ),
    (
        -0.23773454,
        -0.107058816,
        -0.04248691,
        -0.016060181,
        -0.0036300118,
        -0.0004931064,
        -6.675401e-05,
        -9.04125e-06,
        -4.5018822e-07,
        -2.0124546e-08,
        0.0,
        0.0,
        -9.27702e-08,
        -0.31238323,
        -0.38402116,
        -0.3550974,
    ),
    (
        0.10829945,
        0.06288541,
        0.027073745,
        0.010532129,
        0.002409733,
        0.0003283538,
        4.4469267e-05,
        6.023319e-06,
        2.9660958e-07,
        1.34027385e-08,
        0.0,
        0.0,
        -0.33331475,
        -0.1785422,
        -0.017776765,
        0.08184029,
    ),
    (
        -0.01262679,
        -0.023513759,
        -0.012316995,
        -0.0050933165,
        -0.0011964496,
        -0.00016406839,
        -2.2238826e-05,
        -3.0126387e-06,
        -1.4918946e-07,
        -6.702942e-09,
        0.0,
        0.0,
        -0.00059862674,
        0.1681194,
        0.13786602,
        0.060752563,
    ),
    (
        -0.019583045,
        0.003518303,
        0.003977305,
        0.0019108858,
        0.00048721465,
        6.786773e-05,
        9.218603e-06,
        1.2491414e-06,
        6.9148726e-08,
        2.8015936e-09,
        0.0,
        0.0,
        0.1401335,
        0.018918863,
        -0.054466095,
        -0.05857963,
    ),
    (
        0.015102647,
        0.0020600224,
        -0.0007229023,
        -0.00054533343,
        -0.00015608215,
        -2.234024e-05,
        -3.045881e-06,
        -4.1267072e-07,
        -2.2260117e-08,
        -9.2991587e-10,
        0.0,
        0.0,
        -0.031925075,
        -0.06912702,
        -0.024019038,
        0.013034854,
    ),
)
_LIMIT = 10.0  # where the result is 1 long since


def tanh_by_table(v: Lanes, x: str) -> str:
    """``tanh(x)`` of floats; where `Lanes.looks_up` holds."""
    size = v.at_most(v.number(_LIMIT), v.magnitude(x))
    quarter = v.on_bits("lshr", v.bits(v.add(size, v.number(1.0))), 21)
    d = v.subtract(size, v.looked_up(_CENTRES, quarter))
    *lower, slope = (v.looked_up(table, quarter) for table in _SLOPES)
    for coefficient in reversed(lower):
        slope = v.muladd(slope, d, coefficient)
    return v.with_sign(v.muladd(slope, d, v.looked_up(_VALUES, quarter)), x)
