"""Networks: a function as a graph of networkx, for whoever wants to ask its algorithms."""

from __future__ import annotations

import os
from typing import Any

import networkx as nx

from graphc.literals import Speller
from graphc.sizes import Size
from graphc.text import as_function
from graphc.types import TensorType
from passes.cost import cost_of_node


def to_networkx(fetches: Any) -> nx.DiGraph:
    """What `fetches` reach (or a Function, or a Graph) as a ``networkx.DiGraph``, from operands to users.

    Nodes are numbers in an order of computation, with the attributes ``op``, ``type`` (text), ``dtype``
    and ``shape`` (None for operations and several results), ``name``, ``scope``, ``file``, ``line``,
    ``backward``, ``flops`` and ``bytes`` (ints, or texts in symbolic sizes), ``output`` (whether it is
    fetched) and ``tensor``. Edges have ``operands``: the places that the operand has among those of its user.

    Raises: FetchError.
    """
    function, speller = as_function(fetches), Speller()
    graph = nx.DiGraph()
    kept = {*function.outputs, *function.effects}
    number = {node: i for i, node in enumerate(function.nodes())}

    def spell(size: Size) -> int | str:
        return size if isinstance(size, int) else speller.size(size)

    for node, i in number.items():
        loc, type, cost = node.loc, node.type, cost_of_node(node)
        single = type if isinstance(type, TensorType) else None
        name = node.name or node.attrs.get("name") or node.attrs.get("variable")
        graph.add_node(
            i,
            op=node.op.name,
            type=speller.type(type),
            dtype=None if single is None else str(single.dtype),
            shape=None if single is None else node.shape,
            name=name if isinstance(name, str) else None,
            scope=loc.scope if loc else "",
            file=os.path.basename(loc.filename) if loc else None,
            line=loc.line if loc else None,
            backward=bool(loc and loc.backward),
            flops=spell(cost.flops),
            bytes=spell(cost.bytes),
            output=node in kept,
            tensor=node,
        )
    for node, i in number.items():
        for operand in dict.fromkeys(() if node in function.inputs else node.inputs):
            places = tuple(k for k, each in enumerate(node.inputs) if each is operand)
            graph.add_edge(number[operand], i, operands=places)
    return graph
