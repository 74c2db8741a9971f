"""Rules of parts: slices of slices, of joined, embedded, broadcast and computed values."""

from __future__ import annotations

from graphc import ops
from graphc.sizes import Size, maximum, product
from graphc.tensor import Tensor
from passes.match import is_certain
from passes.rewrite import Match, Rule, rule
from passes.simplification.matching import NUMBERS, is_at_least, is_number, like, scalar
from passes.simplification.vocabulary import (
    broadcast_to,
    concat,
)

Sizes = tuple[Size, ...]
_MEETINGS = frozenset((ops.strided_slice, concat, ops.embed))


def is_inside(whole: Sizes, part: Sizes, starts: Sizes, steps: tuple[int, ...]) -> bool:
    """Whether a slice of `whole` surely takes nothing that is not there."""
    return all(map(_is_inside, whole, part, starts, steps))


def _is_inside(extent: Size, count: Size, start: Size, step: int) -> bool:
    if count == 0 or (start == 0 and count == extent and step == 1):
        return True
    if step == -1 and count == extent and start in (extent - 1, maximum(extent - 1, 0)):
        return True
    if not isinstance(count, int):  # it may be 0, which takes nothing, or more
        return step > 0 and is_at_least(start, 0) and is_at_least(extent - 1, start + (count - 1) * step)
    first, last = sorted_ends(start, count, step)
    return is_at_least(first, 0) and is_at_least(extent - 1, last)


def sorted_ends(start: Size, count: Size, step: int) -> tuple[Size, Size]:
    """The lowest and the highest index that a slice takes."""
    end = start + (count - 1) * step
    return (start, end) if step > 0 else (end, start)


def takes_inside(node: Tensor) -> bool:
    """Whether the slice `node` surely takes nothing that is not there."""
    attrs = node.attrs
    return is_inside(node.inputs[0].result.sizes, attrs["sizes"], attrs["starts"], attrs["steps"])


def _stays_inside(node: Tensor) -> bool:
    """Whether the embedding `node` surely places nothing outside."""
    attrs = node.attrs
    return is_inside(attrs["shape"], node.inputs[0].result.sizes, attrs["starts"], attrs["steps"])


@rule(ops.strided_slice)
def slice_of_all(match: Match) -> Tensor | None:
    """``x[0:n] -> x`` where n is the size."""
    (x,) = match.inputs
    starts, counts, steps = (match.attrs[key] for key in ("starts", "sizes", "steps"))
    whole = x.result.sizes
    same = all(
        count == extent and start == 0 and (step == 1 or extent == 1)
        for start, count, step, extent in zip(starts, counts, steps, whole, strict=True)
    )
    return x if same else None


@rule(ops.embed)
def embed_in_own_shape(match: Match) -> Tensor | None:
    """``embed(x, its shape) -> x``."""
    (x,) = match.inputs
    attrs = match.attrs
    if x.type != match.node.type or any(start != 0 for start in attrs["starts"]):
        return None
    return x if all(step == 1 for step in attrs["steps"]) else None


@rule(ops.embed, of=NUMBERS)
def embed_of_zeros(match: Match) -> Tensor | None:
    """``embed(0, s) -> 0`` in the shape s."""
    (x,) = match.inputs
    return like(match.node, 0) if is_number(x, 0) and _stays_inside(match.node) else None


@rule(ops.strided_slice, of=(ops.strided_slice,))
def slice_twice(match: Match) -> Tensor | None:
    """``x[a::s][b::t] -> x[a + b * s::s * t]``."""
    (inner,) = match.inputs
    if inner.op is not ops.strided_slice or not (takes_inside(inner) and takes_inside(match.node)):
        return None
    first, then = inner.attrs, match.attrs
    pairs = zip(first["starts"], first["steps"], then["starts"], strict=True)
    return ops.strided_slice(
        inner.inputs[0],
        starts=tuple(maximum(a + b * s, 0) if s < 0 else a + b * s for a, s, b in pairs),
        sizes=then["sizes"],
        steps=tuple(s * t for s, t in zip(first["steps"], then["steps"], strict=True)),
    )


@rule(ops.strided_slice, of=(broadcast_to,))
def slice_of_broadcast(match: Match) -> Tensor | None:
    """``broadcast_to(x, s)[a:b] -> broadcast_to(x[a:b], t)``, whole along the axes that repeat."""
    (inner,) = match.inputs
    if inner.op is not broadcast_to or not takes_inside(match.node) or not is_certain(inner):
        return None
    x, attrs = inner.inputs[0], match.attrs
    lead = len(attrs["starts"]) - len(x.result.sizes)
    rows = zip(attrs["starts"][lead:], attrs["sizes"][lead:], attrs["steps"][lead:], strict=True)
    starts, counts, steps = [], [], []
    if any(a not in (1, b) for a, b in zip(x.result.sizes, inner.result.sizes[lead:], strict=True)):
        return None  # sizes that are equal at the run, if all is well
    for extent, (start, count, step) in zip(x.result.sizes, rows, strict=True):
        repeats = extent == 1
        starts.append(0 if repeats else start)
        counts.append(1 if repeats else count)
        steps.append(1 if repeats else step)
    part = ops.strided_slice(x, starts=tuple(starts), sizes=tuple(counts), steps=tuple(steps))
    return broadcast_to(part, shape=match.node.result.sizes)


@rule(ops.strided_slice, of=(concat,))
def slice_of_joined(match: Match) -> Tensor | None:
    """``concat(x, y)[a:b] -> x[a:b]`` where that lies inside of x, and so for every part."""
    (joined,) = match.inputs
    if joined.op is not concat or not is_certain(joined) or not takes_inside(match.node):
        return None
    axis, attrs = joined.attrs["axis"], match.attrs
    count = attrs["sizes"][axis]
    low, high = sorted_ends(attrs["starts"][axis], count, attrs["steps"][axis])
    begin: Size = 0
    for part in joined.inputs:
        end = begin + part.result.sizes[axis]
        if is_at_least(low, begin) and is_at_least(end - 1, high):
            if not all(other is part or match.is_droppable(other) for other in joined.inputs):
                return None
            starts = tuple(s - begin if i == axis else s for i, s in enumerate(attrs["starts"]))
            return ops.strided_slice(part, starts=starts, sizes=attrs["sizes"], steps=attrs["steps"])
        begin = end
    return None


@rule(ops.strided_slice, of=(ops.embed,))
def slice_of_embedded(match: Match) -> Tensor | None:
    """``embed(x, s, a)[a:b] -> x``: what was placed there."""
    (whole,) = match.inputs
    if whole.op is not ops.embed or whole.inputs[0].type != match.node.type or not _stays_inside(whole):
        return None
    same = all(whole.attrs[key] == match.attrs[key] for key in ("starts", "steps"))
    return whole.inputs[0] if same else None


@rule(ops.strided_slice, of=(ops.transpose,))
def slice_of_transpose(match: Match) -> Tensor | None:
    """``transpose(x, p)[a:b] -> transpose(x[a:b], p)``: slices go towards the inputs."""
    (inner,) = match.inputs
    if inner.op is not ops.transpose or not match.used_once(inner):
        return None
    axes = inner.attrs["axes"]
    place = [axes.index(i) for i in range(len(axes))]
    starts, counts, steps = (
        tuple(match.attrs[key][i] for i in place) for key in ("starts", "sizes", "steps")
    )
    part = ops.strided_slice(inner.inputs[0], starts=starts, sizes=counts, steps=steps)
    return ops.transpose(part, axes=axes)


@rule(ops.strided_slice)
def slice_of_elementwise(match: Match) -> Tensor | None:
    """``f(x)[a:b] -> f(x[a:b])`` where f is elementwise, and half of its work or more is not asked for.

    Smaller slices go there only to meet another slice or a join: else each of a long chain would walk
    down all of it.
    """
    (made,) = match.inputs
    if made.op.family != "elementwise" or made.op.fallible or not match.used_once(made):
        return None
    whole, part = made.result.sizes, match.node.result.sizes
    if whole == part or any(x.result.sizes not in ((), whole) for x in made.inputs):
        return None
    meets = any(x.op in _MEETINGS for x in made.inputs)
    if not meets and not is_at_least(product(whole), product(part) * 2):
        return None
    parts = (ops.strided_slice(x, **match.attrs) if x.result.sizes else x for x in made.inputs)
    return made.op(*parts, **made.attrs)


@rule(ops.strided_slice, of=(ops.iota,))
def slice_of_counter(match: Match) -> Tensor | None:
    """``iota(n)[a:a + m] -> iota(m) + a``."""
    (counter,) = match.inputs
    if counter.op is not ops.iota or counter.inputs:
        return None
    (start,), (count,), (step,) = (match.attrs[key] for key in ("starts", "sizes", "steps"))
    if step != 1 or not takes_inside(match.node):
        return None
    if not isinstance(start, int) or not match.used_once(counter):
        return None
    made = ops.iota(shape=(count,))
    return made if start == 0 else ops.add(made, scalar(start, made.dtype))


RULES: tuple[Rule, ...] = (
    *(slice_of_all, embed_in_own_shape, embed_of_zeros, slice_twice, slice_of_broadcast),
    *(slice_of_joined, slice_of_embedded, slice_of_transpose, slice_of_elementwise, slice_of_counter),
)
FAST_RULES: tuple[Rule, ...] = ()
