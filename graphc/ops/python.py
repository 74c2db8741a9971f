"""Steps in Python: the op under `py_func`, and the functions that it calls, known by name."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any

import numpy as np

from graphc.attributes import Shape
from graphc.conversion import as_array
from graphc.errors import ArgumentError, DTypeError, GraphError, ShapeError, UnknownNameError
from graphc.function import Function, bodies
from graphc.op import op
from graphc.sizes import Size
from graphc.tensor import Tensor
from graphc.types import DType, TensorType, TupleType

_functions: dict[str, Callable[..., Any]] = {}
_names: dict[int, str] = {}  # by identity: a function need not be hashable
_lock = Lock()


def register_python(fn: Callable[..., Any], name: str | None = None) -> str:
    """Keeps `fn` under `name` (None: its own, numbered where another function has it); gives the name."""
    with _lock:
        if name is None:
            known = _names.get(id(fn))
            if known is not None:
                return known
            own = f"{getattr(fn, '__module__', '')}.{getattr(fn, '__qualname__', type(fn).__qualname__)}"
            name, number = own, 1
            while name in _functions:
                number += 1
                name = f"{own}#{number}"
        _functions[name] = fn
        _names[id(fn)] = name
        return name


@op("python", effect=True, fallible=True, binds=True)
def call_python(
    *inputs: Tensor, function: str, dtypes: tuple[DType, ...], ranks: tuple[int, ...], shape: Shape
) -> TupleType:
    """What the registered `function` gives for `inputs`: values of `dtypes`.

    `ranks` are their numbers of axes (-1: unknown) and `shape` their sizes, one after another.

    Shapes: ``... -> (...)``, as declared.
    """
    if len(dtypes) != len(ranks) or sum(max(rank, 0) for rank in ranks) != len(shape):
        raise ArgumentError(f"{len(dtypes)} dtypes, ranks {ranks} and sizes {shape} do not fit together")
    return TupleType(tuple(TensorType(d, s) for d, s in zip(dtypes, _shapes(ranks, shape), strict=True)))


def _shapes(ranks: tuple[int, ...], shape: tuple[Size, ...]) -> list[tuple[Size, ...] | None]:
    given = iter(shape)
    return [None if rank < 0 else tuple(next(given) for _ in range(rank)) for rank in ranks]


def _called(
    *inputs: Any, function: str, dtypes: tuple[DType, ...], ranks: tuple[int, ...], shape: tuple[Size, ...]
) -> tuple[Any, ...]:
    fn = _functions.get(function)
    if fn is None:
        raise UnknownNameError(
            f"the graph calls the Python function {function!r}, which this process does not know: "
            f"gc.register_py_func({function!r}, fn) tells it"
        )
    result = fn(*(np.array(x) for x in inputs))
    shapes = _shapes(ranks, shape)
    if not dtypes:
        return ()
    several = isinstance(result, tuple | list)
    if len(dtypes) == 1 and not (several and len(result) == 1 and np.ndim(result) != ranks[0]):
        result = [result]
    elif not several or len(result) != len(dtypes):
        given = len(result) if several else 1
        raise ArgumentError(f"{function} gives {given} results, and {len(dtypes)} are declared")
    return tuple(
        _declared(function, i, value, dtype, shape)
        for i, (value, dtype, shape) in enumerate(zip(result, dtypes, shapes, strict=True))
    )


def _declared(function: str, number: int, value: Any, dtype: DType, shape: Any) -> Any:
    """A copy of `value`, which is as declared. Raises: DTypeError, ShapeError."""
    what = f"result {number} of {function}"
    if isinstance(value, np.ndarray | np.generic) and value.dtype != dtype.numpy:
        raise DTypeError(f"{what} is {value.dtype}, and {dtype} is declared: cast it, or declare that")
    try:
        array, _ = as_array(value, dtype)
    except GraphError as error:
        raise DTypeError(f"{what}: {error}") from None
    if shape is None:
        return array
    fits = array.ndim == len(shape) and all(
        not isinstance(size, int) or n == size for n, size in zip(array.shape, shape, strict=True)
    )
    if not fits:
        declared = TensorType(dtype, shape)
        raise ShapeError(f"{what} has the shape {list(array.shape)}, and {declared} is declared")
    return array


call_python.evaluate(_called)
call_python.gradient(None)


def python_functions(function: Function) -> list[object]:
    """The Python functions that `function` calls, in its bodies too."""
    found: list[object] = []
    pending = [function]
    while pending:
        for node in pending.pop().nodes():
            if node.op is call_python:
                found.append(_functions.get(node.attrs["function"], node.attrs["function"]))
            pending.extend(body for _, body in bodies(node))
    return found
