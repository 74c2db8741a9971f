"""State and order: reads, assignments, `after`, `group`; printing and checking while running."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from graphc import sizes
from graphc.attributes import Shape
from graphc.conversion import as_tensor
from graphc.errors import ArgumentError, CheckError, DTypeError, ShapeError
from graphc.explanation import explains
from graphc.op import op
from graphc.operators import Operators
from graphc.tensor import Tensor
from graphc.types import BOOL, OPERATION, DType, TensorType, TupleType


@op("source")
def variable(*after: Tensor, name: str, dtype: DType, shape: Shape) -> TensorType:
    """A read of the variable `name`: as it was when the run began, or as an assignment in `after` left it.

    Shapes: ``-> shape``.
    """
    return TensorType(dtype, shape)


# No slope of its own: what an assignment made of it comes in when passes put values in place of reads.
variable.gradient(lambda g, out, *after, **_: (None,) * len(after))


@op("state", effect=True)
def assign(x: Tensor, *, variable: str, dtype: DType, shape: Shape) -> TensorType:
    """Gives `variable` the value `x` when the run ends well; the result is `x`.

    Shapes: ``shape -> shape``.
    Raises: ShapeError, DTypeError where `x` does not fit the variable.
    """
    if x.dtype is not dtype:
        raise DTypeError(f"variable {variable!r} holds {dtype}, not {x.dtype}")
    given, declared = x.result, TensorType(dtype, shape)
    if given.shape is None:
        return declared
    if len(given.shape) != len(shape) or any(
        sizes.meet(a, b) is None for a, b in zip(given.shape, shape, strict=True)
    ):
        raise ShapeError(f"variable {variable!r} is {declared}, and {given} does not fit")
    return declared


assign.evaluate(lambda x, **_: x)
assign.gradient(lambda g, out, x, **_: (g,))


@op("state")
def after(x: Tensor, *dependencies: Tensor) -> TensorType:
    """`x`, once `dependencies` have run.

    Shapes: ``[...], ... -> [...]``.
    """
    return x.result


after.evaluate(lambda x, *_: x)
after.gradient(lambda g, out, x, *dependencies: (g, *(None for _ in dependencies)))
after.example("f64[3]", "i64[2]")


@op("state")
def _group(*dependencies: Tensor) -> TupleType:
    """An operation that is done when all of `dependencies` are.

    Shapes: ``... ->`` nothing.
    """
    return OPERATION


_group.evaluate(lambda *_: ())
_group.gradient(None)
_group.example("f64[3]", "i64[]", smooth=False)


@explains
def group(*operations: Any, name: str | None = None) -> Tensor:
    """An operation that is done when all of `operations` (tensors, operations, lists of them) are.

    Without any it does nothing.

    Shapes: ``... ->`` nothing; fetching it gives None.
    Raises: ArgumentError for what is no tensor, operation or variable.
    """
    flat: list[Tensor] = []
    pending = [*operations][::-1]
    while pending:
        item = pending.pop()
        if isinstance(item, list | tuple):
            pending.extend(reversed(item))
        elif isinstance(item, Operators):
            flat.append(as_tensor(item))
        else:
            raise ArgumentError(f"a group is of tensors and operations, not {item!r}")
    return _group(*flat, name=name)


@op("state", effect=True, fallible=True)
def _check(condition: Tensor, *data: Tensor, message: str) -> TensorType:
    """`condition`, which must hold everywhere; `data` are shown where it does not.

    Shapes: ``[...], ... -> [...]``.
    """
    if condition.dtype is not BOOL:
        raise DTypeError(f"a check is of bool, not {condition.dtype}")
    return condition.result


def _checked(condition: Any, *data: Any, message: str) -> Any:
    if not np.all(condition):
        shown = "".join(f"; {np.array2string(np.asarray(d), threshold=16)}" for d in data)
        raise CheckError(f"{message}{shown}")
    return condition


_check.evaluate(_checked)
_check.gradient(None)
_check.example(np.array([True, True]), message="never", smooth=False)


@explains
def check(cond: Any, message: str = "check failed", data: Any = ()) -> Tensor:
    """Ends the run with a CheckError that says `message` unless `cond` holds everywhere.

    Like every operation it runs when fetched or depended upon; nothing is committed when it fails.

    Shapes: ``[...] -> [...]``, bool; the result is the condition.
    """
    if not isinstance(message, str):
        raise ArgumentError(f"the message of a check is a text, not {message!r}")
    told = data if isinstance(data, list | tuple) else (data,)
    return _check(cond, *told, message=message)


@op("state", effect=True)
def _print(*values: Tensor, message: str) -> TupleType:
    """Prints `message` and the values to standard error when it runs.

    Shapes: ``... ->`` nothing.
    """
    return OPERATION


def _printed(*values: Any, message: str) -> tuple[()]:
    text = " ".join([message, *(np.array2string(np.asarray(v), threshold=64) for v in values)])
    sys.stderr.write(text.strip() + "\n")
    return ()


_print.evaluate(_printed)
_print.gradient(None)
_print.example("f64[2]", message="values:", smooth=False)


@explains
def print(*values: Any, message: str = "", name: str | None = None) -> Tensor:
    """An operation that prints `message` and `values` to standard error when it runs.

    Texts among `values` become part of the message.

    Shapes: ``... ->`` nothing; run it by fetching it or under `control_dependencies`.
    """
    texts = [v for v in values if isinstance(v, str)]
    tensors = [v for v in values if not isinstance(v, str)]
    return _print(*tensors, message=" ".join([message, *texts]).strip(), name=name)


@op("state")
def pick(x: Tensor, *, index: int) -> TensorType:
    """The result number `index` of an op with several.

    Shapes: ``(..., [...], ...) -> [...]``.
    """
    if not isinstance(x.type, TupleType):
        raise ArgumentError(f"only an op with several results is picked from, not {x.type}")
    if not 0 <= index < len(x.type.elements):
        raise ArgumentError(f"there is no result {index} in {x.type}")
    return x.type.elements[index]


pick.evaluate(lambda x, index: x[index])
pick.gradient(None)  # the sweep hands its cotangent to the op it picks from


@op("state", fallible=True, binds=True)
def extent(length: Tensor, *, shape: Shape) -> TensorType:
    """Binds the one size in `shape` to the value of `length`, for shapes given by tensors.

    Shapes: ``[] -> [n]`` of bool, all True and stored once.
    Raises: ShapeError at the run where `length` is negative.
    """
    if length.result.shape != () or not length.dtype.is_integer:
        raise ShapeError(f"a size is a whole number, not {length.type}")
    return TensorType(BOOL, shape)


def _extent(length: Any, shape: Any) -> Any:
    if length < 0:
        raise ShapeError(f"a size is not negative: {int(length)}")
    return np.broadcast_to(np.True_, (int(length),))


extent.evaluate(_extent)
extent.gradient(None)
