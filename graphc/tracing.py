"""Tracing: a Python function run once in a graph of its own becomes the body of a region."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from graphc import nesting
from graphc.conversion import as_tensor
from graphc.errors import ArgumentError, GraphError, NestingError
from graphc.freezing import frozen
from graphc.function import Function, rebuild, topological
from graphc.graph import Graph, body_graph, current, has_effects
from graphc.location import Location, at_line, here
from graphc.ops.elementwise import identity
from graphc.ops.source import _placeholder, run_state
from graphc.ops.state import _check, after, assign, pick, variable
from graphc.tensor import Tensor
from graphc.types import OPERATION, TensorType, TupleType


@frozen
class Trace:
    """What a call of the user's function gave: the nesting of its results, and the nodes under them."""

    graph: Graph
    nest: Any
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    effects: tuple[Tensor, ...]


def trace(function: Callable[..., Any], types: Sequence[TensorType] = (), nest: Any = ()) -> Trace:
    """Calls `function` on new inputs of `types`, nested as the arguments in `nest` are.

    A result that is an operation counts as the truth that it has run; None stays None.

    Raises: ArgumentError for what cannot be called so; NestingError where Python allows no deeper calls.
    """
    with body_graph() as graph:
        inputs = tuple(parameter(f"arg{i}", type, graph) for i, type in enumerate(types))
        arguments = nesting.rebuild_nest(nest, inputs)
        _refuse_uncallable(function, len(arguments))
        try:
            result = function(*arguments)
        except GraphError:
            raise
        except RecursionError as error:
            raise NestingError(
                f"Python's limit of {sys.getrecursionlimit()} calls within one another is reached in a body "
                f"{graph.depth} deep; sys.setrecursionlimit allows more\n  it is {place_of(function)}"
            ) from error
        leaves = nesting.flatten(result)
        outputs = tuple(_as_output(leaf) for leaf in leaves if leaf is not None)
    return Trace(graph, result, inputs, outputs, tuple(graph.effects))


def _refuse_uncallable(function: Any, count: int) -> None:
    arguments = f"{count} argument{'s' * (count != 1)}" if count else "no arguments"
    if not callable(function):
        raise ArgumentError(f"a function of {arguments} is wanted, not {function!r}")
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError as error:
        raise ArgumentError(f"{place_of(function)}, is called with {arguments}: {error}") from None
    except ValueError:
        return  # one that says nothing of its arguments


def _as_output(leaf: Any) -> Tensor:
    tensor = as_tensor(leaf)
    if tensor.type == OPERATION:
        return after(True, tensor)
    return tensor


def parameter(name: str, type: TensorType, graph: Graph | None, loc: Location | None = None) -> Tensor:
    """An input of a body; it belongs to `loc`, else to the line that is at work."""
    attrs = {"name": name, "dtype": type.dtype, "shape": type.shape}
    return Tensor(_placeholder, (), attrs, type, loc or here(), None, graph)


def captures(traces: Sequence[Trace]) -> tuple[list[Tensor], list[Tensor]]:
    """The tensors of the graphs around that `traces` use, and the operations, each once, in order."""
    tensors: dict[Tensor, None] = {}
    operations: dict[Tensor, None] = {}
    for each in traces:

        def outside(node: Tensor, graph: Graph = each.graph) -> bool:
            return node.owner is not graph or (node.op is pick and node.inputs[0].owner is not graph)

        for node in topological((*each.outputs, *each.effects), stop=outside):
            if node not in each.inputs and outside(node):
                (operations if isinstance(node.type, TupleType) else tensors)[node] = None
    return list(tensors), list(operations)


def close(
    traced: Trace,
    captured: Sequence[Tensor],
    stand_in: Callable[[Tensor, Tensor], Tensor] = lambda _, formal: formal,
) -> Function:
    """The body of `traced`, with an input for each of `captured` behind its own.

    ``stand_in(captured, input)`` is what the nodes of the body use in its place. Operations from
    outside are left out: whoever makes the region runs them before it.
    """
    formals = tuple(
        replace(parameter(node.name or f"outer{i}", node.result, traced.graph), loc=node.loc)
        for i, node in enumerate(captured)
    )

    def make(node: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
        if node.owner is not traced.graph:
            return node  # an operation from outside
        kept = tuple(i for i in inputs if i.owner is traced.graph or not isinstance(i.type, TupleType))
        return node if kept == node.inputs else replace(node, inputs=kept)

    start = {node: stand_in(node, formal) for node, formal in zip(captured, formals, strict=True)}
    body = Function((*traced.inputs, *captured), traced.outputs, traced.effects)
    closed, _ = rebuild(body, make, start)
    return replace(closed, inputs=(*traced.inputs, *formals))


def as_values(captured: Sequence[Tensor], traces: Sequence[Trace]) -> list[Tensor]:
    """`captured`, the reads among them that the user made outside being values that stay as they are.

    A variable used in a body is a read too, and is captured; a step sees it as the one before left it.
    """
    reads = {read for each in traces for read in each.graph.reads}
    return [identity(node) if node.op is variable and node not in reads else node for node in captured]


def place_of(function: Callable[..., Any]) -> str:
    """Where `function` is defined, for a message."""
    code = getattr(function, "__code__", None)
    if code is None:
        return repr(function)
    return f"{function.__name__}, defined at {os.path.basename(code.co_filename)}:{code.co_firstlineno}"


def without_effects(body: Function) -> Function:
    """`body` as the values that it computes: what a gradient computes again must not act again."""

    def make(node: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
        if node.op is after:  # what binds a size that the value names is no act
            binders = tuple(i for i in inputs[1:] if i.op.binds and not (i.op.effect or i.op.has_bodies))
            return replace(node, inputs=(inputs[0], *binders)) if binders else inputs[0]
        if node.op in (assign, _check):
            return inputs[0]
        if node.op is variable and inputs:
            name = node.attrs["name"]
            seen = [n for n in topological(node.inputs) if n.op is assign and n.attrs["variable"] == name]
            return new[seen[-1]] if seen else inputs[0]
        return node if inputs == node.inputs else replace(node, inputs=inputs)

    new: dict[Tensor, Tensor] = {}

    def remember(node: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
        new[node] = make(node, inputs)
        return new[node]

    return rebuild(Function(body.inputs, body.outputs), remember)[0]


def bring_inside(ys: Sequence[Tensor], xs: Sequence[Tensor], order: Sequence[Tensor]) -> dict[Tensor, Tensor]:
    """What nodes become so that the paths from `xs` to `ys` lie in the current body; empty if they do.

    A body takes tensors from around it as inputs of its own, which would cut a path that leads through
    several of them, and the gradient along it. `order` is what the ys reach, operands before users.

    Raises: ArgumentError for a path through a region that assigns or prints, which must not do so twice.
    """
    graph = current().graph
    if graph.parent is None:
        return {}
    reached, between, outside = set(xs), [], False
    for node in order:
        if any(i in reached for i in node.inputs):
            reached.add(node)
            between.append(node)
            outside |= node.owner is not graph and graph.holds(node.owner)
    if not outside:
        return {}
    new: dict[Tensor, Tensor] = {}
    for node in between:
        if node.op in (after, assign) and node.owner is not graph:
            new[node] = new.get(node.inputs[0], node.inputs[0])
            continue
        if node.op.has_bodies and has_effects(node) and node.owner is not graph:
            raise ArgumentError(
                f"the gradient is taken in a body, through a {node.op.name} outside of it that has effects; "
                f"take it outside{at_line(node.loc)}"
            )
        inputs = tuple(new.get(i, _same_draw(i)) for i in node.inputs)
        new[node] = replace(node, inputs=inputs, owner=graph, name=None)
    return new


def _same_draw(operand: Tensor) -> Tensor:
    """`operand`; the state of the run hidden, so that a loop does not give each step its own."""
    if operand.op is not run_state:
        return operand
    return Tensor(after, (operand,), {}, operand.type, operand.loc, None, operand.owner)
