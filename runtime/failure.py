"""What a failure while running says: the op, the user's line, the operands and their types."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.explanation import explain, tell_operand
from graphc.freezing import frozen
from graphc.ops.region import fused
from graphc.ops.state import after, pick
from graphc.tensor import Tensor
from graphc.types import TensorType, TupleType, format_type

Origin = Callable[[Tensor], Tensor]  # a node of a body -> what it is outside


def itself(node: Tensor) -> Tensor:
    """`node`, or what it only hands on: the operand of `after`, the node of a fused body that it picks."""
    while node.op is after:
        node = node.inputs[0]
    if node.op is pick and node.inputs[0].op is fused:
        made: Tensor = node.inputs[0].attrs["body"].outputs[node.attrs["index"]]
        return made
    return node


@frozen
class Outside:
    """What nodes in a body of `region` that takes `inputs` are outside: for what is captured, that.

    What a loop carries or walks is a value of its own in every step. `around` says the same of nodes around.
    """

    region: Tensor
    inputs: tuple[Tensor, ...]
    around: Origin

    def __call__(self, node: Tensor) -> Tensor:
        """`node` as the user's program has it."""
        place: Origin = self
        while isinstance(place, Outside):  # however deep it is
            captured = place._captured(node)
            if captured is None:
                return node if node in place.inputs else itself(node)
            node, place = captured, place.around
        return place(node)

    def _captured(self, node: Tensor) -> Tensor | None:
        """The operand of the region that `node` is, if it is one that the body sees as it is."""
        region, inputs = self.region, self.inputs
        if node not in inputs:
            return None
        own = region.attrs["carried"] + region.attrs["scanned"] if region.op.name == "loop" else 0
        behind = len(inputs) - inputs.index(node)  # captures come last, in a region and in its bodies
        captured = len(region.inputs) - (1 if region.op.name == "cond" else own)
        return region.inputs[-behind] if behind <= captured else None


def explain_run(error: Exception, node: Tensor, operands: Sequence[Any], origin: Origin = itself) -> None:
    """Tells `error`, which stays the same object, where in the user's program it arose. Once only.

    `operands` are the values `node` ran on; `origin` says what its operands are in the user's program.
    """
    labelled = zip(node.op.labelled(node.inputs), operands, strict=False)
    told = ((label, origin(given), value) for (label, given), value in labelled)
    lines = (tell_operand(label, operand, actual_type(operand, value)) for label, operand, value in told)
    explain(error, node.op.name, node.loc, lines)


def actual_type(tensor: Tensor, value: Any) -> str:
    """The type of `value`, which `tensor` has in this run, as text."""
    if isinstance(tensor.type, TupleType) or not isinstance(value, np.ndarray):
        return format_type(tensor.type)
    return format_type(TensorType(tensor.type.dtype, value.shape))
