"""Ranges and what is made of them: arange, linspace, the identity matrix, triangles."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc import sizes
from graphc.conversion import as_tensor, promoted
from graphc.errors import ArgumentError, DTypeError, ShapeError
from graphc.explanation import explains
from graphc.ops.comparison import equal, greater_equal, where
from graphc.ops.elementwise import cast, identity
from graphc.ops.extremum import ceil, maximum
from graphc.ops.late_rank import may_wait, wait, waits
from graphc.ops.movement import expand_dims, squeeze
from graphc.ops.sizing import shape
from graphc.ops.slicing import slice_axis
from graphc.ops.source import constant, iota
from graphc.tensor import Tensor
from graphc.types import FLOAT32, FLOAT64, INT64, DType, as_dtype
from graphc.variable import Variable


@explains
def arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = None, name: str | None = None) -> Tensor:
    """``start, start + step, ...`` before `stop`; with one bound, from 0 to it.

    Shapes: ``-> [max(0, ceil((stop - start) / step))]``; bounds may be tensors, or Python ints and floats.
    Dtypes: that of the bounds: int32 (int64 where too big) or float32 for Python numbers.

    Raises: ArgumentError for a step of 0; DTypeError where bounds do not mix.
    """
    from graphc.dynamic_sizes import is_dynamic  # builds on this module

    if stop is None:
        start, stop = 0, start
    if is_dynamic([start, stop, step]):
        return _dynamic_range(start, stop, step, dtype, name)
    for bound in (start, stop, step):
        if isinstance(bound, list | tuple) or np.ndim(bound) != 0:
            raise ShapeError(f"arange: a bound is one number, not {bound!r}")
        if not isinstance(bound, str | int) and not np.isfinite(bound):
            raise ArgumentError(f"arange: a bound is finite, not {bound!r}")
    if step == 0:
        raise ArgumentError("arange: the step is not 0")
    natural = _range_dtype(start, stop, step)
    held = natural if dtype is None else as_dtype(dtype)
    count = (
        int(np.maximum(np.ceil((stop - start) / step), 0))
        if natural.is_floating
        else len(range(int(start), int(stop), int(step)))
    )
    wide = _wide(natural)
    return _progression(iota(shape=(count,)), constant(start, wide), constant(step, wide), held, name)


def _range_dtype(*bounds: Any) -> DType:
    natural = promoted(bounds)[0].dtype
    if natural.kind == "b":
        raise DTypeError("arange: bounds are numbers, not bool")
    return natural


def _wide(dtype: DType) -> DType:
    """What ranges of `dtype` are computed in."""
    return FLOAT64 if dtype.is_floating else INT64


def _progression(counter: Tensor, start: Tensor, step: Tensor, dtype: DType, name: str | None) -> Tensor:
    values = start + cast(counter, start.dtype) * step
    return identity(values, name=name) if values.dtype is dtype else cast(values, dtype, name=name)


def _dynamic_range(start: Any, stop: Any, step: Any, dtype: Any, name: str | None) -> Tensor:
    from graphc.dynamic_sizes import as_bound_size  # builds on this module

    low, high, by = promoted((start, stop, step))
    held = low.dtype if dtype is None else as_dtype(dtype)
    wide = _wide(low.dtype)
    low, high, by = (cast(bound, wide) if bound.dtype is not wide else bound for bound in (low, high, by))
    if wide is FLOAT64:
        length = cast(maximum(ceil((high - low) / by), 0.0), INT64)
    elif not isinstance(step, Tensor | Variable) and int(step) > 0:
        length = maximum((high - low + (int(step) - 1)) // int(step), 0)
    else:
        length = maximum(-((low - high) // by), 0)
    size, witnesses = as_bound_size(length)
    return _progression(iota(*witnesses, shape=(size,)), low, by, held, name)


@explains
def linspace(
    start: Any, stop: Any, num: Any = 50, endpoint: bool = True, dtype: Any = None, name: str | None = None
) -> Tensor:
    """`num` evenly spaced numbers from `start` to `stop`, which is the last (unless `endpoint` is False).

    Shapes: ``-> [num]``; each argument may be a scalar tensor.
    Dtypes: that of float bounds; float32 for Python numbers; float64 for other integers.
    """
    from graphc.dynamic_sizes import as_bound_size  # builds on this module

    low, high = promoted((start, stop))
    natural = low.dtype
    if not natural.is_floating:
        python = all(isinstance(bound, int) for bound in (start, stop))
        natural = FLOAT32 if python else FLOAT64
    held = natural if dtype is None else as_dtype(dtype)
    low, high = cast(low, FLOAT64), cast(high, FLOAT64)
    count, witnesses = as_bound_size(num)
    if isinstance(count, int) and count < 0:
        raise ShapeError(f"linspace: the number of samples is not negative: {num}")
    counter = cast(iota(*witnesses, shape=(count,)), FLOAT64)
    total = cast(_count(counter), FLOAT64)
    parts = maximum(total - 1.0 if endpoint else total, 1.0)
    values = low + counter * ((high - low) / parts)
    if endpoint:
        last = equal(counter, maximum(total - 1.0, 1.0))
        values = where(last, high, values)
    return cast(values, held, name=name)


def _count(vector: Tensor) -> Tensor:
    return squeeze(slice_axis(shape(vector), 0, 0, 1), 0)


@explains
def eye(n: Any, m: Any = None, k: int = 0, dtype: Any = "float32", name: str | None = None) -> Tensor:
    """Ones on the diagonal number `k`, zeros elsewhere.

    Shapes: ``-> [n, m]``; `m` is `n` without it; both may be tensors.
    """
    from graphc.dynamic_sizes import as_bound_size  # builds on this module

    rows, row_witnesses = as_bound_size(n)
    columns, column_witnesses = (rows, row_witnesses) if m is None else as_bound_size(m)
    row = expand_dims(iota(*row_witnesses, shape=(rows,)), 1)
    column = iota(*column_witnesses, shape=(columns,))
    return cast(equal(column, row + _diagonal(k)), as_dtype(dtype), name=name)


@explains
def tril(x: Any, k: int = 0, name: str | None = None) -> Tensor:
    """`x` with zeros above the diagonal number `k` of its last two axes.

    Shapes: ``[..., m, n] -> [..., m, n]``.
    """
    x = as_tensor(x)
    if waits(x):
        return wait("tril", (x,), _diagonal(k), name=name)
    return where(_lower(x, _diagonal(k)), x, _zero(x), name=name)


@explains
def triu(x: Any, k: int = 0, name: str | None = None) -> Tensor:
    """`x` with zeros below the diagonal number `k` of its last two axes.

    Shapes: ``[..., m, n] -> [..., m, n]``.
    """
    x = as_tensor(x)
    if waits(x):
        return wait("triu", (x,), _diagonal(k), name=name)
    return where(_lower(x, _diagonal(k) - 1), _zero(x), x, name=name)


def _triangle(of: Any, x: Any, k: int) -> Any:
    if x.ndim < 2:
        raise ShapeError(f"a triangle has two axes, not the shape {list(x.shape)}")
    return of(x, k)


may_wait(tril, lambda x, k: _triangle(np.tril, x, k))
may_wait(triu, lambda x, k: _triangle(np.triu, x, k))


def _diagonal(k: Any) -> int:
    number = sizes.as_int(k)
    if number is None:
        raise ArgumentError(f"k is the number of a diagonal, not {k!r}")
    return number


def _zero(x: Tensor) -> Tensor:
    return constant(np.array(0, x.dtype.numpy), x.dtype)


def _lower(x: Tensor, k: int) -> Tensor:
    """Whether an element of the last two axes lies on the diagonal number `k` or below it.

    Shapes: ``[..., m, n] -> [m, n]``.
    """
    own = x.result.sizes
    if len(own) < 2:
        raise ShapeError(f"a triangle has two axes, not {x.type}")
    return greater_equal(expand_dims(_along(x, -2), 1) + k, _along(x, -1))


def _along(x: Tensor, axis: int) -> Tensor:
    """``0, 1, 2, ...`` as many as `x` has along `axis`: of `x` itself where a 1 may be broadcast."""
    size = x.result.sizes[axis]
    return iota(*((x,) if sizes.may_broadcast(size) else ()), shape=(size,))
