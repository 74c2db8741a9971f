"""Constant folding: what depends on nothing that is fed, read or drawn is computed now."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.conversion import round_to_bfloat16
from graphc.function import Function, rebuild, with_inputs
from graphc.graph import has_effects
from graphc.ops.source import _constant as constant
from graphc.sizes import SizeExpr
from graphc.tensor import Tensor
from graphc.types import BFLOAT16, TensorType, TupleType
from passes.record import Decision, counters, decide
from passes.rewrite import transform_all
from passes.target import PLAIN, Target

GROWTH_LIMIT = 1 << 12  # bytes that a result may hold beyond what its operands hold
TIME_BUDGET = 0.5  # seconds that folding one function may take

# Never folded into data: they say in a few bytes what they stand for, and kernels read them so.
SPLATS = frozenset(("broadcast_to", "iota", "filled_like", "extent"))


def fold_constants(function: Function, target: Target = PLAIN) -> Function:
    """`function` with constant subgraphs computed; the same object where there are none.

    Refused, with the reason in the record: ``splat`` (full, iota: symbolic is smaller), ``growth``
    (the result holds more than the operands by over GROWTH_LIMIT bytes), ``budget`` (TIME_BUDGET is
    used up), ``fails`` (it fails at the run, where its line can be named). Effects, draws, reads and
    nodes that bind sizes are no constants.
    """
    return transform_all(function, _folded_once)


def _folded_once(function: Function) -> Function:
    nodes = function.nodes()
    counters().nodes_visited += len(nodes)
    if not any(node.inputs and node.inputs[0].op is constant for node in function.nodes()):
        return function
    deadline = time.perf_counter() + TIME_BUDGET

    def make(node: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
        made = with_inputs(node, inputs)
        if not inputs or inputs[0].op is not constant or any(i.op is not constant for i in inputs[1:]):
            return made
        if not _is_foldable(made):
            return made
        return _folded(made, deadline)

    return rebuild(function, make)[0]


def _is_foldable(node: Tensor) -> bool:
    op = node.op
    if op.meaning is None or op.binds or op.has_bodies or has_effects(node):
        return False
    if op.family == "random" or isinstance(node.type, TupleType) or not _is_known(node.type):
        return False
    return not any(
        isinstance(value, tuple) and any(isinstance(item, SizeExpr) for item in value)
        for value in node.attrs.values()
    )


def _is_known(type: TensorType) -> bool:
    return type.shape is not None and not any(isinstance(size, SizeExpr) for size in type.shape)


def _folded(node: Tensor, deadline: float) -> Tensor:
    type = node.result
    size = math.prod(type.shape or ()) * type.dtype.itemsize
    held = sum(i.attrs["value"].nbytes for i in node.inputs)
    refuse = _refuser(node, size=size, held=held)
    if node.op.name in SPLATS and size > held:
        return refuse("splat")
    if size > held + GROWTH_LIMIT:
        return refuse("growth")
    if time.perf_counter() > deadline:
        return refuse("budget")
    assert node.op.meaning is not None
    try:
        with np.errstate(all="ignore"):
            result = node.op.meaning(*(i.attrs["value"] for i in node.inputs), **node.attrs)
    except Exception:  # whatever its fault is, it belongs to the run: there the line is named
        return refuse("fails")
    value = np.array(result, type.dtype.numpy)
    if type.dtype is BFLOAT16:
        value = round_to_bfloat16(value)
    value.setflags(write=False)
    attrs = {"value": value, "dtype": type.dtype}
    folded = Tensor(constant, (), attrs, type, node.loc, node.name, node.owner)
    done = Decision("fold", node.op.name, True, "constant", node.loc, {"bytes": size})
    return folded if decide(done, node, folded) else node


def _refuser(node: Tensor, **details: Any) -> Callable[[str], Tensor]:
    def refuse(reason: str) -> Tensor:
        decide(Decision("fold", node.op.name, False, reason, node.loc, details))
        return node

    return refuse
