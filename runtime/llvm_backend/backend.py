"""The LLVM backend: whole programs as machine code (`native`), and fused rows one by one.

Where a program cannot be native its steps are walked in Python: those of fused rows have kernels, all others
run by their meaning. `exe.record` says why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakValueDictionary

from graphc.laziness import Lazy
from graphc.sizes import Size, Symbol
from graphc.tensor import Tensor
from passes.cells import cells_of
from passes.columns import columns_in
from passes.deduplication import Structure, structure_key
from passes.program import Program, Step
from passes.stages import stage
from passes.target import PLAIN, Reading
from runtime.backend import Array, Template, Whole
from runtime.llvm_backend.contractions.block_steps import is_kernel_of_sums
from runtime.llvm_backend.contractions.fused_contraction import find_root, is_nested
from runtime.llvm_backend.contractions.kernel_choice import is_checked_after, is_checked_product
from runtime.llvm_backend.contractions.reading import find_reading
from runtime.llvm_backend.engine.library import expect
from runtime.llvm_backend.engine.machine import host
from runtime.llvm_backend.engine.objects import objects
from runtime.llvm_backend.engine.postponement import postpone
from runtime.llvm_backend.ir.text import target_of
from runtime.llvm_backend.native.entry import compile_native
from runtime.llvm_backend.native.shelf import recall, remember
from runtime.llvm_backend.rows.infinities import Infinities
from runtime.llvm_backend.rows.numerics import NO_LOOKS, Given, find_looks, given_of
from runtime.llvm_backend.rows.row_code import RowKernel
from runtime.llvm_backend.rows.row_kernel import fusible_ops, write_rows
from runtime.llvm_backend.rows.row_notes import is_noted_in_cells
from runtime.llvm_backend.rows.row_order import effort_of
from runtime.llvm_backend.rows.row_plan import RowPlan, plan_rows
from runtime.llvm_backend.rows.row_wave import is_noted
from runtime.llvm_backend.table import builtin
from runtime.llvm_backend.table.builtin import Door
from runtime.llvm_backend.table.engine import begin

_Rows = tuple[Structure, tuple[Size, ...], tuple[Given, ...] | None]  # the last: where it is looked at
_kernels: WeakValueDictionary[_Rows, RowKernel] = WeakValueDictionary()  # those that executables have
_texts: dict[_Rows, str | None] = {}  # what was written last, executables or none
_MOST_TEXTS = 256


def _written(key: _Rows, plan: RowPlan) -> str | None:
    """The text of `plan`, which is that of all bodies of this key."""
    if key not in _texts:
        with stage("IR text"):
            looks = NO_LOOKS if key[2] is None else find_looks(plan.body, key[2], is_noted(plan))
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

    @Lazy
    def fusible(self) -> frozenset[str]:
        """The ops that can be in a kernel."""
        return fusible_ops()

    @property
    def contracts(self) -> Callable[[Tensor], bool]:
        """Which nodes are contractions, whose kernels take along what is done with their results."""
        return is_checked_product if self._looks else is_kernel_of_sums

    @property
    def reads(self) -> Callable[[Tensor, int], Reading | None]:
        """How the kernel of a contraction reads an operand, by number, that it makes of others."""
        return PLAIN.reads if self._looks else find_reading

    @property
    def follows(self) -> Callable[[Tensor], bool]:
        """Which elementwise ops such a kernel may take along."""
        return is_checked_after if self._looks else PLAIN.follows

    @property
    def has_cells(self) -> bool:
        """Whether there are kernels of few rows at a time: they look at nothing, the CPU may note it."""
        return not self._looks or target_of(host()).notes

    @property
    def holds(self) -> Callable[[Tensor], bool]:
        """Which elementwise ops such a kernel may have."""
        return is_noted_in_cells if self._looks else PLAIN.holds

    @property
    def has_columns(self) -> bool:
        """Whether there are kernels of columns: they look at no numbers."""
        return not self._looks

    def kernel(self, step: Step) -> RowKernel | None:
        """The kernel of `step`, or None where there is no machine code for it."""
        node = step.node
        if node.op.name != "fused" or is_nested(node) or cells_of(node) or columns_in(node) is not None:
            return None
        if find_root(node) is not None:
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
            name = ".".join(n.op.name for n in inside)
            found = RowKernel(plan, rows, name, text, effort_of(plan, self._looks))
            found = _kernels.setdefault(key, found)
            expect([found.module])  # other threads compile it while contractions are written
        return found

    def whole(self, program: Program, bound: Any, clocked: bool = False) -> Whole | str:
        """The native program, or why there is none; `clocked`: one whose steps are timed."""
        self._infinities = Infinities()  # which holds all nodes that it was asked for
        return compile_native(program, bound, self.threads, self._looks, clocked)

    def is_new(self) -> bool:
        """Whether the cache is empty."""
        return objects().is_empty()

    def recall(self, digest: str, symbols: Sequence[Symbol], arrays: Sequence[Array]) -> Template | None:
        """What makes native programs of a request that another process remembered."""
        return recall(digest, symbols, arrays, self.threads)

    def remember(self, digest: str, whole: Any, symbols: Sequence[Symbol], arrays: Sequence[Array]) -> None:
        """Lets other processes recall what runs a request."""
        remember(digest, whole, symbols, arrays)

    def postpone(self, work: Callable[[], object]) -> None:
        """Has ``work()`` done by another thread, after a while."""
        postpone(work)

    def door(self) -> Door | None:
        """A way into native calls, where their code is there already."""
        return None if builtin.find_trouble() or not builtin.CODE.is_loaded else Door()
