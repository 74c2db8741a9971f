"""Overwriting: which results of a row kernel may lie where an operand lies."""

from __future__ import annotations

from collections.abc import Iterator

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
    for node, access, time in _uses(plan):
        lies.setdefault(node, set()).add(access)
        last[node] = time
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


def _uses(plan: RowPlan) -> Iterator[tuple[Tensor, Access, float]]:
    """Each use of an operand, how it lies there, and when: in a phase, or at its end; in that order."""
    for number, phase in enumerate(plan.phases):
        picked = [each for n in phase.numbers if n.op is PICK for each in needed_for(plan, n.inputs[0])]
        ends = (*phase.reductions, *phase.numbers, *picked)
        for time, nodes in ((number, phase.vectors), (number + 0.5, ends)):
            for user in nodes:
                for i in range(len(user.inputs)):
                    below, access = plan.operands[user, i]
                    if access is not None:
                        yield below, access, time
