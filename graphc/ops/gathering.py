"""Gathering: elements of a tensor picked by integer indices or by a mask."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc import sizes
from graphc.attributes import Axis, Shape
from graphc.conversion import as_tensor
from graphc.errors import DTypeError, ShapeError
from graphc.explanation import explains
from graphc.op import op
from graphc.ops.filling import zeros, zeros_like
from graphc.ops.movement import reshape
from graphc.ops.positions import Array, as_indices, check_known, checked, require_alike, require_integer
from graphc.tensor import Tensor
from graphc.types import BOOL, TensorType


@op("indexing", fallible=True)
def _gather(x: Tensor, indices: Tensor, *, axis: Axis = 0) -> TensorType:
    """The slices of `x` along `axis` at `indices`; negative indices count from the end.

    Shapes: ``[a, n, b], [i] -> [a, i, b]``, where a, i and b are any number of axes.
    Dtypes: any, and any integer.
    Raises: IndexOutOfRangeError at the run.
    """
    require_integer(indices)
    shape = x.result.sizes
    return TensorType(x.dtype, shape[:axis] + indices.result.sizes + shape[axis + 1 :])


def gathered(x: Array, indices: Array, axis: int) -> Array:
    """The NumPy meaning of `gather`."""
    return np.take(x, checked(indices, x.shape[axis], axis), axis)


def _gather_gradient(g: Tensor, out: Tensor, x: Tensor, indices: Tensor, axis: int) -> Any:
    from graphc.ops.scattering import _scatter_add  # its adjoint, which builds on this module

    return _scatter_add(zeros_like(x), indices, g, axis=axis), None


_gather.evaluate(gathered)
_gather.gradient(_gather_gradient)
_gather.example("f64[4,3]", np.array([[3, 0], [-1, 3]]))
_gather.example("f64[2,3,2]", np.array([2, 2, -3], np.int8), axis=1)
_gather.example("f64[2,3]", np.array(-1, np.int32), axis=-1)
_gather.example("f32[3,2]", np.zeros((0,), np.int64))
_gather.example("i32[0,3]", np.array([1], np.uint8), axis=1)
_gather.example("bool[3]", np.array([0, 2], np.uint64))


@explains
def gather(x: Any, indices: Any, axis: int = 0, name: str | None = None) -> Tensor:
    """The slices of `x` along `axis` at `indices`, as ``numpy.take``.

    Shapes: ``[a, n, b], [i] -> [a, i, b]``, where a, i and b are any number of axes.

    Dtypes: `x` any, `indices` any integer.

    Raises: IndexOutOfRangeError, with the index, where it is not in ``-n .. n - 1``: here if that is known,
    else at the run. DTypeError for indices that are no integers.
    """
    source, chosen = as_tensor(x), as_indices(indices)
    check_known("gather", source, chosen, axis)
    return _gather(source, chosen, axis=axis, name=name)


take = gather


@op("indexing", fallible=True)
def _gather_nd(x: Tensor, indices: Tensor, *, depth: int) -> TensorType:
    """The slices of `x` at the places whose `depth` coordinates are the rows of `indices`.

    Shapes: ``[n1, ..., nk, b], [i, k] -> [i, b]``, where i and b are any number of axes.
    Dtypes: any, and any integer.
    Raises: IndexOutOfRangeError at the run.
    """
    require_coordinates(indices, depth)
    shape = x.result.sizes
    if depth > len(shape):
        raise ShapeError(f"{depth} coordinates for the {len(shape)} axes of {x.type}")
    return TensorType(x.dtype, indices.result.sizes[:-1] + shape[depth:])


def require_coordinates(indices: Tensor, depth: int) -> None:
    """Raises DTypeError, ShapeError where the rows of `indices` are not of `depth` integers."""
    require_integer(indices)
    given = indices.result.sizes
    if not given or sizes.meet(given[-1], depth) is None:
        raise ShapeError(f"indices need a last axis of {depth} coordinates, and are {indices.type}")


def count_coordinates(function: str, indices: Tensor) -> int:
    """How many coordinates the rows of `indices` have. Raises: ShapeError where that is not known."""
    shape = indices.result.shape
    if not shape or not isinstance(shape[-1], int):
        raise ShapeError(
            f"{function}: indices need a last axis of known size, the coordinates, and are {indices.type}"
        )
    return shape[-1]


def places(indices: Array, shape: tuple[int, ...]) -> tuple[Array, ...]:
    """The coordinates in the rows of `indices`, one array for each axis, checked against `shape`."""
    return tuple(checked(indices[..., k], shape[k], k) for k in range(indices.shape[-1]))


def gathered_nd(x: Array, indices: Array, depth: int) -> Array:
    """The NumPy meaning of `gather_nd`."""
    if depth == 0:
        return np.broadcast_to(x, indices.shape[:-1] + x.shape)
    return np.asarray(x[places(indices, x.shape)])


def _gather_nd_gradient(g: Tensor, out: Tensor, x: Tensor, indices: Tensor, depth: int) -> Any:
    from graphc.ops.scattering import _scatter_nd  # its adjoint, which builds on this module

    return _scatter_nd(indices, g, shape=x.result.sizes, depth=depth), None


_gather_nd.evaluate(gathered_nd)
_gather_nd.gradient(_gather_nd_gradient)
_gather_nd.example("f64[3,4]", np.array([[0, 1], [-1, 3], [0, 1]]), depth=2)
_gather_nd.example("f64[3,2]", np.array([[[2]], [[-3]]], np.int32), depth=1)
_gather_nd.example("f64[2]", np.zeros((3, 0), np.int32), depth=0)
_gather_nd.example("i32[3,4]", np.zeros((0, 2), np.int64), depth=2)


@explains
def gather_nd(x: Any, indices: Any, name: str | None = None) -> Tensor:
    """The slices of `x` at the places whose coordinates are the rows of `indices`.

    Shapes: ``[n1, ..., nk, b], [i, k] -> [i, b]``, where i and b are any number of axes; k is known.

    Raises: IndexOutOfRangeError at the run; negative coordinates count from the end.
    """
    chosen = as_indices(indices)
    return _gather_nd(as_tensor(x), chosen, depth=count_coordinates("gather_nd", chosen), name=name)


@op("indexing", fallible=True)
def _take_along_axis(x: Tensor, indices: Tensor, *, axis: Axis) -> TensorType:
    """``out[..., i, ...] = x[..., indices[..., i, ...], ...]``: one index for each element of the result.

    Shapes: ``[a, n, b], [a, i, b] -> [a, i, b]``; a and b broadcast.
    Raises: IndexOutOfRangeError at the run.
    """
    require_integer(indices)
    shape = along(x.result, indices.result, axis)
    return TensorType(x.dtype, (*shape[:axis], indices.result.sizes[axis], *shape[axis + 1 :]))


def along(x: TensorType, indices: TensorType, axis: int) -> tuple[sizes.Size, ...]:
    """The shape of `x` once its other axes meet those of `indices`. Raises: ShapeError."""
    if len(x.sizes) != len(indices.sizes):
        raise ShapeError(f"indices need as many axes as {x}, and are {indices}")
    shape = []
    for i, (a, b) in enumerate(zip(x.sizes, indices.sizes, strict=True)):
        size = a if i == axis else sizes.broadcast(a, b)
        if size is None:
            raise ShapeError(f"apart from axis {axis} the shapes do not broadcast: {x}, {indices}")
        shape.append(size)
    return tuple(shape)


def taken_along(x: Array, indices: Array, axis: int) -> Array:
    """The NumPy meaning of `take_along_axis`."""
    return np.take_along_axis(x, checked(indices, x.shape[axis], axis), axis)


def _take_along_gradient(g: Tensor, out: Tensor, x: Tensor, indices: Tensor, axis: int) -> Any:
    from graphc.ops.scattering import scatter_along_axis  # its adjoint, which builds on this module

    met = along(x.result, indices.result, axis)
    base = zeros_like(x) if met == x.result.sizes else zeros(met, x.dtype)
    return scatter_along_axis(base, indices, g, axis=axis), None


_take_along_axis.evaluate(taken_along)
_take_along_axis.gradient(_take_along_gradient)
_take_along_axis.example("f64[2,3]", np.array([[2, 0, 2, -1], [1, 1, 0, 0]]), axis=1)
_take_along_axis.example("f64[3,2]", np.array([[0, -1]], np.int32), axis=0)
_take_along_axis.example("f64[1,3]", np.array([[1], [-1]], np.int16), axis=-1)
_take_along_axis.example("f64[2,3]", np.array([[1, 0]], np.int16), axis=-1)
_take_along_axis.example("i64[2,0]", np.zeros((2, 0), np.int64), axis=1)


@explains
def take_along_axis(x: Any, indices: Any, axis: int | None = -1, name: str | None = None) -> Tensor:
    """``out[..., i, ...] = x[..., indices[..., i, ...], ...]``, as ``numpy.take_along_axis``.

    Shapes: ``[a, n, b], [a, i, b] -> [a, i, b]``; a and b broadcast. With ``axis=None``, `x` is flat.

    Raises: IndexOutOfRangeError for an index out of range; ShapeError; DTypeError.
    """
    source, chosen = as_tensor(x), as_indices(indices)
    if axis is None:
        source, axis = reshape(source, [-1]), 0
    check_known("take_along_axis", source, chosen, axis)
    return _take_along_axis(source, chosen, axis=axis, name=name)


# Masks: the count of what is kept is known only to the result.


@op("indexing", binds=True)
def _boolean_mask(x: Tensor, mask: Tensor, *, shape: Shape) -> TensorType:
    """The slices of `x` where `mask` is True; the one size in `shape` is how many there are.

    Shapes: ``[m, b], [m] -> [n, b]``, where m and b are any number of axes.
    Raises: ShapeError where the mask does not fit the leading axes.
    """
    if mask.dtype is not BOOL:
        raise DTypeError(f"a mask is bool, not {mask.dtype}")
    given, rank = x.result.sizes, len(mask.result.sizes)
    if rank > len(given):
        raise ShapeError(f"a mask of {rank} axes does not fit {x.type}")
    require_alike(mask.result, given[:rank], "the mask")
    return TensorType(x.dtype, shape + given[rank:])


def _boolean_mask_gradient(g: Tensor, out: Tensor, x: Tensor, mask: Tensor, shape: Any) -> Any:
    from graphc.ops.scattering import _scatter_add  # both build on this module
    from graphc.ops.sorting import flat_nonzero

    given, rank = x.result.sizes, len(mask.result.sizes)
    kept = flat_nonzero(mask, shape=shape)
    flat = reshape(zeros_like(x), (sizes.product(given[:rank]), *given[rank:]))
    return reshape(_scatter_add(flat, kept, g, axis=0), given), None


_boolean_mask.evaluate(lambda x, mask, shape: x[mask])
_boolean_mask.gradient(_boolean_mask_gradient)
_boolean_mask.example("f64[4,2]", np.array([True, False, True, True]), shape=(None,))
_boolean_mask.example("f64[2,3]", np.array([[True, False, True], [False, False, True]]), shape=(None,))
_boolean_mask.example("f64[3]", np.array(True), shape=(None,))
_boolean_mask.example("f32[3,2]", np.zeros((3,), np.bool_), shape=(None,))
_boolean_mask.example("i32[0,2]", np.zeros((0, 2), np.bool_), shape=(None,))


@explains
def boolean_mask(x: Any, mask: Any, name: str | None = None) -> Tensor:
    """The slices of `x` where `mask` is True, in order: ``x[mask]`` of NumPy.

    Shapes: ``[m, b], [m] -> [n, b]``, where m and b are any number of axes; n is known at the run.

    Raises: ShapeError where the mask does not fit the leading axes; DTypeError where it is not bool.
    """
    return _boolean_mask(as_tensor(x), as_tensor(mask), shape=(sizes.unknown(),), name=name)
