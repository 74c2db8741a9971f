"""Rules of movement: reshapes, transposes and broadcasts that do nothing, or meet; order and markers."""

from __future__ import annotations

from graphc import ops
from graphc.sizes import product
from graphc.tensor import Tensor
from passes.match import is_certain
from passes.rewrite import Match, Rule, rule
from passes.simplification.matching import RESHAPES, is_whole, number, scalar, vector
from passes.simplification.vocabulary import (
    broadcast_to,
    ensure_shape,
    expand_dims,
    reshape,
    squeeze,
)


@rule(ops.identity, ops.stop_gradient)
def identity_of(match: Match) -> Tensor | None:
    """``identity(x) -> x``, and ``stop_gradient(x) -> x`` once gradients are answered."""
    return match.inputs[0]


@rule(reshape, squeeze, broadcast_to, ensure_shape)
def moved_to_own_shape(match: Match) -> Tensor | None:
    """``reshape(x, its shape) -> x``, and so for `broadcast_to`, `ensure_shape`, `squeeze` of no axis."""
    (x,) = match.inputs
    return x if x.type == match.node.type else None


@rule(reshape, expand_dims, squeeze, of=tuple(RESHAPES))
def reshape_twice(match: Match) -> Tensor | None:
    """``reshape(reshape(x, s), t) -> reshape(x, t)``, and so for `expand_dims` and `squeeze`."""
    (inner,) = match.inputs
    if inner.op not in RESHAPES or not (is_certain(inner) and is_certain(match.node)):
        return None
    x = inner.inputs[0]
    return x if x.type == match.node.type else reshape(x, shape=match.node.result.sizes)


@rule(ops.transpose)
def transpose_nothing(match: Match) -> Tensor | None:
    """``transpose(x, (0, 1, ...)) -> x``."""
    (x,) = match.inputs
    axes = match.attrs["axes"]
    return x if axes == tuple(range(len(axes))) else None


@rule(ops.transpose, of=(ops.transpose,))
def transpose_twice(match: Match) -> Tensor | None:
    """``transpose(transpose(x, p), q) -> transpose(x, p[q])``."""
    (inner,) = match.inputs
    if inner.op is not ops.transpose:
        return None
    return ops.transpose(inner.inputs[0], axes=tuple(inner.attrs["axes"][i] for i in match.attrs["axes"]))


@rule(ops.transpose)
def transpose_as_reshape(match: Match) -> Tensor | None:
    """``transpose(x, p) -> reshape(x, s)`` where p moves axes of size 1 only."""
    (x,) = match.inputs
    moved = [i for i in match.attrs["axes"] if x.result.sizes[i] != 1]
    if moved != sorted(moved):
        return None
    return reshape(x, shape=match.node.result.sizes)


@rule(broadcast_to, of=(broadcast_to,))
def broadcast_twice(match: Match) -> Tensor | None:
    """``broadcast_to(broadcast_to(x, s), t) -> broadcast_to(x, t)``."""
    (inner,) = match.inputs
    if inner.op is not broadcast_to or not is_certain(inner):
        return None
    return broadcast_to(inner.inputs[0], shape=match.node.result.sizes)


@rule(broadcast_to, of=tuple(RESHAPES))
def broadcast_of_new_axes(match: Match) -> Tensor | None:
    """``broadcast_to(reshape(x, (1, ..., s)), t) -> broadcast_to(x, t)`` where s is the shape of x."""
    (inner,) = match.inputs
    if inner.op not in RESHAPES:
        return None
    x = inner.inputs[0]
    own, made = x.result.sizes, inner.result.sizes
    lead = len(made) - len(own)
    if lead < 1 or made != (1,) * lead + own:
        return None
    return broadcast_to(x, shape=match.node.result.sizes)


@rule(broadcast_to)
def broadcast_as_reshape(match: Match) -> Tensor | None:
    """``broadcast_to(x, (1, ..., s)) -> reshape(x, (1, ..., s))`` where s is the shape of x."""
    (x,) = match.inputs
    own, made = x.result.sizes, match.node.result.sizes
    lead = len(made) - len(own)
    if lead < 1 or made != (1,) * lead + own or number(x) is not None:
        return None
    return reshape(x, shape=made)


@rule(reshape, expand_dims, squeeze, of=(broadcast_to,))
def reshape_of_one_number(match: Match) -> Tensor | None:
    """``reshape(broadcast_to(x, s), t) -> broadcast_to(x, t)`` where x has no axes."""
    (inner,) = match.inputs
    if inner.op is not broadcast_to or inner.inputs[0].result.sizes or not is_certain(match.node):
        return None
    return broadcast_to(inner.inputs[0], shape=match.node.result.sizes)


@rule(ops.transpose, of=(broadcast_to,))
def transpose_of_broadcast(match: Match) -> Tensor | None:
    """``transpose(broadcast_to(x, s), p) -> broadcast_to(transpose(x, p), s[p])``."""
    (inner,) = match.inputs
    if inner.op is not broadcast_to:
        return None
    x, shape = inner.inputs[0], match.node.result.sizes
    rank = len(x.result.sizes)
    if rank == 0:
        return broadcast_to(x, shape=shape)
    return broadcast_to(ops.transpose(x, **match.attrs), shape=shape) if rank == len(shape) else None


@rule(ops.filled_like)
def filled_as_broadcast(match: Match) -> Tensor | None:
    """``filled_like(x, value) -> broadcast_to(value, s)`` where s is the shape of x."""
    x, value = match.inputs
    return broadcast_to(value, shape=match.node.result.sizes) if match.is_droppable(x) else None


@rule(ops.shape, ops.size, ops.rank)
def known_sizes(match: Match) -> Tensor | None:
    """``shape(x) -> a constant``, likewise `size` and `rank`, where it is known."""
    (x,) = match.inputs
    sizes, node = x.result.sizes, match.node
    if not match.is_droppable(x):
        return None
    if node.op is ops.rank:
        return scalar(len(sizes), node.dtype)
    if not is_whole(sizes):
        return None
    return vector(sizes) if node.op is ops.shape else scalar(product(sizes), node.dtype)


@rule(ops.shape, ops.size)
def sizes_of_elementwise(match: Match) -> Tensor | None:
    """``shape(f(x)) -> shape(x)`` where f is elementwise and keeps the shape, likewise `size`."""
    (made,) = match.inputs
    if made.op.family != "elementwise":
        return None
    for x in made.inputs:
        others = [other for other in made.inputs if other is not x]
        if x.result.shape == made.result.shape and is_certain(made) and all(map(match.is_droppable, others)):
            return match.node.op(x)
    return None


@rule(ops.after)
def after_nothing(match: Match) -> Tensor | None:
    """``after(x, y) -> x`` where nobody notices that y runs."""
    x, *dependencies = match.inputs
    kept = [y for y in dict.fromkeys(dependencies) if y is not x and not match.is_droppable(y)]
    if len(kept) == len(dependencies):
        return None
    return ops.after(x, *kept) if kept else x


@rule(ops.after, of=(ops.after,))
def after_twice(match: Match) -> Tensor | None:
    """``after(after(x, y), z) -> after(x, y, z)``."""
    inner, *dependencies = match.inputs
    if inner.op is not ops.after or not match.used_once(inner):
        return None
    return ops.after(*inner.inputs, *dependencies)


# Through elementwise ops, where two of a kind meet.

_DEPTH = 8  # elementwise ops that are looked through


def _chain(match: Match, bottom: frozenset[object]) -> tuple[Tensor, list[Tensor]] | None:
    """What lies below functions of one operand, each used once, if its op is in `bottom`; and those."""
    node, chain = match.inputs[0], list[Tensor]()
    while node.op.family == "elementwise" and len(node.inputs) == 1 and len(chain) < _DEPTH:
        if not match.used_once(node):
            return None
        chain.append(node)
        node = node.inputs[0]
    return (node, chain) if chain and node.op in bottom else None


def _rebuilt(x: Tensor, chain: list[Tensor]) -> Tensor:
    for node in reversed(chain):
        x = node.op(x, **node.attrs)
    return x


@rule(ops.transpose)
def transposes_meet(match: Match) -> Tensor | None:
    """``transpose(f(transpose(x, p)), q) -> f(transpose(x, p[q]))`` where f is elementwise."""
    found = _chain(match, frozenset((ops.transpose,)))
    if found is None:
        return None
    inner, chain = found
    axes = tuple(inner.attrs["axes"][i] for i in match.attrs["axes"])
    return _rebuilt(ops.transpose(inner.inputs[0], axes=axes), chain)


@rule(reshape, expand_dims, squeeze)
def reshapes_meet(match: Match) -> Tensor | None:
    """``reshape(f(reshape(x, s)), t) -> f(reshape(x, t))`` where f is elementwise."""
    found = _chain(match, RESHAPES)
    if found is None or not (is_certain(found[0]) and is_certain(match.node)):
        return None
    inner, chain = found
    return _rebuilt(reshape(inner.inputs[0], shape=match.node.result.sizes), chain)


RULES: tuple[Rule, ...] = (
    *(identity_of, moved_to_own_shape, reshape_twice, transpose_nothing, transpose_twice),
    *(transpose_as_reshape, broadcast_twice, broadcast_of_new_axes, broadcast_as_reshape),
    *(reshape_of_one_number, transpose_of_broadcast, filled_as_broadcast, known_sizes),
    *(sizes_of_elementwise, after_nothing, after_twice, transposes_meet, reshapes_meet),
)
FAST_RULES: tuple[Rule, ...] = ()
