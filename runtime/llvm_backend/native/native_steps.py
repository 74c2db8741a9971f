"""Native steps: each step of a program as steps of the table, with its argument block in the run's words."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from graphc import sizes
from graphc.laziness import Lazy
from graphc.sizes import Size, SizeExpr, Symbol
from graphc.tensor import Tensor
from graphc.types import DType, TensorType
from passes.deduplication import call_key
from passes.memory import Cell
from passes.program import Program, Step
from passes.stages import stage
from passes.weight import parts_of
from runtime.execution import BoundStep
from runtime.llvm_backend.contractions.block_kernel import emit_block
from runtime.llvm_backend.contractions.block_steps import block_of
from runtime.llvm_backend.contractions.contraction import Block
from runtime.llvm_backend.contractions.fused_contraction import contract_of, name_of
from runtime.llvm_backend.contractions.kernel import Kernel
from runtime.llvm_backend.contractions.kernel_choice import choose_kernel
from runtime.llvm_backend.contractions.strided import look_through
from runtime.llvm_backend.engine.library import Module, Promises, expect
from runtime.llvm_backend.engine.llvm import THOROUGH
from runtime.llvm_backend.engine.machine import host
from runtime.llvm_backend.ir.text import target_of
from runtime.llvm_backend.loops.cell_steps import cells_in
from runtime.llvm_backend.loops.column_steps import columns_of
from runtime.llvm_backend.loops.fill_kernel import fill_of
from runtime.llvm_backend.loops.loop_kernel import LoopKernel
from runtime.llvm_backend.loops.loop_steps import loops_of
from runtime.llvm_backend.loops.movement_steps import copies_of, zeros_around
from runtime.llvm_backend.native.cells import Cells
from runtime.llvm_backend.native.drafts import Collected, Draft, Late, NativeKernel
from runtime.llvm_backend.native.giving import write_giving
from runtime.llvm_backend.native.lowered import CONSTANT, NATIVE, PYTHON, VIEW, whole
from runtime.llvm_backend.native.patterns import (
    Pattern,
    contraction_pattern,
    loop_pattern,
    rows_pattern,
)
from runtime.llvm_backend.native.places import Place
from runtime.llvm_backend.native.python_steps import PythonStep, Turn
from runtime.llvm_backend.rows.check_kernel import PART, write_check
from runtime.llvm_backend.rows.numerics import find_checks
from runtime.llvm_backend.rows.row_code import RowKernel
from runtime.llvm_backend.rows.row_streams import find_read
from runtime.llvm_backend.table.polling import c_library
from runtime.llvm_backend.table.steploop import FLAG
from runtime.llvm_backend.table.steptable import TableBuilder

_ENTRY = "contraction"
_AS_VIEW, _AS_CONSTANT, _IN_PYTHON = Draft(VIEW), Draft(CONSTANT), Draft(PYTHON)
_SMALL = 1 << 16  # elements of a range that is computed once, before any run


class StepWriter:
    """Writes steps. What depends on sizes, or on where the arena lies, is collected for the prelude.

    Attributes:
        constants: arrays known before the run, by cell.
        loops: those around the program, from the inside out.
        symbols: the words of sizes.
        and those of `Collected`, which the writers of a program and of its bodies share.
    """

    def __init__(
        self,
        program: Program,
        builder: TableBuilder,
        cells: Cells,
        threads: int,
        collected: Collected,
        looks: bool = False,
    ) -> None:
        self._looks, self._checks = looks, find_checks(program) if looks else frozenset[int]()
        self._program, self._builder, self._cells, self._threads = program, builder, cells, threads
        self.constants: dict[Cell, np.ndarray[Any, Any]] = {
            (buffer, 0): whole(value) for buffer, value in program.constants
        }
        self.loops: tuple[Turn, ...] = ()
        self.modules, self.kernels = collected.modules, collected.kernels
        self.filled, self.plans, self.scratch = collected.filled, collected.plans, collected.scratch
        self.room, self.python, self.runs = collected.room, collected.python, collected.runs
        self.positive, self.natural, self.late = collected.positive, collected.natural, collected.late
        self._drafts, self._patterns = collected.drafts, collected.patterns
        self.symbols: Mapping[Symbol, int] = {}

    @Lazy
    def _read(self) -> frozenset[int]:
        """The buffers that a step reads."""
        return find_read(self._program, self._cells.views)

    # What runs a step.

    def draft(self, step: Step, bound: BoundStep) -> Draft:
        """What runs `step`; steps that are alike share a draft."""
        draft = self._simple_draft(step)
        if draft is None:
            key = self._likeness(step.node, bound)
            draft = self._drafts.get(key)
            if draft is None:
                draft = self._drafts[key] = self._draft(step, bound)
        running = self.runs.setdefault(bound, [])
        running.extend(draft.kernels)
        for dtype in self.checked(step, draft) if self._checks else ():
            text = write_check(dtype, target_of(host()))
            self._module(text, ("kernel",), NativeKernel(f"look at {dtype.name}", text))
            running.append(self.kernels[text])
        return draft

    def _likeness(self, node: Tensor, bound: BoundStep) -> Hashable:
        """What steps share that the same kernels run, called in the same way."""
        if bound.kernel is not None:
            return id(bound.kernel)  # which lives as long as its step
        if node.op.has_bodies and node.op.name != "fused":
            return id(node)
        unmade = self._cells.unmade
        if unmade.isdisjoint(node.inputs):
            return call_key(node)
        look = look_through(unmade)
        return call_key(node), *(look(x) if x in unmade else None for x in node.inputs)

    def checked(self, step: Step, draft: Draft) -> dict[DType, list[int]]:
        """The parts of the result of `step` that are looked at, by dtype."""
        found: dict[DType, list[int]] = {}
        is_noted = isinstance(draft.kernel, Kernel) and draft.kernel.flag >= 0
        looked = step.output in self._checks and not is_noted
        for part, type in enumerate(parts_of(step.node.type) if looked else ()):
            if type.dtype.is_floating:
                found.setdefault(type.dtype, []).append(part)
        return found

    def _simple_draft(self, step: Step) -> Draft | None:
        """What runs `step` where that is no kernel; None where it may be one."""
        node = step.node
        if node.op.name == "windows":  # none fits a short axis, or has no cells: its meaning says so
            counts = (node.result.sizes[axis] for axis in node.attrs["axes"])
            self.positive.update(dict.fromkeys((*counts, *node.attrs["size"])))
        if step.bindings:
            return self._looped(loops_of(step.node, gives=True))
        if self._cells.views(step) or node.op.name == "group":
            return _AS_VIEW
        if is_constant(step):
            assert node.op.meaning is not None
            value = node.op.meaning(**node.attrs)
            self.constants[step.output, 0] = whole(value, node.result.dtype.numpy)
            return _AS_CONSTANT
        return None

    def _draft(self, step: Step, bound: BoundStep) -> Draft:
        node, kernel = step.node, bound.kernel
        if isinstance(kernel, RowKernel):
            if kernel.plan.has_choices and kernel.plan.inner == 0:
                return _IN_PYTHON
            return self._drafted(kernel, kernel)
        is_made = not self._cells.unmade.intersection(node.inputs)
        number = fill_of(node) if is_made else None
        look = look_through(self._cells.unmade)
        block = block_of(node, look)
        if block is not None:
            return self._block(node, block)
        with stage("IR text"):
            columns = columns_of(node) if is_made else ()
            direct = (number,) if number else columns or copies_of(node, look)
        contract = None if direct else contract_of(node, look)
        if contract is None:
            with stage("IR text"):
                noted = self._looks and node.op.name == "fused"
                loops = direct or (cells_in(node, noted) if noted else loops_of(node))
            return self._looped(loops)
        with stage("IR text"):
            made = choose_kernel(contract, self._looks, self._looks and node.op.name == "fused")
        if contract.combine in ("max", "min"):
            self.positive.update(dict.fromkeys(d.size for d in contract.reduced_dims))
        return self._drafted(made, NativeKernel(name_of(node), made.text, contract), zeros_around(node))

    def _looped(self, loops: Sequence[LoopKernel]) -> Draft:
        if not loops:
            return _IN_PYTHON
        modules = [self._module(x.text, ("kernel",), NativeKernel(x.name, x.text), x.imports) for x in loops]
        shown = tuple(self.kernels[x.text] for x in loops)
        return Draft(NATIVE, loops=tuple(zip(loops, modules, strict=True)), kernels=shown)

    def _block(self, node: Tensor, block: Block) -> Draft:
        with stage("IR text"):
            made = emit_block(block, host(), _ENTRY, target=replace(target_of(host()), notes=False))
        for contract in block.contracts:
            if contract.combine in ("max", "min"):
                self.positive[contract.dims[-2].size] = None
        return self._drafted(made, NativeKernel(name_of(node), made.text))

    def _drafted(
        self, kernel: RowKernel | Kernel, shown: NativeKernel | RowKernel, before: Sequence[LoopKernel] = ()
    ) -> Draft:
        module = self._module(kernel.text, kernel.functions, shown, effort=kernel.effort)
        first = self._looped(before)
        return Draft(NATIVE, module, kernel, first.loops, (*first.kernels, shown))

    def _module(
        self,
        text: str,
        functions: tuple[str, ...],
        kernel: NativeKernel | RowKernel,
        imports: tuple[str, ...] = (),
        effort: int = THOROUGH,
    ) -> Module:
        key = text, functions
        if key not in self.modules:
            addresses = c_library(*imports)
            self.modules[key] = Module(
                f"{len(self.modules)} {kernel.name}", text, functions, addresses, effort
            )
            expect([self.modules[key]])
            self.kernels[text] = kernel
        return self.modules[key]

    # Its steps in the table.

    def write(self, step: Step, bound: BoundStep, draft: Draft, functions: Promises) -> None:
        """Adds `step` to the table."""
        if draft.kind == NATIVE:
            if step.node.op.name == "embed" and not draft.loops:
                self.clear((step.output, 0))
            patterns = self.patterns_of(draft, functions)
            if step.bindings:
                write_giving(self, self._builder, step, draft, patterns)
            for pattern in patterns if not step.bindings else ():
                self._stamp(pattern, step)
        elif draft.kind == PYTHON:
            self._in_python(step, bound)
        for dtype, parts in self.checked(step, draft).items() if self._checks else ():
            name = self.modules[write_check(dtype, target_of(host())), ("kernel",)].name
            for part in parts:
                self._check((step.output, part), functions.address(name))

    def _check(self, cell: Cell, address: int) -> None:
        """Adds a look at all of `cell`."""
        builder = self._builder
        block, chunks = builder.block((0, 0, 0)), builder.word()
        count = sizes.product(self.type_of(cell).sizes)
        self._cells.point(block, cell)
        self.fill(block + 1, count)
        builder.point(block + 2, FLAG)
        self.fill(chunks, (count + (PART - 1)) // PART)
        builder.parallel(address, block, chunks)

    def copy(self, source: Cell) -> int:
        """Adds a copy of `source`; gives the word that must hold where to."""
        block = self._builder.block((0, 0, 0))
        type = self.type_of(source)
        self._cells.point(block + 1, source)
        self.fill(block + 2, sizes.product(type.sizes) * type.dtype.numpy.itemsize)
        self._builder.copy(block)
        return block

    def clear(self, cell: Cell) -> None:
        """Adds zeros for all of `cell`."""
        block = self._builder.block((0, 0))
        type = self.type_of(cell)
        self._cells.point(block, cell)
        self.fill(block + 1, sizes.product(type.sizes) * type.dtype.numpy.itemsize)
        self._builder.clear(block)

    def fill(self, word: int, size: Size) -> None:
        """Lets `word` hold `size` when the run begins."""
        if isinstance(size, SizeExpr):
            self.filled.append((word, size))
        else:
            self._builder.preset(word, size)

    def type_of(self, cell: Cell) -> TensorType:
        """The type of what is in `cell`."""
        return parts_of(self._program.nodes[cell[0]].type)[cell[1]]

    def place(self, cell: Cell) -> Place:
        """Where Python finds `cell`."""
        type, word = self.type_of(cell), self._builder.word()
        self._cells.point(word, cell)
        return Place(word, type.dtype.numpy, type.sizes)

    def patterns_of(self, draft: Draft, functions: Promises) -> list[Pattern]:
        """What steps of `draft` have in common, which is made once."""
        key = id(draft), bool(self.loops)
        patterns = self._patterns.get(key)
        if patterns is None:
            patterns = self._patterns[key] = self._make_patterns(draft, functions)
        return patterns

    def _make_patterns(self, draft: Draft, functions: Promises) -> list[Pattern]:
        """What steps of `draft` have in common."""
        kernel, module = draft.kernel, draft.module
        loops = [loop_pattern(loop, functions.address(each.name)) for loop, each in draft.loops]
        if kernel is None or module is None:
            return loops
        addresses = {name: functions.address(module.name, name) for name in kernel.functions}
        if isinstance(kernel, RowKernel):
            return [rows_pattern(kernel, addresses, bool(self.loops), self._threads)]
        return [*loops, contraction_pattern(kernel, addresses, self._threads)]

    def _stamp(self, pattern: Pattern, step: Step) -> None:
        """Adds `pattern` on the cells of `step`."""
        self.run(pattern, self.stamped(pattern, step))

    def run(self, pattern: Pattern, block: int) -> None:
        """Adds what runs on the block of a pattern."""
        for function, chunks in pattern.runs:
            if chunks < 0 or pattern.is_brief:
                self._builder.kernel(function, block)
            else:
                self._builder.parallel(function, block, block + chunks)

    def stamped(self, pattern: Pattern, step: Step) -> int:
        """The block of `pattern` on the cells of `step`."""
        builder, point, inputs, output = self._builder, self._cells.point, step.inputs, step.output
        block, phase = builder.block(pattern.words), self._phase
        for word, number in pattern.operands:
            point(block + word, (inputs[number], 0))
        for word, number in pattern.results:
            point(block + word, (output, number))
        if pattern.flag >= 0:
            builder.point(block + pattern.flag, FLAG)
        if pattern.given >= 0:
            builder.point(block + pattern.given, self.symbols[step.bindings[0].symbol])
        if pattern.streams is not None and output not in self._read:
            builder.preset(block + pattern.streams[0], pattern.streams[1])
        for word, size in pattern.sizes:
            self.filled.append((block + word, size))
        for word, offset in pattern.scratch:
            self.scratch.append((block + word, offset, phase))
        if pattern.room != 0:
            self.room[pattern.room, phase] = None
        if pattern.positive:
            self.positive.update(dict.fromkeys(pattern.positive))
        if pattern.natural:
            self.natural.update(dict.fromkeys(pattern.natural))
        if pattern.plan:
            self.plans.append((pattern.plan, block, phase))
        return block

    @property
    def _phase(self) -> int:
        """How many steps that give sizes are written."""
        return len(self.late)

    def _in_python(self, step: Step, bound: BoundStep) -> None:
        operands: dict[int, Place | tuple[Place, ...]] = {}
        for buffer in step.inputs:
            type = self._program.nodes[buffer].type
            places = tuple(self.place((buffer, part)) for part in range(len(parts_of(type))))
            operands[buffer] = places[0] if isinstance(type, TensorType) else places
        cells = [(step.output, part) for part in range(len(parts_of(step.node.type)))]
        own = {binding.symbol for binding in step.bindings}
        new = {cell for cell in cells if own and self._is_new(cell, own)}
        results = tuple(self._result(cell, cell in new) for cell in cells)
        words = tuple((symbol, self.symbols[symbol]) for symbol in own)
        self._builder.python(len(self.python))
        self.python.append(
            PythonStep(bound, operands, step.output, results, self.loops, frozenset(p for _, p in new), words)
        )
        if own:
            self.leave(
                {
                    cell: place.word
                    for cell, place in zip(cells, results, strict=True)
                    if place and cell in new
                }
            )

    def _is_new(self, cell: Cell, own: set[Symbol]) -> bool:
        return self._cells.root(cell) == cell and any(
            own.intersection(sizes.symbols(size)) for size in self.type_of(cell).sizes
        )

    def _result(self, cell: Cell, is_new: bool) -> Place | None:
        if not is_new:
            return self.place(cell) if self._cells.root(cell) == cell else None
        type = self.type_of(cell)
        return Place(self._builder.word(), type.dtype.numpy, type.sizes)

    def leave(self, homes: Mapping[Cell, int]) -> None:
        """Lets the table compute what follows from the sizes that the step just written gives."""
        jump = self._builder.jump()
        self.late.append(Late(jump, self._builder.here(), homes))


def is_constant(step: Step) -> bool:
    """Whether the result of `step` is known before any run, and small enough to be kept."""
    if step.node.op.name != "iota":
        return False
    elements = sizes.product(step.node.result.sizes)
    return isinstance(elements, int) and elements <= _SMALL
