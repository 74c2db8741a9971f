"""Nestings of list, tuple, dict and namedtuple: flattened, and built again around other leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any


def flatten(nest: Any) -> list[Any]:
    """The leaves of `nest` in order; the values of a dict in the order of its keys' insertion."""
    leaves: list[Any] = []
    pending = [nest]
    while pending:
        item = pending.pop()
        children = _children(item)
        if children is None:
            leaves.append(item)
        else:
            pending.extend(reversed(children))
    return leaves


def rebuild_nest(nest: Any, leaves: Iterable[Any]) -> Any:
    """A nesting like `nest` with `leaves` in place of its own."""
    return map_nest(_taker(iter(leaves)), nest)


def _taker(leaves: Iterator[Any]) -> Callable[[Any], Any]:
    return lambda _: next(leaves)


def map_nest(function: Callable[[Any], Any], nest: Any) -> Any:
    """A nesting like `nest` with ``function(leaf)`` in place of each leaf, in order."""
    if isinstance(nest, dict):
        return type(nest)((key, map_nest(function, value)) for key, value in nest.items())
    if isinstance(nest, tuple):
        values = [map_nest(function, value) for value in nest]
        return type(nest)(*values) if hasattr(nest, "_fields") else tuple(values)
    if isinstance(nest, list):
        return [map_nest(function, value) for value in nest]
    return function(nest)


def same_nesting(x: Any, y: Any) -> bool:
    """Whether two nestings differ in nothing but their leaves."""
    return bool(_skeleton(x) == _skeleton(y))


def _skeleton(nest: Any) -> Any:
    if isinstance(nest, dict):
        return {key: _skeleton(value) for key, value in nest.items()}
    if isinstance(nest, list | tuple):
        return type(nest).__name__, [_skeleton(value) for value in nest]
    return None


def _children(item: Any) -> list[Any] | None:
    if isinstance(item, dict):
        return list(item.values())
    return list(item) if isinstance(item, list | tuple) else None
