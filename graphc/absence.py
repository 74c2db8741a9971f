"""Absence: attributes that there are not, and what an error says of each.

They are descriptors that raise. With ``__getattr__`` in its class none of the attributes of a node is read by
a specialised instruction (https://peps.python.org/pep-0659), so each takes four times as long, and a compiler
reads hundreds of thousands of them: see docs/decisions/0028-no-getattr-in-nodes.md.
"""

from __future__ import annotations

from abc import ABCMeta
from collections.abc import Callable, Iterable
from typing import Any, NoReturn


class Absent:
    """No attribute: ``tell(held, name)`` says what there is instead, of an instance or of its class."""

    __slots__ = ("_name", "_tell")

    def __init__(self, name: str, tell: Callable[[Any, str], str]) -> None:
        self._name, self._tell = name, tell

    def __get__(self, instance: object, owner: type) -> NoReturn:
        raise AttributeError(self._tell(owner if instance is None else instance, self._name))


class Hiding(ABCMeta):
    """The type of classes that do not list what they lack. They go with abstract classes."""

    def __dir__(cls) -> list[str]:
        return present(cls, super().__dir__())


def present(kind: type, names: Iterable[str]) -> list[str]:
    """Those of `names` that are not `Absent` in `kind`."""
    held: dict[str, object] = {}
    for base in reversed(kind.__mro__):
        held.update(vars(base))
    return [name for name in names if not isinstance(held.get(name), Absent)]
