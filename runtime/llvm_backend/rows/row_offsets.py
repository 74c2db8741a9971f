"""Row offsets: where a row begins in arrays that vary along some of the outer sizes only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from runtime.llvm_backend.ir.text import Emitter
from runtime.llvm_backend.rows.row_plan import Access


def row_offsets(
    one: Emitter, accesses: Iterable[Access], row: str, inner: str, sizes: Sequence[str]
) -> dict[Access, str]:
    """For each way that arrays lie, the element at which row number `row` begins.

    `sizes` are the outer sizes; they are asked only where an array varies along some and not along others.
    """
    listed = list(accesses)
    partial = any(any(access.outer) and not all(access.outer) for access in listed)
    places = _places(one, row, sizes) if partial else []
    offsets = {}
    for access in listed:
        if access.pitch:
            begin = one.let(f"mul i64 {row}, {access.pitch}")
            offsets[access] = one.let(f"add i64 {begin}, {access.start}")
        elif not any(access.outer):
            offsets[access] = "0"
        elif all(access.outer):
            offsets[access] = one.let(f"mul i64 {row}, {inner}") if access.inner else row
        else:
            offsets[access] = _offset(one, access, places, inner, sizes)
    return offsets


def _places(one: Emitter, row: str, sizes: Sequence[str]) -> list[str]:
    """The row's number along each outer size."""
    rest, places = row, []
    for size in reversed(sizes):
        places.append(one.let(f"urem i64 {rest}, {size}"))
        rest = one.let(f"udiv i64 {rest}, {size}")
    return places[::-1]


def _offset(one: Emitter, access: Access, places: Sequence[str], inner: str, sizes: Sequence[str]) -> str:
    stride, offset = (inner if access.inner else "1"), "0"
    for varies, place, size in zip(reversed(access.outer), reversed(places), reversed(sizes), strict=True):
        if varies:
            offset = one.let(f"add i64 {offset}, {one.let(f'mul i64 {place}, {stride}')}")
            stride = one.let(f"mul i64 {stride}, {size}")
    return offset
