"""The LLVM backend: kernels for elementwise float ops on arrays of one shape."""

from __future__ import annotations

import ctypes
from functools import cache

import numpy as np

from graphc.types import DType, TensorType
from passes.program import Step
from runtime.backend import Array
from runtime.llvm_backend.emitter import KERNEL, emit
from runtime.llvm_backend.library import Module, load


class ElementwiseKernel:
    """Machine code for one op on arrays of one shape and dtype, whatever their size.

    Attributes:
        name: such as ``add.float32``.
        text: its LLVM IR.
    """

    def __init__(self, name: str, text: str, operands: int, dtype: DType) -> None:
        self.name, self.text = name, text
        self._dtype = dtype.numpy
        self._library = load([Module(name, text, (KERNEL,))])
        signature = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * (operands + 1), ctypes.c_int64)
        self._function = signature(self._library.address(name, KERNEL))

    def __call__(self, *operands: Array) -> Array:
        """The result on `operands`, which become contiguous and alike in shape where they are not."""
        shape = operands[0].shape
        if any(x.shape != shape for x in operands):
            operands = tuple(np.broadcast_arrays(*operands))
            shape = operands[0].shape
        packed = [np.ascontiguousarray(x, self._dtype) for x in operands]
        result = np.empty(shape, self._dtype)
        self._function(result.ctypes.data, *[x.ctypes.data for x in packed], result.size)
        return result

    def __repr__(self) -> str:
        return f"<graphc kernel {self.name}>"


class LlvmBackend:
    """Gives kernels for what `scalars.LINES` lists, where all types are float and alike."""

    name = "llvm"

    def kernel(self, step: Step) -> ElementwiseKernel | None:
        """The kernel of `step`, or None where there is no machine code for it."""
        node = step.node
        if node.op.family != "elementwise" or not isinstance(node.type, TensorType) or not node.inputs:
            return None
        if node.attrs or any(operand.type != node.type for operand in node.inputs):
            return None
        return _kernel(node.op.name, len(node.inputs), node.type.dtype)


@cache
def _kernel(op: str, operands: int, dtype: DType) -> ElementwiseKernel | None:
    """One kernel for each op, arity and dtype in a process: equal texts are compiled once."""
    text = emit(op, operands, dtype)
    return None if text is None else ElementwiseKernel(f"{op}.{dtype}", text, operands, dtype)
