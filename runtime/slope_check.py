"""A check on request: gradients against finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphc import nesting
from graphc.conversion import as_tensor
from graphc.errors import ArgumentError, CheckError
from graphc.graph import Graph
from graphc.ops.elementwise import cast, mul
from graphc.ops.marker import gradients
from graphc.ops.reduction import sum as reduce_sum
from graphc.ops.source import placeholder
from graphc.tensor import Tensor
from runtime.session import Session


def check_gradient(
    function: Callable[..., Any],
    *arrays: Any,
    order: int = 1,
    step: float = 1e-5,
    rtol: float = 1e-4,
    atol: float = 1e-6,
) -> float:
    """Compares the gradients of ``function(*xs)`` at `arrays` with central differences, in float64.

    Args:
        function: from tensors to a nesting of tensors; defined in a graph of its own here.
        arrays: where to look; floats become float64 and are moved one by one, others are kept.
        order: 2 looks at the gradient of the gradient too, and so on.
        step: how far a number is moved either way.
        rtol: how far the two may lie apart, relative to the larger.
        atol: likewise, absolutely.

    Returns: the largest difference found.

    Raises: CheckError that names the argument, the place and both numbers.
    """
    points = [_point(array) for array in arrays]
    floats = [i for i, point in enumerate(points) if point.dtype.kind == "f"]
    if not floats:
        raise ArgumentError("check_gradient: no argument is float")
    rng = np.random.default_rng(0)
    with Graph(seed=0).as_default() as graph:
        xs = [placeholder(p.dtype, p.shape, name=f"x{i}") for i, p in enumerate(points)]
        outputs = [as_tensor(y) for y in nesting.flatten(function(*xs)) if y is not None]
        worst = 0.0
        with Session(graph=graph, backend="numpy") as session:
            for _ in range(order):
                shapes = session.run(outputs, dict(zip(xs, points, strict=True)))
                number = _weighted(outputs, [np.shape(value) for value in shapes], rng)
                found = gradients(number, [xs[i] for i in floats], unconnected="zero")
                outputs = [slope for slope in found if slope is not None]
                for i, slope in zip(floats, outputs, strict=True):
                    value = session.run(slope, dict(zip(xs, points, strict=True)))
                    measured = _differences(session, number, xs, points, i, step)
                    worst = max(worst, _compare(i, value, measured, rtol, atol))
    return worst


def _point(array: Any) -> np.ndarray[Any, Any]:
    point = np.array(array)
    return point.astype(np.float64) if point.dtype.kind == "f" else point


def _weighted(outputs: list[Tensor], shapes: list[tuple[int, ...]], rng: np.random.Generator) -> Tensor:
    """One number that every float among `outputs` moves, each of its elements differently."""
    total = as_tensor(np.float64(0))
    for output, shape in zip(outputs, shapes, strict=True):
        if output.dtype.is_floating:
            total = total + reduce_sum(mul(cast(output, "float64"), rng.uniform(0.5, 1.5, shape)))
    return total


def _differences(
    session: Session, number: Tensor, xs: list[Tensor], points: list[Any], which: int, step: float
) -> np.ndarray[Any, Any]:
    slopes = np.zeros(points[which].shape)
    for place in np.ndindex(slopes.shape):
        ends = []
        for sign in (1, -1):
            moved = [point.copy() for point in points]
            moved[which][place] += sign * step
            ends.append(float(session.run(number, dict(zip(xs, moved, strict=True)))))
        slopes[place] = (ends[0] - ends[1]) / (2 * step)
    return slopes


def _compare(which: int, value: Any, measured: Any, rtol: float, atol: float) -> float:
    difference = np.abs(value - measured)
    wrong = ~(difference <= atol + rtol * np.maximum(np.abs(value), np.abs(measured)))
    if np.any(wrong):
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise CheckError(
            f"check_gradient: at {list(place)} of argument {which} the gradient is "
            f"{float(np.asarray(value)[place])}, and differences give {float(measured[place])}"
        )
    return float(np.max(difference, initial=0))
