"""Symbols: those that the sizes in a function name, its bodies included."""

from __future__ import annotations

from collections.abc import Iterator
from weakref import WeakKeyDictionary

from graphc.function import Function, bodies, in_order
from graphc.sizes import SizeExpr, Symbol, symbols
from graphc.tensor import Tensor
from passes.weight import parts_of

_known: WeakKeyDictionary[Function, frozenset[Symbol]] = WeakKeyDictionary()


def find_symbols(function: Function) -> frozenset[Symbol]:
    """The symbols in types and attributes of `function` and its bodies, each of which is looked at once."""
    if function not in _known:
        for each in in_order([function], _unknown_bodies):
            found = {symbol for node in each.nodes() for symbol in _symbols_of(node)}
            for node in each.nodes() if each.has_regions() else ():
                found.update(*(_known[body] for _, body in bodies(node)))
            _known[each] = frozenset(found)
    return _known[function]


def _unknown_bodies(function: Function) -> list[Function]:
    if not function.has_regions():
        return []
    return [body for node in function.nodes() for _, body in bodies(node) if body not in _known]


def _symbols_of(node: Tensor) -> Iterator[Symbol]:
    shapes = [type.shape for type in parts_of(node.type) if type.shape]
    shapes += [value for value in node.attrs.values() if value.__class__ is tuple]
    for shape in shapes:
        for size in shape:
            if size.__class__ is SizeExpr:
                yield from symbols(size)
