"""Overwriting: which results of a row kernel may lie where an operand lies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from graphc.tensor import Tensor
from passes.fusion import PICK
from runtime.llvm_backend.rows.row_labels import needed_for
from runtime.llvm_backend.rows.row_plan import Access, RowPlan


def find_overwrites(plan: RowPlan) -> dict[int, tuple[int, ...]]:
    """For each result by number, the operands by number whose memory it may take.

    Such an operand lies as the result does, with elements as large, and each is read for the last time
    before its place is written: by vectors of the result's own loop over the row, or in an earlier one.
    """
    lies: dict[Tensor, set[Access]] = {}
    last: dict[Tensor, float] = {}
    for time, users in _times(plan):
        for user in users:
            for i in range(len(user.inputs)):
                operand, access = plan.operands[user, i]
                if access is not None:
                    lies.setdefault(operand, set()).add(access)
                    last[operand] = time
    written = {node: i for i, phase in enumerate(plan.phases) for node in phase.vectors}
    found: dict[int, tuple[int, ...]] = {}
    for part, (output, write) in enumerate(zip(plan.body.outputs, plan.writes, strict=True)):
        if output not in written:
            continue
        only, until = {write}, written[output]
        fitting = tuple(
            i
            for i, operand in enumerate(plan.body.inputs)
            if lies.get(operand, only) == only
            and last.get(operand, until) <= until
            and operand.dtype.numpy.itemsize == output.dtype.numpy.itemsize
            and operand.result.sizes == output.result.sizes
        )
        if fitting:
            found[part] = fitting
    return found


def _times(plan: RowPlan) -> Iterator[tuple[float, Iterable[Tensor]]]:
    """When operands are used, in order: in a phase, or at its end; and what uses them then."""
    for number, phase in enumerate(plan.phases):
        yield number, phase.vectors
        picked = [each for n in phase.numbers if n.op is PICK for each in needed_for(plan, n.inputs[0])]
        yield number + 0.5, (*phase.reductions, *phase.numbers, *picked)
