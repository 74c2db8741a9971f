"""Identity: the ids that the nodes of an executable have in its record.

The record is made by running the passes once more, so its nodes are others, but alike, place by place.
"""

from __future__ import annotations

from collections.abc import Mapping

from graphc.function import Function
from graphc.tensor import Tensor
from passes.delta import Sizes


class Names:
    """The ids of nodes, and numbers for sizes.

    Args:
        function: the executable's.
        again: what the passes made the second time.
        ids: of the nodes of `again`.
        sizes: what symbols are.
    """

    def __init__(self, function: Function, again: Function, ids: Mapping[Tensor, str], sizes: Sizes) -> None:
        ours, theirs = function.nodes(), again.nodes()
        alike = len(ours) == len(theirs) and all(a.op is b.op for a, b in zip(ours, theirs, strict=True))
        self._ids = {a: ids.get(b) for a, b in zip(ours, theirs, strict=True)} if alike else {}
        self.sizes = sizes

    def of(self, node: Tensor) -> str | None:
        """The id of `node`; None where the second run of the passes came out otherwise."""
        return self._ids.get(node)


class BodyNames(Names):
    """The ids of nodes in a body: their numbers."""

    def __init__(self, body: Function, sizes: Sizes) -> None:
        self._ids = {node: str(i) for i, node in enumerate(body.nodes())}
        self.sizes = sizes
