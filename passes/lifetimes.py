"""Lifetimes: how many bytes of a program are alive at once, and at which step.

Results of `pick` and `after` are memory of their operand. What is fed, constants and variables are
held all the time; a body's values come on top of the others while its step runs, but not those of
`fused`, which stay in registers.
"""

from __future__ import annotations

from collections.abc import Mapping

from graphc import sizes
from graphc.descent import Descent, descend
from graphc.errors import ArgumentError
from graphc.freezing import frozen
from graphc.sizes import Symbol
from graphc.types import TensorType, Type
from passes.program import Program, Step
from passes.weight import parts_of

ALIASES = frozenset(("pick", "after"))  # they compute nothing


@frozen
class Peak:
    """The most bytes alive at once, and the number of the step that needs them (-1 without steps)."""

    bytes: int
    step: int


def find_peak(program: Program, known: Mapping[Symbol, int]) -> Peak:
    """The peak of `program`, what is held all the time included; what steps give the size of counts as 0.

    Raises: ArgumentError where a size is missing.
    """
    late = late_symbols(program)
    nodes = program.nodes
    held = sum(count_bytes(node.type, known, late) for node in program.function.inputs)
    held += sum(value.nbytes for _, value in program.constants)
    held += sum(count_bytes(nodes[buffer].type, known, late) for _, buffer, _ in program.variables)
    peak = descend(_peak_of_steps(program, known, late))
    return Peak(held + peak.bytes, peak.step)


def _peak_of_steps(program: Program, known: Mapping[Symbol, int], late: frozenset[Symbol]) -> Descent[Peak]:
    cells: dict[int, list[int]] = {}  # of each buffer: the memory that it reads
    users: list[int] = []  # of each cell: how many buffers read it
    weight: list[int] = []
    alive = 0
    peak = Peak(0, -1)
    for number, step in enumerate(program.steps):
        found = _shared(step, cells)
        if found is None:
            found = list(range(len(weight), len(weight) + len(parts_of(step.node.type))))
            weight.extend(count_bytes(type, known, late) for type in parts_of(step.node.type))
            users.extend([0] * len(found))
            alive += sum(weight[cell] for cell in found)
        cells[step.output] = found
        for cell in found:
            users[cell] += 1
        inner = 0
        for body in step.regions:
            found_inside = yield _peak_of_steps(body, known, late)
            inner = max(inner, found_inside.bytes)
        if alive + inner > peak.bytes:
            peak = Peak(alive + inner, number)
        for buffer in step.frees:
            for cell in cells.pop(buffer, ()):
                users[cell] -= 1
                if not users[cell]:
                    alive -= weight[cell]
    return peak


def _shared(step: Step, cells: Mapping[int, list[int]]) -> list[int] | None:
    """The memory that the result of `step` is, where that is an operand's; empty where it is held anyway."""
    if step.node.op.name not in ALIASES:
        return None
    given = cells.get(step.inputs[0], [])
    if step.node.op.name == "after" or not given:
        return given
    return [given[step.node.attrs["index"]]]


def late_symbols(program: Program) -> frozenset[Symbol]:
    """The symbols that steps bind, those in bodies included."""
    found: set[Symbol] = set()
    pending = [program]
    while pending:
        current = pending.pop()
        for step in current.steps:
            found.update(binding.symbol for binding in step.bindings)
            for body in step.regions:
                pending.append(body)
                found.update(binding.symbol for _, binding in body.bindings)
    return frozenset(found)


def count_bytes(type: Type, known: Mapping[Symbol, int], late: frozenset[Symbol] = frozenset()) -> int:
    """The bytes of a value of `type`; 0 where a size is one of `late`, or only the run knows its rank.

    Raises: ArgumentError where a size is missing.
    """
    if not isinstance(type, TensorType):
        return sum(count_bytes(element, known, late) for element in type.elements)
    if type.shape is None:
        return 0
    total = type.dtype.numpy.itemsize
    for size in type.shape:
        if size.__class__ is int:
            total *= size
            continue
        symbols = list(sizes.symbols(size))
        if late.intersection(symbols):
            return 0
        missing = [s.name or "?" for s in symbols if s not in known]
        if missing:
            raise ArgumentError(f"peak_bytes: the size {missing[0]} of {type} is not given")
        total *= sizes.evaluate(size, known)
    return total
