"""Row steps: kernels of fused rows in a step table, split into chunks by their sizes alone."""

from __future__ import annotations

from graphc import sizes
from graphc.freezing import frozen
from graphc.sizes import Size, product
from runtime.llvm_backend.rows.row_block import SCRATCH_BYTES
from runtime.llvm_backend.rows.row_plan import CHEAP, PART, VIEWS, RowPlan
from runtime.llvm_backend.rows.row_wave import spare_rows

WORK = 1 << 18  # of a chunk, in sixteenths of what one cheap op costs on a vector: some 15 us
_LEAST_ROW = 16  # elements: shorter rows take as long
_MOST_WITH_SCRATCH = 32  # chunks of a kernel that keeps rows, each in memory of its own


@frozen
class Chunking:
    """How the rows of a kernel are cut: rows in all, rows of a chunk, chunks, bytes of scratch in all."""

    rows: Size
    per: Size
    chunks: Size
    scratch: Size


def cut_rows(plan: RowPlan, kept: int) -> Chunking:
    """The chunks of `plan`; `kept` rows of each are in scratch."""
    if plan.is_split:
        parts = (plan.inner + (PART - 1)) // PART
        totals = sum(len(phase.reductions) for phase in plan.phases)
        return Chunking(1, PART, parts, parts * totals * 8)
    work = work_of(plan)
    elements = max(WORK // work, 64) // 64 * 64
    rows = product(plan.outer)
    if plan.is_flat:
        rows = rows * plan.inner
        per: Size = elements
    else:
        per = sizes.maximum(elements // (sizes.maximum(plan.inner, 1) if plan.has_loops else 1), 1)
    if kept:
        per = sizes.maximum(per, (rows + (_MOST_WITH_SCRATCH - 1)) // _MOST_WITH_SCRATCH)
    chunks = (rows + per - 1) // per
    return Chunking(rows, per, chunks, (spare_rows(plan) + chunks * kept) * plan.inner * SCRATCH_BYTES)


def is_brief(plan: RowPlan, cut: Chunking) -> bool:
    """Whether all of it is one chunk that is known to take a microsecond at most."""
    if not isinstance(cut.rows, int) or not isinstance(plan.inner, int) or cut.chunks != 1:
        return False
    elements = cut.rows if plan.is_flat else cut.rows * max(plan.inner, _LEAST_ROW)
    return elements * work_of(plan) <= WORK // 16


def work_of(plan: RowPlan) -> int:
    """What an element costs."""
    total = 2 * sum(access.inner for access in (*plan.reads.values(), *plan.writes))
    for phase in plan.phases:
        for node in phase.vectors:
            if node.op.name not in VIEWS:
                total += 1 if node.op.name in CHEAP else 6
        total += 2 * len(phase.reductions)
    return max(total, 1)
