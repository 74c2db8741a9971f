"""Sorting, and what is found by it: order, the largest, the distinct, the places of what is not zero."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc import sizes
from graphc.attributes import Axis, Shape
from graphc.conversion import as_tensor
from graphc.errors import ArgumentError, DTypeError, ShapeError
from graphc.explanation import explains
from graphc.op import op
from graphc.ops.comparison import isnan, logical_not
from graphc.ops.filling import zeros_like
from graphc.ops.gathering import _take_along_axis
from graphc.ops.joining import unstack
from graphc.ops.movement import reshape
from graphc.ops.positions import Array
from graphc.ops.scattering import _scatter_add, scatter_along_axis
from graphc.ops.slicing import slice_axis
from graphc.ops.state import pick
from graphc.tensor import Tensor
from graphc.types import INT64, TensorType, TupleType, promote
from graphc.variable import Variable


def _order(x: Array, axis: int, descending: bool) -> Array:
    """The stable order; equal elements keep theirs, NaN comes last."""
    if descending:  # of both keys, larger elements have smaller ones; NaN stays NaN
        x = -x if x.dtype.kind == "f" else ~x
    return np.argsort(x, axis, kind="stable")


@op("sorting")
def _sort(x: Tensor, *, axis: Axis = -1, descending: bool = False) -> TensorType:
    """`x` sorted along `axis`, stable, NaN last.

    Shapes: ``[..., n, ...] -> [..., n, ...]``.
    """
    x.result.sizes[axis]
    return x.result


def _sorted(x: Array, axis: int, descending: bool) -> Array:
    if descending:
        return np.take_along_axis(x, _order(x, axis, True), axis)
    return np.sort(x, axis, kind="stable")


def _sort_gradient(g: Tensor, out: Tensor, x: Tensor, axis: int, descending: bool) -> Any:
    order = _argsort(x, axis=axis, descending=descending)
    return (_take_along_axis(g, _argsort(order, axis=axis), axis=axis),)


_sort.evaluate(_sorted)
_sort.gradient(_sort_gradient)
_sort.example("f64[2,5]")
_sort.example("f64[4,2]", axis=0, descending=True)
_sort.example(np.array([1.0, np.nan, -np.inf, 2.0, np.nan, 1.0]), descending=True, smooth=False)
_sort.example("i32[2,0,3]", axis=1)
_sort.example(np.array([3, 0, 255, 3], np.uint8), descending=True)
_sort.example(np.array([True, False, True]), descending=True)


@explains
def sort(x: Any, axis: int | None = -1, descending: bool = False, name: str | None = None) -> Tensor:
    """`x` sorted along `axis` (None: all its elements). Stable; NaN comes last in both directions.

    It is no number that could be larger or smaller. (`top_k` takes it for the largest, as `max` does.)

    Shapes: ``[..., n, ...] -> [..., n, ...]``; with ``axis=None``, ``[...] -> [n]``.
    """
    operand, axis = _along(x, axis)
    return _sort(operand, axis=axis, descending=bool(descending), name=name)


def _along(x: Any, axis: int | None) -> tuple[Tensor, int]:
    operand = as_tensor(x)
    return (operand, axis) if axis is not None else (reshape(operand, [-1]), 0)


@op("sorting")
def _argsort(x: Tensor, *, axis: Axis = -1, descending: bool = False) -> TensorType:
    """The indices that sort `x` along `axis`, stable, NaN last; int64.

    Shapes: ``[..., n, ...] -> [..., n, ...]``.
    """
    return TensorType(INT64, x.result.sizes)


_argsort.evaluate(_order)
_argsort.gradient(None)
_argsort.example("f64[2,5]", smooth=False)
_argsort.example(np.array([[2, 1, 2, 1, 2]], np.int32), descending=True)
_argsort.example(np.array([np.nan, 1.0, np.nan, 1.0]), axis=0, descending=True, smooth=False)
_argsort.example("bool[0]", axis=0)


@explains
def argsort(x: Any, axis: int | None = -1, descending: bool = False, name: str | None = None) -> Tensor:
    """The indices that sort `x` along `axis` (None: as if it were flat).

    Equal elements keep their order in both directions; NaN comes last in both.

    Shapes: ``[..., n, ...] -> [..., n, ...]`` of int64; with ``axis=None``, ``[...] -> [n]``.
    """
    operand, axis = _along(x, axis)
    return _argsort(operand, axis=axis, descending=bool(descending), name=name)


@op("sorting", fallible=True)
def _top_k(x: Tensor, *, k: int) -> TupleType:
    """The `k` largest along the last axis, largest first, and their int64 indices.

    Shapes: ``[..., n] -> [..., k], [..., k]``.
    Raises: ShapeError where there are fewer than `k`.
    """
    shape = x.result.sizes
    if not shape:
        raise ShapeError(f"there is no axis to take the largest of in {x.type}")
    _require_enough(shape[-1], k)
    largest = (*shape[:-1], k)
    return TupleType((TensorType(x.dtype, largest), TensorType(INT64, largest)))


def _require_enough(size: sizes.Size, k: int) -> None:
    if isinstance(size, int) and size < k:
        raise ShapeError(f"the {k} largest of only {size} elements")


def _largest(x: Array, k: int) -> tuple[Array, Array]:
    _require_enough(x.shape[-1], k)
    order = _order(x, -1, True)
    if x.dtype.kind == "f" and np.isnan(x).any():  # NaN first, as the maximum has it
        is_number = ~np.isnan(np.take_along_axis(x, order, -1))
        order = np.take_along_axis(order, np.argsort(is_number, -1, kind="stable"), -1)
    indices = order[..., :k]
    return np.take_along_axis(x, indices, -1), indices


def _top_k_gradient(g: Any, out: Tensor, x: Tensor, k: int) -> Any:
    if g[0] is None:
        return (None,)
    indices = pick(out, index=1)
    return (scatter_along_axis(zeros_like(x), indices, g[0], axis=len(x.result.sizes) - 1),)


_top_k.evaluate(_largest)
_top_k.gradient(_top_k_gradient)
_top_k.example("f64[2,5]", k=3)
_top_k.example("f64[4]", k=4)
_top_k.example(np.array([1, 3, 3, 2, 3], np.int32), k=2)
_top_k.example(np.array([1.0, np.nan, np.inf, np.nan]), k=3, smooth=False)
_top_k.example("f32[2,0]", k=0)


@explains
def top_k(x: Any, k: Any, name: str | None = None) -> tuple[Tensor, Tensor]:
    """The `k` largest along the last axis, largest first, and their indices; `k` may be a tensor.

    The lower index comes first on ties. NaN counts as the largest, as it does in `max` and `argmax`, so that
    ``top_k(x, 1)`` is both of them; ``sort(x, descending=True)`` has it last.

    Shapes: ``[..., n] -> [..., k], [..., k]``; the indices are int64.

    Raises: ShapeError where there are fewer than `k`; ArgumentError for a `k` that is no count.
    """
    if isinstance(k, Tensor | Variable) and k.dtype.is_integer:
        return _late_top_k(as_tensor(x), k, name)
    count = sizes.as_int(k)
    if count is None or count < 0:
        raise ArgumentError(f"top_k: k is a count, not {k!r}")
    node = _top_k(as_tensor(x), k=count)
    return pick(node, index=0, name=name), pick(node, index=1)


def _late_top_k(x: Tensor, k: Any, name: str | None) -> tuple[Tensor, Tensor]:
    """As `top_k`, of as many as only the run knows: the first of all in order."""
    from graphc.dynamic_sizes import after_all, as_bound_size  # builds on this module

    if not x.result.sizes:
        raise ShapeError(f"top_k: there is no axis to take the largest of in {x.type}")
    count, witnesses = as_bound_size(k)
    order = _argsort(x, axis=-1, descending=True)
    if x.dtype.is_floating:  # NaN first, as the maximum has it
        is_number = logical_not(isnan(_take_along_axis(x, order, axis=-1)))
        order = _take_along_axis(order, _argsort(is_number, axis=-1), axis=-1)
    indices = slice_axis(after_all(order, witnesses), -1, 0, count)
    return _take_along_axis(x, indices, axis=-1, name=name), indices


@op("sorting", binds=True)
def _unique(x: Tensor, *, shape: Shape) -> TupleType:
    """The distinct elements sorted; where each is first; and for each element of `x` which one it is.

    The one size in `shape` is how many there are.

    Shapes: ``[...] -> [n], [n], [...]``; the indices are int64.
    """
    found = TensorType(INT64, shape)
    return TupleType((TensorType(x.dtype, shape), found, TensorType(INT64, x.result.shape)))


def _begins(line: Array) -> Array:
    """Where runs of equal elements begin; NaN next to each other are one."""
    begins = np.ones(line.size, np.bool_)
    begins[1:] = (line[1:] != line[:-1]) & (line[:-1] == line[:-1])
    return begins


def _distinct(x: Array, shape: Any) -> tuple[Array, Array, Array]:
    """As ``numpy.unique``, which sorts stably for the first of equal ones: here runs say which that is."""
    flat = np.ravel(x)
    order = np.argsort(flat)
    line = flat[order]
    begins = _begins(line)
    starts = np.flatnonzero(begins)
    first = np.minimum.reduceat(order, starts) if line.size else order
    inverse = np.empty(line.size, np.int64)
    inverse[order] = np.cumsum(begins) - 1
    return flat[first], first.astype(np.int64), inverse.reshape(x.shape)


def _unique_gradient(g: Any, out: Tensor, x: Tensor, shape: Any) -> Any:
    """The first of equal elements is the one that is shown."""
    if g[0] is None:
        return (None,)
    own = x.result.sizes
    flat = reshape(zeros_like(x), [-1])
    return (reshape(_scatter_add(flat, pick(out, index=1), g[0], axis=0), own),)


_unique.evaluate(_distinct)
_unique.gradient(_unique_gradient)
_unique.example(np.array([[3, 1, 3], [2, 1, 0]], np.int32), shape=(None,))
_unique.example(np.array([0.5, np.nan, 0.5, np.nan]), shape=(None,), smooth=False)
_unique.example("f64[4]", shape=(None,))
_unique.example("i64[0,2]", shape=(None,))


# What `unique` is made of, where sorting has kernels: what has no user then is not computed.


@op("sorting", binds=True)
def run_starts(x: Tensor, *, shape: Shape) -> TensorType:
    """Where in `x` runs of equal elements begin, NaN being equal; their count binds the size in `shape`.

    Shapes: ``[n] -> [m]``, int64.
    """
    if len(x.result.sizes) != 1:
        raise ShapeError(f"runs lie along one axis, not the {len(x.result.sizes)} of {x.type}")
    return TensorType(INT64, shape)


run_starts.evaluate(lambda x, shape: np.flatnonzero(_begins(x)))
run_starts.gradient(None)
run_starts.example(np.array([1, 1, 2, 5, 5, 5], np.int32), shape=(None,))
run_starts.example(np.array([-0.0, 0.0, 1.0, np.nan, np.nan]), shape=(None,), smooth=False)
run_starts.example(np.array([False, True, True]), shape=(None,))
run_starts.example("f32[0]", shape=(None,))


@op("sorting")
def run_numbers(starts: Tensor, order: Tensor) -> TensorType:
    """At the place ``order[i]``: the number of the run that `i` is in. Runs begin at `starts`.

    Shapes: ``[m], [n] -> [n]``, int64; `order` holds each of 0 to n - 1 once, `starts` rise from 0.
    """
    return TensorType(INT64, order.result.sizes)


def _numbered(starts: Array, order: Array) -> Array:
    found = np.empty(order.size, np.int64)
    found[order] = np.searchsorted(starts, np.arange(order.size), "right") - 1
    return found


run_numbers.evaluate(_numbered)
run_numbers.gradient(None)
run_numbers.example(np.array([0, 2, 3]), np.array([3, 0, 5, 1, 4, 2]))
run_numbers.example(np.array([0]), np.array([0]))
run_numbers.example("i64[0]", "i64[0]")


@explains
def unique(x: Any, return_index: bool = False, return_inverse: bool = False, name: str | None = None) -> Any:
    """The distinct elements of `x`, sorted; one NaN, last.

    Args:
        x: of any shape; taken as flat.
        return_index: also where each is first, in the flat `x`.
        return_inverse: also which of them each element of `x` is, in the shape of `x`.
        name: names the distinct elements.

    Shapes: ``[...] -> [n]``, then ``[n]`` and ``[...]`` of int64, where asked for; n is known at the run.
    """
    node = _unique(as_tensor(x), shape=(sizes.unknown(),))
    wanted = [pick(node, index=0, name=name)]
    wanted += [pick(node, index=1)] if return_index else []
    wanted += [pick(node, index=2)] if return_inverse else []
    return tuple(wanted) if len(wanted) > 1 else wanted[0]


@op("sorting", binds=True)
def _nonzero(x: Tensor, *, shape: Shape) -> TensorType:
    """The indices of the elements that are not zero, in row-major order: a row for each axis.

    The one size in `shape` is how many there are.

    Shapes: ``[d1, ..., dk] -> [k, n]``, int64.
    """
    if not x.result.sizes:
        raise ShapeError(f"{x.type} has no axes to give indices of")
    return TensorType(INT64, (len(x.result.sizes), *shape))


_nonzero.evaluate(lambda x, shape: np.stack(np.nonzero(x)).astype(np.int64))
_nonzero.gradient(None)
_nonzero.example(np.array([[0, 2, 0], [1, 0, -1]], np.int32), shape=(None,))
_nonzero.example(np.array([0.0, np.nan, -0.0, 1.0]), shape=(None,), smooth=False)
_nonzero.example("bool[0,3]", shape=(None,))


@explains
def nonzero(x: Any, name: str | None = None) -> tuple[Tensor, ...]:
    """The indices of the elements that are not zero, in row-major order: one tensor for each axis.

    Shapes: ``[d1, ..., dk] -> [n], ..., [n]``, k of them, int64; n is known at the run.

    Raises: ShapeError for a number, or where the rank is not known.
    """
    operand = as_tensor(x)
    if operand.result.shape is None:
        raise ShapeError(
            f"nonzero: the rank of x must be known, as it is the number of results, and x is {operand.type}: "
            "gc.ensure_shape states it"
        )
    if len(operand.result.sizes) == 1:
        return (flat_nonzero(operand, shape=(sizes.unknown(),), name=name),)
    rows = _nonzero(operand, shape=(sizes.unknown(),))
    return tuple(unstack(rows, axis=0))


@op("sorting", binds=True)
def flat_nonzero(x: Tensor, *, shape: Shape) -> TensorType:
    """The indices in the flat `x` of the elements that are not zero; their count binds the size in `shape`.

    Shapes: ``[...] -> [n]``, int64.
    """
    return TensorType(INT64, shape)


flat_nonzero.evaluate(lambda x, shape: np.flatnonzero(x).astype(np.int64))
flat_nonzero.gradient(None)
flat_nonzero.example(np.array([[True, False], [True, True]]), shape=(None,))
flat_nonzero.example("i32[0]", shape=(None,))
flat_nonzero.example(np.array(1.5), shape=(None,), smooth=False)


@op("sorting")
def _searchsorted(x: Tensor, values: Tensor, *, side: str = "left") -> TensorType:
    """Where in the sorted `x` each of `values` would have to be put to keep it sorted; int64.

    Shapes: ``[n], [...] -> [...]``.
    """
    if len(x.result.sizes) != 1:
        raise ShapeError(f"what is searched has one axis, not {len(x.result.sizes)}")
    if side not in ("left", "right"):
        raise ArgumentError(f'the side is "left" or "right", not {side!r}')
    if x.dtype is not values.dtype:
        raise DTypeError(f"values of {values.dtype} are searched in {x.dtype}: cast them")
    return TensorType(INT64, values.result.sizes)


_searchsorted.evaluate(lambda x, values, side: np.asarray(np.searchsorted(x, values, side)).astype(np.int64))
_searchsorted.gradient(None)
_searchsorted.example(np.array([1.0, 2.0, 2.0, 5.0]), np.array([[2.0, 0.0], [5.0, 9.0]]), smooth=False)
_searchsorted.example(np.array([1, 2, 2], np.int32), np.array(2, np.int32), side="right")
_searchsorted.example("f32[0]", "f32[3]")


@explains
def searchsorted(x: Any, values: Any, side: str = "left", name: str | None = None) -> Tensor:
    """Where in the sorted `x` each of `values` would have to be put, as ``numpy.searchsorted``.

    Shapes: ``[n], [...] -> [...]``, int64.

    Raises: ShapeError where `x` has not one axis; DTypeError where the dtypes do not mix; ArgumentError.
    """
    line, wanted = as_tensor(x), as_tensor(values)
    common = promote(line.dtype, wanted.dtype)
    return _searchsorted(as_tensor(line, common), as_tensor(wanted, common), side=side, name=name)
