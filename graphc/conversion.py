"""From what users write where a tensor is wanted (numbers, lists, arrays, variables) to tensors."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from graphc.alignment import new_aligned
from graphc.errors import ArgumentError, DTypeError
from graphc.graph import Graph, current, graph_frame, home_of, placed
from graphc.location import Location, here
from graphc.op import Op
from graphc.tensor import Tensor
from graphc.types import (
    BFLOAT16,
    BOOL,
    FLOAT32,
    FLOAT64,
    INT32,
    INT64,
    UINT64,
    DType,
    TensorType,
    as_dtype,
    promote,
)
from graphc.variable import Variable

_PYTHON_NUMBERS = (bool, int, float)
_DEEPEST = 64  # axes of an array


def as_tensor(value: Any, dtype: Any = None) -> Tensor:
    """`value` as a tensor: itself, a read of a variable, or a new constant.

    Raises: DTypeError, ArgumentError for what is no number or array of numbers.
    """
    if isinstance(value, Tensor):
        return value if dtype is None else _cast(value, as_dtype(dtype))
    if isinstance(value, Variable):
        return as_tensor(value.value(), dtype)
    wanted = None if dtype is None else as_dtype(dtype)
    if isinstance(value, list | tuple) and _holds_tensor(value):
        return _stacked(value, wanted)
    array, natural = as_array(value, wanted)
    return _constant(array, wanted or natural, here())


def _constant(
    array: np.ndarray[Any, Any], dtype: DType, location: Location | None, graph: Graph | None = None
) -> Tensor:
    type, frame = TensorType(dtype, array.shape), current()
    attrs = {"value": array, "dtype": dtype}
    return Tensor(_constant_op(), (), attrs, type, placed(location, frame), None, graph or frame.graph)


@cache
def _constant_op() -> Op:
    from graphc.ops.source import _constant as constant  # ops build on this module

    return constant


def _holds_tensor(value: Any) -> bool:
    try:
        if isinstance(value, list | tuple):
            return any(_holds_tensor(item) for item in value)
    except RecursionError:
        return False  # nested deeper than any array: NumPy refuses it
    return isinstance(value, Tensor | Variable)


def _stacked(value: Sequence[Any], dtype: DType | None) -> Tensor:
    from graphc.ops.joining import stack  # ops build on this module

    return as_tensor(stack(list(value)), dtype)


def as_array(value: Any, dtype: DType | None = None) -> tuple[np.ndarray[Any, Any], DType]:
    """A read-only copy of `value` and its dtype (`dtype`, else its own).

    Python numbers are int32 and float32, int64 where too big; NumPy values keep theirs.

    Raises: DTypeError, ArgumentError.
    """
    natural = dtype or natural_dtype(value)
    if isinstance(value, np.ndarray) and is_masked(value):
        raise ArgumentError(f"masked elements of {brief(value)} have no value: use .filled(...)")
    try:
        if dtype is not None:
            refuse_lossy(value, dtype, exact=False)
        if type(value) is np.ndarray:
            array = new_aligned(value.shape, natural.numpy)
            array[...] = value
        else:
            array = np.array(value, dtype=natural.numpy)
    except (OverflowError, ValueError, TypeError) as error:
        raise DTypeError(f"{brief(value)} does not fit {natural}: {error}") from None
    if natural is BFLOAT16:
        array = round_to_bfloat16(array)
    array.setflags(write=False)
    return array, natural


def natural_dtype(value: Any) -> DType:
    """The dtype that `value` has on its own. Raises: DTypeError, ArgumentError."""
    if isinstance(value, np.ndarray | np.generic):
        if value.dtype.kind not in "biuf":
            raise DTypeError(f"graphc has no dtype for {brief(value)} of dtype {value.dtype}")
        return as_dtype(value.dtype)
    if value is None or isinstance(value, str | bytes):
        raise ArgumentError(f"a number, an array or a tensor is wanted, not {value!r}")
    try:
        array = read(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise ArgumentError(f"{brief(value)} is no array: {error}") from None
    if not isinstance(value, _PYTHON_NUMBERS) and not isinstance(value, list | tuple):
        if array.dtype.kind not in "biuf":
            advice = ": call it" if callable(value) else ""
            raise ArgumentError(f"a number, an array or a tensor is wanted, not {brief(value)}{advice}")
        return as_dtype(array.dtype)
    if array.dtype.kind == "b":
        return BOOL
    if array.dtype.kind == "f":
        return _numpy_leaf(value) or FLOAT32
    if array.dtype.kind in "iu":
        leaf = _numpy_leaf(value)
        if leaf is not None:
            return leaf
        if array.dtype.kind == "u":
            return UINT64
        fits = array.size == 0 or (array.min() >= -(2**31) and array.max() < 2**31)
        return INT32 if fits else INT64
    raise ArgumentError(f"a number, an array or a tensor is wanted, not {brief(value)}")


def read(value: Any) -> np.ndarray[Any, Any]:
    """`value` as an array. Whole numbers below and beyond 2**63, for NumPy a list of floats, are uint64.

    Raises: what NumPy raises where it has no array for it, OverflowError.
    """
    array = np.asarray(value)
    if array.dtype.kind not in "fO" or not _are_ints(value):
        return array
    if array.dtype.kind == "O":
        raise OverflowError("it is too large for any dtype")
    return np.asarray(value, np.uint64)


def _are_ints(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return bool(value) and all(map(_are_ints, value))
    return isinstance(value, int)


def _numpy_leaf(value: Any) -> DType | None:
    """The dtype of a list that holds NumPy values, which keep theirs; None for Python numbers alone."""
    pending, found = [value], None
    while pending:
        item = pending.pop()
        if isinstance(item, np.ndarray | np.generic):
            dtype = as_dtype(item.dtype)
            found = dtype if found is None else promote(found, dtype)
        elif isinstance(item, list | tuple):
            pending.extend(item)
    return found


def is_masked(array: np.ndarray[Any, Any]) -> bool:
    """Whether an element of `array` is masked, and so has no value."""
    # NumPy loads that module when it is asked for, which takes 8 ms: who has such an array has it already.
    if array.__class__ is np.ndarray or "numpy.ma" not in sys.modules:
        return False
    return isinstance(array, np.ma.MaskedArray) and bool(np.ma.getmaskarray(array).any())


def refuse_lossy(value: Any, dtype: DType, exact: bool = True) -> None:
    """Raises DTypeError where `value` as `dtype` would be another number.

    Float to float rounds, but finite to infinite is refused; int to int only if exact, float to int
    never; int to float only if exact, or rounding where `exact` is false.
    """
    if value.__class__ is int and 0 <= value < 128 and dtype is not BOOL:
        return  # all dtypes hold it
    array = read(value)
    kind = array.dtype.kind
    if kind not in "biuf":
        raise DTypeError(f"{brief(value)} is no number")
    if dtype is BOOL and kind != "b":
        raise DTypeError(f"{brief(value)} is not bool")
    if dtype.is_integer:
        if kind == "f":
            raise DTypeError(f"{brief(value)} is float, and {dtype} holds whole numbers: cast it")
        if kind != "b" and array.size:
            info = np.iinfo(dtype.numpy)
            low, high = int(array.min()), int(array.max())
            if low < info.min or high > info.max:
                outside = low if low < info.min else high
                raise DTypeError(f"{outside} is out of range for {dtype}")
    if dtype.is_floating and array.size:
        if kind == "f" and _lies_within(array, dtype):
            return
        with np.errstate(over="ignore", invalid="ignore"):
            converted = to_dtype(array, dtype)
        lost = np.isinf(converted) & np.isfinite(array)
        if kind == "f" and lost.any():
            raise DTypeError(f"{array[lost][0]} is too large for {dtype}")
        if exact and kind in "iu" and array.dtype.itemsize > 1 and not _exact(array, converted):
            raise DTypeError(f"{brief(value)} is not exact as {dtype}")


# What is smaller is finite in a dtype, however it is rounded.
_FINITE = {"float16": 65504.0, "bfloat16": 2.0**127, "float32": 2.0**127}


def _lies_within(array: np.ndarray[Any, Any], dtype: DType) -> bool:
    """Whether all floats are well below the largest one of `dtype`; two walks that make no other array."""
    limit = _FINITE.get(dtype.name, np.inf)
    return bool(-limit < float(array.min()) and float(array.max()) < limit)


def _exact(integers: np.ndarray[Any, Any], converted: np.ndarray[Any, Any]) -> bool:
    limit = 2.0**63 if integers.dtype.kind == "i" else 2.0**64
    wide = converted.astype(np.float64)
    if bool((~np.isfinite(wide) | (wide >= limit)).any()):
        return False
    return bool((wide.astype(integers.dtype) == integers).all())


def to_dtype(array: np.ndarray[Any, Any], dtype: DType) -> np.ndarray[Any, Any]:
    """`array` held as `dtype`, rounding."""
    converted = np.asarray(array, dtype.numpy)
    return round_to_bfloat16(converted) if dtype is BFLOAT16 else converted


_BLOCK = 1 << 15  # elements that stay in a cache


def round_to_bfloat16(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """float32 values rounded to the nearest bfloat16, ties to even, NaN kept."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32).reshape(-1)
    rounded = np.empty_like(bits)
    for start in range(0, bits.size, _BLOCK):
        given, part = bits[start : start + _BLOCK], rounded[start : start + _BLOCK]
        np.right_shift(given, np.uint32(16), out=part)
        part &= np.uint32(1)
        part += np.uint32(0x7FFF)
        part += given
        nan = np.isnan(given.view(np.float32))
        if nan.any():
            part[nan] = given[nan] | np.uint32(0x400000)
        part &= np.uint32(0xFFFF0000)
    return rounded.view(np.float32).reshape(np.shape(array))


def brief(value: Any) -> str:
    """`value` in a message: an array by dtype and shape, anything else in 60 characters."""
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype}{list(value.shape)}"
    try:
        text = repr(value)
    except RecursionError:
        return f"a deep {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


def _cast(tensor: Tensor, dtype: DType) -> Tensor:
    from graphc.ops.elementwise import cast  # ops build on this module

    return tensor if tensor.dtype is dtype else cast(tensor, dtype)


# The operands of one op.


def as_operands(op: Op, values: Sequence[Any], location: Location | None) -> tuple[Tensor, ...]:
    """`values` as the operands of `op`, called at `location`; brought to one dtype where it asks for it."""
    if op.promotes and len(values) == 2:  # tensors of one dtype, or one and a number that takes it, mostly
        pair: list[Any] = [v.value() if v.__class__ is Variable else v for v in values]
        values, (x, y) = pair, pair
        if x.__class__ is Tensor:
            if y.__class__ is Tensor:
                if x.dtype is y.dtype:
                    return x, y
            elif _takes(x, y):
                return x, _scalar(y, x, location)
        elif y.__class__ is Tensor and _takes(y, x):
            return _scalar(x, y, location), y
    elif len(values) == 1 and values[0].__class__ is Tensor:
        return tuple(values)
    home = home_of(values)
    if home is None:
        return _converted(op, values)
    with graph_frame(home):
        return _converted(op, values)


def _converted(op: Op, values: Sequence[Any]) -> tuple[Tensor, ...]:
    if not op.promotes:
        return tuple([v if v.__class__ is Tensor else as_tensor(v) for v in values])
    if op.variadic or len(op.promotes) == len(values):
        return promoted(values)
    chosen = [i for i, name in enumerate(op.operands) if name in op.promotes]
    together = dict(zip(chosen, promoted([values[i] for i in chosen]), strict=True))
    return tuple(together[i] if i in together else as_tensor(v) for i, v in enumerate(values))


def _takes(tensor: Tensor, number: Any) -> bool:
    """Whether `number` is a Python number that takes the dtype of `tensor` without a second thought."""
    kind = number.__class__
    if kind is not float and kind is not int:
        return False
    dtype = tensor.dtype
    if dtype is FLOAT32 or dtype is FLOAT64:
        return bool(-3e38 < number < 3e38)
    return kind is int and dtype.is_integer and 0 <= number < 128


def _scalar(number: float, beside: Tensor, location: Location | None) -> Tensor:
    array = np.array(number, beside.dtype.numpy)
    array.setflags(write=False)
    return _constant(array, beside.dtype, location, home_of((beside,)))


def promoted(values: Sequence[Any]) -> tuple[Tensor, ...]:
    """`values` as tensors of one dtype; Python numbers, and lists of them, take the others' where they can.

    Raises: DTypeError where dtypes do not mix.
    """
    strong: DType | None = None
    alike = True
    for value in values:
        if value.__class__ is Tensor:
            dtype = value.dtype
        elif _is_weak(value):
            alike = False
            continue
        else:
            alike = False
            dtype = value.dtype if isinstance(value, Variable) else _strong_dtype(value)
        if strong is None or strong is dtype:
            strong = dtype
        else:
            strong, alike = promote(strong, dtype), False
    if alike:
        return tuple(values)
    target = strong
    for value in values:
        if _is_weak(value):
            target = _with_number(target, strong, value)
    return tuple(
        as_tensor(value, target)
        if isinstance(value, list | tuple) or _is_weak(value)
        else _cast(as_tensor(value), target or as_tensor(value).dtype)
        for value in values
    )


def _is_weak(value: Any) -> bool:
    """Whether `value` is a Python number or a list of them, which takes the dtype of what it meets."""
    pending = [(value, 0)]
    while pending:
        item, depth = pending.pop()
        if isinstance(item, list | tuple):
            if depth > _DEEPEST:  # no array is so deep; the list may hold itself
                return False
            pending.extend((inner, depth + 1) for inner in item)
        elif not isinstance(item, _PYTHON_NUMBERS) or isinstance(item, np.generic):
            return False
    return True


def _strong_dtype(value: Any) -> DType:
    if isinstance(value, list | tuple) and _holds_tensor(value):
        return as_tensor(value).dtype
    return natural_dtype(value)


def _with_number(target: DType | None, strong: DType | None, number: Any) -> DType:
    own = natural_dtype(number)
    if target is None:
        return own
    if strong is not None and ("biuf".index(_kind(own)) <= "biuf".index(_kind(strong))):
        return target
    if strong is None and target.is_floating != own.is_floating:  # Python numbers alone, as 1 and 0.5
        return own if own.is_floating else target
    return promote(target, own)


def _kind(dtype: DType) -> str:
    return "i" if dtype.kind == "u" else dtype.kind
