"""Joining and parting: concat, stack, split, unstack, tile, roll."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.attributes import Axis, NewAxis, normalize_axis
from graphc.conversion import as_tensor
from graphc.errors import ArgumentError, DTypeError, ShapeError
from graphc.explanation import explains
from graphc.op import op
from graphc.ops.late_rank import may_wait, wait, waits
from graphc.ops.movement import broadcast_to, ensure_shape, reshape, squeeze
from graphc.ops.slicing import slice_axis
from graphc.sizes import Size, as_int, floor_divide, maximum, meet, remainder
from graphc.tensor import Tensor
from graphc.types import TensorType


@op("movement", promotes=True)
def _concat(*xs: Tensor, axis: Axis = 0) -> TensorType:
    """All of `xs` one after another along `axis`, in their common dtype.

    Shapes: ``[..., m, ...], [..., n, ...] -> [..., m + n, ...]``.
    Raises: ShapeError where other sizes differ.
    """
    first = xs[0].result
    shape = list(first.sizes)
    if not shape:
        raise ShapeError(f"scalars have no axis to join along: {first}; stack makes one")
    for x in xs[1:]:
        given = x.result.sizes
        if len(given) != len(shape):
            raise ShapeError(f"ranks differ: {first} and {x.result}")
        for i, size in enumerate(given):
            joined = shape[i] + size if i == axis else meet(shape[i], size)
            if joined is None:
                raise ShapeError(f"sizes of axis {i} differ: {first} and {x.result}")
            shape[i] = joined
    return TensorType(first.dtype, tuple(shape))


_concat.evaluate(lambda *xs, axis: np.concatenate(xs, axis))


def _concat_gradient(g: Tensor, out: Tensor, *xs: Tensor, axis: int) -> list[Tensor]:
    parts: list[Tensor] = []
    start: Size = 0
    for x in xs:
        count = x.result.sizes[axis]
        parts.append(slice_axis(g, axis, start, count))
        start = start + count
    return parts


_concat.gradient(_concat_gradient)
_concat.example("f64[2,3]", "f64[2,1]", "f64[2,2]", axis=1)
_concat.example("f64[2]", "f64[0]", axis=-1)
_concat.example("i32[1,2]", "i64[3,2]", axis=0)
_concat.example("bool[2]", axis=0)


@explains
def concat(xs: Any, axis: int = 0, name: str | None = None) -> Tensor:
    """All of `xs` one after another along `axis`, in their common dtype.

    Shapes: ``[..., m, ...], [..., n, ...] -> [..., m + n, ...]``.

    Raises: ShapeError where other sizes differ; ArgumentError for an empty list.
    """
    return _concat(*_operands("concat", xs, axis), axis=axis, name=name)


def _operands(function: str, xs: Any, axis: Any) -> list[Any]:
    if isinstance(axis, list | tuple | Tensor):
        given = xs if isinstance(xs, int) else 0
        raise ArgumentError(f"{function}: the list comes first, then the axis: {function}([...], {given})")
    listed = [xs] if not isinstance(xs, list | tuple | np.ndarray) else list(xs)
    if not listed:
        raise ArgumentError(f"{function}: an empty list has nothing to join")
    return listed


@op("movement", promotes=True)
def _stack(*xs: Tensor, axis: NewAxis = 0) -> TensorType:
    """All of `xs` side by side along a new axis, which is number `axis` of the result.

    Shapes: ``[...], [...] -> [..., len(xs), ...]``.
    Raises: ShapeError where shapes differ.
    """
    shape = list(xs[0].result.sizes)
    for x in xs[1:]:
        given = x.result.sizes
        agreed = [meet(a, b) for a, b in zip(shape, given, strict=False)]
        if len(given) != len(shape) or None in agreed:
            raise ShapeError(f"shapes differ: {xs[0].result} and {x.result}")
        shape = [size for size in agreed if size is not None]
    return TensorType(xs[0].dtype, (*shape[:axis], len(xs), *shape[axis:]))


_stack.evaluate(lambda *xs, axis: np.stack(xs, axis))


@_stack.gradient
def _stack_gradient(g: Tensor, out: Tensor, *xs: Tensor, axis: int) -> list[Tensor]:
    return unstack(g, axis, num=len(xs))


_stack.example("f64[2,3]", "f64[2,3]", axis=1)
_stack.example("f64[]", "f64[]", axis=0)
_stack.example("i32[0]", "i64[0]", axis=-1)
_stack.example("f32[1]", axis=0)


@explains
def stack(xs: Any, axis: int = 0, name: str | None = None) -> Tensor:
    """All of `xs` side by side along a new axis, in their common dtype.

    Shapes: ``[...], [...] -> [..., len(xs), ...]``.

    Raises: ShapeError where shapes differ; ArgumentError for an empty list.
    """
    return _stack(*_operands("stack", xs, axis), axis=axis, name=name)


@explains
def unstack(x: Any, axis: int = 0, num: int | None = None, name: str | None = None) -> list[Tensor]:
    """The parts of `x` along `axis`, as a list; `num` says how many where the graph does not know.

    All bear `name`: ``name``, ``name_1``, and so on.

    Shapes: ``[..., n, ...] -> n times [...]``.

    Raises: ShapeError where the size is unknown and `num` not given, or they differ.
    """
    x, count = as_tensor(x), as_int(num)
    if waits(x):
        if count is None or count < 0:
            raise ShapeError(
                f"unstack: the size of axis {axis} of {x.type} is known only at the run: give num"
            )
        return [wait("unstack", (x,), axis, count, part=i, name=name) for i in range(count)]
    shape = x.result.sizes
    axis = normalize_axis(axis, len(shape), x.type)
    if num is None:
        known = shape[axis]
        if not isinstance(known, int):
            raise ShapeError(
                f"unstack: the size of axis {axis} of {x.type} is known only at the run: give num"
            )
        count = known
    elif count is None or count < 0 or meet(shape[axis], count) is None:
        raise ShapeError(f"unstack: num is {num!r}, and axis {axis} of {x.type} has not as many parts")
    elif shape[axis] != count:
        x = ensure_shape(x, (*shape[:axis], count, *shape[axis + 1 :]))
    return [squeeze(slice_axis(x, axis, i, 1), (axis,), name=name) for i in range(count)]


def _unstacked(x: Any, axis: int, num: int) -> list[Any]:
    if not -x.ndim <= axis < x.ndim or x.shape[axis] != num:
        raise ShapeError(f"axis {axis} of the shape {list(x.shape)} has not {num} parts")
    return [np.take(x, i, axis) for i in range(num)]


may_wait(unstack, _unstacked)


@explains
def split(x: Any, n_or_sizes: Any, axis: int = 0, name: str | None = None) -> list[Tensor]:
    """Equal parts of `x` along `axis`, or parts of the given sizes, one of which may be -1: the rest.

    All bear `name`: ``name``, ``name_1``, and so on.

    Shapes: ``[..., n, ...] -> [..., size, ...]`` for each part.

    Raises: ShapeError where the parts do not make up the axis.
    """
    from graphc.dynamic_sizes import after_all, as_sizes  # builds on this module

    x, n = as_tensor(x), as_int(n_or_sizes)
    if waits(x):
        parts_wanted = range(max(_length(n_or_sizes) if n is None else n, 1))
        given = n_or_sizes if n is None else n
        return [wait("split", (x,), given, axis, part=i, name=name) for i in parts_wanted]
    shape = x.result.sizes
    axis = normalize_axis(axis, len(shape), x.type)
    whole = shape[axis]
    if n is not None:
        if n < 1 or (isinstance(whole, int) and whole % n):
            raise ShapeError(f"split: {n} parts do not divide axis {axis} of {x.type}")
        parts: tuple[Size, ...] = (floor_divide(whole, n),) * n
    elif isinstance(n_or_sizes, float | bool):
        raise ArgumentError(f"split: a number of parts or a list of sizes is wanted, not {n_or_sizes!r}")
    else:
        parts, witnesses = as_sizes(n_or_sizes)
        x = after_all(x, witnesses)
        parts = _with_rest(parts, whole, x)
    total = _total(parts)
    if meet(total, whole) is None:
        raise ShapeError(f"split: parts of {list(parts)} do not make up axis {axis} of {x.type}")
    if total != whole:
        x = ensure_shape(x, (*shape[:axis], total, *shape[axis + 1 :]))
    pieces, start = [], _total(())
    for part in parts:
        pieces.append(slice_axis(x, axis, start, part, name=name))
        start = start + part
    return pieces


def _length(parts: Any) -> int:
    try:
        return len(parts)
    except TypeError:
        raise ArgumentError(f"split: a number of parts or a list of sizes is wanted, not {parts!r}") from None


def _parted(x: Any, n_or_sizes: Any, axis: int) -> list[Any]:
    if not -x.ndim <= axis < x.ndim:
        raise ShapeError(f"axis {axis} is out of range for the shape {list(x.shape)}")
    whole = x.shape[axis]
    parts = list(n_or_sizes) if isinstance(n_or_sizes, tuple) else [whole // n_or_sizes] * n_or_sizes
    if -1 in parts:
        parts[parts.index(-1)] = whole - (sum(parts) + 1)
    if sum(parts) != whole or min(parts) < 0:
        raise ShapeError(f"parts of {parts} do not make up axis {axis} of the shape {list(x.shape)}")
    return np.split(x, np.cumsum(parts)[:-1], axis)


may_wait(split, _parted)


def _total(parts: Sequence[Size]) -> Size:
    total: Size = 0
    for part in parts:
        total = total + part
    return total


def _with_rest(parts: tuple[Size, ...], whole: Size, x: Tensor) -> tuple[Size, ...]:
    if parts.count(-1) > 1 or any(isinstance(part, int) and part < -1 for part in parts):
        raise ShapeError(f"split: sizes are not negative, and one may be -1, not {list(parts)}")
    rest = whole - _total([part for part in parts if part != -1])
    if -1 in parts and isinstance(rest, int) and rest < 0:
        raise ShapeError(f"split: parts of {list(parts)} are more than {x.type} has")
    return tuple(rest if part == -1 else part for part in parts)


@explains
def tile(x: Any, multiples: Any, name: str | None = None) -> Tensor:
    """`x` repeated along each axis; `multiples` may be a tensor or hold some.

    Shapes: ``[d0, d1, ...] -> [d0 * m0, d1 * m1, ...]``; ranks are evened out in front, as in NumPy.
    """
    from graphc.dynamic_sizes import after_all, as_sizes  # builds on this module

    x = as_tensor(x)
    if waits(x):
        return wait("tile", (x,), multiples, name=name)
    times, witnesses = as_sizes(multiples)
    if any(isinstance(n, int) and n < 0 for n in times):
        raise ShapeError(f"tile: a multiple is not negative: {list(times)}")
    own = x.result.sizes
    rank = max(len(own), len(times))
    own = (1,) * (rank - len(own)) + own
    times = (1,) * (rank - len(times)) + times
    apart = tuple(size for n in own for size in (1, n))
    repeated = tuple(size for pair in zip(times, own, strict=True) for size in pair)
    spread = broadcast_to(reshape(after_all(x, witnesses), apart), repeated)
    return reshape(spread, tuple(n * size for n, size in zip(times, own, strict=True)), name=name)


may_wait(tile, lambda x, multiples: np.tile(x, multiples))


@explains
def roll(x: Any, shift: Any, axis: Any = None, name: str | None = None) -> Tensor:
    """`x` with its elements moved by `shift` along `axis`, those that leave coming in again at the other end.

    Several axes take as many shifts (or one for all); None rolls the flattened elements. A shift may be a
    tensor.

    Shapes: ``[...] -> [...]``.
    """
    tensor = as_tensor(x)
    if waits(tensor):
        return wait("roll", (tensor,), shift, axis, name=name)
    rank = len(tensor.result.sizes)
    if axis is None:
        flat = roll(reshape(tensor, (-1,)), shift, 0)
        return reshape(flat, tensor.result.sizes, name=name)
    axes = list(axis) if isinstance(axis, list | tuple) else [axis]
    shifts = list(shift) if isinstance(shift, list | tuple) else [shift] * len(axes)
    if len(axes) != len(shifts):
        raise ArgumentError(f"roll: {len(shifts)} shifts for {len(axes)} axes")
    for i, (place, by) in enumerate(zip(axes, shifts, strict=True)):
        last = name if i + 1 == len(axes) else None
        tensor = _rolled(tensor, by, normalize_axis(place, rank, tensor.type), last)
    return tensor


may_wait(roll, lambda x, shift, axis: np.roll(x, shift, axis))


def _rolled(x: Tensor, shift: Any, axis: int, name: str | None) -> Tensor:
    from graphc.dynamic_sizes import after_all, bind  # builds on this module
    from graphc.ops.sizing import shape

    n = x.result.sizes[axis]
    if n == 0:
        return x
    if isinstance(shift, int | np.integer):
        by = remainder(int(shift), maximum(n, 1))
    else:
        given = as_tensor(shift)
        if not given.dtype.is_integer or given.result.shape not in ((), None):
            raise DTypeError(f"roll: a shift is a whole number for each axis, not {given.type}")
        length = slice_axis(shape(x), 0, axis, 1)
        by, witness = bind(given % squeeze(length, 0))
        x = after_all(x, (witness,))
    tail, head = slice_axis(x, axis, n - by, by), slice_axis(x, axis, 0, n - by)
    return concat([tail, head], axis, name=name)
