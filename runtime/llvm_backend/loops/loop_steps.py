"""Loop steps: which ops have loop kernels, run one after another; their words in a step table."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphc.tensor import Tensor
from passes.weight import parts_of
from runtime.llvm_backend.loops import (
    cell_steps,
    choice_steps,
    extreme_steps,
    fold_steps,
    index_steps,
    movement_steps,
    scan_steps,
    scatter_steps,
    selection_steps,
    sort_steps,
    source_steps,
)
from runtime.llvm_backend.loops.loop_kernel import LoopKernel

Front = Callable[[Tensor], Sequence[LoopKernel]]  # nothing: the op runs by its meaning

LOOPS: dict[str, Front] = {
    **cell_steps.LOOPS,
    **choice_steps.LOOPS,
    **extreme_steps.LOOPS,
    **fold_steps.LOOPS,
    **index_steps.LOOPS,
    **movement_steps.LOOPS,
    **scan_steps.LOOPS,
    **scatter_steps.LOOPS,
    **selection_steps.LOOPS,
    **sort_steps.LOOPS,
    **source_steps.LOOPS,
}


def loops_of(node: Tensor, gives: bool = False) -> Sequence[LoopKernel]:
    """The kernels that compute `node`; none where it has no loops, or a rank is unknown.

    `gives`: those of a step that binds a size.
    """
    name = node.op.name
    table = choice_steps.CHOICES if gives else LOOPS
    if name not in table or any(
        type.shape is None for x in (node, *node.inputs) for type in parts_of(x.type)
    ):
        return ()
    return choice_steps.CHOICES[name](node, True) if gives else LOOPS[name](node)
