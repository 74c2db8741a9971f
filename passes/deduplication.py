"""Deduplication: equal calls on equal operands become one node."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

import numpy as np

from graphc.function import Function, bodies, in_known_order, in_order, rebuild, with_inputs
from graphc.graph import has_effects
from graphc.ops.source import _placeholder as placeholder
from graphc.tensor import Tensor
from graphc.types import DType
from passes.record import Decision, counters, decide, is_watched
from passes.rewrite import transform_all
from passes.target import PLAIN, Target

_SMALL = 1024  # bytes of an array that is a key as it is
_SAMPLES = 61
_INTS = frozenset((int,))
_PLAIN = frozenset((int, str, DType, type(None)))  # equal to what they equal


def deduplicate(function: Function, target: Target = PLAIN) -> Function:
    """`function` in which no two nodes compute the same; the same object where none did.

    Nodes are equal when op, operands and attributes are. Effects are never merged, nor reads of a
    variable with other dependencies, nor nodes that bind sizes of their own. Linear: one look-up a node.
    """
    return transform_all(function, _deduplicated)


def _deduplicated(function: Function) -> Function:
    nodes = function.nodes()
    counters().nodes_visited += len(nodes)
    first: dict[Hashable, Tensor] = {}

    def make(node: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
        made = with_inputs(node, inputs)
        found = first.setdefault(_key(node, inputs), made)
        if found is not made and is_watched():
            merged = Decision("merge", node.op.name, True, "an equal call", node.loc)
            return found if decide(merged, made, found) else made
        return found

    result, new = rebuild(function, make)
    if result is function:
        return function
    return in_known_order(result, dict.fromkeys(map(new.__getitem__, nodes)))  # of first calls


def call_key(node: Tensor) -> Hashable:
    """What nodes share that compute the same of operands of the same types."""
    return id(node.op), tuple([x.type for x in node.inputs]), attributes_key(node.attrs)


def _key(node: Tensor, inputs: tuple[Tensor, ...]) -> Hashable:
    """What `node` on `inputs` shares with every call that is equal; itself where none may be."""
    op = node.op
    if op is placeholder or op.effect or (op.has_bodies and has_effects(node)):
        return node
    return (op, inputs, attributes_key(node.attrs)) if node.attrs else (op, inputs)


def attributes_key(attrs: Mapping[str, Any]) -> Hashable:
    """A key that equal attributes share: arrays by their bytes, bodies by their structure."""
    if not attrs:
        return ()
    return tuple([(name, _value_key(value)) for name, value in attrs.items()])


def _value_key(value: Any) -> Hashable:
    kind = value.__class__
    if kind in _PLAIN:
        return value  # type: ignore[no-any-return]  # hashable, as its class says; by far the most frequent
    if kind is tuple:
        return value if _INTS.issuperset(map(type, value)) else tuple([_value_key(item) for item in value])
    if isinstance(value, np.ndarray):
        return _Content(value) if value.nbytes > _SMALL else (value.dtype.str, value.shape, value.tobytes())
    if isinstance(value, Function):
        return structure_key(value)
    if isinstance(value, float):
        return ("float", value.hex())  # -0.0 is not 0.0
    if isinstance(value, int):
        return (kind.__name__, value)  # True is not 1
    if isinstance(value, tuple):
        return tuple([_value_key(item) for item in value])
    return value  # type: ignore[no-any-return]  # other attributes are hashable, and equal to what they equal


class _Content:
    """A large array as a key, equal to others by dtype, shape and bytes.

    A few of its elements tell it from nearly all others; whole arrays are only read where those agree.
    """

    __slots__ = ("_array", "_digest", "_sampled")

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self._array = array
        self._sampled = array.dtype.str, array.shape, array.flat[:: array.size // _SAMPLES].tobytes()
        self._digest: bytes | None = None

    def __hash__(self) -> int:
        return hash(self._sampled)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Content) or self._sampled != other._sampled:
            return False
        return self._array is other._array or self._digested() == other._digested()

    def _digested(self) -> bytes:
        """Made once, however many arrays there are that agree where they are looked at."""
        if self._digest is None:
            self._digest = hashlib.sha256(np.ascontiguousarray(self._array).data).digest()
        return self._digest


class Structure:
    """Stands for how a function computes: functions that compute alike share one, compared by identity."""

    __slots__ = ("__weakref__",)


_known: WeakKeyDictionary[Function, Structure] = WeakKeyDictionary()
_structures: WeakValueDictionary[Hashable, Structure] = WeakValueDictionary()


def structure_key(function: Function) -> Structure:
    """What functions share which compute the same in the same way, whatever they are named.

    Each body is looked at once, however deep regions are nested.
    """
    found = _known.get(function)
    if found is None:
        for each in in_order([function], _unknown_bodies):
            found = _known[each] = _structures.setdefault(_spelled(each), Structure())
    assert found is not None  # the function comes last
    return found


def _unknown_bodies(function: Function) -> list[Function]:
    if not function.has_regions():
        return []
    return [body for node in function.nodes() for _, body in bodies(node) if body not in _known]


def _spelled(function: Function) -> Hashable:
    nodes = function.nodes()
    number = {node: i for i, node in enumerate(nodes)}
    given = set(function.inputs)
    rows = tuple(
        node.type
        if node in given
        else (node.op, tuple(number[i] for i in node.inputs), attributes_key(node.attrs))
        for node in nodes
    )
    return (
        rows,
        tuple(number[node] for node in function.outputs),
        tuple(number[node] for node in function.effects),
    )
