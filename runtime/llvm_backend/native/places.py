"""Places: where Python finds the values of a native run."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from graphc.freezing import frozen
from graphc.sizes import Size, SizeExpr, Symbol, evaluate

Array = np.ndarray[Any, Any]


@frozen
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
