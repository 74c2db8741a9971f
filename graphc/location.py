"""Which line of the user's program made a node."""

from __future__ import annotations

import contextlib
import linecache
import os
import sys
from contextvars import ContextVar
from dataclasses import replace
from functools import lru_cache
from types import FrameType

from graphc.freezing import frozen

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_ROOMS = tuple(os.path.join(_ROOT, room) + os.sep for room in ("graphc", "passes", "runtime"))
_OURS = (*_ROOMS, contextlib.__file__)


@frozen
class Location:
    """A line of a file; `backward` marks nodes that differentiate what the line computes.

    `scope` is the name scope that was open there: ``"layer1/cell"``, empty outside of all.
    """

    filename: str
    line: int
    backward: bool = False
    scope: str = ""

    @property
    def short(self) -> str:
        """The place in a few characters: ``train.py:18``."""
        return f"{os.path.basename(self.filename)}:{self.line}"

    @property
    def source(self) -> str:
        """The text of the line, empty where the file cannot be read."""
        return linecache.getline(self.filename, self.line).strip()

    def __str__(self) -> str:
        return f"{self.short}: {self.source}" if self.source else self.short


def at_line(location: Location | None, how: str = "at") -> str:
    """The line of a message that says where, ``at train.py:12: y = x @ w``; empty where that is unknown."""
    return f"\n  {how} {location}" if location else ""


def made_at(location: Location | None) -> str:
    """``, made at train.py:12``, behind what a message names; empty where that is unknown."""
    return f", made at {location.short}" if location else ""


_on_behalf_of: ContextVar[Location | None] = ContextVar("on_behalf_of", default=None)
_places: dict[tuple[str, int], Location] = {}  # lines that were asked for, which nodes share
_MOST_PLACES = 4096


class _Files(dict[str, bool]):
    def __missing__(self, file: str) -> bool:
        return self.setdefault(file, file.startswith(_OURS))


_is_ours = _Files()  # looked at once for each


def is_ours(file: str) -> bool:
    """Whether code of `file` is graphc's, so that no user wrote it."""
    return _is_ours[file]


def here() -> Location | None:
    """The line of the nearest caller outside graphc, or the one that `on_behalf_of` set."""
    borrowed = _on_behalf_of.get()
    if borrowed is not None:
        return borrowed
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if not _is_ours[frame.f_code.co_filename]:
            place = frame.f_code.co_filename, frame.f_lineno
            return _places.get(place) or _placed(place)
        frame = frame.f_back
    return None


def _placed(place: tuple[str, int]) -> Location:
    if len(_places) >= _MOST_PLACES:
        _places.clear()
    return _places.setdefault(place, Location(*place))


class _Borrowed:
    """Sets who is at work, and back. A class, since passes enter it for each node that they look at."""

    __slots__ = ("_location", "_token")

    def __init__(self, location: Location | None) -> None:
        self._location = location

    def __enter__(self) -> None:
        self._token = _on_behalf_of.set(self._location)

    def __exit__(self, *_: object) -> None:
        _on_behalf_of.reset(self._token)


def on_behalf_of(location: Location | None) -> contextlib.AbstractContextManager[None]:
    """Nodes made inside belong to `location`: how a pass hands the user's line on."""
    return _Borrowed(location)


def backward_of(location: Location | None) -> Location | None:
    """The same line, marked as the differentiation of it."""
    if location is None or location.backward:
        return location
    return _reversed(location)


@lru_cache(_MOST_PLACES)
def _reversed(location: Location) -> Location:
    return replace(location, backward=True)
