"""Execution: a program's steps bound to what runs them, and the loop that walks them.

All that can be decided before a run is decided once, in `bind`: a step becomes one closure over
buffer numbers, so that what a step costs beyond its own work is a call and two list accesses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from graphc import sizes
from graphc.conversion import round_to_bfloat16
from graphc.errors import NumericsError, ShapeError, UninitializedError, VerificationError
from graphc.sizes import Size, SizeExpr, Symbol
from graphc.tensor import Tensor
from graphc.types import BFLOAT16, TensorType, TupleType
from passes.program import Check, Program, Step
from runtime.backend import Array, Backend, Kernel
from runtime.failure import explain
from runtime.regions import Body, Run, runner_of

Values = list[Any]  # what the buffers hold
Call = Callable[[Values, Run], None]


@dataclass(frozen=True, slots=True)
class BoundStep:
    """One step, ready to run: ``call(values, run)`` reads and writes buffers."""

    node: Tensor
    inputs: tuple[int, ...]
    call: Call
    kernel: Kernel | None  # the backend's; None where the meaning or a region runs
    bodies: Mapping[str, BoundProgram]


@dataclass(frozen=True, slots=True)
class BoundProgram:
    """A program, ready to run. `blank` are the buffers before a run: constants and None."""

    program: Program
    steps: tuple[BoundStep, ...]
    blank: tuple[Any, ...]
    reads: tuple[tuple[str, int, Tensor], ...]

    def run(self, inputs: Sequence[Any], run: Run) -> Values:
        """What the buffers hold once all steps have run on `inputs`."""
        values = list(self.blank)
        for buffer, value in zip(self.program.inputs, inputs, strict=True):
            values[buffer] = value
        for name, buffer, node in self.reads:
            value = run.variables.get(name)
            if value is None:
                raise uninitialized(name, node)
            values[buffer] = value
        for buffer in self.program.run_states:
            values[buffer] = run.state
        step = None
        try:
            for step in self.steps:
                step.call(values, run)
        except Exception as error:
            assert step is not None
            explain(error, step.node, [values[i] for i in step.inputs])
            raise
        return values

    def bind_variables(self, variables: Mapping[str, Array], known: dict[Symbol, int]) -> None:
        """Adds to `known` the sizes that `variables` give. Raises: UninitializedError."""
        for name, binding in self.program.variable_bindings:
            value = variables.get(name)
            if value is None:
                raise uninitialized(name, next(node for other, _, node in self.reads if other == name))
            known[binding.symbol] = value.shape[binding.axis]

    def as_body(self) -> Body:
        """A function from inputs to outputs, for the region that it is a body of."""
        outputs, bindings = self.program.outputs, self.program.bindings

        def run_body(inputs: Sequence[Any], run: Run) -> list[Any]:
            for i, binding in bindings:
                value = inputs[i] if binding.part is None else inputs[i][binding.part]
                run.sizes[binding.symbol] = value.shape[binding.axis]
            self.bind_variables(run.variables, run.sizes)
            for check in self.program.checks:
                verify(check, run.sizes)
            values = self.run(inputs, run)
            return [values[i] for i in outputs]

        return run_body


def uninitialized(name: str, node: Tensor) -> UninitializedError:
    """The error for a read of the variable `name`, which has no value."""
    error = UninitializedError(
        f"variable {name!r} has no value yet: run gc.global_variables_initializer() or "
        "session.restore(path) first"
    )
    if node.loc:
        error.extend(f"read at {node.loc}")
    error.explained = True  # type: ignore[attr-defined]  # it says all there is to say
    return error


def bind(program: Program, backend: Backend, check_numerics: bool) -> BoundProgram:
    """`program` with each step bound to the backend's kernel, else to its op's meaning."""
    blank: Values = [None] * program.buffers
    for buffer, value in program.constants:
        constant = np.asarray(value).view()
        constant.flags.writeable = False
        blank[buffer] = constant
    by_buffer = dict(enumerate(program.function.nodes()))
    return BoundProgram(
        program,
        tuple(_bind_step(step, backend, check_numerics) for step in program.steps),
        tuple(blank),
        tuple((name, buffer, by_buffer[buffer]) for name, buffer, _ in program.variables),
    )


def _bind_step(step: Step, backend: Backend, check_numerics: bool) -> BoundStep:
    node = step.node
    settle = _settler(node)
    if step.programs:
        bodies = {name: bind(p, backend, check_numerics) for name, p in step.programs.items()}
        runner = runner_of(node, {name: body.as_body() for name, body in bodies.items()})
        return BoundStep(node, step.inputs, _general(step, runner, settle, region=True), None, bodies)
    kernel = backend.kernel(step)
    work = kernel
    if work is None:
        if node.op.meaning is None:
            raise VerificationError(f"{node.op.name} cannot run: it has no meaning\n  at {node.loc}")
        fixed = {key: value for key, value in node.attrs.items() if key not in step.sized}
        work = partial(node.op.meaning, **fixed) if fixed else node.op.meaning
    if check_numerics:
        call = _general(step, work, _numerics_settler(settle), checked=True)
    elif step.sized or step.checks or step.bindings or isinstance(node.type, TupleType):
        call = _general(step, work, settle)
    else:
        call = _swift(step, work, settle)
    return BoundStep(node, step.inputs, call, kernel, {})


# How one step runs.


def _swift(step: Step, work: Kernel, settle: Callable[[Any], Any]) -> Call:
    """The step that is nothing but ``output = work(*inputs)``: most are."""
    output, frees = step.output, step.frees
    assert isinstance(step.node.type, TensorType)
    dtype, ndarray = step.node.type.dtype.numpy, np.ndarray
    rounds = step.node.type.dtype is BFLOAT16

    def finish(values: Values, result: Any) -> None:
        if rounds or result.__class__ is not ndarray or result.dtype is not dtype:
            result = settle(result)
        values[output] = result
        for buffer in frees:
            values[buffer] = None

    match step.inputs:
        case (a,):

            def call(values: Values, run: Run) -> None:
                finish(values, work(values[a]))

        case (a, b):

            def call(values: Values, run: Run) -> None:
                finish(values, work(values[a], values[b]))

        case inputs:

            def call(values: Values, run: Run) -> None:
                finish(values, work(*[values[i] for i in inputs]))

    return call


def _general(
    step: Step, work: Kernel, settle: Callable[..., Any], region: bool = False, checked: bool = False
) -> Call:
    """The step that checks or binds sizes, evaluates sizes in attributes, or runs bodies."""
    inputs, output, frees, bindings, checks = (
        step.inputs,
        step.output,
        step.frees,
        step.bindings,
        step.checks,
    )
    sized = [(name, step.node.attrs[name]) for name in step.sized]

    def call(values: Values, run: Run) -> None:
        for check in checks:
            verify(check, run.sizes)
        operands = [values[i] for i in inputs]
        attrs = {name: tuple(_value(size, run.sizes) for size in shape) for name, shape in sized}
        result = work(run, *operands, **attrs) if region else work(*operands, **attrs)
        result = settle(result, operands) if checked else settle(result)
        for binding in bindings:
            part = result if binding.part is None else result[binding.part]
            run.sizes[binding.symbol] = part.shape[binding.axis]
        values[output] = result
        for buffer in frees:
            values[buffer] = None

    return call


def _value(size: Size, known: Mapping[Symbol, int]) -> Size:
    """`size` as a number; itself where it is one that the step binds."""
    try:
        return sizes.evaluate(size, known)
    except KeyError:
        return size


def verify(check: Check, known: Mapping[Symbol, int]) -> None:
    """Raises ShapeError where the two sizes of `check` differ."""
    x, y = sizes.evaluate(check.x, known), sizes.evaluate(check.y, known)
    if x != y:
        raise ShapeError(f"sizes differ: {spell(check.x, x)} and {spell(check.y, y)}")


def spell(size: Size, value: int) -> str:
    """A size with its value: ``batch = 32``."""
    return f"{size} = {value}" if isinstance(size, SizeExpr) else str(value)


# What a step's result must be.


def _settler(node: Tensor) -> Callable[[Any], Any]:
    """What brings a result of `node` to the array (or arrays) of its type."""
    type = node.type
    if isinstance(type, TensorType):
        return partial(_settle, type)
    if not type.elements:
        return lambda result: ()
    return lambda result: tuple(_settle(t, r) for t, r in zip(type.elements, result, strict=True))


def _settle(type: TensorType, result: Any) -> Array:
    array = np.asarray(result, type.dtype.numpy)
    return round_to_bfloat16(array) if type.dtype is BFLOAT16 else array


def _numerics_settler(settle: Callable[[Any], Any]) -> Callable[[Any, Sequence[Any]], Any]:
    """As `settle`, and NaN and infinity made of finite operands are an error."""

    def settle_finite(result: Any, operands: Sequence[Any]) -> Any:
        settled = settle(result)
        for array in settled if isinstance(settled, tuple) else (settled,):
            if not _finite(array) and all(map(_finite, operands)):
                what = "NaN" if np.isnan(array).any() else "infinity"
                raise NumericsError(f"its result has {what}, and its operands are finite")
        return settled

    return settle_finite


def _finite(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_finite, value))
    return value.dtype.kind != "f" or bool(np.isfinite(value).all())
