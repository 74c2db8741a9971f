"""Movement: the same elements in another shape or order. No op here computes; most are views."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc import sizes
from graphc.attributes import Axes, NewAxis, Permutation, Shape, normalize_axis
from graphc.conversion import as_tensor
from graphc.errors import ArgumentError, ShapeError
from graphc.explanation import explains
from graphc.op import op
from graphc.ops.late_shape import broadcast_late, reshape_late
from graphc.ops.sizing import element_count, size
from graphc.sizes import Size
from graphc.tensor import Tensor
from graphc.types import TensorType


@op("movement")
def _reshape(x: Tensor, *, shape: Shape) -> TensorType:
    """The elements of `x`, in row-major order, as `shape`.

    Shapes: ``[...] -> shape``, of as many elements.
    Raises: ShapeError where the numbers of elements differ.
    """
    if sizes.meet(sizes.product(x.result.sizes), sizes.product(shape)) is None:
        raise ShapeError(f"{x.result} does not have the elements of {TensorType(x.dtype, shape)}")
    return TensorType(x.dtype, shape)


_reshape.evaluate(lambda x, shape: np.reshape(x, shape))
_reshape.gradient(lambda g, out, x, shape: (_reshape(g, shape=x.result.sizes),))
_reshape.example("f64[2,6]", shape=(3, 4))
_reshape.example("f64[0,3]", shape=(3, 2, 0))
_reshape.example("f32[1]", shape=())
_reshape.example("i32[4]", shape=(2, 1, 2))


@explains
def reshape(x: Any, shape: Any, name: str | None = None) -> Tensor:
    """The elements of `x`, in row-major order, as `shape`, in which one -1 stands for the rest.

    Shapes: ``[...] -> shape``; sizes may be tensors, as may the whole shape, which may be -1 at the run.
    Where the run alone knows how many sizes there are, the rank is unknown.

    Raises: ShapeError where the numbers of elements differ; ArgumentError for several -1.
    """
    from graphc.dynamic_sizes import after_all, as_sizes, bind, late_vector, with_rest  # builds on it

    x = as_tensor(x)
    if (vector := late_vector(shape)) is not None:
        return reshape_late(x, vector, name=name)
    if isinstance(name, int):
        raise ArgumentError(f"reshape: the sizes are one argument, as in reshape(x, ({shape}, {name}))")
    listed, witnesses = as_sizes(with_rest(shape, x))
    if listed.count(-1) > 1:
        raise ArgumentError(f"reshape: only one size may be -1, not {listed.count(-1)}")
    if -1 in listed:
        place = listed.index(-1)
        others = sizes.product(size for size in listed if size != -1)
        if others == 0:
            raise ShapeError("reshape: -1 beside a size of 0 could be anything")
        if x.result.shape is None:
            rest, witness = bind(size(x) // element_count(*witnesses, shape=(others,)))
            witnesses += (witness,)
        else:
            rest = sizes.product(x.result.shape) // others
        listed = (*listed[:place], rest, *listed[place + 1 :])
    return _reshape(after_all(x, witnesses), shape=listed, name=name)


@op("movement")
def _broadcast_to(x: Tensor, *, shape: Shape) -> TensorType:
    """`x` repeated along new axes in front and along its axes of size 1.

    Shapes: ``[...] -> shape``, where each size of `x` is 1 or that of `shape`, aligned at the end.
    Raises: ShapeError where one is not, or no int64 counts the elements.
    """
    own = x.result.sizes
    kept = shape[len(shape) - len(own) :] if len(own) <= len(shape) else ()
    if len(kept) != len(own) or any(
        size != 1 and sizes.meet(size, wanted) is None for size, wanted in zip(own, kept, strict=True)
    ):
        raise ShapeError(f"{x.result} does not broadcast to {TensorType(x.dtype, shape)}")
    sizes.require_countable(shape)
    return TensorType(x.dtype, shape)


_broadcast_to.evaluate(lambda x, shape: np.broadcast_to(x, shape))
_broadcast_to.gradient(lambda g, out, x, shape: (g,))
_broadcast_to.example("f64[3]", shape=(2, 3))
_broadcast_to.example("f64[2,1]", shape=(4, 2, 3))
_broadcast_to.example("f64[]", shape=(2, 2))
_broadcast_to.example("f32[1]", shape=(0,))
_broadcast_to.example("bool[]", shape=())


@explains
def broadcast_to(x: Any, shape: Any, name: str | None = None) -> Tensor:
    """`x` repeated along new axes in front and along its axes of size 1.

    Shapes: ``[...] -> shape``; sizes may be tensors, as may the whole shape; -1 keeps a size of `x`.
    Where the run alone knows how many sizes there are, the rank is unknown.

    Raises: ShapeError where a size of `x` is neither 1 nor that of `shape`.
    """
    from graphc.dynamic_sizes import after_all, as_sizes, late_vector  # builds on this module

    x = as_tensor(x)
    if (vector := late_vector(shape)) is not None:
        return broadcast_late(x, vector, name=name)
    listed, witnesses = as_sizes(shape)
    if -1 in listed:
        own = x.result.sizes
        lead = len(listed) - len(own)
        if -1 in listed[: max(lead, 0)]:
            raise ShapeError("a size is not negative: -1, which keeps one of x, and a new axis has none")
        listed = tuple(own[i - lead] if wanted == -1 else wanted for i, wanted in enumerate(listed))
    return _broadcast_to(after_all(x, witnesses), shape=listed, name=name)


@op("movement")
def transpose(x: Tensor, axes: Permutation | None = None) -> TensorType:
    """`x` with its axes in another order; None reverses them.

    Shapes: ``[d0, d1, ...] -> [d_axes[0], d_axes[1], ...]``.
    Raises: ShapeError unless `axes` names each axis once.
    """
    shape = x.result.sizes
    assert axes is not None  # None is spelled out once the rank is known
    return TensorType(x.dtype, tuple(shape[axis] for axis in axes))


transpose.evaluate(lambda x, axes: np.transpose(x, axes))
transpose.gradient(lambda g, out, x, axes: (transpose(g, axes=tuple(int(i) for i in np.argsort(axes))),))
transpose.example("f64[2,3,4]", axes=(1, 2, 0))
transpose.example("f64[2,3]")
transpose.example("f32[2,0,1]", axes=(-1, 0, 1))
transpose.example("i32[]")
transpose.example("bool[3]")


@explains
def matrix_transpose(x: Any, name: str | None = None) -> Tensor:
    """`x` with its last two axes swapped.

    Shapes: ``[..., m, n] -> [..., n, m]``.
    """
    x = as_tensor(x)
    if x.result.shape is None:
        from graphc.ops.contraction import einsum  # it builds on movement

        return einsum("...ij->...ji", x, name=name)
    return swap_axes(x, -1, -2, name=name)


@explains
def swap_axes(x: Any, axis1: int, axis2: int, name: str | None = None) -> Tensor:
    """`x` with two of its axes swapped.

    Shapes: ``[..., m, ..., n, ...] -> [..., n, ..., m, ...]``.
    """
    x = as_tensor(x)
    rank = len(x.result.sizes)
    order = list(range(rank))
    i, j = normalize_axis(axis1, rank, x.type), normalize_axis(axis2, rank, x.type)
    order[i], order[j] = j, i
    return transpose(x, axes=tuple(order), name=name)


@op("movement")
def _expand_dims(x: Tensor, *, axis: NewAxis) -> TensorType:
    """`x` with an axis of size 1 more, which is number `axis` of the result.

    Shapes: ``[...] -> [..., 1, ...]``.
    """
    shape = x.result.sizes
    return TensorType(x.dtype, (*shape[:axis], 1, *shape[axis:]))


_expand_dims.evaluate(lambda x, axis: np.expand_dims(x, axis))
_expand_dims.gradient(lambda g, out, x, axis: (_reshape(g, shape=x.result.sizes),))
_expand_dims.example("f64[2,3]", axis=1)
_expand_dims.example("f64[]", axis=0)
_expand_dims.example("f32[0]", axis=-1)


@explains
def expand_dims(x: Any, axis: Any = 0, name: str | None = None) -> Tensor:
    """`x` with axes of size 1 more; `axis` (an int or several) are their numbers in the result.

    Shapes: ``[...] -> [..., 1, ...]``.

    Raises: ShapeError for an axis that the result does not have.
    """
    tensor = as_tensor(x)
    if not isinstance(axis, list | tuple):
        return _expand_dims(tensor, axis=axis, name=name)
    if tensor.result.shape is None and len({a < 0 for a in axis}) <= 1:
        places = sorted(axis, reverse=any(a < 0 for a in axis))  # each leaves the later ones where they are
    else:
        rank = len(tensor.result.sizes) + len(axis)
        places = sorted(normalize_axis(a, rank) for a in axis)
    if len(set(places)) < len(places):
        raise ArgumentError(f"expand_dims: an axis is named twice in {tuple(axis)}")
    for place in places:
        tensor = _expand_dims(tensor, axis=place, name=name if place == places[-1] else None)
    return tensor


@op("movement")
def _squeeze(x: Tensor, *, axis: Axes) -> TensorType:
    """`x` without its axes `axis`, which are of size 1.

    Shapes: ``[..., 1, ...] -> [...]``.
    Raises: ShapeError where a size is not 1; a size known only at the run is checked there.
    """
    shape = x.result.sizes
    for i in axis:
        if sizes.meet(shape[i], 1) is None:
            raise ShapeError(f"axis {i} of {x.result} is not of size 1")
    return TensorType(x.dtype, tuple(size for i, size in enumerate(shape) if i not in axis))


_squeeze.evaluate(lambda x, axis: np.squeeze(x, axis))
_squeeze.gradient(lambda g, out, x, axis: (_reshape(g, shape=x.result.sizes),))
_squeeze.example("f64[2,1,3]", axis=(1,))
_squeeze.example("f64[1,2,1]", axis=(0, -1))
_squeeze.example("i32[1]", axis=(0,))
_squeeze.example("f32[2]", axis=())


@explains
def squeeze(x: Any, axis: Any = None, name: str | None = None) -> Tensor:
    """`x` without its axes `axis`, which are of size 1; None: without all those known to be 1.

    Shapes: ``[..., 1, ...] -> [...]``.

    Raises: ShapeError where a size is not 1, or without `axis` for an unknown rank.
    """
    x = as_tensor(x)
    if axis is None:
        axis = tuple(i for i, size in enumerate(x.result.sizes) if size == 1)
    return _squeeze(x, axis=axis, name=name)


@op("movement", fallible=True)
def _ensure_shape(x: Tensor, *, shape: Shape) -> TensorType:
    """`x`, stated to be of `shape`, which the run checks.

    Shapes: ``shape -> shape``; also from an unknown rank.
    Raises: ShapeError where `x` is of another shape, at definition if that is known.
    """
    own, stated = x.result.sizes, TensorType(x.dtype, shape)
    if len(own) != len(shape) or any(sizes.meet(a, b) is None for a, b in zip(own, shape, strict=True)):
        raise ShapeError(f"{x.result} is not {stated}")
    return stated


def _ensured(x: Any, shape: Any) -> Any:
    if x.shape != tuple(shape):
        raise ShapeError(f"the shape {list(x.shape)} is not the stated {list(shape)}")
    return x


_ensure_shape.evaluate(_ensured)
_ensure_shape.gradient(lambda g, out, x, shape: (g,))
_ensure_shape.example("f64[2,3]", shape=(2, 3))
_ensure_shape.example("i32[0]", shape=(0,))


@op("movement", fallible=True, binds=True)
def state_rank(x: Tensor, *, shape: Shape) -> TensorType:
    """`x`, stated to have as many axes as `shape`, whose sizes are bound to those it has at the run.

    Shapes: ``[...] -> shape``.
    Raises: ShapeError for another rank, at definition if that is known.
    """
    if len(x.result.sizes) != len(shape):
        raise ShapeError(f"{x.result} does not have {len(shape)} axes")
    return TensorType(x.dtype, shape)


def _of_stated_rank(x: Any, shape: Any) -> Any:
    if x.ndim != len(shape):
        raise ShapeError(f"the shape {list(x.shape)} does not have the stated {len(shape)} axes")
    return x


state_rank.evaluate(_of_stated_rank)
state_rank.gradient(lambda g, out, x, shape: (g if x.result.shape is None else reshape(g, x.result.sizes),))
state_rank.example("f64[2,3]", shape=(None, None))


@explains
def ensure_shape(x: Any, shape: Any, name: str | None = None) -> Tensor:
    """`x`, stated to be of `shape`, which the run checks; None among the sizes is any size.

    Shapes: ``shape -> shape``; gives an unknown rank or size a known one.

    Raises: ShapeError where `x` is of another shape, at definition if that is known.
    """
    x = as_tensor(x)
    own = x.result.shape
    given = (shape,) if isinstance(shape, int | str) else tuple(shape)
    if own is None and None in given:
        x = state_rank(x, shape=(None,) * len(given))
        own = x.result.sizes
    if own is not None and len(own) == len(given):
        given = tuple(a if b is None else b for a, b in zip(own, given, strict=True))
    return _ensure_shape(x, shape=given, name=name)


def of_size(x: Tensor, axis: int, size: Size) -> Tensor:
    """`x`, whose `axis` is stated to be of `size` where a run may make one of them 1, which repeats."""
    shape = x.result.sizes
    own = shape[axis]
    if own == size or not (sizes.may_broadcast(own) or sizes.may_broadcast(size)):
        return x
    axis %= len(shape)
    return _ensure_shape(x, shape=(*shape[:axis], size, *shape[axis + 1 :]))


def sized_as(x: Tensor, like: Tensor) -> Tensor:
    """`x` in the sizes of `like`, if they fit: its own may be bound by a `cond` that does not run.

    What computes a gradient needs the cotangent of a value, and often not the value.
    """
    own, shape = x.result.shape, like.result.shape
    if own == shape or own is None or shape is None or len(own) != len(shape):
        return x
    fits = all(sizes.meet(a, b) is not None for a, b in zip(own, shape, strict=True))
    return ensure_shape(x, shape) if fits else x
