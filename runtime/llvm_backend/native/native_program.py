"""Native program: from feeds to outputs by one native call.

What cannot be lowered keeps the walk of its steps in Python (`runtime.execution`), and so does a run that
the native program refuses: sizes that need a check or another executable, a kernel that fails. That
walk is what raises errors; nothing is committed before it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.alignment import LARGE_PAGE, data_address, new_memory
from graphc.laziness import Lazy
from graphc.sizes import Symbol
from runtime.backend import Template
from runtime.counting import Counter, Values
from runtime.llvm_backend.engine.postponement import catch_up
from runtime.llvm_backend.native.late_memory import take_given
from runtime.llvm_backend.native.lowered import PYTHON, Lowered, bare, knows_lines
from runtime.llvm_backend.native.python_steps import PythonSteps, in_python_step
from runtime.llvm_backend.table.call import Call, PortableFunction
from runtime.llvm_backend.table.clocks import Reading
from runtime.llvm_backend.table.pool import pool
from runtime.llvm_backend.table.steptable import RunWords

if TYPE_CHECKING:
    from graphc.tensor import Tensor
    from passes.memory import MemoryPlan
    from runtime.execution import BoundStep
    from runtime.llvm_backend.native.drafts import NativeKernel
    from runtime.llvm_backend.rows.row_code import RowKernel

Array = np.ndarray[Any, Any]
_PATIENCE = 0.0005  # seconds between looks for words that are free


class NativeProgram:
    """A program that runs in one native call.

    Args:
        lowered: the program. threads: how many may compute.
        symbols: the symbols of `lowered` by those of the program that it stands for, where they are others.
        describe: the same lowered anew, where `lowered` is `bare`: whoever looks at its steps asks for it.

    Attributes:
        lowered: the program.
        variables: the names of those that are fed, in order; `takes_state`: whether seed and count are.
        fetches: for each output of the program its place among the call's; None for operations.
        assigned: the names of what the last outputs are assigned to.
        adopted: what other variables are assigned as it is, by name.
        is_single: whether there is one result; `gives_scalars`: whether one that is fetched has no axes.
        kinds: for each step, those of native bodies too, what runs it: ``llvm``, ``view``, ``constant``, or
            its ``meaning`` in Python.
    """

    def __init__(
        self,
        lowered: Lowered,
        threads: int,
        symbols: Mapping[Symbol, Symbol] = MappingProxyType({}),
        describe: Callable[[], NativeProgram] | None = None,
    ) -> None:
        self.variables, self.takes_state = lowered.variables, lowered.takes_state
        self.fetches, self.assigned, self.adopted = lowered.fetches, lowered.assigned, lowered.adopted
        self.lowered, self._translation, self._describe = lowered, symbols, describe
        outputs = [not output.sizes for output in lowered.signature.outputs]
        self._late = lowered.late
        for number in self._late:  # they have axes
            outputs.insert(number, False)
        self.is_single = len(outputs) == 1
        self.gives_scalars = any(outputs[i] for i in lowered.fetches if i is not None)
        self._arena, self._threads = lowered.arena, threads
        steps = PythonSteps(lowered.python, lowered.symbols, lowered.places, lowered.state)
        self._call = Call(lowered.table, lowered.signature, steps)
        steps.states = self._call.states
        self._symbols = lowered.symbols
        self._arenas: dict[int, Array] = {}  # by the address of the words that hold theirs
        self._timed: list[Array] = []  # the results of the last run with clocks
        self._clocks = {} if lowered.clocks is None else lowered.clocks.words
        self._call.add_state(self._prepare)
        last = range(len(outputs) - len(lowered.assigned), len(outputs))
        self._again = PortableFunction(self._call, sum(number not in self._late for number in last))
        self.call = self._whole(self._call.function())

    def settle(self) -> None:
        """Waits until what was postponed is done."""
        catch_up()

    @Lazy
    def _described(self) -> Lowered:
        return self.lowered if self._describe is None else self._describe().lowered

    @property
    def kinds(self) -> Mapping[BoundStep, str]:
        """What runs each step."""
        return self._described.kinds

    @property
    def runs(self) -> Mapping[BoundStep, Sequence[NativeKernel | RowKernel]]:
        """The kernels of each step."""
        return self._described.runs

    @property
    def kernels(self) -> tuple[NativeKernel | RowKernel, ...]:
        """The distinct ones."""
        return self._described.kernels

    @property
    def memory(self) -> MemoryPlan:
        """Where the values lie."""
        return self._described.arena.plan

    @property
    def obstacles(self) -> Mapping[Tensor, str]:
        """The regions that are walked in Python, and why."""
        return self._described.obstacles

    @property
    def returns(self) -> int:
        """How many steps are in Python, those in loops counted once."""
        return sum(kind == PYTHON for kind in self.kinds.values())

    def template(self) -> Template | None:
        """What makes this of programs of the same form; None where steps in Python know this one's lines."""
        lowered = self.lowered
        if knows_lines(lowered):
            return None
        return partial(NativeProgram, bare(lowered), self._threads)

    def shortcut(self, form: str, scalars: bool, count: Counter, values: Values) -> Callable[..., Any]:
        """As `call`, which gives its results in that `form` of `Signature` and counts what went well.

        It takes variables from `values`.

        `scalars`: what has no axes is given as a NumPy scalar.
        """
        if not self._late:
            return self._call.variant(form, scalars, count, self.variables, values).function()
        call = self._call.variant("list", scalars, count, self.variables, values).function()

        def call_late(*arrays: Array) -> Any:
            results = call(*arrays)
            if results is NotImplemented:
                return results
            results = self._joined(results)
            return results[0] if form == "single" else tuple(results) if form == "tuple" else results

        return call_late

    def _whole(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """`call`, which gives late results too."""
        if not self._late:
            return call

        def call_late(*arrays: Array) -> Any:
            results = call(*arrays)
            if results is NotImplemented:
                return results
            results = self._joined(results)
            return results[0] if self.is_single else results

        return call_late

    def _joined(self, results: list[Array]) -> list[Array]:
        """The `results` of the call, with those between them whose sizes steps give."""
        joined = list(results)
        for number, array in zip(self._late, take_given(), strict=True):
            joined.insert(number, array)
        return joined

    def arena_bytes(self, known: dict[Symbol, int]) -> int:
        """The bytes that a run's arena takes, scratch included."""
        return self._arena.needed(self._translated(known))

    def _translated(self, known: dict[Symbol, int]) -> dict[Symbol, int]:
        """Sizes by the symbols of what was lowered."""
        if not self._translation:
            return known
        return {theirs: known[own] for own, theirs in self._translation.items() if own in known} | known

    def run_again(self, arrays: Sequence[Array]) -> Any:
        """As `call`, where that refused or is not there: on words claimed for it, with an arena large enough.

        NotImplemented where it still refuses: then sizes, or a kernel that fails, are why.
        """
        return self._run_claimed(arrays, lambda state: None)

    def run_clocked(self, arrays: Sequence[Array]) -> tuple[Any, dict[BoundStep, float]]:
        """As `run_again`; and the seconds that each step took, where it was compiled with clocks.

        The results of one run are written over by the next: new ones would take new pages of memory, and
        the steps that write there first would take several times as long as they do in a run.
        """
        reading = Reading(self._clocks)
        return self._run_claimed(arrays, reading, self._timed), reading.seconds

    def _run_claimed(
        self, arrays: Sequence[Array], look: Callable[[RunWords], None], over: list[Array] | None = None
    ) -> Any:
        state = self._claim()
        if state is None:
            return NotImplemented
        try:
            look(state)
            results = self._again.run(state, arrays, self._grow, over or ())
            look(state)
        finally:
            state.release()
        if results is None:
            return NotImplemented
        if over is not None:
            over[:] = results
        if self._late:
            results = self._joined(results)
        return results[0] if self.is_single else results

    def _grow(self, state: RunWords) -> bool:
        """Gives `state` the arena that its sizes need; whether it had a smaller one.

        Addresses for twice as much as that: sizes that go up little by little move the arena now and then,
        and what no run reaches takes no memory. One that is not small ends with a large page, which has room
        for what is larger than the first run.
        """
        words = state.words
        needed = self._arena.needed({symbol: int(words[word]) for symbol, word in self._symbols.items()})
        capacity = int(words[self._arena.capacity])
        if capacity >= needed:
            return False
        wanted = max(needed, 2 * capacity)
        if wanted > LARGE_PAGE // 4:
            wanted += -wanted % LARGE_PAGE
        self._give(state, wanted)
        return True

    def _claim(self) -> RunWords | None:
        """Words for one run: new ones where all are in use, and where there are enough, the next to be free.

        None: a step in Python asks, whose own run may be what the others wait for.
        """
        while True:
            state = self._call.claim_state()
            if state is not None:
                return state
            if self._call.add_state(self._prepare) is None:
                if in_python_step():
                    return None
                time.sleep(_PATIENCE)

    def _prepare(self, state: RunWords) -> None:
        """Readies new words; those of programs without symbols get their arena at once."""
        if self._threads > 1:
            ready = pool(self._threads)
            state.use_pool(ready.fork, ready.state)
        self._give(state, 0 if self._arena.last is not None else self._arena.needed({}))

    def _give(self, state: RunWords, needed: int) -> None:
        """An arena of `needed` bytes."""
        memory = new_memory(max(needed, 1))  # what holds nothing begins nowhere in particular
        address = data_address(memory)
        arena, words = self._arena, state.words
        words[arena.base], words[arena.capacity] = address, needed
        if arena.fixed:
            places, offsets = zip(*arena.fixed, strict=True)
            words[list(places)] = address + np.array(offsets)
        if arena.last is not None:
            words[arena.last] = -1
        self._arenas[state.address] = memory
