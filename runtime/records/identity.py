"""Identity: the ids that the nodes of an executable have in its record.

The record is made by running the passes once more, so its nodes are others, but alike, place by place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from graphc.function import Function
from graphc.tensor import Tensor
from passes.delta import Deltas, Sizes


class Names:
    """The ids of nodes, and numbers for sizes.

    Attributes:
        sizes: what symbols are.
    """

    sizes: Sizes

    def __init__(self, deltas: Deltas, ids: Mapping[Tensor, str], place: str = "") -> None:
        self.sizes = deltas.sizes
        self._deltas, self._ids, self._place = deltas, ids, place

    @classmethod
    def of_function(cls, function: Function, again: Function, deltas: Deltas) -> Names:
        """Those of `function`, an executable's; `again` is what the passes made the second time."""
        ours, theirs = function.nodes(), again.nodes()
        ids = deltas.ids
        return cls(
            deltas, {a: ids[b] for a, b in zip(ours, theirs, strict=True)} if _alike(ours, theirs) else {}
        )

    def of(self, node: Tensor) -> str | None:
        """The id of `node`; None where the second run of the passes came out otherwise."""
        return self._ids.get(node)

    def inside(self, node: Tensor, name: str, body: Function) -> Names:
        """Those of `body`, which `node` has under that `name`: in a group they are numbers."""
        place, ours = f"{self._place}{self.of(node)}/{name}", body.nodes()
        kept = self._deltas.bodies.get(place, {})
        ids = dict(zip(ours, kept.values(), strict=True)) if _alike(ours, [*kept]) else None
        return Names(self._deltas, ids or {n: str(i) for i, n in enumerate(ours)}, f"{place}/")


def _alike(xs: Sequence[Tensor], ys: Sequence[Tensor]) -> bool:
    return len(xs) == len(ys) and all(x.op is y.op for x, y in zip(xs, ys, strict=True))
