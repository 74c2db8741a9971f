"""Apart: windows that lie side by side are an axis cut in two, which no other order of axes makes dearer.

As strides they are read where they lie, but only by contractions. Seen as a reshape and a transpose they move
nothing: reductions over their cells, and what is computed for each of them, work in the order that the
axes have in memory, with the cells before the last axis.

    windows(x)[n, h', w', i, j, c] = transpose(reshape(x, [n, h', i, w', j, c]), (0, 1, 3, 2, 4, 5))
"""

from __future__ import annotations

from graphc import ops
from graphc.function import Function, rebuild, with_inputs
from graphc.sizes import Size
from graphc.tensor import Tensor
from passes.axis_order import identity
from passes.layout import lay_out
from passes.overlaps import overlap_of_apart
from passes.rewrite import index, rewrite
from passes.simplification.vocabulary import reshape
from passes.target import PLAIN, Target

_RULES = index((overlap_of_apart,))  # of such windows the gradients are


def open_apart(function: Function, target: Target = PLAIN) -> Function:
    """`function` without windows side by side that no contraction reads, where a backend contracts in place.

    The same object comes back where there are none. Linear.
    """
    if not target.has_cells:
        return function
    nodes, given = function.nodes(), set(function.inputs)
    found = {node for node in nodes if node.op is ops.windows and node not in given and _lie_apart(node)}
    if not found:
        return function
    read = {x for node in nodes if node.op.name in ("einsum", "matmul") for x in node.inputs}
    found.difference_update(read, function.outputs)

    def make(node: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
        return _opened(node, inputs[0]) if node in found else with_inputs(node, inputs)

    if not found:
        return function
    return lay_out(rewrite(rebuild(function, make)[0], _RULES), target)


def _lie_apart(node: Tensor) -> bool:
    (x,), attrs = node.inputs, node.attrs
    sizes = x.result.shape
    if sizes is None or len(sizes) - 1 in attrs["axes"] or any(d != 1 for d in attrs["dilations"]):
        return False
    return tuple(attrs["size"]) == tuple(attrs["strides"]) and all(
        isinstance(size := sizes[axis], int) and size % cells == 0
        for axis, cells in zip(attrs["axes"], attrs["size"], strict=True)
    )


def _opened(node: Tensor, x: Tensor) -> Tensor:
    axes, size = node.attrs["axes"], node.attrs["size"]
    whole: list[Size] = []
    windows, cells, rest = list[int](), dict[int, int](), list[int]()
    for axis, length in enumerate(x.result.sizes):
        (windows if axis <= max(axes) else rest).append(len(whole))
        if axis in axes:
            assert isinstance(length, int)  # asked before
            count = size[axes.index(axis)]
            whole.append(length // count)
            cells[axis] = len(whole)
            whole.append(count)
        else:
            whole.append(length)
    order = (*windows, *(cells[axis] for axis in axes), *rest)
    plain = order == identity(len(order))
    cut = reshape.make((x,), {"shape": tuple(whole)}, node.name if plain else None, node.loc)
    return cut if plain else ops.transpose.make((cut,), {"axes": order}, node.name, node.loc)
