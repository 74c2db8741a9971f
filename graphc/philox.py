"""Philox4x32-10, a counter-based generator, and the transforms of its bits.

A draw is a pure function of a key and a counter: no state is carried, so any part of it can be made
on its own, in any order, by any number of threads.

    key      = the op's key  xor  scramble(the session's seed)
    counter  = (number of the block, run count), two words of 32 bits each, the low one first

Block b gives the words 4 b .. 4 b + 3 of the draw. The transforms below are fixed sequences of IEEE
additions, multiplications, divisions and square roots, each rounded on its own (no FMA, no libm), so
that every backend gives the same bits.

Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL = 0x9E3779B9, 0xBB67AE85  # the golden ratio and sqrt(3) - 1, as in the paper
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_MASK64 = (1 << 64) - 1


def derive_key(*parts: int | str) -> int:
    """A key of 64 bits from the seeds and names that identify a random op. The same on every machine."""
    text = "\0".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def scramble(seed: int) -> int:
    """A bijection of 64 bits that spreads nearby seeds: the finalizer of SplitMix64."""
    z = (seed + 0x9E3779B97F4A7C15) & _MASK64
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK64
    return z ^ (z >> 31)


def philox(counter: tuple[Array, Array, Array, Array], key: tuple[int, int]) -> tuple[Array, ...]:
    """Ten rounds over blocks of four words.

    Shapes: ``4 of [n] -> 4 of [n]``; uint64 arrays that hold words of 32 bits.
    """
    a, b, c, d = counter
    k0, k1 = key
    for _ in range(10):
        left, right = _MULTIPLIERS[0] * a, _MULTIPLIERS[1] * c
        a, b = (right >> _HALF) ^ b ^ np.uint64(k0), right & _LOW
        c, d = (left >> _HALF) ^ d ^ np.uint64(k1), left & _LOW
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    return a, b, c, d


_BLOCKS = 1 << 14  # that many at a time keep the ten rounds in the cache


def draw_words(state: Array, key: int, count: int) -> Array:
    """The first `count` words of the draw of `key` in the run that `state` describes.

    Shapes: ``state [2] -> [count]`` of uint32.
    """
    mixed = (key ^ scramble(int(state[0]))) & _MASK64
    run = int(state[1])
    blocks = -(-count // 4)
    words = np.empty((blocks, 4), np.uint32)
    for begin in range(0, blocks, _BLOCKS):
        number = np.arange(begin, min(begin + _BLOCKS, blocks), dtype=np.uint64)
        high, low = np.full_like(number, run >> 32), np.full_like(number, run & 0xFFFFFFFF)
        made = philox((number & _LOW, number >> _HALF, low, high), (mixed & 0xFFFFFFFF, mixed >> 32))
        for column, word in enumerate(made):
            words[begin : begin + len(number), column] = word
    return words.reshape(-1)[:count]


def draw_long_words(state: Array, key: int, count: int) -> Array:
    """As `draw_words`, of 64 bits: words 2 i (low) and 2 i + 1 (high) make number i.

    Shapes: ``state [2] -> [count]`` of uint64.
    """
    pairs = draw_words(state, key, 2 * count).reshape(-1, 2).astype(np.uint64)
    return pairs[:, 0] | (pairs[:, 1] << _HALF)


# Uniform: the leading bits of a word, as many as the significand holds, scaled by a power of two.

_SIGNIFICANDS = {"float16": 11, "bfloat16": 8, "float32": 24}


def draw_uniform(state: Array, key: int, count: int, dtype: str) -> Array:
    """Uniform in ``[0, 1)``: ``floor(word / 2**(32 - p)) * 2**-p`` with p bits of significand.

    float64 takes 53 bits of a long word, the others one word each.

    Shapes: ``state [2] -> [count]`` of `dtype` (bfloat16: held as float32).
    """
    if dtype == "float64":
        return (draw_long_words(state, key, count) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    bits = _SIGNIFICANDS[dtype]
    words = draw_words(state, key, count) >> np.uint32(32 - bits)
    values = words.astype(np.float32) * np.float32(2.0**-bits)
    return values.astype(np.float16) if dtype == "float16" else values


# Normal: the inverse of the distribution function at a uniform number.
#
# A word of w bits is a sign and a magnitude m: the distance of the probability from 1/2 is
# q = (m + 1/2) / 2**w and that from 0 or 1 is p = (2**(w-1) - m - 1/2) / 2**w. Both are exact up to
# one rounding, so the tails are as good as the middle. With them Wichura's rational functions give
#
#     q <= 0.425:  z = q * A(r) / B(r),  r = 0.180625 - q * q
#     else:        r = sqrt(-log(p));  z = C(r - 1.6) / D(r - 1.6) if r <= 5 else E(r - 5) / F(r - 5)
#
# by Horner's rule from the highest power, one rounding for each operation. The logarithm is
#
#     p = m * 2**e, sqrt(1/2) <= m < sqrt(2);  s = (m - 1) / (m + 1);  t = s * s
#     log(p) = e * log(2) + 2 * s * (1 + t / 3 + t**2 / 5 + ...)
#
# Source: Wichura, "Algorithm AS 241: the percentage points of the normal distribution", Applied
# Statistics 37 (1988): PPND7 for float32 and below, PPND16 for float64.

PPND7 = (
    (3.3871327179, 50.434271938, 159.29113202, 59.109374720),
    (1.0, 17.895169469, 78.757757664, 67.187563600),
    (1.4234372777, 2.7568153900, 1.3067284816, 0.17023821103),
    (1.0, 0.73700164250, 0.12021132975),
    (6.6579051150, 3.0812263860, 0.42868294337, 0.017337203997),
    (1.0, 0.24197894225, 0.012258202635),
)
PPND16 = (
    (
        *(3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3),
        *(1.3731693765509461125e4, 4.5921953931549871457e4, 6.7265770927008700853e4),
        *(3.3430575583588128105e4, 2.5090809287301226727e3),
    ),
    (
        *(1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3),
        *(2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4),
        *(5.2264952788528545610e3,),
    ),
    (
        *(1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0),
        *(3.64784832476320460504e0, 1.27045825245236838258e0, 2.41780725177450611770e-1),
        *(2.27238449892691845833e-2, 7.74545014278341407640e-4),
    ),
    (
        *(1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1),
        *(1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4),
        *(1.05075007164441684324e-9,),
    ),
    (
        *(6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0),
        *(2.96560571828504891230e-1, 2.65321895265761230930e-2, 1.24266094738807843860e-3),
        *(2.71155556874348757815e-5, 2.01033439929228813265e-7),
    ),
    (
        *(1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2),
        *(7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7),
        *(2.04426310338993978564e-15,),
    ),
)
LOG_TERMS = {"float32": 5, "float64": 12}  # terms of the series that the significand can see
TWO_SIGMA = 0.9544997361036416  # the mass of the normal distribution within two deviations


def draw_normal(state: Array, key: int, count: int, dtype: str, truncated: bool = False) -> Array:
    """Normal with mean 0 and deviation 1; `truncated`: conditioned on lying within (-2, 2).

    float16 and bfloat16 are rounded from float32.

    Shapes: ``state [2] -> [count]`` of `dtype` (bfloat16: held as float32).
    """
    held: Any = np.float64 if dtype == "float64" else np.float32
    words = (draw_long_words if held is np.float64 else draw_words)(state, key, count)
    values = _normal(words, held, truncated)
    return values.astype(np.float16) if dtype == "float16" else values


def _normal(words: Array, held: Any, truncated: bool) -> Array:
    width = words.dtype.itemsize * 8
    one = words.dtype.type(1)
    top = words.dtype.type(width - 1)
    magnitude = words & ((one << top) - one)
    half, scale = held(0.5), held(2.0**-width)
    middle = (magnitude.astype(held) + half) * scale
    tail = (((one << top) - one - magnitude).astype(held) + half) * scale
    if truncated:
        middle = middle * held(TWO_SIGMA)
        tail = half - middle
    central, outer_central, nearer, outer_nearer, farther, outer_farther = (
        PPND16 if held is np.float64 else PPND7
    )
    r = held(0.180625) - middle * middle
    values = middle * _horner(central, r, held) / _horner(outer_central, r, held)
    (far,) = np.nonzero(middle > held(0.425))
    root = np.sqrt(-logarithm(tail[far]))
    near, beyond = root - held(1.6), root - held(5.0)
    outer = np.where(
        root <= held(5.0),
        _horner(nearer, near, held) / _horner(outer_nearer, near, held),
        _horner(farther, beyond, held) / _horner(outer_farther, beyond, held),
    )
    values[far] = outer
    signed: Array = np.where(words >> top, -values, values)
    return signed


def _horner(coefficients: tuple[float, ...], x: Array, held: Any) -> Array:
    total = np.full_like(x, held(coefficients[-1]))
    for coefficient in coefficients[-2::-1]:
        total = total * x + held(coefficient)
    return total


def logarithm(x: Array) -> Array:
    """``log(x)`` of positive normal numbers by the fixed sequence above, within 2 units in the last place.

    Shapes: ``[n] -> [n]``, float32 or float64.
    """
    held: Any = x.dtype.type
    fraction, exponent = np.frexp(x)
    low = fraction < held(0.7071067811865476)
    fraction = np.where(low, fraction + fraction, fraction)  # exact: a power of two
    exponent = (exponent - low).astype(held)
    s = (fraction - held(1)) / (fraction + held(1))
    t = s * s
    series = _horner(tuple(1.0 / (2 * i + 1) for i in range(LOG_TERMS[x.dtype.name])), t, held)
    result: Array = exponent * held(0.6931471805599453) + (s + s) * series
    return result
