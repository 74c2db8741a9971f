"""Spelling: a record as JSON, however deep its bodies are nested."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

_OPEN: dict[type, str] = {dict: "{", list: "[", tuple: "["}
_CLOSE = {"{": "}", "[": "]"}


def spell_json(value: Any, separators: tuple[str, str] = (", ", ": ")) -> str:
    """What ``json.dumps`` says, which counts nested values among the calls that Python allows.

    Raises: ValueError for a number that is not finite.
    """
    try:
        return json.dumps(value, separators=separators, allow_nan=False)
    except RecursionError:
        return "".join(_parts(value, *separators))


def _parts(value: Any, comma: str, colon: str) -> Iterator[str]:
    pending: list[Any] = [iter([("", value)])]  # what is left of each open value; what stands before an item
    closing = [""]
    while pending:
        item = next(pending[-1], None)
        if item is None:
            pending.pop()
            yield closing.pop()
            continue
        before, inner = item
        yield before
        mark = _OPEN.get(type(inner), "")
        if not mark:
            yield json.dumps(inner, allow_nan=False)
            continue
        yield mark
        closing.append(_CLOSE[mark])
        keys = [f"{json.dumps(key)}{colon}" for key in inner] if mark == "{" else [""] * len(inner)
        values = inner.values() if mark == "{" else inner
        first = ("", *[comma] * (len(keys) - 1))
        pending.append(iter([(a + b, v) for a, b, v in zip(first, keys, values, strict=False)]))
