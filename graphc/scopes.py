"""Scopes: how what is made inside of a ``with`` is named, and what runs before it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

from graphc.errors import ArgumentError
from graphc.explanation import explains
from graphc.graph import check_name, current, framed
from graphc.tensor import Tensor
from graphc.variable import Variable


@explains
def name_scope(name: str) -> AbstractContextManager[str]:
    """Names made inside begin with ``name/``; a scope opened twice becomes ``name_1/``.

    A `name` that ends in ``/`` re-opens exactly that scope.

    Raises: ArgumentError for what is no name.
    """
    check_name(name)
    return _scoped(name)


@contextmanager
def _scoped(name: str) -> Iterator[str]:
    frame = current()
    again = name.endswith("/")
    scope = name if again else frame.graph.unique_name(frame.scope + name) + "/"
    with framed(replace(frame, scope=scope)):
        yield scope


@explains
def control_dependencies(dependencies: Sequence[Any] | None) -> AbstractContextManager[None]:
    """What is made inside runs after `dependencies`; None clears those of the scopes around.

    Raises: ArgumentError for a dependency that is no tensor, operation or variable.
    """
    return _behind(None if dependencies is None else tuple(_listed(dependencies)))


def _listed(dependencies: Any) -> Iterator[Tensor | Variable]:
    if isinstance(dependencies, Tensor | Variable):
        dependencies = [dependencies]
    if not isinstance(dependencies, Iterable):
        raise ArgumentError(f"control dependencies are a list of tensors or operations, not {dependencies!r}")
    for given in dependencies:
        if not isinstance(given, Tensor | Variable):
            raise ArgumentError(f"a control dependency is a tensor or an operation, not {given!r}")
        yield given


@contextmanager
def _behind(dependencies: tuple[Tensor | Variable, ...] | None) -> Iterator[None]:
    frame = current()
    around = () if dependencies is None else frame.dependencies
    made = (given.value() if isinstance(given, Variable) else given for given in dependencies or ())
    with framed(replace(frame, dependencies=(*around, *made))):
        yield
