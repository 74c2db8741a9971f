"""Footprint: how many bytes are alive at once in a run of a program, from the lifetimes of its buffers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graphc import sizes
from graphc.errors import ArgumentError
from graphc.sizes import Symbol
from graphc.tensor import Tensor
from graphc.types import TensorType, TupleType, Type
from passes.program import Program
from runtime.feeds import label


def peak_bytes(program: Program, feeds: Sequence[Tensor], given: Mapping[str, Any]) -> int:
    """The most bytes alive at once, inputs, constants and variables included.

    `given` are numbers for named sizes, and shapes for named tensors among `feeds`.

    Raises: ArgumentError where a size is missing.
    """
    known = _known(program, feeds, given)
    late = _late(program)
    nodes = program.nodes
    held = sum(_bytes(node.type, known, late) for node in program.function.inputs)
    held += sum(value.nbytes for _, value in program.constants)
    held += sum(_bytes(nodes[buffer].type, known, late) for _, buffer, _ in program.variables)
    return held + _steps_peak(program, known, late)


def _steps_peak(program: Program, known: Mapping[Symbol, int], late: set[Symbol]) -> int:
    """The most bytes that results of steps take at once; a body's come on top while it runs."""
    results: dict[int, int] = {}
    alive = peak = 0
    for step in program.steps:
        inner = max((_steps_peak(body, known, late) for body in step.programs.values()), default=0)
        results[step.output] = _bytes(step.node.type, known, late)
        alive += results[step.output]
        peak = max(peak, alive + inner)
        alive -= sum(results.pop(buffer, 0) for buffer in step.frees)
    return peak


def _late(program: Program) -> set[Symbol]:
    """The symbols that steps bind, those in bodies included."""
    found: set[Symbol] = set()
    pending = [program]
    while pending:
        current = pending.pop()
        for step in current.steps:
            found.update(binding.symbol for binding in step.bindings)
            for body in step.programs.values():
                pending.append(body)
                found.update(binding.symbol for _, binding in body.bindings)
    return found


def _bytes(type: Type, known: Mapping[Symbol, int], late: set[Symbol]) -> int:
    if isinstance(type, TupleType):
        return sum(_bytes(element, known, late) for element in type.elements)
    assert isinstance(type, TensorType)
    total = type.dtype.numpy.itemsize
    for size in type.sizes:
        if late.intersection(sizes.symbols(size)):
            return 0
        missing = [s.name or "?" for s in sizes.symbols(size) if s not in known]
        if missing:
            raise ArgumentError(f"peak_bytes: the size {missing[0]} of {type} is not given")
        total *= sizes.evaluate(size, known)
    return total


def _known(program: Program, feeds: Sequence[Tensor], given: Mapping[str, Any]) -> dict[Symbol, int]:
    known: dict[Symbol, int] = {}
    shapes = {}
    for name, value in given.items():
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            known[Symbol(name)] = value
        elif isinstance(value, list | tuple):
            shapes[name] = tuple(value)
        else:
            raise ArgumentError(f"peak_bytes: {name!r} is a size or a shape, not {value!r}")
    for i, binding in program.bindings:
        shape = shapes.get(feeds[i].name or "")
        if shape is None:
            continue
        if binding.axis >= len(shape):
            raise ArgumentError(f"peak_bytes: {label(feeds[i])} has more axes than {shape}")
        known.setdefault(binding.symbol, shape[binding.axis])
    return known
