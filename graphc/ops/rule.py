"""Type rules that families of elementwise ops share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.errors import DTypeError
from graphc.tensor import Tensor
from graphc.types import BOOL, FLOAT64, TensorType, broadcast


def broadcast_alike(x: Tensor, y: Tensor) -> TensorType:
    """The common dtype of `x` and `y`, in the shape in which they meet."""
    a, b = x.result, y.result
    if a.dtype is not b.dtype:
        raise DTypeError(f"operands have one dtype, not {a.dtype} and {b.dtype}")
    return a if a.shape == b.shape else TensorType(a.dtype, broadcast(a, b))


def broadcast_numbers(x: Tensor, y: Tensor) -> TensorType:
    """As `broadcast_alike`, bool refused."""
    refuse_bool(x)
    return broadcast_alike(x, y)


def broadcast_truth(x: Tensor, y: Tensor) -> TensorType:
    """bool, in the shape in which `x` and `y` meet."""
    return TensorType(BOOL, broadcast_alike(x, y).shape)


def real(x: Tensor) -> TensorType:
    """The type of a real function of `x`: that of `x`; float64 for an integer.

    Raises: DTypeError for bool.
    """
    given = x.result
    if given.dtype.kind == "f":
        return given
    refuse_bool(x)
    return TensorType(FLOAT64, given.shape)


def refuse_bool(x: Tensor) -> None:
    """Raises DTypeError where `x` is bool."""
    if x.dtype is BOOL:
        raise DTypeError("bool is no number here: cast it first, as in gc.cast(x, 'int32')")


def on_reals(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The meaning of a real function: `function`, an integer taken as float64 (NumPy: float16 for int8)."""

    def meaning(x: Any) -> Any:
        return function(x if x.dtype.kind == "f" else x.astype(np.float64))

    return meaning
