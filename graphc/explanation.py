"""Explanation: errors in three parts: what is wrong; where; what the operands are and where each was made."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from types import TracebackType
from typing import Any, NamedTuple, ParamSpec, TypeVar

import numpy as np

from graphc.errors import ArgumentError, GraphError
from graphc.graph import graph_frame, home_of
from graphc.location import Location, at_line, here, is_ours, made_at
from graphc.suggestion import call_of
from graphc.tensor import Tensor, describe

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

_LETTERS = ("x", "y")  # what ops call operands that have no part of their own


class Told(NamedTuple):
    """``x is placeholder 'x': f32[batch,3], made at train.py:12``: the line of a message on one operand."""

    what: str
    type: str
    made: str

    def __str__(self) -> str:
        return f"{self.what}: {self.type}{self.made}"


def explain(error: Exception, name: str, location: Location | None, operands: Iterable[str | Told]) -> None:
    """Gives `error`, raised in a call of `name`, its three parts; one that has them stays as it is.

    `operands` are lines, such as `tell_operand` gives. What is no GraphError gets all that as a note.
    """
    if getattr(error, "explained", False):
        return
    error.explained = True  # type: ignore[attr-defined]  # those of others have no such attribute
    lines = list(operands)
    head = str(error).partition("\n")[0]
    told = [line for line in lines if isinstance(line, Told)]
    if all(line.type in head for line in told):  # it names all types, in order
        lines = [line.what + line.made if isinstance(line, Told) else line for line in lines]
    details = at_line(location) + "".join(f"\n  {line}" for line in lines)
    if isinstance(error, GraphError):
        name = "" if str(error).startswith(f"{name}: ") else f"{name}: "
        error.args = (f"{name}{error}{details}", *error.args[1:])
    else:
        error.add_note(f"while running {name}{details}")


def tell_operands(operands: Iterable[tuple[str, Any]]) -> Iterator[Told]:
    """A line on each of `operands`, labels and what they are, that is a tensor or a variable."""
    for label, value in operands:
        if isinstance(value, Tensor):
            yield tell_operand(label, value, value.type)
        elif hasattr(value, "describe"):  # a variable, whose methods are explained too
            label = value.name if label in _LETTERS else label
            yield Told(f"{label} is variable {value.name!r}", str(value.type), made_at(value.loc))


def tell_operand(label: str, operand: Tensor, type: object) -> Told:
    """The line on `operand`, whose `label` is that of the op, or its own name where that is a mere letter."""
    own = operand.attrs.get("name") if operand.op.family == "source" else None
    known = describe(operand)
    if label in _LETTERS and isinstance(own, str) and known.endswith(repr(own)) and _is_chosen(own, operand):
        label = own
    return Told(f"{label} is {known}", str(type), made_at(operand.loc))


def _is_chosen(name: str, source: Tensor) -> bool:
    """Whether `name` says more than what `source` is, as ``placeholder_1`` does not."""
    return not name.rpartition("/")[2].startswith(source.op.name)


def explains(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Explains the errors that `function` raises: they get its name, the caller's line, and the operands.

    Where its operands belong to another graph than the current one, it works in theirs.

    Those that an op inside has explained get its name in front, ``softmax: max: axis 2 is ...``, since that
    is what the user called. A TypeError says how `function` is called, where the call does not fit.
    """
    made = function.__name__ == "__init__"
    name = function.__qualname__.partition(".")[0] if made else function.__name__
    code = function.__code__
    places = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    kinds = function.__annotations__
    flags = [(i, place) for i, place in enumerate(places) if kinds.get(place) in ("bool", bool)]

    @wraps(function)
    def explained(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        try:
            for i, flag in flags:
                require_flag(flag, args[i] if i < len(args) else kwargs.get(flag, False))
            home = None if made else home_of((*args, *kwargs.values()))
            if home is None:
                return function(*args, **kwargs)
            with graph_frame(home):
                return function(*args, **kwargs)
        except GraphError as error:
            if _passed_the_user(error.__traceback__):  # it tells of a line of its own
                raise
            if error.explained:
                _name_outermost(error, name)
            else:
                explain(error, name, here(), tell_operands(_operands(function, args, kwargs)))
            raise
        except TypeError as error:
            if error.__traceback__ is not None and error.__traceback__.tb_next is None:  # no line of it ran
                error.add_note(f"it is {call_of(function)}")
            raise

    return explained


def require_flag(name: str, given: Any) -> None:
    """Raises ArgumentError where `given` is no bool: ``"no"`` would count as true."""
    if not isinstance(given, bool | np.bool_):
        raise ArgumentError(f"{name} is True or False, not {given!r}")


def _name_outermost(error: GraphError, name: str) -> None:
    """Puts `name` in front of an explained text, in the place of what functions further inside put there."""
    text = str(error).removeprefix(error.outermost)
    error.outermost = "" if text.startswith(f"{name}: ") else f"{name}: "
    error.args = (error.outermost + text, *error.args[1:])


def _passed_the_user(traceback: TracebackType | None) -> bool:
    """Whether what raised was called by a function of the user's, such as a body, whose line it tells."""
    while traceback is not None:
        if not is_ours(traceback.tb_frame.f_code.co_filename):
            return True
        traceback = traceback.tb_next
    return False


def _operands(function: Callable[..., Any], args: Any, kwargs: Any) -> Iterable[tuple[str, Any]]:
    """The arguments by their names, and what stands in those that are lists."""
    for label, value in inspect.signature(function).bind(*args, **kwargs).arguments.items():
        if label == "self":
            if function.__name__ != "__init__":  # else it is not there yet
                yield "it", value
        elif isinstance(value, list | tuple):
            yield from ((f"{label}[{i}]", item) for i, item in enumerate(value))
        else:
            yield label, value
