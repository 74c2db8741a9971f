"""Division with a remainder. An integer divided by zero ends the run with its value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.errors import DivisionError
from graphc.op import op
from graphc.ops.elementwise import div, guarded_multiply, neg
from graphc.ops.extremum import trunc
from graphc.ops.rule import broadcast_numbers
from graphc.tensor import Tensor
from graphc.types import TensorType


def _checked(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """`function`, which raises DivisionError where it divides an integer by zero."""

    def meaning(x: Any, y: Any) -> Any:
        if y.dtype.kind in "iu" and not y.all():
            dividends, zero = np.broadcast_arrays(x, y == 0)
            if zero.any():
                place = np.unravel_index(int(np.argmax(zero)), zero.shape)
                at = f" at {[int(i) for i in place]}" if place else ""
                raise DivisionError(f"the integer {dividends[place]}{at} is divided by zero")
        return function(x, y)

    return meaning


@op("elementwise", fallible=True)
def floor_divide(x: Tensor, y: Tensor) -> TensorType:
    """``x // y``, rounded down; the lowest integer by -1 wraps to itself.

    Shapes: ``[...], [...] -> [...]``, broadcast.
    Raises: DTypeError for bools; at the run, DivisionError for an integer divided by zero.
    """
    return broadcast_numbers(x, y)


floor_divide.evaluate(_checked(np.floor_divide))
floor_divide.gradient(None)
floor_divide.example("f64[2,3]", "f64[3]", domain=(0.5, 9.0), smooth=False)
floor_divide.example(np.array([1, -1, 0, np.inf, 7], np.float32), np.array([0, 0, 0, 2, -2], np.float32))
floor_divide.example(np.array([7, -7, 7, -7, -(2**31)], np.int32), np.array([2, 2, -2, -2, -1], np.int32))
floor_divide.example(np.array([[200], [3]], np.uint8), np.array([7, 255], np.uint8))
floor_divide.example("i64[0]", np.array([0], np.int64))


@op("elementwise", fallible=True)
def remainder(x: Tensor, y: Tensor) -> TensorType:
    """``x % y``, with the sign of `y`: ``x - floor(x / y) * y``.

    Shapes: ``[...], [...] -> [...]``, broadcast.
    Raises: DTypeError for bools; at the run, DivisionError for an integer divided by zero.
    """
    return broadcast_numbers(x, y)


remainder.evaluate(_checked(np.remainder))
remainder.gradient(lambda g, out, x, y: (g, guarded_multiply(g, neg(floor_divide(x, y)))))
remainder.example(np.array([5.5, -5.5, 1.25]), np.array([2.0, 2.0, -3.0]))
remainder.example(np.array([1, -1, 0, np.inf, 7], np.float32), np.array([0, 0, 0, 2, -2], np.float32))
remainder.example(np.array([7, -7, 7, -7, -(2**31)], np.int32), np.array([2, 2, -2, -2, -1], np.int32))
remainder.example("f32[2,1]", np.array([3, -0.75], np.float32))
remainder.example("i64[0]", np.array([0], np.int64))


@op("elementwise", fallible=True)
def fmod(x: Tensor, y: Tensor) -> TensorType:
    """The remainder with the sign of `x`: ``x - trunc(x / y) * y``, as in C.

    Shapes: ``[...], [...] -> [...]``, broadcast.
    Raises: DTypeError for bools; at the run, DivisionError for an integer divided by zero.
    """
    return broadcast_numbers(x, y)


fmod.evaluate(_checked(np.fmod))
fmod.gradient(lambda g, out, x, y: (g, guarded_multiply(g, neg(trunc(div(x, y))))))
fmod.example(np.array([5.5, -5.5, 1.25]), np.array([2.0, 2.0, -3.0]))
fmod.example(np.array([1, -1, 0, np.inf, 7], np.float32), np.array([0, 0, 0, 2, -2], np.float32))
fmod.example(np.array([7, -7, 7, -7, -(2**31)], np.int32), np.array([2, 2, -2, -2, -1], np.int32))
fmod.example("f32[2,1]", np.array([3, -0.75], np.float32))
fmod.example("i64[0]", np.array([0], np.int64))
