"""Phases: sums of overlapping windows as windows of what is spread, one for each phase of the stride.

Row y of the sum meets window h in cell i where ``y = s h + d i`` for stride s and dilation d. Rows
``s p + r`` meet the cells ``d i = r (mod s)`` only, which are evenly spaced.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from math import gcd
from typing import Any

from graphc import ops
from graphc.conversion import as_tensor
from graphc.freezing import frozen
from graphc.sizes import Size
from graphc.tensor import Tensor
from passes.rewrite import Match
from passes.simplification.vocabulary import broadcast_to, reshape, stack


@frozen
class Phase:
    """The rows ``s p + r``: the first cell and the step to the next, how many; lags of windows likewise."""

    first: int
    step: int
    many: int
    lag: int
    apart: int

    @property
    def zeros(self) -> int:
        """How many there are before what is spread."""
        return self.lag + (self.many - 1) * self.apart


One = Callable[[Sequence[Phase], Sequence[Size]], Tensor]  # a phase, and how many rows it has


def _phases(cells: int, stride: int, dilation: int) -> list[Phase | None]:
    """For each phase of a stride its cells; None where it has none."""
    found: list[Phase | None] = []
    step = stride // gcd(stride, dilation)
    for rest in range(stride):
        met = [i for i in range(cells) if (i * dilation - rest) % stride == 0]
        if not met:
            found.append(None)
            continue
        lag = (met[0] * dilation - rest) // stride
        found.append(Phase(met[0], step, len(met), lag, step * dilation // stride))
    return found


def all_phases(attrs: Mapping[str, Any], cells: Sequence[Size]) -> list[list[Phase | None]] | None:
    """The phases along each axis; None where a window has a size known only at the run."""
    strides, dilations = attrs["strides"], attrs["dilations"]
    found = []
    for size, stride, dilation in zip(cells, strides, dilations, strict=True):
        if not isinstance(size, int):
            return None
        found.append(_phases(size, stride, dilation))
    return found


def among_zeros(x: Tensor, shape: Sequence[Size], starts: Sequence[int]) -> Tensor:
    """`x` with zeros around it, as long as `shape` says."""
    if tuple(shape) == x.result.sizes:
        return x
    return ops.embed(x, shape=tuple(shape), starts=tuple(starts), steps=(1,) * len(starts))


def see_windows(x: Tensor, axes: Sequence[int], phase: Sequence[Phase], counts: Sequence[Size]) -> Tensor:
    """The windows of `x` among zeros, `counts` of them along `axes`; the cells in the order of the axes."""
    shape, starts = list(x.result.sizes), [0] * len(x.result.sizes)
    for axis, each, count in zip(axes, phase, counts, strict=True):
        shape[axis], starts[axis] = count + (each.many - 1) * each.apart, each.zeros
    order = sorted(range(len(axes)), key=axes.__getitem__)
    return ops.windows(
        among_zeros(x, shape, starts),
        axes=tuple(axes[k] for k in order),
        size=tuple(phase[k].many for k in order),
        strides=(1,) * len(order),
        dilations=tuple(max(phase[k].apart, 1) for k in order),
    )


def flip_cells(x: Tensor, axes: Sequence[int], phase: Sequence[Phase]) -> Tensor:
    """The cells of a phase, the last one first."""
    sizes, rank = list(x.result.sizes), len(x.result.sizes)
    starts, steps = [0] * rank, [1] * rank
    for axis, each in zip(axes, phase, strict=True):
        starts[axis] = each.first + (each.many - 1) * each.step
        sizes[axis], steps[axis] = each.many, -each.step
    return ops.strided_slice(x, starts=tuple(starts), sizes=tuple(sizes), steps=tuple(steps))


def join_phases(match: Match, phases: Sequence[Sequence[Phase | None]], one: One) -> Tensor:
    """All phases side by side, along the last axis first."""
    attrs = match.attrs
    axes, strides, shape = attrs["axes"], attrs["strides"], attrs["shape"]
    counts = [(shape[axis] + (s - 1)) // s for axis, s in zip(axes, strides, strict=True)]
    size = list(shape)
    for axis, count in zip(axes, counts, strict=True):
        size[axis] = count
    zero = as_tensor(0, match.node.dtype)
    made: dict[tuple[int, ...], Tensor] = {}
    for number in itertools.product(*(range(s) for s in strides)):
        chosen = [each[r] for each, r in zip(phases, number, strict=True)]
        full = [each for each in chosen if each is not None]
        made[number] = (
            one(full, counts) if len(full) == len(chosen) else broadcast_to(zero, shape=tuple(size))
        )
    for k in reversed(range(len(axes))):
        made, size[axes[k]] = _beside(made, axes[k], strides[k], counts[k] * strides[k], tuple(size))
    (whole,) = made.values()
    if whole.result.sizes == tuple(shape):
        return whole
    rank = len(shape)
    return ops.strided_slice(whole, starts=(0,) * rank, sizes=tuple(shape), steps=(1,) * rank)


def _beside(
    made: dict[tuple[int, ...], Tensor], axis: int, stride: int, count: Size, size: tuple[Size, ...]
) -> tuple[dict[tuple[int, ...], Tensor], Size]:
    """Neighbours along `axis`, by the last of their numbers, as one."""
    shape = (*size[:axis], count, *size[axis + 1 :])
    found: dict[tuple[int, ...], Tensor] = {}
    for number in made:
        if number[-1] == 0:
            parts = [made[*number[:-1], r] for r in range(stride)]
            joined = parts[0] if stride == 1 else reshape(stack(*parts, axis=axis + 1), shape=shape)
            found[number[:-1]] = joined
    return found, count
