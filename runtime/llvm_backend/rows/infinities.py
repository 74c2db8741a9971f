"""Infinities: which values may rightly hold an infinity, since a constant brings it: a mask of ``-inf``.

``softmax(where(mask, scores, -inf))`` makes nothing infinite, and gives what is finite: ``exp(-inf)`` is 0.
Where numbers are checked, looks between the two leave out elements that are made of an infinite one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from graphc.function import Function, topological
from graphc.tensor import Tensor
from graphc.types import TensorType

Kinds = frozenset[str]  # of "+", "-" and "nan": what may be there beside finite numbers
NONE: Kinds = frozenset()
_ALL: Kinds = frozenset(("+", "-", "nan"))
_MOVES = frozenset(("reshape", "transpose", "expand_dims", "squeeze", "broadcast_to", "stack", "concat"))
_MOVES |= frozenset(
    ("identity", "strided_slice", "gather", "after", "cast", "max", "min", "maximum", "minimum")
)
_MOVES |= frozenset(("pick_class", "put_class"))
_NO_LOW = frozenset(("exp", "expm1", "softplus", "relu"))  # finite where the operand is -inf
_BOUNDED = frozenset(("tanh", "sigmoid", "erf", "erfc", "normal_cdf", "atan", "sign"))


class Infinities:
    """Asks each node once."""

    def __init__(self) -> None:
        self._known: dict[Tensor, tuple[Kinds, ...]] = {}

    def of(self, node: Tensor) -> Kinds:
        """What `node` may hold."""
        if node not in self._known:
            for each in topological((node,), stop=self._known.__contains__):
                if each not in self._known:
                    self._known[each] = self._parts(each)
        return self._known[node][0]

    def _parts(self, node: Tensor) -> tuple[Kinds, ...]:
        """For each part of the result of `node`, whose operands are known."""
        if node.op.name == "pick":
            parts = self._known[node.inputs[0]]
            return (parts[min(node.attrs["index"], len(parts) - 1)],)
        given = [NONE.union(*self._known[x]) for x in node.inputs]
        if node.op.name == "fused":
            body: Function = node.attrs["body"]
            inside = spread(body, given)
            return tuple(inside[x] for x in body.outputs)
        return (kinds_of(node, given, lambda x: self._known[x][0]),)


def spread(body: Function, given: Sequence[Kinds]) -> dict[Tensor, Kinds]:
    """What each node of a fused `body` may hold where its inputs hold what is `given`."""
    known = dict(zip(body.inputs, given, strict=True))
    for node in body.nodes():
        if node not in known:
            known[node] = kinds_of(node, [known[x] for x in node.inputs], known.__getitem__)
    return known


def kinds_of(node: Tensor, given: Sequence[Kinds], known: Callable[[Tensor], Kinds]) -> Kinds:
    """What the result of `node` may hold where its operands hold what is `given`."""
    name = node.op.name
    if name == "constant":
        return _in_array(np.asarray(node.attrs["value"]))
    if not any(given) or not isinstance(node.type, TensorType) or not node.dtype.is_floating:
        return NONE
    if name == "where":
        return given[1] | _unless_replaced(node, given[2], known)
    if name in _MOVES:
        return NONE.union(*given)
    if name == "sum":
        return given[0] if len(given[0]) == 1 else _ALL
    if name in _NO_LOW:
        return given[0] - {"-"}
    if name in _BOUNDED:
        return given[0] & {"nan"}
    if name == "neg":
        return _turned(given[0])
    if name in ("add", "sub") and not all(given):
        return given[0] | (given[1] if name == "add" else _turned(given[1]))
    if name == "div" and not given[0] and "nan" not in given[1]:
        return NONE
    return _ALL


def _turned(kinds: Kinds) -> Kinds:
    return frozenset({"+": "-", "-": "+"}.get(kind, kind) for kind in kinds)


def _unless_replaced(node: Tensor, kinds: Kinds, known: Callable[[Tensor], Kinds]) -> Kinds:
    """Of ``where(x == -inf, y, x)`` the part that is x."""
    test, _, kept = node.inputs
    if test.op.name == "equal" and test.inputs[0] is kept and len(known(test.inputs[1])) == 1:
        return kinds - known(test.inputs[1])
    return kinds


def _in_array(value: np.ndarray[Any, Any]) -> Kinds:
    if value.dtype.kind != "f" or bool(np.isfinite(value).all()):
        return NONE
    found: Mapping[str, bool] = {
        "+": bool((value == np.inf).any()),
        "-": bool((value == -np.inf).any()),
        "nan": bool(np.isnan(value).any()),
    }
    return frozenset(kind for kind, is_there in found.items() if is_there)
