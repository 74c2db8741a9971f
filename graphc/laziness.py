"""Laziness: what an object computes when it is first asked for, and keeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar, overload

Value = TypeVar("Value")


class Lazy(Generic[Value]):
    """A decorator: the method is computed at the first look, and its value kept in the object's `__dict__`.

    As `functools.cached_property`, which up to Python 3.11 computes while it holds a lock: a child that is
    forked meanwhile has the lock, and no thread that will ever let go of it. Here several threads may
    compute at once, and what the first of them found is the value.
    """

    def __init__(self, compute: Callable[[Any], Value]) -> None:
        self._compute, self.__doc__ = compute, compute.__doc__
        self._name = compute.__name__

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type) -> Value: ...
    def __get__(self, instance: object | None, owner: type) -> Self | Value:
        if instance is None:
            return self
        value: Value = instance.__dict__.setdefault(self._name, self._compute(instance))
        return value
