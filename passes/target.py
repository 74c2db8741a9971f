"""Target: what the passes may know of the machine and of the session they work for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from graphc.freezing import frozen

if TYPE_CHECKING:
    from graphc.function import Function
    from graphc.sizes import Symbol
    from graphc.tensor import Tensor


def _none(node: Tensor) -> bool:
    return False


def _always(node: Tensor) -> bool:
    return True


def _never(node: Tensor, number: int) -> None:
    return None


@frozen
class Reading:
    """How a kernel reads an operand: how often each element, and whether to pack it, else in vectors."""

    times: int
    packed: bool


@frozen
class Target:
    """What the runtime tells the passes; a part of every cache key.

    Args:
        backend: the name of the backend that will run the function.
        fast_math: whether rewrites may change the last bits of floats.
        fusible: the names of the ops that the backend can put into one kernel with others.
        contracts: whether the backend makes a node a contraction, whose kernel takes what follows with it.
        reads: how the kernel of a `fused` node with a contraction reads operand `number` of that, which the
            body makes of others; None where it has no code for it, or reads one element at a time.
        follows: whether the kernel of a contraction may do this elementwise op with its sums.
        has_cells: whether it has kernels of `cells`, and stores results in `frames`.
        holds: whether a kernel of cells may do this elementwise op.
        has_columns: whether it has kernels of `columns`.
        pipeline: the passes to run in place of `passes.pipeline.PIPELINE`; None for those.
        verify: whether the result of every pass is verified.
        memory_budget: how many bytes may be alive at once in a run; None for no limit.
        sizes: the symbols, with the sizes for which the budget is to be kept.
    """

    backend: str = "numpy"
    fast_math: bool = False
    fusible: frozenset[str] = frozenset()
    contracts: Callable[[Tensor], bool] = _none
    reads: Callable[[Tensor, int], Reading | None] = _never
    follows: Callable[[Tensor], bool] = _always
    has_cells: bool = False
    holds: Callable[[Tensor], bool] = _always
    has_columns: bool = False
    pipeline: tuple[Callable[[Function, Target], Function], ...] | None = None
    verify: bool = False
    memory_budget: int | None = None
    sizes: tuple[tuple[Symbol, int], ...] = ()

    def op_by_op(self) -> Target:
        """The same for a backend whose kernels hold one op each."""
        return replace(
            self,
            fusible=PLAIN.fusible,
            contracts=PLAIN.contracts,
            reads=PLAIN.reads,
            follows=PLAIN.follows,
            has_cells=PLAIN.has_cells,
            holds=PLAIN.holds,
            has_columns=PLAIN.has_columns,
        )


PLAIN = Target()  # what passes work for when nobody says: the reference, exact
