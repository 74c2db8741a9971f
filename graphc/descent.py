"""Descent: generators that call one another however deep, on a stack that is no part of Python's.

What would be recursive yields where it would call, and is given what the call returns:

    def depth(function):                         descend(depth(function))
        deepest = 0
        for body in bodies_of(function):
            deepest = max(deepest, (yield depth(body)))
        return deepest + 1
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

Result = TypeVar("Result")
Descent = Generator["Descent[Any]", Any, Result]  # what it yields are the calls that it waits for


def descend(call: Descent[Result]) -> Result:
    """What `call` returns. An error goes through all that wait for it, as through calls of Python's."""
    waiting: list[Descent[Any]] = [call]
    value: Any = None
    error: Exception | None = None
    while waiting:
        try:
            inner = waiting[-1].send(value) if error is None else waiting[-1].throw(error)
        except StopIteration as done:
            waiting.pop()
            value, error = done.value, None
        except Exception as raised:
            waiting.pop()
            value, error = None, raised
        else:
            waiting.append(inner)
            value = error = None
    if error is not None:
        raise error
    result: Result = value
    return result
