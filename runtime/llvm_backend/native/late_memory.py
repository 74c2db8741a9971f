"""Late memory: what a run takes while it goes, since a step's result says how large it must be.

The table pauses for it, and only where what the runs before took on the same words is too small.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import local
from typing import Any

import numpy as np

from graphc.freezing import frozen
from graphc.sizes import Symbol
from passes.memory import ALIGNMENT
from runtime.llvm_backend.native.places import Place
from runtime.llvm_backend.table.steptable import RunWords

Array = np.ndarray[Any, Any]
_FEWEST = 16  # steps of a loop that there is memory for from the beginning


def _taken(state: RunWords, word: int, count: int) -> int:
    """The address of `count` new bytes, which `state` keeps under `word`."""
    memory = np.empty(count + ALIGNMENT, np.uint8)
    state.memory[word] = memory
    return -(-memory.ctypes.data // ALIGNMENT) * ALIGNMENT


@frozen
class Growth:
    """Makes the arena of one phase as large as the word `needed` says, and a quarter more."""

    base: int
    capacity: int
    needed: int

    def run(self, state: RunWords, known: Mapping[Symbol, int]) -> None:
        """Takes the memory."""
        words = state.words
        count = int(words[self.needed]) * 5 // 4
        words[self.base], words[self.capacity] = _taken(state, self.base, count), count


@frozen
class Lengthening:
    """Makes twice as much room for what a loop stacks.

    Words: `base`, where it begins; `end`, where its memory does; `at`, where the next slice goes;
    `stride`, the bytes of a slice.
    """

    base: int
    end: int
    at: int
    stride: int

    def run(self, state: RunWords, known: Mapping[Symbol, int]) -> None:
        """Takes the memory, and moves there what is stacked."""
        base, end, at, stride = (int(state.words[w]) for w in (self.base, self.end, self.at, self.stride))
        room, used, old = max(2 * (end - base), _FEWEST * stride), at - base, state.memory.get(self.base)
        new = _taken(state, self.base, room)
        if used and old is not None:
            _bytes_at(state.memory[self.base], new, used)[:] = _bytes_at(old, base, used)
        state.words[[self.base, self.end, self.at]] = new, new + room, new + used


def _bytes_at(memory: Array, address: int, count: int) -> Array:
    begin = address - memory.ctypes.data
    return memory[begin : begin + count]


class _Given(local):
    arrays: Sequence[Array] = ()


_given = _Given()


@frozen
class Gift:
    """The end of a run whose outputs have late sizes: copies them, for `take_given` on the same thread."""

    places: tuple[Place, ...]

    def run(self, state: RunWords, known: Mapping[Symbol, int]) -> None:
        """Copies them."""
        _given.arrays = [place.view(state.words, known).copy() for place in self.places]


def take_given() -> Sequence[Array]:
    """What the last `Gift` on this thread copied."""
    arrays, _given.arrays = _given.arrays, ()
    return arrays
