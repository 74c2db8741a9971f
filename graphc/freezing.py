"""Freezing: classes of fields whose instances never change, as `dataclasses` has them.

A third of an import of graphc was spent by ``@dataclass(frozen=True, slots=True)``, which compiles six
functions for each class, one by one. Here three are one text, and the others are shared by all classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, FrozenInstanceError, dataclass, fields
from functools import partial
from typing import Any, NoReturn, TypeVar, dataclass_transform, overload

_Class = TypeVar("_Class")


@overload
def frozen(cls: type[_Class], /) -> type[_Class]: ...
@overload
def frozen(*, eq: bool = True, weakref_slot: bool = False) -> Callable[[type[_Class]], type[_Class]]: ...
@dataclass_transform(frozen_default=True)
def frozen(cls: type | None = None, /, *, eq: bool = True, weakref_slot: bool = False) -> Any:
    """What ``@dataclass(frozen=True, slots=True)`` makes of `cls`: equal and hashed by its fields.

    Without `eq` it is equal to itself alone; with `weakref_slot` there may be weak references to it. A field
    may have a default; what `dataclasses.field` can do beyond that is left to `dataclass`. What the class
    defines itself stays.
    """
    if cls is None:
        return partial(frozen, eq=eq, weakref_slot=weakref_slot)
    made: type = dataclass(init=False, repr=False, eq=False, slots=True, weakref_slot=weakref_slot)(cls)
    own = vars(made)
    methods = ("__init__", "__eq__", "__hash__") if eq else ("__init__",)
    wanted = [method for method in methods if own.get(method) is None]
    for name, method in _write(made, wanted).items():
        method.__qualname__ = f"{made.__qualname__}.{name}"
        setattr(made, name, method)
    for name, shared in _SHARED.items():
        if name not in own:
            setattr(made, name, shared)
    return made


def _write(cls: type, wanted: list[str]) -> dict[str, Callable[..., Any]]:
    """The methods `wanted` of `cls`, by name."""
    held = fields(cls)
    names = [each.name for each in held]
    scope: dict[str, Any] = {"__name__": cls.__module__}
    parameters, stores = ["self"], []
    for each in held:
        if each.default_factory is not MISSING:
            raise TypeError(f"{cls.__name__}.{each.name} is made by a function: that is for `dataclass`")
        scope[f"_set_{each.name}"] = vars(cls)[each.name].__set__
        stores.append(f"_set_{each.name}(self, {each.name})")
        if each.default is MISSING:
            parameters.append(each.name)
        else:
            scope[f"_default_{each.name}"] = each.default
            parameters.append(f"{each.name}=_default_{each.name}")
    if hasattr(cls, "__post_init__"):
        stores.append("self.__post_init__()")
    mine, others = (f"({''.join(f'{of}.{name}, ' for name in names)})" for of in ("self", "other"))
    texts = {
        "__init__": f"def __init__({', '.join(parameters)}):\n {'; '.join(stores) or 'pass'}\n",
        "__eq__": "def __eq__(self, other):\n"
        f" return {mine} == {others} if other.__class__ is self.__class__ else NotImplemented\n",
        "__hash__": f"def __hash__(self):\n return hash({mine})\n",
    }
    exec("".join(texts[name] for name in wanted), scope)
    if "__init__" in wanted:
        scope["__init__"].__annotations__ = {each.name: each.type for each in held} | {"return": None}
    return {name: scope[name] for name in wanted}


def _shown(self: Any) -> str:
    of = ", ".join(f"{each.name}={getattr(self, each.name)!r}" for each in fields(self))
    return f"{type(self).__qualname__}({of})"


def _refuse_set(self: Any, name: str, _: object) -> NoReturn:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_delete(self: Any, name: str) -> NoReturn:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _state(self: Any) -> list[Any]:
    return [getattr(self, each.name) for each in fields(self)]


def _restore(self: Any, state: list[Any]) -> None:
    for each, held in zip(fields(self), state, strict=True):
        object.__setattr__(self, each.name, held)


_SHARED: dict[str, Callable[..., Any]] = {
    "__repr__": _shown,
    "__setattr__": _refuse_set,
    "__delattr__": _refuse_delete,
    "__getstate__": _state,  # copies and pickles
    "__setstate__": _restore,
}
