"""Functions of operands whose rank only the run knows: they wait, as one node, until it is known.

What a function makes of its operands depends on their ranks. Where these are not known, a node `at_rank`
stands for the call; as soon as a feed tells them, the call is made (`open_call`), so that passes, gradients
and backends see what they always see. Where only a step in Python tells, the run computes it by NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from graphc.errors import ArgumentError, ShapeError
from graphc.freezing import frozen
from graphc.graph import Graph, graph_frame
from graphc.op import op
from graphc.ops.marker import gradients
from graphc.tensor import Tensor
from graphc.types import TensorType


@frozen
class _Late:
    """A function: as users call it, and what it means where the run makes the call."""

    call: Callable[..., Any]
    meaning: Callable[..., Any]


_functions: dict[str, _Late] = {}


def may_wait(call: Callable[..., Any], meaning: Callable[..., Any]) -> None:
    """Lets `call` be made once ranks are known; ``meaning(*arrays, *arguments)`` is that of NumPy."""
    _functions[call.__name__] = _Late(call, meaning)


@op("movement", fallible=True)
def at_rank(*operands: Tensor, function: str, arguments: tuple[Any, ...], part: int = -1) -> TensorType:
    """What `function` gives of `operands` and `arguments`; of several results number `part`.

    Shapes: ``[...], ... -> [...]``, as the function says.
    """
    graph = Graph()
    with graph_frame(graph):
        stand_ins = [_parameter(x.result, graph) for x in operands]
        return _called(stand_ins, function, arguments, part).result


def _parameter(type: TensorType, graph: Graph) -> Tensor:
    from graphc.tracing import parameter  # it builds on ops

    return parameter("operand", type, graph)


def _called(operands: Sequence[Tensor], function: str, arguments: tuple[Any, ...], part: int) -> Tensor:
    if function not in _functions:
        raise ArgumentError(f"no function {function!r} waits for ranks: {', '.join(_functions)} do")
    made = _functions[function].call(*operands, *arguments)
    found: Tensor = made if part < 0 else made[part]
    return found


def _meant(*operands: Any, function: str, arguments: tuple[Any, ...], part: int) -> Any:
    made = _functions[function].meaning(*operands, *arguments)
    return made if part < 0 else made[part]


def _slopes(
    g: Tensor, out: Tensor, *operands: Tensor, function: str, arguments: tuple[Any, ...], part: int
) -> list[Tensor | None]:
    if waits(*operands):
        raise ShapeError(f"{function}: the ranks of its operands must be known")
    floats = [x for x in operands if x.dtype.is_floating]
    slopes = dict(
        zip(floats, gradients(_called(operands, function, arguments, part), floats, g), strict=True)
    )
    return [slopes.get(x) for x in operands]


at_rank.evaluate(_meant)
at_rank.gradient(_slopes)


def waits(*operands: Tensor) -> bool:
    """Whether the rank of some of `operands` is unknown."""
    return any(x.result.shape is None for x in operands)


def wait(
    function: str, operands: Sequence[Tensor], *arguments: Any, part: int = -1, name: str | None = None
) -> Tensor:
    """The call of `function`, to be made once the ranks of `operands` are known.

    Raises: ArgumentError for arguments that are tensors.
    """
    data = tuple(_data(function, given) for given in arguments)
    return at_rank(*operands, function=function, arguments=data, part=part, name=name)


def _data(function: str, given: Any) -> Any:
    """`given` as ints in tuples."""
    if isinstance(given, Tensor):
        raise ArgumentError(
            f"{function}: with an argument that is a tensor, {given.type}, the rank of the operand must be "
            "known: gc.ensure_shape states it"
        )
    if isinstance(given, list | tuple | np.ndarray):
        return tuple(_data(function, item) for item in given)
    return int(given) if isinstance(given, np.integer) else given


def open_call(node: Tensor) -> Tensor:
    """The call that `node` stands for, its operands being of known ranks; under its name."""
    with graph_frame(node.owner):
        made = _called(node.inputs, **node.attrs)
    if made in node.inputs or node.name is None:
        return made
    return replace(made, name=node.name)


at_rank.example("f64[2,3]", function="roll", arguments=(1, 0))
at_rank.example("f64[2,3]", function="tile", arguments=((2, 1),))
at_rank.example("f32[2,3]", function="split", arguments=((1, -1), 1), part=1)
at_rank.example("f64[2,3]", "f64[3,2]", function="tensordot", arguments=(1,))
at_rank.example("i32[3,3]", function="tril", arguments=(0,))
