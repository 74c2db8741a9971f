"""Initial values for variables: ``gc.Variable(gc.initializers.glorot_uniform((784, 10)))``.

Each takes ``(shape, dtype="float32", seed=None)``. Called without a shape it gives a function that
wants one: ``init = gc.initializers.he_normal(seed=1)``, then ``init((3, 3, 16, 32))``.

The last two axes of a weight are its inputs and outputs; the axes before them (the height and width
of a filter) multiply both: ``fan_in = h * w * in``, ``fan_out = h * w * out``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial, wraps
from typing import Any

from graphc import random
from graphc.conversion import as_tensor
from graphc.errors import ArgumentError, ShapeError
from graphc.explanation import explains
from graphc.ops import eye
from graphc.ops.elementwise import cast
from graphc.ops.linear import orthogonal_factor
from graphc.ops.movement import broadcast_to, matrix_transpose, reshape
from graphc.tensor import Tensor
from graphc.types import FLOAT32, FLOAT64, as_dtype, as_shape

Initializer = Callable[..., Any]


def _initializer(make: Initializer) -> Initializer:
    """Lets `make` be called without a shape, which then is asked for later."""

    @explains
    @wraps(make)
    def told(shape: Any, dtype: Any, seed: int | None, **rest: Any) -> Any:
        return make(_known(shape), dtype, seed, **rest)

    @wraps(make)
    def initializer(shape: Any = None, dtype: Any = "float32", seed: int | None = None, **rest: Any) -> Any:
        if shape is None:
            return partial(initializer, dtype=dtype, seed=seed, **rest)
        return told(shape, dtype, seed, **rest)

    return initializer


def _known(shape: Any) -> tuple[int, ...]:
    """`shape` as numbers. Raises: ShapeError for a size that is not known."""
    listed = as_shape(shape)
    assert listed is not None
    for size in listed:
        if not isinstance(size, int):
            raise ShapeError(f"an initial value has a known shape, not {listed}")
    return listed  # type: ignore[return-value]  # all ints, as just seen


@_initializer
def zeros(shape: Any, dtype: Any = "float32", seed: int | None = None) -> Tensor:
    """Zeros.

    Shapes: ``-> shape``.
    """
    return broadcast_to(as_tensor(0, dtype), shape)


@_initializer
def ones(shape: Any, dtype: Any = "float32", seed: int | None = None) -> Tensor:
    """Ones.

    Shapes: ``-> shape``.
    """
    return broadcast_to(as_tensor(1, dtype), shape)


@_initializer
def constant(shape: Any, dtype: Any = "float32", seed: int | None = None, value: Any = 0) -> Tensor:
    """`value` everywhere; an array broadcasts.

    Shapes: ``-> shape``.
    """
    return broadcast_to(as_tensor(value, dtype), shape)


@_initializer
def identity(shape: Any, dtype: Any = "float32", seed: int | None = None, gain: float = 1.0) -> Tensor:
    """`gain` on the diagonal of a matrix, zeros elsewhere.

    Shapes: ``-> [m, n]``.

    Raises: ShapeError for another rank.
    """
    if len(shape) != 2:
        raise ShapeError(f"identity: the shape has two sizes, not {shape}")
    return cast(eye(shape[0], shape[1], dtype=dtype) * as_tensor(gain, dtype), dtype)


@_initializer
def uniform(
    shape: Any,
    dtype: Any = "float32",
    seed: int | None = None,
    minval: float = -0.05,
    maxval: float = 0.05,
) -> Tensor:
    """Uniform in ``[minval, maxval)``.

    Shapes: ``-> shape``.
    """
    return random.uniform(shape, dtype, seed, minval, maxval)


@_initializer
def normal(
    shape: Any, dtype: Any = "float32", seed: int | None = None, mean: float = 0.0, stddev: float = 0.05
) -> Tensor:
    """Normal.

    Shapes: ``-> shape``.
    """
    return random.normal(shape, dtype, seed, mean, stddev)


@_initializer
def truncated_normal(
    shape: Any, dtype: Any = "float32", seed: int | None = None, mean: float = 0.0, stddev: float = 0.05
) -> Tensor:
    """Normal within two deviations of the mean.

    Shapes: ``-> shape``.
    """
    return random.truncated_normal(shape, dtype, seed, mean, stddev)


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """How many inputs an output of a weight of `shape` sees, and how many outputs an input reaches."""
    if not shape:
        return 1, 1
    if len(shape) == 1:
        return shape[0], shape[0]
    field = math.prod(shape[:-2])
    return field * shape[-2], field * shape[-1]


def _mean_fan(shape: tuple[int, ...]) -> float:
    return sum(fans(shape)) / 2


_TRUNCATED_DEVIATION = 0.87962566103423978  # of the standard normal within two deviations


def _spread_uniformly(shape: Any, dtype: Any, seed: int | None, variance: float) -> Tensor:
    limit = math.sqrt(3 * variance)
    return random.uniform(shape, dtype, seed, -limit, limit)


def _spread_normally(shape: Any, dtype: Any, seed: int | None, variance: float) -> Tensor:
    return random.truncated_normal(shape, dtype, seed, 0, math.sqrt(variance) / _TRUNCATED_DEVIATION)


@_initializer
def glorot_uniform(shape: Any, dtype: Any = "float32", seed: int | None = None) -> Tensor:
    """Uniform in ``+-sqrt(6 / (fan_in + fan_out))``: variance 2 / (fan_in + fan_out).

    Shapes: ``-> shape``.

    Source: Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", AISTATS 2010.
    """
    return _spread_uniformly(shape, dtype, seed, 1 / max(_mean_fan(shape), 1))


@_initializer
def glorot_normal(shape: Any, dtype: Any = "float32", seed: int | None = None) -> Tensor:
    """Truncated normal of variance ``2 / (fan_in + fan_out)``.

    Shapes: ``-> shape``.
    """
    return _spread_normally(shape, dtype, seed, 1 / max(_mean_fan(shape), 1))


@_initializer
def he_uniform(shape: Any, dtype: Any = "float32", seed: int | None = None) -> Tensor:
    """Uniform in ``+-sqrt(6 / fan_in)``: variance 2 / fan_in.

    Shapes: ``-> shape``.

    Source: He, Zhang, Ren, Sun, "Delving deep into rectifiers", ICCV 2015.
    """
    return _spread_uniformly(shape, dtype, seed, 2 / max(fans(shape)[0], 1))


@_initializer
def he_normal(shape: Any, dtype: Any = "float32", seed: int | None = None) -> Tensor:
    """Truncated normal of variance ``2 / fan_in``.

    Shapes: ``-> shape``.
    """
    return _spread_normally(shape, dtype, seed, 2 / max(fans(shape)[0], 1))


@_initializer
def lecun_uniform(shape: Any, dtype: Any = "float32", seed: int | None = None) -> Tensor:
    """Uniform in ``+-sqrt(3 / fan_in)``: variance 1 / fan_in.

    Shapes: ``-> shape``.
    """
    return _spread_uniformly(shape, dtype, seed, 1 / max(fans(shape)[0], 1))


@_initializer
def lecun_normal(shape: Any, dtype: Any = "float32", seed: int | None = None) -> Tensor:
    """Truncated normal of variance ``1 / fan_in``.

    Shapes: ``-> shape``.
    """
    return _spread_normally(shape, dtype, seed, 1 / max(fans(shape)[0], 1))


@_initializer
def orthogonal(shape: Any, dtype: Any = "float32", seed: int | None = None, gain: float = 1.0) -> Tensor:
    """A random orthogonal matrix times `gain`; the last axis is the columns, the others the rows.

    The shorter side is orthonormal.

    Shapes: ``-> shape``, of two axes or more.

    Raises: ShapeError for fewer than two axes; ArgumentError unless `dtype` is a float.

    Source: Saxe, McClelland, Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep
    linear neural networks", ICLR 2014.
    """
    if len(shape) < 2:
        raise ShapeError(f"orthogonal: a matrix has two sizes or more, not {shape}")
    if not as_dtype(dtype).is_floating:
        raise ArgumentError(f"orthogonal: only floats can be orthonormal, not {dtype}")
    rows, columns = math.prod(shape[:-1]), shape[-1]
    drawn = FLOAT64 if as_dtype(dtype) is FLOAT64 else FLOAT32
    draw = random.normal((max(rows, columns), min(rows, columns)), drawn, seed)
    factor = orthogonal_factor(draw)
    matrix = matrix_transpose(factor) if rows < columns else factor
    return cast(reshape(matrix, shape) * gain, dtype)
