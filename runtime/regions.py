"""Regions: how the steps that have bodies run them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np

from graphc import sizes
from graphc.descent import Descent
from graphc.errors import GraphError, ShapeError, VerificationError
from graphc.location import at_line
from graphc.sizes import Symbol
from graphc.tensor import Tensor
from graphc.types import TensorType, TupleType
from runtime.backend import Array


@dataclass(slots=True)
class Run:
    """What all steps of one run share, those in bodies too.

    Attributes:
        sizes: the symbols bound so far.
        variables: their values as of the beginning of the run.
        state: the session's seed and run count, uint64[2].
    """

    sizes: dict[Symbol, int]
    variables: Mapping[str, Array]
    state: Array


# Inputs -> outputs; the call that gives them where the body has regions of its own.
Body = Callable[[Sequence[Any], Run], list[Any] | Descent[list[Any]]]
Runner = Callable[..., Descent[Any]]  # the run, then the operands -> the result, or a tuple of results


def _cond(node: Tensor, bodies: Mapping[str, Body]) -> Runner:
    """``then(*captures) if pred else orelse(*captures)``."""
    then, orelse = bodies["then"], bodies["orelse"]

    def run_branch(run: Run, pred: Array, *captures: Any) -> Descent[tuple[Any, ...]]:
        results = (then if pred else orelse)(captures, run)
        return tuple(results if isinstance(results, list) else (yield results))

    return run_branch


def _loop(node: Tensor, bodies: Mapping[str, Body]) -> Runner:
    """Step after step: what is carried goes on, what is stacked is kept."""
    body, condition = bodies["body"], bodies.get("condition")
    carried, scanned = node.attrs["carried"], node.attrs["scanned"]
    order = -1 if node.attrs["reverse"] else 1
    assert isinstance(node.type, TupleType)
    stacked = node.type.elements[carried:]

    def run_steps(run: Run, *operands: Any, **_: Any) -> Descent[tuple[Any, ...]]:
        carry = list(operands[:carried])
        arrays, captured = operands[carried : carried + scanned], operands[carried + scanned :]
        kept: list[list[Any]] = [[] for _ in stacked]
        steps = range(len(arrays[0]))[::order] if condition is None else count()
        for step in steps:
            try:
                if condition is not None:
                    test = condition([*carry, *captured], run)
                    if not (test if isinstance(test, list) else (yield test))[0]:
                        break
                results = body([*carry, *(array[step] for array in arrays), *captured], run)
                results = results if isinstance(results, list) else (yield results)
            except Exception as error:
                tell_step(error, step, node)
                raise
            carry = results[:carried]
            for column, value in zip(kept, results[carried:], strict=True):
                column.append(value)
        return (*carry, *(_stack(c[::order], t, run) for c, t in zip(kept, stacked, strict=True)))

    return run_steps


def tell_step(error: Exception, step: int, node: Tensor) -> None:
    """Tells `error` in which step of the loop `node` it arose."""
    place = f"in step {step} of the loop" + (f" at {node.loc}" if node.loc else "")
    error.extend(place) if isinstance(error, GraphError) else error.add_note(place)


def _stack(values: Sequence[Array], type: TensorType, run: Run) -> Array:
    """`values` along a new first axis; without any, of the sizes that are known. Raises: ShapeError."""
    if values:
        if len(shapes := dict.fromkeys(value.shape for value in values)) > 1:
            told = " and ".join(str(list(shape)) for shape in list(shapes)[:2])
            raise ShapeError(f"steps give values of different shapes, {told}, which do not stack")
        return np.stack(values)
    rest = (sizes.substitute(size, dict(run.sizes)) for size in type.sizes[1:])
    return np.empty((0, *(size if isinstance(size, int) else 0 for size in rest)), type.dtype.numpy)


def _fused(node: Tensor, bodies: Mapping[str, Body]) -> Runner:
    """The body, step by step: what a backend without a kernel for it does."""
    body = bodies["body"]

    def run_body(run: Run, *operands: Any, **_: Any) -> Descent[tuple[Any, ...]]:
        results = body(operands, run)
        return tuple(results if isinstance(results, list) else (yield results))

    return run_body


RUNNERS: dict[str, Callable[[Tensor, Mapping[str, Body]], Runner]] = {
    "cond": _cond,
    "loop": _loop,
    "fused": _fused,
}


def runner_of(node: Tensor, bodies: Mapping[str, Body]) -> Runner:
    """What runs the region `node`, whose `bodies` are ready to run."""
    make = RUNNERS.get(node.op.name)
    if make is None:
        raise VerificationError(f"nothing runs the region {node.op.name}{at_line(node.loc)}")
    return make(node, bodies)
