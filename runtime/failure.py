"""What a failure while running says: the op, the user's line, the operands and their types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.errors import GraphError
from graphc.tensor import Tensor, describe
from graphc.types import TensorType, TupleType, format_type


def explain(error: Exception, node: Tensor, operands: Sequence[Any]) -> None:
    """Tells `error`, which stays the same object, where in the user's program it arose. Once only.

    `operands` are the values `node` ran on.
    """
    if getattr(error, "explained", False):
        return
    error.explained = True  # type: ignore[attr-defined]  # read only here and where nodes are made
    lines = [f"at {node.loc}"] if node.loc else []
    for label, operand, value in zip(operand_names(node), node.inputs, operands, strict=False):
        place = f", made at {operand.loc.short}" if operand.loc else ""
        lines.append(f"{label} is {describe(operand)}: {actual_type(operand, value)}{place}")
    if isinstance(error, GraphError):
        error.args = (f"{node.op.name}: {error}", *error.args[1:])
        error.extend(*lines)
    else:
        error.add_note("\n  ".join((f"while running {node.op.name}", *lines)))


def operand_names(node: Tensor) -> Sequence[str]:
    """What the operands of `node` are called in its op's signature."""
    names = node.op.operands
    return [f"operand {i}" for i in range(len(node.inputs))] if node.op.variadic else names


def actual_type(tensor: Tensor, value: Any) -> str:
    """The type of `value`, which `tensor` has in this run, as text."""
    if isinstance(tensor.type, TupleType) or not isinstance(value, np.ndarray):
        return format_type(tensor.type)
    return format_type(TensorType(tensor.type.dtype, value.shape))
