"""Profile: how long a run takes, and each step of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import numpy as np

from graphc.descent import Descent, descend
from graphc.errors import ArgumentError, GraphError
from graphc.freezing import frozen
from graphc.laziness import Lazy
from graphc.sizes import Symbol
from runtime.agreement import Sizes
from runtime.backend import Array, Whole
from runtime.executable import Executable
from runtime.execution import BoundProgram, BoundStep, Values
from runtime.records.reading import spell_seconds
from runtime.regions import Run

_WARMUP = 3
_Times = dict[BoundStep, float]


@frozen
class StepTime:
    """What one step of the program took: the median and the least of the runs, in seconds.

    `kind` says what runs it, as ``Executable.record["steps"]`` does; `at` is the user's line.
    """

    number: int
    op: str
    type: str
    at: str | None
    kind: str
    seconds: float
    least: float


class Profile:
    """How long runs took. Printed, it is a table of the steps, the slowest first.

    Attributes:
        runs: how many were measured.
        seconds, least: of a whole run without clocks in it: the median and the least.
        steps: those of the program, in order, measured one by one.
    """

    def __init__(
        self, executable: Executable, known: Sizes, whole: Sequence[float], each: Sequence[_Times]
    ) -> None:
        self.executable, self.runs = executable, len(whole)
        self.seconds, self.least = median(whole), min(whole)
        self._known, self._each = known, each
        self.steps = tuple(
            StepTime(
                number,
                step.node.op.name,
                str(step.node.type),
                str(step.node.loc) if step.node.loc else None,
                executable.kind_of(step),
                *self._of(step),
            )
            for number, step in enumerate(executable.bound.steps)
        )

    def _of(self, step: BoundStep) -> tuple[float, float]:
        times = [_inclusive(step, run) for run in self._each]
        return median(times), min(times)

    def as_dict(self) -> dict[str, Any]:
        """It as data for JSON: docs/record.md."""
        return {
            "runs": self.runs,
            "warmup": _WARMUP,
            "seconds": self.seconds,
            "least": self.least,
            "steps": descend(self._spelled(self.executable.bound)),
        }

    def _spelled(self, bound: BoundProgram) -> Descent[list[dict[str, Any]]]:
        found, begin = [], 0.0
        for step in bound.steps:
            seconds, least = self._of(step)
            spelled: dict[str, Any] = {"seconds": seconds, "least": least, "begin": begin}
            if any(inner in times for times in self._each for inner in _inner(step)):
                spelled["bodies"] = {}
                for name, body in step.bodies.items():
                    spelled["bodies"][name] = yield self._spelled(body)
            found.append(spelled)
            begin += seconds
        return found

    @Lazy
    def record(self) -> dict[str, Any]:
        """All about what was run, with these times and the machine code of the kernels: docs/record.md."""
        from runtime.records.document import record_executable  # whoever asks for no record loads none

        return record_executable(self.executable, self._known, with_assembly=True, profile=self.as_dict())

    def __str__(self) -> str:
        total = sum(step.seconds for step in self.steps) or 1.0
        lines = [
            f"{self.runs} runs on {self.executable.backend}: median {spell_seconds(self.seconds)}, "
            f"least {spell_seconds(self.least)}",
            f"{'time':>10} {'share':>6}  {'runs as':<9} {'op':<14} where",
        ]
        for step in sorted(self.steps, key=lambda step: -step.seconds)[:20]:
            if step.seconds > 0:
                taken, share = spell_seconds(step.seconds), f"{step.seconds / total:.1%}"
                lines.append(f"{taken:>10} {share:>6}  {step.kind:<9} {step.op:<14} {step.at or ''}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<graphc Profile of {self.runs} runs: median {spell_seconds(self.seconds)}>"


def profile_runs(
    executable: Executable,
    arrays: Sequence[Array],
    known: Sizes,
    variables: Mapping[str, Array],
    state: Array,
    runs: int,
) -> Profile:
    """Runs `executable` again and again from the same state; nothing is committed.

    Raises: ArgumentError for `runs` below 1; what a step raises.
    """
    if isinstance(runs, bool) or not isinstance(runs, int) or runs < 1:
        raise ArgumentError(f"runs is a number above 0, not {runs!r}")
    once, clocked = _walking(executable, arrays, known, variables, state)
    native = executable.native
    if native is not None:
        native.settle()
        rest = [variables.get(name) for name in native.variables]
        if all(value is not None for value in rest):
            fed = [
                *(np.asarray(a, order="C") for a in arrays),
                *rest,
                *([state] if native.takes_state else ()),
            ]
            once, clocked = _natively(executable, native, fed, known) or (once, clocked)
    for _ in range(_WARMUP):
        once()
    whole = []
    for _ in range(runs):
        begin = time.perf_counter()
        once()
        whole.append(time.perf_counter() - begin)
    clocked()
    return Profile(executable, known, whole, [clocked() for _ in range(runs)])


_Ways = tuple[Callable[[], object], Callable[[], _Times]]


def _natively(
    executable: Executable, native: Whole, fed: Sequence[Any], known: dict[Symbol, int]
) -> _Ways | None:
    """A native run, and one with clocks; None where it refuses what is fed."""
    timed = executable.maker.whole(executable.program, executable.bound, clocked=True)
    if isinstance(timed, str) or timed.run_clocked(fed)[0] is NotImplemented:
        return None

    def once() -> None:
        if native.call(*fed) is NotImplemented:
            native.run_again(fed)

    def clocked() -> _Times:
        results, times = timed.run_clocked(fed)
        if results is NotImplemented:
            raise GraphError("a run that went well before is refused")
        return dict(times)

    return once, clocked


def _walking(
    executable: Executable,
    arrays: Sequence[Array],
    known: Sizes,
    variables: Mapping[str, Array],
    state: Array,
) -> _Ways:
    """A walk over the steps, and one that looks at the clock between them."""
    times: _Times = {}
    steps: Any = tuple(_Timed(step, times) for step in executable.bound.steps)
    bound = replace(executable.bound, steps=steps)

    def clocked() -> _Times:
        times.clear()
        with np.errstate(all="ignore"):
            bound.run(arrays, Run(dict(known), variables, state))
        return dict(times)

    return lambda: executable.run(arrays, known, variables, state), clocked


class _Timed:
    """A step that writes down how long it took."""

    __slots__ = ("_step", "_times", "bodies", "inputs", "kernel", "node")

    def __init__(self, step: BoundStep, times: _Times) -> None:
        self.node, self.inputs, self.kernel, self.bodies = step.node, step.inputs, step.kernel, step.bodies
        self._step, self._times = step, times

    def __call__(self, values: Values, run: Run) -> None:
        begin = time.perf_counter()
        self._step.run(values, run)
        self._times[self._step] = time.perf_counter() - begin


def _inclusive(step: BoundStep, times: _Times) -> float:
    """The time of `step` with that of the steps in its bodies."""
    return times.get(step, 0.0) + sum(times.get(inner, 0.0) for inner in _inner(step))


def _inner(step: BoundStep) -> Iterator[BoundStep]:
    pending = list(step.bodies.values())
    while pending:
        for inner in pending.pop().steps:
            yield inner
            pending.extend(inner.bodies.values())
