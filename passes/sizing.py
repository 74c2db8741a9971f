"""Sizing: nodes that need a size known only to a node's result run after that node."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.function import Function, rebuild, with_inputs
from graphc.ops.sizing import element_count
from graphc.ops.source import iota
from graphc.ops.state import after
from graphc.sizes import SizeExpr, Symbol, sole_symbol, symbols
from graphc.tensor import Tensor


def bind_sizes(function: Function, binders: Sequence[Tensor]) -> Function:
    """`function`, in which what uses a size that one of `binders` binds depends on that binder.

    A gradient may use the size of a value without using the value. The same object comes back where
    no size is bound by a result.
    """
    if not binders:
        return function
    binder_of = {symbol: node for node in binders for symbol in _bound_by(node)}
    for fed in function.inputs:
        for symbol in _bound_by(fed):
            binder_of.pop(symbol, None)
    available: dict[Tensor, frozenset[Symbol]] = {}

    def make(node: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
        at_hand = frozenset[Symbol]().union(*(available.get(i, frozenset()) for i in inputs))
        if node.op.binds:
            at_hand |= {symbol for symbol in _bound_by(node) if symbol in binder_of}
        else:
            missing = [s for s in _needed(node) if s in binder_of and s not in at_hand]
            if missing:
                witnesses = tuple(dict.fromkeys(binder_of[symbol] for symbol in missing))
                if node.op in (iota, element_count):  # whose operands are witnesses
                    inputs = (*inputs, *witnesses)
                elif inputs:
                    first = inputs[0]
                    inputs = (
                        Tensor(after, (first, *witnesses), {}, first.type, node.loc, None, node.owner),
                        *inputs[1:],
                    )
                at_hand |= set(missing)
        made = with_inputs(node, inputs)
        available[made] = at_hand
        return made

    return rebuild(function, make)[0]


def _bound_by(node: Tensor) -> list[Symbol]:
    """The symbols that stand alone as a size of the attribute `shape` of `node`."""
    found = (sole_symbol(size) for size in node.attrs.get("shape") or ())
    return [symbol for symbol in found if symbol is not None]


def _needed(node: Tensor) -> list[Symbol]:
    return [
        symbol
        for value in node.attrs.values()
        if isinstance(value, tuple)
        for size in value
        if isinstance(size, SizeExpr)
        for symbol in symbols(size)
    ]
