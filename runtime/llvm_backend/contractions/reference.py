"""What a contract means, by NumPy: `einsum` over `as_strided` views of the very same strides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

import graphc.ops  # noqa: F401 - it fills OPS
from graphc.op import OPS
from graphc.sizes import Size, Symbol, substitute
from runtime.llvm_backend.contractions.contraction import Access, Contract, Expression, Step

Array = npt.NDArray[Any]


def evaluate(
    contract: Contract, buffers: Mapping[str, Array], values: Mapping[Symbol, int] | None = None
) -> Array:
    """The output of `contract`, shaped as its output dims in order.

    Buffers are flat arrays; bfloat16 ones are held as float32. Floats are combined in float64.
    """
    return evaluate_all(contract, buffers, values)[0]


def evaluate_all(
    contract: Contract, buffers: Mapping[str, Array], values: Mapping[Symbol, int] | None = None
) -> list[Array]:
    """The output, as `evaluate` gives it, and what is stored besides, shaped alike."""
    known = dict(values or {})
    shape = {dim.name: _number(dim.size, known) for dim in contract.dims}
    order = [dim.name for dim in (*contract.output_dims, *contract.reduced_dims)]
    kept = len(contract.output_dims)

    def read(access: Access, dims: list[str]) -> Array:
        buffer = buffers[access.buffer].reshape(-1)
        start, step = _number(access.offset, known), buffer.itemsize
        strides = [_number(access.stride(name), known) * step for name in dims]
        if not all(shape[name] for name in dims):
            return np.zeros([shape[name] for name in dims], buffer.dtype)
        return np.lib.stride_tricks.as_strided(buffer[start:], [shape[name] for name in dims], strides)

    def apply(expression: Expression, value: Array, dims: list[str]) -> list[Array]:
        found = [value, *(read(access, dims) for access in expression.reads)]
        for step in expression.steps:
            found.append(_step(step, [found[i] for i in step.operands]))
        return found

    inputs = []
    for index, access in enumerate(contract.ins):
        expression = contract.input_expression(index)
        dims = order if expression.steps else [name for name in order if name in access.strides]
        value = apply(expression, _widen(read(access, dims)), dims)[-1]
        inputs.append((value, dims))
    if contract.combine in ("multiply_add", "add"):
        numbers = {name: number for number, name in enumerate(order)}
        arguments: list[Any] = []
        for value, dims in inputs:
            arguments += [value, [numbers[name] for name in dims]]
        missing = [name for name in order if not any(name in dims for _, dims in inputs)]
        for name in missing:
            arguments += [np.ones(shape[name], inputs[0][0].dtype), [numbers[name]]]
        result = np.einsum(*arguments, list(range(kept)), optimize=len(arguments) > 2)
    else:
        value = np.broadcast_to(inputs[0][0], [shape[name] for name in inputs[0][1]])
        if inputs[0][1] != order:
            value = read(contract.ins[0], order)
        axes = tuple(range(kept, len(order)))
        result = value.max(axes) if contract.combine == "max" else value.min(axes)
    found = apply(contract.epilogue, np.asarray(result), order[:kept])
    wanted = (found[-1], *(found[number] for number, _ in contract.also))
    return [np.broadcast_to(value, [shape[name] for name in order[:kept]]) for value in wanted]


def _number(size: Size, values: Mapping[Symbol, int]) -> int:
    number = substitute(size, values)
    if not isinstance(number, int):
        raise KeyError(f"no value for {number}")
    return number


def _step(step: Step, operands: Sequence[Array]) -> Array:
    """What the op means; floats stay float64."""
    if step.op == "cast":
        result = operands[0]
    else:
        meaning = OPS[step.op].meaning
        assert meaning is not None  # every op of the elementwise family has one
        result = np.asarray(meaning(*operands))
    return result if result.dtype == np.float64 else result.astype(step.dtype.numpy)


def _widen(value: Array) -> Array:
    return value.astype(np.float64) if value.dtype.kind == "f" else value
