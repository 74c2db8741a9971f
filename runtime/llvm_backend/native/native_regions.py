"""Native regions: loops and branches whose bodies are steps of the same table.

A *scope* is a program with where its values lie. A body's values have an arena of their own, which is a
part of the arena around it for as long as the region runs; what a body is given lies where the scope around
it has it, and what it gives is written where that wants it, without a copy wherever one step makes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from graphc.descent import Descent, descend
from graphc.sizes import Size, Symbol, maximum, symbols
from graphc.tensor import Tensor
from passes.program import Program, Step
from passes.weight import parts_of
from runtime.execution import BoundProgram
from runtime.llvm_backend.engine.library import Promises
from runtime.llvm_backend.native.cells import Cells
from runtime.llvm_backend.native.drafts import Draft
from runtime.llvm_backend.native.joint_steps import JointSteps
from runtime.llvm_backend.native.lowered import CONSTANT, NATIVE, VIEW
from runtime.llvm_backend.native.native_loops import loop_works, write_loop
from runtime.llvm_backend.native.native_steps import StepWriter
from runtime.llvm_backend.native.outcomes import Outcomes
from runtime.llvm_backend.native.overwriting import find_overwrites
from runtime.llvm_backend.native.python_steps import Turn
from runtime.llvm_backend.rows.row_code import RowKernel
from runtime.llvm_backend.table.clocks import Clocks
from runtime.llvm_backend.table.steptable import TableBuilder

MakeWriter = Callable[[Program, Cells], StepWriter]


@dataclass(frozen=True, slots=True, eq=False)
class Scope:
    """A program of native steps, with the scopes of the bodies of its regions by the region's buffer."""

    program: Program
    bound: BoundProgram
    cells: Cells
    writer: StepWriter
    regions: Mapping[int, Mapping[str, Scope]]
    drafts: list[Draft] = field(default_factory=list)

    def all(self) -> Iterator[Scope]:
        """This one and those of all bodies in it."""
        pending = [self]
        while pending:
            current = pending.pop()
            yield current
            pending.extend(body for bodies in current.regions.values() for body in bodies.values())

    def draft(self) -> None:
        """Decides what runs each step, here and in bodies."""
        descend(self._draft())

    def _draft(self) -> Descent[None]:
        for step, bound in zip(self.program.steps, self.bound.steps, strict=True):
            bodies = self.regions.get(step.output)
            if bodies is None:
                self.drafts.append(self.writer.draft(step, bound))
                continue
            self.drafts.append(Draft(NATIVE))
            for body in bodies.values():
                yield body._draft()


def plan_scope(program: Program, bound: BoundProgram, known: frozenset[Symbol], make: MakeWriter) -> Scope:
    """The scope of `program`; ``make`` gives the writers.

    `known` are the symbols that feeds and variables bind, and the program's own steps.
    """
    return descend(_planned(program, bound, known, make, inside=False))


def _planned(
    program: Program, bound: BoundProgram, known: frozenset[Symbol], make: MakeWriter, inside: bool
) -> Descent[Scope]:
    """As `plan_scope`, for a body where it is `inside` another program."""
    regions: dict[int, dict[str, Scope]] = {}
    for step, bound_step in zip(program.steps, bound.steps, strict=True):
        if step.node.op.name in _WORKS and not find_obstacle(step, known, not inside):
            regions[step.output] = {}
            for name, body in step.programs.items():
                planned = yield _planned(body, bound_step.bodies[name], known, make, inside=True)
                regions[step.output][name] = planned

    def works(step: Step) -> Sequence[Size]:
        bodies = regions.get(step.output)
        if bodies is None:
            return ()
        arena: Size = 0
        for body in bodies.values():
            arena = maximum(arena, body.cells.plan.size)
        return (arena, *_WORKS[step.node.op.name](step, bodies))

    bound_steps = zip(program.steps, bound.steps, strict=True)
    kernels = {s.output: b.kernel for s, b in bound_steps if isinstance(b.kernel, RowKernel)}
    found = {kernel: find_overwrites(kernel.plan) for kernel in dict.fromkeys(kernels.values())}

    def overwrites(step: Step) -> Mapping[int, Sequence[int]]:
        kernel = kernels.get(step.output)
        return {} if kernel is None else found[kernel]

    cells = Cells(program, works, overwrites, not inside)  # the size of an inner arena is spelled out
    return Scope(program, bound, cells, make(program, cells), regions)


def find_obstacle(step: Step, known: frozenset[Symbol], outermost: bool = True) -> str:
    """Why the bodies of `step` cannot be native; "" where they can."""
    name = step.node.op.name
    if step.bindings:
        if name != "loop":
            return f"{name} gives sizes"
        if any((each.part or 0) < step.node.attrs["carried"] or each.axis for each in step.bindings):
            return "the sizes of what a loop carries, or of a slice that it stacks, change from step to step"
        if not outermost:
            return "a loop that gives sizes is in the body of another region"
    elif "condition" in step.programs and len(parts_of(step.node.type)) > step.node.attrs["carried"]:
        return "a loop stops by a condition, and what it stacks has a size that another step gives"
    for program in step.programs.values():
        if program.bindings or program.variable_bindings:
            return f"a body of {step.node.op.name} takes sizes"
        if reason := find_unknown(program, known):
            return reason
    return ""


def find_unknown(program: Program, known: frozenset[Symbol]) -> str:
    """What in `program` has a rank that only the run knows, or a size not `known`; "": nothing."""
    for node in program.nodes:
        for type in parts_of(node.type):
            if type.shape is None:
                return f"the rank of {node.op.name} is known only at the run"
            for size in type.shape:
                if not isinstance(size, int) and not known.issuperset(symbols(size)):
                    return f"a size of {node.op.name} is known only at the run"
    return ""


def find_obstacles(program: Program, known: frozenset[Symbol]) -> dict[Tensor, str]:
    """The regions that are walked in Python, those in native bodies too, and why."""
    found: dict[Tensor, str] = {}
    pending = [(program, True)]
    while pending:
        current, outermost = pending.pop()
        for step in current.steps:
            if step.node.op.name not in _WORKS:
                continue
            if reason := find_obstacle(step, known, outermost):
                found[step.node] = reason
            else:
                pending.extend((body, False) for body in step.programs.values())
    return found


# Writing.


class RegionWriter:
    """Writes the steps of scopes; with `clocks` there is a tick before each step that does something."""

    def __init__(self, builder: TableBuilder, functions: Promises, clocks: Clocks | None = None) -> None:
        self.builder, self._functions, self._clocks = builder, functions, clocks

    def write(self, scope: Scope) -> None:
        """All steps of `scope`."""
        descend(self.steps(scope))

    def steps(self, scope: Scope, loops: tuple[Turn, ...] = ()) -> Descent[None]:
        """All steps of `scope`, which is inside `loops`."""
        scope.writer.loops = loops
        joint = JointSteps(self.builder, scope.writer, scope.cells, self._functions)
        for step, bound, draft in zip(scope.program.steps, scope.bound.steps, scope.drafts, strict=True):
            bodies = scope.regions.get(step.output)
            if self._clocks is None and not loops and bodies is None and joint.takes(step, bound, draft):
                continue  # clocks time each step by itself
            joint.write()
            if self._clocks is not None and draft.kind not in (VIEW, CONSTANT):
                self._clocks.tick(bound)
            if bodies is None:
                scope.writer.write(step, bound, draft, self._functions)
            elif step.node.op.name == "loop":
                yield write_loop(self, scope, step, bodies)
            else:
                yield self._branch(scope, step, bodies)
        joint.write()

    def lend(self, scope: Scope, buffer: int, body: Scope, formal: int) -> None:
        """Lets the input `formal` of `body` be what `scope` has in `buffer`."""
        for part in range(len(parts_of(body.program.nodes[formal].type))):
            body.cells.lent[formal, part] = scope.cells, (buffer, part)

    def _branch(self, scope: Scope, step: Step, bodies: Mapping[str, Scope]) -> Descent[None]:
        builder = self.builder
        test = builder.word()
        scope.cells.point(test, (step.inputs[0], 0))
        with builder.when(test) as choice:
            yield self._half(scope, step, bodies["then"])
        with choice.otherwise():
            yield self._half(scope, step, bodies["orelse"])

    def _half(self, scope: Scope, step: Step, body: Scope) -> Descent[None]:
        """One branch, whose results are made where those of the step lie."""
        for buffer, formal in zip(step.inputs[1:], body.program.inputs, strict=True):
            self.lend(scope, buffer, body, formal)
        outcomes = Outcomes.of(body.program, body.cells)
        for root, number in outcomes.made.items():
            body.cells.lent[root] = scope.cells, (step.output, number)
        yield self.steps(body, scope.writer.loops)
        for number, buffer in enumerate(body.program.outputs):
            if not outcomes.is_made(number):
                scope.cells.point(body.writer.copy((buffer, 0)), (step.output, number))


_WORKS: Mapping[str, Callable[[Step, Mapping[str, Scope]], Sequence[Size]]] = {
    "loop": loop_works,
    "cond": lambda step, bodies: (),
}
