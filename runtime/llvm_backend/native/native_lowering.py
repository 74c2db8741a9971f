"""Native lowering: a program as a step table with a signature; all its kernels in one library.

The words of a run that hold addresses are written by the call (what is fed and given back), before any
run (constants), or when the arena is made. What depends on sizes is computed by the prelude, which is
skipped where the sizes are those of the run before on the same words.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from graphc import sizes
from graphc.alignment import data_address, is_aligned
from graphc.sizes import Size, SizeExpr, Symbol, sole_symbol
from graphc.types import TensorType
from passes.memory import Cell, phase_of, phases_of
from passes.program import Program
from runtime.execution import BoundProgram, BoundStep
from runtime.llvm_backend.engine.compiler import meanwhile
from runtime.llvm_backend.engine.library import Promises, load
from runtime.llvm_backend.native.drafts import Collected
from runtime.llvm_backend.native.first_pages import fill_pages
from runtime.llvm_backend.native.late_memory import Gift
from runtime.llvm_backend.native.lowered import Array, Lowered
from runtime.llvm_backend.native.native_memory import MemoryWriter
from runtime.llvm_backend.native.native_regions import RegionWriter, find_obstacles, plan_scope
from runtime.llvm_backend.native.native_steps import StepWriter
from runtime.llvm_backend.native.places import Place
from runtime.llvm_backend.native.size_words import SizeWords
from runtime.llvm_backend.table.call import Feed, Output, Signature, reserve
from runtime.llvm_backend.table.clocks import Clocks
from runtime.llvm_backend.table.steptable import TableBuilder


def lower(
    program: Program, bound: BoundProgram, threads: int, looks: bool = False, clocked: bool = False
) -> Lowered:
    """`program`, whose steps are bound to their kernels, for `threads` threads.

    `looks`: with looks for NaN and infinity (`numerics`); `clocked`: with `clocks`.
    """
    return _Lowering(program, bound, threads, looks, clocked).lower()


class _Lowering:
    def __init__(
        self, program: Program, bound: BoundProgram, threads: int, looks: bool, clocked: bool
    ) -> None:
        self.program = program
        self.builder = TableBuilder()
        self.collected = Collected()
        self.clocks = Clocks(self.builder) if clocked else None
        symbols = program_symbols(program)
        self.phases = phases_of(program)  # after which of the steps that give sizes each symbol is known
        self.scope = plan_scope(
            program,
            bound,
            frozenset((*symbols, *self.phases)),
            lambda program, cells: StepWriter(program, self.builder, cells, threads, self.collected, looks),
        )
        self.cells, self.writer = self.scope.cells, self.scope.writer
        self.sizes = SizeWords(self.builder, (*symbols, *self.phases))
        self.writer.symbols = self.sizes.symbols
        self.collected.watched.extend(self.sizes.symbols[symbol] for symbol in symbols)
        self.given: list[Place] = []  # what is given back with sizes that steps give
        self.late: list[int] = []  # which of the outputs those are
        self.outputs: list[tuple[TensorType, Cell | None, list[int]]] = []
        self.taken: set[Cell] = set()  # the memory of outputs
        variables = (buffer for _, buffer, _ in program.variables)
        self.elsewhere = {*program.inputs, *variables, *program.run_states}  # not in the arena

    def lower(self) -> Lowered:
        builder, collected = self.builder, self.collected
        self.scope.draft()
        functions = Promises()
        builder.mark("main")
        fetches, assigned, adopted = self._write_main(functions)
        builder.end()
        names, places, state, feeds = self._feeds()
        outputs = self._outputs()
        constants = self._constants()
        for word, value in constants:
            builder.preset(word, data_address(value))
        memory = MemoryWriter(builder, self.sizes, self.scope, collected, self.phases)
        arena, prelude = memory.write()
        memory.write_late()
        form = "single" if len(outputs) == 1 and not self.late else "list"
        hold = reserve(builder, len(outputs), len(names))
        signature = Signature(feeds, outputs, hold, form, prelude, "main")
        with meanwhile(fill_pages(outputs)):
            library = load(collected.modules.values())  # late: other threads compile all the while
        builder.keep(functions.kept_by(library))
        table = builder.build((library, self.clocks, *(value for _, value in constants)))
        symbols = self.sizes.symbols
        return Lowered(
            table, signature, arena, names, state is not None, fetches, assigned, adopted,
            self._kinds(), tuple(collected.python), symbols, places, state,
            tuple(collected.kernels.values()), collected.runs,
            self.clocks, tuple(self.late), find_obstacles(self.program, frozenset(symbols)),
            library, constants,
        )  # fmt: skip

    def _write_main(
        self, functions: Promises
    ) -> tuple[tuple[int | None, ...], tuple[str, ...], dict[str, Array]]:
        """The steps of all scopes; gives `Lowered.fetches`, `assigned` and `adopted`."""
        program, builder = self.program, self.builder
        RegionWriter(builder, functions, self.clocks).write(self.scope)
        if self.clocks is not None:
            self.clocks.tick(None)
        fetches = tuple(
            self._keep((buffer, 0)) if isinstance(program.nodes[buffer].type, TensorType) else None
            for buffer in program.outputs
        )
        found = {name: self._adopted(buffer) for name, buffer in program.assignments}
        adopted = {name: value for name, value in found.items() if value is not None}
        for name, buffer in program.assignments:
            if name not in adopted:
                self._keep((buffer, 0))
            self._check_assignment(buffer)
        if self.given:
            builder.python(len(self.collected.python))
            self.collected.python.append(Gift(tuple(self.given)))
        assigned = tuple(name for name, _ in program.assignments if name not in adopted)
        return fetches, assigned, adopted

    def _constants(self) -> tuple[tuple[int, Array], ...]:
        """The words that hold addresses of constants, with those."""
        return tuple(
            (word, value)
            for scope in self.scope.all()
            for cell, value in scope.writer.constants.items()
            for word in scope.cells.take(cell)
        )

    def _kinds(self) -> dict[BoundStep, str]:
        """What runs each step, in bodies too."""
        return {
            bound: draft.kind
            for scope in self.scope.all()
            for bound, draft in zip(scope.bound.steps, scope.drafts, strict=True)
        }

    # What goes in and out.

    def _keep(self, cell: Cell) -> int:
        """Makes `cell` an output of the call; gives its number."""
        root, type = self.cells.root(cell), self.writer.type_of(cell)
        number = len(self.outputs) + len(self.late)
        if self.phases and any(phase_of(size, self.phases) for size in type.sizes):
            self.late.append(number)
            self.given.append(self.writer.place(cell))
            return number
        late = self.collected.late
        placed = late and any(root in each.homes for each in late)  # by the step that makes it
        if placed or root in self.taken or root in self.writer.constants or root[0] in self.elsewhere:
            self.outputs.append((type, None, [self.writer.copy(cell)]))
        else:
            self.outputs.append((type, root, []))
            self.taken.add(root)
        return number

    def _adopted(self, buffer: int) -> Array | None:
        """The constant that is assigned at `buffer`, where a session can keep it as it is; else None."""
        value = self.writer.constants.get(self.cells.root((buffer, 0)))
        type = self.writer.type_of((buffer, 0))
        if value is None or value.shape != type.sizes or value.dtype != type.dtype.numpy:
            return None
        return value if is_aligned(value) else None

    def _check_assignment(self, buffer: int) -> None:
        """What is assigned has the sizes of its variable, where those are known."""
        node = self.program.nodes[buffer]
        known, own = node.inputs[0].result.sizes, node.result.sizes
        for given, wanted in zip(known, own, strict=True) if known != own else ():
            if given != wanted and self.sizes.symbols.keys() >= set(sizes.symbols(wanted)):
                self.collected.equal.append((given, wanted))

    def _outputs(self) -> tuple[Output, ...]:
        return tuple(
            Output(
                type.dtype.numpy,
                tuple(self._size_word(size) for size in type.sizes),
                (*words, *(self.cells.take(cell) if cell is not None else ())),
            )
            for type, cell, words in self.outputs
        )

    def _feeds(self) -> tuple[tuple[str, ...], dict[str, Place], Place | None, tuple[Feed, ...]]:
        program, builder = self.program, self.builder
        feeds = [
            self._feed(program.nodes[buffer].result, self.cells.take((buffer, 0)))
            for buffer in program.inputs
        ]
        inner = inner_variables(program)
        words: dict[str, list[int]] = {}
        types: dict[str, TensorType] = {}
        for scope in self.scope.all():
            for name, buffer, type in scope.program.variables:
                words.setdefault(name, []).extend(scope.cells.take((buffer, 0)))
                types.setdefault(name, type)
        places = {}
        for name, type in inner.items():
            types.setdefault(name, type)
            word = builder.word()
            words.setdefault(name, []).append(word)
            places[name] = Place(word, type.dtype.numpy, types[name].sizes)
        feeds += [self._feed(types[name], tuple(words[name])) for name in types]
        if not program.run_states and not inner_draws(program):
            return tuple(types), places, None, tuple(feeds)
        word = builder.word()
        at = [word]
        for scope in self.scope.all():
            at += (w for buffer in scope.program.run_states for w in scope.cells.take((buffer, 0)))
        feeds.append(Feed(np.dtype(np.uint64), (2,), tuple(at)))
        return tuple(types), places, Place(word, np.dtype(np.uint64), (2,)), tuple(feeds)

    def _feed(self, type: TensorType, words: tuple[int, ...]) -> Feed:
        found: list[int | tuple[int, ...]] = []
        for size in type.sizes:
            if not isinstance(size, SizeExpr):
                found.append(size)
            elif (symbol := sole_symbol(size)) is not None:
                found.append((self.sizes.symbols[symbol],))
            else:
                word = self.builder.word()
                self.collected.watched.append(word)
                self.collected.fed.append((word, size))
                found.append((word,))
        return Feed(type.dtype.numpy, tuple(found), words)

    def _size_word(self, size: Size) -> int | tuple[int, ...]:
        if not isinstance(size, SizeExpr):
            return size
        symbol = sole_symbol(size)
        if symbol is not None:
            return (self.sizes.symbols[symbol],)
        word = self.builder.word()
        self.writer.fill(word, size)
        return (word,)


def _bodies(program: Program) -> Iterator[Program]:
    """The programs of all bodies."""
    pending = [body for step in program.steps if step.programs for body in step.regions]
    while pending:
        current = pending.pop()
        yield current
        pending.extend(body for step in current.steps if step.programs for body in step.regions)


def program_symbols(program: Program) -> dict[Symbol, None]:
    """The symbols that feeds and variables bind."""
    given = (*program.bindings, *program.variable_bindings)
    return dict.fromkeys(binding.symbol for _, binding in given)


def inner_variables(program: Program) -> dict[str, TensorType]:
    """The variables that bodies read."""
    return {name: type for body in _bodies(program) for name, _, type in body.variables}


def inner_draws(program: Program) -> bool:
    """Whether a body reads the session's seed and run count."""
    return any(body.run_states for body in _bodies(program))
