"""Dead results: what nobody reads of a region is not computed, carried or handed to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain

from graphc.descent import Descent, descend
from graphc.function import Function, rebuild, topological, with_inputs
from graphc.ops.elementwise import identity
from graphc.ops.loop import Parts, loop, varies
from graphc.ops.region import _cond as cond
from graphc.ops.state import pick
from graphc.sizes import Size
from graphc.tensor import Tensor
from passes.record import Decision, decide
from passes.rewrite import bodies_of, with_bodies
from passes.target import PLAIN, Target


def drop_dead_results(function: Function, target: Target = PLAIN) -> Function:
    """`function` whose regions give, carry and take only what is used; the same object where all is.

    A loop variable lives if its last value is read, or if the condition, an effect, a stacked value
    that is read, or another living variable depends on it. What a loop gives as it was given is taken
    from where the loop takes it.
    """
    return descend(_dropped(function, {})) if function.has_regions() else function


def _dropped(function: Function, settled: dict[Function, Function]) -> Descent[Function]:
    """As `drop_dead_results`; `settled` is what became of functions already."""
    began = function
    while function not in settled:
        smaller = _drop_once(_forward(function))
        if smaller is function:  # a body whose own regions shrink may no longer need what it is given
            for body in bodies_of(function):
                if body not in settled:
                    settled[body] = yield _dropped(body, settled)
            smaller = with_bodies(function, settled)
            if smaller is function:
                settled[function] = function
        function = smaller  # a region that shrinks reads less of those before it
    settled[began] = settled[function]
    return settled[began]


def _forward(function: Function) -> Function:
    """`function` with the operands of loops in place of results that they are themselves."""
    if loop not in [region.op for region in function.regions()]:
        return function
    picks = [node for node in function.nodes() if node.op is pick and node.inputs[0].op is loop]
    passed = {node for node in picks if _given(node.inputs[0], node.attrs["index"]) is not None}
    if not passed:
        return function

    def make(node: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
        made = with_inputs(node, inputs)
        if node not in passed:
            return made
        given = _given(inputs[0], node.attrs["index"])
        if given is None or given.type != node.type:
            return made
        if not decide(Decision("dead", "loop", True, "a result as it was given", node.loc), made, given):
            return made
        return given if node.name is None else replace(made, op=identity, inputs=(given,), attrs={})

    return rebuild(function, make)[0]


def _given(node: Tensor, index: int) -> Tensor | None:
    """The operand of a loop that its result number `index` is; None where it is not one.

    So it is with a value that every step hands on, and with slices that are stacked in their places; but
    not of a loop whose condition sees the same in all steps: once begun it never ends, and gives nothing.
    """
    body: Function = node.attrs["body"]
    carried, scanned = node.attrs["carried"], node.attrs["scanned"]
    value = body.outputs[index]
    places = (index,) if index < carried else range(carried, carried + scanned)
    condition: Function | None = node.attrs["condition"]
    if condition is not None:
        read = set(topological(condition.outputs))
        turns = (i for i in range(carried) if body.outputs[i] is not body.inputs[i])
        if index >= carried or not any(condition.inputs[i] in read for i in turns):
            return None
    return next((node.inputs[i] for i in places if body.inputs[i] is value), None)


def _drop_once(function: Function) -> Function:
    nodes = function.nodes()
    regions = [node for node in function.regions() if node.op is cond or node.op is loop]
    if not regions:
        return function
    used: dict[Tensor, set[int]] = {node: set() for node in regions}
    for node in nodes:
        if node.op is pick and node.inputs[0] in used:
            used[node.inputs[0]].add(node.attrs["index"])
    witnesses = {node for node in regions if node.attrs["shape"]}
    if witnesses:  # that are asked for the sizes that their results have
        witnesses &= set(chain.from_iterable([n.inputs for n in nodes if n.op is not pick]))
    shrinking = {
        node for node in regions if node not in witnesses and _shrunk(node, used[node])[0] is not node
    }
    if not shrinking:
        return function
    kept: dict[Tensor, Sequence[int]] = {}  # of each region that shrank: the results that are left

    def make(node: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
        if node.op is pick and node.inputs[0] in kept:
            index = kept[node.inputs[0]].index(node.attrs["index"])
            return replace(node, inputs=inputs, attrs={"index": index})
        made = with_inputs(node, inputs)
        if node not in shrinking:
            return made
        smaller, left = _shrunk(made, used[node])
        found = Decision("dead", node.op.name, True, "never read", node.loc, {"results": len(left)})
        if not decide(found, made, smaller):
            return made
        kept[node] = left
        return smaller

    return rebuild(function, make)[0]


def _shrunk(node: Tensor, used: set[int]) -> tuple[Tensor, Sequence[int]]:
    """`node` with its `used` results alone, and which of them are left; itself where all are used."""
    return _shrunk_cond(node, used) if node.op is cond else _shrunk_loop(node, used)


def _shrunk_cond(node: Tensor, used: set[int]) -> tuple[Tensor, Sequence[int]]:
    then, orelse = node.attrs["then"], node.attrs["orelse"]
    left = sorted(used)
    reached = _reached([then, orelse], left)
    captured = [
        i for i in range(len(then.inputs)) if then.inputs[i] in reached or orelse.inputs[i] in reached
    ]
    if len(left) == len(then.outputs) and len(captured) == len(then.inputs):
        return node, left
    shape, given = [], iter(node.attrs["shape"])
    for i, (x, y) in enumerate(zip(then.outputs, orelse.outputs, strict=True)):
        for a, b in zip(x.result.shape or (), y.result.shape or (), strict=False):
            if a != b:
                size = next(given)
                if i in used:
                    shape.append(size)
    inputs = (node.inputs[0], *(node.inputs[1 + i] for i in captured))
    first = len(then.outputs) - len(node.attrs["state"])
    attrs = {
        **node.attrs,
        "then": _restricted(then, captured, left),
        "orelse": _restricted(orelse, captured, left),
        "shape": tuple(shape),
        "state": tuple(name for i, name in enumerate(node.attrs["state"]) if first + i in used),
    }
    return replace(node, inputs=inputs, attrs=attrs, type=cond.infer(inputs, attrs)), left


def _shrunk_loop(node: Tensor, used: set[int]) -> tuple[Tensor, Sequence[int]]:
    body, condition = node.attrs["body"], node.attrs["condition"]
    carried, scanned = node.attrs["carried"], node.attrs["scanned"]
    formal = Parts.of(body.inputs, carried, scanned)
    alive = set(used)
    while True:  # each round finds the carried values that the ones found so far depend on
        reached = _reached([body], sorted(alive))
        if condition is not None:
            tested = _reached([condition], [0])
            reached |= {b for b, c in _pairs(body, condition, carried, scanned) if c in tested}
        wider = alive | {i for i, tensor in enumerate(formal.starts) if tensor in reached}
        if wider == alive:
            break
        alive = wider
    left = sorted(alive)
    inputs = [i for i, t in enumerate(body.inputs) if (i in alive if i < carried else t in reached)]
    if condition is None and not any(carried <= i < carried + scanned for i in inputs):
        inputs = sorted({*inputs, carried})  # one array must be left to walk
    if len(left) == len(body.outputs) and len(inputs) == len(body.inputs):
        return node, left
    first = carried - len(node.attrs["state"])
    attrs = {
        **node.attrs,
        "body": _restricted(body, inputs, left),
        "carried": sum(i < carried for i in left),
        "scanned": sum(carried <= i < carried + scanned for i in inputs),
        "shape": _left_sizes(node, alive),
        "state": tuple(name for i, name in enumerate(node.attrs["state"]) if first + i in alive),
    }
    if condition is not None:
        own = [i if i < carried else i - scanned for i in inputs if not carried <= i < carried + scanned]
        attrs["condition"] = _restricted(condition, own, [0])
    operands = tuple(node.inputs[i] for i in inputs)
    return replace(node, inputs=operands, attrs=attrs, type=loop.infer(operands, attrs)), left


def _pairs(
    body: Function, condition: Function, carried: int, scanned: int
) -> Iterable[tuple[Tensor, Tensor]]:
    """The inputs that body and condition have in common."""
    shared = (*body.inputs[:carried], *body.inputs[carried + scanned :])
    return zip(shared, condition.inputs, strict=True)


def _left_sizes(node: Tensor, alive: set[int]) -> tuple[Size, ...]:
    """The sizes that the loop still binds when only the results in `alive` are left."""
    body, carried = node.attrs["body"], node.attrs["carried"]
    given = iter(node.attrs["shape"])
    left: list[Size] = []
    if node.attrs["condition"] is not None and len(body.outputs) > carried:
        steps = next(given)
        if any(i >= carried for i in alive):
            left.append(steps)
    for i, (start, formal) in enumerate(zip(node.inputs[:carried], body.inputs, strict=False)):
        for a, f in zip(start.result.shape or (), formal.result.shape or (), strict=False):
            if varies(a, f):
                size = next(given)
                if i in alive:
                    left.append(size)
    return tuple(left)


def _reached(functions: Iterable[Function], outputs: Sequence[int]) -> set[Tensor]:
    """What the given outputs, and the effects, of `functions` depend on."""
    roots = ((*[function.outputs[i] for i in outputs], *function.effects) for function in functions)
    return set(chain.from_iterable(map(topological, roots)))


def _restricted(function: Function, inputs: Sequence[int], outputs: Sequence[int]) -> Function:
    return Function(
        tuple(function.inputs[i] for i in inputs),
        tuple(function.outputs[i] for i in outputs),
        function.effects,
    )
