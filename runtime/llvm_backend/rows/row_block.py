"""Row block: the words that tell a row kernel where and how much; `row_kernel` says what each is."""

from __future__ import annotations

from runtime.llvm_backend.rows.row_plan import RowPlan


class Word:
    """Numbers of words."""

    ROWS, PER, INNER, FLAG, SCRATCH, ARRAYS = range(6)


SCRATCH_BYTES = 8  # an element of a kept row, whatever its dtype


def share_word(plan: RowPlan) -> int:
    """The word that says how many of every eight chunks are streamed."""
    sizes = len(plan.outer) if len(plan.outer) > 1 else 0
    return Word.ARRAYS + len(plan.body.inputs) + len(plan.body.outputs) + sizes
