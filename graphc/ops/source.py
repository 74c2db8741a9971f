"""Sources: what a graph begins with: placeholders, constants, counters, the state of the run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from graphc import sizes
from graphc.attributes import Shape
from graphc.conversion import as_array, as_tensor
from graphc.errors import ArgumentError, ShapeError
from graphc.explanation import explains
from graphc.graph import current, graph_frame, scoped_name
from graphc.op import op
from graphc.tensor import Tensor
from graphc.types import INT64, UINT64, DType, TensorType, as_dtype, as_shape


@op("source")
def _placeholder(*, name: str, dtype: DType, shape: Shape | None = None) -> TensorType:
    """An input, given a value by feeding it; also an input of a body.

    Shapes: ``-> shape``.
    """
    return TensorType(dtype, shape)


_placeholder.gradient(None)


@explains
def placeholder(dtype: Any, shape: Any = None, name: str | None = None) -> Tensor:
    """An input that every run which needs it must feed.

    Args:
        dtype: ``"float32"``, a NumPy dtype or type.
        shape: sizes, each an int, a name such as ``"batch"`` (equal names are fed equal sizes) or
            None (unknown). None for the whole shape: the rank is unknown too.
        name: to feed and fetch it by; a name used twice becomes ``name_1``.

    Shapes: ``-> shape``.

    Raises: DTypeError, ShapeError, ArgumentError.
    """
    frame = current()
    unique = frame.graph.unique_name(scoped_name(frame, name, "placeholder"))
    if frame.graph.parent is not None:
        raise ArgumentError("a placeholder cannot be made inside a body")
    attrs: dict[str, Any] = {"name": unique, "dtype": as_dtype(dtype), "shape": as_shape(shape)}
    return _registered(_placeholder(**attrs), unique)


def _registered(source: Tensor, name: str) -> Tensor:
    """`source` known to its graph under `name`."""
    named = replace(source, name=name)
    assert named.owner is not None
    named.owner.register(named)
    return named


@op("source", binds=True)
def _placeholder_with_default(x: Tensor, *, name: str, shape: Shape) -> TensorType:
    """An input that is `x` where it is not fed.

    Shapes: ``shape -> shape``.
    """
    given = x.result.sizes
    if len(given) != len(shape) or any(sizes.meet(a, b) is None for a, b in zip(given, shape, strict=True)):
        raise ShapeError(f"a default of {x.type} does not fit the shape {shape}")
    return TensorType(x.dtype, shape)


_placeholder_with_default.evaluate(lambda x, name, shape: x)
_placeholder_with_default.gradient(lambda g, out, x, **_: (g,))
_placeholder_with_default.example("f64[3]", name="x", shape=("n",))


@explains
def placeholder_with_default(value: Any, shape: Any = None, name: str | None = None) -> Tensor:
    """An input that takes `value` in runs that do not feed it.

    Shapes: ``value.shape -> shape``; None is the value's shape, None inside it is an unknown size.
    """
    default = as_tensor(value)
    frame = current()
    unique = frame.graph.unique_name(scoped_name(frame, name, "placeholder"))
    wanted = default.result.shape if shape is None else as_shape(shape)
    if wanted is None:
        raise ShapeError(f"a default of an unknown rank, {default.type}, needs a shape")
    return _registered(_placeholder_with_default(default, name=unique, shape=wanted), unique)


@op("source")
def _constant(*, value: Any, dtype: DType) -> TensorType:
    """A value known when the graph is defined; `value` is a read-only array that holds `dtype`.

    Shapes: ``-> value.shape``.
    """
    return TensorType(dtype, value.shape)


_constant.evaluate(lambda value, dtype: value)
_constant.gradient(None)
_constant.example(value=np.arange(6.0).reshape(2, 3), dtype="float64", smooth=False)


@explains
def constant(value: Any, dtype: Any = None, name: str | None = None) -> Tensor:
    """A constant. Python numbers are int32 or float32 (int64 where too big); arrays keep their dtype.

    Shapes: ``-> value.shape``. The value is copied and read-only.

    Raises: DTypeError where `value` does not fit `dtype`; ArgumentError for what is no number.
    """
    if isinstance(value, Tensor):
        raise ArgumentError("a constant is made of a value, not of a tensor: use gc.identity or gc.cast")
    wanted = None if dtype is None else as_dtype(dtype)
    array, natural = as_array(value, wanted)
    return _constant(value=array, dtype=natural, name=name)


@op("source")
def iota(*witnesses: Tensor, shape: Shape) -> TensorType:
    """``0, 1, 2, ...`` as int64; `shape` is the one size, `witnesses` bind it where only the run knows it.

    Shapes: ``... -> [n]``.
    """
    if len(shape) != 1:
        raise ShapeError(f"iota has one axis, not {len(shape)}")
    return TensorType(INT64, shape)


iota.evaluate(lambda *_, shape: np.arange(shape[0], dtype=np.int64))
iota.gradient(None)
iota.example(shape=(5,))
iota.example(shape=(0,))
iota.example("bool[3]", shape=(3,), smooth=False)


@op("source")
def run_state() -> TensorType:
    """The session's seed and the count of its runs, which random ops draw from.

    Shapes: ``-> [2]`` of uint64. The session feeds it.
    """
    return TensorType(UINT64, (2,))


run_state.gradient(None)


def outer_run_state() -> Tensor:
    """The run's state as a tensor outside all bodies, so that a loop can give each step its own."""
    with graph_frame(current().graph.root):
        return run_state()
