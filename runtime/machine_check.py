"""Machine check: whether what a backend compiles gives what the ops mean; where not, which step does harm."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphc.freezing import frozen
from graphc.function import Function, all_nodes, rebuild, topological, with_inputs
from graphc.ops.source import _constant as constant
from graphc.ops.state import pick
from graphc.tensor import Tensor
from graphc.tracing import parameter
from graphc.types import BFLOAT16, TensorType, TupleType
from passes.pipeline import Prepared, Request
from passes.record import Change, recording, rewrite_limit
from passes.target import Target
from passes.weight import parts_of
from runtime.backend import BACKENDS
from runtime.direct import run_whole
from runtime.executable import Executable
from runtime.feeds import Feeds
from runtime.trial import Outcome, Trial, difference

_UNITS = 1 << 12  # in the last place of an array's largest: sums in another order, other polynomials
_COARSE = 2**-4  # the same where bfloat16 occurs, as a share: arrays hold it as float32
_AGAIN = frozenset(("print", "call_python"))  # whoever runs them twice is noticed
_NAMES = frozenset(("pick", "after", "group", "assign", "variable", "run_state"))  # they compute nothing


@frozen
class Fault:
    """What is wrong with compiled code.

    Attributes:
        name: ``plan_memory`` where values share memory that must not, else the backend.
        what: how the result differs.
        node: the node whose code does, or which is overwritten; None where no single one is found.
        change: the sharing of memory that does harm.
    """

    name: str
    what: str
    node: Tensor | None = None
    change: Change | None = None


def can_check(function: Function, target: Target) -> bool:
    """Whether the backend of `target` compiles programs, and nobody notices that `function` runs again."""
    return target.backend != "numpy" and not any(node.op.name in _AGAIN for node in all_nodes(function))


def find_fault(trial: Trial, function: Function, target: Target, rtol: float | None) -> Fault | None:
    """What is wrong with the code for `function`, the result of all passes; None where nothing is.

    What is right is what the meanings of its ops give.
    """
    right = trial.run(function)
    if right.error is not None:
        return None
    if rtol is None and any(t.dtype is BFLOAT16 for n in all_nodes(function) for t in parts_of(n.type)):
        rtol = _COARSE
    compiled = _Compiled(trial, function, target)
    shared = compiled.run(trial)
    what = _difference(right, shared, rtol)
    if what is None:
        return None
    with recording() as log:
        _Compiled(trial, function, target)
    sharings = [change for change in log.changes if change.decision.kind == "share"]
    if sharings and _differs(compiled.run(trial, 0), shared):
        return Fault("plan_memory", what, sharings[0].before, _bisect(compiled, trial, sharings))
    for node, how in _wrong_steps(trial, function, target, rtol):
        return Fault(target.backend, how, node)
    return Fault(target.backend, what)


class _Compiled:
    """A function, as the backend of a target runs it."""

    def __init__(self, trial: Trial, function: Function, target: Target) -> None:
        self.request, self.target = trial.request, target
        self._prepared = Prepared(function, trial.guards)
        self._executable = self._compile()

    def _compile(self) -> Executable:
        backend = BACKENDS[self.target.backend]()
        return Executable(self.request, backend, self.target, check_numerics=False, prepared=self._prepared)

    def run(self, trial: Trial, sharings: int | None = None) -> Outcome:
        """What it gives on the values of `trial`; with no more than so many `sharings` of memory."""
        executable = self._executable
        if sharings is not None:
            with rewrite_limit(sharings):
                executable = self._compile()
        return run_compiled(executable, trial.arrays, trial.variables)


def run_compiled(executable: Executable, arrays: Any, variables: Any) -> Outcome:
    """What one run of `executable` gives: in one native call where it can."""
    try:
        results = None
        if executable.native is not None:
            results = run_whole(executable, Feeds(executable.feeds, arrays, ()), variables, (0, 0))
        if results is None:
            known = executable.agreement.sizes_of(arrays, variables)
            results = executable.run(arrays, known, variables, np.zeros(2, np.uint64))
    except Exception as error:  # a faulty kernel may fail in any way
        return Outcome(error=error)
    values, assigned = results
    return Outcome(tuple(() if v is None else v for v in values), assigned)


def _difference(right: Outcome, found: Outcome, rtol: float | None) -> str | None:
    plain = Outcome(right.outputs, right.assigned)  # what effects are given is not looked at
    return difference(plain, found, rtol, _UNITS)


def _differs(x: Outcome, y: Outcome) -> bool:
    """Whether a single bit does."""
    return difference(x, y, 0.0) is not None


def _bisect(compiled: _Compiled, trial: Trial, sharings: list[Change]) -> Change:
    """The first sharing of memory with which a bit of the result changes."""
    right = compiled.run(trial, 0)
    good, wrong = 0, len(sharings)
    while wrong - good > 1:
        middle = (good + wrong) // 2
        if _differs(right, compiled.run(trial, middle)):
            wrong = middle
        else:
            good = middle
    return sharings[wrong - 1]


def _wrong_steps(
    trial: Trial, function: Function, target: Target, rtol: float | None
) -> Iterator[tuple[Tensor, str]]:
    """The nodes whose code, alone on the right operands, gives something else; with how it differs."""
    nodes = [n for n in function.nodes() if isinstance(n.type, TensorType)]
    values = trial.run(Function(function.inputs, tuple(nodes), function.effects))
    if values.error is not None:
        return
    value = dict(zip(nodes, values.outputs, strict=True))
    for node in function.nodes():
        if node in function.inputs or not node.inputs or node.op.name in _NAMES or node.op.effect:
            continue
        alone, given = _alone(node)
        step = Trial(
            Request(alone.outputs, alone.inputs), [value[n] for n in given], {}, (), Function((), ())
        )
        right, found = step.run(alone), _Compiled(step, alone, target).run(step)
        how = _difference(right, found, rtol)
        if how is not None:
            yield node, how


def _alone(node: Tensor) -> tuple[Function, list[Tensor]]:
    """`node` with the views among its operands as a function, and what that is to be given."""
    outputs: tuple[Tensor, ...] = (node,)
    if isinstance(node.type, TupleType):
        outputs = tuple(pick(node, index=i) for i in range(len(node.type.elements)))
    formal: dict[Tensor, Tensor] = {}
    inside = {*outputs, node}
    for each in reversed(topological(outputs)):
        for operand in each.inputs if each in inside else ():
            if operand.op.family == "movement" or operand.op is constant or operand in inside:
                inside.add(operand)
            else:
                formal[operand] = parameter(f"x{len(formal)}", operand.result, operand.owner)
    body, _ = rebuild(Function(tuple(formal), outputs), with_inputs, formal)
    return Function(tuple(formal.values()), body.outputs), list(formal)
