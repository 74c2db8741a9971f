"""The LLVM backend: whole programs as machine code (`native`), and fused rows one by one.

Where a program cannot be native its steps are walked in Python: those of fused rows have kernels, all others
run by their meaning. `exe.record` says why.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from graphc.sizes import Size, Symbol
from graphc.tensor import Tensor
from graphc.types import DType
from passes.deduplication import Structure, structure_key
from passes.program import Program, Step
from passes.stages import stage
from passes.target import Reading
from runtime.backend import Array, Template, Whole
from runtime.llvm_backend.contractions.block_steps import is_kernel_of_sums
from runtime.llvm_backend.contractions.fused_contraction import find_root, is_nested
from runtime.llvm_backend.contractions.reading import find_reading
from runtime.llvm_backend.engine.library import Library, Module, load
from runtime.llvm_backend.engine.machine import host
from runtime.llvm_backend.ir.text import target_of
from runtime.llvm_backend.rows.infinities import Infinities
from runtime.llvm_backend.rows.numerics import NO_LOOKS, Given, find_looks, given_of
from runtime.llvm_backend.rows.row_block import SCRATCH_BYTES
from runtime.llvm_backend.rows.row_kernel import fusible_ops, write_rows
from runtime.llvm_backend.rows.row_plan import PART, RowPlan, plan_rows
from runtime.llvm_backend.rows.row_wave import spare_rows
from runtime.llvm_backend.table.engine import begin

_ENTRY = "kernel"
_SIGNATURE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)


class RowKernel:
    """Machine code for a `fused` node, whatever the sizes.

    Attributes:
        name: the ops that it holds.
        text: its LLVM IR.
        plan: what it walks. scratch_rows: how many rows of scratch it keeps.
    """

    def __init__(self, plan: RowPlan, rows: tuple[Size, ...], name: str, text: str) -> None:
        self.name, self.text = name, text
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

    @cached_property
    def _library(self) -> Library:
        """Its code, loaded when it is first called by itself."""
        return load([Module(self.name, self.text, self.functions)])

    @cached_property
    def address(self) -> int:
        """Where its code is; kernels of equal text share it."""
        return self._library.address(self.name, _ENTRY)

    @cached_property
    def _function(self) -> Callable[[int, int], None]:
        return _SIGNATURE(self.address)

    @cached_property
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


_Rows = tuple[Structure, tuple[Size, ...], tuple[Given, ...] | None]  # the last: where it is looked at
_kernels: WeakValueDictionary[_Rows, RowKernel] = WeakValueDictionary()  # those that executables have
_texts: dict[_Rows, str | None] = {}  # what was written last, executables or none
_MOST_TEXTS = 256


def _written(key: _Rows, plan: RowPlan) -> str | None:
    """The text of `plan`, which is that of all bodies of this key."""
    if key not in _texts:
        with stage("IR text"):
            looks = NO_LOOKS if key[2] is None else find_looks(plan.body, key[2])
            text = write_rows(plan, target_of(host()), looks)
        while len(_texts) >= _MOST_TEXTS:
            _texts.pop(next(iter(_texts)), None)
        _texts[key] = text
    return _texts[key]


class LlvmBackend:
    """Gives kernels for `fused` nodes, and whole programs for `threads` threads."""

    name = "llvm"

    def __init__(self, threads: int = 1, check_numerics: bool = False) -> None:
        self.threads, self._looks = threads, check_numerics
        self._infinities = Infinities()
        begin(threads)

    @cached_property
    def fusible(self) -> frozenset[str]:
        """The ops that can be in a kernel."""
        return fusible_ops()

    @property
    def contracts(self) -> Callable[[Tensor], bool]:
        """Which nodes are contractions, whose kernels take along what is done with their results."""
        return is_kernel_of_sums

    @property
    def reads(self) -> Callable[[Tensor, int], Reading | None]:
        """How the kernel of a contraction reads an operand, by number, that it makes of others."""
        return find_reading

    def kernel(self, step: Step) -> RowKernel | None:
        """The kernel of `step`, or None where there is no machine code for it."""
        node = step.node
        if node.op.name != "fused" or is_nested(node) or find_root(node) is not None:
            return None
        rows = node.attrs["rows"]
        given = given_of(node, self._infinities) if self._looks else None
        key = structure_key(node.attrs["body"]), rows, given
        found = _kernels.get(key)
        if found is None:
            plan = plan_rows(node, whole=self._looks)
            text = None if plan is None else _written(key, plan)
            if plan is None or text is None:
                return None
            inside = [n for n in plan.body.nodes() if n.inputs and n not in plan.source]
            found = RowKernel(plan, rows, ".".join(n.op.name for n in inside), text)
            found = _kernels.setdefault(key, found)
        return found

    def whole(self, program: Program, bound: Any, clocked: bool = False) -> Whole | str:
        """The native program, or why there is none; `clocked`: one whose steps are timed."""
        with stage("import"):
            from runtime.llvm_backend.native.entry import compile_native  # it builds on these kernels

        self._infinities = Infinities()  # which holds all nodes that it was asked for
        return compile_native(program, bound, self.threads, self._looks, clocked)

    def recall(self, digest: str, symbols: Sequence[Symbol], arrays: Sequence[Array]) -> Template | None:
        """What makes native programs of a request that another process remembered."""
        from runtime.llvm_backend.native.shelf import recall  # it builds on these kernels

        return recall(digest, symbols, arrays, self.threads)

    def remember(self, digest: str, whole: Any, symbols: Sequence[Symbol], arrays: Sequence[Array]) -> None:
        """Lets other processes recall what runs a request."""
        from runtime.llvm_backend.native.shelf import remember  # likewise

        remember(digest, whole, symbols, arrays)
