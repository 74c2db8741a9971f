"""Agreement: the sizes of a run, as what is fed and variables give them; errors where these disagree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from graphc import sizes
from graphc.errors import FeedError, ShapeError
from graphc.explanation import explain, tell_operand
from graphc.location import made_at
from graphc.sizes import Size, SizeExpr, Symbol
from graphc.tensor import Tensor
from graphc.types import TensorType
from passes.program import Check
from runtime.backend import Array
from runtime.execution import BoundProgram, spell, verify
from runtime.feeds import Key, label, misfit

Sizes = dict[Symbol, int]


class Mismatch(Exception):  # noqa: N818  not a failure: a session answers it by compiling for the sizes
    """The sizes of one run break `check`."""

    def __init__(self, check: Check, known: Sizes, error: ShapeError) -> None:
        super().__init__(str(error))
        self.check, self.known, self.error = check, known, error


class Agreement:
    """What the symbols of a program are in its runs; `feeds` are the tensors that its inputs are fed for."""

    def __init__(self, bound: BoundProgram, feeds: Sequence[Key]) -> None:
        self._bound, self._program, self._feeds = bound, bound.program, feeds
        self._wanted = [node.result.sizes for node in bound.program.function.inputs]

    def sizes_of(self, arrays: Sequence[Array], variables: Mapping[str, Array]) -> Sizes:
        """What the symbols are when `arrays` are fed.

        Raises: FeedError where an array's sizes are not those of what it is fed for, or contradict
        another's; Mismatch where two sizes that meet in an op differ.
        """
        known: Sizes = {}
        for i, binding in self._program.bindings:
            if arrays[i].ndim > binding.axis:
                known[binding.symbol] = arrays[i].shape[binding.axis]
        self._bound.bind_variables(variables, known)
        for i, (array, wanted) in enumerate(zip(arrays, self._wanted, strict=True)):
            shape = array.shape
            if shape == wanted:
                continue
            if len(shape) != len(wanted):
                raise self._misfit(i, shape, known)
            for size, given in zip(wanted, shape, strict=True):
                if given != (size if size.__class__ is int else _evaluate(size, given, known)):
                    raise self._misfit(i, shape, known)
        for check in self._program.checks:
            try:
                verify(check, known)
            except ShapeError as error:
                self._explain(error, check, known)
                raise Mismatch(check, known, error) from None
        return known

    def _misfit(self, i: int, shape: tuple[int, ...], known: Sizes) -> FeedError:
        """The error for an array of `shape` that is fed for input `i`."""
        target, wanted = self._feeds[i], self._wanted[i]
        if len(shape) != len(wanted):
            return misfit(target, shape, f"it has {len(shape)} axes, not {len(wanted)}")
        for axis, (size, given) in enumerate(zip(wanted, shape, strict=True)):
            try:
                value = sizes.evaluate(size, known)
            except KeyError:
                return misfit(target, shape, f"axis {axis} is {given}, which is not {size}")
            if value == given:
                continue
            if not isinstance(size, SizeExpr):
                return misfit(target, shape, f"axis {axis} is {given}, not {size}")
            error = misfit(target, shape, f"axis {axis} is {given}, and {spell(size, value)} here")
            error.extend(*self._origins(size))
            return error
        raise AssertionError("the array fits")

    def _origins(self, *given: Size) -> Iterator[str]:
        """Where the symbols in some sizes come from, in words."""
        wanted = {symbol for size in given for symbol in sizes.symbols(size)}
        for i, binding in self._program.bindings:
            if binding.symbol in wanted:
                name = binding.symbol.name or "a size"
                target = self._feeds[i]
                yield f"{name} is axis {binding.axis} of {label(target)}{made_at(target.loc)}"
        for variable, binding in self._program.variable_bindings:
            if binding.symbol in wanted:
                yield f"{binding.symbol.name or 'a size'} is axis {binding.axis} of variable {variable!r}"

    def _explain(self, error: ShapeError, check: Check, known: Sizes) -> None:
        """Tells `error` which operands met in `check`, of which sizes, and where those come from."""
        node = check.node
        told = (tell_operand(name, x, _shown(x, known)) for name, x in node.op.labelled(node.inputs))
        explain(error, node.op.name, node.loc, (*told, *self._origins(check.x, check.y)))


def _evaluate(size: Size, given: int, known: Sizes) -> int | None:
    """`size`; where it holds one symbol that nothing else gives, that is bound so that it is `given`."""
    try:
        return sizes.evaluate(size, known)
    except KeyError:
        solution = sizes.solve(size, given, known)
        if solution is None or solution[1] < 0:
            return None
        known[solution[0]] = solution[1]
        return given


def _shown(tensor: Tensor, known: Sizes) -> str:
    """The type of `tensor` with the sizes of this run."""
    if not isinstance(tensor.type, TensorType) or tensor.type.shape is None:
        return str(tensor.type)
    shape = tuple(sizes.substitute(size, dict(known)) for size in tensor.type.shape)
    return str(TensorType(tensor.type.dtype, shape))
