"""Random numbers as pure functions of the run's state, a key and a shape; see `graphc.philox`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from graphc import philox, sizes
from graphc.attributes import Shape
from graphc.errors import ArgumentError, DTypeError
from graphc.op import Op, op
from graphc.tensor import Tensor
from graphc.types import UINT32, UINT64, DType, TensorType


def _drawn(state: Tensor, key: int, shape: Shape, dtype: DType) -> TensorType:
    given = state.result.sizes
    if state.dtype is not UINT64 or len(given) != 1 or sizes.meet(given[0], 2) is None:
        raise ArgumentError(f"the state is the seed and the run count, u64[2], not {state.type}")
    if not 0 <= key < 1 << 64:
        raise ArgumentError(f"a key is a whole number of 64 bits, not {key}")
    return TensorType(dtype, shape)


def _drawn_floats(state: Tensor, key: int, shape: Shape, dtype: DType) -> TensorType:
    if not dtype.is_floating:
        raise DTypeError(f"the draw is of floats, not of {dtype}")
    return _drawn(state, key, shape, dtype)


@op("random")
def random_bits(state: Tensor, *, key: int, shape: Shape, dtype: DType) -> TensorType:
    """Evenly distributed words, uint32 or uint64.

    Shapes: ``[2] -> shape``.
    Raises: DTypeError for another dtype.
    """
    if dtype not in (UINT32, UINT64):
        raise DTypeError(f"random bits are uint32 or uint64, not {dtype}")
    return _drawn(state, key, shape, dtype)


@op("random")
def random_uniform(state: Tensor, *, key: int, shape: Shape, dtype: DType) -> TensorType:
    """Uniform in ``[0, 1)``.

    Shapes: ``[2] -> shape``.
    Raises: DTypeError unless `dtype` is a float.
    """
    return _drawn_floats(state, key, shape, dtype)


@op("random")
def random_normal(state: Tensor, *, key: int, shape: Shape, dtype: DType) -> TensorType:
    """Normal with mean 0 and deviation 1.

    Shapes: ``[2] -> shape``.
    Raises: DTypeError unless `dtype` is a float.
    """
    return _drawn_floats(state, key, shape, dtype)


@op("random")
def random_truncated_normal(state: Tensor, *, key: int, shape: Shape, dtype: DType) -> TensorType:
    """Normal with mean 0 and deviation 1, conditioned on lying within two deviations.

    Shapes: ``[2] -> shape``.
    Raises: DTypeError unless `dtype` is a float.
    """
    return _drawn_floats(state, key, shape, dtype)


@op("random")
def fold_in(state: Tensor, index: Tensor) -> TensorType:
    """The state for one step of a loop, number `index`: its draws differ from every other step's.

    Shapes: ``[2], [] -> [2]``.
    Raises: DTypeError unless `index` is an integer.
    """
    if not index.dtype.is_integer or index.result.shape not in ((), None):
        raise DTypeError(f"the number of a step is a whole number, not {index.type}")
    return TensorType(UINT64, (2,))


def _folded(state: Any, index: Any) -> Any:
    seed = philox.scramble(philox.scramble(int(state[0])) + 1 + int(index))
    return np.array([seed, state[1]], np.uint64)


fold_in.evaluate(_folded)
fold_in.gradient(None)
fold_in.example(np.array([1, 2], np.uint64), np.int64(3), smooth=False)


def _bits(state: Any, key: int, shape: Any, dtype: DType) -> Any:
    draw = philox.draw_words if dtype is UINT32 else philox.draw_long_words
    return draw(state, key, sizes.count(shape)).reshape(shape)


def _shaped(draw: Callable[..., Any]) -> Callable[..., Any]:
    def meaning(state: Any, key: int, shape: Any, dtype: DType) -> Any:
        return draw(state, key, sizes.count(shape), dtype.name).reshape(shape)

    return meaning


random_bits.evaluate(_bits)
random_uniform.evaluate(_shaped(philox.draw_uniform))
random_normal.evaluate(_shaped(philox.draw_normal))
random_truncated_normal.evaluate(_shaped(partial(philox.draw_normal, truncated=True)))

_STATE = np.array([1, 2], np.uint64)
_DRAWS: tuple[tuple[Op, tuple[str, ...]], ...] = (
    (random_bits, ("uint32", "uint64")),
    (random_uniform, ("float32", "float64", "float16", "bfloat16")),
    (random_normal, ("float32", "float64", "float16", "bfloat16")),
    (random_truncated_normal, ("float32", "float64", "float16", "bfloat16")),
)
for _draw, _dtypes in _DRAWS:
    _draw.gradient(None)
    for _dtype in _dtypes:
        _draw.example(_STATE, key=7, shape=(3, 5), dtype=_dtype, smooth=False)
    _draw.example(_STATE, key=(1 << 64) - 1, shape=(), dtype=_dtypes[0], smooth=False)
    _draw.example(_STATE, key=0, shape=(2, 0), dtype=_dtypes[0], smooth=False)
