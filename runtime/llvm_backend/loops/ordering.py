"""Ordering: numbers as unsigned integers that are in the same order, which is what sorting compares.

Equal numbers have equal keys: -0.0 is 0.0, and all NaN are one, behind everything else.
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


def order_key(em: Emitter, dtype: DType, bits: str, descending: bool = False, nan_first: bool = False) -> str:
    """The key of what has these bits; `descending`: larger numbers have smaller keys, NaN the largest.

    With `nan_first` the key of NaN is 0 instead, and no number has that.
    """
    type = key_type(dtype)
    width = 8 * bytes_of(type)
    lowest = em.integer(type, -(1 << (width - 1)))
    if not dtype.is_floating:
        key = bits if dtype.kind in "ub" else em.binary("xor", type, bits, lowest)
        return em.binary("xor", type, key, em.integer(type, -1)) if descending else key
    fraction = _FLOATS[memory_type(dtype)][1]
    infinity = ((1 << (width - 1 - fraction)) - 1) << fraction
    size = em.binary("and", type, bits, em.integer(type, (1 << (width - 1)) - 1))
    minus = em.compare("slt", type, bits, em.integer(type, 0))
    if descending:
        minus = em.opposite(minus)
    # Positive numbers lie above the middle by their size, negative ones as much below it.
    above = em.binary("add", type, lowest, size)
    key = em.select(minus, type, em.binary("sub", type, lowest, size), above)
    nan = em.compare("ugt", type, size, em.integer(type, infinity))
    return em.select(nan, type, em.integer(type, 0 if nan_first else -1), key)
