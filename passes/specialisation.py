"""Specialisation: types inferred again after a rank or a size became known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import repeat
from typing import Any

from graphc import sizes
from graphc.descent import Descent, descend
from graphc.dynamic_sizes import known_size, symbolic_value
from graphc.errors import GraphError
from graphc.explanation import explain, tell_operands
from graphc.function import Function, rebuild, topological, with_inputs
from graphc.location import on_behalf_of
from graphc.ops.late_rank import at_rank, open_call, waits
from graphc.ops.loop import loop, state_sizes
from graphc.ops.movement import state_rank
from graphc.ops.region import _cond as cond
from graphc.ops.source import _placeholder as placeholder
from graphc.ops.state import extent
from graphc.sizes import Atom, Size, SizeExpr, Symbol
from graphc.tensor import Tensor
from graphc.types import TensorType, TupleType, Type


def specialise(
    function: Function,
    types: Mapping[Tensor, TensorType],
    values: Mapping[Symbol, Size],
) -> tuple[Function, dict[Tensor, Tensor]]:
    """`function` with the nodes in `types` of these types and the symbols in `values` replaced.

    A node that infers its own rank from its operands keeps to that.

    Returns it with what became of each node. The very same Function comes back when nothing changed.

    Raises: ShapeError, DTypeError where the op at fault does not accept what is now known.
    """
    if not types and not values:
        return function, {}
    return descend(_specialised(function, types, values))


def _specialised(
    function: Function, types: Mapping[Tensor, TensorType], values: Mapping[Symbol, Size]
) -> Descent[tuple[Function, dict[Tensor, Tensor]]]:
    """As `specialise`: what bodies take is known once what stands before their region is made again."""
    new = {node: _retyped(node, types, values) for node in function.inputs}
    values = dict(values)
    for node in _sizes_first(function, new):
        if node in new:
            continue
        inputs = tuple([new[i] for i in node.inputs])
        attrs = _substituted(node.attrs, values, _grown(node, inputs, values))
        if node.op is extent and (size := _length(node, inputs[0])) is not None:
            attrs = {**attrs, "shape": (size,)}
            values.update(_stated_size(node, size))
        if node in types and node.op is placeholder:
            attrs = {**attrs, "shape": _known_shape(types[node], values)}
        elif node.op.body_inputs is not None and (attrs is not node.attrs or inputs != node.inputs):
            attrs = yield _with_bodies(node, inputs, attrs, values)
            if node.op is cond:
                attrs = {**attrs, "shape": _told_apart(node, attrs["then"], attrs["orelse"])}
        new[node] = _inferred(node, inputs, attrs)
        if node.op is not extent and (known := _no_longer_bound(node, new[node])):
            values.update(known)
            new[node] = _without(known, new[node])
        if node.op is state_rank and _tells_sizes(node, inputs[0]):
            values.update(_stated(node, inputs[0]))
            new[node] = (
                inputs[0] if node.name is None else _inferred(node, inputs, {"shape": inputs[0].result.shape})
            )
        if node in types and node.op is not placeholder:
            new[node] = _of_rank(_known_shape(types[node], values), new[node])
    return rebuild(function, lambda node, inputs: node, new)


def _sizes_first(function: Function, inputs: Mapping[Tensor, Tensor]) -> Sequence[Tensor]:
    """The nodes in order, those that tell sizes as early as can be: other nodes name them without an edge."""
    roots = function.outputs + function.effects
    nodes = topological(roots, first=inputs)
    telling = tuple(node for node in nodes if node.op is state_rank or node.op is extent)
    return topological(telling + roots, first=inputs) if telling else nodes


def _length(node: Tensor, length: Tensor) -> Size | None:
    """The size that `node`, an extent, is of where that is arithmetic on shapes whose rank is known now."""
    if length is node.inputs[0] or symbolic_value(node.inputs[0]) is not None:
        return None
    return known_size(length)


def _stated_size(node: Tensor, size: Size) -> dict[Symbol, Size]:
    """What the size that `node` binds is."""
    symbol = sizes.sole_symbol(node.attrs["shape"][0])
    return {} if symbol is None else {symbol: size}


def _tells_sizes(node: Tensor, operand: Tensor) -> bool:
    """Whether what `operand` of `node`, a stated rank, became tells the sizes: its rank, or all of them."""
    was, shape = node.inputs[0].result.shape, operand.result.shape
    if shape is None or shape == was:
        return False
    return was is None or all(isinstance(size, int) for size in shape)


def _stated(node: Tensor, operand: Tensor) -> dict[Symbol, Size]:
    """What the sizes that `node` binds are, its operand being of known rank."""
    pairs = zip(node.result.sizes, operand.result.sizes, strict=True)
    found = {sizes.sole_symbol(bound): size for bound, size in pairs}
    return {symbol: size for symbol, size in found.items() if symbol is not None}


def _told_apart(node: Tensor, then: Function, orelse: Function) -> tuple[Size, ...]:
    """A size for every axis on which the branches of `node` differ: those that it had, and new ones."""
    shape: list[Size] = []
    for old, x, y in zip(_parts(node.type), then.outputs, orelse.outputs, strict=True):
        new = zip(x.result.shape or (), y.result.shape or (), strict=False)
        for was, (a, b) in zip(repeat(None) if old.shape is None else old.shape, new, strict=False):
            if a != b:
                shape.append(was if was is not None and was in node.attrs["shape"] else sizes.unknown())
    return tuple(shape)


def _no_longer_bound(node: Tensor, made: Tensor) -> dict[Symbol, Size]:
    """What the sizes that `node` bound are, where those of `made` are known without it."""
    found: dict[Symbol, Size] = {}
    if not node.op.binds or made.type == node.type:
        return found
    for old, new in zip(_parts(node.type), _parts(made.type), strict=True):
        for was, became in zip(old.shape or (), new.shape or (), strict=False):
            symbol = sizes.sole_symbol(was)
            if symbol is not None and became != was and was in node.attrs["shape"]:
                found[symbol] = became
    return found


def _without(known: Mapping[Symbol, Size], node: Tensor) -> Tensor:
    """`node`, which does not bind the sizes in `known`."""
    shape = tuple(size for size in node.attrs["shape"] if sizes.sole_symbol(size) not in known)
    return replace(node, attrs={**node.attrs, "shape": shape})


def _parts(type: Type) -> Sequence[TensorType]:
    if isinstance(type, TupleType):
        return type.elements
    return (type,)


def _known_shape(type: TensorType, values: Mapping[Symbol, Size]) -> tuple[Size, ...]:
    return tuple(sizes.substitute(size, values) for size in type.sizes)


def _inferred(node: Tensor, inputs: tuple[Tensor, ...], attrs: Mapping[str, Any]) -> Tensor:
    """`node` on `inputs` with `attrs`, its type inferred again where one of them has changed."""
    alike = all(a.type == b.type for a, b in zip(inputs, node.inputs, strict=True))
    if attrs is node.attrs and alike:
        return with_inputs(node, inputs)
    with on_behalf_of(node.loc):
        made = _remade(node, inputs, attrs)
        return open_call(made) if node.op is at_rank and not waits(*inputs) else made


def _remade(node: Tensor, inputs: tuple[Tensor, ...], attrs: Mapping[str, Any]) -> Tensor:
    try:
        attrs = node.op.canonical(inputs, attrs)
        return replace(node, inputs=inputs, attrs=attrs, type=node.op.infer(inputs, attrs))
    except GraphError as error:
        explain(error, node.op.name, node.loc, tell_operands(node.op.labelled(inputs)))
        raise


def _of_rank(shape: tuple[Size, ...], node: Tensor) -> Tensor:
    """`node`, stated to be of `shape` where its rank is still unknown."""
    if node.result.shape is not None:
        return node
    type = TensorType(node.dtype, shape)
    return Tensor(state_rank, (node,), {"shape": shape}, type, node.loc, node.name, node.owner)


def _retyped(node: Tensor, types: Mapping[Tensor, TensorType], values: Mapping[Symbol, Size]) -> Tensor:
    type = types.get(node, node.type)
    type = substitute_type(type, values)
    if type == node.type:
        return node
    assert isinstance(type, TensorType)
    return replace(node, type=type, attrs={**node.attrs, "shape": type.shape})


def substitute_type(type: Type, values: Mapping[Symbol, Size]) -> Type:
    """`type` with the symbols in `values` replaced; the same object where there are none."""
    if isinstance(type, TupleType):
        elements = tuple(substitute_type(element, values) for element in type.elements)
        return type if elements == type.elements else TupleType(elements)  # type: ignore[arg-type]  # of tensor types
    if type.shape is None or not values:
        return type
    shape = tuple(sizes.substitute(size, values) for size in type.shape)
    return type if shape == type.shape else TensorType(type.dtype, shape)


def _grown(node: Tensor, inputs: Sequence[Tensor], values: Mapping[Symbol, Size]) -> dict[SizeExpr, Size]:
    """What sizes of the operands of `node` became, where that is not what `values` says.

    The result of 1 broadcast against n bears the symbol that is now 1, and is of size n.
    """
    grown: dict[SizeExpr, Size] = {}
    for old, new in zip(node.inputs, inputs if values else (), strict=False):
        if old is new or isinstance(old.type, TupleType) or isinstance(new.type, TupleType):
            continue
        for was, became in zip(old.type.shape or (), new.type.shape or (), strict=False):
            if isinstance(was, SizeExpr) and became != sizes.substitute(was, values):
                grown[was] = became
    return grown


def _substituted(
    attrs: Mapping[str, Any], values: Mapping[Symbol, Size], grown: Mapping[SizeExpr, Size]
) -> Mapping[str, Any]:
    if not values:
        return attrs
    known: dict[Atom, Size] = {}
    known.update(values)  # type: ignore[arg-type]  # symbols are atoms
    known.update(_solved(grown, values))
    changed = {}
    for name, value in attrs.items():
        if isinstance(value, tuple) and any(isinstance(item, SizeExpr) for item in value):
            better = tuple(sizes.substitute(item, known, grown) for item in value)
            if better != value:
                changed[name] = better
    return {**attrs, **changed} if changed else attrs


def _solved(grown: Mapping[SizeExpr, Size], values: Mapping[Symbol, Size]) -> dict[Atom, Size]:
    """What atoms must have become for the sizes in `grown` to be what they became.

    In each one atom, the others being what `values` says: of what is computed from symbols rather than of
    these, as more is computed from them.
    """
    found: dict[Atom, Size] = {}
    for was, became in grown.items():
        linear = [(atoms[0], factor) for atoms, factor in was.terms if len(atoms) == 1 and factor > 0]
        for atom, factor in sorted(linear, key=lambda term: (isinstance(term[0], Symbol), term[1]))[:1]:
            if factor == 1 or atom not in found:
                rest = sizes.substitute(was - SizeExpr((((atom,), factor),)), values)
                found[atom] = sizes.floor_divide(became - rest, factor)
    return found


def _as_it_starts(old: Tensor, new: Tensor, formal: Tensor, given: Type) -> Type:
    """`given`, what a body takes for a value that starts as `new`: in sizes in which it started as `old`."""
    if not isinstance(given, TensorType) or None in (given.shape, old.result.shape, new.result.shape):
        return given
    if formal.result.shape is None:
        return given
    axes = zip(given.sizes, old.result.sizes, new.result.sizes, formal.result.sizes, strict=True)
    return TensorType(given.dtype, tuple(n if was == f else size for size, was, n, f in axes))


def _with_bodies(
    node: Tensor, inputs: Sequence[Tensor], attrs: Mapping[str, Any], values: Mapping[Symbol, Size]
) -> Descent[Mapping[str, Any]]:
    assert node.op.body_inputs is not None
    changed = {}
    carried = node.attrs.get("carried", 0)  # a loop hands these on
    for name, given in node.op.body_inputs(*inputs, **attrs).items():
        body: Function = attrs[name]
        starts = zip(node.inputs[:carried], inputs, body.inputs, given, strict=False)
        given = [*(_as_it_starts(*each) for each in starts), *given[carried:]]
        types = {
            formal: type
            for formal, type in zip(body.inputs, given, strict=True)
            if isinstance(type, TensorType) and type != formal.type
        }
        if types or values:
            better, _ = yield _specialised(body, types, values)
            if better is not body:
                changed[name] = state_sizes(better, carried) if name == "body" and node.op is loop else better
    return {**attrs, **changed} if changed else attrs
