"""Check kernel: looks for NaN and infinity at an array, which nothing that wrote it has looked at."""

from __future__ import annotations

from functools import cache

from graphc.types import DType
from runtime.llvm_backend.ir.text import Emitter, Module, Target
from runtime.llvm_backend.ir.values import load, memory_dtype
from runtime.llvm_backend.rows.row_looks import see
from runtime.llvm_backend.rows.row_loop import RowLoop, Span, Visit, lanes_of
from runtime.llvm_backend.rows.totals import look_of

PART = 1 << 16  # elements of a chunk


@cache
def write_check(dtype: DType, target: Target) -> str:
    """The module of a kernel that looks at an array.

    void kernel(ptr block, i64 chunk), where `block` holds the array, the count of its elements, the flag.
    """
    module = Module(target)
    loops = RowLoop(module, lanes_of(target, (dtype,)))
    one = loops.one
    array, count, flag = (loops.word(i, type) for i, type in enumerate(("ptr", "i64", "ptr")))
    begin = one.let(f"mul i64 %chunk, {PART}")
    end = one.intrinsic("smin", "i64", one.let(f"add i64 {begin}, {PART}"), count)

    def elements(em: Emitter, j: str, mask: str | None) -> list[str]:
        return [load(em, memory_dtype(dtype), array, j, mask)]

    (total,) = loops.write(Visit(elements, [look_of(one, dtype)]), Span(begin, end), 4)
    see(one, dtype, total, flag)
    loops.define()
    return module.text
