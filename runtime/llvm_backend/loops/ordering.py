"""Ordering: numbers as integers that are in the same order, which is what sorting and searching compare.

Equal numbers have equal keys: -0.0 is 0.0, and all NaN are one, behind everything else. What sorts values
alone may tell -0.0 from 0.0: then only NaN cannot be had back from its key.
"""

from __future__ import annotations

from graphc.types import DType
from runtime.llvm_backend.ir.text import Emitter
from runtime.llvm_backend.ir.writer import Value
from runtime.llvm_backend.loops.loop_kernel import bytes_of, memory_type

_FLOATS = {"float": ("i32", 23), "double": ("i64", 52), "i16": ("i16", 10)}  # bits; those of the fraction


def key_type(dtype: DType) -> str:
    """The LLVM type of a key."""
    type = memory_type(dtype)
    return _FLOATS[type][0] if dtype.is_floating else type


def load_raw(em: Emitter, dtype: DType, array: str, index: Value) -> str:
    """An element as the bits of memory."""
    type = key_type(dtype)
    at = em.let(f"getelementptr {type}, ptr {array}, i64 {index}")
    return em.let(f"load {em.type(type)}, ptr {at}, align {bytes_of(type)}")


def order_key(em: Emitter, dtype: DType, bits: str) -> str:
    """The key of what has these bits; that of NaN is the highest one."""
    type = key_type(dtype)
    width = 8 * bytes_of(type)
    lowest = em.integer(type, -(1 << (width - 1)))
    if not dtype.is_floating:
        return bits if dtype.kind in "ub" else em.binary("xor", type, bits, lowest)
    infinity = _infinity(dtype)
    size = em.binary("and", type, bits, em.integer(type, (1 << (width - 1)) - 1))
    minus = em.compare("slt", type, bits, em.integer(type, 0))
    # Positive numbers lie above the middle by their size, negative ones as much below it.
    above = em.binary("add", type, lowest, size)
    key = em.select(minus, type, em.binary("sub", type, lowest, size), above)
    nan = em.compare("ugt", type, size, em.integer(type, infinity))
    return em.select(nan, type, em.integer(type, -1), key)


def signed_key(
    em: Emitter, dtype: DType, bits: str, *, descending: bool, nan_first: bool = False, apart: bool = False
) -> str:
    """The key of what has these bits, as a signed integer; that of NaN is the highest one.

    `descending`: larger numbers have lower keys. `nan_first`: the key of NaN is the lowest one instead, which
    no number has. `apart`: -0.0 comes before 0.0, and `value_of` is the inverse.
    """
    type = key_type(dtype)
    if not dtype.is_floating:
        return _turned(em, type, _shifted(em, dtype, bits), descending)
    key = _mirrored(em, type, bits)
    if not apart:
        minus_zero = em.compare("eq", type, key, em.integer(type, -1))
        key = em.select(minus_zero, type, em.integer(type, 0), key)
    key = _turned(em, type, key, descending)
    highest = (1 << (8 * bytes_of(type) - 1)) - 1
    last = em.integer(type, ~highest if nan_first else highest)
    return em.select(is_nan(em, dtype, bits), type, last, key)


def value_of(em: Emitter, dtype: DType, key: str, descending: bool) -> str:
    """The bits of the number that has this `signed_key`, one that is `apart`."""
    type = key_type(dtype)
    key = _turned(em, type, key, descending)
    return _mirrored(em, type, key) if dtype.is_floating else _shifted(em, dtype, key)


def is_nan(em: Emitter, dtype: DType, bits: str) -> str:
    """Whether these are the bits of NaN."""
    infinity = em.integer(key_type(dtype), _infinity(dtype))
    return em.compare("ugt", key_type(dtype), magnitude(em, dtype, bits), infinity)


def magnitude(em: Emitter, dtype: DType, bits: str) -> str:
    """The bits of a floating number without its sign."""
    type = key_type(dtype)
    return em.binary("and", type, bits, em.integer(type, (1 << (8 * bytes_of(type) - 1)) - 1))


def _infinity(dtype: DType) -> int:
    type, fraction = _FLOATS[memory_type(dtype)]
    return ((1 << (8 * bytes_of(type) - 1 - fraction)) - 1) << fraction


def _turned(em: Emitter, type: str, key: str, descending: bool) -> str:
    return em.binary("xor", type, key, em.integer(type, -1)) if descending else key


def _shifted(em: Emitter, dtype: DType, bits: str) -> str:
    """Unsigned integers as signed ones in the same order, and back."""
    if dtype.kind != "u":
        return bits
    type = key_type(dtype)
    return em.binary("xor", type, bits, em.integer(type, -(1 << (8 * bytes_of(type) - 1))))


def _mirrored(em: Emitter, type: str, bits: str) -> str:
    """Sign and size of a float as a signed integer, and back: the sizes of negative ones are turned."""
    sign = em.binary("ashr", type, bits, em.integer(type, 8 * bytes_of(type) - 1))
    return em.binary("xor", type, bits, em.binary("lshr", type, sign, em.integer(type, 1)))
