"""Rules of joining: concat and stack of one, of nothing, of each other, of what was apart."""

from __future__ import annotations

from graphc import ops
from graphc.conversion import as_tensor
from graphc.tensor import Tensor
from passes.match import is_certain
from passes.rewrite import Match, Rule, rule
from passes.simplification.slicing import takes_inside
from passes.simplification.vocabulary import broadcast_to, concat, expand_dims, reshape, squeeze, stack

_MOST_PARTS = 64  # that are joined in one: a chain of joins would grow with the square of its length


@rule(concat)
def join_one(match: Match) -> Tensor | None:
    """``concat(x) -> x``."""
    return match.inputs[0] if len(match.inputs) == 1 else None


@rule(stack)
def stack_one(match: Match) -> Tensor | None:
    """``stack(x) -> expand_dims(x)``."""
    return expand_dims(match.inputs[0], **match.attrs) if len(match.inputs) == 1 else None


@rule(concat)
def join_nothing(match: Match) -> Tensor | None:
    """``concat(x, y) -> concat(x)`` where y has no elements."""
    axis = match.attrs["axis"]
    kept = [x for x in match.inputs if x.result.sizes[axis] != 0 or not match.is_droppable(x)]
    if len(kept) == len(match.inputs) or not kept or not is_certain(match.node):
        return None
    return concat(*kept, axis=axis)


@rule(concat, of=(concat,))
def join_in_turn(match: Match) -> Tensor | None:
    """``concat(concat(x, y), z) -> concat(x, y, z)`` along one axis."""
    axis = match.attrs["axis"]

    def nests(x: Tensor) -> bool:
        return x.op is concat and x.attrs["axis"] == axis and match.used_once(x)

    if not any(map(nests, match.inputs)) or not is_certain(match.node):
        return None
    flat = [part for x in match.inputs for part in (x.inputs if nests(x) else (x,))]
    if len(flat) > _MOST_PARTS:
        return None
    return concat(*flat, axis=axis)


@rule(concat, of=(ops.strided_slice,))
def join_neighbours(match: Match) -> Tensor | None:
    """``concat(x[a:b], x[b:c]) -> x[a:c]``, and so for neighbours among more."""
    axis, parts = match.attrs["axis"], list(match.inputs[:1])
    for part in match.inputs[1:]:
        whole = _joined(parts[-1], part, axis)
        if whole is None:
            parts.append(part)
        else:
            parts[-1] = whole
    if len(parts) == len(match.inputs):
        return None
    return concat(*parts, axis=axis)


def _joined(x: Tensor, y: Tensor, axis: int) -> Tensor | None:
    """The slice that `x` and `y`, one after the other, are."""
    if x.op is not ops.strided_slice or y.op is not ops.strided_slice or x.inputs != y.inputs:
        return None
    first, then = x.attrs, y.attrs
    for i in range(len(first["starts"])):
        step = first["steps"][i]
        start = first["starts"][i] + (first["sizes"][i] * step if i == axis else 0)
        if then["steps"][i] != step or then["starts"][i] != start:
            return None
        if i != axis and then["sizes"][i] != first["sizes"][i]:
            return None
    if not (takes_inside(x) and takes_inside(y)):  # the costliest to know, so the last to be asked
        return None
    counts = tuple(n + (then["sizes"][i] if i == axis else 0) for i, n in enumerate(first["sizes"]))
    return ops.strided_slice(x.inputs[0], starts=first["starts"], sizes=counts, steps=first["steps"])


@rule(stack, of=(ops.strided_slice, squeeze, reshape))
def stack_of_parts(match: Match) -> Tensor | None:
    """``stack(unstack(x)) -> x``."""
    axis, parts = match.attrs["axis"], match.inputs
    whole: Tensor | None = None
    for i, part in enumerate(parts):
        taken = part.inputs[0] if part.op in (squeeze, reshape) else part
        if taken.op is not ops.strided_slice or taken.inputs[0].type != match.node.type:
            return None
        whole = taken.inputs[0] if whole is None else whole
        wanted = tuple(1 if j == axis else n for j, n in enumerate(whole.result.sizes))
        starts = tuple(i if j == axis else 0 for j in range(len(wanted)))
        if taken.inputs[0] is not whole or taken.attrs["sizes"] != wanted or taken.attrs["starts"] != starts:
            return None
        if any(n != 1 and step != 1 for n, step in zip(wanted, taken.attrs["steps"], strict=True)):
            return None
    return whole


@rule(concat, repeated=True)
def join_of_repeated(match: Match) -> Tensor | None:
    """``concat(x, x, ...) -> broadcast_to(x, s)`` where x has size 1 along the axis."""
    x, axis = match.inputs[0], match.attrs["axis"]
    if len(match.inputs) < 2 or any(other is not x for other in match.inputs) or x.result.sizes[axis] != 1:
        return None
    return broadcast_to(x, shape=match.node.result.sizes)


@rule(stack, repeated=True)
def stack_of_repeated(match: Match) -> Tensor | None:
    """``stack(x, x, ...) -> broadcast_to(expand_dims(x), s)``."""
    x, axis = match.inputs[0], match.attrs["axis"]
    if len(match.inputs) < 2 or any(other is not x for other in match.inputs):
        return None
    return broadcast_to(ops.expand_dims(x, axis), shape=match.node.result.sizes)


@rule(ops.add, of=(ops.embed, ops.add))
def join_embedded(match: Match) -> Tensor | None:
    """``embed(x, s, 0) + embed(y, s, a) -> concat(x, y)``, each + 0.0 if of floats, which makes -0.0 0.0."""
    node, pending = match.node, list(match.inputs)
    parts: list[Tensor] = []
    while pending:
        part = pending.pop()
        if part.op is not ops.add and part.op is not ops.embed:
            return None
        if part.type != node.type or not match.used_once(part) or len(parts) == _MOST_PARTS:
            return None
        if part.op is ops.add:
            pending.extend(part.inputs)
        elif all(step == 1 for step in part.attrs["steps"]):
            parts.append(part)
        else:
            return None
    axes = {
        i
        for part in parts
        for i, size in enumerate(part.inputs[0].result.sizes)
        if size != node.result.sizes[i]
    }
    if len(axes) != 1:
        return None
    (axis,) = axes
    whole, begin = node.result.sizes[axis], 0
    if not isinstance(whole, int) or not all(isinstance(part.attrs["starts"][axis], int) for part in parts):
        return None
    parts.sort(key=lambda part: part.attrs["starts"][axis])
    for part in parts:
        count = part.inputs[0].result.sizes[axis]
        starts = [start for i, start in enumerate(part.attrs["starts"]) if i != axis]
        if part.attrs["starts"][axis] != begin or not isinstance(count, int) or any(s != 0 for s in starts):
            return None
        begin += count
    if begin != whole:
        return None
    placed = [part.inputs[0] for part in parts]
    if node.dtype.is_floating:
        zero = as_tensor(0.0, node.dtype)
        placed = [_added(x, zero) for x in placed]
    return concat(*placed, axis=axis)


def _added(x: Tensor, number: Tensor) -> Tensor:
    """``x + number``; of a view added to what it shows, whose kernel may take that along."""
    if x.op in (reshape, expand_dims, squeeze):
        return x.op(ops.add(x.inputs[0], number), **x.attrs)
    return ops.add(x, number)


RULES: tuple[Rule, ...] = (
    join_embedded,
    *(join_one, stack_one, join_nothing, join_in_turn, join_neighbours, stack_of_parts),
    *(join_of_repeated, stack_of_repeated),
)
FAST_RULES: tuple[Rule, ...] = ()
