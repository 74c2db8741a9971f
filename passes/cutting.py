"""Cutting: fed tensors become inputs, so that nothing is computed, or rewritten, through them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from graphc.errors import FeedError
from graphc.function import Function, all_functions, in_known_order, rebuild, with_inputs
from graphc.location import at_line
from graphc.ops.source import _placeholder as placeholder
from graphc.tensor import Tensor, describe


def cut_feeds(function: Function, feeds: Sequence[Tensor]) -> tuple[Function, dict[Tensor, Tensor]]:
    """`function` on `feeds` as its inputs, and what became of each node that it rests on; of none, itself.

    Raises: FeedError for a placeholder that is still needed.
    """
    inputs = {node: _as_input(node, i) for i, node in enumerate(feeds)}
    new: dict[Tensor, Tensor] = {}
    is_cut = any(made is not node for node, made in inputs.items())
    if is_cut:
        function, new = rebuild(replace(function, inputs=()), with_inputs, inputs)
    result = Function(tuple(inputs.values()), function.outputs, function.effects)
    if not is_cut:  # only placeholders are fed, which need nothing: what needs them stands as it stood
        result = in_known_order(result, dict.fromkeys((*result.inputs, *function.nodes())))
    _refuse_unfed(result)
    return result, new


def _as_input(node: Tensor, number: int) -> Tensor:
    if node.op is placeholder:
        return node
    type = node.result
    attrs = {"name": node.name or f"fed_{number}", "dtype": type.dtype, "shape": type.shape}
    return Tensor(placeholder, (), attrs, type, node.loc, node.name, node.owner)


def _refuse_unfed(function: Function) -> None:
    for current in all_functions(function):
        given = set(current.inputs)
        for node in current.nodes():
            if node.op is placeholder and node not in given:
                raise _unfed(node)


def refuse_unranked(function: Function, feeds: Sequence[Tensor], cause: Exception) -> None:
    """Raises FeedError for a placeholder of unknown rank that is none of `feeds`."""
    for node in function.nodes():
        if node.op is placeholder and node.result.shape is None and node not in feeds:
            raise _unfed(node) from cause


def _unfed(node: Tensor) -> FeedError:
    return FeedError(f"{describe(node)} must be fed: {node.type}{at_line(node.loc, 'made at')}")
