"""Execution: a program's steps bound to what runs them, and the loop that walks them.

All that can be decided before a run is decided once, in `bind`, so that what a step costs beyond its
own work is a call and a few accesses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np

from graphc import sizes
from graphc.conversion import round_to_bfloat16
from graphc.descent import Descent, descend
from graphc.errors import NumericsError, ShapeError, UninitializedError, VerificationError
from graphc.freezing import frozen
from graphc.location import at_line
from graphc.sizes import Size, SizeExpr, Symbol
from graphc.tensor import Tensor
from graphc.types import BFLOAT16, TensorType, TupleType, Type
from passes.program import Check, Program, Step
from runtime.backend import Array, Backend, Kernel
from runtime.failure import Origin, Outside, explain_run, itself
from runtime.regions import Body, Run, Runner, runner_of

Values = list[Any]  # what the buffers hold
_Waiting = tuple["BoundStep", Descent[None]]  # a step with bodies, and the call that runs them
_NO_BODIES: Mapping[str, BoundProgram] = MappingProxyType({})


class BoundStep:
    """One step, ready to run: a call reads its operands from the buffers and writes its result there.

    This one is nothing but ``output = work(*inputs)``; most steps are.

    Attributes:
        node: what it computes.
        inputs: the buffers that it reads.
        kernel: the backend's, or None where the meaning or a region runs.
        bodies: those of a region, by name.
    """

    __slots__ = ("_dtype", "_frees", "_output", "_work", "bodies", "inputs", "kernel", "node")

    def __init__(
        self, step: Step, work: Kernel, kernel: Kernel | None, bodies: Mapping[str, BoundProgram] = _NO_BODIES
    ) -> None:
        self.node, self.inputs, self.kernel, self.bodies = step.node, step.inputs, kernel, bodies
        self._work, self._output, self._frees = work, step.output, step.frees
        type = step.node.type
        # Arrays of this dtype need no more work; bfloat16 is rounded in any case.
        ready = type if isinstance(type, TensorType) and type.dtype is not BFLOAT16 else None
        self._dtype = None if ready is None else ready.dtype.numpy

    def __call__(self, values: Values, run: Run) -> Descent[None] | None:
        """Runs it on `values`, the buffers; where it has bodies, gives the call that does (`descend`)."""
        inputs = self.inputs
        if len(inputs) == 2:
            result = self._work(values[inputs[0]], values[inputs[1]])
        elif len(inputs) == 1:
            result = self._work(values[inputs[0]])
        else:
            result = self._work(*[values[i] for i in inputs])
        if result.__class__ is not np.ndarray or result.dtype is not self._dtype:
            result = settle(self.node.type, result)
        values[self._output] = result
        for buffer in self._frees:
            values[buffer] = None
        return None

    def run(self, values: Values, run: Run) -> None:
        """As a call, and the bodies too."""
        call = self(values, run)
        if call is not None:
            descend(call)


@frozen
class BoundProgram:
    """A program, ready to run. `blank` are the buffers before a run: constants and None.

    `origin` gives for a node of a body what stands for it in the user's program.
    """

    program: Program
    steps: tuple[BoundStep, ...]
    blank: tuple[Any, ...]
    reads: tuple[tuple[str, int, Tensor], ...]
    origin: Origin = itself

    def run(self, inputs: Sequence[Any], run: Run) -> Values:
        """What the buffers hold once all steps have run on `inputs`."""
        values, steps = self._begun(inputs, run), iter(self.steps)
        waits = self._go_on(values, run, steps)
        if waits is not None:
            descend(self._rest(values, run, steps, waits))
        return values

    def _begun(self, inputs: Sequence[Any], run: Run) -> Values:
        """What the buffers hold before the first step."""
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
        return values

    def _go_on(self, values: Values, run: Run, steps: Iterator[BoundStep]) -> _Waiting | None:
        """Runs `steps` up to one that has bodies: gives that, and the call that it waits for."""
        step = None
        try:
            for step in steps:
                call = step(values, run)
                if call is not None:
                    return step, call
        except Exception as error:
            assert step is not None
            self._explain(error, step, values)
            raise
        return None

    def _rest(
        self, values: Values, run: Run, steps: Iterator[BoundStep], waits: _Waiting | None
    ) -> Descent[list[Any]]:
        """Makes the call that a step `waits` for, then runs the other `steps`; gives the outputs."""
        while waits is not None:
            step, call = waits
            try:
                yield call
            except Exception as error:
                self._explain(error, step, values)
                raise
            waits = self._go_on(values, run, steps)
        return [values[i] for i in self.program.outputs]

    def _explain(self, error: Exception, step: BoundStep, values: Values) -> None:
        explain_run(error, step.node, [values[i] for i in step.inputs], self.origin)

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

        def run_body(inputs: Sequence[Any], run: Run) -> list[Any] | Descent[list[Any]]:
            for i, binding in bindings:
                value = inputs[i] if binding.part is None else inputs[i][binding.part]
                run.sizes[binding.symbol] = value.shape[binding.axis]
            self.bind_variables(run.variables, run.sizes)
            for check in self.program.checks:
                verify(check, run.sizes)
            values, steps = self._begun(inputs, run), iter(self.steps)
            waits = self._go_on(values, run, steps)
            if waits is not None:
                return self._rest(values, run, steps, waits)
            return [values[i] for i in outputs]

        return run_body


def uninitialized(name: str, node: Tensor) -> UninitializedError:
    """The error for a read of the variable `name`, which has no value."""
    error = UninitializedError(
        f"variable {name!r} has no value yet: run gc.global_variables_initializer() or "
        f"session.restore(path) first{at_line(node.loc, 'read at')}"
    )
    error.explained = True
    return error


def bind(program: Program, backend: Backend, check_numerics: bool, origin: Origin = itself) -> BoundProgram:
    """`program` with each step bound to the backend's kernel, else to its op's meaning."""
    blank: Values = [None] * program.buffers
    for buffer, value in program.constants:
        constant = np.asarray(value).view()
        constant.flags.writeable = False
        blank[buffer] = constant
    by_buffer = program.nodes
    return BoundProgram(
        program,
        tuple(_bind_step(step, backend, check_numerics, origin) for step in program.steps),
        tuple(blank),
        tuple((name, buffer, by_buffer[buffer]) for name, buffer, _ in program.variables),
        origin,
    )


def _bind_step(step: Step, backend: Backend, check_numerics: bool, origin: Origin) -> BoundStep:
    node = step.node
    kernel = backend.kernel(step)
    if step.programs:
        bodies = _Bodies(step, backend, check_numerics, origin)
        runner: Runner = partial(_run_bodies, node, bodies)
        if kernel is not None:
            runner = _kernel_first(kernel, runner)
        return _BoundRegion(step, runner, kernel, bodies)
    work = kernel
    if work is None:
        if node.op.meaning is None:
            raise VerificationError(f"{node.op.name} cannot run: it has no meaning{at_line(node.loc)}")
        fixed = node.attrs
        if step.sized:
            fixed = {key: value for key, value in fixed.items() if key not in step.sized}
        work = partial(node.op.meaning, **fixed) if fixed else node.op.meaning
    if check_numerics:
        work = partial(_run_finite, node.type, work)
    if step.sized or step.checks or step.bindings:
        return _BoundSizedStep(step, work, kernel)
    return BoundStep(step, work, kernel)


class _Bodies(Mapping[str, "BoundProgram"]):
    """The bodies of a step, each bound when it is first asked for: those of a kernel may never be."""

    def __init__(self, step: Step, backend: Backend, check_numerics: bool, origin: Origin) -> None:
        self._step, self._bound = step, dict[str, BoundProgram]()
        self._rest = backend, check_numerics, origin
        self.runner: Runner | None = None

    def __getitem__(self, name: str) -> BoundProgram:
        """The body of that name."""
        if name not in self._bound:
            program, (backend, check_numerics, origin) = self._step.programs[name], self._rest
            seen = Outside(self._step.node, program.function.inputs, origin)
            self._bound[name] = bind(program, backend, check_numerics, seen)
        return self._bound[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._step.programs)

    def __len__(self) -> int:
        return len(self._step.programs)


def _run_bodies(node: Tensor, bodies: _Bodies, run: Run, *operands: Any, **attrs: Any) -> Descent[Any]:
    """Runs the bodies of a step."""
    if bodies.runner is None:
        bodies.runner = runner_of(node, {name: body.as_body() for name, body in bodies.items()})
    return bodies.runner(run, *operands, **attrs)


def _kernel_first(kernel: Kernel, runner: Runner) -> Runner:
    """Runs the kernel; where it gives nothing, the bodies, which fail as their ops say."""

    def run_kernel(run: Run, *operands: Any, **attrs: Any) -> Descent[Any]:
        result = kernel(*operands, **attrs)
        if result is None:
            result = yield runner(run, *operands, **attrs)
        return result

    return run_kernel


class _BoundSizedStep(BoundStep):
    """A step that checks sizes before, evaluates sizes in attributes, or binds sizes afterwards."""

    __slots__ = ("_bindings", "_checks", "_sized")

    def __init__(
        self, step: Step, work: Kernel, kernel: Kernel | None, bodies: Mapping[str, BoundProgram] = _NO_BODIES
    ) -> None:
        super().__init__(step, work, kernel, bodies)
        self._bindings, self._checks = step.bindings, step.checks
        self._sized = [(name, step.node.attrs[name]) for name in step.sized]

    def __call__(self, values: Values, run: Run) -> Descent[None] | None:
        attrs = self._attributes(run.sizes)
        self._finish(self._work(*[values[i] for i in self.inputs], **attrs), values, run.sizes)
        return None

    def _attributes(self, known: Mapping[Symbol, int]) -> dict[str, Any]:
        """The attributes that hold sizes, once these are checked."""
        for check in self._checks:
            try:
                verify(check, known)
            except ShapeError as error:
                error.differing = (check, dict(known))
                if check.node is not self.node:  # which is what passes made of it
                    explain_run(error, check.node, [None] * len(check.node.inputs))
                raise
        attrs = {name: tuple(_value(size, known) for size in shape) for name, shape in self._sized}
        if "shape" in attrs:
            _refuse_negative(self.node.attrs["shape"], attrs["shape"])
        return attrs

    def _finish(self, result: Any, values: Values, known: dict[Symbol, int]) -> None:
        """Writes `result` and notes the sizes that it gives."""
        result = settle(self.node.type, result)
        for binding in self._bindings:
            part = result if binding.part is None else result[binding.part]
            known[binding.symbol] = part.shape[binding.axis]
        values[self._output] = result
        for buffer in self._frees:
            values[buffer] = None


class _BoundRegion(_BoundSizedStep):
    """A step with bodies: what runs it needs the run, for the steps in them."""

    __slots__ = ()

    def __call__(self, values: Values, run: Run) -> Descent[None]:
        attrs = self._attributes(run.sizes)
        result = yield self._work(run, *[values[i] for i in self.inputs], **attrs)
        self._finish(result, values, run.sizes)


def _value(size: Size, known: Mapping[Symbol, int]) -> Size:
    """`size` as a number; itself where it is one that the step binds."""
    try:
        return sizes.evaluate(size, known)
    except KeyError:
        return size


def _refuse_negative(shape: Sequence[Size], values: Sequence[Size]) -> None:
    """Raises ShapeError where a size of `shape` came out below 0."""
    for size, value in zip(shape, values, strict=True):
        if isinstance(size, SizeExpr) and isinstance(value, int) and value < 0:
            raise ShapeError(f"the size {spell(size, value)} is negative")


def verify(check: Check, known: Mapping[Symbol, int]) -> None:
    """Raises ShapeError where the two sizes of `check` differ."""
    x, y = sizes.evaluate(check.x, known), sizes.evaluate(check.y, known)
    if x != y:
        raise ShapeError(f"sizes differ: {spell(check.x, x)} and {spell(check.y, y)}")


def spell(size: Size, value: int) -> str:
    """A size with its value: ``batch = 32``."""
    return f"{size} = {value}" if isinstance(size, SizeExpr) else str(value)


def programs_of(program: Program) -> Iterator[Program]:
    """`program` and those of all bodies in it; what several regions share, once."""
    pending, seen = [program], {id(program)}
    while pending:
        current = pending.pop()
        yield current
        for body in (body for step in current.steps for body in step.regions):
            if id(body) not in seen:
                seen.add(id(body))
                pending.append(body)


# What a step's result must be.


def settle(type: Type, result: Any) -> Any:
    """`result` as the array of `type`, or as the tuple of arrays."""
    if isinstance(type, TupleType):
        if not type.elements:
            return ()
        return tuple(settle(t, r) for t, r in zip(type.elements, result, strict=True))
    array = np.asarray(result, type.dtype.numpy)
    return round_to_bfloat16(array) if type.dtype is BFLOAT16 else array


def _run_finite(type: Type, work: Kernel, *operands: Any, **attrs: Any) -> Any:
    """What `work` makes; NaN and infinity made of finite operands are an error."""
    settled = settle(type, work(*operands, **attrs))
    for array in settled if isinstance(settled, tuple) else (settled,):
        if not _finite(array) and all(map(_finite, operands)):
            what = "NaN" if np.isnan(array).any() else "infinity"
            raise NumericsError(f"its result has {what}, and its operands are finite")
    return settled


def _finite(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_finite, value))
    return value.dtype.kind != "f" or bool(np.isfinite(value).all())
