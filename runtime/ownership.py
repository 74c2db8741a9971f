"""Ownership: arrays handed to a caller or kept by a session are nobody else's."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.alignment import aligned
from runtime.backend import Array


class Ownership:
    """Decides, at the end of one run, which arrays may be given away as they are.

    An array that a step of this run made is given once; all else (what was fed, constants, values of
    variables, views, what is given already) is copied. Constants and stored values are read-only, and
    views do not own their data, so only the arrays that were fed must be told apart by identity.
    """

    def __init__(self, fed: list[Any]) -> None:
        self._taken = {id(array) for array in fed}

    def private(self, array: Array) -> Array:
        """`array`, or a copy that nothing else refers to; writable, C-contiguous."""
        flags = array.flags
        if flags.owndata and flags.writeable and flags.c_contiguous and id(array) not in self._taken:
            self._taken.add(id(array))
            return array
        return np.array(array, order="C", copy=True, subok=False)

    def fetched(self, value: Any) -> Any:
        """What `session.run` returns for `value`: None, a NumPy scalar, or the caller's own array."""
        if value.__class__ is tuple:
            return None if not value else tuple(self.fetched(part) for part in value)
        if not value.ndim:
            return value[()]
        return self.private(value)

    def stored(self, array: Array) -> Array:
        """`array` as a session keeps it: private, aligned and read-only."""
        kept = aligned(self.private(array))
        kept.flags.writeable = False
        return kept
