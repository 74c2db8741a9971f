"""Checking: runs a graph after each pass and names the pass, then the one rewrite, that changed a number.

Last, what the backend compiles of it runs too: where that differs, the sharing of memory or the node
whose code does harm is named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graphc.errors import FetchError, GraphError, VerificationError
from graphc.freezing import frozen
from graphc.function import Function
from graphc.graph import Graph
from graphc.tensor import Tensor
from passes.optimization import as_request
from passes.pipeline import DEFINED, PIPELINE, REQUIRED, Request, define
from passes.record import Change, Decision, recording, rewrite_limit
from passes.running import Pass, Repeated, choose_pipeline, name_of, verify_result, walk
from passes.target import Target
from runtime.backend import BACKENDS, Array, choose_backend, target_of
from runtime.machine_check import can_check, find_fault
from runtime.reproducer import excerpt, reproduce
from runtime.trial import TRUSTED, Trial, difference, thread_plainly
from runtime.values import feed_arrays, variable_arrays

_NO_LIMIT = 1 << 62
_FAST_RTOL = 1e-2  # reassociated sums of a few float16 still agree so far


@frozen
class Finding:
    """A pass that does harm, and the one rewrite of it that does.

    Attributes:
        name: the pass.
        what: how the result differs from that of the graph as defined, or what was raised.
        decision: the rewrite, where the pass decides about single ones: the rule, its equation, the line.
        before: the text of the node at fault, with what it is computed from.
        after: the text of what it became, where that is known.
        reproducer: a script of a few lines that finds it again; None where only the whole graph does.
    """

    name: str
    what: str
    decision: Decision | None = None
    before: str | None = None
    after: str | None = None
    reproducer: str | None = None

    def __str__(self) -> str:
        lines = [f"the pass {self.name} changes the result: {self.what}"]
        if self.decision is not None:
            lines.append(f"by {self.decision.kind} {self.decision.subject}: {self.decision.reason}")
            if self.decision.loc:
                lines.append(f"at {self.decision.loc}")
        for label, text in (("before", self.before), ("after", self.after)):
            if text is not None:
                lines += [f"{label}:", *(f"  {line}" for line in text.splitlines())]
        return "\n".join(lines)


@frozen
class Report:
    """What `check_passes` found: `passes` gave the right result, then `finding` did not; None: all did."""

    passes: tuple[str, ...]
    finding: Finding | None = None

    @property
    def ok(self) -> bool:
        """Whether every pass gave what the graph as defined gives."""
        return self.finding is None

    def __str__(self) -> str:
        if self.finding is None:
            return f"all {len(self.passes)} passes give what the graph as defined gives"
        return f"{self.finding}\nright until then: {', '.join(self.passes) or 'nothing'}"


def check_passes(
    fetches: Any,
    feeds: Mapping[Any, Any] | None = None,
    *,
    variables: Mapping[str, Any] | None = None,
    pipeline: Sequence[Pass] | None = None,
    fast_math: bool = False,
    backend: str | None = None,
    rtol: float | None = None,
) -> Report:
    """Runs `fetches` after each pass by the meanings of the ops; says which pass changed a result.

    What is right is what the graph gives as it was defined, before every optimisation. Compared are
    outputs, new values of variables, what effects are given, and errors by their kind. Each pass is
    verified too. Where one does harm, its rewrites are bisected for the one that does. At the end the
    backend's own code runs (unless the graph prints or calls Python, which would be noticed), with a
    wider tolerance: 4096 units in the last place, or a sixteenth where bfloat16 occurs.

    Args:
        fetches: any nesting of tensors, operations and variables; a Function; or a Graph that holds one.
        feeds: from tensors or names to values; None draws a value for every placeholder.
        variables: from names to values when the run begins; others begin as the graph says.
        pipeline: the passes to check in place of `passes.pipeline.PIPELINE`.
        fast_math: whether rewrites may change the last bits of floats.
        backend: whose pipeline and whose code are checked, as for a session.
        rtol: by how much floats may differ, relative to the largest of an array; None is 64 units in
            the last place (under `fast_math`: a hundredth).

    Raises: what is wrong with the graph itself or with what is fed: FeedError, FetchError, StateError.
    """
    if isinstance(fetches, Graph):
        if fetches.function is None:
            raise FetchError("this graph holds no Function: give the tensors to check")
        fetches = fetches.function
    request = as_request(fetches)
    graph = _graph_of(request.fetches)
    request, arrays, fed = feed_arrays(request, graph, feeds)
    trial = Trial.of(request, arrays, variable_arrays(request, graph, {**(variables or {}), **fed}))
    passes = PIPELINE if pipeline is None else choose_pipeline(pipeline) or ()
    machine = BACKENDS[choose_backend(backend)]()
    target = target_of(machine, fast_math=bool(fast_math), verify=True)
    return _Check(trial, passes, target, rtol).run()


def _graph_of(fetches: Sequence[Tensor]) -> Graph:
    owner = next((node.owner for node in fetches if node.owner is not None), None)
    if owner is None:
        raise FetchError("nothing is fetched")
    return owner.root


class _Check:
    """Goes from pass to pass until one gives another result than the reference."""

    def __init__(
        self,
        trial: Trial,
        passes: Sequence[Pass],
        target: Target,
        rtol: float | None,
        explains: bool = True,
    ) -> None:
        self.trial, self.passes, self.target = trial, passes, target
        self.rtol = _FAST_RTOL if rtol is None and target.fast_math else rtol
        self.explains = explains
        self.right = trial.run(trial.reference)
        self.passed: list[str] = []

    def run(self) -> Report:
        """The report on the passes before the pipeline, then on those of the pipeline."""
        finding = self._check_defined()
        if finding is None:
            function = define(self.trial.request, self.target, lambda name, function: None)
            finding, function = self._check_sequence(REQUIRED, function, trusted=True)
            if finding is None:
                finding, function = self._check_sequence(self.passes, function)
            if finding is None and can_check(function, self.target):
                finding = self._check_machine(function)
        return Report(tuple(self.passed), finding)

    def _check_machine(self, function: Function) -> Finding | None:
        """What the backend makes of the result of all passes."""
        fault = find_fault(self.trial, function, self.target, self.rtol)
        if fault is None:
            self.passed.append(self.target.backend)
            return None
        text = excerpt(fault.node, None)[0] if fault.node is not None else None
        return Finding(fault.name, fault.what, fault.change.decision if fault.change else None, text)

    def wrong(self, function: Function) -> str | None:
        """How `function` differs from what is right."""
        return difference(self.right, self.trial.run(function), self.rtol)

    def _check_defined(self) -> Finding | None:
        """The passes on the graph as defined, one more each time; what is right has the trusted ones."""
        for count, step in enumerate(DEFINED, 1):
            if step in TRUSTED:
                continue

            def defined(function: Function, target: Target, count: int = count) -> Function:
                steps = DEFINED[:count]
                return thread_plainly(define(self.trial.request, target, lambda n, f: None, steps))

            start = self.trial.reference
            try:
                what = self.wrong(defined(start, self.target))
            except Exception as error:  # a pass may fail in any way
                what = _failure(error)
            if what is not None:
                return self._finding(name_of(step), defined, start, what)
            self.passed.append(name_of(step))
        return None

    def _check_sequence(
        self, passes: Sequence[Pass], function: Function, trusted: bool = False
    ) -> tuple[Finding | None, Function]:
        last: list[tuple[Pass, Function]] = []
        stages = walk(_probed(passes, last), function, self.target)
        while True:
            try:
                stage = next(stages, None)
            except Exception as error:  # a pass may fail in any way
                if trusted and isinstance(error, GraphError) and not isinstance(error, VerificationError):
                    raise  # it says what is wrong with the graph
                step, before = last[-1]
                return self._finding(name_of(step), step, before, _failure(error)), function
            if stage is None:
                return None, function
            if trusted or stage.after is not stage.before:  # nothing done may be wrong, too
                what = self.wrong(stage.after)
                if what is not None:
                    step = last[-1][0]
                    return self._finding(stage.name, step, stage.before, what), function
            function = stage.after
            self.passed.append(stage.name)

    def _finding(self, name: str, step: Pass, before: Function, what: str) -> Finding:
        change = self._bisect(step, before)
        if change is None:
            return Finding(name, what)
        if change.before is None or not self.explains:
            return Finding(name, what, change.decision)
        text, became = excerpt(change.before, change.after)

        def finds(part: Function, arrays: Sequence[Array]) -> bool:
            request = Request((*part.outputs, *part.effects), part.inputs)
            try:
                trial = Trial.of(request, arrays, {})
            except GraphError:  # it cannot stand alone
                return False
            found = _Check(trial, self.passes, self.target, self.rtol, explains=False).run().finding
            return found is not None and found.name == name

        script = reproduce(change, before, self.trial, finds)
        return Finding(name, what, change.decision, text, became, script)

    def _bisect(self, step: Pass, before: Function) -> Change | None:
        """The first rewrite of `step` on `before` with which the result is no longer right."""

        def attempt(count: int) -> tuple[bool, list[Change]]:
            with recording() as log, rewrite_limit(count):
                try:
                    after = step(before, self.target)
                    verify_result(before, after)
                except Exception:  # a pass may fail in any way
                    return True, log.changes
            return self.wrong(after) is not None, log.changes

        bad, changes = attempt(_NO_LIMIT)
        if not bad or not changes or attempt(0)[0]:
            return None
        good, wrong = 0, len(changes)
        while wrong - good > 1:
            middle = (good + wrong) // 2
            if attempt(middle)[0]:
                wrong = middle
            else:
                good = middle
        return attempt(wrong)[1][wrong - 1]


def _failure(error: Exception) -> str:
    notes = "; ".join(getattr(error, "__notes__", ()))
    kind = "is not valid" if isinstance(error, VerificationError) else f"raises {type(error).__name__}"
    return f"{kind}: {error}" + (f" ({notes})" if notes else "")


@frozen
class _Probe:
    """A pass that writes down, before it runs, that it is about to."""

    step: Pass
    last: list[tuple[Pass, Function]]

    @property
    def name(self) -> str:
        return name_of(self.step)

    def __call__(self, function: Function, target: Target) -> Function:
        self.last[:] = [(self.step, function)]
        return self.step(function, target)

    def __hash__(self) -> int:
        return hash(self.step)


def _probed(passes: Sequence[Pass], last: list[tuple[Pass, Function]]) -> tuple[Pass, ...]:
    return tuple(
        Repeated(step.name, _probed(step.steps, last)) if isinstance(step, Repeated) else _Probe(step, last)
        for step in passes
    )
