"""Values to try a graph on: what is fed, or drawn where nothing is; and how variables begin."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from graphc import sizes
from graphc.conversion import round_to_bfloat16
from graphc.errors import GraphError
from graphc.function import bodies, topological
from graphc.graph import Graph
from graphc.ops.state import assign, variable
from graphc.sizes import Symbol
from graphc.tensor import Tensor
from graphc.types import BFLOAT16, TensorType
from passes.pipeline import Request
from runtime.backend import Array
from runtime.feeds import convert, ranks, resolve_feeds
from runtime.session import Session

_LEAST = 3  # of a drawn size: what is 1 would broadcast


def feed_arrays(
    request: Request, graph: Graph, feeds: Mapping[Any, Any] | None
) -> tuple[Request, list[Array], dict[str, Array]]:
    """`request` fed with `feeds`, the arrays in the order of its feeds, and those fed for variables.

    Where `feeds` is None, every placeholder is given a drawn value.

    Raises: FeedError, UnknownNameError.
    """
    if feeds is None:
        extents: dict[Symbol, int] = {}
        arrays = [draw(node.result, extents, number) for number, node in enumerate(request.feeds)]
        tensors, overrides = request.feeds, {}
    else:
        fed = resolve_feeds(graph, feeds)
        tensors = fed.tensors
        arrays = [convert(tensor, value) for tensor, value in zip(tensors, fed.values, strict=True)]
        overrides = {v.name: convert(v, value) for v, value in fed.variables}
    unranked = [tensor for tensor in tensors if tensor.result.shape is None]
    types = {
        tensor: TensorType(tensor.dtype, tuple(sizes.unknown() for _ in range(rank)))
        for tensor, rank in zip(unranked, ranks(tensors, arrays), strict=True)
    }
    return replace(request, feeds=tensors, types=types), arrays, overrides


def variable_arrays(
    request: Request, graph: Graph, given: Mapping[str, Any] | None = None
) -> dict[str, Array]:
    """A value for each variable that `request` may read: as `given`, else as the graph begins, else drawn."""
    values: dict[str, Array] = {}
    extents: dict[Symbol, int] = {}
    with Session(graph=graph, backend="numpy", pipeline=()) as session:
        for name, node in _variables(request):
            known = graph.variables.get(name)
            if given is not None and name in given:
                values[name] = np.asarray(given[name], node.result.dtype.numpy)
                continue
            try:
                if known is None or not known.has_initial_value:
                    raise GraphError(f"{name} has no initial value")
                session.run(known.initializer)
                values[name] = np.asarray(session.run(known))
            except GraphError:  # it begins with nothing, or with what must be fed
                values[name] = draw(node.result, extents, len(values))
    return values


def _variables(request: Request) -> Iterator[tuple[str, Tensor]]:
    """The variables that `request` reads or assigns, bodies included, each once."""
    pending: list[Sequence[Tensor]] = [topological((*request.fetches, *request.feeds))]
    seen: set[str] = set()
    while pending:
        for node in pending.pop():
            pending.extend(body.nodes() for _, body in bodies(node))
            if node.op is variable or node.op is assign:
                name = node.attrs["name" if node.op is variable else "variable"]
                if name not in seen:
                    seen.add(name)
                    yield name, node


def draw(type: TensorType, extents: dict[Symbol, int], seed: int) -> Array:
    """An array of `type`; `extents` keeps the sizes chosen for its symbols, unknown ones being alike."""
    for size in type.shape or ():
        for symbol in sizes.symbols(size):
            named = sum(known.name is not None for known in extents)
            extents.setdefault(symbol, _LEAST if symbol.name is None else _LEAST + 1 + named)
    shape = tuple(sizes.evaluate(size, extents) for size in type.shape or ())
    return drawn(type.dtype.numpy, shape, seed, rounded=type.dtype is BFLOAT16)


def drawn(dtype: Any, shape: tuple[int, ...], seed: int, rounded: bool = False) -> Array:
    """Normal numbers, coins, or whole numbers from 0 to 2, by what `dtype` is."""
    rng = np.random.default_rng(seed)
    kind = np.dtype(dtype).kind
    if kind == "f":
        array = np.asarray(rng.normal(size=shape).astype(dtype))
        return round_to_bfloat16(array) if rounded else array
    return np.asarray(rng.integers(0, 2 if kind == "b" else 3, shape).astype(dtype))
