"""Lifting: assignments in the bodies of regions come out of them, as values.

A branch gives the new value of every variable that either branch assigns; a loop carries the
variables that its body assigns, so that each step reads what the one before assigned. Afterwards
only the function itself assigns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from graphc.descent import Descent, descend
from graphc.errors import StateError
from graphc.freezing import frozen
from graphc.function import Function, bodies, rebuild, topological, with_inputs
from graphc.graph import graph_frame
from graphc.location import at_line, on_behalf_of
from graphc.ops.elementwise import identity
from graphc.ops.loop import loop
from graphc.ops.marker import gradient_request
from graphc.ops.movement import _ensure_shape as ensure_shape
from graphc.ops.override import override_gradient
from graphc.ops.state import after, assign, pick, variable
from graphc.tensor import Tensor
from graphc.tracing import parameter
from passes.state import latest_assignment, lifted_value, refuse_unordered, visible_assignments
from passes.target import PLAIN, Target


def lift_assignments(function: Function, target: Target = PLAIN) -> Function:
    """`function` whose regions assign nothing themselves; the same object where none does.

    Raises: StateError where two assignments in one body have no order, or a condition assigns.
    """
    if not function.has_regions():
        return function
    return descend(_lifted(function, assigned_variables(function), {}))


def _lifted(function: Function, named: set[str], reads: Mapping[Tensor, str]) -> Descent[Function]:
    """`function` without assignments in its regions.

    `named` are the variables that are assigned anywhere, `reads` the inputs that are variables.
    """
    if not function.has_regions():
        return function
    effects: list[Tensor] = []
    moved: dict[Tensor, tuple[int, int]] = {}  # of lifted regions: results from where on moved, how far
    ahead: dict[Tensor, list[Tensor]] = {}  # what came out of them and may be assigned again behind them
    contended = _contended(function) if named else set()
    lifted: dict[Tensor, dict[str, Function]] = {}  # by region
    for node in function.nodes():
        if _is_run(node):
            seen = _seen_variables(node, reads)
            lifted[node] = {}
            for kind, body in bodies(node):
                formals = body.inputs[len(body.inputs) - len(seen) :]
                names = {formal: name for formal, (_, name) in zip(formals, seen, strict=True) if name}
                lifted[node][kind] = yield _lifted(body, named, names)

    def make(node: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
        if node.op is pick and inputs[0] in moved:
            first, by = moved[inputs[0]]
            index, before = node.attrs["index"], ahead[inputs[0]]
            made = replace(node, inputs=inputs, attrs={"index": index + by if index >= first else index})
            if before:
                return Tensor(after, (made, *before), {}, made.type, node.loc, None, node.owner)
            return made
        if node not in lifted:
            return with_inputs(node, inputs)
        region = _Region.of(with_inputs(node, inputs), lifted[node], named, reads)
        if region is None:
            return with_inputs(node, inputs)
        made, first = region.lift()
        moved[made], ahead[made] = (first, len(region.assigned)), []
        with on_behalf_of(node.loc):
            for offset, name in enumerate(region.assigned):
                value = pick(made, index=first + offset)
                type = value.result
                effects.append(assign(value, variable=name, dtype=type.dtype, shape=type.shape))
                if name in contended:
                    ahead[made].append(effects[-1])
        return made

    with graph_frame(function.owner):
        result, _ = rebuild(function, make)
    return replace(result, effects=(*result.effects, *effects)) if effects else result


def _is_run(node: Tensor) -> bool:
    return node.op.has_bodies and node.op is not override_gradient  # whose body never runs as such


def _seen_variables(region: Tensor, reads: Mapping[Tensor, str]) -> list[tuple[Tensor, str | None]]:
    """The operands that the bodies of `region` see as they are, each with the variable that it is."""
    own = region.attrs["carried"] + region.attrs["scanned"] if region.op is loop else 1
    return [(x, x.attrs["name"] if x.op is variable else reads.get(x)) for x in region.inputs[own:]]


def _contended(function: Function) -> set[str]:
    """The variables that several nodes of `function` assign, themselves or in bodies."""
    once: set[str] = set()
    again: set[str] = set()
    for node in function.nodes():
        names = {node.attrs["variable"]} if node.op is assign else set[str]()
        for _, body in bodies(node) if node.op.has_bodies else ():
            names |= assigned_variables(body)
        again |= once & names
        once |= names
    return again


def assigned_variables(function: Function) -> set[str]:
    """The variables that `function` assigns, in its bodies too."""
    names, pending = set(), [function]
    while pending:
        for node in pending.pop().nodes():
            if node.op is assign:
                names.add(node.attrs["variable"])
            elif node.op.has_bodies:
                pending.extend(body for _, body in bodies(node))
    return names


@frozen
class _Region:
    """A region, its bodies lifted already, and the variables that come out of it and go into it.

    `assigned` come out; `read` go in beside them, since an assignment elsewhere may change them;
    `samples` holds one read or assignment of each, for its type; `captured` names the variables among
    the operands that the bodies see, by the operand.
    """

    node: Tensor
    bodies: Mapping[str, Function]
    assigned: tuple[str, ...]
    read: tuple[str, ...]
    samples: Mapping[str, Tensor]
    captured: Mapping[Tensor, str]

    @classmethod
    def of(
        cls, node: Tensor, lifted: Mapping[str, Function], named: set[str], reads: Mapping[Tensor, str]
    ) -> _Region | None:
        """`node`, its bodies being `lifted`; None where nothing in them depends on the order of reads."""
        names = {x: name for x, name in _seen_variables(node, reads) if name is not None}
        samples: dict[str, Tensor] = {}
        assigned: set[str] = set()
        ordered = False
        for name, body in lifted.items():
            for inner in body.nodes():
                if inner.op is assign:
                    if name == "condition":
                        raise StateError(f"the condition of a loop assigns a variable{at_line(inner.loc)}")
                    assigned.add(inner.attrs["variable"])
                    samples[inner.attrs["variable"]] = inner
                elif inner.op is variable:
                    ordered = True
                    if inner.attrs["name"] in named:
                        samples.setdefault(inner.attrs["name"], inner)
        if not samples and not ordered and all(lifted[kind] is body for kind, body in bodies(node)):
            return None
        read = tuple(sorted(set(samples) - assigned))
        return cls(node, lifted, tuple(sorted(assigned)), read, samples, names)

    def lift(self) -> tuple[Tensor, int]:
        """The region with its variables as operands and results, and the number of the first of them."""
        return self._lift_loop() if self.node.op is loop else self._lift_branches()

    def _lift_branches(self) -> tuple[Tensor, int]:
        node, names = self.node, (*self.assigned, *self.read)
        first = len(self.bodies["then"].outputs)
        pure = {}
        for name, body in self.bodies.items():
            entering = self._parameters(names, body)
            made = _pure(body, entering, self.assigned, {})
            pure[name] = Function((*body.inputs, *entering.values()), made.outputs, made.effects)
        attrs = {**node.attrs, **pure, "state": (*node.attrs["state"], *self.assigned)}
        return self._remade((*node.inputs, *(self._start(name) for name in names)), attrs), first

    def _lift_loop(self) -> tuple[Tensor, int]:
        node = self.node
        carried, scanned = node.attrs["carried"], node.attrs["scanned"]
        captured = node.inputs[carried + scanned :]
        pure: dict[str, Function | None] = {"condition": None}
        for name, body in self.bodies.items():
            walked = scanned if name == "body" else 0
            entering = self._parameters((*self.assigned, *self.read), body)
            outer = {
                formal: entering[self.captured[tensor]]
                for formal, tensor in zip(body.inputs[carried + walked :], captured, strict=True)
                if self.captured.get(tensor) in self.assigned
            }
            made = _pure(body, entering, self.assigned if name == "body" else (), outer)
            state = tuple(entering[v] for v in self.assigned)
            reads = tuple(entering[v] for v in self.read)
            inputs = (*body.inputs[:carried], *state, *body.inputs[carried:], *reads)
            outputs = made.outputs
            if name == "body" and self.assigned:
                split = len(body.outputs)
                outputs = (*outputs[:carried], *outputs[split:], *outputs[carried:split])
            pure[name] = Function(inputs, outputs, made.effects)
        starts, entered = ([self._start(v) for v in names] for names in (self.assigned, self.read))
        operands = (*node.inputs[:carried], *starts, *node.inputs[carried:], *entered)
        attrs = {
            **node.attrs,
            **pure,
            "carried": carried + len(self.assigned),
            "state": (*node.attrs["state"], *self.assigned),
        }
        return self._remade(operands, attrs), carried

    def _start(self, name: str) -> Tensor:
        """The value of a variable when the region begins: a read that sees what the operands see."""
        node = self.node
        read = next((operand for operand, other in self.captured.items() if other == name), None)
        if read is not None and not _assigns_before(node, name):
            return read
        type = self.samples[name].result
        attrs = {"name": name, "dtype": type.dtype, "shape": type.shape}
        return Tensor(variable, node.inputs, attrs, type, node.loc, None, node.owner)

    def _parameters(self, names: Sequence[str], body: Function) -> dict[str, Tensor]:
        owner = body.owner
        samples = ((name, self.samples[name]) for name in names)
        return {name: parameter(name, sample.result, owner, sample.loc) for name, sample in samples}

    def _remade(self, operands: tuple[Tensor, ...], attrs: Mapping[str, object]) -> Tensor:
        return replace(self.node, inputs=operands, attrs=attrs, type=self.node.op.infer(operands, attrs))


def _pure(
    body: Function,
    entering: Mapping[str, Tensor],
    assigned: Sequence[str],
    outer: Mapping[Tensor, Tensor],
) -> Function:
    """`body` with variables as values: `entering` when it begins, those of `assigned` as last outputs."""
    nodes = body.nodes()
    seen = visible_assignments(nodes)
    refuse_unordered(seen)
    last = {node.attrs["variable"]: node for node in seen.assignments}
    new: dict[Tensor, Tensor] = {}
    asked = {x for node in nodes if node.op is gradient_request for x in node.inputs}

    def make(node: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
        value = _as_value(node, inputs, entering, lambda: latest_assignment(node, seen), new)
        new[node] = apart(node, value) if node.op is variable else value
        return new[node]

    def apart(read: Tensor, value: Tensor) -> Tensor:
        """`value`; as a node of this read's own where its slope is asked for, for slopes of reads add up."""
        if read not in asked:
            return value
        return Tensor(identity, (value,), {}, value.type, read.loc, None, read.owner)

    given = [name for name in assigned if name in last]
    effects = tuple(node for node in body.effects if node.op is not assign)
    outputs = (*body.outputs, *(last[name] for name in given))
    start = {formal: apart(formal, outer[formal]) if formal in outer else formal for formal in body.inputs}
    rebuilt, _ = rebuild(Function(body.inputs, outputs, effects), make, start)
    values = dict(zip(given, rebuilt.outputs[len(body.outputs) :], strict=True))
    leaving = tuple(values.get(name, entering[name]) for name in assigned)
    return Function(body.inputs, rebuilt.outputs[: len(body.outputs)] + leaving, rebuilt.effects)


def _as_value(
    node: Tensor,
    inputs: tuple[Tensor, ...],
    entering: Mapping[str, Tensor],
    latest: Callable[[], Tensor | None],
    new: Mapping[Tensor, Tensor],
) -> Tensor:
    if node.op is assign:  # its value goes out with the body, of the type that the variable has
        value = inputs[0]
        if value.type == node.type:
            return value
        shape = {"shape": node.attrs["shape"]}
        return Tensor(ensure_shape, (value,), shape, node.type, node.loc, None, node.owner)
    if node.op is not variable:
        return with_inputs(node, inputs)
    if node.attrs["name"] in entering:
        value = _value_of(latest(), new, entering[node.attrs["name"]])
    elif inputs:  # nothing assigns it: it is what it was around the body
        value, inputs = inputs[0], inputs[1:]
    else:
        return node
    if not inputs:
        return value
    return Tensor(after, (value, *inputs), {}, value.type, node.loc, None, node.owner)


def _value_of(assignment: Tensor | None, new: Mapping[Tensor, Tensor], entering: Tensor) -> Tensor:
    if assignment is None:
        return entering
    return new[assignment] if assignment in new else lifted_value(assignment, new)


def _assigns_before(node: Tensor, name: str) -> bool:
    """Whether an operand of `node` depends on an assignment of the variable `name`."""
    return any(
        name == earlier.attrs.get("variable")
        if earlier.op is assign
        else name in earlier.attrs.get("state", ())
        for earlier in topological(node.inputs)
    )
