"""Labels: the element of each row that an integer numbers, strictly."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc import sizes
from graphc.errors import DTypeError, IndexOutOfRangeError, ShapeError
from graphc.op import op
from graphc.ops.comparison import equal, where
from graphc.ops.elementwise import cast
from graphc.ops.movement import expand_dims
from graphc.ops.source import iota
from graphc.tensor import Tensor
from graphc.types import TensorType


@op("indexing", fallible=True, nondifferentiable=("labels",))
def pick_class(x: Tensor, labels: Tensor) -> TensorType:
    """``x[..., labels[...]]``: one element of each row. Labels do not count from the end.

    Shapes: ``[..., classes], [...] -> [...]``.
    Raises: ShapeError where the labels do not have the shape of `x` without its last axis; DTypeError
    unless they are integers; IndexOutOfRangeError at the run for one that numbers no class.
    """
    if not labels.dtype.is_integer:
        raise DTypeError(f"labels are integers, not {labels.type}")
    rows, given = x.result.sizes, labels.result.sizes
    if not rows:
        raise ShapeError(f"there is no last axis of classes in {x.type}")
    agreed = [sizes.meet(a, b) for a, b in zip(rows[:-1], given, strict=False)]
    if len(given) != len(rows) - 1 or None in agreed:
        raise ShapeError(f"labels {labels.type} are not one for each row of {x.type}")
    return TensorType(x.dtype, rows[:-1])


def _picked(x: Any, labels: Any) -> Any:
    classes = x.shape[-1]
    outside = (labels < 0) | (labels >= classes)
    if outside.any():
        raise IndexOutOfRangeError(f"label {int(labels[outside][0])} is none of the {classes} classes")
    return np.take_along_axis(x, labels[..., None].astype(np.int64), -1)[..., 0]


def _slope(g: Tensor, out: Tensor, x: Tensor, labels: Tensor) -> tuple[Tensor, None]:
    chosen = equal(expand_dims(cast(labels, "int64"), -1), iota(shape=(x.result.sizes[-1],)))
    return where(chosen, expand_dims(g, -1), 0), None


pick_class.evaluate(_picked)
pick_class.gradient(_slope)
pick_class.example("f64[3,4]", np.array([0, 3, 1]))
pick_class.example("f64[2,2,3]", np.array([[0, 2], [2, 1]], np.int32))
pick_class.example("f64[2]", np.array(1, np.uint8))
pick_class.example("f32[0,3]", np.zeros(0, np.int64))
