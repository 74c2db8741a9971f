"""Regions: how the steps that have bodies run them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphc.errors import VerificationError
from graphc.sizes import Symbol
from graphc.tensor import Tensor
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


Body = Callable[[Sequence[Any], Run], list[Any]]  # inputs -> outputs
Runner = Callable[..., Any]  # the run, then the operands -> the result, or a tuple of results


def _cond(node: Tensor, bodies: Mapping[str, Body]) -> Runner:
    """``then(*captures) if pred else orelse(*captures)``."""
    then, orelse = bodies["then"], bodies["orelse"]

    def run_branch(run: Run, pred: Array, *captures: Any) -> tuple[Any, ...]:
        return tuple((then if pred else orelse)(captures, run))

    return run_branch


RUNNERS: dict[str, Callable[[Tensor, Mapping[str, Body]], Runner]] = {"cond": _cond}


def runner_of(node: Tensor, bodies: Mapping[str, Body]) -> Runner:
    """What runs the region `node`, whose `bodies` are ready to run."""
    make = RUNNERS.get(node.op.name)
    if make is None:
        raise VerificationError(f"nothing runs the region {node.op.name}\n  at {node.loc}")
    return make(node, bodies)
