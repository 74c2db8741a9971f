"""What the user computes in a way of their own: `custom_gradient`, and `py_func`, a step in Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps
from typing import Any

from graphc import nesting, sizes
from graphc.conversion import as_tensor
from graphc.errors import ArgumentError, DTypeError, ShapeError
from graphc.explanation import explains
from graphc.function import topological
from graphc.graph import current
from graphc.ops.override import override_gradient
from graphc.ops.python import call_python, register_python
from graphc.ops.state import pick, variable
from graphc.tensor import Tensor
from graphc.tracing import captures, close, place_of, trace
from graphc.types import TensorType, as_dtype, as_shape
from graphc.variable import Variable


def custom_gradient(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorates ``function(*xs) -> (ys, grad_fn)`` into a function of xs that gives ys.

    The gradient of ys is what ``grad_fn(*dys)`` makes of their cotangents: one value for each of xs
    (None: no gradient), alone where there is one x. Both functions are called once at definition, so
    `grad_fn` is part of the graph: it shows, is saved, and is itself differentiated for higher orders.
    It may use any tensor and variable, those made in `function` too, and steps in Python. Towards what
    the two use beside xs there is no gradient through ys. `gc.check_gradient` compares with finite
    differences.

        @gc.custom_gradient
        def log1pexp(x):
            e = gc.exp(x)
            return gc.log(1 + e), lambda dy: dy * (1 - 1 / (1 + e))

    Keyword arguments are handed on as they are.

    Raises: ArgumentError, DTypeError, ShapeError where what the functions give does not fit.
    """
    if not callable(function):
        raise ArgumentError(f"custom_gradient: a function is wanted, not {function!r}")

    @explains
    @wraps(function)
    def overridden(*xs: Any, **kwargs: Any) -> Any:
        points = [as_tensor(x) for x in xs]
        result = function(*points, **kwargs)
        if not isinstance(result, tuple) or len(result) != 2 or not callable(result[1]):
            raise ArgumentError(
                f"custom_gradient: the function gives (ys, grad_fn), not {result!r}; "
                f"it is {place_of(function)}"
            )
        nest, grad_fn = result
        values = [as_tensor(y) for y in nesting.flatten(nest)]
        made = _overridden(points, values, grad_fn)
        return nesting.rebuild_nest(nest, made)

    return overridden


def _overridden(
    points: Sequence[Tensor], values: Sequence[Tensor], grad_fn: Callable[..., Any]
) -> list[Tensor]:
    def slopes(*dys: Tensor) -> list[Tensor | None]:
        return _fitting(points, grad_fn(*dys), grad_fn)

    traced = trace(slopes, [y.result for y in values], tuple(values))
    captured, operations = captures([traced])
    used = topological(traced.outputs)
    if operations or not all(effect.op is call_python and effect in used for effect in traced.effects):
        raise ArgumentError(
            "custom_gradient: grad_fn has effects, and a gradient has none but the steps in Python that "
            f"it is made of; it is {place_of(grad_fn)}"
        )
    reads = [n for n in used if n.op is variable and n.owner is traced.graph]
    around = [node for node in captured if node not in points]
    inner = close(replace(traced, inputs=(), effects=()), [*points, *around, *reads])
    made = override_gradient(
        *(*values, *points, *around, *(replace(read, owner=current().graph) for read in reads)),
        values=len(values),
        slopes=tuple(len(values) + i for i, slope in enumerate(traced.nest) if slope is not None),
        backward=replace(inner, inputs=(*inner.inputs, *traced.inputs)),
    )
    return [pick(made, index=i) for i in range(len(values))]


def _fitting(points: Sequence[Tensor], given: Any, grad_fn: Callable[..., Any]) -> list[Tensor | None]:
    """What grad_fn gives as a tensor, or None, for each of `points`."""
    listed = list(given) if isinstance(given, list | tuple) else [given]
    if len(listed) != len(points):
        raise ArgumentError(
            f"custom_gradient: grad_fn gives {len(listed)} values for {len(points)} inputs; "
            f"it is {place_of(grad_fn)}"
        )
    slopes: list[Tensor | None] = []
    for x, value in zip(points, listed, strict=True):
        if value is None or not x.dtype.is_floating:
            slopes.append(None)
            continue
        slope = as_tensor(value) if isinstance(value, Tensor | Variable) else as_tensor(value, x.dtype)
        if slope.dtype is not x.dtype:
            raise DTypeError(
                f"custom_gradient: grad_fn gives {slope.type} for {x.type}; it is {place_of(grad_fn)}"
            )
        if slope.result.shape != () and not _alike(slope.result, x.result):
            raise ShapeError(
                f"custom_gradient: grad_fn gives {slope.type} for {x.type}; it is {place_of(grad_fn)}"
            )
        slopes.append(slope)
    return slopes


def _alike(x: TensorType, y: TensorType) -> bool:
    if x.shape is None or y.shape is None:
        return True
    return len(x.shape) == len(y.shape) and all(
        sizes.meet(a, b) is not None for a, b in zip(x.shape, y.shape, strict=True)
    )


@explains
def py_func(fn: Callable[..., Any], inputs: Any, types: Any, name: str | None = None) -> Any:
    """What the Python function ``fn(*arrays)`` gives at the run for the arrays of `inputs`.

    It runs whenever it is fetched or depended upon, in a body in every step; it gets copies, and its
    exceptions keep their type. There is no gradient (`custom_gradient` gives one). The graph holds the
    name of `fn`, not `fn`: it cannot be saved, and its text is understood where the same function is
    registered (`register_py_func`). A function once used is kept for the life of the process.

    Args:
        fn: takes NumPy arrays; gives an array, or a sequence of them where several types are declared.
        inputs: a tensor or a list of them.
        types: of the results, alone or in a list: a dtype (any shape), a pair (dtype, shape) with None
            for an unknown size, or a tensor that is alike.
        name: for the result, where it is alone.

    Returns: a tensor, or a list of them where `types` is a list. At the run DTypeError and ShapeError
    say where a result is not what was declared.
    """
    if not callable(fn):
        raise ArgumentError(f"py_func: a function is wanted, not {fn!r}")
    single = not isinstance(types, list) and not (isinstance(types, tuple) and not _is_pair(types))
    declared = [_declared(t) for t in ([types] if single else types)]
    operands = [as_tensor(x) for x in (inputs if isinstance(inputs, list | tuple) else [inputs])]
    made = call_python(
        *operands,
        function=register_python(fn),
        dtypes=tuple(type.dtype for type in declared),
        ranks=tuple(-1 if type.shape is None else len(type.shape) for type in declared),
        shape=tuple(size for type in declared for size in type.shape or ()),
    )
    picks = [pick(made, index=i, name=name if single else None) for i in range(len(declared))]
    return picks[0] if single else picks


def register_py_func(name: str, fn: Callable[..., Any]) -> None:
    """Makes `fn` what a graph means that was read from a text and calls the function `name`."""
    register_python(fn, name)


def _is_pair(given: tuple[Any, ...]) -> bool:
    return len(given) == 2 and (given[1] is None or isinstance(given[1], list | tuple))


def _declared(given: Any) -> TensorType:
    if isinstance(given, Tensor):
        return given.result
    if isinstance(given, TensorType):
        return given
    if isinstance(given, tuple) and _is_pair(given):
        return TensorType(as_dtype(given[0]), as_shape(given[1]))
    return TensorType(as_dtype(given), None)
