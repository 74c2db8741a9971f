"""Executable: one function compiled for one backend, and the run of it."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from graphc import sizes
from graphc.drawing.display import Displayed
from graphc.errors import ShapeError
from graphc.freezing import frozen
from graphc.function import Function
from graphc.laziness import Lazy
from graphc.location import at_line
from graphc.sizes import Symbol
from graphc.tensor import Tensor
from passes.lifetimes import find_peak
from passes.pipeline import Prepared, Request, prepare
from passes.program import Program, plan
from passes.stages import is_heard, listening, stage
from passes.target import Target
from runtime.agreement import Agreement, Sizes
from runtime.backend import Array, Backend, Whole
from runtime.execution import BoundProgram, BoundStep, bind, programs_of
from runtime.footprint import held_bytes, known_sizes
from runtime.pass_files import dumper
from runtime.regions import Run

_FREE = frozenset(("pick", "after", "group"))  # they say what is meant, and compute nothing

Within = Callable[["Executable", Sizes], "Executable"]
Again = Callable[["weakref.ref[Executable]"], Whole]


@frozen
class _Steps:
    """A request as steps."""

    function: Function
    program: Program
    bound: BoundProgram


class Executable(Displayed):
    """A request, compiled. A session makes it and runs it; users look at it.

    Attributes:
        request: what was asked for.
        feeds: the tensors that are fed, in the order of the function's inputs.
        native: what runs the whole program in one call, where the backend can; `reason`: why nothing does.
        backend, threads, target: what it was compiled for; `maker` is the backend itself.
        seconds: how long compiling took; `stages` how long each part of it did, where nobody else listened.

    ``again(itself)`` gives `native` where an equal request was compiled before (`runtime.recognition`): then
    passes are run when somebody looks at the steps, or they must be walked.
    """

    def __init__(
        self,
        request: Request,
        backend: Backend,
        target: Target,
        check_numerics: bool,
        prepared: Prepared | None = None,
        within: Within | None = None,
        again: Again | None = None,
    ) -> None:
        self._within = within  # what runs in its place with given sizes, where there is a memory budget
        self.feeds = request.feeds
        self.request, self.target, self.backend = request, target, backend.name
        self.maker, self.threads = backend, int(getattr(backend, "threads", 1))
        # Where ops are fused, numbers are checked by `_walker`, after kernels that looked at them saw some.
        self._walks = check_numerics and bool(target.fusible)
        self._checks = check_numerics and not self._walks
        self._prepared = prepared
        begin = time.perf_counter()
        with nullcontext() if is_heard() else listening(counts_too=False) as heard:
            whole = self.lower() if again is None else self._recognised(again)
        self.stages: dict[str, float] = {} if heard is None else heard.wall
        self.native: Whole | None = None if isinstance(whole, str) else whole
        self.reason = whole if isinstance(whole, str) else ""
        self.seconds = time.perf_counter() - begin

    @property
    def function(self) -> Function:
        """What is computed, after all passes."""
        return self._steps.function

    @property
    def program(self) -> Program:
        """The same as steps over numbered buffers."""
        return self._steps.program

    @property
    def bound(self) -> BoundProgram:
        """The steps with what runs each."""
        return self._steps.bound

    @property
    def _steps(self) -> _Steps:
        """Function, program and steps; made when first asked for, where it runs on what was there before."""
        found: _Steps | None = self.__dict__.get("_made")
        # Of several threads that make them, one gives those that count.
        return self.__dict__.setdefault("_made", self._make_steps()) if found is None else found

    def _make_steps(self) -> _Steps:
        prepared = self._prepared or prepare(self.request, self.target, dumper())
        with stage("plan"):
            program = plan(prepared.function, prepared.guards)
        with stage("bind"):
            bound = bind(program, self.maker, self._checks)
        return _Steps(prepared.function, program, bound)

    def _recognised(self, again: Again) -> Whole:
        with stage("recognise"):
            return again(weakref.ref(self))

    def lower(self) -> Whole | str:
        """What runs the whole program, lowered anew; or why nothing does."""
        steps = self._steps
        with stage("lowering"):
            return "numbers are checked" if self._checks else self.maker.whole(steps.program, steps.bound)

    @Lazy
    def _assigns(self) -> dict[str, Tensor]:
        return {n.attrs["variable"]: n for n in self.function.nodes() if n.op.name == "assign"}

    @property
    def assigns(self) -> bool:
        """Whether a run changes variables."""
        native = self.native
        return bool(self.program.assignments if native is None else native.assigned or native.adopted)

    @Lazy
    def draws(self) -> bool:
        """Whether a run draws random numbers, and so depends on the count of the runs."""
        if self.native is not None:
            return self.native.takes_state
        return any(program.run_states for program in programs_of(self.program))

    @Lazy
    def kernels(self) -> tuple[Any, ...]:
        """The backend's distinct kernels, each with a `name` and its `text`; none for NumPy."""
        found = [step.kernel for bound in self.walked() for step in bound.steps]
        found += () if self.native is None else self.native.kernels
        return tuple(dict.fromkeys(kernel for kernel in found if kernel is not None))

    def walked(self) -> Iterator[BoundProgram]:
        """The steps, and those of bodies that are steps too: what a kernel runs is none."""
        runs: Mapping[BoundStep, Any] = {} if self.native is None else self.native.runs
        pending = [self.bound]
        while pending:
            current = pending.pop()
            yield current
            for step in current.steps:
                if step.kernel is None and not runs.get(step):
                    pending.extend(step.bodies.values())

    def kind_of(self, step: BoundStep) -> str:
        """What runs `step`: the backend's kernel, its bodies, nothing but a name, or its op's meaning."""
        native = None if self.native is None else self.native.kinds.get(step)
        if native is not None and native != "meaning":
            return native
        if step.kernel is not None:
            return self.backend
        if step.bodies:
            return "region"
        return "view" if step.node.op.name in _FREE else "meaning"

    @Lazy
    def record(self) -> dict[str, Any]:
        """What was compiled and how, as data for JSON: docs/record.md. Kernels are not assembled for it.

        The passes are run once more when this is first read, so that compiling keeps nothing.
        """
        from runtime.records.document import record_executable  # whoever asks for no record loads none

        return record_executable(self)

    def _displayed(self) -> Function:
        return self.function

    def peak_bytes(self, sizes: Mapping[str, Any] | None = None) -> int:
        """The most bytes that are alive at once in a run, as predicted from the lifetimes of buffers.

        What runs natively holds all of its arena from beginning to end, and so it counts; where values are
        computed again for a memory budget it is the buffers that do, since the budget is kept by them.

        Args:
            sizes: the named sizes as numbers; for a fed tensor with sizes that have no name, its name
                with the shape that is fed: ``{"batch": 32}``, ``{"x": (32, 784)}``. A size without a name
                that meets a known one is that.

        Sizes that only a step's result gives (as `nonzero` does) count as 0. Under a memory budget it
        is the peak of what a run with these sizes would use.

        Raises: ArgumentError where a size is missing, or the budget cannot be kept with these sizes.
        """
        known = known_sizes(self.program, self.feeds, sizes or {})
        chosen = self if self._within is None else self._within(self, known)
        return chosen.peak_of(known)

    def peak_of(self, known: Sizes) -> int:
        """`peak_bytes` of this very executable with the sizes `known`. Raises: as that."""
        peak = find_peak(self.program, known).bytes
        if self.native is None or self.target.memory_budget is not None:
            return peak
        adopted = sum(value.nbytes for value in self.native.adopted.values())  # held once, as constants
        return held_bytes(self.program, known) - adopted + self.native.arena_bytes(known)

    @Lazy
    def symbols(self) -> tuple[Symbol, ...]:
        """The symbols that a run binds before its first step."""
        given = (*self.program.bindings, *self.program.variable_bindings)
        return tuple(dict.fromkeys(binding.symbol for _, binding in given))

    @Lazy
    def agreement(self) -> Agreement:
        """The sizes of its runs."""
        return Agreement(self.bound, self.feeds)

    # Running.

    @Lazy
    def _walker(self) -> Executable:
        """The same op by op, which names the first that gives a NaN or an infinity of finite operands."""
        return Executable(self.request, self.maker, self.target.op_by_op(), check_numerics=True)

    def run(
        self, arrays: Sequence[Array], known: Sizes, variables: Mapping[str, Array], state: Array
    ) -> tuple[list[Any], dict[str, Array]]:
        """The values of the function's outputs, and what is assigned to which variable.

        Raises: what a step raises, with its op, the user's line and the operands.
        """
        if self._walks:
            return self._walker.run(arrays, known, variables, state)
        run = Run(dict(known), variables, state)
        with np.errstate(all="ignore"):
            values = self.bound.run(arrays, run)
        assigned = {}
        for name, buffer in self.program.assignments:
            _refuse_other_shape(self._assigns[name], values[buffer], run.sizes)
            assigned[name] = values[buffer]
        return [values[i] for i in self.program.outputs], assigned


def _refuse_other_shape(node: Tensor, value: Array, known: Sizes) -> None:
    """Raises ShapeError where `value`, assigned by `node`, is not of the variable's shape."""
    wanted = node.result.sizes
    for axis, size in enumerate(wanted):
        if value.ndim == len(wanted):
            if not set(sizes.symbols(size)) <= known.keys():
                continue
            if sizes.evaluate(size, known) == value.shape[axis]:
                continue
        raise ShapeError(
            f"assign: variable {node.attrs['variable']!r} is {node.type}, and its new value has shape "
            f"{list(value.shape)}{at_line(node.loc)}"
        )
