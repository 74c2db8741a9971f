"""Random tensors: `uniform`, `normal` and what follows from them.

A draw depends on the graph's seed, the op's seed or its name path, the session's seed and the run
count, on nothing else: adding another op, a pass, a thread or a backend changes no bit of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.conversion import as_tensor
from graphc.dynamic_sizes import after_all, as_sizes, late_vector
from graphc.errors import ArgumentError, DTypeError, ShapeError
from graphc.explanation import explains
from graphc.graph import as_seed, check_name, current
from graphc.op import Op
from graphc.ops import add, argmax, argsort, expand_dims, gather, log, multiply, prod, reshape
from graphc.ops.comparison import equal, less, where
from graphc.ops.elementwise import cast
from graphc.ops.sampling import random_bits, random_normal, random_truncated_normal, random_uniform
from graphc.ops.source import outer_run_state
from graphc.philox import derive_key
from graphc.sizes import as_int
from graphc.tensor import Tensor
from graphc.types import UINT64, DType, as_dtype


@explains
def uniform(
    shape: Any,
    dtype: Any = "float32",
    seed: int | None = None,
    minval: Any = 0,
    maxval: Any = None,
    name: str | None = None,
) -> Tensor:
    """Uniform in ``[minval, maxval)``; floats by default in ``[0, 1)``.

    For an integer `dtype` the bounds are Python ints and `maxval` must be given.

    Shapes: ``-> shape``; sizes may be tensors, as may the whole shape.

    Raises: DTypeError for bool; ArgumentError for bounds without a number between them.
    """
    wanted = as_dtype(dtype)
    if wanted.is_integer:
        return _whole_numbers(shape, wanted, seed, minval, maxval, name)
    upper = 1 if maxval is None else maxval
    if _is_number(minval, 0) and _is_number(upper, 1):
        return _draw(random_uniform, shape, wanted, seed, name, is_result=True)
    top = as_tensor(upper, wanted)
    drawn = _draw(random_uniform, shape, wanted, seed, name) * (top - minval) + minval
    return where(equal(drawn, top), minval, drawn, name=name)  # it was rounded up


def _is_number(given: Any, number: int) -> bool:
    return isinstance(given, int | float) and given == number


def _whole_numbers(
    shape: Any, dtype: DType, seed: int | None, low: Any, high: Any, name: str | None
) -> Tensor:
    least, past = as_int(low), as_int(high)
    if least is None or past is None or not 0 < past - least < 1 << 32:
        raise ArgumentError(
            "uniform: whole numbers need ints minval < maxval less than 2**32 apart, "
            f"not {low!r} and {high!r}"
        )
    as_tensor(least, dtype), as_tensor(past - 1, dtype)  # both must fit
    bits = _draw(random_bits, shape, UINT64, seed, name)
    return cast(cast(bits % as_tensor(past - least, UINT64), "int64") + least, dtype, name=name)


@explains
def normal(
    shape: Any,
    dtype: Any = "float32",
    seed: int | None = None,
    mean: Any = 0,
    stddev: Any = 1,
    name: str | None = None,
) -> Tensor:
    """Normal with the given mean and standard deviation.

    Shapes: ``-> shape``; sizes may be tensors, as may the whole shape.

    Raises: DTypeError unless `dtype` is a float.
    """
    return _scaled(random_normal, shape, dtype, seed, mean, stddev, name)


@explains
def truncated_normal(
    shape: Any,
    dtype: Any = "float32",
    seed: int | None = None,
    mean: Any = 0,
    stddev: Any = 1,
    name: str | None = None,
) -> Tensor:
    """Normal, conditioned on lying within two standard deviations of the mean.

    Shapes: ``-> shape``; sizes may be tensors, as may the whole shape.

    Raises: DTypeError unless `dtype` is a float.
    """
    return _scaled(random_truncated_normal, shape, dtype, seed, mean, stddev, name)


def _scaled(
    op: Op, shape: Any, dtype: Any, seed: int | None, mean: Any, stddev: Any, name: str | None
) -> Tensor:
    is_scaled, is_shifted = not _is_number(stddev, 1), not _is_number(mean, 0)
    draw = _draw(op, shape, as_dtype(dtype), seed, name, is_result=not (is_scaled or is_shifted))
    if is_scaled:
        draw = multiply(draw, stddev, name=None if is_shifted else name)
    return add(draw, mean, name=name) if is_shifted else draw


@explains
def bernoulli(
    shape: Any, p: Any = 0.5, dtype: Any = "bool", seed: int | None = None, name: str | None = None
) -> Tensor:
    """True (1 where `dtype` is a number) with probability `p`, a number or a tensor that broadcasts.

    Shapes: ``-> shape``.

    Raises: ArgumentError for a number outside of ``[0, 1]``.
    """
    if isinstance(p, int | float) and not 0 <= p <= 1:
        raise ArgumentError(f"bernoulli: a probability lies between 0 and 1, not {p}")
    chance = as_tensor(p)
    if not chance.dtype.is_floating:
        chance = cast(chance, "float32")
    return cast(less(_draw(random_uniform, shape, chance.dtype, seed, name), chance), dtype, name=name)


@explains
def categorical(
    logits: Any, samples: int | None = None, seed: int | None = None, name: str | None = None
) -> Tensor:
    """`samples` draws from the classes whose log-probabilities, up to a constant, are `logits`; None: one.

    The class of a draw is where ``logits - log(-log(u))`` is largest (Gumbel's trick), u uniform.

    Shapes: ``[..., classes] -> [..., samples]``, int64; without `samples`, ``[..., classes] -> [...]``.

    Raises: ShapeError for a scalar; DTypeError unless the logits are floats.
    """
    scores = as_tensor(logits)
    if not scores.result.sizes:
        raise ShapeError(f"categorical: logits have an axis of classes, and {scores.type} has none")
    if not scores.dtype.is_floating:
        raise DTypeError(f"categorical: logits are floats, not {scores.dtype}")
    *outer, classes = scores.result.sizes
    count = () if samples is None else (samples,)
    draw = 1 - _draw(random_uniform, (*outer, *count, classes), scores.dtype, seed, name)
    asked = scores if samples is None else expand_dims(scores, -2)
    return argmax(asked - log(-log(draw)), axis=-1, name=name)


@explains
def permutation(n: Any, seed: int | None = None, name: str | None = None) -> Tensor:
    """The numbers ``0 .. n - 1`` in a random order; of a tensor with axes, its rows.

    `n` is an int, an integer scalar tensor, or a tensor with at least one axis.

    Shapes: ``-> [n]``, int64; ``[n, ...] -> [n, ...]``.
    """
    rows = as_tensor(n) if not isinstance(n, int) else None
    if rows is None or not rows.result.sizes:
        return argsort(_draw(random_bits, [n], UINT64, seed, name), name=name)
    order = argsort(_draw(random_bits, [rows.result.sizes[0]], UINT64, seed, name))
    return gather(rows, order, name=name)


def _draw(
    op: Op, shape: Any, dtype: DType, seed: int | None, name: str | None, is_result: bool = False
) -> Tensor:
    """A draw with its own key; the sizes of `shape` may be tensors. `name` is that of what is made of it."""
    if isinstance(shape, float | bool) or shape is None:
        raise ArgumentError(f"a shape is a sequence of sizes, not {shape!r}")
    label = name if is_result else None
    if (vector := late_vector(shape)) is not None:  # as many elements in a row: the bits are the same
        return reshape(_draw(op, [prod(vector)], dtype, seed, name), vector, name=label)
    listed, witnesses = as_sizes(shape)
    _refuse_negative(listed)
    state = after_all(outer_run_state(), witnesses)
    return op(state, key=_key(seed, name), shape=listed, dtype=dtype, name=label)


def _refuse_negative(listed: Sequence[Any]) -> None:
    for size in listed:
        if isinstance(size, int) and size < 0:
            raise ShapeError(f"a size is not negative: {size}")


def _key(seed: int | None, name: str | None) -> int:
    """The key of a random op: by its seed, or by its name path and its number under it."""
    frame = current()
    root = frame.graph.root
    seed = as_seed(seed)
    if seed is not None:
        return derive_key("seed", root.seed if root.is_seeded else 0, seed)
    if name is not None:
        check_name(name)
    path = frame.scope + (name or "")
    return derive_key("path", root.seed, path, root.number_random_op(path))
