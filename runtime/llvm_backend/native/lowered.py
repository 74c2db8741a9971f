"""Lowered: a native program before any run has words; what of it any program of its form can run on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.freezing import frozen
from graphc.sizes import Symbol
from passes.memory import MemoryPlan
from runtime.llvm_backend.native.arena import Arena
from runtime.llvm_backend.native.late_memory import Gift, Growth, Lengthening
from runtime.llvm_backend.table.call import Signature
from runtime.llvm_backend.table.steptable import StepTable

if TYPE_CHECKING:  # what is only lowered needs these; what only runs does not load them
    from graphc.tensor import Tensor
    from runtime.execution import BoundStep
    from runtime.llvm_backend.engine.library import Library
    from runtime.llvm_backend.native.drafts import NativeKernel
    from runtime.llvm_backend.native.places import Place
    from runtime.llvm_backend.native.python_steps import Pause
    from runtime.llvm_backend.rows.row_code import RowKernel
    from runtime.llvm_backend.table.clocks import Clocks

Array = np.ndarray[Any, Any]

VIEW, NATIVE, PYTHON, CONSTANT = "view", "llvm", "meaning", "constant"  # what runs a step


def whole(value: Any, dtype: np.dtype[Any] | None = None) -> Array:
    """`value` as kernels read it: C-contiguous, and its elements where their size asks for."""
    array = np.asarray(value, dtype, order="C")
    return array if array.flags.aligned else array.copy()


@frozen
class Lowered:
    """A native program before any run has words.

    Attributes:
        variables: the names of those that are fed after the program's inputs, in order.
        takes_state: whether the session's seed and run count are fed last.
        fetches: for each output of the program its place among the call's; None for operations.
        assigned: the names of the variables that the call's last outputs are for.
        adopted: by name of other variables the constants that they are assigned as they are.
        kinds, runs: what runs each step, and its kernels, in native bodies too. python: the steps in Python.
        symbols: the words of sizes. places, state: where steps in Python find variables and run state.
        late: which of the results the call does not give, since steps give their sizes.
        obstacles: the regions that are walked in Python, and why.
        library: the code of the kernels; None where the table keeps it in another form.
        constants: the words that hold addresses of arrays known before any run, with those.
    """

    table: StepTable
    signature: Signature
    arena: Arena
    variables: tuple[str, ...]
    takes_state: bool
    fetches: tuple[int | None, ...]
    assigned: tuple[str, ...]
    adopted: Mapping[str, Array]
    kinds: Mapping[BoundStep, str]
    python: tuple[Pause, ...]
    symbols: Mapping[Symbol, int]
    places: Mapping[str, Place]
    state: Place | None
    kernels: tuple[NativeKernel | RowKernel, ...]
    runs: Mapping[BoundStep, Sequence[NativeKernel | RowKernel]]
    clocks: Clocks | None
    late: tuple[int, ...]
    obstacles: Mapping[Tensor, str]
    library: Library | None
    constants: tuple[tuple[int, Array], ...]


def knows_lines(lowered: Lowered) -> bool:
    """Whether it is of use to no other program: a step in Python has a node, clocks have steps."""
    waits = all(isinstance(pause, Growth | Lengthening | Gift) for pause in lowered.python)
    return not waits or bool(lowered.obstacles) or lowered.clocks is not None


def bare(lowered: Lowered) -> Lowered:
    """`lowered` without what holds on to the program that it was made of: what can run, of any like it."""
    arena = lowered.arena
    plan = MemoryPlan(arena.plan.slots, {}, {}, frozenset(), {})
    return replace(lowered, arena=replace(arena, plan=plan), kinds={}, places={}, kernels=(), runs={})
