"""Fetches: any nesting of what can be fetched, as a list of tensors and back."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

from graphc.errors import FetchError, ForeignFetchError, UnknownFetchError, UnknownNameError
from graphc.freezing import frozen
from graphc.graph import Graph
from graphc.location import at_line
from graphc.scopes import control_dependencies
from graphc.tensor import Tensor, describe
from graphc.variable import Variable

Read = Callable[[Variable], Tensor]


@frozen
class Fetches:
    """`tensors` are what to compute, each once; `places` says which of them each leaf of `nest` is."""

    nest: Any
    tensors: tuple[Tensor, ...]
    places: tuple[int, ...]

    def arrange(self, values: list[Any]) -> Any:
        """`values`, one for each leaf, in the nesting of the fetches."""
        if self.nest.__class__ is Tensor:
            return values[0]
        try:
            return _arranged(self.nest, iter(values))
        except RecursionError:
            raise _too_deep() from None


def resolve_fetches(graph: Graph, fetches: Any, read: Read) -> Fetches:
    """What `fetches` mean in `graph`; `read` gives the tensor that reads a variable.

    Raises: FetchError, by name UnknownFetchError, of another graph ForeignFetchError.
    """
    if fetches.__class__ is Tensor:
        return Fetches(fetches, (_checked(graph, fetches),), (0,))
    try:
        leaves = [_tensor(graph, leaf, read) for leaf in _leaves(fetches)]
    except RecursionError:
        raise _too_deep() from None
    number = {tensor: i for i, tensor in enumerate(dict.fromkeys(leaves))}
    return Fetches(fetches, tuple(number), tuple(number[leaf] for leaf in leaves))


def _too_deep() -> FetchError:
    return FetchError("the fetches are nested too deeply, or contain themselves")


def _tensor(graph: Graph, leaf: Any, read: Read) -> Tensor:
    if isinstance(leaf, str):
        try:
            leaf = graph.variables[leaf] if leaf in graph.variables else graph.get_tensor(leaf)
        except UnknownNameError as error:
            raise UnknownFetchError(str(error)) from None
    if isinstance(leaf, Variable):
        if leaf.graph is not graph:
            raise ForeignFetchError(f"{leaf.describe()} belongs to another graph than the session's")
        return read(leaf)
    if isinstance(leaf, Tensor):
        return _checked(graph, leaf)
    advice = "; gc.gradients gives None for an x that no y depends on" if leaf is None else ""
    raise FetchError(
        f"{_brief(leaf)} of type {type(leaf).__name__} cannot be fetched: fetch a tensor, an operation, "
        f"a variable, a name, or a list, tuple or dict of them{advice}"
    )


def _checked(graph: Graph, tensor: Tensor) -> Tensor:
    owner = tensor.owner
    if owner is graph:
        return tensor
    if owner is not None and owner.root is graph:
        raise ForeignFetchError(
            f"{describe(tensor)} was made inside a body and cannot be fetched: "
            f"return it from the body instead{at_line(tensor.loc)}"
        )
    place = at_line(tensor.loc)
    raise ForeignFetchError(f"{describe(tensor)} belongs to another graph than the session's{place}")


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _leaves(nest: Any) -> Iterator[Any]:
    if isinstance(nest, dict):
        for value in nest.values():
            yield from _leaves(value)
    elif isinstance(nest, list | tuple):
        for value in nest:
            yield from _leaves(value)
    else:
        yield nest


def _arranged(nest: Any, values: Iterator[Any]) -> Any:
    if isinstance(nest, dict):
        made = {key: _arranged(value, values) for key, value in nest.items()}
        if type(nest) is dict:
            return made
        alike = copy.copy(nest)  # keeps what a subclass holds besides, as defaultdict does
        alike.update(made)
        return alike
    if isinstance(nest, tuple):
        parts = [_arranged(value, values) for value in nest]
        return type(nest)(*parts) if hasattr(nest, "_fields") else tuple(parts)
    if isinstance(nest, list):
        return [_arranged(value, values) for value in nest]
    return next(values)


class Reads:
    """One read for each variable of a graph, so that fetching it twice asks for the same tensor."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._reads: dict[Variable, Tensor] = {}

    def __call__(self, variable: Variable) -> Tensor:
        """The read of `variable` as it is when a run begins."""
        found = self._reads.get(variable)
        if found is None:
            with self._graph.as_default(), control_dependencies(None):
                found = self._reads.setdefault(variable, variable.value())
        return found
