"""Native loops: the loop op as jumps in the step table, and addresses that move from step to step.

Slices are read, and what is stacked is written, at addresses that go on by one slice a step. A value that
is carried is where its maker put it: among what is stacked, or in turn in the memory of the loop's result
and in memory like it; what is carried on as it was given is not copied either. The result of a
loop that stops by a condition may have to be copied once at the end, and that of no step at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from graphc.descent import Descent
from graphc.sizes import Size, SizeExpr, product
from graphc.tensor import Tensor
from passes.memory import Cell
from passes.program import Step
from passes.weight import bytes_of, parts_of
from runtime.llvm_backend.native.late_memory import Lengthening
from runtime.llvm_backend.native.outcomes import Outcomes
from runtime.llvm_backend.native.python_steps import Turn
from runtime.llvm_backend.table.steptable import TableBuilder

if TYPE_CHECKING:  # they write each other's steps
    from runtime.llvm_backend.native.native_regions import RegionWriter, Scope


def loop_works(step: Step, bodies: Mapping[str, Scope]) -> Sequence[Size]:
    """What a loop needs beside the arena of its bodies: the test, then for values in turn a second place."""
    attrs, types = step.node.attrs, parts_of(step.node.type)
    body = bodies["body"]
    outcomes = Outcomes.of(body.program, body.cells, attrs["carried"])
    return (1, *(bytes_of(types[i]) for i in _alternating(body, outcomes, attrs["carried"])))


def write_loop(regions: RegionWriter, scope: Scope, step: Step, bodies: Mapping[str, Scope]) -> Descent[None]:
    """Adds `step`, a loop of `scope`, to the table."""
    return _Loop(regions, scope, step, bodies).write()


def _alternating(body: Scope, outcomes: Outcomes, carried: int) -> list[int]:
    """The values carried that are made, or copied, in two places in turn."""
    formals = body.program.inputs[:carried]
    return [
        i
        for i, root in enumerate(outcomes.roots[:carried])
        if outcomes.is_made(i) or (root[0] in formals and root[0] != formals[i])
    ]


class _Moving:
    """An address that changes: the word that has it, and those that get it when a step begins."""

    def __init__(self, builder: TableBuilder) -> None:
        self.at = builder.word()
        self.words: list[int] = []

    def take(self, word: int) -> None:
        self.words.append(word)


class _Loop:
    def __init__(self, regions: RegionWriter, scope: Scope, step: Step, bodies: Mapping[str, Scope]) -> None:
        self.regions, self.scope, self.step = regions, scope, step
        self.builder = regions.builder
        self.node: Tensor = step.node
        self.carried, self.scanned = step.node.attrs["carried"], step.node.attrs["scanned"]
        self.body, self.condition = bodies["body"], bodies.get("condition")
        self.outcomes = Outcomes.of(self.body.program, self.body.cells, self.carried)
        self.alternating = _alternating(self.body, self.outcomes, self.carried)
        stacked = len(self.outcomes.roots) - self.carried
        self.current = [_Moving(self.builder) for _ in range(self.carried)]
        self.following = {i: _Moving(self.builder) for i in self.alternating}
        self.slices = [_Moving(self.builder) for _ in range(self.scanned)]
        self.stacks = [_Moving(self.builder) for _ in range(stacked)]
        self.both = {i: self.builder.word() for i in self.alternating}  # the sum of their two addresses
        operands = step.node.inputs[self.carried : self.carried + self.scanned]
        walked = [x.result for x in operands] + list(parts_of(step.node.type)[self.carried :])
        self.strides = [self._sized(product(x.sizes[1:]) * x.dtype.numpy.itemsize) for x in walked]
        self.counter = self.builder.word()
        self.is_growing = bool(step.bindings)  # then nobody knows how many steps there are
        self.bases = [self.builder.word() for _ in self.stacks] if self.is_growing else []
        self.limit = -1 if self.condition is not None else self._sized(operands[0].result.sizes[0])

    # Words.

    def _sized(self, size: Size) -> int:
        """A word that holds `size`."""
        if not isinstance(size, SizeExpr):
            return self.builder.constant(size)
        word = self.builder.word()
        self.scope.writer.fill(word, size)
        return word

    def _address(self, scope: Scope, cell: Cell) -> int:
        """A word that holds where `cell` of `scope` is."""
        word = self.builder.word()
        scope.cells.point(word, cell)
        return word

    def _compute(self, operation: str, a: int, b: int) -> int:
        word = self.builder.word()
        self.builder.compute(operation, word, a, b)
        return word

    def _place(self, number: int) -> Cell:
        """What the step needs for itself, by its number."""
        return self.step.output, len(parts_of(self.node.type)) + number

    # Steps.

    def write(self) -> Descent[None]:
        builder = self.builder
        turn = Turn(self.node, self.counter, self.limit if self.node.attrs["reverse"] else None)
        loops = (turn, *self.scope.writer.loops)
        self._connect()
        to_beginning = builder.jump()
        top = builder.here()
        if self.condition is None:
            over = builder.leave_at_least(self.counter, self.limit)
        else:
            yield self.regions.steps(self.condition, loops)
            (test,) = self.condition.program.outputs
            over = builder.leave_unless(self._address(self.condition, (test, 0)))
        yield self.regions.steps(self.body, loops)
        self._copy_rest()
        self._go_on()
        to_end_of_turn = builder.jump()
        builder.land(to_beginning)
        self._begin()
        builder.land(to_end_of_turn)
        if self.is_growing:
            self._lengthen()
        for moving in (*self.current, *self.following.values(), *self.slices, *self.stacks):
            for word in moving.words:
                builder.move(word, moving.at)
        builder.again(top)
        builder.land(over)
        self._settle()
        if self.is_growing:
            for binding in self.step.bindings:
                builder.move(self.scope.writer.symbols[binding.symbol], self.counter)
            self.scope.writer.leave(
                {(self.step.output, self.carried + i): base for i, base in enumerate(self.bases)}
            )

    def _lengthen(self) -> None:
        """Sees to it that there is room for one more slice in what is stacked."""
        builder, python = self.builder, self.scope.writer.python
        for base, moving, stride in zip(self.bases, self.stacks, self.strides[self.scanned :], strict=True):
            end = builder.word()
            enough = builder.leave_at_least(end, self._compute("add", moving.at, stride))
            builder.python(len(python))
            python.append(Lengthening(base, end, moving.at, stride))
            builder.land(enough)

    def _connect(self) -> None:
        """Says where the values are that bodies take and give."""
        operands, first = self.step.inputs, self.carried + self.scanned
        homes = self.body.cells.homes
        formals = self.body.program.inputs
        for formal, moving in zip(formals[:first], (*self.current, *self.slices), strict=True):
            homes[formal, 0] = moving.take
        for buffer, formal in zip(operands[first:], formals[first:], strict=True):
            self.regions.lend(self.scope, buffer, self.body, formal)
        for root, number in self.outcomes.made.items():
            target = self.following[number] if number < self.carried else self.stacks[number - self.carried]
            homes[root] = target.take
        if self.condition is None:
            return
        tested = self.condition.program
        for formal, moving in zip(tested.inputs[: self.carried], self.current, strict=True):
            self.condition.cells.homes[formal, 0] = moving.take
        for buffer, formal in zip(operands[first:], tested.inputs[self.carried :], strict=True):
            self.regions.lend(self.scope, buffer, self.condition, formal)
        for root in Outcomes.of(tested, self.condition.cells).made:
            self.condition.cells.lent[root] = self.scope.cells, self._place(1)

    def _copy_rest(self) -> None:
        """Copies what no step makes where it is wanted."""
        copied = [(i, self.following[i]) for i in self.alternating if not self.outcomes.is_made(i)]
        copied += [
            (i, moving) for i, moving in enumerate(self.stacks, self.carried) if not self.outcomes.is_made(i)
        ]
        for number, moving in copied:
            cell = self.body.program.outputs[number], 0
            moving.take(self.body.writer.copy(cell))

    def _go_on(self) -> None:
        """What changes from step to step: addresses, and the number of the step."""
        builder = self.builder
        formals = self.body.program.inputs
        found = {
            i: self._address(self.body, root)
            for i, root in enumerate(self.outcomes.roots[: self.carried])
            if i not in self.following and root != (formals[i], 0)
        }
        for i, word in found.items():
            builder.move(self.current[i].at, word)
        for i, moving in self.following.items():
            builder.move(self.current[i].at, moving.at)
            builder.compute("sub", moving.at, self.both[i], moving.at)
        for moving, stride in zip((*self.slices, *self.stacks), self.strides, strict=True):
            builder.compute("sub" if self.node.attrs["reverse"] else "add", moving.at, moving.at, stride)
        builder.compute("add", self.counter, self.counter, builder.constant(1))

    def _begin(self) -> None:
        """What the first step begins with."""
        builder, scope, operands = self.builder, self.scope, self.step.inputs
        builder.move(self.counter, builder.constant(0))
        for buffer, moving in zip(operands, self.current, strict=False):
            builder.move(moving.at, self._address(scope, (buffer, 0)))
        for number, (i, moving) in enumerate(self.following.items(), 2):
            result = self._address(scope, (self.step.output, i))
            other = self._address(scope, self._place(number))
            builder.compute("add", self.both[i], result, other)
            builder.move(moving.at, self._first_of(result, other))
        bases = [(buffer, 0) for buffer in operands[self.carried : self.carried + self.scanned]]
        bases += [(self.step.output, self.carried + i) for i in range(len(self.stacks))]
        for base, moving in zip(self.bases, self.stacks, strict=False):
            builder.move(moving.at, base)
        fixed = (*self.slices, *(() if self.is_growing else self.stacks))
        for cell, moving, stride in zip(bases, fixed, self.strides, strict=False):
            base = self._address(scope, cell)
            if self.node.attrs["reverse"]:
                last = self._compute("sub", self.limit, builder.constant(1))
                base = self._compute("add", base, self._compute("mul", last, stride))
            builder.move(moving.at, base)

    def _first_of(self, result: int, other: int) -> int:
        """Where the first step writes so that the last one writes to `result`, where that is known."""
        if self.condition is not None:
            return result
        odd = self._compute("mod", self.limit, self.builder.constant(2))
        apart = self._compute("sub", result, other)
        return self._compute("add", other, self._compute("mul", odd, apart))

    def _settle(self) -> None:
        """Copies what is carried to where the results are, unless it is there."""
        builder, scope = self.builder, self.scope
        for i, moving in enumerate(self.current):
            block = builder.block((0, 0, 0))
            scope.cells.point(block, (self.step.output, i))
            scope.writer.fill(block + 2, bytes_of(parts_of(self.node.type)[i]))
            over = builder.leave_at_zero(self._compute("sub", block, moving.at))
            builder.move(block + 1, moving.at)
            builder.copy(block)
            builder.land(over)
