"""Match: what a rule is given, and what it may ask of the nodes around."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from graphc import sizes
from graphc.freezing import frozen
from graphc.function import topological
from graphc.graph import has_effects
from graphc.tensor import Tensor
from graphc.types import TensorType, Type
from passes.failure import may_fail


@dataclass(slots=True)
class Surroundings:
    """What one sweep knows of the nodes around a match.

    Args:
        uses: how many operands and results each node is, so far.
        silent: nodes that may be left out, or not, as far as anyone asked.
        refused: whether some rule was told that a node has other users.
    """

    uses: Counter[Tensor]
    silent: dict[Tensor, bool] = field(default_factory=dict)
    refused: bool = False


@frozen
class Match:
    """What a rule is given: the node, its operands rewritten, and what is known of those."""

    node: Tensor
    around: Surroundings

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The operands."""
        return self.node.inputs

    @property
    def attrs(self) -> Mapping[str, Any]:
        """The attributes."""
        return self.node.attrs

    def used_once(self, operand: Tensor) -> bool:
        """Whether this node is the only user of `operand`, so that work on it is not done twice."""
        if self.around.uses.get(operand, 1) <= 1:
            return True
        self.around.refused = True
        return False

    def is_droppable(self, operand: Tensor) -> bool:
        """Whether nobody notices that `operand` is not computed.

        Nothing that it rests on may fail, is seen from outside, is drawn or binds a size. Each node is
        looked at once in a sweep.
        """
        silent = self.around.silent
        if operand not in silent:
            for node in topological((operand,), stop=silent.__contains__):
                if node not in silent:
                    silent[node] = is_certain(node) and _is_silent(node) and all(map(silent.get, node.inputs))
        return silent[operand]


def is_certain(node: Tensor) -> bool:
    """Whether `node` cannot fail, nor take two sizes as equal without knowing it.

    The run checks such sizes for every node that there is, so a node that meets some is not dropped.
    """
    if may_fail(node):
        return False
    if all(_is_known(given.type) for given in node.inputs):
        return True
    if any(isinstance(i.type, TensorType) and i.type.shape is None for i in node.inputs):
        return False
    with sizes.meetings() as met:
        node.op.infer(node.inputs, node.attrs)
    return not met


def _is_known(given: Type) -> bool:
    return (
        isinstance(given, TensorType)
        and given.shape is not None
        and all(isinstance(size, int) for size in given.shape)
    )


def _is_silent(node: Tensor) -> bool:
    op = node.op
    return not (op.binds or op.has_bodies or op.family in ("random", "marker") or has_effects(node))
