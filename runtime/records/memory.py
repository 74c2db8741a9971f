"""Memory of a run as data: which value lies where from which step to which, and what is alive at the peak."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from graphc.types import TensorType
from passes.lifetimes import ALIASES
from passes.memory import Cell, MemoryPlan, plan_memory
from passes.program import Program, Step
from passes.weight import bytes_of, parts_of
from runtime.records.identity import Names

_MOST_NAMED = 200  # cells at the peak that are listed, the largest first


class Cells:
    """The cells of a program, numbered; `plan` says where they lie, `in_arena` whether there is one."""

    def __init__(self, program: Program, plan: MemoryPlan | None) -> None:
        self.program = program
        self.in_arena = plan is not None
        self.plan = plan_memory(program, _aliases) if plan is None else plan
        self.cells: list[Cell] = [
            (buffer, part)
            for buffer, node in enumerate(program.nodes)
            for part in range(len(parts_of(node.type)))
        ]
        known = set(self.cells)
        self.works = [cell for cell in self.plan.slot_of if cell not in known]
        self.cells += self.works
        self.number = {cell: i for i, cell in enumerate(self.cells)}
        self.kinds = dict(self._kinds())

    def of(self, buffer: int) -> list[int]:
        """The numbers of the cells of `buffer`."""
        return [self.number[buffer, part] for part in range(len(parts_of(self.program.nodes[buffer].type)))]

    def root(self, cell: Cell) -> Cell:
        """Whose memory `cell` is."""
        return self.plan.roots.get(cell, cell)

    def type(self, cell: Cell) -> TensorType:
        """What is in it."""
        return parts_of(self.program.nodes[cell[0]].type)[cell[1]]

    def spell(self, cell: Cell, names: Names) -> tuple[str, int]:
        """Its type and its bytes; what a region needs for its bodies is bytes without a type."""
        if cell[1] >= len(parts_of(self.program.nodes[cell[0]].type)):
            sizes = self.plan.slots[self.plan.slot_of[cell]].sizes
            return "bytes", max(names.sizes.number(size) for size in sizes)
        type = self.type(cell)
        return str(type), names.sizes.number(bytes_of(type))

    def _kinds(self) -> Iterator[tuple[Cell, str]]:
        program = self.program
        given = dict.fromkeys(program.inputs, "fed")
        given.update((buffer, "constant") for buffer, _ in program.constants)
        given.update((buffer, "variable") for _, buffer, _ in program.variables)
        given.update(dict.fromkeys(program.run_states, "state"))
        kept = {
            self.root((b, 0))
            for b in (*program.outputs, *(b for _, b in program.assignments))
            if b not in given
        }
        works = set(self.works)
        for cell in self.cells:
            if cell[0] in given:
                yield cell, given[cell[0]]
            elif cell in works:
                yield cell, "work"
            elif cell in self.plan.roots:
                yield cell, "view"
            elif cell in kept:
                yield cell, "result"
            else:
                yield cell, "arena" if self.in_arena and cell in self.plan.slot_of else "array"


def _aliases(step: Step) -> Mapping[int, Cell]:
    """What the walk of steps gives without memory of its own."""
    if step.node.op.name == "pick":
        return {0: (step.inputs[0], step.node.attrs["index"])}
    if step.node.op.name in ALIASES and len(parts_of(step.node.type)) == 1:
        return {0: (step.inputs[0], 0)}
    return {}


def spell_memory(cells: Cells, names: Names, arena_bytes: int | None, predicted: int) -> dict[str, Any]:
    """Where each value lies and when; see docs/record.md."""
    program, plan = cells.program, cells.plan
    spelled = [cells.spell(cell, names) for cell in cells.cells]
    sizes = [size for _, size in spelled]
    lives = _lives(cells)
    number_of = names.sizes.number
    offsets = plan.places(number_of) if cells.in_arena else []
    rows = []
    slots: list[dict[str, Any]] = [
        {"offset": begin, "bytes": slot.bytes(number_of), "cells": []}
        for begin, slot in zip(offsets, plan.slots, strict=False)
    ]
    for number, cell in enumerate(cells.cells):
        kind = cells.kinds[cell]
        slot = plan.slot_of.get(cell) if kind in ("arena", "work") else None
        if slot is not None:
            slots[slot]["cells"].append(number)
        rows.append(
            {
                "buffer": cell[0],
                "part": cell[1],
                "node": names.of(program.nodes[cell[0]]),
                "type": spelled[number][0],
                "bytes": sizes[number],
                "kind": kind,
                "slot": slot,
                "offset": None if slot is None else offsets[slot],
                "of": cells.number.get(cells.root(cell)) if kind == "view" else None,
                "first": lives[number][0],
                "last": lives[number][1],
            }
        )
    live, peak = _peak(cells, sizes, lives)
    held = sum(sizes[i] for i in range(len(rows)) if lives[i][0] < 0 and rows[i]["kind"] != "view")
    return {
        "arena_bytes": (offsets[-1] if offsets else 0) if arena_bytes is None else arena_bytes,
        "slots": slots,
        "cells": rows,
        "live": live,
        "peak": peak,
        "held": held,
        "predicted": predicted,
    }


def _lives(cells: Cells) -> list[tuple[int, int]]:
    """From which step and up to which each cell is alive; a view lives as long as it is read.

    What a step overwrites is alive up to the step before.
    """
    program = cells.program
    end = len(program.steps)
    works: dict[int, list[Cell]] = {}
    for cell in cells.works:
        works.setdefault(cell[0], []).append(cell)
    first: dict[Cell, int] = {}
    last: dict[Cell, int] = {}
    for number, step in enumerate(program.steps):
        for part in range(len(parts_of(step.node.type))):
            first[step.output, part] = last[step.output, part] = number
        for work in works.get(step.output, ()):
            first[work] = last[work] = number
        for buffer in (step.output, *step.inputs):
            for part in range(len(parts_of(program.nodes[buffer].type))):
                cell = (buffer, part)
                last[cell] = last[cells.root(cell)] = number
    kept = (*program.outputs, *(buffer for _, buffer in program.assignments))
    for buffer in kept:
        for part in range(len(parts_of(program.nodes[buffer].type))):
            last[buffer, part] = last[cells.root((buffer, part))] = end
    for cell, old in cells.plan.over.items():
        last[old] = first[cell] - 1
    return [(first[cell], last[cell]) if cell in first else (-1, end) for cell in cells.cells]


def _peak(
    cells: Cells, sizes: list[int], lives: list[tuple[int, int]]
) -> tuple[list[int], dict[str, Any] | None]:
    """The bytes alive while each step runs; the step that has most, and what is alive there."""
    steps = len(cells.program.steps)
    change = [0] * (steps + 2)
    real = [i for i, cell in enumerate(cells.cells) if cells.kinds[cell] != "view"]
    for i in real:
        first, last = lives[i]
        change[max(first, 0)] += sizes[i]
        change[last + 1] -= sizes[i]
    live, alive = [], 0
    for step in range(steps):
        alive += change[step]
        live.append(alive)
    if not live:
        return live, None
    at = max(range(steps), key=live.__getitem__)
    there = [i for i in real if lives[i][0] <= at <= lives[i][1] and sizes[i]]
    there.sort(key=lambda i: -sizes[i])
    return live, {"step": at, "bytes": live[at], "cells": there[:_MOST_NAMED]}
