"""The verifier: a graph keeps its invariants, and its types are what the ops' rules say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from graphc import sizes
from graphc.errors import VerificationError
from graphc.function import Function, bodies, topological
from graphc.op import OPS, Op
from graphc.sizes import Size, SizeExpr, Symbol
from graphc.tensor import Tensor, describe
from graphc.types import DType, TensorType, TupleType, Type

_DATA = (bool, int, float, str, DType, SizeExpr, TensorType, TupleType, np.generic)


def verify(function: Function) -> Function:
    """`function` itself, once every node in it and in its bodies is found to be right.

    That is: inputs are single values, each once; its nodes are those that a walk finds, in that order;
    every placeholder reached is an input; names are texts; attributes are data or Functions; each stored
    type is what the op's rule says of operands and attributes; a body takes what its op hands in.

    Raises: VerificationError that names the node, its op, the user's line and both types.
    """
    pending, seen = [function], {function}
    while pending:
        for node in _checked_nodes(pending.pop()):
            _check_node(node)
            new = [body for _, body in bodies(node) if body not in seen]
            seen.update(new)
            pending += new
    return function


def _checked_nodes(function: Function) -> Sequence[Tensor]:
    for part in (function.inputs, function.outputs, function.effects):
        if not isinstance(part, tuple) or not all(isinstance(node, Tensor) for node in part):
            raise VerificationError(f"a Function has tuples of tensors, not {part!r}")
    inputs = set(function.inputs)
    if len(inputs) < len(function.inputs):
        raise VerificationError("a Function has one of its inputs twice")
    for node in function.inputs:
        if not isinstance(node.type, TensorType):
            _fail(node, f"an input is a single value, not {node.type}")
    nodes = function.nodes()
    if list(nodes) != topological(function.outputs + function.effects, first=function.inputs):
        raise VerificationError("a Function has its nodes in another order than a walk finds them")
    for node in nodes:
        if node.op.name == "placeholder" and node not in inputs:
            _fail(node, "it is reached, and it is no input of the Function")
    return nodes


def _check_node(node: Tensor) -> None:
    if OPS.get(node.op.name) is not node.op:
        _fail(node, "its op is not registered")
    if node.name is not None and (not isinstance(node.name, str) or not node.name):
        _fail(node, f"its name is {node.name!r}, and a name is a text that is not empty")
    for key, value in node.attrs.items():
        if not isinstance(value, Function) and not _is_data(value):
            _fail(node, f"its attribute {key} is {value!r}, which is neither data nor a Function")
    try:
        node.op.require_one_dtype(node.inputs)
        inferred = node.op.infer(node.inputs, node.attrs)
        fed = node.op.body_inputs(*node.inputs, **node.attrs) if node.op.body_inputs else {}
    except Exception as error:  # a rule may fail in any way on what it does not expect
        _fail(node, f"stored {node.type}, and the rule fails: {error}", error)
    if not agree(node.type, inferred, node.inputs, node.attrs):
        _fail(node, f"stored {node.type}, and the rule says {inferred}")
    for name, types in fed.items():
        taken = tuple(taken.type for taken in node.attrs[name].inputs)
        if not accepts(node.op, taken, types):
            _fail(node, f"its body {name} takes {_listed(taken)}, and it is given {_listed(types)}")


def accepts(op: Op, taken: Sequence[Type], given: Sequence[Type]) -> bool:
    """Whether a body of `op` that takes inputs of types `taken` may be given values of types `given`.

    Where sizes are unknown the run checks; what is fused is one kernel, which reads them as they are stated.
    """
    if op.name == "fused":
        return tuple(taken) == tuple(given)
    return len(taken) == len(given) and all(map(_accepts, taken, given))


def _listed(types: Sequence[Type]) -> str:
    return f"({', '.join(map(str, types))})"


def _accepts(taken: Type, given: Type) -> bool:
    """Whether an input of type `taken` may be given `given`: where sizes are unknown, the run checks."""
    if taken == given:
        return True
    if not isinstance(taken, TensorType) or not isinstance(given, TensorType):
        return False
    if taken.dtype is not given.dtype:
        return False
    if taken.shape is None or given.shape is None:
        return True
    return len(taken.shape) == len(given.shape) and not any(
        isinstance(difference, int) and difference
        for difference in (a - b for a, b in zip(taken.shape, given.shape, strict=True))
    )


def _fail(node: Tensor, message: str, cause: Exception | None = None) -> NoReturn:
    place = f", made at {node.loc}" if node.loc else ""
    raise VerificationError(f"{describe(node)} (op {node.op.name}{place}): {message}") from cause


def _is_data(value: Any) -> bool:
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, tuple | list):
            pending.extend(item)
        elif isinstance(item, np.ndarray):
            if item.dtype.kind not in "biuf":
                return False
        elif item is not None and not isinstance(item, _DATA):
            return False
    return True


# Stored against inferred.


def agree(stored: Type, inferred: Type, inputs: Sequence[Tensor], attrs: Mapping[str, Any]) -> bool:
    """Whether two types are one, up to unknown sizes that the rule invented.

    On operands of unknown rank a rule is tried on made-up shapes, whose sizes are new each time.
    """
    if stored == inferred:
        return True
    x, y = _elements(stored), _elements(inferred)
    if isinstance(stored, TupleType) != isinstance(inferred, TupleType) or len(x) != len(y):
        return False
    pairs: list[tuple[Size, Size]] = []
    for a, b in zip(x, y, strict=True):
        if a.dtype is not b.dtype or (a.shape is None) != (b.shape is None):
            return False
        if len(a.shape or ()) != len(b.shape or ()):
            return False
        pairs.extend(zip(a.shape or (), b.shape or (), strict=True))
    known = {symbol for value in (*(i.type for i in inputs), *attrs.values()) for symbol in _symbols(value)}
    meaning: dict[Symbol, Size] = {}
    for mine, its in pairs:
        symbol = sizes.sole_symbol(its)
        if symbol is not None and symbol.name is None and symbol not in known:
            meaning.setdefault(symbol, mine)
    return all(sizes.substitute(its, meaning) == mine for mine, its in pairs)


def _elements(type: Type) -> tuple[TensorType, ...]:
    return type.elements if isinstance(type, TupleType) else (type,)


def _symbols(value: Any) -> Iterator[Symbol]:
    """The symbols of the sizes in a type or an attribute."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, SizeExpr):
            yield from sizes.symbols(item)
        elif isinstance(item, tuple | list):
            pending.extend(item)
        elif isinstance(item, TensorType):
            pending.append(item.shape)
        elif isinstance(item, TupleType):
            pending.extend(item.elements)
        elif isinstance(item, Function):
            pending.extend(node.type for node in (*item.outputs, *item.inputs))
