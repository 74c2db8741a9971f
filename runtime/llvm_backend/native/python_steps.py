"""Python steps: what has no kernel runs by its meaning on views of the memory of a native run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import local
from typing import Any

import numpy as np

from graphc.errors import VerificationError
from graphc.freezing import frozen
from graphc.sizes import Symbol
from graphc.tensor import Tensor
from runtime.execution import BoundStep
from runtime.failure import explain_run
from runtime.llvm_backend.native.late_memory import Gift, Growth, Lengthening
from runtime.llvm_backend.native.places import Place
from runtime.llvm_backend.table.steploop import PYTHON_STEP
from runtime.llvm_backend.table.steptable import RunWords
from runtime.regions import Run, tell_step

Array = np.ndarray[Any, Any]


@frozen
class Turn:
    """A native loop: the word that counts its steps; where it goes backwards, that of how many there are."""

    node: Tensor
    counter: int
    steps: int | None

    def step(self, words: Any) -> int:
        """Which step it is at, as the walk numbers them."""
        count = int(words[self.counter])
        return count if self.steps is None else int(words[self.steps]) - 1 - count


@frozen
class PythonStep:
    """A step, where its operands lie by buffer (a tuple of places where it is a tuple), and its results.

    Results that are views of operands have no place. `loops` are those around it, from the inside out.
    `new` are the results, by number, for whose sizes nobody has memory ready: the arrays that Python makes
    are kept, and their addresses written. `sizes` are the symbols that it binds, with their words.
    """

    bound: BoundStep
    operands: Mapping[int, Place | tuple[Place, ...]]
    output: int
    results: tuple[Place | None, ...]
    loops: tuple[Turn, ...] = ()
    new: frozenset[int] = frozenset()
    sizes: tuple[tuple[Symbol, int], ...] = ()


Pause = PythonStep | Growth | Lengthening | Gift


class _Thread(local):
    steps = 0  # that it is in, one inside another


_thread = _Thread()


def in_python_step() -> bool:
    """Whether this thread is in a step in Python of some run."""
    return _thread.steps > 0


class PythonSteps:
    """Runs the Python steps of a native program.

    Attributes:
        states: the words of the runs; the call that they belong to adds to it.
    """

    def __init__(
        self,
        steps: Sequence[Pause],
        symbols: Mapping[Symbol, int],
        variables: Mapping[str, Place],
        state: Place | None,
    ) -> None:
        self.states: list[RunWords] = []
        self._steps, self._symbols = steps, symbols
        self._variables, self._state = variables, state

    def __call__(self, status: int, number: int, detail: int) -> None:
        """Handles what a step table cannot: runs a step in Python; a failed run goes the slow way."""
        if status != PYTHON_STEP:
            return
        state = self.states[number]
        words = state.words
        known = {symbol: int(words[word]) for symbol, word in self._symbols.items()}
        step = self._steps[detail]
        if isinstance(step, PythonStep):
            self._compute(step, state, known)
        else:
            step.run(state, known)

    def _compute(self, step: PythonStep, run: RunWords, known: dict[Symbol, int]) -> None:
        words = run.words
        for symbol, _ in step.sizes:
            known.pop(symbol)  # the run before's
        values: Any = {
            buffer: place.view(words, known)
            if isinstance(place, Place)
            else tuple(part.view(words, known) for part in place)
            for buffer, place in step.operands.items()
        }
        variables = {name: place.view(words, known) for name, place in self._variables.items()}
        state = np.empty(2, np.uint64) if self._state is None else self._state.view(words, known)
        operands = [values[i] for i in step.bound.inputs]
        _thread.steps += 1
        try:
            with np.errstate(all="ignore"):
                step.bound.run(values, Run(known, variables, state))
        except Exception as error:
            explain_run(error, step.bound.node, operands)
            for loop in step.loops:
                tell_step(error, loop.step(words), loop.node)
            raise
        finally:
            _thread.steps -= 1
        result = values[step.output]
        for symbol, word in step.sizes:
            words[word] = known[symbol]
        parts = result if isinstance(result, tuple) else (result,)
        for i, (place, part) in enumerate(zip(step.results, parts, strict=True)):
            if place is None:
                continue
            if i in step.new:
                own = part if part.flags.owndata and part.flags.c_contiguous else part.copy()
                run.memory[place.word], words[place.word] = own, own.ctypes.data
                continue
            target = place.view(words, known)
            if part.shape != target.shape:
                raise VerificationError(
                    f"{step.bound.node.op.name} gave {part.shape} where {target.shape} is planned"
                )
            target[...] = part
