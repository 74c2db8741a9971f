"""Indexing: the meaning of ``x[...]``, which is NumPy's, made of slices, gathers and reshapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc import sizes
from graphc.conversion import as_tensor
from graphc.errors import ShapeError
from graphc.explanation import explains
from graphc.ops.dynamic_slicing import dynamic_bounds, is_dynamic
from graphc.ops.elementwise import cast, identity
from graphc.ops.gathering import _boolean_mask, _gather, _gather_nd, boolean_mask
from graphc.ops.index_key import ARRAY, FANCY, GAP, INT, MASK, NEW, SCALAR, SLICE, Part, parse, sort_of
from graphc.ops.joining import concat
from graphc.ops.movement import _reshape, broadcast_to, expand_dims, transpose
from graphc.ops.positions import check_known, explained
from graphc.ops.ranges import arange
from graphc.ops.sizing import shape
from graphc.ops.slicing import slice_bounds, strided_slice
from graphc.ops.sorting import nonzero
from graphc.sizes import Size
from graphc.tensor import Tensor
from graphc.types import INT64, broadcast


@explains
def index(x: Any, key: Any, name: str | None = None) -> Tensor:
    """``x[key]``, as NumPy has it.

    `key` is made of ints, slices (bounds may be integer tensors), None, Ellipsis, integer tensors, arrays
    or lists, and boolean masks. Basic indexing is a view; arrays gather, with NumPy's order of axes: theirs
    stand where they stood if they are neighbours, else in front.

    Shapes: as NumPy; the count of what a mask or a slice bounded by tensors takes is known at the run.

    Raises: IndexOutOfRangeError for an index outside its axis, here if that is known, else at the run;
    ShapeError for too many indices; DTypeError for floats; ArgumentError for what is no index.
    """
    source = as_tensor(x)
    with explained("index", x=source):
        if source.result.shape is None:
            result = _of_unknown_rank(source, key)
        else:
            parts = parse(source, key)
            for part in parts:
                if part.sort in (SCALAR, ARRAY):
                    check_known("index", source, part.value, part.axis)
            result = _fancy(source, parts) if any(p.sort in FANCY for p in parts) else _basic(source, parts)
        return identity(result, name=name) if result is source or name is not None else result


def _of_unknown_rank(x: Tensor, key: Any) -> Tensor:
    """Axes counted from the front, and behind ``...`` from the end, one by one; or one mask in front."""
    keys = key if isinstance(key, tuple) else (key,)
    gap = next((i for i, item in enumerate(keys) if item is Ellipsis), len(keys))
    front, back = ([sort_of(item) for item in part] for part in (keys[:gap], keys[gap + 1 :]))
    sorts = [sort for sort, _ in (*front, *back)]
    if sorts == [MASK] and front:
        return boolean_mask(x, front[0][1])
    if MASK in sorts or GAP in sorts or (ARRAY in sorts and len(sorts) > 1):
        raise ShapeError(f"the rank of {x.type} must be known here: gc.ensure_shape(x, shape) states it")
    axis = 0
    for sort, value in front:
        x, axes = _taken(x, sort, value, axis)
        axis += axes
    axis = -1
    for sort, value in reversed(back):
        x, axes = _taken(x, sort, value, axis)
        axis -= axes
    return x


def _taken(x: Tensor, sort: str, value: Any, axis: int) -> tuple[Tensor, int]:
    """One part of a key on `axis`, and how many axes are there now."""
    if sort == NEW:
        return expand_dims(x, axis), 1
    if sort == SLICE:
        places = arange(index(shape(x), axis))
        return _gather(x, index(places, value), axis=axis), 1
    return _gather(x, as_tensor(value), axis=axis), 0


def _basic(x: Tensor, parts: Sequence[Part]) -> Tensor:
    """Ints, slices, None, and integers that are tensors."""
    y = _sliced(x, parts)
    y = _reduced(y, parts)
    return _with_new_axes(y, [p.sort for p in parts if p.sort in (SLICE, NEW)])


def _sliced(x: Tensor, parts: Sequence[Part]) -> Tensor:
    """The slices taken, and axes of size 1 where an int is."""
    shape = x.result.sizes
    starts: list[Size] = [0] * len(shape)
    counts, steps = [*shape], [1] * len(shape)
    source = x
    for part in parts:
        axis = part.axis
        if part.sort == INT:
            starts[axis] = part.value if part.value >= 0 else shape[axis] + part.value
            counts[axis] = 1
        elif part.sort == SLICE:
            steps[axis] = 1 if part.value.step is None else part.value.step
            if is_dynamic(part.value):
                source, starts[axis], counts[axis] = dynamic_bounds(source, axis, part.value)
            else:
                bounds = part.value.start, part.value.stop, part.value.step
                starts[axis], counts[axis] = slice_bounds(shape[axis], *bounds)
    if not any(starts) and tuple(counts) == shape and set(steps) <= {1}:
        return source
    return strided_slice(source, starts=tuple(starts), sizes=tuple(counts), steps=tuple(steps))


def _reduced(y: Tensor, parts: Sequence[Part]) -> Tensor:
    """`y` without the axes of ints, and with integers that are tensors gathered."""
    dropped = {part.axis for part in parts if part.sort == INT}
    if dropped:
        y = _reshape(y, shape=tuple(n for i, n in enumerate(y.result.sizes) if i not in dropped))
    for part in reversed(parts):
        if part.sort == SCALAR:
            y = _gather(y, part.value, axis=part.axis - sum(axis < part.axis for axis in dropped))
    return y


def _with_new_axes(y: Tensor, marks: Sequence[str]) -> Tensor:
    """`y`, whose axes are the `marks` other than NEW, with axes of size 1 where those are."""
    if NEW not in marks:
        return y
    own = iter(y.result.sizes)
    return _reshape(y, shape=tuple(1 if mark == NEW else next(own) for mark in marks))


def _fancy(x: Tensor, parts: Sequence[Part]) -> Tensor:
    """Arrays and masks among the rest: they are gathered once slices and ints are taken."""
    y = _reduced(_sliced(x, parts), parts)
    left = [part for part in parts if part.sort in (SLICE, *FANCY)]
    places, rank = [], 0
    for part in left:
        places.append(range(rank, rank + part.width))
        rank += part.width
    chosen = [i for i, part in enumerate(left) if part.sort in FANCY]
    kept = [axis for i, axes in enumerate(places) if i not in chosen for axis in axes]
    first = left[chosen[0]]
    before = sum(part.sort == SLICE for part in left[: chosen[0]])
    if len(chosen) == 1 and first.sort == ARRAY:
        y, at = _gather(y, first.value, axis=before), before
        width = len(first.value.result.sizes)
    else:
        front = [axis for i in chosen for axis in places[i]]
        y = _moved(y, [*front, *kept])
        at = 0
        if len(chosen) == 1:
            y, width = _boolean_mask(y, first.value, shape=(sizes.unknown(),)), 1
        else:
            coordinates = _coordinates(x, [left[i] for i in chosen])
            width = len(coordinates.result.sizes) - 1
            y = _gather_nd(y, coordinates, depth=len(front))
    advanced = [i for i, part in enumerate(parts) if part.sort in (INT, SCALAR, *FANCY)]
    neighbours = advanced[-1] - advanced[0] == len(advanced) - 1
    lead = parts[: advanced[0]] if neighbours else []
    to = sum(part.sort == SLICE for part in lead)
    y = _block_moved(y, at, to, width)
    rest = parts[len(lead) :]
    marks = [p.sort for p in lead if p.sort in (SLICE, NEW)] + [ARRAY] * width
    return _with_new_axes(y, marks + [p.sort for p in rest if p.sort in (SLICE, NEW)])


def _moved(y: Tensor, order: Sequence[int]) -> Tensor:
    return y if list(order) == list(range(len(order))) else transpose(y, axes=tuple(order))


def _block_moved(y: Tensor, at: int, to: int, width: int) -> Tensor:
    """`y` with its `width` axes from `at` on moved to begin at `to`."""
    rank = len(y.result.sizes)
    others = [axis for axis in range(rank) if not at <= axis < at + width]
    return _moved(y, [*others[:to], *range(at, at + width), *others[to:]])


def _coordinates(x: Tensor, parts: Sequence[Part]) -> Tensor:
    """Arrays and masks as one tensor of coordinates, ``[broadcast shape..., axes]``."""
    columns: list[Tensor] = []
    for part in parts:
        if part.sort == ARRAY:
            columns.append(part.value)
            continue
        own, given = x.result.sizes[part.axis : part.axis + part.width], part.value.result
        if any(sizes.meet(a, b) is None for a, b in zip(own, given.sizes, strict=True)):
            raise ShapeError(f"a mask of {given} does not fit axis {part.axis} of {x.type}")
        columns += nonzero(part.value) if part.width else []
    shape = broadcast(*(column.result for column in columns))
    assert shape is not None
    spread = [broadcast_to(cast(column, INT64), shape) for column in columns]
    return concat([_reshape(column, shape=(*shape, 1)) for column in spread], axis=len(shape))
