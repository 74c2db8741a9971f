"""NaN spread: maxima and minima of rows that need not remember a NaN, since the results show it without them.

Floating compares forget NaN, so an extremum remembers beside it which lanes met one: as much work again. In a
softmax, NaN in a row is in its sum of exponentials too, and so in all that is divided by that.
"""

from __future__ import annotations

from collections.abc import Iterable

from graphc.tensor import Tensor
from runtime.llvm_backend.rows.row_plan import RowPlan

# A NaN in any operand is one in the result.
_HAND_ON = frozenset(
    ("add", "sub", "mul", "div", "neg", "square", "exp", "log", "sqrt", "tanh", "identity", "cast")
)


def forgetful(plan: RowPlan) -> frozenset[Tensor]:
    """The maxima and minima in `plan` that may give any number for a row with a NaN in it."""
    nodes = [node for phase in plan.phases for node in (*phase.vectors, *phase.reductions, *phase.numbers)]
    extrema = [node for node in nodes if node.op.name in ("max", "min") and node.dtype.is_floating]
    return frozenset(node for node in extrema if _shows(plan, node.inputs[0], nodes))


def _shows(plan: RowPlan, row: Tensor, nodes: Iterable[Tensor]) -> bool:
    """Whether a NaN anywhere in `row` makes all results of that row NaN, throughout.

    `partly` is NaN where `row` is, and `wholly` everywhere.
    """
    partly, wholly = {row}, set[Tensor]()
    for node in nodes:
        operands = set(node.inputs)
        if node.op.name in ("sum", "mean"):
            if operands & (partly | wholly):
                wholly.add(node)
        elif node.op.name in _HAND_ON and node.dtype.is_floating:
            if operands & wholly:
                wholly.add(node)
            elif operands & partly:
                partly.add(node)
        elif node.op.name == "where" and node.inputs[2] in wholly:
            asked = node.inputs[0]
            if asked.op.name == "equal" and node.inputs[2] in asked.inputs:
                wholly.add(node)  # nothing equals NaN
    return wholly.issuperset(plan.body.outputs)
