"""Segments: rows that share an id are reduced to one."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.attributes import Shape
from graphc.conversion import as_tensor
from graphc.dynamic_sizes import after_all, as_sizes
from graphc.errors import ArgumentError, IndexOutOfRangeError, ShapeError
from graphc.explanation import explains
from graphc.op import op
from graphc.ops.elementwise import cast, div
from graphc.ops.extremum import maximum
from graphc.ops.filling import ones, zeros
from graphc.ops.gathering import _gather
from graphc.ops.joining import concat
from graphc.ops.movement import reshape
from graphc.ops.positions import Array, as_indices, explained, require_alike, require_integer
from graphc.ops.scattering import accumulate
from graphc.tensor import Tensor
from graphc.types import INT64, TensorType


@op("indexing", fallible=True)
def _segment_sum(x: Tensor, ids: Tensor, *, shape: Shape) -> TensorType:
    """The sum of the rows of `x` for each id; the one size in `shape` is the number of segments.

    Shapes: ``[m, b], [m] -> [n, b]``, where b is any number of axes.
    Raises: IndexOutOfRangeError for an id that is no segment, at the run. Negative ids are dropped.
    """
    require_integer(ids, "segment ids are")
    if not x.result.sizes:
        raise ShapeError(f"{x.type} has no rows")
    require_alike(ids.result, x.result.sizes[:1], "segment ids")
    return TensorType(x.dtype, shape + x.result.sizes[1:])


def _summed(x: Array, ids: Array, shape: tuple[int, ...]) -> Array:
    _check_ids(ids, shape[0])
    kept = ids >= 0
    rows = ids[kept].astype(np.int64)
    base = np.zeros(shape + x.shape[1:], x.dtype)
    return accumulate(base, lambda n: n[rows], x if kept.all() else x[kept])


def _check_ids(ids: Array, count: int) -> None:
    if ids.size and int(ids.max()) >= count:
        raise IndexOutOfRangeError(f"segment id {ids[ids >= count][0]} is out of range for {count} segments")


def _segment_gradient(g: Tensor, out: Tensor, x: Tensor, ids: Tensor, shape: Any) -> Any:
    """Each row gets what its segment gets; dropped rows get the row of zeros at the end."""
    padded = concat([g, zeros((1, *x.result.sizes[1:]), x.dtype)], axis=0)
    return _gather(padded, maximum(cast(ids, INT64), -1), axis=0), None


_segment_sum.evaluate(_summed)
_segment_sum.gradient(_segment_gradient)
_segment_sum.example("f64[4,2]", np.array([0, 0, 2, 2]), shape=(3,))
_segment_sum.example("f64[4]", np.array([2, -1, 0, 2], np.int32), shape=(4,))
_segment_sum.example("f64[2,1]", np.array([-1, -5], np.int8), shape=(0,))
_segment_sum.example("f32[0,3]", np.zeros((0,), np.int32), shape=(2,))
_segment_sum.example("i32[3]", np.array([1, 1, 1], np.uint8), shape=(2,))


@op("indexing")
def segment_count(ids: Tensor) -> TensorType:
    """One more than the largest id, 0 where there is none: how many segments sorted `ids` tell of; int64.

    Shapes: ``[m] -> []``.
    """
    require_integer(ids, "segment ids are")
    if len(ids.result.sizes) != 1:
        raise ShapeError(f"segment ids have one axis, and these are {ids.type}")
    return TensorType(INT64, ())


segment_count.evaluate(lambda ids: np.int64(max(int(ids.max()) + 1, 0) if ids.size else 0))
segment_count.gradient(None)
segment_count.example(np.array([0, 0, 3], np.int32))
segment_count.example(np.array([-1, -2], np.int64))
segment_count.example("u8[0]")


@explains
def segment_sum(x: Any, ids: Any, num_segments: Any = None, name: str | None = None) -> Tensor:
    """The sum of the rows of `x` for each id; 0 for a segment without rows.

    Args:
        x: the rows.
        ids: an integer for each row, the segment it belongs to; rows with negative ids are dropped.
        num_segments: how many there are, a number or a tensor. None: one more than the largest id, as for
            sorted ids; the size is then known at the run.
        name: names the result.

    Shapes: ``[m, b], [m] -> [n, b]``, where b is any number of axes.

    Raises: IndexOutOfRangeError, with the id, where one is `num_segments` or more: here if that is known,
    else at the run. ShapeError, DTypeError.
    """
    rows, labels = as_tensor(x), as_indices(ids)
    if num_segments is None:
        num_segments = segment_count(labels)
    elif isinstance(num_segments, bool | float):
        raise ArgumentError(f"segment_sum: num_segments is a count, not {num_segments!r}")
    listed, witnesses = as_sizes([num_segments])
    if listed[0] == -1:
        raise ArgumentError("segment_sum: num_segments is a count, not -1")
    if labels.op.name == "constant" and labels.dtype.is_integer and isinstance(listed[0], int):
        with explained("segment_sum", x=rows):
            _check_ids(labels.attrs["value"], listed[0])
    return _segment_sum(after_all(rows, witnesses), labels, shape=listed, name=name)


@explains
def segment_mean(x: Any, ids: Any, num_segments: Any = None, name: str | None = None) -> Tensor:
    """The mean of the rows of `x` for each id; 0 for a segment without rows.

    Shapes: ``[m, b], [m] -> [n, b]``, where b is any number of axes; `ids`, `num_segments` and what is
    raised are those of `segment_sum`.
    """
    rows, labels = as_tensor(x), as_indices(ids)
    if num_segments is None:
        num_segments = segment_count(labels)
    total = segment_sum(rows, labels, num_segments)
    counts = segment_sum(ones(labels.result.sizes, rows.dtype), labels, num_segments)
    counts = reshape(maximum(counts, 1), [-1, *(1 for _ in rows.result.sizes[1:])])
    return div(total, counts, name=name)
