"""Counting: a number that native code counts up, so that the shortest runs touch no lock."""

from __future__ import annotations

import ctypes


class Counter:
    """A number that native code counts up.

    Attributes:
        address: where it is.
    """

    __slots__ = ("_word", "address")

    def __init__(self) -> None:
        self._word = ctypes.c_int64(0)
        self.address = ctypes.addressof(self._word)

    def add(self) -> None:
        """Counts one more."""
        self._word.value += 1

    @property
    def value(self) -> int:
        """What was counted."""
        return self._word.value

    @value.setter
    def value(self, value: int) -> None:
        self._word.value = value
