"""Scratch: memory that one chunk has while it runs, claimed from as many equal parts as there are threads.

A chunk is not told its thread. A word of the argument block has a bit for each part that is taken; a chunk
takes the lowest free one, so a thread mostly finds the part that is in its cache.
"""

from __future__ import annotations

from graphc.freezing import frozen
from graphc.sizes import Size
from runtime.llvm_backend.ir.writer import Writer

ALIGNMENT = 64


def part_bytes(elements: Size, itemsize: int) -> Size:
    """Bytes of a part of at least `elements`: whole cache lines, 0 where there are no elements."""
    if elements == 0:
        return 0
    return (elements * itemsize + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT


@frozen
class Claim:
    """A part that a chunk has taken: its address, and what gives it back."""

    address: str
    bits: str
    bit: str

    def give_back(self, w: Writer) -> None:
        """Lets other chunks have it."""
        free = w.value(f"xor i64 {self.bit}, -1")
        w.value(f"atomicrmw and ptr {self.bits}, i64 {free} release, align 8")


def claim_part(w: Writer, slot: int, size: Size) -> Claim:
    """Takes a part of `size` bytes of the scratch that `slot` points to.

    The word after `slot` has the bits of the parts; it is 0 while no chunk runs.
    """
    w.declare("i64 @llvm.cttz.i64(i64, i1)")
    base = w.value(f"load ptr, ptr {w.address('%block', slot, 'ptr')}, align 8")
    bits = w.address("%block", slot + 1, "i64")
    again, some, taken = w.fresh("again"), w.fresh("some"), w.fresh("taken")
    w.do(f"br label {again}")
    w.label(again)
    before = w.value(f"load atomic i64, ptr {bits} monotonic, align 8")
    free = w.value(f"xor i64 {before}, -1")
    w.do(f"br i1 {w.compare('ne', free, 0)}, label {some}, label {again}")
    w.label(some)
    part = w.value(f"call i64 @llvm.cttz.i64(i64 {free}, i1 true)")
    bit = w.value(f"shl i64 1, {part}")
    after = w.value(f"or i64 {before}, {bit}")
    pair = w.value(f"cmpxchg ptr {bits}, i64 {before}, i64 {after} acquire monotonic, align 8")
    w.do(f"br i1 {w.value(f'extractvalue {{ i64, i1 }} {pair}, 1')}, label {taken}, label {again}")
    w.label(taken)
    return Claim(w.address(base, w.mul(part, w.word(size)), "i8"), bits, bit)
