"""The LLVM backend: fused rows as machine code; everything else runs by its meaning."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from graphc.sizes import Size
from graphc.types import DType
from passes.program import Step
from runtime.backend import Array
from runtime.llvm_backend.library import Module, load
from runtime.llvm_backend.machine import host
from runtime.llvm_backend.row_kernel import SCRATCH_BYTES, fusible_ops, write_rows
from runtime.llvm_backend.rows import RowPlan, plan_rows
from runtime.llvm_backend.text import target_of

_ENTRY = "kernel"
_SIGNATURE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)
Fallback = Callable[..., Any]


class RowKernel:
    """Machine code for a `fused` node, whatever the sizes.

    Attributes:
        name: the ops that it holds.
        text: its LLVM IR.
        address: where its code is; kernels of equal text share it.
    """

    def __init__(self, plan: RowPlan, rows: tuple[Size, ...], name: str, text: str) -> None:
        self.name, self.text = name, text
        self._plan, self._rows = plan, rows
        self._library = load([Module(name, text, (_ENTRY,))])
        self.address = self._library.address(name, _ENTRY)
        self._function = _SIGNATURE(self.address)
        self._dtypes: list[np.dtype[Any]] = [node.dtype.numpy for node in plan.body.inputs]
        self._results: list[tuple[tuple[int | None, ...], DType]] = [
            (_places(node.result.sizes, rows), node.dtype) for node in plan.body.outputs
        ]
        self._flat = plan.is_flat
        self._scratch = sum(node not in plan.body.outputs for node in plan.kept)

    def __call__(self, *operands: Array, rows: tuple[int, ...] | None = None) -> tuple[Array, ...] | None:
        """The results, or None where an op failed, whose meaning then says how."""
        sizes: Any = self._rows if rows is None else rows
        *outer, inner = sizes
        count = math.prod(outer) * (inner if self._flat else 1)
        packed = [np.ascontiguousarray(x, dtype) for x, dtype in zip(operands, self._dtypes, strict=True)]
        results = [
            np.empty(tuple(1 if k is None else sizes[k] for k in places), dtype.numpy)
            for places, dtype in self._results
        ]
        if not count or not inner:
            return None if any(r.size for r in results) else tuple(results)
        flag = np.zeros(1, np.int64)
        scratch = np.empty(self._scratch * inner * SCRATCH_BYTES, np.uint8)
        merged = [math.prod(outer[i] for i in group) for group in self._plan.groups]
        block = np.array(
            [
                *(count, count, inner, flag.ctypes.data, scratch.ctypes.data),
                *(x.ctypes.data for x in packed),
                *(r.ctypes.data for r in results),
                *(merged if len(merged) > 1 else ()),
            ],
            np.int64,
        )
        self._function(block.ctypes.data, 0)
        return None if flag[0] else tuple(results)

    def __repr__(self) -> str:
        return f"<graphc kernel {self.name}>"


def _places(sizes: tuple[Size, ...], rows: tuple[Size, ...]) -> tuple[int | None, ...]:
    """Which of `rows` each size of a result is; None for 1."""
    return tuple(k if size == rows[k] else None for k, size in enumerate(sizes))


class LlvmBackend:
    """Gives kernels for `fused` nodes."""

    name = "llvm"

    @cached_property
    def fusible(self) -> frozenset[str]:
        """The ops that can be in a kernel."""
        return fusible_ops()

    def kernel(self, step: Step) -> RowKernel | None:
        """The kernel of `step`, or None where there is no machine code for it."""
        node = step.node
        if node.op.name != "fused":
            return None
        plan = plan_rows(node)
        text = None if plan is None else write_rows(plan, target_of(host()))
        if plan is None or text is None:
            return None
        inside = [n for n in plan.body.nodes() if n.inputs and n not in plan.source]
        return RowKernel(plan, node.attrs["rows"], ".".join(n.op.name for n in inside), text)
