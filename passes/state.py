"""State: reads meet the assignments that they see, and assignments in branches come out of them.

Afterwards order is data: a `variable` node reads the value as of the beginning of the run, and every
`assign` of the function itself gives a value that is committed when the run ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from graphc.errors import StateError
from graphc.function import Function, bodies, rebuild, with_inputs
from graphc.graph import graph_frame
from graphc.location import on_behalf_of
from graphc.ops.source import _placeholder as placeholder
from graphc.ops.state import after, assign, pick, variable
from graphc.tensor import Tensor
from graphc.types import TupleType
from passes.target import Target


def thread_state(function: Function, target: Target = Target()) -> Function:  # noqa: B008  Target is frozen
    """`function` with every read that sees an assignment replaced by the assigned value.

    Raises: StateError where two assignments of one variable have no order, or a read sees two.
    """
    if not _assigned(function):
        return function
    function = _lift_assignments(function)
    nodes = function.nodes()
    seen = _visible(nodes)
    _refuse_unordered(nodes, seen)

    def make(node: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
        if node.op is variable and inputs:
            latest = _latest(node, seen)
            if latest is not None:
                value = new[latest] if latest in new else _lifted_value(latest, new)
                return Tensor(after, (value, *inputs), {}, value.type, node.loc, node.name, node.owner)
        new[node] = with_inputs(node, inputs)
        return new[node]

    new: dict[Tensor, Tensor] = {}
    return rebuild(function, make)[0]


def _assigned(function: Function) -> set[str]:
    """The variables that `function` assigns, in its bodies too."""
    names, pending = set(), [function]
    while pending:
        for node in pending.pop().nodes():
            if node.op is assign:
                names.add(node.attrs["variable"])
            pending.extend(body for _, body in bodies(node))
    return names


@dataclass(frozen=True, slots=True)
class _Visible:
    """Which assignments have happened before each node: a bit for each assignment."""

    assignments: list[Tensor]
    before: dict[Tensor, int]


def _visible(nodes: Sequence[Tensor]) -> _Visible:
    assignments = [node for node in nodes if node.op is assign]
    bit = {node: 1 << i for i, node in enumerate(assignments)}
    lifted: dict[Tensor, int] = {}  # a region has done what the assignments lifted out of it do
    for node in assignments:
        for source in _lifted_from(node):
            lifted[source] = lifted.get(source, 0) | bit[node]
    before: dict[Tensor, int] = {}
    for node in nodes:
        mask = bit.get(node, 0) | lifted.get(node, 0)
        for operand in node.inputs:
            mask |= before[operand]
        before[node] = mask
    return _Visible(assignments, before)


def _lifted_from(node: Tensor) -> Iterable[Tensor]:
    value = node.inputs[0]
    if value.op is pick and value.inputs[0].op.has_bodies and node.attrs.get("variable") in _state_of(
        value.inputs[0]
    ):
        yield value.inputs[0]


def _lifted_value(assignment: Tensor, new: dict[Tensor, Tensor]) -> Tensor:
    """What an assignment lifted out of a region assigns, where the region is rebuilt and it is not."""
    picked = assignment.inputs[0]
    return with_inputs(picked, (new[picked.inputs[0]],))


def _state_of(region: Tensor) -> tuple[str, ...]:
    names: tuple[str, ...] = region.attrs.get("state", ())
    return names


def _latest(read: Tensor, seen: _Visible) -> Tensor | None:
    """The last assignment of its variable that `read` sees."""
    mine = [
        (i, node)
        for i, node in enumerate(seen.assignments)
        if node.attrs["variable"] == read.attrs["name"] and seen.before[read] >> i & 1
    ]
    return mine[-1][1] if mine else None


def _refuse_unordered(nodes: Sequence[Tensor], seen: _Visible) -> None:
    last: dict[str, tuple[int, Tensor]] = {}
    for i, node in enumerate(seen.assignments):
        name = node.attrs["variable"]
        if name in last:
            j, earlier = last[name]
            if not seen.before[node] >> j & 1:
                raise StateError(
                    f"variable {name!r} is assigned twice in one run, in no order\n"
                    f"  at {earlier.loc}\n  at {node.loc}\n"
                    "  gc.control_dependencies([first]) around the second gives them one"
                )
        last[name] = (i, node)


# Branches. An assignment in a branch becomes a result of the branch and an assignment after it.


def _lift_assignments(function: Function) -> Function:
    """`function` whose regions assign nothing themselves: they give the new values instead."""
    named = _assigned(function)
    effects: list[Tensor] = []
    picks: dict[Tensor, int] = {}

    def make(node: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
        if not node.op.has_bodies:
            return with_inputs(node, inputs)
        lifted = _lift_region(node, inputs, named)
        if lifted is None:
            return with_inputs(node, inputs)
        assert isinstance(lifted.type, TupleType) and isinstance(node.type, TupleType)
        picks[lifted] = len(node.type.elements)
        for offset, name in enumerate(lifted.attrs["state"]):
            with on_behalf_of(node.loc):
                value = pick(lifted, index=len(node.type.elements) + offset)
                type = value.result
                effects.append(assign(value, variable=name, dtype=type.dtype, shape=type.shape))
        return lifted

    with graph_frame((function.outputs + function.effects + function.inputs)[0].owner):
        result, _ = rebuild(function, make)
    if not effects:
        return result
    return replace(result, effects=(*result.effects, *effects))


def _lift_region(node: Tensor, inputs: tuple[Tensor, ...], named: set[str]) -> Tensor | None:
    """`node` (a `cond`) with the variables that its branches assign among its results."""
    branches = {name: _lift_assignments(body) for name, body in bodies(node)}
    assigned = sorted(set().union(*(_assigned(body) for body in branches.values())))
    read = sorted(set().union(*(_read(body) for body in branches.values())) & named | set(assigned))
    if not read:
        return None
    types = {n.attrs["name"]: n for body in branches.values() for n in body.nodes() if n.op is variable}
    types |= {
        n.attrs["variable"]: n for body in branches.values() for n in body.nodes() if n.op is assign
    }
    outer = tuple(_read_of(name, types[name], inputs[0], node) for name in read)
    changed = {name: _pure_branch(body, read, assigned, types) for name, body in branches.items()}
    attrs = {**node.attrs, **changed, "state": tuple(assigned)}
    operands = (*inputs, *outer)
    return replace(node, inputs=operands, attrs=attrs, type=node.op.infer(operands, attrs))


def _read(function: Function) -> set[str]:
    return {node.attrs["name"] for node in function.nodes() if node.op is variable}


def _read_of(name: str, like: Tensor, dependency: Tensor, region: Tensor) -> Tensor:
    """A read of the variable `name` before `region`, which sees what the region's operand sees."""
    type = like.result
    attrs = {"name": name, "dtype": type.dtype, "shape": type.shape}
    return Tensor(variable, (dependency,), attrs, type, region.loc, None, region.owner)


def _pure_branch(
    body: Function, read: Sequence[str], assigned: Sequence[str], types: dict[str, Tensor]
) -> Function:
    """`body` with the values of the variables in `read` as inputs and of those in `assigned` as outputs."""
    entering = {name: _parameter(name, types[name]) for name in read}
    nodes = body.nodes()
    seen = _visible(nodes)
    _refuse_unordered(nodes, seen)
    last = {node.attrs["variable"]: node for node in seen.assignments}
    new: dict[Tensor, Tensor] = {}

    def make(node: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
        if node.op is variable and node.attrs["name"] in entering:
            latest = _latest(node, seen)
            made = new[latest] if latest is not None else entering[node.attrs["name"]]
            if inputs:
                made = Tensor(after, (made, *inputs), {}, made.type, node.loc, None, node.owner)
        elif node.op is assign:  # its value goes out with the branch
            made = inputs[0]
        else:
            made = with_inputs(node, inputs)
        new[node] = made
        return made

    outputs = (*body.outputs, *(last[name] for name in assigned if name in last))
    effects = tuple(node for node in body.effects if node.op is not assign)
    rebuilt, _ = rebuild(Function(body.inputs, outputs, effects), make)
    values = dict(
        zip((name for name in assigned if name in last), rebuilt.outputs[len(body.outputs) :], strict=True)
    )
    leaving = tuple(values.get(name, entering[name]) for name in assigned)
    return Function(
        (*rebuilt.inputs, *entering.values()),
        rebuilt.outputs[: len(body.outputs)] + leaving,
        rebuilt.effects,
    )


def _parameter(name: str, like: Tensor) -> Tensor:
    type = like.result
    attrs = {"name": name, "dtype": type.dtype, "shape": type.shape}
    return Tensor(placeholder, (), attrs, type, like.loc, None, like.owner)


