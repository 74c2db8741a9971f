"""Markers: requests that a pass answers before anything runs, and values that gradients stop at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from graphc.conversion import as_tensor
from graphc.errors import ArgumentError, DTypeError, ShapeError
from graphc.explanation import explains
from graphc.function import bodies, in_order, topological
from graphc.op import op
from graphc.ops.elementwise import add
from graphc.ops.state import pick
from graphc.sizes import meet
from graphc.tensor import Tensor, describe
from graphc.types import TensorType, TupleType, promote
from graphc.variable import Variable


@op("marker")
def gradient_request(*operands: Tensor, ys: int, seeds: int, stops: int) -> TupleType:
    """Asks for the gradient of the first `ys` operands, summed, towards the last ones.

    After the ys come `seeds` cotangents (none: ones), `stops` tensors that the sweep does not cross,
    and the xs; one result for each x, of its type. `passes/differentiation.py` answers it.

    Shapes: ``ys, seeds, stops, xs -> xs``.
    """
    return TupleType(tuple(x.result for x in operands[ys + seeds + stops :]))


gradient_request.gradient(None)


@explains
def gradients(
    ys: Any,
    xs: Any,
    grad_ys: Any = None,
    stop_gradients: Any = None,
    unconnected: str = "none",
) -> list[Tensor | None]:
    """The derivatives of ``sum(ys)`` towards each of `xs`.

    Args:
        ys: a tensor or a list of tensors, float.
        xs: a tensor or Variable or a list; for a Variable, all its reads add up.
        grad_ys: cotangents to begin with, one for each y (None in the list: ones).
        stop_gradients: tensors and Variables (all reads of them) taken as constants. An x among them
            has the derivative in which it alone varies; a Variable's reads among them do not add up.
        unconnected: ``"none"`` gives None for an x that no y depends on, ``"zero"`` zeros.

    Returns: a list as long as `xs`, each of the shape and dtype of its x.

    Raises: DTypeError for ys that are not float; ArgumentError, ShapeError.
    """
    if unconnected not in ("none", "zero"):
        raise ArgumentError(f'unconnected is "none" or "zero", not {unconnected!r}')
    targets = _targets(ys)
    seeds = _seeds(targets, grad_ys)
    wanted: list[Any] = [xs] if xs is None else _listed(xs)
    cuts = _listed(stop_gradients)
    for what, given in (("an x", wanted), ("what gradients stop at", cuts)):
        for x in given:
            if not isinstance(x, Tensor | Variable):
                raise ArgumentError(f"gradients: {what} is a tensor or a variable, not {x!r}")
    stops = [cut for cut in cuts if not isinstance(cut, Variable)]
    ancestors = topological(targets)
    reads = _reads(ancestors, [x for x in (*wanted, *cuts) if isinstance(x, Variable)])
    reads = {x: [r for r in found if r not in stops] for x, found in reads.items()}
    stops += [read for x in cuts if isinstance(x, Variable) for read in reads[x]]
    points = [reads.get(x, []) if isinstance(x, Variable) else [x] for x in wanted]
    reached = connected(ancestors, targets, {p for group in points for p in group}, set(stops))
    asked = list(dict.fromkeys(p for group in points for p in group if p in reached))
    answers = _request(targets, seeds, stops, asked, ancestors) if asked else {}
    return [
        _summed([answers[p] for p in group if p in answers], x, unconnected)
        for x, group in zip(wanted, points, strict=True)
    ]


def _targets(ys: Any) -> list[Tensor]:
    targets = [as_tensor(y) for y in _listed(ys)]
    if not targets:
        raise ArgumentError("gradients of no ys")
    for y in targets:
        if not y.dtype.is_floating:
            raise DTypeError(f"gradients: {describe(y)} is {y.type}, and only floats have a slope")
    return targets


def _request(
    ys: Sequence[Tensor],
    seeds: Sequence[Tensor],
    stops: Sequence[Tensor],
    xs: Sequence[Tensor],
    ancestors: Sequence[Tensor],
) -> dict[Tensor, Tensor]:
    """The node that asks for the derivatives towards `xs`; gives each of them."""
    from graphc.tracing import bring_inside  # tracing builds on ops

    new = bring_inside(ys, xs, ancestors)
    ends, stopped, begins = ([new.get(t, t) for t in each] for each in (ys, stops, xs))
    request = gradient_request(
        *ends, *seeds, *stopped, *begins, ys=len(ys), seeds=len(seeds), stops=len(stops)
    )
    return {x: pick(request, index=i) for i, x in enumerate(xs)}


def _listed(given: Any) -> list[Any]:
    if given is None:
        return []
    return list(given) if isinstance(given, list | tuple) else [given]


def _seeds(ys: Sequence[Tensor], grad_ys: Any) -> list[Tensor]:
    from graphc.ops.filling import ones_like  # ops build on this module
    from graphc.ops.movement import ensure_shape  # likewise

    if grad_ys is None:
        return []
    given = _listed(grad_ys)
    if len(given) != len(ys):
        raise ArgumentError(f"gradients: {len(ys)} ys and {len(given)} grad_ys")
    if all(seed is None for seed in given):
        return []
    seeds = []
    for y, seed in zip(ys, given, strict=True):
        made = ones_like(y) if seed is None else as_tensor(seed)
        if seed is not None and not isinstance(seed, Tensor | Variable):
            made = as_tensor(seed, y.dtype)
        if promote(made.dtype, y.dtype) is not y.dtype:
            raise DTypeError(f"gradients: grad_ys of {made.type} for a y of {y.type}")
        shape, given_shape = y.result.shape, made.result.shape
        if shape is not None and given_shape is not None:
            fits = len(shape) == len(given_shape)
            if not fits or any(meet(a, b) is None for a, b in zip(shape, given_shape, strict=True)):
                raise ShapeError(f"gradients: grad_ys of {made.type} for a y of {y.type}")
            if shape != given_shape:
                made = ensure_shape(made, shape)
        seeds.append(as_tensor(made, y.dtype))
    return seeds


def _reads(nodes: Sequence[Tensor], variables: Sequence[Variable]) -> dict[Variable, list[Tensor]]:
    """The reads of each of `variables` among `nodes`."""
    by_name = {(v.graph, v.name): v for v in variables}
    reads: dict[Variable, list[Tensor]] = {v: [] for v in variables}
    for node in nodes:
        if node.op.name == "variable" and node.owner is not None:
            found = by_name.get((node.owner.root, node.attrs["name"]))
            if found is not None:
                reads[found].append(node)
    return reads


def connected(
    nodes: Sequence[Tensor], ys: Sequence[Tensor], xs: set[Tensor], stops: set[Tensor]
) -> set[Tensor]:
    """Those of `xs` that a differentiable path leads to from some y."""
    reached = set(ys)
    for node in reversed(nodes):
        if node not in reached or (node in stops and node not in xs):
            continue
        if node not in stops:
            reached.update(differentiable_operands(node))
    return {x for x in xs if x in reached}


def differentiable_operands(node: Tensor) -> list[Tensor]:
    """The operands of `node` that a cotangent of it flows to."""
    if node.op is pick or node.op is gradient_request:
        return [i for i in node.inputs if carries_gradient(i)]
    if node.op.gradient_rule is None:
        return []
    if node.op.name == "override_gradient":
        return [node.inputs[i] for i in node.attrs["slopes"]]
    if node.op.has_bodies:
        return [x for i, x in enumerate(node.inputs) if i in _flowing(node)]
    blocked = node.op.nondifferentiable
    return [x for i, x in enumerate(node.inputs) if i not in blocked and carries_gradient(x)]


_flows: WeakKeyDictionary[Tensor, frozenset[int]] = WeakKeyDictionary()  # asked often, and costly in nests


def _flowing(region: Tensor) -> frozenset[int]:
    """The numbers of the operands of a region that some result depends on, differentiably."""
    if region not in _flows:
        for each in in_order([region], _unknown_regions):
            _flows[each] = _flowing_through(each)
    return _flows[region]


def _unknown_regions(region: Tensor) -> list[Tensor]:
    """The regions in the bodies of `region` that `_flowing_through` asks about."""
    nodes = (node for _, body in bodies(region) if body.has_regions() for node in body.nodes())
    return [node for node in nodes if node.op.has_bodies and node not in _flows]


def _flowing_through(region: Tensor) -> frozenset[int]:
    """As `_flowing`, which is known for the regions in it."""
    found = set(range(region.attrs.get("carried", 0)))  # what no step touches
    for _, body in bodies(region):
        ends = [y for y in body.outputs if carries_gradient(y)]
        reached = connected(topological(ends), ends, set(body.inputs), set())
        first = len(region.inputs) - len(body.inputs)  # behind the predicate of a cond
        if first >= 0 and ends:
            found.update(first + i for i, formal in enumerate(body.inputs) if formal in reached)
    return frozenset(i for i in found if carries_gradient(region.inputs[i]))


def carries_gradient(tensor: Tensor) -> bool:
    """Whether `tensor` can have a cotangent: it is float, or has a float among its results."""
    if isinstance(tensor.type, TupleType):
        return any(element.dtype.is_floating for element in tensor.type.elements)
    return tensor.type.dtype.is_floating


def _summed(parts: list[Tensor], x: Tensor | Variable, unconnected: str) -> Tensor | None:
    from graphc.ops.filling import zeros_like  # ops build on this module

    if not parts:
        return None if unconnected == "none" else zeros_like(x)
    total = parts[0]
    for part in parts[1:]:
        total = add(total, part)
    return total


@op("marker")
def stop_gradient(x: Tensor) -> TensorType:
    """`x`, which gradients take as a constant.

    Shapes: ``[...] -> [...]``.
    """
    return x.result


stop_gradient.evaluate(lambda x: x)
stop_gradient.gradient(None)
stop_gradient.example("f64[3]", smooth=False)
