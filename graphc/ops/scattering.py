"""Scattering: values added to, or put into, the places that indices name; `one_hot`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphc import sizes
from graphc.attributes import Axis, Shape, normalize_axis
from graphc.conversion import as_tensor
from graphc.dynamic_sizes import after_all, as_sizes
from graphc.errors import DTypeError, ShapeError
from graphc.explanation import explains
from graphc.op import op
from graphc.ops.comparison import equal, where
from graphc.ops.elementwise import cast
from graphc.ops.filling import zeros, zeros_like
from graphc.ops.gathering import (
    _gather,
    _gather_nd,
    _take_along_axis,
    along,
    count_coordinates,
    gathered,
    gathered_nd,
    require_coordinates,
    taken_along,
)
from graphc.ops.movement import broadcast_to, expand_dims, reshape
from graphc.ops.positions import (
    Array,
    as_indices,
    check_known,
    checked,
    explained,
    require_alike,
    require_integer,
)
from graphc.ops.source import iota
from graphc.sizes import Size
from graphc.tensor import Tensor
from graphc.types import BOOL, INT64, DType, TensorType, as_dtype, promote
from graphc.variable import Variable


def accumulate(base: Array, pick: Callable[[Array], Array], updates: Array) -> Array:
    """`base` with `updates` added at the places where `pick` takes its elements from.

    Floats are summed in float64 and rounded once; integers wrap; bools are or-ed.
    """
    target = pick(np.arange(base.size, dtype=np.int64).reshape(base.shape)).ravel()
    values = np.broadcast_to(updates, updates.shape).ravel()
    if base.dtype.kind == "f":
        sums = np.bincount(target, values, base.size).astype(np.float64, copy=False)
        return np.asarray((base + sums.reshape(base.shape)).astype(base.dtype))
    flat = base.ravel().copy()
    np.add.at(flat, target, values)
    return flat.reshape(base.shape)


def _updates_shape(x: Tensor, indices: Tensor, axis: int) -> tuple[Size, ...]:
    shape = x.result.sizes
    return shape[:axis] + indices.result.sizes + shape[axis + 1 :]


def _require_updates(x: Tensor, indices: Tensor, updates: Tensor, wanted: tuple[Size, ...]) -> None:
    require_integer(indices)
    if updates.dtype is not x.dtype:
        raise DTypeError(f"updates of {updates.dtype} do not fit {x.dtype}: cast them")
    require_alike(updates.result, wanted, "updates")


@op("indexing", fallible=True)
def _scatter_add(x: Tensor, indices: Tensor, updates: Tensor, *, axis: Axis = 0) -> TensorType:
    """`x` with `updates` added to its slices along `axis` at `indices`; duplicates add up.

    Shapes: ``[a, n, b], [i], [a, i, b] -> [a, n, b]``, where a, i and b are any number of axes.
    Raises: IndexOutOfRangeError at the run.
    """
    _require_updates(x, indices, updates, _updates_shape(x, indices, axis))
    return x.result


def _added(x: Array, indices: Array, updates: Array, axis: int) -> Array:
    if indices.ndim:
        return accumulate(x, lambda n: gathered(n, indices, axis), updates)
    place: Any = (*(slice(None) for _ in range(axis)), int(checked(indices, x.shape[axis], axis)))
    result = x.copy()
    result[place] += updates
    return result


_scatter_add.evaluate(_added)
_scatter_add.gradient(lambda g, out, x, indices, updates, axis: (g, None, _gather(g, indices, axis=axis)))
_scatter_add.example("f64[3,2]", np.array([2, 0, 2, -1]), "f64[4,2]")
_scatter_add.example("f64[2,3]", np.array([[0], [-3]], np.int8), "f64[2,2,1]", axis=-1)
_scatter_add.example("f64[2,3]", np.array(1, np.int32), "f64[3]")
_scatter_add.example("f32[3]", np.zeros((0,), np.int32), "f32[0]")
_scatter_add.example("i32[3]", np.array([1, 1, 1], np.uint8), "i32[3]")


@op("indexing", fallible=True)
def _scatter_update(x: Tensor, indices: Tensor, updates: Tensor, *, axis: Axis = 0) -> TensorType:
    """`x` with its slices along `axis` at `indices` replaced; of duplicates the last stays.

    Shapes: ``[a, n, b], [i], [a, i, b] -> [a, n, b]``, where a, i and b are any number of axes.
    Raises: IndexOutOfRangeError at the run.
    """
    _require_updates(x, indices, updates, _updates_shape(x, indices, axis))
    return x.result


def _updated(x: Array, indices: Array, updates: Array, axis: int) -> Array:
    target = gathered(np.arange(x.size, dtype=np.int64).reshape(x.shape), indices, axis)
    flat = x.ravel().copy()
    flat[target.ravel()] = updates.ravel()
    return flat.reshape(x.shape)


def _scatter_update_gradient(
    g: Tensor, out: Tensor, x: Tensor, indices: Tensor, updates: Tensor, axis: int
) -> Any:
    """The x that was replaced and the updates that were overwritten count for nothing."""
    shape = indices.result.sizes
    kept = _scatter_update(g, indices, zeros_like(updates), axis=axis)
    back = _gather(g, indices, axis=axis)
    if shape:
        count, size = sizes.product(shape), x.result.sizes[axis]
        turn = reshape(iota(shape=(count,)), shape)
        last = _gather(_scatter_update(zeros((size,), "int64"), indices, turn, axis=0), indices, axis=0)
        trailing = len(x.result.sizes) - axis - 1
        stays = reshape(equal(last, turn), (*shape, *(1 for _ in range(trailing))))
        back = where(stays, back, zeros_like(back))
    return kept, None, back


_scatter_update.evaluate(_updated)
_scatter_update.gradient(_scatter_update_gradient)
_scatter_update.example("f64[3,2]", np.array([2, 0]), "f64[2,2]")
_scatter_update.example("f64[2,3]", np.array([[0], [-3], [2]], np.int8), "f64[2,3,1]", axis=-1)
_scatter_update.example("f64[3,2]", np.array([2, -1, 2]), "f64[3,2]")
_scatter_update.example("f64[3,2]", np.array(-1), "f64[2]")
_scatter_update.example("bool[3]", np.zeros((0,), np.int32), "bool[0]")


@explains
def scatter_add(x: Any, indices: Any, updates: Any, axis: int = 0, name: str | None = None) -> Tensor:
    """`x` with `updates` added to its slices along `axis` at `indices`; duplicates add up.

    Shapes: ``[a, n, b], [i], [a, i, b] -> [a, n, b]``, where a, i and b are any number of axes; `updates`
    broadcast. `x` itself does not change.

    Raises: IndexOutOfRangeError for an index out of range; ShapeError; DTypeError where the updates do
    not fit the dtype of `x`.
    """
    operands = _scattered("scatter_add", x, indices, updates, axis)
    return _scatter_add(*operands, axis=axis, name=name)


@explains
def scatter_update(x: Any, indices: Any, updates: Any, axis: int = 0, name: str | None = None) -> Tensor:
    """`x` with its slices along `axis` at `indices` replaced by `updates`; of duplicates the last stays.

    Shapes: ``[a, n, b], [i], [a, i, b] -> [a, n, b]``, where a, i and b are any number of axes; `updates`
    broadcast. `x` itself does not change.

    Raises: IndexOutOfRangeError for an index out of range; ShapeError; DTypeError where the updates do
    not fit the dtype of `x`.
    """
    operands = _scattered("scatter_update", x, indices, updates, axis)
    return _scatter_update(*operands, axis=axis, name=name)


def _scattered(function: str, x: Any, indices: Any, updates: Any, axis: int) -> tuple[Tensor, Tensor, Tensor]:
    """The operands, updates in the dtype of `x` and broadcast to the shape that is written."""
    target, chosen = as_tensor(x), as_indices(indices)
    given = _in_dtype(updates, target)
    check_known(function, target, chosen, axis)
    shapes = target.result.shape, chosen.result.shape, given.result.shape
    if None not in shapes and target.result.shape:
        wanted = _updates_shape(target, chosen, normalize_axis(axis, len(target.result.sizes), target.type))
        shape = given.result.sizes
        padded = (1,) * (len(wanted) - len(shape)) + shape
        if len(padded) == len(wanted) and (
            len(shape) < len(wanted) or any(a == 1 != b for a, b in zip(padded, wanted, strict=True))
        ):
            given = broadcast_to(given, wanted)
    return target, chosen, given


def _in_dtype(updates: Any, x: Tensor) -> Tensor:
    if not isinstance(updates, Tensor | Variable | np.ndarray | np.generic):
        return as_tensor(updates, x.dtype)
    given = as_tensor(updates)
    if given.dtype is not x.dtype and promote(given.dtype, x.dtype) is x.dtype:
        return as_tensor(given, x.dtype)
    return given


@op("indexing", fallible=True)
def scatter_along_axis(x: Tensor, indices: Tensor, updates: Tensor, *, axis: Axis) -> TensorType:
    """`x` with ``updates[..., i, ...]`` added at ``[..., indices[..., i, ...], ...]``.

    It is to `take_along_axis` what `scatter_add` is to `gather`.

    Shapes: ``[a, n, b], [a, i, b], [a, i, b] -> [a, n, b]``; the indices broadcast.
    Raises: IndexOutOfRangeError at the run.
    """
    require_integer(indices)
    shape = along(x.result, indices.result, axis)
    require_alike(x.result, shape, "what is added to")
    _require_updates(x, indices, updates, (*shape[:axis], indices.result.sizes[axis], *shape[axis + 1 :]))
    return x.result


scatter_along_axis.evaluate(
    lambda x, indices, updates, axis: accumulate(x, lambda n: taken_along(n, indices, axis), updates)
)
scatter_along_axis.gradient(
    lambda g, out, x, indices, updates, axis: (g, None, _take_along_axis(g, indices, axis=axis))
)
scatter_along_axis.example("f64[2,3]", np.array([[2, 0, 2], [1, -1, 0]]), "f64[2,3]", axis=1)
scatter_along_axis.example("f64[3,2]", np.array([[0], [-1]], np.int32), "f64[2,2]", axis=0)
scatter_along_axis.example("i32[2,0]", np.zeros((2, 0), np.int64), "i32[2,0]", axis=1)


@op("indexing", fallible=True)
def _scatter_nd(indices: Tensor, updates: Tensor, *, shape: Shape, depth: int) -> TensorType:
    """Zeros of `shape` with `updates` added at the places in the rows of `indices`; duplicates add up.

    Shapes: ``[i, k], [i, b] -> [n1, ..., nk, b]``, where i and b are any number of axes.
    Raises: IndexOutOfRangeError at the run.
    """
    require_coordinates(indices, depth)
    if depth > len(shape):
        raise ShapeError(f"{depth} coordinates for a shape of {len(shape)} axes")
    require_alike(updates.result, indices.result.sizes[:-1] + shape[depth:], "updates")
    return TensorType(updates.dtype, shape)


def _scattered_nd(indices: Array, updates: Array, shape: tuple[int, ...], depth: int) -> Array:
    return accumulate(np.zeros(shape, updates.dtype), lambda n: gathered_nd(n, indices, depth), updates)


_scatter_nd.evaluate(_scattered_nd)
_scatter_nd.gradient(
    lambda g, out, indices, updates, shape, depth: (None, _gather_nd(g, indices, depth=depth))
)
_scatter_nd.example(np.array([[0, 1], [-1, 3], [0, 1]]), "f64[3]", shape=(3, 4), depth=2)
_scatter_nd.example(np.array([[[2]], [[-3]]], np.int32), "f64[2,1,2]", shape=(3, 2), depth=1)
_scatter_nd.example(np.zeros((3, 0), np.int32), "f64[3,2]", shape=(2,), depth=0)
_scatter_nd.example(np.zeros((0, 1), np.int64), "i32[0]", shape=(4,), depth=1)


@explains
def scatter_nd(indices: Any, updates: Any, shape: Any, name: str | None = None) -> Tensor:
    """Zeros of `shape` with `updates` added at the places in the rows of `indices`; duplicates add up.

    Shapes: ``[i, k], [i, b] -> [n1, ..., nk, b]``, where i and b are any number of axes; k is known.
    `shape` holds sizes or integer tensors.

    Raises: IndexOutOfRangeError for a coordinate out of range; negative ones count from the end.
    """
    listed, witnesses = as_sizes(shape)
    chosen = after_all(as_indices(indices), witnesses)
    depth = count_coordinates("scatter_nd", chosen)
    return _scatter_nd(chosen, as_tensor(updates), shape=listed, depth=depth, name=name)


@explains
def one_hot(
    indices: Any,
    depth: Any,
    on_value: Any = 1,
    off_value: Any = 0,
    axis: int = -1,
    dtype: Any = "float32",
    name: str | None = None,
) -> Tensor:
    """`on_value` at each index along a new axis of size `depth`, `off_value` elsewhere.

    An index that is not in ``0 .. depth - 1`` is nowhere: all of its row is `off_value`.

    Args:
        indices: integers.
        depth: the size of the new axis, a number or a tensor.
        on_value: a number or a tensor of `dtype`.
        off_value: likewise.
        axis: the number of the new axis in the result.
        dtype: of the result.
        name: names the result.

    Shapes: ``[a, b] -> [a, depth, b]``, where a and b are any number of axes.

    Raises: DTypeError for indices that are no integers, and for values that do not fit `dtype`.
    """
    chosen, wanted = as_indices(indices), as_dtype(dtype)
    with explained("one_hot", indices=chosen):
        require_integer(chosen)
        (size,), witnesses = as_sizes([depth])
        if size == -1:
            raise ShapeError("the depth is not negative: -1")
        on, off = _value(on_value, wanted), _value(off_value, wanted)
    each = expand_dims(cast(after_all(chosen, witnesses), INT64), axis)
    place = iota(shape=(size,))
    if axis != -1:
        rank = len(each.result.sizes)
        behind = rank - 1 - normalize_axis(axis, rank)
        place = reshape(place, (size, *(1 for _ in range(behind))))
    return where(equal(each, place), on, off, name=name)


def _value(given: Any, dtype: DType) -> Tensor:
    """`given` in `dtype`; 0 and 1 stand for False and True."""
    if dtype is BOOL and isinstance(given, int) and given in (0, 1):
        return as_tensor(bool(given))
    return as_tensor(given, dtype)
