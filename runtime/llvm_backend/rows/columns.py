"""Columns: which reductions go down the columns of a matrix that lies row by row."""

from __future__ import annotations

from graphc.sizes import Size, product
from graphc.tensor import Tensor
from graphc.types import BFLOAT16, BOOL, TensorType

_SMALL = 1 << 14  # elements in all of which a contraction takes as long, and takes along what follows
_REDUCTIONS, _TRUTHS = ("sum", "mean", "max", "min", "prod"), ("any", "all", "max", "min")


def is_of_columns(node: Tensor) -> bool:
    """Whether `node` is a reduction over the first axes that is worth kernels of its own."""
    if not isinstance(node.type, TensorType) or not node.inputs:
        return False
    x = node.inputs[0]
    if node.op.name not in (_TRUTHS if BOOL in (x.dtype, node.dtype) else _REDUCTIONS):
        return False
    axes = node.attrs["axis"]
    if x.result.shape is None or BFLOAT16 in (x.dtype, node.dtype) or not axes:
        return False
    if axes != tuple(range(len(axes))) or len(axes) == len(x.result.sizes):
        return False
    rows, columns = matrix_of(node)
    elements = product((rows, columns))
    return columns != 1 and not (isinstance(elements, int) and elements <= _SMALL)


def matrix_of(node: Tensor) -> tuple[Size, Size]:
    """Rows and columns of what a reduction over the first axes reads."""
    sizes, count = node.inputs[0].result.sizes, len(node.attrs["axis"])
    return product(sizes[:count]), product(sizes[count:])
