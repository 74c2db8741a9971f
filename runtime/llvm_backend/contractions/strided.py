"""Strided: values that are other values seen with strides: transposes, windows, slices, axes of size 1.

Where only contractions use such a value it never exists: they read the value below it along these strides.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from graphc.freezing import frozen
from graphc.sizes import Size, product
from graphc.tensor import Tensor
from graphc.types import TensorType


@frozen
class Strided:
    """A value as elements of a dense one: the first, and how far one step along each axis moves."""

    offset: Size
    strides: tuple[Size, ...]


Look = Callable[[Tensor], Strided]


def see_dense(tensor: Tensor) -> Strided:
    """A value that lies in memory as it is."""
    shape = tensor.result.sizes
    return Strided(0, tuple(product(shape[axis + 1 :]) for axis in range(len(shape))))


def look_through(nodes: Collection[Tensor]) -> Look:
    """How values are seen where `nodes`, all of them `is_strided` or `is_thin`, do not exist."""

    def look(tensor: Tensor) -> Strided:
        chain = []
        while tensor in nodes:
            chain.append(tensor)
            tensor = tensor.inputs[0]
        seen = see_dense(tensor)
        for node in reversed(chain):
            seen = _SEEN[node.op.name](node, seen)
        return seen

    return look


def see(node: Tensor, below: Strided) -> Strided:
    """`node`, which `is_strided`, where its operand is seen as `below`."""
    return _SEEN[node.op.name](node, below)


def see_within(frame: Tensor) -> Strided:
    """The operand of an `embed` where it stands among the zeros."""
    dense, attrs, offset = see_dense(frame).strides, frame.attrs, 0
    for start, stride in zip(attrs["starts"], dense, strict=True):
        offset = offset + start * stride
    return Strided(offset, tuple(x * stride for x, stride in zip(attrs["steps"], dense, strict=True)))


def is_strided(node: Tensor) -> bool:
    """Whether `node` is its operand seen with strides, for all sizes that may be fed."""
    if node.op.name not in _STRIDED or not have_ranks(node, *node.inputs):
        return False
    if node.op.name == "strided_slice":
        attrs = node.attrs
        return is_inside(node.inputs[0].result.sizes, attrs["starts"], attrs["sizes"], attrs["steps"])
    if node.op.name == "windows":
        shape = node.inputs[0].result.sizes
        return all(isinstance(shape[axis], int) for axis in node.attrs["axes"])
    return True


def have_ranks(*tensors: Tensor) -> bool:
    """Whether all of them are arrays of known ranks."""
    for tensor in tensors:
        type = tensor.type
        if not isinstance(type, TensorType) or type.shape is None:
            return False
    return True


def is_thin(node: Tensor) -> bool:
    """Whether `node` is its operand with or without axes of size 1; alone that is no work, but a view."""
    if node.op.name not in _THIN or not have_ranks(node, *node.inputs):
        return False
    before, after = ([size for size in x.result.sizes if size != 1] for x in (node.inputs[0], node))
    return before == after


def is_inside(
    whole: Sequence[Size], starts: Sequence[Size], counts: Sequence[Size], steps: Sequence[int]
) -> bool:
    """Whether a slice is known to lie inside: it takes an axis as it is, or all its numbers are known."""
    return all(
        (start, count, step) == (0, size, 1) or all(isinstance(n, int) for n in (size, start, count))
        for size, start, count, step in zip(whole, starts, counts, steps, strict=True)
    )


def _transposed(node: Tensor, below: Strided) -> Strided:
    return Strided(below.offset, tuple(below.strides[axis] for axis in node.attrs["axes"]))


def _sliced(node: Tensor, below: Strided) -> Strided:
    attrs, offset = node.attrs, below.offset
    if any(size == 0 for size in attrs["sizes"]):
        return Strided(0, below.strides)
    for start, stride in zip(attrs["starts"], below.strides, strict=True):
        offset = offset + start * stride
    steps = zip(attrs["steps"], below.strides, strict=True)
    return Strided(offset, tuple(step * stride for step, stride in steps))


def _windowed(node: Tensor, below: Strided) -> Strided:
    attrs, strides, cells = node.attrs, list(below.strides), []
    for axis, stride, dilation in zip(attrs["axes"], attrs["strides"], attrs["dilations"], strict=True):
        cells.append(strides[axis] * dilation)
        strides[axis] = strides[axis] * stride
    last = max(attrs["axes"]) + 1
    return Strided(below.offset, (*strides[:last], *cells, *strides[last:]))


def _thinned(node: Tensor, below: Strided) -> Strided:
    sizes = node.inputs[0].result.sizes
    moving = iter([stride for size, stride in zip(sizes, below.strides, strict=True) if size != 1])
    return Strided(below.offset, tuple(0 if size == 1 else next(moving) for size in node.result.sizes))


_STRIDED: dict[str, Callable[[Tensor, Strided], Strided]] = {
    "transpose": _transposed,
    "strided_slice": _sliced,
    "windows": _windowed,
}
_THIN = frozenset(("reshape", "squeeze", "expand_dims"))
_SEEN = {**_STRIDED, **dict.fromkeys(_THIN, _thinned)}
