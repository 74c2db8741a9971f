"""Distinct: `unique` as what it is made of, for a backend with kernels: what nobody asks for is not computed.

    unique(x)[0] -> gather(line, starts)             starts = run_starts(line)
    unique(x)[1] -> gather(order, starts)            line = sort(x), or gather(x, order) where it is needed
    unique(x)[2] -> run_numbers(starts, order)       order = argsort(x)

The order is stable, so that the first of a run is the first of its elements in `x`. `run_starts` binds the
size that `unique` bound. Bodies keep theirs: a body that gives sizes is walked step by step in any case.
"""

from __future__ import annotations

from graphc.function import Function, rebuild, with_inputs
from graphc.graph import graph_frame
from graphc.location import on_behalf_of
from graphc.ops.gathering import gather
from graphc.ops.movement import reshape
from graphc.ops.sorting import _argsort as argsort
from graphc.ops.sorting import _sort as sort
from graphc.ops.sorting import _unique as unique
from graphc.ops.sorting import run_numbers, run_starts
from graphc.ops.state import after, pick
from graphc.tensor import Tensor
from passes.record import Decision, decide
from passes.target import PLAIN, Target


def sort_distinct(function: Function, target: Target = PLAIN) -> Function:
    """`function` in which `unique` is sorting and looking for runs; the same where there is none. Linear."""
    nodes = function.nodes()
    if not target.fusible or not any(node.op is unique for node in nodes):
        return function
    parts = _parts_of(function)
    made: dict[Tensor, tuple[Tensor, Tensor, Tensor | None]] = {}

    def make(node: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
        if node in parts:
            starts, line, order = _runs(node, inputs[0], with_order=not parts[node].isdisjoint((1, 2)))
            made[starts] = starts, line, order
            return starts  # which binds the size, for who waits for that
        if node.op is pick and node.inputs[0] in parts:
            with graph_frame(node.owner), on_behalf_of(node.loc):
                return _part(node, *made[inputs[0]])
        return with_inputs(node, inputs)

    return rebuild(function, make)[0]


def _parts_of(function: Function) -> dict[Tensor, set[int]]:
    """For each `unique` to be taken apart: which of its results are used."""
    found: dict[Tensor, set[int]] = {}
    kept = {*function.outputs, *function.effects}
    for node in function.nodes():
        if node.op is unique and node not in kept and node.inputs[0].result.shape is not None:
            done = Decision("layout", "unique", True, "sorted", node.loc)
            if decide(done, node):
                found[node] = set()
        for operand in node.inputs:
            if operand not in found:
                continue
            if node.op is pick:
                found[operand].add(node.attrs["index"])
            elif node.op is not after:
                del found[operand]  # all of it is needed at once
    return found


def _runs(node: Tensor, x: Tensor, with_order: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    """Where runs begin, in what, and how that was sorted where it must be known."""
    with graph_frame(node.owner), on_behalf_of(node.loc):
        flat = x if len(x.result.sizes) == 1 else reshape(x, [-1])
        order = argsort(flat, axis=0) if with_order else None
        line = sort(flat, axis=0) if order is None else gather(flat, order, axis=0)
        return run_starts(line, shape=node.attrs["shape"]), line, order


def _part(node: Tensor, starts: Tensor, line: Tensor, order: Tensor | None) -> Tensor:
    if node.attrs["index"] == 0:
        return gather(line, starts, axis=0)
    assert order is not None  # since a part needs it
    if node.attrs["index"] == 1:
        return gather(order, starts, axis=0)
    numbers = run_numbers(starts, order)
    shape = node.result.sizes
    return numbers if len(shape) == 1 else reshape(numbers, shape)
