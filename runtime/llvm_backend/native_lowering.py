"""Native lowering: a program as a step table with a signature; all its kernels in one library.

The words of a run that hold addresses are written by the call (what is fed and given back), before any
run (constants), or when the arena is made. What depends on sizes is computed by the prelude, which is
skipped where the sizes are those of the run before on the same words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc import sizes
from graphc.sizes import Size, SizeExpr, Symbol, sole_symbol
from graphc.types import TensorType
from passes.memory import ALIGNMENT, Cell, MemoryPlan
from passes.program import Program
from passes.weight import parts_of
from runtime.execution import BoundProgram
from runtime.llvm_backend.backend import RowKernel
from runtime.llvm_backend.call import Feed, Output, Signature, reserve
from runtime.llvm_backend.cells import Cells
from runtime.llvm_backend.library import Module, load
from runtime.llvm_backend.native_steps import NativeKernel, StepWriter
from runtime.llvm_backend.polling import c_library
from runtime.llvm_backend.python_steps import Place, PythonStep
from runtime.llvm_backend.size_words import SizeWords
from runtime.llvm_backend.steptable import StepTable, TableBuilder

GROW, REFUSE = 1, 2  # why a prelude refuses: the arena is too small; sizes that need the slow way

_COPY = """
declare ptr @memcpy(ptr, ptr, i64)
define void @kernel(ptr %block) {
  %from.at = getelementptr i64, ptr %block, i64 1
  %bytes.at = getelementptr i64, ptr %block, i64 2
  %to = load ptr, ptr %block
  %from = load ptr, ptr %from.at
  %bytes = load i64, ptr %bytes.at
  %same = call ptr @memcpy(ptr %to, ptr %from, i64 %bytes)
  ret void
}
"""

_CLEAR = """
declare ptr @memset(ptr, i32, i64)
define void @kernel(ptr %block) {
  %bytes.at = getelementptr i64, ptr %block, i64 1
  %to = load ptr, ptr %block
  %bytes = load i64, ptr %bytes.at
  %same = call ptr @memset(ptr %to, i32 0, i64 %bytes)
  ret void
}
"""


@dataclass(frozen=True, slots=True)
class Arena:
    """The memory of a run: the slots of `plan`, and behind them `room` for scratch.

    Attributes:
        base, capacity: the words that hold its address and its bytes.
        fixed: (word, offset): words to hold addresses in it that depend on no size.
        last: a word to be -1 when the arena moves, so that the prelude computes all anew; None: nothing to.
    """

    plan: MemoryPlan
    room: tuple[Size, ...]
    base: int
    capacity: int
    fixed: tuple[tuple[int, int], ...]
    last: int | None

    def needed(self, known: Mapping[Symbol, int]) -> int:
        """Its bytes where sizes are `known`."""
        room = max((sizes.evaluate(size, known) for size in self.room), default=0)
        return self.plan.offsets(known)[-1] + room


@dataclass(frozen=True, slots=True)
class Lowered:
    """A native program before any run has words.

    Attributes:
        variables: the names of those that are fed after the program's inputs, in order.
        takes_state: whether the session's seed and run count are fed last.
        fetches: for each output of the program its place among the call's; None for operations.
        assigned: the names of the variables that the call's last outputs are for.
        kinds: what runs each step. python: the steps in Python.
        symbols: the words of sizes. places, state: where steps in Python find variables and run state.
    """

    table: StepTable
    signature: Signature
    arena: Arena
    variables: tuple[str, ...]
    takes_state: bool
    fetches: tuple[int | None, ...]
    assigned: tuple[str, ...]
    kinds: tuple[str, ...]
    python: tuple[PythonStep, ...]
    symbols: Mapping[Symbol, int]
    places: Mapping[str, Place]
    state: Place | None
    kernels: tuple[NativeKernel | RowKernel, ...]


def lower(program: Program, bound: BoundProgram, threads: int) -> Lowered:
    """`program`, whose steps are bound to their kernels, for `threads` threads."""
    return _Lowering(program, bound, threads).lower()


class _Lowering:
    def __init__(self, program: Program, bound: BoundProgram, threads: int) -> None:
        self.program, self.bound = program, bound
        self.builder = TableBuilder()
        self.cells = Cells(program)
        self.writer = StepWriter(program, self.builder, self.cells, threads)
        given = (*program.bindings, *program.variable_bindings)
        self.sizes = SizeWords(self.builder, dict.fromkeys(binding.symbol for _, binding in given))
        self.watched = list(self.sizes.symbols.values())
        self.fed: list[tuple[int, Size]] = []  # a word that a feed writes, and the size it must be
        self.equal: list[tuple[Size, Size]] = []
        self.outputs: list[tuple[TensorType, Cell | None, list[int]]] = []

    def lower(self) -> Lowered:
        program, builder, writer = self.program, self.builder, self.writer
        steps = tuple(zip(program.steps, self.bound.steps, strict=True))
        drafts = [writer.draft(step, bound) for step, bound in steps]
        copying = Module("copy", _COPY, ("kernel",), c_library("memcpy"))
        clearing = Module("clear", _CLEAR, ("kernel",), c_library("memset"))
        library = load([*writer.modules.values(), copying, clearing])
        builder.mark("main")
        for (step, bound), draft in zip(steps, drafts, strict=True):
            writer.write(step, bound, draft, library)
        copy = library.address("copy", "kernel")
        fetches = tuple(
            self._keep((buffer, 0), copy) if isinstance(program.nodes[buffer].type, TensorType) else None
            for buffer in program.outputs
        )
        assigned = tuple(name for name, _ in program.assignments)
        for _, buffer in program.assignments:
            self._keep((buffer, 0), copy)
            self._check_assignment(buffer)
        builder.end()
        names, places, state, feeds = self._feeds()
        outputs = tuple(
            Output(
                type.dtype.numpy,
                tuple(self._size_word(size) for size in type.sizes),
                (*words, *(self.cells.take(cell) if cell is not None else ())),
            )
            for type, cell, words in self.outputs
        )
        for cell, value in writer.constants.items():
            for word in self.cells.take(cell):
                builder.preset(word, value.ctypes.data)
        arena, prelude = self._arena()
        form = "single" if len(outputs) == 1 else "list"
        signature = Signature(feeds, outputs, reserve(builder, len(outputs)), form, prelude, "main")
        table = builder.build((library, *writer.constants.values()))
        return Lowered(
            table, signature, arena, names, state is not None, fetches, assigned,
            tuple(draft.kind for draft in drafts), tuple(writer.python), self.sizes.symbols, places, state,
            tuple(writer.kernels.values()),
        )  # fmt: skip

    # What goes in and out.

    def _keep(self, cell: Cell, copy: int) -> int:
        """Makes `cell` an output of the call; gives its number."""
        root, type = self.cells.root(cell), self.writer.type_of(cell)
        program = self.program
        given = (*program.inputs, *(b for _, b, _ in program.variables), *program.run_states)
        taken = any(other == root for _, other, _ in self.outputs)
        if taken or root in self.writer.constants or root[0] in given:
            self.outputs.append((type, None, [self.writer.copy(cell, copy)]))
        else:
            self.outputs.append((type, root, []))
        return len(self.outputs) - 1

    def _check_assignment(self, buffer: int) -> None:
        """What is assigned has the sizes of its variable, where those are known."""
        node = self.program.nodes[buffer]
        for given, wanted in zip(node.inputs[0].result.sizes, node.result.sizes, strict=True):
            if given != wanted and self.sizes.symbols.keys() >= set(sizes.symbols(wanted)):
                self.equal.append((given, wanted))

    def _feeds(self) -> tuple[tuple[str, ...], dict[str, Place], Place | None, tuple[Feed, ...]]:
        program, builder = self.program, self.builder
        feeds = [
            self._feed(program.nodes[buffer].result, self.cells.take((buffer, 0)))
            for buffer in program.inputs
        ]
        inner = inner_variables(program)
        words: dict[str, list[int]] = {}
        types: dict[str, TensorType] = {}
        for name, buffer, type in program.variables:
            words.setdefault(name, []).extend(self.cells.take((buffer, 0)))
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
        at = [word, *(w for buffer in program.run_states for w in self.cells.take((buffer, 0)))]
        feeds.append(Feed(np.dtype(np.uint64), (2,), tuple(at)))
        return tuple(types), places, Place(word, np.dtype(np.uint64), (2,)), tuple(feeds)

    def _feed(self, type: TensorType, words: tuple[int, ...]) -> Feed:
        found: list[int | tuple[int, ...]] = []
        for size in type.sizes:
            symbol = sole_symbol(size)
            if not isinstance(size, SizeExpr):
                found.append(size)
            elif symbol is not None:
                found.append((self.sizes.symbols[symbol],))
            else:
                word = self.builder.word()
                self.watched.append(word)
                self.fed.append((word, size))
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

    # Sizes and memory.

    def _arena(self) -> tuple[Arena, str | None]:
        """The arena, and the mark of the prelude, where there is one."""
        builder, writer, plan = self.builder, self.writer, self.cells.plan
        base, capacity = builder.word(), builder.word()
        room = tuple(writer.room)
        if all(isinstance(size, int) for size in (*room, *(s for slot in plan.slots for s in slot.sizes))):
            offsets = plan.offsets({})
            fixed = [(word, offsets[slot]) for word, slot in self._arena_words()]
            fixed += [(word, offsets[-1] + int(offset)) for word, offset in writer.scratch]  # type: ignore[arg-type]  # all are ints
            arena = Arena(plan, room, base, capacity, tuple(fixed), None)
            if not self.watched:
                return arena, None
            self._prelude(lambda: None)
            return arena, "prelude"
        last = self._prelude(lambda: self._place_all(base, capacity, room))
        return Arena(plan, room, base, capacity, (), last), "prelude"

    def _arena_words(self) -> Iterator[tuple[int, int]]:
        for cell, words in self.cells.words.items():
            for word in words:
                yield word, self.cells.plan.slot_of[cell]

    def _prelude(self, place: Any) -> int:
        """The steps that compute what depends on sizes, unless they are as before; gives a word of those."""
        builder, words = self.builder, self.sizes
        last = [builder.word(-1) for _ in self.watched]
        builder.mark("prelude")
        changed = builder.constant(0)
        for word, before in zip(self.watched, last, strict=True):
            apart = words.compute("sub", word, before)
            changed = words.compute("add", changed, words.compute("mul", apart, apart))
        over = builder.leave_at_zero(changed)
        builder.move(last[0], builder.constant(-1))
        for word, size in self.fed:
            builder.equal(word, words.word(size), REFUSE)
        for x, y in (*self.equal, *((check.x, check.y) for check in self.program.checks)):
            builder.equal(words.word(x), words.word(y), REFUSE)
        for size in self.writer.positive:
            builder.at_most(builder.constant(1), words.word(size), REFUSE)
        for size in self._perhaps_negative() | self.writer.natural:
            builder.at_most(builder.constant(0), words.word(size), REFUSE)
        for word, size in self.writer.filled:
            words.store(word, size)
        place()
        for address, block in self.writer.plans:
            builder.kernel(address, block)
        for word, before in zip(self.watched, last, strict=True):
            builder.move(before, word)
        builder.land(over)
        builder.end()
        return last[0]

    def _perhaps_negative(self) -> dict[Size, None]:
        """The sizes of values that may come out below 0, where too little is fed."""
        return {
            size: None
            for node in self.program.nodes
            for type in parts_of(node.type)
            for size in type.sizes
            if isinstance(size, SizeExpr) and any(factor < 0 for _, factor in size.terms)
        }

    def _place_all(self, base: int, capacity: int, room: tuple[Size, ...]) -> None:
        """The addresses of the slots and of the scratch behind them."""
        builder, words, compute = self.builder, self.sizes, self.sizes.compute
        line = builder.constant(ALIGNMENT)
        offsets = [builder.constant(0)]
        for slot in self.cells.plan.slots:
            largest = words.word(slot.sizes[0])
            for size in slot.sizes[1:]:
                largest = compute("maximum", largest, words.word(size))
            up = compute("add", largest, builder.constant(ALIGNMENT - 1))
            offsets.append(compute("add", offsets[-1], compute("mul", compute("div", up, line), line)))
        largest = builder.constant(0)
        for size in room:
            largest = compute("maximum", largest, words.word(size))
        builder.at_most(compute("add", offsets[-1], largest), capacity, GROW)
        addresses: dict[int, int] = {}
        for word, slot_number in self._arena_words():
            if slot_number not in addresses:
                addresses[slot_number] = compute("add", base, offsets[slot_number])
            builder.move(word, addresses[slot_number])
        behind = compute("add", base, offsets[-1])
        for word, offset in self.writer.scratch:
            builder.compute("add", word, behind, words.word(offset))


def _bodies(program: Program) -> Iterator[Program]:
    """The programs of all bodies."""
    pending = [body for step in program.steps for body in step.programs.values()]
    while pending:
        current = pending.pop()
        yield current
        pending.extend(body for step in current.steps for body in step.programs.values())


def inner_variables(program: Program) -> dict[str, TensorType]:
    """The variables that bodies read."""
    return {name: type for body in _bodies(program) for name, _, type in body.variables}


def inner_draws(program: Program) -> bool:
    """Whether a body reads the session's seed and run count."""
    return any(body.run_states for body in _bodies(program))
