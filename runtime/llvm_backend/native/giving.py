"""Giving: steps whose kernels find a size: they count, the run takes memory of that size, they fill it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from graphc.sizes import Size, Symbol, product, sole_symbol
from passes.program import Step
from runtime.llvm_backend.native.drafts import Draft
from runtime.llvm_backend.native.late_memory import Growth
from runtime.llvm_backend.native.patterns import Pattern
from runtime.llvm_backend.table.steptable import TableBuilder

if TYPE_CHECKING:  # which writes all other steps
    from runtime.llvm_backend.native.native_steps import StepWriter


def write_giving(
    writer: StepWriter, builder: TableBuilder, step: Step, draft: Draft, patterns: Sequence[Pattern]
) -> None:
    """Adds `step`, which has one result and binds one size of it, to the table.

    What its first kernels leave in scratch stays there for those that are late.
    """
    (binding,) = step.bindings
    cell, count = (step.output, 0), writer.symbols[binding.symbol]
    late = [kernel.late for kernel, _ in draft.loops]
    written = [(pattern, writer.stamped(pattern, step)) for pattern in patterns]
    for made, is_late in zip(written, late, strict=True):
        if not is_late:
            writer.run(*made)
    type = writer.type_of(cell)
    each, needed = builder.word(), builder.word()
    writer.fill(each, _rest(type.sizes, binding.symbol) * type.dtype.numpy.itemsize)
    builder.compute("mul", needed, each, count)
    base, capacity = builder.word(), builder.word(-1)
    enough = builder.leave_at_least(capacity, needed)
    builder.python(len(writer.python))
    writer.python.append(Growth(base, capacity, needed))
    builder.land(enough)
    writer.leave({cell: base})
    for made, is_late in zip(written, late, strict=True):
        if is_late:
            writer.run(*made)


def _rest(shape: Sequence[Size], own: Symbol) -> Size:
    """The elements for each one that `own` counts."""
    return product(size for size in shape if sole_symbol(size) != own)
