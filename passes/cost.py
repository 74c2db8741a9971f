"""Cost: how much arithmetic a function does and how many bytes its steps touch, as sizes.

One floating-point operation is counted for each element that an elementwise op gives or a reduction
reads, two for each product of a contraction (multiply, add), none for what only moves data. They
measure work, not time: `exp` counts as much as `add`.
"""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakKeyDictionary

from graphc import sizes
from graphc.freezing import frozen
from graphc.function import Function, bodies, in_order
from graphc.ops.equation import label, measure, split
from graphc.sizes import Size
from graphc.tensor import Tensor
from graphc.types import TensorType, TupleType, Type


@frozen
class Cost:
    """Operations on numbers, and bytes read and written; ints where all sizes are known."""

    flops: Size
    bytes: Size

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.flops + other.flops, self.bytes + other.bytes)


NOTHING = Cost(0, 0)


def cost_of(function: Function) -> Cost:
    """What `function` costs: the sum over its nodes.

    A loop counts its body for every step; where only the run tells how many there are, for one.
    Of a branch the dearer one counts.
    """
    for each in in_order([function], _unknown_bodies) if function not in _known else ():
        total = NOTHING
        given = set(each.inputs)
        for node in each.nodes():
            if node not in given:
                total = total + _cost_of_node(node)
        _known[each] = total
    return _known[function]


_known: WeakKeyDictionary[Function, Cost] = WeakKeyDictionary()  # asked at every level of a nest


def _unknown_bodies(function: Function) -> list[Function]:
    if not function.has_regions():
        return []
    return [body for node in function.nodes() for _, body in bodies(node) if body not in _known]


def cost_of_node(node: Tensor) -> Cost:
    """What one run of `node` costs."""
    for _, body in bodies(node):
        cost_of(body)
    return _cost_of_node(node)


def _cost_of_node(node: Tensor) -> Cost:
    """As `cost_of_node`, the costs of bodies being known."""
    inner = {name: _known[body] for name, body in bodies(node)}
    if node.op.name == "cond":
        x, y = inner["then"], inner["orelse"]
        return Cost(sizes.maximum(x.flops, y.flops), sizes.maximum(x.bytes, y.bytes))
    if node.op.name == "loop":
        steps = _steps(node)
        once = sum(inner.values(), NOTHING)
        return Cost(steps * once.flops, steps * once.bytes)
    touched = _bytes(node.type)
    for operand in node.inputs:
        touched = touched + _bytes(operand.type)
    if inner:  # one kernel: what is within it stays in registers
        return Cost(sum((cost.flops for cost in inner.values()), 0), touched)
    count = _FAMILIES.get(node.op.family)
    special = _OPS.get(node.op.name, count)
    if node.op.family in _FREE or node.op.name in _UNTOUCHED:
        touched = 0
    return Cost(special(node) if special else 0, touched)


def _steps(node: Tensor) -> Size:
    if node.attrs["condition"] is not None or not node.attrs["scanned"]:
        return 1
    shape = node.inputs[node.attrs["carried"]].result.shape
    return shape[0] if shape else 1


def _elements(type: Type) -> Size:
    """How many elements a value of `type` has; 0 where its rank is unknown."""
    if isinstance(type, TupleType):
        return sum((_elements(element) for element in type.elements), 0)
    return 0 if type.shape is None else sizes.product(type.shape)


def _bytes(type: Type) -> Size:
    if isinstance(type, TupleType):
        return sum((_bytes(element) for element in type.elements), 0)
    return _elements(type) * type.dtype.itemsize


def _each_given(node: Tensor) -> Size:
    return _elements(node.type)


def _each_read(node: Tensor) -> Size:
    return sum((_elements(operand.type) for operand in node.inputs), 0)


def _matmul(node: Tensor) -> Size:
    """``2 m n k`` for each matrix of a batch."""
    shape = node.inputs[0].result.shape
    return 2 * _elements(node.type) * shape[-1] if shape else 0


def _einsum(node: Tensor) -> Size:
    """Two for each combination of all labels; one factor less where there is one operand."""
    types = [operand.type for operand in node.inputs]
    if not all(isinstance(type, TensorType) and type.shape is not None for type in types):
        return 0
    terms, _ = split(node.attrs["equation"])
    known = [type for type in types if isinstance(type, TensorType)]
    rows = [label(term, type) for term, type in zip(terms, known, strict=True)]
    factors = max(len(types), 1)
    return factors * sizes.product(measure(rows, known).values())


_FAMILIES: dict[str, Callable[[Tensor], Size]] = {
    "elementwise": _each_given,
    "random": _each_given,
    "reduction": _each_read,
    "linear": _each_read,
}
_OPS: dict[str, Callable[[Tensor], Size]] = {
    "identity": lambda node: 0,
    "cast": lambda node: 0,
    "matmul": _matmul,
    "einsum": _einsum,
    "overlap_add": _each_read,
    "scatter_add": _each_read,
    "segment_sum": _each_read,
}
_FREE = frozenset(("source", "state", "marker", "sizing"))  # nothing is read or written for them
_UNTOUCHED = frozenset(  # views
    ("reshape", "expand_dims", "squeeze", "ensure_shape", "broadcast_to", "transpose")
)
