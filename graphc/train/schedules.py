"""Learning rates that follow the global step: scalars to hand to an optimizer as its `lr`.

Steps are counted in float64, in which every whole number up to 2**53 is exact; the rate has the dtype
of `lr` (float32 for a Python number).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from graphc.conversion import as_tensor, natural_dtype, promoted
from graphc.errors import ArgumentError
from graphc.explanation import explains
from graphc.ops import ceil, cos, floor, less_equal, maximum, minimum, where
from graphc.ops import power as raised
from graphc.tensor import Tensor
from graphc.types import FLOAT32, FLOAT64, DType
from graphc.variable import Variable


@explains
def exponential_decay(
    lr: Any, step: Any, decay_steps: Any, decay_rate: Any, staircase: bool = False
) -> Tensor:
    """``lr * decay_rate ** (step / decay_steps)``; `staircase` takes the whole part of the exponent.

    Shapes: scalars.
    """
    progress = _progress(step, decay_steps, staircase)
    return _scaled(lr, raised(as_tensor(decay_rate, FLOAT64), progress))


@explains
def inverse_time_decay(
    lr: Any, step: Any, decay_steps: Any, decay_rate: Any, staircase: bool = False
) -> Tensor:
    """``lr / (1 + decay_rate * step / decay_steps)``; `staircase` takes the whole part of the fraction.

    Shapes: scalars.
    """
    progress = _progress(step, decay_steps, staircase)
    return _scaled(lr, 1 / (1 + as_tensor(decay_rate, FLOAT64) * progress))


@explains
def cosine_decay(lr: Any, step: Any, decay_steps: Any, alpha: Any = 0.0) -> Tensor:
    """``lr * ((1 - alpha) * (1 + cos(pi * s)) / 2 + alpha)`` with ``s = min(step / decay_steps, 1)``.

    Shapes: scalars.

    Source: Loshchilov and Hutter, 2017, without restarts.
    """
    progress = minimum(_progress(step, decay_steps), 1.0)
    floor_rate = as_tensor(alpha, FLOAT64)
    return _scaled(lr, (1 - floor_rate) * (0.5 * (1 + cos(math.pi * progress))) + floor_rate)


@explains
def polynomial_decay(
    lr: Any,
    step: Any,
    decay_steps: Any,
    end_learning_rate: Any = 1e-4,
    power: Any = 1.0,
    cycle: bool = False,
) -> Tensor:
    """``(lr - end) * (1 - s) ** power + end`` with ``s = min(step / decay_steps, 1)``.

    With `cycle`, `decay_steps` is multiplied by the least whole number that keeps `step` within it.

    Shapes: scalars.
    """
    start, end = as_tensor(lr, FLOAT64), as_tensor(end_learning_rate, FLOAT64)
    progress = _progress(step, decay_steps)
    remaining = 1 - (progress / maximum(ceil(progress), 1.0) if cycle else minimum(progress, 1.0))
    return as_tensor((start - end) * raised(remaining, as_tensor(power, FLOAT64)) + end, _dtype(lr))


@explains
def piecewise_constant(step: Any, boundaries: Sequence[Any], values: Sequence[Any]) -> Tensor:
    """``values[0]`` up to and including ``boundaries[0]``, then ``values[1]``, and so on.

    Shapes: scalars.

    Raises: ArgumentError unless there is one value more than boundaries, and they ascend.
    """
    if not isinstance(boundaries, list | tuple) or not isinstance(values, list | tuple):
        raise ArgumentError(f"boundaries and values are lists, not {boundaries!r} and {values!r}")
    if len(values) != len(boundaries) + 1:
        raise ArgumentError(
            f"{len(boundaries)} boundaries part {len(boundaries) + 1} values, not {len(values)}"
        )
    if all(isinstance(b, int | float) for b in boundaries) and list(boundaries) != sorted(boundaries):
        raise ArgumentError(f"boundaries ascend, not {list(boundaries)}")
    now = as_tensor(step, FLOAT64)
    *earlier, rate = promoted(values)
    for boundary, value in reversed(list(zip(boundaries, earlier, strict=True))):
        rate = where(less_equal(now, as_tensor(boundary, FLOAT64)), value, rate)
    return rate


def _progress(step: Any, decay_steps: Any, staircase: bool = False) -> Tensor:
    """``step / decay_steps``, or its whole part."""
    if isinstance(decay_steps, int | float) and not decay_steps > 0:
        raise ArgumentError(f"decay_steps is more than 0, not {decay_steps!r}")
    progress = as_tensor(step, FLOAT64) / as_tensor(decay_steps, FLOAT64)
    return floor(progress) if staircase else progress


def _scaled(lr: Any, factor: Tensor) -> Tensor:
    return as_tensor(as_tensor(lr, FLOAT64) * factor, _dtype(lr))


def _dtype(lr: Any) -> DType:
    own = lr.dtype if isinstance(lr, Tensor | Variable) else natural_dtype(lr)
    return own if own.is_floating else FLOAT32
