"""Steps of a program as data: what each runs, what runs it, what it reads and writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from graphc.descent import Descent
from passes.cost import cost_of_node
from passes.program import Program
from passes.record import spell_place
from runtime.execution import BoundProgram, BoundStep
from runtime.records.identity import Names
from runtime.records.memory import Cells

Kind = Callable[[BoundStep], str]


def spell_steps(
    program: Program,
    bound: BoundProgram,
    kind: Kind,
    names: Names,
    cells: Cells | None,
    kernels: Mapping[BoundStep, int],
) -> Descent[list[dict[str, Any]]]:
    """The steps in order, those of bodies within theirs; `cells` are None in a body."""
    found = []
    for number, (step, runner) in enumerate(zip(program.steps, bound.steps, strict=True)):
        cost = cost_of_node(step.node)
        spelled: dict[str, Any] = {
            "number": number,
            "node": names.of(step.node),
            "op": step.node.op.name,
            "type": str(step.node.type),
            **spell_place(step.node.loc),
            "backward": bool(step.node.loc and step.node.loc.backward),
            "kind": kind(runner),
            "kernel": kernels.get(runner),
            "reads": [] if cells is None else [i for buffer in step.inputs for i in cells.of(buffer)],
            "writes": [] if cells is None else cells.of(step.output),
            "flops": names.sizes.number(cost.flops),
            "bytes": names.sizes.number(cost.bytes),
        }
        if runner.bodies and runner not in kernels:
            spelled["bodies"] = {}
            for name, body in runner.bodies.items():
                inside = names.inside(step.node, name, body.program.function)
                spelled["bodies"][name] = yield spell_steps(body.program, body, kind, inside, None, kernels)
        found.append(spelled)
    return found
