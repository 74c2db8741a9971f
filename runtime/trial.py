"""Trials: a function run by the meanings of its ops, and how what it gives differs from what is right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from graphc.errors import GraphError
from graphc.freezing import frozen
from graphc.function import Function, rebuild, topological, with_inputs
from graphc.ops.state import after, assign, variable
from graphc.sizes import Symbol
from graphc.tensor import Tensor
from passes.differentiation import differentiate
from passes.lifting import lift_assignments
from passes.pipeline import DEFINED, Prepared, Request, define
from passes.program import Check, Program, Step, size_guards
from passes.target import Target
from runtime.agreement import Mismatch
from runtime.backend import Array, Kernel
from runtime.compilation import broadcasting
from runtime.executable import Executable
from runtime.numpy_backend import NumpyBackend

TRUSTED = tuple(step for step in DEFINED if step in (lift_assignments, differentiate))
_MOST = 0.1  # however few the bits of a float are
_NO_TELL = lambda name, function: None  # noqa: E731  nobody listens


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run gave: values, new values of variables, what its effects were given; or its error."""

    outputs: tuple[Any, ...] = ()
    assigned: Mapping[str, Array] = field(default_factory=dict)
    effects: tuple[tuple[str, tuple[Array, ...]], ...] = ()
    error: Exception | None = None


class _Witness(NumpyBackend):
    """A backend that has no kernels, and writes down what the effects are given instead of printing it."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, tuple[Array, ...]]] = []

    def kernel(self, step: Step) -> Kernel | None:
        op, attrs = step.node.op, step.node.attrs
        if not op.effect or op is assign:
            return None
        label = f"{op.name} {attrs.get('message', '')}".strip()
        fixed = {key: value for key, value in attrs.items() if key not in step.sized}
        assert op.meaning is not None
        meaning = partial(op.meaning, **fixed)

        def run(*operands: Array, **sized: Any) -> Any:
            self.seen.append((label, operands))
            return () if op.name == "print" else meaning(*operands, **sized)

        return run

    def whole(self, program: Program, bound: Any, clocked: bool = False) -> str:
        return "what is given to effects is written down step by step"


@frozen
class Trial:
    """One request with values for all that it reads: runs functions that should give the same.

    Attributes:
        request: what is computed.
        arrays: what is fed, in the order of the request's feeds.
        variables: the values of variables when the run begins.
        guards: the sizes that the definition takes as equal.
        reference: what the graph as defined means.
    """

    request: Request
    arrays: Sequence[Array]
    variables: Mapping[str, Array]
    guards: tuple[Check, ...]
    reference: Function

    @staticmethod
    def of(request: Request, arrays: Sequence[Array], variables: Mapping[str, Array]) -> Trial:
        """A trial of `request`, specialised where a 1 that is fed must broadcast.

        The reference has run through nothing but what lifts assignments out of bodies and answers
        requests for gradients; what each read sees is found by walking to its ancestors.

        Raises: FeedError, ShapeError where the arrays do not fit.
        """
        while True:
            defined = define(request, Target(), _NO_TELL, TRUSTED)
            trial = Trial(request, arrays, variables, size_guards(defined), thread_plainly(defined))
            try:
                trial._executable(trial.reference, _Witness()).agreement.sizes_of(arrays, variables)
            except Mismatch as mismatch:
                wider = dict(broadcasting(mismatch))
                if not wider or wider.items() <= request.sizes.items():
                    raise mismatch.error from None
                request = replace(request, sizes={**request.sizes, **wider})
            else:
                return trial

    def run(self, function: Function) -> Outcome:
        """What `function` gives on the trial's values."""
        witness = _Witness()
        state = np.zeros(2, np.uint64)
        try:
            executable = self._executable(function, witness)
            known: dict[Symbol, int] = executable.agreement.sizes_of(self.arrays, self.variables)
            outputs, assigned = executable.run(self.arrays, known, self.variables, state)
        except Mismatch as mismatch:
            return Outcome(error=mismatch.error)
        except Exception as error:
            return Outcome(error=error)
        return Outcome(tuple(outputs), assigned, tuple(sorted(witness.seen, key=lambda seen: seen[0])))

    def _executable(self, function: Function, witness: _Witness) -> Executable:
        prepared = Prepared(function, self.guards)
        return Executable(self.request, witness, Target(), check_numerics=False, prepared=prepared)


def thread_plainly(function: Function) -> Function:
    """`function` with every read replaced by the last assignment among its ancestors: state, by its meaning.

    Slow, and so plain that it stands for what `thread_state` must do.
    """
    assignments = [node for node in function.nodes() if node.op is assign]
    if not assignments:
        return function
    new: dict[Tensor, Tensor] = {}

    def make(node: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
        new[node] = with_inputs(node, inputs)
        if node.op is variable and node.inputs:
            ancestors = set(topological([node]))
            regions = {a for a in ancestors if a.attrs.get("state")}
            seen = [
                a
                for a in assignments
                if a.attrs["variable"] == node.attrs["name"]
                and (a in ancestors or any(region in a.inputs[0].inputs for region in regions))
            ]
            if seen:
                latest = seen[-1]
                value = new.get(latest)
                if value is None:  # it comes out of a region, after what reads it
                    picked = latest.inputs[0]
                    value = with_inputs(picked, tuple(new[i] for i in picked.inputs))
                new[node] = Tensor(after, (value, *inputs), {}, value.type, node.loc, node.name, node.owner)
        return new[node]

    return rebuild(function, make)[0]


# How two outcomes differ.


def difference(right: Outcome, found: Outcome, rtol: float | None, units: int = 64) -> str | None:
    """In which way `found` is not what is `right`, in words; None where it is.

    `rtol`: by how much floats may differ, relative to the largest of the array; None for so many `units`
    in the last place. NaN-ness, infinities and the signs of zeros are always to be the same.
    """
    if right.error is not None or found.error is not None:
        if type(right.error) is type(found.error):
            return None
        return f"{_raised(found.error)}, where the graph as defined {_raised(right.error)}"
    for i, (x, y) in enumerate(zip(right.outputs, found.outputs, strict=True)):
        if (how := _array_difference(x, y, rtol, units)) is not None:
            return f"output {i} {how}"
    if right.assigned.keys() != found.assigned.keys():
        return f"assigned are {sorted(found.assigned)}, not {sorted(right.assigned)}"
    for name, x in right.assigned.items():
        if (how := _array_difference(x, found.assigned[name], rtol, units)) is not None:
            return f"the new value of variable {name!r} {how}"
    if [label for label, _ in right.effects] != [label for label, _ in found.effects]:
        return f"the effects are {[e for e, _ in found.effects]}, not {[e for e, _ in right.effects]}"
    for (label, xs), (_, ys) in zip(right.effects, found.effects, strict=True):
        for x, y in zip(xs, ys, strict=False):
            if (how := _array_difference(x, y, rtol, units)) is not None:
                return f"what the effect {label!r} is given {how}"
    return None


def _raised(error: Exception | None) -> str:
    if error is None:
        return "gives values"
    text = str(error).splitlines()[0] if isinstance(error, GraphError) else str(error)
    return f"raises {type(error).__name__}: {text}"


def _array_difference(right: Any, found: Any, rtol: float | None, units: int) -> str | None:
    if isinstance(right, tuple) or isinstance(found, tuple):
        return None  # an operation, which has no value
    x, y = np.asarray(right), np.asarray(found)
    if x.dtype != y.dtype:
        return f"is {y.dtype}, not {x.dtype}"
    if x.shape != y.shape:
        return f"has shape {list(y.shape)}, not {list(x.shape)}"
    wrong = _wrong(x, y, rtol, units)
    if not wrong.any():
        return None
    place = tuple(int(i) for i in np.argwhere(wrong)[0])
    where = f" at {list(place)}" if place else ""
    return f"is {y[place]}, not {x[place]}{where} ({int(wrong.sum())} of {wrong.size} differ)"


def _wrong(x: Array, y: Array, rtol: float | None, units: int) -> Array:
    """Where `y` is not what `x` is."""
    if x.dtype.kind != "f":
        return np.asarray(x != y)
    with np.errstate(all="ignore"):
        finite = np.isfinite(x) & np.isfinite(y)
        same = (x == y) & ((x != 0) | (np.signbit(x) == np.signbit(y)))
        same |= np.isnan(x) & np.isnan(y)
        share = min(units * float(np.finfo(x.dtype).eps), _MOST) if rtol is None else rtol
        if not share or not finite.any():
            return np.asarray(~same)
        wide = x.astype(np.float64)
        scale = np.abs(wide[np.isfinite(wide)]).max(initial=0)
        near = finite & ~((x == 0) & (y == 0)) & (np.abs(wide - y.astype(np.float64)) <= share * scale)
        return np.asarray(~(same | near))
