"""Derivatives beyond the gradient: forward products (`jvp`), Hessians and their products with vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.conversion import as_tensor
from graphc.errors import ArgumentError, DTypeError, ShapeError
from graphc.explanation import explains
from graphc.loops import map_fn
from graphc.ops.elementwise import add, mul
from graphc.ops.filling import zeros_like
from graphc.ops.marker import gradients
from graphc.ops.movement import reshape
from graphc.ops.ranges import eye
from graphc.ops.reduction import sum as reduce_sum
from graphc.sizes import meet, product
from graphc.tensor import Tensor, describe
from graphc.variable import Variable


@explains
def jvp(ys: Any, xs: Any, tangents: Any) -> Any:
    """How `ys` change when `xs` move along `tangents`: ``dy = sum_x (dy/dx) tangent_x``.

    The pullback ``u -> gradients(ys, xs, u)`` is linear in u, and its own pullback is the product
    wanted (Townsend, "A new trick for calculating Jacobian vector products", 2017).

    Args:
        ys: a float tensor or a list of them.
        xs: a tensor or Variable or a list of them.
        tangents: for each x a value of its shape (None: it does not move).

    Returns: one tensor for one y, a list for a list, each of the type of its y; zeros where no x moves it.

    Raises: ArgumentError, DTypeError, ShapeError where tangents do not fit xs.
    """
    moved = _forward([as_tensor(y) for y in _listed(ys)], _listed(xs), _tangents("jvp", xs, tangents))
    return _as_given(ys, moved)


def _forward(
    ys: Sequence[Tensor], xs: Sequence[Tensor | Variable], tangents: Sequence[Tensor | None]
) -> list[Tensor]:
    for y in ys:
        _require_float("jvp", y)
    results = []
    for y in ys:
        seed = zeros_like(y)  # its value does not matter, for what comes of it is linear in it
        pulled = gradients(y, list(xs), grad_ys=seed)
        pairs = [(p, t) for p, t in zip(pulled, tangents, strict=True) if p is not None and t is not None]
        pushed = None
        if pairs:
            pushed = gradients([p for p, _ in pairs], seed, grad_ys=[t for _, t in pairs])[0]
        results.append(zeros_like(y) if pushed is None else pushed)
    return results


@explains
def hessian_vector_product(y: Any, xs: Any, vs: Any) -> Any:
    """``sum_j (d2 y / dx_i dx_j) v_j`` for each x: the slope of ``<gradients(y, xs), vs>``.

    Two reverse sweeps, whatever the sizes are (Pearlmutter, Neural Computation 6, 1994).

    Args:
        y: a float scalar.
        xs: a tensor or Variable or a list of them.
        vs: a value of its shape for each x.

    Returns: one tensor for one x, a list for a list, each of the type of its x; zeros where y is linear.

    Raises: ShapeError unless y is a scalar; ArgumentError, DTypeError, ShapeError where vs do not fit.
    """
    scalar = _scalar("hessian_vector_product", y)
    return _as_given(xs, _products(scalar, _listed(xs), _tangents("hessian_vector_product", xs, vs)))


def _products(y: Tensor, xs: Sequence[Tensor | Variable], vs: Sequence[Tensor | None]) -> list[Tensor]:
    slopes = gradients(y, list(xs))
    total: Tensor | None = None
    for slope, v in zip(slopes, vs, strict=True):
        if slope is not None and v is not None:
            share = reduce_sum(mul(slope, v))
            total = share if total is None else add(total, share)
    if total is None:
        return [zeros_like(x) for x in xs]
    return [made for made in gradients(total, list(xs), unconnected="zero") if made is not None]


@explains
def hessian(y: Any, xs: Any) -> Any:
    """The second derivatives of the scalar `y` towards each of `xs`: ``d2 y / dx[i...] dx[j...]``.

    Row by row: a Hessian-vector product for every unit vector, in one loop, so the graph stays small
    and sizes may be known at the run only.

    Returns: one tensor for one x, a list of each x's own block for a list; zeros where y is linear.

    Shapes: ``[], x.shape -> [*x.shape, *x.shape]``.

    Raises: ShapeError unless y is a scalar; DTypeError unless y and xs are floats.
    """
    scalar = _scalar("hessian", y)
    return _as_given(xs, [_hessian(scalar, x) for x in _listed(xs)])


def _hessian(y: Tensor, x: Tensor | Variable) -> Tensor:
    like = as_tensor(x)
    _require_float("hessian", like)
    shape = like.result.sizes
    count = product(shape)
    (slope,) = gradients(y, x, unconnected="zero")
    assert slope is not None  # zeros were asked for

    def row(unit: Tensor) -> Tensor:
        (made,) = gradients(slope, x, grad_ys=reshape(unit, shape), unconnected="zero")
        assert made is not None  # likewise
        return made

    rows: Tensor = map_fn(row, eye(count, dtype=like.dtype))
    return reshape(rows, (*shape, *shape))


# What the user gave.

_VALUES = (Tensor, Variable, np.ndarray)


def _listed(given: Any) -> list[Any]:
    return list(given) if isinstance(given, list | tuple) else [given]


def _as_given(given: Any, made: list[Tensor]) -> Any:
    """A list where a list was given, else the one tensor."""
    return made if isinstance(given, list | tuple) else made[0]


def _scalar(what: str, y: Any) -> Tensor:
    tensor = as_tensor(y)
    _require_float(what, tensor)
    if tensor.result.shape != ():
        raise ShapeError(f"{what}: y is a scalar, not {tensor.type}; gc.sum gives one")
    return tensor


def _require_float(what: str, tensor: Tensor) -> None:
    if not tensor.dtype.is_floating:
        raise DTypeError(f"{what}: {describe(tensor)} is {tensor.type}, and only floats have a slope")


def _tangents(what: str, xs: Any, given: Any) -> list[Tensor | None]:
    """A tensor of the type of each x; None for an x that does not move, or has no slope."""
    if isinstance(xs, list | tuple):
        given = _listed(given)
    else:  # a list is the value for the one x, unless it holds that value
        held = isinstance(given, list | tuple) and len(given) == 1 and isinstance(given[0], _VALUES)
        xs, given = [xs], given if held else [given]
    if len(xs) != len(given):
        raise ArgumentError(f"{what}: {len(xs)} xs and {len(given)} directions")
    made: list[Tensor | None] = []
    for x, value in zip(xs, given, strict=True):
        if not isinstance(x, Tensor | Variable):
            raise ArgumentError(f"{what}: an x is a tensor or a variable, not {x!r}")
        like = as_tensor(x).result
        if value is None or not like.dtype.is_floating:
            made.append(None)
            continue
        tangent = as_tensor(value) if isinstance(value, Tensor | Variable) else as_tensor(value, like.dtype)
        if tangent.dtype is not like.dtype:
            raise DTypeError(f"{what}: a direction of {tangent.type} for an x of {like}")
        shapes = tangent.result.shape, like.shape
        if None not in shapes and not _fit(*shapes):
            raise ShapeError(f"{what}: a direction of {tangent.type} for an x of {like}")
        made.append(tangent)
    return made


def _fit(x: Any, y: Any) -> bool:
    return len(x) == len(y) and all(meet(a, b) is not None for a, b in zip(x, y, strict=True))
