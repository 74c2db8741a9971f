"""Errors of functions that are made of ops, in the three parts that those of ops have."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from graphc.errors import GraphError
from graphc.location import here
from graphc.tensor import Tensor, describe

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def explains(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Gives the errors that `function` raises its name, the caller's line, and what the operands are.

    Those that an op or another function inside has told already stay as they are.
    """
    made = function.__name__ == "__init__"
    name = function.__qualname__.partition(".")[0] if made else function.__name__

    @wraps(function)
    def explained(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        try:
            return function(*args, **kwargs)
        except GraphError as error:
            if not getattr(error, "explained", False):
                error.explained = True  # type: ignore[attr-defined]  # read here and by Op
                if not str(error).startswith(f"{name}: "):
                    error.args = (f"{name}: {error}", *error.args[1:])
                location = here()
                error.extend(*([f"at {location}"] if location else []), *_operands(function, args, kwargs))
            raise

    return explained


def _operands(function: Callable[..., Any], args: Any, kwargs: Any) -> list[str]:
    """A line for each argument that is a tensor or a variable, or a list that holds some."""
    lines = []
    for label, value in inspect.signature(function).bind(*args, **kwargs).arguments.items():
        if label == "self" and function.__name__ == "__init__":
            continue  # it is not there yet
        listed = value if isinstance(value, list | tuple) else [value]
        for i, item in enumerate(listed):
            place = label if listed is not value else f"{label}[{i}]"
            if isinstance(item, Tensor):
                made = f", made at {item.loc.short}" if item.loc else ""
                lines.append(f"{place} is {describe(item)}: {item.type}{made}")
            elif hasattr(item, "describe"):  # a variable, whose methods are explained too
                lines.append(f"{'it' if place == 'self' else place} is {item.describe()}")
    return lines
