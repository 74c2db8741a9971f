"""Row wave: the loops over a row as one, each at work on the row before that of the loop before it.

    for each step: for each j: divide row step - 2; exponentials of row step - 1; maximum of row step

So a core has work of all kinds at any time, and memory is read and written evenly: a softmax that just does
not fit the caches takes three quarters of the time of loops one after the other. What all lanes of a row come
to is needed in the next step. What a loop keeps for the next one lies in one row of scratch: it is read
right before the next row's is written over it. A row is computed as ever: no result depends on the order.

At first the later loops have no row yet, and at last the earlier ones have none any more. They walk the
first row and the last one all the same. What they make of the first before its numbers are there goes to a
spare row, and no look counts it.
"""

from __future__ import annotations

from itertools import pairwise

from graphc.sizes import product
from graphc.tensor import Tensor
from passes.failure import may_fail
from runtime.llvm_backend.rows.row_labels import BY_LABELS
from runtime.llvm_backend.rows.row_notes import is_untouched
from runtime.llvm_backend.rows.row_order import is_short
from runtime.llvm_backend.rows.row_plan import CHEAP, VIEWS, Phase, RowPlan
from runtime.llvm_backend.rows.row_streams import is_past_caches, large_results

Group = tuple[Phase, ...]  # one loop, and what is computed once a row before and after it
_SMALLEST = 1 << 18  # elements that are worth a loop which is long to compile
_SHORTEST = 1 << 8  # elements of a row, so that its last sum is soon enough known


def wave_groups(plan: RowPlan) -> tuple[Group, ...]:
    """The phases of each loop of the wave; none where loops follow one another.

    Only where loops with sums compute much: others wait for the memory, however they are ordered. So do those
    whose stores bring line after line from there: a loop that does little but store is best at that. The
    wave takes one vector at a time, as such loops do where they follow one another: a sum is the same.
    """
    loops = [i for i, phase in enumerate(plan.phases) if phase.vectors or phase.reductions]
    if len(loops) < 2 or plan.is_split or not _is_large(plan):
        return ()
    starts = (0, *(i + 1 for i in loops[:-1]), len(plan.phases))
    groups = tuple(plan.phases[a:b] for a, b in pairwise(starts))
    nodes = plan.body.nodes()
    if any(node.op.name in BY_LABELS or may_fail(node) for node in nodes) or not _keeps_one_row(plan, loops):
        return ()
    adds = [plan.phases[i] for i in loops if any(not _is_free(node) for node in plan.phases[i].reductions)]
    return groups if adds and not any(map(_is_light, adds)) else ()


def is_noted(plan: RowPlan) -> bool:
    """Whether the CPU notes of a kernel's rows alone what it meets (`row_notes`).

    The later loops of a wave begin with numbers that are not there: NaN, if nothing is noted of one.
    """
    phases = [phase for group in wave_groups(plan)[1:] for phase in group]
    numbers = [node for phase in phases for node in phase.numbers]
    return all(is_untouched(x) for p in phases for x in (*p.vectors, *p.reductions)) and all(
        is_untouched(x) and x.op.name != "exp"
        for x in numbers  # whose operand is limited
    )


def spare_rows(plan: RowPlan) -> int:
    """How many rows of scratch all chunks share."""
    return 1 if wave_groups(plan) else 0


def _is_large(plan: RowPlan) -> bool:
    if not isinstance(plan.inner, int) or plan.inner < _SHORTEST:
        return False
    elements = product((*plan.outer, plan.inner))
    waits = is_past_caches(plan) and not large_results(plan)
    return isinstance(elements, int) and elements >= _SMALLEST and is_short(plan) and not waits


def _is_free(node: Tensor) -> bool:
    """Whether a reduction comes to the same in any order."""
    return node.op.name in ("max", "min")


def _is_light(phase: Phase) -> bool:
    return all(node.op.name in CHEAP | VIEWS for node in phase.vectors)


def _keeps_one_row(plan: RowPlan, loops: list[int]) -> bool:
    """Whether what is kept in scratch is read by the next loop alone."""
    kept = set(plan.kept).difference(plan.body.outputs)
    home = {node: n for n, i in enumerate(loops) for node in plan.phases[i].vectors}
    for n, i in enumerate(loops):
        for node in (*plan.phases[i].vectors, *plan.phases[i].reductions):
            for operand in node.inputs:
                below = plan.source.get(operand, operand)
                if below in kept and n - home[below] > 1:
                    return False
    return True
