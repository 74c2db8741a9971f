"""Row code: the machine code of a `fused` node, as a native program has it or called by itself."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.laziness import Lazy
from graphc.sizes import Size
from graphc.types import DType
from runtime.backend import Array
from runtime.llvm_backend.engine.library import Library, Module, load
from runtime.llvm_backend.engine.llvm import THOROUGH
from runtime.llvm_backend.rows.row_block import SCRATCH_BYTES
from runtime.llvm_backend.rows.row_plan import PART, RowPlan
from runtime.llvm_backend.rows.row_wave import spare_rows

_ENTRY = "kernel"
_SIGNATURE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)


class RowKernel:
    """Machine code for a `fused` node, whatever the sizes.

    Attributes:
        name: the ops that it holds.
        text: its LLVM IR.
        effort: that LLVM is to take, as of `engine.objects.Module`.
        plan: what it walks. scratch_rows: how many rows of scratch it keeps.
    """

    def __init__(
        self, plan: RowPlan, rows: tuple[Size, ...], name: str, text: str, effort: int = THOROUGH
    ) -> None:
        self.name, self.text, self.effort = name, text, effort
        self.plan, self._rows = plan, rows
        self._dtypes: list[np.dtype[Any]] = [node.dtype.numpy for node in plan.body.inputs]
        self._results: list[tuple[tuple[int | None, ...], DType]] = [
            (_places(node.result.sizes, rows), node.dtype) for node in plan.body.outputs
        ]
        self._flat = plan.is_flat
        self.scratch_rows = sum(node not in plan.body.outputs for node in plan.kept)

    @property
    def functions(self) -> tuple[str, ...]:
        """The names of its functions: `kernel`, and what runs after all its chunks."""
        return (_ENTRY, "finish") if self.plan.is_split else (_ENTRY,)

    @Lazy
    def module(self) -> Module:
        """Its code, by itself."""
        return Module(self.name, self.text, self.functions, effort=self.effort)

    @Lazy
    def _library(self) -> Library:
        """That, loaded when it is first called by itself."""
        return load([self.module])

    @Lazy
    def address(self) -> int:
        """Where its code is; kernels of equal text share it."""
        return self._library.address(self.name, _ENTRY)

    @Lazy
    def _function(self) -> Callable[[int, int], None]:
        return _SIGNATURE(self.address)

    @Lazy
    def _finish(self) -> Callable[[int], None]:
        address = self._library.address(self.name, "finish")
        return ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address)

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
        if not inner and any(node.op.fallible for phase in self.plan.phases for node in phase.reductions):
            return None  # its meaning refuses to choose among no elements
        if not count or not inner:
            return None if any(r.size for r in results) else tuple(results)
        flag = np.zeros(1, np.int64)
        split = self.plan.is_split
        parts, per = (-(-inner // PART), PART) if split else (1, count)
        scratch = np.empty(
            max((self.scratch_rows + spare_rows(self.plan)) * inner, parts * len(self.plan.body.nodes()))
            * SCRATCH_BYTES,
            np.uint8,
        )
        merged = [math.prod(outer[i] for i in group) for group in self.plan.groups]
        block = np.array(
            [
                *(count, per, inner, flag.ctypes.data, scratch.ctypes.data),
                *(x.ctypes.data for x in packed),
                *(r.ctypes.data for r in results),
                *(merged if len(merged) > 1 else ()),
                0,  # nothing is streamed
            ],
            np.int64,
        )
        for part in range(parts):
            self._function(block.ctypes.data, part)
        if split:
            self._finish(block.ctypes.data)
        return None if flag[0] else tuple(results)

    def __repr__(self) -> str:
        return f"<graphc kernel {self.name}>"


def _places(sizes: tuple[Size, ...], rows: tuple[Size, ...]) -> tuple[int | None, ...]:
    """Which of `rows` each size of a result is; None for 1."""
    return tuple(k if size == rows[k] else None for k, size in enumerate(sizes))
