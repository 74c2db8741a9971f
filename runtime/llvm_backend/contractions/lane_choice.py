"""Lane choice: the dim of a contract that vectors lie along."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

from graphc.sizes import Size, product, substitute, symbols
from runtime.llvm_backend.contractions.contraction import Contract, Dim

_HINT = 192  # what a size known only at the run is taken for
_MOST_ROWS_OF_DOT = 16


@lru_cache(maxsize=1024)
def estimate(size: Size) -> int:
    """A number to decide by: symbols are taken for a middling size.

    What is known only at the run is never taken for nothing, as ``x[-1:4]`` of a middling size is.
    """
    if isinstance(size, int):
        return size
    number = substitute(size, dict.fromkeys(symbols(size), _HINT))
    return max(number, 1) if isinstance(number, int) else _HINT


def lane_dim(contract: Contract, kept: Sequence[Dim], reduced: Sequence[Dim], width: int) -> Dim | None:
    """The output dim that vectors lie along: the one of stride 1 in `out`, unless another is far better.

    It is, where the other fills vectors and this one does not: the sums of a long reduction are worth
    being stored one lane at a time.
    """

    def rank(dim: Dim) -> tuple[bool, bool, bool, int]:
        strides = [access.stride(dim.name) for access in contract.ins]
        return (contract.out.stride(dim.name) == 1, 1 in strides, any(strides), estimate(dim.size))

    steps = math.prod(estimate(dim.size) for dim in reduced)

    def cost(dim: Dim) -> float:
        """Cycles of an output, about."""
        size = estimate(dim.size)
        vectors = -(-size // width)
        strides = [access.stride(dim.name) for access in contract.ins]
        moving = [stride for stride in strides if stride != 0]
        per_step = vectors / size
        if any(stride != 1 for stride in moving):
            both = len(moving) == len(strides)  # else it is packed, for all rows that use it
            rows = math.prod(estimate(d.size) for d in kept if all(_apart(contract, dim, d)))
            per_step += 1.0 if both else 1.0 / max(rows, 1)
        return steps * per_step + (vectors / size if contract.out.stride(dim.name) == 1 else 2.0)

    first = max(kept, key=rank, default=None)
    if first is None or len(contract.ins) == 1 or first.size == 0:
        return first
    others = [dim for dim in kept if dim.size != 0 and any(a.stride(dim.name) for a in contract.ins)]
    best = min(others, key=cost, default=first)
    return best if best is not first and 2 * cost(best) < cost(first) else first


def _apart(contract: Contract, lane: Dim, row: Dim) -> tuple[bool, ...]:
    """For each input that moves along `lane`, whether it stays along `row`."""
    return tuple(a.stride(row.name) == 0 for a in contract.ins if a.stride(lane.name) != 0)


def is_dot(contract: Contract, kept: Sequence[Dim], reduced: Sequence[Dim], width: int) -> bool:
    """Whether lanes are steps of the reduction: it is contiguous in all inputs, and no output is."""
    unit = [dim for dim in reduced if all(access.stride(dim.name) == 1 for access in contract.ins)]
    if not unit:
        return False
    lane = lane_dim(contract, kept, reduced, width)
    if lane is None:
        return True
    if any(access.stride(lane.name) == 1 for access in contract.ins):
        return False
    if len(contract.ins) == 1 or lane.size == 1:
        return True
    a, b = contract.ins if contract.ins[1].stride(lane.name) != 0 else contract.ins[::-1]
    rows = [dim.size for dim in kept if dim.name != lane.name and b.stride(dim.name) == 0]
    if any(not isinstance(size, int) for size in rows) or a.stride(lane.name) != 0:
        return False
    return estimate(product(rows)) <= _MOST_ROWS_OF_DOT
