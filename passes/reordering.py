"""Reordering: what an op becomes when the axes of its operands and of its result stand in another order.

Where an op can work in other orders, those of operands and result hang together; `Orders` says how.
What an op compares, and windows that overlap, keep the order of their axes among themselves: which of two
equal elements is found, and in which order numbers are added, stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from graphc import ops
from graphc.freezing import frozen
from graphc.op import OPS
from graphc.sizes import Size, product
from graphc.tensor import Tensor
from graphc.types import FLOAT64, TensorType
from passes.axis_order import Order, Orders, identity, movement, permuted
from passes.failure import may_fail
from passes.simplification.vocabulary import broadcast_to, concat, expand_dims, reshape, sort, squeeze, stack


@frozen
class _Kind:
    """How one kind of op works in other orders. The functions give None for an order that it cannot.

    Args:
        applies: whether this very node can at all.
        backward: (node, order of the result) -> its orders.
        forward: (node, number of an operand, order of that) -> its orders.
        attrs: (node, its orders) -> the attributes that say the same in them.
    """

    applies: Callable[[Tensor], bool]
    backward: Callable[[Tensor, Order], Orders | None]
    forward: Callable[[Tensor, int, Order], Orders | None]
    attrs: Callable[[Tensor, Orders], dict[str, Any]]


def is_orderable(node: Tensor) -> bool:
    """Whether `node` can work in other orders than it does."""
    kind = _KINDS.get(node.op.name)
    if kind is None:
        return False
    for each in (node, *node.inputs):
        if not _is_ranked(each.type):
            return False
    return kind.applies(node)


def _is_ranked(type: object) -> bool:
    return isinstance(type, TensorType) and type.shape is not None


def orders_from_result(node: Tensor, order: Order) -> Orders | None:
    """The orders of `node` that give its result in `order`, or near it; None where there are none."""
    return _KINDS[node.op.name].backward(node, order)


def orders_from_operand(node: Tensor, number: int, order: Order) -> Orders | None:
    """The orders of `node` that take its operand `number` in `order`; None where there are none."""
    return _KINDS[node.op.name].forward(node, number, order)


def reordered(node: Tensor, orders: Orders, operands: Iterable[Tensor]) -> Tensor:
    """`node` on `operands`, which stand in the orders that `orders` says; of the same line, unnamed."""
    given = list(operands)
    if node.op.family == "elementwise" or node.op is broadcast_to:
        given = [_widened(x, plain, orders.result) for x, plain in zip(given, node.inputs, strict=True)]
    op = reshape if node.op in (expand_dims, squeeze) else node.op
    return op.make(tuple(given), _KINDS[node.op.name].attrs(node, orders), None, node.loc)


def _widened(x: Tensor, plain: Tensor, order: Order) -> Tensor:
    """`x`, whose axes are the last ones of the result, with axes of size 1 where others stand in between."""
    lead = len(order) - len(plain.result.sizes)
    places = [place for place, axis in enumerate(order) if axis >= lead]
    if not places or places[0] == len(order) - len(places):
        return x
    shape: list[Size] = [1] * (len(order) - places[0])
    for place, size in zip(places, x.result.sizes, strict=True):
        shape[place - places[0]] = size
    return reshape.make((x,), {"shape": tuple(shape)}, None, x.loc)


def _always(node: Tensor) -> bool:
    return True


# Ops whose result has the axes of its operands, the last ones of those of lower rank.


def _restricted(order: Order, rank: int) -> Order:
    """`order` of the last `rank` axes alone."""
    lead = len(order) - rank
    return tuple(axis - lead for axis in order if axis >= lead)


def _alike(node: Tensor, order: Order) -> Orders:
    return Orders(order, tuple(_restricted(order, len(x.result.sizes)) for x in node.inputs))


def _alike_forward(node: Tensor, number: int, order: Order) -> Orders | None:
    """An operand that is repeated along axes says nothing of where these go."""
    same = node.op.family != "elementwise" or node.inputs[number].result.sizes == node.result.sizes
    return _alike(node, order) if same and len(order) == len(node.result.sizes) else None


def _same_attrs(node: Tensor, orders: Orders) -> dict[str, Any]:
    return dict(node.attrs)


def _permuting(*names: str) -> Callable[[Tensor, Orders], dict[str, Any]]:
    """Of attributes with one item for each axis of the result."""
    return lambda node, orders: {
        **node.attrs,
        **{name: permuted(node.attrs[name], orders.result) for name in names},
    }


def _naming_axis(node: Tensor, orders: Orders) -> dict[str, Any]:
    return {**node.attrs, "axis": orders.result.index(node.attrs["axis"])}


_ELEMENTWISE = _Kind(
    lambda node: not may_fail(node),  # an error tells of the first element that fails
    *(_alike, _alike_forward, _same_attrs),
)
_ALONG = _Kind(_always, _alike, _alike_forward, _naming_axis)
_PLACED = _Kind(_always, _alike, _alike_forward, _permuting("starts", "sizes", "steps"))
_EMBEDDED = _Kind(_always, _alike, _alike_forward, _permuting("shape", "starts", "steps"))
_REPEATED = _Kind(_always, _alike, lambda node, number, order: None, _permuting("shape"))


# Reductions: the axes of a choice keep their order among themselves. Rows stay rows: these are what is fused.

_CHOICES = ("max", "min", "argmax", "argmin")


def _reduced_axes(node: Tensor) -> tuple[int, ...]:
    axis = node.attrs["axis"]
    return (axis,) if isinstance(axis, int) else tuple(axis or ())


def _adds_exactly(node: Tensor) -> bool:
    """Whether terms that lie elsewhere in memory give the same sum: those of short floats add in float64."""
    return node.inputs[0].dtype is not FLOAT64


def _names_its_axis(node: Tensor) -> bool:
    return node.attrs["axis"] is not None


def _reduction(node: Tensor, order: Order) -> Orders | None:
    over = _reduced_axes(node)
    if node.op.name in _CHOICES and [axis for axis in order if axis in over] != sorted(over):
        return None
    if over == (len(order) - 1,) != order[-1:]:
        return None
    if node.attrs["keepdims"]:
        return Orders(order, (order,))
    left = [axis for axis in range(len(order)) if axis not in over]
    return Orders(tuple(left.index(axis) for axis in order if axis not in over), (order,))


def _reduction_from_result(node: Tensor, order: Order) -> Orders | None:
    if node.attrs["keepdims"]:
        return _reduction(node, order)
    over, (x,) = _reduced_axes(node), node.inputs
    rank = len(x.result.sizes)
    left = [axis for axis in range(rank) if axis not in over]
    moved = [left[axis] for axis in order]
    if x.op is ops.windows and 0 not in over:  # cells go where the windows do
        return _reduction(node, tuple(axis for first in moved for axis in (first, *_run(first + 1, over))))
    kept = iter(moved)
    return _reduction(node, tuple(axis if axis in over else next(kept) for axis in range(rank)))


def _run(first: int, axes: Sequence[int]) -> range:
    """The axes from `first` on that are all among `axes`."""
    last = first
    while last in axes:
        last += 1
    return range(first, last)


def _reduction_attrs(node: Tensor, orders: Orders) -> dict[str, Any]:
    places = tuple(place for place, axis in enumerate(orders.operands[0]) if axis in _reduced_axes(node))
    return {**node.attrs, "axis": places[0] if isinstance(node.attrs["axis"], int) else places}


_CHOICE, _SUM = (
    _Kind(
        applies,
        _reduction_from_result,
        lambda node, number, order: _reduction(node, order),
        _reduction_attrs,
    )
    for applies in (_names_its_axis, _adds_exactly)
)


# A new axis.


def _stacked(node: Tensor, order: Order) -> Orders:
    new = node.attrs["axis"]
    inner = tuple(axis - (axis > new) for axis in order if axis != new)
    return Orders(order, (inner,) * len(node.inputs))


def _stacked_forward(node: Tensor, number: int, order: Order) -> Orders:
    new = node.attrs["axis"]
    outer = [axis + (axis >= new) for axis in order]
    return _stacked(node, (*outer[:new], new, *outer[new:]))


_STACKED = _Kind(_always, _stacked, _stacked_forward, _naming_axis)


# Reshapes: axes that are split or joined stay together.


def _blocks(given: Sequence[Size], made: Sequence[Size]) -> list[tuple[list[int], list[int]]] | None:
    """The shortest runs of axes of either shape, those of size 1 aside, that hold the same elements."""
    left = [axis for axis, size in enumerate(given) if size != 1]
    right = [axis for axis, size in enumerate(made) if size != 1]
    blocks = []
    while left or right:
        a, b = left[:1], right[:1]
        del left[:1], right[:1]
        if not (a and b):
            return None
        x, y = given[a[0]], made[b[0]]
        while x != y:
            if right and (not left or _divides(y, x)):
                b.append(right.pop(0))
                y = product(made[axis] for axis in b)
            elif left:
                a.append(left.pop(0))
                x = product(given[axis] for axis in a)
            else:
                return None
        blocks.append((a, b))
    return blocks


def _divides(y: Size, x: Size) -> bool:
    return not isinstance(x, int) or (isinstance(y, int) and y < x)


def _can_reshape(node: Tensor) -> bool:
    return _blocks(node.inputs[0].result.sizes, node.result.sizes) is not None


def _reshaped(node: Tensor, order: Order, forward: bool) -> Orders | None:
    given, made = node.inputs[0].result.sizes, node.result.sizes
    blocks = _blocks(given, made)
    assert blocks is not None  # asked before
    ours = [(a, b) if forward else (b, a) for a, b in blocks]
    starts = {a[0]: (a, b) for a, b in ours}
    own, other = (given, made) if forward else (made, given)
    moving, answer = list(movement(order, own)), list[int]()
    while moving:
        found = starts.get(moving[0])
        if found is None or moving[: len(found[0])] != found[0]:
            return None
        del moving[: len(found[0])]
        answer.extend(found[1])
    axes = iter(answer)
    filled = tuple(axis if size == 1 else next(axes) for axis, size in enumerate(other))
    return Orders(filled, (order,)) if forward else Orders(order, (filled,))


_RESHAPED = _Kind(
    _can_reshape,
    lambda node, order: _reshaped(node, order, forward=False),
    lambda node, number, order: _reshaped(node, order, forward=True),
    lambda node, orders: {"shape": permuted(node.result.sizes, orders.result)},
)


# Windows: the axes along which they lie keep their order; those of their cells follow the last of them.


def _with_cells(order: Order, axes: Sequence[int]) -> Order | None:
    """The order of windows over a value in `order`."""
    if [axis for axis in order if axis in axes] != sorted(axes):
        return None
    last, count = max(axes) + 1, len(axes)
    lifted = [axis if axis < last else axis + count for axis in order]
    end = order.index(max(axes)) + 1
    return (*lifted[:end], *range(last, last + count), *lifted[end:])


def _without_cells(order: Order, axes: Sequence[int]) -> Order:
    """The order of the value under windows in `order`."""
    last, count = max(axes) + 1, len(axes)
    return tuple(axis if axis < last else axis - count for axis in order if not last <= axis < last + count)


def _windowed(node: Tensor, order: Order) -> Orders | None:
    over = _with_cells(order, node.attrs["axes"])
    return None if over is None else Orders(over, (order,))


def _overlapped(node: Tensor, order: Order) -> Orders | None:
    over = _with_cells(order, node.attrs["axes"])
    return None if over is None else Orders(order, (over,))


def _window_axes(node: Tensor, order: Order) -> tuple[int, ...]:
    return tuple(place for place, axis in enumerate(order) if axis in node.attrs["axes"])


def cells_stand_last(node: Tensor, orders: Orders | None = None) -> bool:
    """Whether windows lie along the last axis in memory, so that they are read number by number."""
    if node.op is ops.windows:
        order = identity(len(node.inputs[0].result.sizes)) if orders is None else orders.operands[0]
    elif node.op is ops.overlap_add:
        order = identity(len(node.result.sizes)) if orders is None else orders.result
    else:
        return False
    return order[-1] in node.attrs["axes"]


def orders_for_lines(node: Tensor) -> Orders | None:
    """The orders of windows in which an axis without any, such as that of channels, stands last."""
    whole = node.inputs[0] if node.op is ops.windows else node
    axes = node.attrs["axes"]
    others = [axis for axis in range(len(whole.result.sizes)) if axis not in axes]
    order = (*others[:-1], *sorted(axes), *others[-1:])
    return _windowed(node, order) if node.op is ops.windows else _overlapped(node, order)


_WINDOWED = _Kind(
    _always,
    lambda node, order: _windowed(node, _without_cells(order, node.attrs["axes"])),
    lambda node, number, order: _windowed(node, order),
    lambda node, orders: {**node.attrs, "axes": _window_axes(node, orders.operands[0])},
)
_OVERLAPPED = _Kind(
    _always,
    _overlapped,
    lambda node, number, order: _overlapped(node, _without_cells(order, node.attrs["axes"])),
    lambda node, orders: {
        **node.attrs,
        "axes": _window_axes(node, orders.result),
        "shape": permuted(node.attrs["shape"], orders.result),
    },
)

_KINDS: dict[str, _Kind] = {
    **{op.name: _ELEMENTWISE for op in OPS.values() if op.family == "elementwise" and op.operands},
    **dict.fromkeys((concat.name, sort.name, "argsort", "cumsum", "cumprod"), _ALONG),
    **dict.fromkeys((*_CHOICES, "any", "all"), _CHOICE),
    **dict.fromkeys(("sum", "mean"), _SUM),
    **dict.fromkeys((reshape.name, expand_dims.name, squeeze.name), _RESHAPED),
    ops.strided_slice.name: _PLACED,
    ops.embed.name: _EMBEDDED,
    broadcast_to.name: _REPEATED,
    stack.name: _STACKED,
    ops.windows.name: _WINDOWED,
    ops.overlap_add.name: _OVERLAPPED,
}
