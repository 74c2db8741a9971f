"""Rules of indexing: gathers by what is known to be regular, and scatters of everything."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc import ops
from graphc.tensor import Tensor
from passes.rewrite import Match, Rule, rule
from passes.simplification.matching import NUMBERS, alike, is_number, number, vector
from passes.simplification.vocabulary import (
    broadcast_to,
    constant,
    gather,
    gather_nd,
    reshape,
    scatter_add,
    scatter_update,
    sort,
)

_MOST = 1 << 10  # indices that rules look at


def _is_counter(x: Tensor) -> bool:
    """Whether `x` is ``0, 1, 2, ...``, cast or not."""
    while x.op is ops.cast and x.dtype.is_integer and x.dtype.itemsize >= 4:
        x = x.inputs[0]
    return x.op is ops.iota


def _known(indices: Tensor, extent: Any) -> Any:
    """The constant `indices` counted from the front, where all are surely within `extent`; else None."""
    if indices.op is not constant or not isinstance(extent, int):
        return None
    value = indices.attrs["value"]
    if not 0 < value.size <= _MOST or int(value.max()) >= extent or int(value.min()) < -extent:
        return None
    wide = value.astype(np.int64)
    return np.where(wide < 0, wide + extent, wide)


def _sliced(x: Tensor, axis: int, start: int, count: int, step: int) -> Tensor:
    whole = x.result.sizes
    return ops.strided_slice(
        x,
        starts=tuple(start if i == axis else 0 for i in range(len(whole))),
        sizes=tuple(count if i == axis else size for i, size in enumerate(whole)),
        steps=tuple(step if i == axis else 1 for i in range(len(whole))),
    )


@rule(gather, of=(ops.iota, ops.cast))
def gather_all(match: Match) -> Tensor | None:
    """``gather(x, iota(n)) -> x`` where n is the size."""
    x, indices = match.inputs
    if x.type != match.node.type or not _is_counter(indices) or not match.is_droppable(indices):
        return None
    return x


@rule(gather, of=(constant,))
def gather_regular(match: Match) -> Tensor | None:
    """``gather(x, (a, a + s, ...)) -> x[a::s]``, of constants that are within the axis."""
    x, indices = match.inputs
    axis = match.attrs["axis"]
    places = _known(indices, x.result.sizes[axis])
    if places is None or places.ndim > 1:
        return None
    flat = places.reshape(-1)
    step = int(flat[1] - flat[0]) if len(flat) > 1 else 1
    if step == 0 or (len(flat) > 2 and bool((np.diff(flat) != step).any())):
        return None
    made = _sliced(x, axis, int(flat[0]), len(flat), step)
    return made if places.ndim else reshape(made, shape=match.node.result.sizes)


@rule(gather, of=(gather,))
def gather_twice(match: Match) -> Tensor | None:
    """``gather(gather(x, i), j) -> gather(x, i[j])``, of constants that are within the axes."""
    inner, indices = match.inputs
    axis = match.attrs["axis"]
    if inner.op is not gather or inner.attrs["axis"] != axis or len(inner.inputs[1].result.sizes) != 1:
        return None
    x, earlier = inner.inputs
    first = _known(earlier, x.result.sizes[axis])
    then = _known(indices, earlier.result.sizes[0])
    if first is None or then is None:
        return None
    return gather(x, vector(first[then]), axis=axis)


@rule(gather, of=(broadcast_to,))
def gather_of_repeated(match: Match) -> Tensor | None:
    """``gather(broadcast_to(x, s), i) -> broadcast_to(x, t)`` along an axis that repeats."""
    inner, indices = match.inputs
    axis = match.attrs["axis"]
    if inner.op is not broadcast_to or _known(indices, inner.result.sizes[axis]) is None:
        return None
    x = inner.inputs[0]
    own = x.result.sizes
    place = axis - (len(inner.result.sizes) - len(own))
    if place >= 0:
        if own[place] != 1:
            return None
        ones = (1,) * len(indices.result.sizes)
        x = reshape(x, shape=own[:place] + ones + own[place + 1 :])
    return broadcast_to(x, shape=match.node.result.sizes)


@rule(gather, of=(ops.iota,))
def gather_of_counter(match: Match) -> Tensor | None:
    """``gather(iota(n), i) -> i``, of constants that are within the axis."""
    counter, indices = match.inputs
    if counter.op is not ops.iota or counter.inputs:
        return None
    places = _known(indices, counter.result.sizes[0])
    return None if places is None else vector(places)


@rule(gather_nd)
def gather_rows(match: Match) -> Tensor | None:
    """``gather_nd(x, i) -> gather(x, i)`` where each row has one coordinate."""
    x, indices = match.inputs
    if match.attrs["depth"] != 1 or indices.result.sizes[-1] != 1:
        return None
    return alike(match, gather(x, reshape(indices, shape=indices.result.sizes[:-1]), axis=0))


@rule(scatter_update, of=(ops.iota, ops.cast))
def scatter_everything(match: Match) -> Tensor | None:
    """``scatter_update(x, iota(n), y) -> y`` where n is the size."""
    x, indices, updates = match.inputs
    if updates.type != match.node.type or not _is_counter(indices):
        return None
    return updates if match.is_droppable(x) and match.is_droppable(indices) else None


@rule(scatter_add, of=(ops.iota, ops.cast), integers=True)
def add_everywhere(match: Match) -> Tensor | None:
    """``scatter_add(x, iota(n), y) -> x + y`` where n is the size, of integers and bools."""
    return None if match.node.dtype.is_floating else _added(match)


@rule(scatter_add, of=(ops.iota, ops.cast))
def add_everywhere_fast(match: Match) -> Tensor | None:
    """``scatter_add(x, iota(n), y) -> x + y`` where n is the size; a scatter makes 0.0 of two -0.0."""
    return _added(match)


def _added(match: Match) -> Tensor | None:
    x, indices, updates = match.inputs
    if updates.type != x.type or not _is_counter(indices) or not match.is_droppable(indices):
        return None
    return alike(match, ops.add(x, updates))


@rule(scatter_add, of=NUMBERS, integers=True)
def add_zeros(match: Match) -> Tensor | None:
    """``scatter_add(x, i, 0) -> x``, of integers and indices within the axis."""
    x, indices, updates = match.inputs
    if x.dtype.is_floating or not is_number(updates, 0):
        return None
    return None if _known(indices, x.result.sizes[match.attrs["axis"]]) is None else x


@rule(sort, of=(sort,))
def sort_twice(match: Match) -> Tensor | None:
    """``sort(sort(x)) -> sort(x)``, in one direction along one axis."""
    (inner,) = match.inputs
    return inner if inner.op is sort and inner.attrs == match.attrs else None


@rule(sort)
def sort_of_alike(match: Match) -> Tensor | None:
    """``sort(x) -> x`` where all elements are one number, or the axis is of size 1."""
    (x,) = match.inputs
    return x if number(x) is not None or x.result.sizes[match.attrs["axis"]] == 1 else None


RULES: tuple[Rule, ...] = (
    *(gather_all, gather_of_counter, gather_of_repeated, gather_twice, gather_regular),
    *(gather_rows, scatter_everything, add_everywhere, add_zeros, sort_twice, sort_of_alike),
)
FAST_RULES: tuple[Rule, ...] = (add_everywhere_fast,)
