"""Python steps: what has no kernel runs by its meaning on views of the memory of a native run."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import local
from typing import Any

import numpy as np

from graphc.errors import VerificationError
from graphc.sizes import Size, SizeExpr, Symbol, evaluate
from graphc.tensor import Tensor
from runtime.execution import BoundStep
from runtime.failure import explain
from runtime.llvm_backend.steploop import PYTHON_STEP
from runtime.llvm_backend.steptable import RunWords
from runtime.regions import Run, tell_step

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value lies: the word with its address, what it holds, its sizes."""

    word: int
    dtype: np.dtype[Any]
    sizes: tuple[Size, ...]

    def view(self, words: Any, known: Mapping[Symbol, int]) -> Array:
        """The value as an array on the memory of a run."""
        shape = tuple(evaluate(s, known) if isinstance(s, SizeExpr) else s for s in self.sizes)
        count = math.prod(shape) * self.dtype.itemsize
        if not count:
            return np.empty(shape, self.dtype)
        memory: Any = (ctypes.c_char * count).from_address(int(words[self.word]))
        return np.ndarray(shape, self.dtype, memory)


@dataclass(frozen=True, slots=True)
class Turn:
    """A native loop: the word that counts its steps; where it goes backwards, that of how many there are."""

    node: Tensor
    counter: int
    steps: int | None

    def step(self, words: Any) -> int:
        """Which step it is at, as the walk numbers them."""
        count = int(words[self.counter])
        return count if self.steps is None else int(words[self.steps]) - 1 - count


@dataclass(frozen=True, slots=True)
class PythonStep:
    """A step, where its operands lie by buffer (a tuple of places where it is a tuple), and its results.

    `loops` are those around it, from the inside out.
    """

    bound: BoundStep
    operands: Mapping[int, Place | tuple[Place, ...]]
    output: int
    results: tuple[Place, ...]
    loops: tuple[Turn, ...] = ()


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
        steps: Sequence[PythonStep],
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
        words = self.states[number].words
        known = {symbol: int(words[word]) for symbol, word in self._symbols.items()}
        step = self._steps[detail]
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
                step.bound(values, Run(known, variables, state))
        except Exception as error:
            explain(error, step.bound.node, operands)
            for loop in step.loops:
                tell_step(error, loop.step(words), loop.node)
            raise
        finally:
            _thread.steps -= 1
        result = values[step.output]
        for place, part in zip(step.results, result if isinstance(result, tuple) else (result,), strict=True):
            target = place.view(words, known)
            if part.shape != target.shape:
                raise VerificationError(
                    f"{step.bound.node.op.name} gave {part.shape} where {target.shape} is planned"
                )
            target[...] = part
