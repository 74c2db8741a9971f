"""Row order: how the loops over the rows of a chunk follow one another.

What all lanes of a row come to is known only some 50 cycles after its loop: they meet in five steps, each of
which waits for the one before. Nothing else of that row can begin meanwhile, but the next row can:

    for each row: its loops but the first and the last; the first loop of the next row; its last loop

So a sum comes together while the next row is read, and the next row's maximum while this one is written. A
row is computed as ever: no result depends on the order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from graphc.sizes import product
from graphc.tensor import Tensor
from graphc.types import FLOAT32, FLOAT64
from runtime.llvm_backend.engine.llvm import QUICK, THOROUGH
from runtime.llvm_backend.engine.machine import host
from runtime.llvm_backend.ir.text import Target, target_of
from runtime.llvm_backend.ir.values import memory_dtype
from runtime.llvm_backend.rows.row_labels import BY_LABELS
from runtime.llvm_backend.rows.row_loop import lanes_of
from runtime.llvm_backend.rows.row_plan import CHEAP, VIEWS, Access, Phase, RowPlan

_SHORTEST = 1 << 8  # elements of a row that is no matter of a few vectors
_MANY = 1 << 14  # elements that are worth better code


def split_phases(plan: RowPlan) -> tuple[int, int]:
    """How many phases of the next row come early, and the first of the phases that they come before.

    Both are 0 where rows are walked one after the other: with one loop, where the first loop leaves in
    scratch what the next row's would write over, and where two rows at once are much for the cache.
    """
    loops = [i for i, phase in enumerate(plan.phases) if phase.vectors or phase.reductions]
    if len(loops) < 2 or not is_short(plan):
        return 0, 0
    kept = set(plan.kept).difference(plan.body.outputs)
    early = loops[0] + 1
    if any(node in kept for phase in plan.phases[:early] for node in phase.vectors):
        return 0, 0
    return early, loops[-1]


def fits_vector(plan: RowPlan, target: Target) -> bool:
    """Whether a row is one vector, of whose lanes some may not count.

    What its loops compute then stays in registers, and rows follow one another: a core is at work on several
    such rows at once, as they come, unless each ends in numbers that take long. Labels ask for elements of
    a row that is in memory.
    """
    lanes = lanes_of(target, plan.dtypes)
    short = target.masks and isinstance(plan.inner, int) and 0 < plan.inner <= lanes and lanes > 1
    if not short or plan.is_flat or plan.phases[-1].reductions or not plan.phases[-1].vectors:
        return False
    return all(node.op.name not in BY_LABELS for node in plan.body.nodes())


def effort_of(plan: RowPlan, looks: bool) -> int:
    """That LLVM is to take.

    A row of one vector is straight code: LLVM makes that twice as fast at its lowest level. It runs 5 to 25 %
    slower, so not where rows are known to be many, or carry along what looks have seen.
    """
    elements = product((*plan.outer, plan.inner))
    many = isinstance(elements, int) and elements >= _MANY
    return THOROUGH if looks or many or not fits_vector(plan, target_of(host())) else QUICK


def copies_of(phase: Phase, looks: int) -> int:
    """How many vectors the loop of a phase takes at a time: several where only its totals wait for them."""
    if not (phase.reductions or looks) or any(node.op.name not in CHEAP | VIEWS for node in phase.vectors):
        return 1
    return 4 if len(phase.reductions) + len(phase.vectors) + looks <= 6 else 2


def looks_wait(plan: RowPlan) -> bool:
    """Whether a loop may be so long that its looks, each of which waits for the one before, hold it up."""
    return plan.is_flat or not isinstance(plan.inner, int) or plan.inner >= _SHORTEST


def look_late(plan: RowPlan, phase: Phase, looks: int) -> int:
    """How many vectors after a value a loop looks at it, where that is long and computes much.

    A look has to wait for all that makes its value. An instruction that waits takes a place in the core which
    others could have: at the end of a long chain it costs as much as three that need not wait.
    """
    return 2 if plan.is_flat and copies_of(phase, looks) == 1 else 0


def looked_behind(plan: RowPlan, looks: Mapping[Tensor, Sequence[int]]) -> tuple[Tensor, ...]:
    """Which results of a row are looked at while the next row's are stored.

    They wait for the row's numbers, and instructions that wait take places in the core: one look for a vector
    cost a layer norm a tenth. What is in memory waits for nothing.
    """
    if plan.is_flat or not isinstance(plan.inner, int) or not is_short(plan):
        return ()
    whole = {node for node, at in zip(plan.body.outputs, plan.writes, strict=True) if at.is_full}
    loops = [phase for phase in plan.phases if phase.vectors or phase.reductions]
    vectors = (node for phase in loops[1:] for node in phase.vectors if node in whole)
    return tuple(x for x in vectors if looks.get(x) == () and x.dtype in (FLOAT32, FLOAT64))


def looked_last(plan: RowPlan, looks: Mapping[Tensor, Sequence[int]]) -> tuple[Tensor, ...]:
    """Which results of one number a row are looked at when all rows of a chunk are stored, in vectors.

    They do not wait then, as right behind the sum that they are, where one look cost short rows a twelfth.
    """
    results = zip(plan.body.outputs, plan.writes, strict=True)
    numbers = [node for node, at in results if not at.inner and all(at.outer) and not plan.is_row(node)]
    return tuple(x for x in numbers if looks.get(x) == () and x.dtype in (FLOAT32, FLOAT64))


def asked_rows(plan: RowPlan) -> tuple[Phase | None, dict[tuple[Tensor, Access], int]]:
    """The phase that asks the memory for later rows, and for each operand that it asks for, how much later.

    It is the one that computes most, and so waits least for the memory itself.
    """
    early, last = split_phases(plan)
    long = isinstance(plan.inner, int) and plan.inner >= _SHORTEST
    if not early or not long:
        return None, {}
    busiest = max(range(early, len(plan.phases)), key=lambda i: _work(plan.phases[i]))
    rows = 2 if busiest >= last else 1
    asked = {}
    for (user, i), access in plan.reads.items():
        if access.inner and all(access.outer):
            asked[user.inputs[i], access] = rows
    return plan.phases[busiest], asked


def _work(phase: Phase) -> int:
    return sum(1 if node.op.name in CHEAP | VIEWS else 16 for node in phase.vectors)


def is_short(plan: RowPlan) -> bool:
    """Whether two rows at once are little for the cache."""
    if not isinstance(plan.inner, int):
        return True
    widest = max(memory_dtype(node.dtype).itemsize for node in plan.body.nodes())
    return plan.inner * widest <= host().l2 // 16
