"""Casts between all dtypes, with the meaning of `graphc.cast`."""

from __future__ import annotations

import numpy as np

from graphc.types import BOOL, FLOAT16, FLOAT64, DType
from runtime.llvm_backend.ir.text import Emitter
from runtime.llvm_backend.ir.values import lanes, register_scalar, rounded


def cast(em: Emitter, value: str, given: DType, wanted: DType) -> str:
    """`value` as `wanted`: floats saturate and NaN is 0, integers wrap, bool is whether it is not 0."""
    before, after = register_scalar(given), register_scalar(wanted)
    if given is wanted:
        return value
    if wanted is BOOL:
        zero = em.number(before, 0.0) if given.is_floating else em.integer(before, 0)
        return em.compare("une" if given.is_floating else "ne", before, value, zero)
    if given.is_floating:
        if wanted.is_floating:
            return rounded(em, wanted, _between_floats(em, value, before, after, wanted))
        return _saturated(em, value, given, wanted)
    signed = given.kind == "i"
    if wanted.is_floating:
        return rounded(em, wanted, em.convert("sitofp" if signed else "uitofp", before, after, value))
    if before == after:
        return value
    if given.itemsize > wanted.itemsize:
        return em.convert("trunc", before, after, value)
    return em.convert("sext" if signed else "zext", before, after, value)


def _between_floats(em: Emitter, value: str, before: str, after: str, wanted: DType) -> str:
    if before == after:
        return value
    if after == "double":
        return em.convert("fpext", before, after, value)
    near = em.convert("fptrunc", before, after, value)
    return _to_odd(em, value, near) if wanted is FLOAT16 else near


def _to_odd(em: Emitter, value: str, near: str) -> str:
    """The float beside `value` whose last bit is 1, where it is inexact: a second rounding is then right."""
    back = em.convert("fpext", "float", "double", near)
    inexact = em.compare("one", "double", back, value)
    beyond = em.compare(
        "ogt", "double", em.intrinsic("fabs", "double", back), em.intrinsic("fabs", "double", value)
    )
    bits = em.convert("bitcast", "float", "i32", near)
    bits = em.binary("sub", "i32", bits, em.convert("zext", "i1", "i32", beyond))
    bits = em.binary("or", "i32", bits, em.convert("zext", "i1", "i32", inexact))
    return em.convert("bitcast", "i32", "float", bits)


def _saturated(em: Emitter, value: str, given: DType, wanted: DType) -> str:
    """Only what is in range is converted: the rest would be poison.

    Narrow integers come through i32, which x86 converts to and from in vectors.
    """
    v, whole = lanes(em, given), register_scalar(wanted)
    limits = np.iinfo(wanted.numpy)
    least, most = int(limits.min), int(limits.max)
    if wanted.itemsize < 4 or (given is FLOAT64 and wanted.itemsize == 4 and wanted.kind == "i"):
        # The limits are numbers of both, so what lies beyond becomes one of them before it is converted.
        near = v.at_most(v.number(float(most)), v.at_least(v.number(float(least)), value))
        near = v.select(v.is_nan(value), v.number(0.0), near)
        found = em.convert("fptosi", v.scalar, "i32", near)
        return found if whole == "i32" else em.convert("trunc", "i32", whole, found)
    below = v.compare("olt", value, v.number(float(least)))
    above = v.compare("oge", value, v.number(float(most + 1)))
    outside = em.either(em.either(below, above), v.is_nan(value))
    inside = v.select(outside, v.number(0.0), value)
    found = em.convert("fptosi" if wanted.kind == "i" else "fptoui", v.scalar, whole, inside)
    found = em.select(above, whole, em.integer(whole, most), found)
    return em.select(below, whole, em.integer(whole, least), found)
