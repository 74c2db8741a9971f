"""Row kernel: the LLVM text of what a `RowPlan` says.

    void kernel(ptr block, i64 chunk)

walks the rows ``chunk * per .. (chunk + 1) * per`` (a flat kernel: the elements) as the words of `block`
say:

    0 rows    how many rows there are (flat: elements)      1 per     how many of them a chunk has
    2 inner   the length of a row                           3 flag    where a failing op tells its kind
    4 scratch `spare_rows`, then for each chunk `scratch_rows`, all of 8 bytes an element
    5 ...     the arrays of the operands, those of the results, then the outer sizes where there are several,
              then how many of every eight chunks are streamed, where there is a choice (`row_streams`)

Sizes are known only at the run, so one kernel serves them all. Arrays are contiguous. A chunk of a long row
that stands alone (`RowPlan.is_split`) is `per` of its elements: it leaves its totals in `scratch`, and

    void finish(ptr block)

joins them, in an order that depends on the length alone.
"""

from __future__ import annotations

from passes.fusion import REDUCTIONS
from runtime.llvm_backend.ir.scalars import coded_ops, has_code
from runtime.llvm_backend.ir.text import Module, Target
from runtime.llvm_backend.rows.numerics import NO_LOOKS, Looks
from runtime.llvm_backend.rows.row_labels import BY_LABELS
from runtime.llvm_backend.rows.row_parts import PartWriter
from runtime.llvm_backend.rows.row_plan import VIEWS, RowPlan
from runtime.llvm_backend.rows.row_streams import streamed_results
from runtime.llvm_backend.rows.row_wave import wave_groups
from runtime.llvm_backend.rows.row_writer import RowWriter
from runtime.llvm_backend.rows.wave_writer import WaveWriter

_OF_ROWS = VIEWS | BY_LABELS | {op.name for op in REDUCTIONS}  # which rows alone can hold


def fusible_ops() -> frozenset[str]:
    """The ops that row kernels can hold."""
    from graphc.op import OPS  # asked once, when a session is made

    return coded_ops().intersection(OPS) | _OF_ROWS  # the table has names besides, of what is no op


def write_rows(plan: RowPlan, target: Target, looks: Looks = NO_LOOKS) -> str | None:
    """The module of `plan`'s kernel, which looks at `looks` (`numerics`); None where an op has no code."""
    given = set(plan.body.inputs)
    ops = {node.op.name for node in plan.body.nodes() if node not in given}
    if not all(map(has_code, ops - _OF_ROWS)):
        return None
    module = Module(target)
    if plan.is_split:
        PartWriter(plan, module, looks).write_part()
        PartWriter(plan, module, looks).write_finish()
    else:
        writer = WaveWriter if wave_groups(plan) else RowWriter
        writer(plan, module, looks, streamed_results(plan)).write_kernel()
    return module.text
