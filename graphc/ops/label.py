"""Labels: the element of each row that an integer numbers, strictly, and rows that hold one there."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc import sizes
from graphc.attributes import Shape
from graphc.errors import DTypeError, IndexOutOfRangeError, ShapeError
from graphc.op import op
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


@op("indexing", nondifferentiable=("labels",))
def put_class(x: Tensor, labels: Tensor, shape: Shape) -> TensorType:
    """Rows of `shape` that hold `x` at the class that each label numbers, and 0 elsewhere.

    What `pick_class` picks, put back: a row whose label numbers no class is 0 throughout.

    Shapes: ``[...], [...] -> [..., classes]``.
    Raises: ShapeError unless `x` and the labels have the shape of the rows; DTypeError unless the labels
    are integers.
    """
    if not labels.dtype.is_integer:
        raise DTypeError(f"labels are integers, not {labels.type}")
    if not shape:
        raise ShapeError("rows have a last axis of classes")
    for given in (x, labels):
        agreed = [sizes.meet(a, b) for a, b in zip(shape[:-1], given.result.sizes, strict=False)]
        if len(given.result.sizes) != len(shape) - 1 or None in agreed:
            raise ShapeError(f"{given.type} is not one element for each row of the shape {shape}")
    return TensorType(x.dtype, shape)


def _put(x: Any, labels: Any, shape: Any) -> Any:
    result = np.zeros((labels.size, shape[-1]), x.dtype)
    (rows,) = np.nonzero(((labels >= 0) & (labels < shape[-1])).reshape(-1))
    result[rows, labels.reshape(-1)[rows].astype(np.int64)] = x.reshape(-1)[rows]
    return result.reshape(shape)


pick_class.evaluate(_picked)
pick_class.gradient(lambda g, out, x, labels: (put_class(g, labels, shape=x.result.sizes), None))
pick_class.example("f64[3,4]", np.array([0, 3, 1]))
pick_class.example("f64[2,2,3]", np.array([[0, 2], [2, 1]], np.int32))
pick_class.example("f64[2]", np.array(1, np.uint8))
pick_class.example("f32[0,3]", np.zeros(0, np.int64))

put_class.evaluate(_put)
put_class.gradient(lambda g, out, x, labels, shape: (pick_class(g, labels), None))
put_class.example("f64[3]", np.array([0, 3, 1]), shape=(3, 4))
put_class.example("f64[2,2]", np.array([[0, 2], [2, 1]], np.int32), shape=(2, 2, 3))
put_class.example("f64[]", np.array(1, np.uint8), shape=(2,))
put_class.example("f32[4]", np.array([-1, 3, 2, 1 << 40]), shape=(4, 3))
put_class.example("i32[2]", np.array([1, 0], np.int8), shape=(2, 2))
put_class.example("f16[3]", np.zeros(3, np.int64), shape=(3, 1))
put_class.example("f32[0]", np.zeros(0, np.int64), shape=(0, 3))
put_class.example("f32[2]", np.zeros(2, np.int64), shape=(2, 0))
