"""Suggestions: what a user may have meant by a name that there is not, and how a function is called."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any


def suggest(name: object, names: Iterable[str]) -> str:
    """``; did you mean 'x'?``, where one of `names` is near; the names of others may be in other letters."""
    from difflib import get_close_matches  # only needed on the way to an error

    if not isinstance(name, str):
        return ""
    alike = {known.casefold(): known for known in names}
    asked = name.casefold()
    bare = asked.partition(":")[0]  # TensorFlow's "x:0" is the first result of "x"
    close = [bare] if bare in alike else get_close_matches(asked, alike, 1)
    return f"; did you mean {alike[close[0]]!r}?" if close else ""


def call_of(function: Callable[..., Any]) -> str:
    """How `function` is called: ``sum(x, axis=None, keepdims=False)``."""
    parts = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name != "self":
            plain = parameter.replace(annotation=inspect.Parameter.empty)
            parts.append(plain)
    name = function.__qualname__.removesuffix(".__init__").rpartition(".")[2]
    return f"{name}{inspect.Signature(parts)}"
