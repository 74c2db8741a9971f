"""Footprint: the sizes that a user gives, to ask how many bytes are alive at once in a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graphc.errors import ArgumentError
from graphc.sizes import Symbol, evaluate, sole_symbol, symbols
from graphc.tensor import Tensor
from passes.lifetimes import count_bytes, late_symbols
from passes.program import Program
from runtime.feeds import label


def held_bytes(program: Program, known: Mapping[Symbol, int]) -> int:
    """The bytes of what a native run of `program` holds beside its arena: all that goes in and comes out."""
    late, nodes = late_symbols(program), program.nodes
    inside = [node.type for node in program.function.inputs]
    inside += [nodes[buffer].type for _, buffer, _ in program.variables]
    outside = [nodes[buffer].type for buffer in program.outputs]
    outside += [nodes[buffer].type for _, buffer in program.assignments]
    held = sum(value.nbytes for _, value in program.constants)
    return held + sum(count_bytes(type, known, late) for type in (*inside, *outside))


def known_sizes(program: Program, feeds: Sequence[Tensor], given: Mapping[str, Any]) -> dict[Symbol, int]:
    """The symbols of `program`, from numbers for named sizes and shapes for named tensors among `feeds`.

    Sizes without a name that the run takes as equal to known ones need not be given.

    Raises: ArgumentError for what is neither, and where one is missing.
    """
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
    _solve(program, known)
    missing = [(i, binding) for i, binding in program.bindings if binding.symbol not in known]
    for i, binding in sorted(missing, key=lambda each: each[1].symbol.name is None)[:1]:
        called = binding.symbol.name
        example = f"its shape, as in {{{feeds[i].name or 'x'!r}: (32, 784)}}"
        wanted = f"{{{called!r}: 32}}" if called else example
        place = f"axis {binding.axis} of {label(feeds[i])}: {feeds[i].type}"
        raise ArgumentError(f"peak_bytes: {place} is not given: say {wanted}")
    return known


def _solve(program: Program, known: dict[Symbol, int]) -> None:
    """Adds to `known` the sizes without a name that the run takes as equal to known ones."""
    found = True
    while found:
        found = False
        for check in program.checks:
            for size, other in ((check.x, check.y), (check.y, check.x)):
                symbol = sole_symbol(size)
                if symbol is None or symbol.name is not None or symbol in known:
                    continue
                if known.keys() >= set(symbols(other)):
                    known[symbol] = evaluate(other, known)
                    found = True
