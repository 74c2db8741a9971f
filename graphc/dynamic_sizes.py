"""Shape arguments that hold tensors: into sizes, and nodes that bind those sizes at the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from itertools import zip_longest
from operator import or_
from typing import Any

import numpy as np

from graphc import sizes
from graphc.conversion import as_tensor
from graphc.errors import ArgumentError, DTypeError, ShapeError
from graphc.function import topological
from graphc.ops.state import after, extent
from graphc.sizes import Size, SizeExpr
from graphc.tensor import Tensor
from graphc.types import INT64, TensorType, as_size
from graphc.variable import Variable

Sizes = tuple[Size, ...]
Witnesses = tuple[Tensor, ...]


def as_sizes(shape: Any) -> tuple[Sizes, Witnesses]:
    """The sizes that a user's shape argument means, and the nodes that bind those known at the run only.

    Args:
        shape: ints, names and int scalars that are tensors, in a list or tuple; one of them alone; or
            an int vector that is a tensor. Negative ints are left to the caller.

    Raises: ShapeError, DTypeError, ArgumentError for what is no shape.
    """
    if isinstance(shape, Variable):
        shape = shape.value()
    listed = _listed(shape)
    found: list[Size] = []
    witnesses: list[Tensor] = list(_binding(shape, listed)) if isinstance(shape, Tensor) else []
    for item in listed:
        size, witness = as_bound_size(item)
        found.append(size)
        witnesses.extend(witness)
    return tuple(found), tuple(witnesses)


def late_vector(shape: Any) -> Tensor | None:
    """`shape`, where it is a vector of whole numbers of a length that only the run knows."""
    vector = shape.value() if isinstance(shape, Variable) else shape
    if not isinstance(vector, Tensor) or not isinstance(vector.type, TensorType):
        return None
    if not vector.dtype.is_integer:
        return None
    sizes_of = vector.result.shape
    late = sizes_of is None or (len(sizes_of) == 1 and not isinstance(sizes_of[0], int))
    return vector if late else None


def _listed(shape: Any) -> list[Any]:
    if isinstance(shape, Variable):
        shape = shape.value()
    if isinstance(shape, np.ndarray):
        shape = shape.tolist()
    if isinstance(shape, Tensor):
        return _elements(shape)
    if isinstance(shape, int | str | SizeExpr) or sizes.as_int(shape) is not None:
        return [shape]
    if isinstance(shape, Sequence):
        return list(shape)
    raise ArgumentError(f"a shape is a sequence of sizes, not {shape!r}")


def with_rest(shape: Any, x: Tensor) -> Any:
    """`shape`, in which a -1 that only the run knows is what the other sizes leave of the elements of `x`."""
    from graphc.ops.comparison import equal, where  # these take shapes too
    from graphc.ops.sizing import element_count
    from graphc.ops.sizing import size as size_of

    if not is_dynamic(shape):
        return shape
    listed = _listed(shape)
    late = _late(listed)
    if not late or -1 in [item for item in listed if isinstance(item, int | np.integer)]:
        return listed
    early, witnesses = as_sizes([item for i, item in enumerate(listed) if i not in late])
    is_rest = {i: equal(item, -1) for i, item in late.items()}
    others: Any = element_count(*witnesses, shape=early)
    for i, item in late.items():
        others = others * where(is_rest[i], 1, item)
    rest = size_of(x) // where(reduce(or_, is_rest.values()), others, 1)
    return [where(is_rest[i], rest, late[i]) if i in late else item for i, item in enumerate(listed)]


def to_end(size: Any, begin: Any, x: Tensor) -> Any:
    """`size`, in which a -1 that only the run knows is what `x` has from `begin` on."""
    from graphc.ops.comparison import equal, where  # these take shapes too
    from graphc.ops.sizing import shape

    if not is_dynamic(size):
        return size
    listed, starts = _listed(size), _listed(begin)
    if len(listed) != len(starts) or len(listed) != len(x.result.sizes):
        return listed
    late = _late(listed)
    rest = {i: shape(x)[i] - as_tensor(starts[i], INT64) for i in late}
    return [where(equal(item, -1), rest[i], late[i]) if i in late else item for i, item in enumerate(listed)]


def _late(listed: Sequence[Any]) -> dict[int, Tensor]:
    """Those of `listed` that only the run knows, by place."""
    return {i: as_tensor(item, INT64) for i, item in enumerate(listed) if _is_late(item)}


def _is_late(item: Any) -> bool:
    """Whether `item` is an int scalar that only the run knows."""
    known = isinstance(item, Tensor) and symbolic_value(item) is not None
    return isinstance(item, Tensor | Variable) and item.dtype.is_integer and not known


def as_bound_size(item: Any) -> tuple[Size, Witnesses]:
    """The size that `item` (an int, a name, an int scalar that is a tensor) means, and what binds it."""
    if isinstance(item, Variable):
        item = item.value()
    if isinstance(item, Tensor):
        if not item.dtype.is_integer:
            raise DTypeError(f"a size is a whole number, not {item.type}")
        known = known_size(item)
        if known is not None:
            return known, _binding(item, [known])
        size, witness = bind(item)
        return size, (witness,)
    if item is None:
        raise ShapeError("None is no size: that of x is gc.shape(x)[axis], which the run knows")
    if (number := sizes.as_int(item)) is not None and number < 0:
        return number, ()
    return as_size(item), ()


def known_size(item: Tensor) -> Size | None:
    """The size that `item`, an int scalar, is where it is arithmetic on shapes of sizes that stay."""
    known = symbolic_value(item)
    if known is None or known.shape != () or _may_grow(item, [known.item()]):
        return None
    size: Size = known.item()
    return size


def _binding(source: Tensor, listed: Sequence[Any]) -> Witnesses:
    """`source`, where a result that it is made of binds an unknown size among `listed`."""
    unknown = any(isinstance(size, SizeExpr) and sizes.is_unknown(size) for size in listed)
    return (source,) if unknown and any(node.op.binds for node in topological((source,))) else ()


def _may_grow(source: Tensor, listed: Sequence[Any]) -> bool:
    """Whether sizes in `listed` are of results that are larger than their symbols say.

    ``[?0] + [?1]`` is ``[?0]``; where a run feeds 1 for ``?0`` its size is ``?1``, and only the run tells.
    """
    if not any(isinstance(size, SizeExpr) and sizes.may_broadcast(size) for size in listed):
        return False
    return any(_meets_unknown(node.inputs) for node in topological((source,)) if len(node.inputs) > 1)


def settled(x: Tensor) -> Tensor:
    """`x`; where its sizes may be larger than its type says, stated to be of those that it has at the run."""
    from graphc.ops.movement import state_rank  # movement takes shapes too

    shape = x.result.shape
    if shape is None or not _may_grow(x, shape):
        return x
    return state_rank(x, shape=(None,) * len(shape))


def _meets_unknown(operands: Sequence[Tensor]) -> bool:
    """Whether axes that line up from the end differ in size, neither a number, and one may be repeated."""
    shapes = [x.type.shape for x in operands if isinstance(x.type, TensorType) and x.type.shape]
    for axes in zip_longest(*(reversed(shape) for shape in shapes), fillvalue=1):
        met = {size for size in axes if isinstance(size, SizeExpr)}
        if len(met) > 1 and any(sizes.may_broadcast(size) for size in met):
            return True
    return False


def bind(length: Tensor) -> tuple[Size, Tensor]:
    """A new size that is what the int scalar `length` is at the run, and the node that binds it."""
    if length.result.shape is not None and length.result.sizes != ():
        raise ShapeError(f"a size is one number, not {length.type}")
    size = sizes.unknown()
    return size, extent(length, shape=(size,))


def after_all(x: Tensor, witnesses: Sequence[Tensor]) -> Tensor:
    """`x`, once `witnesses` have bound the sizes that its use names."""
    return after(x, *witnesses) if witnesses else x


def _elements(vector: Tensor) -> list[Any]:
    if not vector.dtype.is_integer:
        raise DTypeError(f"a shape holds whole numbers, not {vector.type}")
    shape = vector.result.sizes
    if shape == ():
        return [vector]
    if len(shape) != 1 or not isinstance(shape[0], int):
        raise ShapeError(f"a shape is a vector of known length, not {vector.type}")
    known = symbolic_value(vector)
    if known is not None and not _may_grow(vector, list(known)):
        return list(known)
    from graphc.ops.joining import unstack  # joining takes shapes too

    return [*unstack(vector)]


# What an int tensor is, told in sizes, where it is arithmetic on the shapes of tensors.

Values = np.ndarray[Any, Any]  # of Python objects: ints and SizeExprs
_LARGEST = 64  # elements; a shape has few


def symbolic_value(tensor: Tensor) -> Values | None:
    """The elements of `tensor` as sizes, or None where it is no arithmetic on shapes and constants."""
    values: dict[Tensor, Values | None] = {}
    pending = [tensor]
    while pending:
        node = pending[-1]
        if node in values:
            pending.pop()
            continue
        operands = _operands(node)
        if operands is None:
            values[node] = None
            continue
        missing = [operand for operand in operands if operand not in values]
        if missing:
            pending.extend(missing)
            continue
        values[node] = _value(node, [values[operand] for operand in operands])
    return values[tensor]


def _operands(node: Tensor) -> tuple[Tensor, ...] | None:
    """The operands whose values matter for that of `node`; None where it is no arithmetic on sizes."""
    name = node.op.name
    if name in ("shape", "size", "rank", "constant", "element_count", "iota"):
        return ()
    if name in _PASSING:
        return node.inputs[:1]
    return node.inputs if name in _MOVES or name in _ARITHMETIC or name == "gather" else None


def _value(node: Tensor, operands: list[Values | None]) -> Values | None:
    known = [operand for operand in operands if operand is not None]
    name, attrs = node.op.name, node.attrs
    if len(known) < len(operands) or not (node.dtype.is_integer or name in _TESTS):
        return None
    if name == "constant":
        value = attrs["value"]
        return value.astype(object) if value.size <= _LARGEST else None
    if name == "iota":
        (count,) = attrs["shape"]
        return np.arange(count).astype(object) if isinstance(count, int) and count <= _LARGEST else None
    if name == "element_count":
        return _boxed(sizes.product(attrs["shape"]))
    if name in ("shape", "size", "rank"):
        shape = node.inputs[0].result.shape
        if shape is None:
            return None
        if name == "shape":
            return _vector(shape)
        return _boxed(len(shape) if name == "rank" else sizes.product(shape))
    if name in _PASSING:
        return known[0] if node.inputs[0].dtype.is_integer else None
    if name == "gather":
        return _gathered(known[0], known[1], attrs["axis"])
    if name in _MOVES:
        if any(isinstance(item, SizeExpr) for a in attrs.values() if isinstance(a, tuple) for item in a):
            return None
        assert node.op.meaning is not None
        return np.asarray(node.op.meaning(*known, **attrs), object)
    try:
        result = np.asarray(_ARITHMETIC[name](*known), object)
    except (ShapeError, TypeError, ZeroDivisionError):
        return None
    return result if result.size <= _LARGEST else None


def _equal(x: Size, y: Size) -> bool:
    """Whether `x` is `y`, one of them being the -1 that stands for what the others leave.

    Raises: ShapeError where only the run knows.
    """
    if isinstance(x, int) and isinstance(y, int):
        return x == y
    size, number = (x, y) if isinstance(y, int) else (y, x)
    if number != -1 or sizes.maximum(size, 0) != size:
        raise ShapeError(f"whether {x} is {y} is known only at the run")
    return False


def _chosen(test: Values, x: Values, y: Values) -> Values:
    return np.where(test.astype(bool), x, y)


def _gathered(values: Values, indices: Values, axis: int) -> Values | None:
    """``values[indices]`` along `axis`, where `indices` are numbers and there."""
    count = values.shape[axis]
    if not all(isinstance(index, int) and -count <= index < count for index in indices.ravel()):
        return None
    return np.asarray(np.take(values, indices.astype(np.int64), axis), object)


def _boxed(size: Size) -> Values:
    return np.array(size, object)


def _vector(shape: Sizes) -> Values:
    values = np.empty(len(shape), object)
    values[:] = shape
    return values


_PASSING = frozenset({"after", "identity", "stop_gradient", "cast", "check"})
_MOVES = frozenset(
    {"strided_slice", "reshape", "squeeze", "expand_dims", "transpose", "broadcast_to", "concat", "stack"}
)
_ARITHMETIC: Mapping[str, Callable[..., Any]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "neg": lambda x: x * -1,
    "floor_divide": np.frompyfunc(sizes.floor_divide, 2, 1),
    "remainder": np.frompyfunc(sizes.remainder, 2, 1),
    "maximum": np.frompyfunc(sizes.maximum, 2, 1),
    "minimum": np.frompyfunc(sizes.minimum, 2, 1),
    "sum": lambda x, **_: np.add.reduce(x.ravel()),
    "prod": lambda x, **_: np.multiply.reduce(x.ravel()),
    "equal": np.frompyfunc(_equal, 2, 1),
    "bitwise_or": np.bitwise_or,
    "where": _chosen,
}
_TESTS = frozenset({"equal", "bitwise_or"})


def is_dynamic(given: Any) -> bool:
    """Whether `given`, a shape or size argument, holds a tensor."""
    if isinstance(given, list | tuple):
        return any(is_dynamic(item) for item in given)
    return isinstance(given, Tensor | Variable)
