"""What rules ask of nodes: the number that a constant stands for, whether shapes surely agree."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from graphc.op import Op
from graphc.sizes import Size, maximum
from graphc.tensor import Tensor
from graphc.types import BFLOAT16, DType
from passes.rewrite import Match
from passes.simplification.vocabulary import broadcast_to, constant, expand_dims, reshape, squeeze

Number = float | int | bool
RESHAPES = frozenset((reshape, expand_dims, squeeze))  # the same elements in the same order
NUMBERS = (constant, broadcast_to, *RESHAPES)  # what `number` looks at and through


def number(node: Tensor) -> Number | None:
    """The number that every element of `node` is, where it is a constant or a broadcast one."""
    while node.op is broadcast_to or node.op in RESHAPES:
        node = node.inputs[0]
    if node.op is not constant:
        return None
    value = node.attrs["value"]
    if value.size == 1:
        return value.item()  # type: ignore[no-any-return]  # as a Python number
    if value.size == 0 or value.size > 16:
        return None
    first = value.flat[0]
    if value.tobytes() != np.full_like(value, first).tobytes():
        return None
    return first.item()  # type: ignore[no-any-return]  # as a Python number


def is_number(node: Tensor, wanted: Number) -> bool:
    """Whether every element of `node` is `wanted`, the sign of zero included."""
    found = number(node)
    if found is None:
        return False
    return found == wanted and math.copysign(1.0, found) == math.copysign(1.0, wanted)


def neutral_zero(dtype: DType) -> Number:
    """What adds nothing: 0, and -0.0 for floats, since ``-0.0 + 0.0`` is 0.0."""
    return -0.0 if dtype.is_floating else 0


def scalar(value: Any, dtype: DType) -> Tensor:
    """`value` as a constant without axes; integers wrap."""
    with np.errstate(all="ignore"):
        if dtype.is_integer:
            bits = 8 * dtype.itemsize
            value = (int(value) + (1 << bits - 1 if dtype.kind == "i" else 0)) % (1 << bits) - (
                1 << bits - 1 if dtype.kind == "i" else 0
            )
        return constant(value=_frozen(np.array(value, dtype.numpy)), dtype=dtype)


def _frozen(array: Any) -> Any:
    array.setflags(write=False)
    return array


def vector(values: Any) -> Tensor:
    """`values` as a constant of int64."""
    from graphc.types import INT64

    return constant(value=_frozen(np.array(values, np.int64)), dtype=INT64)


def like(node: Tensor, value: Number) -> Tensor:
    """`value` everywhere, in the shape and dtype of `node`."""
    return spread(scalar(value, node.dtype), node)


def spread(made: Tensor, node: Tensor) -> Tensor:
    """`made` in the shape of `node`."""
    shape = node.result.sizes
    return made if made.result.sizes == shape else broadcast_to(made, shape=shape)


def alike(match: Match, made: Tensor) -> Tensor | None:
    """`made` where it has the type of the node; sizes that only seem alike stay as they are."""
    return made if made.type == match.node.type else None


def fits(operand: Tensor, node: Tensor) -> bool:
    """Whether `operand` surely broadcasts to the shape of `node`: no size is taken as equal."""
    own, whole = operand.result.sizes, node.result.sizes
    return len(own) <= len(whole) and all(
        size in (1, wanted) for size, wanted in zip(own[::-1], whole[::-1], strict=False)
    )


def instead(match: Match, kept: Tensor, *gone: Tensor) -> Tensor | None:
    """`kept` in place of the node, where it is of its type and `gone` may be left out."""
    node = match.node
    if kept.type != node.type:
        return None
    return kept if all(fits(x, node) and match.is_droppable(x) for x in gone) else None


def constant_operand(node: Tensor) -> Number | None:
    """The number that the last operand of `node` is, where leaving it out leaves no size unchecked."""
    last = node.inputs[-1]
    return number(last) if fits(last, node) else None


def everywhere(match: Match, value: Number) -> Tensor | None:
    """`value` everywhere in place of the node, where its operands may be left out."""
    node = match.node
    if not all(fits(x, node) and match.is_droppable(x) for x in node.inputs):
        return None
    return like(node, value)


def operand_of(node: Tensor, op: Op) -> Tensor | None:
    """The operand of `node`, where it is of `op`, which has one."""
    return node.inputs[0] if node.op is op else None


def is_at_least(x: Size, y: Size) -> bool:
    """Whether ``x >= y`` for every value of the symbols, as far as sizes tell."""
    return maximum(x - y, 0) == x - y


def is_power_of_two(value: Number) -> bool:
    """Whether `value` is 1, 2, 4, ... or a half, a quarter, ..."""
    return math.isfinite(value) and value > 0 and math.frexp(value)[0] == 0.5


def exact_inverse(value: Number, dtype: DType) -> float | None:
    """``1 / value`` where `value` is a power of two, of either sign, and the inverse a normal number."""
    if not is_power_of_two(abs(value)):
        return None
    inverse = 1.0 / value
    limits = np.finfo(np.float32 if dtype is BFLOAT16 else dtype.numpy)
    return inverse if float(limits.tiny) <= abs(inverse) <= float(limits.max) else None


def swapped(axes: tuple[int, ...]) -> bool:
    """Whether `axes` swap the last two and keep the others."""
    rank = len(axes)
    return rank >= 2 and axes == (*range(rank - 2), rank - 1, rank - 2)


def is_whole(values: Iterable[Size]) -> bool:
    """Whether all `values` are numbers."""
    return all(isinstance(value, int) for value in values)


def is_same_number(x: Tensor, y: Tensor) -> bool:
    """Whether two constants stand for one number, NaN aside."""
    a, b = number(x), number(y)
    return a is not None and b is not None and is_number(x, b) and x.dtype is y.dtype
