"""Counting: what native code counts up, and what it looks up, so that the shortest runs touch no lock."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any


class Counter:
    """A number that native code counts up, until it is stopped.

    Attributes:
        address: where two words are: the number, and whether it is stopped.
    """

    __slots__ = ("_words", "address")

    def __init__(self) -> None:
        self._words = (ctypes.c_int64 * 2)()
        self.address = ctypes.addressof(self._words)

    def add(self) -> None:
        """Counts one more."""
        self._words[0] += 1

    def stop(self) -> None:
        """What counts with it does nothing from now on."""
        self._words[1] = 1

    @property
    def is_stopped(self) -> bool:
        """Whether it is."""
        return self._words[1] != 0

    @property
    def value(self) -> int:
        """What was counted."""
        return self._words[0]

    @value.setter
    def value(self, value: int) -> None:
        self._words[0] = value


class Values:
    """Arrays by name that native code looks up.

    Attributes:
        of: a mapping that does not change, and is replaced by another.
        address: where the address of that mapping is.
    """

    __slots__ = ("_holder", "address")

    def __init__(self) -> None:
        self._holder: Any = (ctypes.py_object * 1)()
        self.of = {}
        self.address = ctypes.addressof(self._holder)

    @property
    def of(self) -> Mapping[str, Any]:
        """The mapping."""
        found: Mapping[str, Any] = self._holder[0]
        return found

    @of.setter
    def of(self, mapping: Mapping[str, Any]) -> None:
        self._holder[0] = mapping
