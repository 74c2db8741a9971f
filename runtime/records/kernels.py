"""Kernels of an executable as data: their texts, from what they walk down to machine code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from runtime.execution import BoundProgram, BoundStep


class KernelTable:
    """The distinct kernels of a program by number, and which step runs which."""

    def __init__(self, bound: BoundProgram, runs: Mapping[BoundStep, Sequence[Any]]) -> None:
        self.kernels: list[Any] = []
        self.of: dict[BoundStep, int] = {}
        self._steps: list[list[int]] = []
        number: dict[str, int] = {}
        pending = [(bound, True)]
        while pending:
            current, is_whole = pending.pop()
            for place, step in enumerate(current.steps):
                inner = step.kernel is None and not runs.get(step)
                pending.extend((body, False) for body in step.bodies.values() if inner)
                for kernel in runs.get(step) or ([] if step.kernel is None else [step.kernel]):
                    at = number.setdefault(getattr(kernel, "text", repr(kernel)), len(number))
                    if at == len(self.kernels):
                        self.kernels.append(kernel)
                        self._steps.append([])
                    self.of.setdefault(step, at)
                    if is_whole:
                        self._steps[at].append(place)

    def spell(self, with_assembly: bool) -> list[dict[str, Any]]:
        """The kernels; assembling takes time, so only where it is wanted."""
        return [self._spelled(number, kernel, with_assembly) for number, kernel in enumerate(self.kernels)]

    def _spelled(self, number: int, kernel: Any, with_assembly: bool) -> dict[str, Any]:
        from runtime.llvm_backend.contractions.contraction import (
            Contract,  # only they have kernels, and llvmlite is slow
        )
        from runtime.llvm_backend.native.inspection import assemble, spell_plan
        from runtime.llvm_backend.rows.row_plan import RowPlan

        plan = getattr(kernel, "plan", None)
        text = getattr(kernel, "text", "")
        assembly, size = assemble(text) if with_assembly and text else (None, None)
        return {
            "number": number,
            "name": getattr(kernel, "name", repr(kernel)),
            "kind": "rows"
            if isinstance(plan, RowPlan)
            else "contraction"
            if isinstance(plan, Contract)
            else "other",
            "ir": spell_plan(plan),
            "llvm": text,
            "assembly": assembly,
            "object_bytes": size,
            "steps": self._steps[number],
        }
