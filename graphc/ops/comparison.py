"""Comparisons, logic, tests for NaN and infinity, and the choice `where`. Operands broadcast."""

from __future__ import annotations

import numpy as np

from graphc.errors import DTypeError
from graphc.op import op
from graphc.ops.rule import broadcast_alike, broadcast_truth
from graphc.tensor import Tensor
from graphc.types import BOOL, TensorType, broadcast


@op("elementwise")
def equal(x: Tensor, y: Tensor) -> TensorType:
    """``x == y``; NaN equals nothing.

    Shapes: ``[...], [...] -> [...]``, broadcast, bool.
    """
    return broadcast_truth(x, y)


@op("elementwise")
def not_equal(x: Tensor, y: Tensor) -> TensorType:
    """``x != y``; NaN differs from everything.

    Shapes: ``[...], [...] -> [...]``, broadcast, bool.
    """
    return broadcast_truth(x, y)


@op("elementwise")
def less(x: Tensor, y: Tensor) -> TensorType:
    """``x < y``.

    Shapes: ``[...], [...] -> [...]``, broadcast, bool.
    """
    return broadcast_truth(x, y)


@op("elementwise")
def less_equal(x: Tensor, y: Tensor) -> TensorType:
    """``x <= y``.

    Shapes: ``[...], [...] -> [...]``, broadcast, bool.
    """
    return broadcast_truth(x, y)


@op("elementwise")
def greater(x: Tensor, y: Tensor) -> TensorType:
    """``x > y``.

    Shapes: ``[...], [...] -> [...]``, broadcast, bool.
    """
    return broadcast_truth(x, y)


@op("elementwise")
def greater_equal(x: Tensor, y: Tensor) -> TensorType:
    """``x >= y``.

    Shapes: ``[...], [...] -> [...]``, broadcast, bool.
    """
    return broadcast_truth(x, y)


equal.evaluate(np.equal)
not_equal.evaluate(np.not_equal)
less.evaluate(np.less)
less_equal.evaluate(np.less_equal)
greater.evaluate(np.greater)
greater_equal.evaluate(np.greater_equal)

for _comparison in (equal, not_equal, less, less_equal, greater, greater_equal):
    _comparison.gradient(None)
    _comparison.example("f64[2,3]", "f64[3]", smooth=False)
    _comparison.example(
        np.array([1, 2, np.nan, np.inf, -0.0], np.float32), np.array([1, 3, np.nan, 0, 0], np.float32)
    )
    _comparison.example("i32[2,1]", "i32[3]")
    _comparison.example(np.array([0, 200, 255], np.uint8), np.array([255], np.uint8))
    _comparison.example("i64[]", "i64[0,4]")
    _comparison.example("bool[4]", "bool[4]")


def _logical(x: Tensor) -> None:
    if x.dtype is not BOOL:
        raise DTypeError(
            f"bool is wanted, not {x.dtype}: compare with 0 or cast it, as in gc.not_equal(x, 0)"
        )


@op("elementwise", promotes=())
def logical_and(x: Tensor, y: Tensor) -> TensorType:
    """Whether both hold.

    Shapes: ``[...], [...] -> [...]``, broadcast, bool.
    Raises: DTypeError for what is not bool.
    """
    _logical(x)
    _logical(y)
    return broadcast_alike(x, y)


@op("elementwise", promotes=())
def logical_or(x: Tensor, y: Tensor) -> TensorType:
    """Whether one holds, or both.

    Shapes: ``[...], [...] -> [...]``, broadcast, bool.
    Raises: DTypeError for what is not bool.
    """
    _logical(x)
    _logical(y)
    return broadcast_alike(x, y)


@op("elementwise", promotes=())
def logical_xor(x: Tensor, y: Tensor) -> TensorType:
    """Whether exactly one holds.

    Shapes: ``[...], [...] -> [...]``, broadcast, bool.
    Raises: DTypeError for what is not bool.
    """
    _logical(x)
    _logical(y)
    return broadcast_alike(x, y)


@op("elementwise")
def logical_not(x: Tensor) -> TensorType:
    """Whether it does not hold.

    Shapes: ``[...] -> [...]``, bool.
    Raises: DTypeError for what is not bool.
    """
    _logical(x)
    return x.result


logical_and.evaluate(np.logical_and)
logical_or.evaluate(np.logical_or)
logical_xor.evaluate(np.logical_xor)
logical_not.evaluate(np.logical_not)

for _connective in (logical_and, logical_or, logical_xor):
    _connective.gradient(None)
    _connective.example(np.array([[False], [True]]), np.array([False, True]))
    _connective.example("bool[]", "bool[0,2]")
logical_not.gradient(None)
logical_not.example("bool[2,3]")
logical_not.example("bool[0]")


@op("elementwise")
def isnan(x: Tensor) -> TensorType:
    """Whether `x` is NaN; an integer never is.

    Shapes: ``[...] -> [...]``, bool.
    """
    return TensorType(BOOL, x.result.shape)


@op("elementwise")
def isinf(x: Tensor) -> TensorType:
    """Whether `x` is infinite, with either sign.

    Shapes: ``[...] -> [...]``, bool.
    """
    return TensorType(BOOL, x.result.shape)


@op("elementwise")
def isfinite(x: Tensor) -> TensorType:
    """Whether `x` is neither NaN nor infinite.

    Shapes: ``[...] -> [...]``, bool.
    """
    return TensorType(BOOL, x.result.shape)


isnan.evaluate(np.isnan)
isinf.evaluate(np.isinf)
isfinite.evaluate(np.isfinite)

for _test in (isnan, isinf, isfinite):
    _test.gradient(None)
    _test.example(np.array([1.0, np.nan, np.inf, -np.inf]), smooth=False)
    _test.example(np.array([1.0, np.nan, np.inf, -np.inf], np.float32))
    _test.example(np.array([[1.0, np.nan], [np.inf, 65504]], np.float16))
    _test.example("i32[2,0]")
    _test.example("bool[2]")


@op("elementwise", promotes=("x", "y"), nondifferentiable=("condition",))
def where(condition: Tensor, x: Tensor, y: Tensor) -> TensorType:
    """`x` where `condition` holds, else `y`.

    Where a branch is not taken its gradient is exactly zero.

    Shapes: ``[...], [...], [...] -> [...]``, all broadcast; `condition` is bool.
    Raises: DTypeError for a condition that is not bool.
    """
    chooser, chosen = condition.result, broadcast_alike(x, y)
    if chooser.dtype is not BOOL:
        raise DTypeError(f"the condition is bool, not {chooser.dtype}: compare it with 0")
    return TensorType(chosen.dtype, broadcast(chooser, x.result, y.result))


where.evaluate(np.where)
where.gradient(lambda g, out, condition, x, y: (None, where(condition, g, 0.0), where(condition, 0.0, g)))
where.example("bool[2,3]", "f64[2,3]", "f64[2,3]")
where.example("bool[3]", "f64[2,1]", "f64[]")
where.example("bool[2,1]", "f32[3]", "f32[1]")
where.example("bool[]", "i64[0]", "i64[1]")
where.example(np.array([True, False]), np.array([np.nan, np.nan], np.float32), np.array([1, 1], np.float32))
