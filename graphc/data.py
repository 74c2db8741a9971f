"""Data: frozen dataclasses with slots, made in a third of the time that `dataclasses` takes.

`dataclasses` writes six methods of each class as text and compiles them: with a hundred classes, a third of
what a first session waits for. Here only ``__init__`` is written; equality, hash and representation, and what
refuses assignments, are closures over the names of the fields. All else is that of `dataclasses`, which also
makes whatever is not frozen with slots.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import MISSING, FrozenInstanceError
from operator import attrgetter
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(cls: type | None = None, /, **options: Any) -> Any:
        """As `dataclasses.dataclass`."""

        def make(cls: type) -> type:
            known = {"frozen", "slots", "eq", "repr", "weakref_slot"}
            if not (options.get("frozen") and options.get("slots") and options.keys() <= known):
                return dataclasses.dataclass(**options)(cls)
            return _frozen(cls, **options)

        return make if cls is None else make(cls)


_set = object.__setattr__


def _frozen(
    cls: type, frozen: bool, slots: bool, eq: bool = True, repr: bool = True, weakref_slot: bool = False
) -> type:
    own = frozenset(vars(cls))
    made: Any = dataclasses.dataclass(  # fields, slots and `__match_args__`
        init=False, repr=False, eq=False, frozen=False, slots=True, weakref_slot=weakref_slot
    )(cls)
    fields = dataclasses.fields(made)
    if any(field.kw_only for field in fields):
        raise TypeError(f"{cls.__name__} has fields by keyword only: take `dataclasses` for it")
    methods: dict[str, Any] = {}
    if "__init__" not in own:
        made.__init__ = _init(made, fields)
    if repr:
        methods["__repr__"] = _repr(tuple(field.name for field in fields if field.repr))
    if eq:
        names = tuple(field.name for field in fields if field.compare)
        methods["__eq__"] = _eq(names)
        if "__hash__" not in own or ("__eq__" in own and vars(cls)["__hash__"] is None):
            made.__hash__ = _hash(tuple(f.name for f in fields if (f.compare if f.hash is None else f.hash)))
    names = tuple(field.name for field in fields)
    methods |= {"__setattr__": _refuse("assign to"), "__delattr__": _refuse("delete")}
    methods |= {"__getstate__": _getstate(names), "__setstate__": _setstate(names)}
    for name, method in methods.items():
        if name not in own:
            method.__qualname__ = f"{made.__qualname__}.{name}"
            setattr(made, name, method)
    result: type = made
    return result


def _init(cls: type, fields: tuple[dataclasses.Field[Any], ...]) -> Callable[..., None]:
    given: dict[str, Any] = {"_set": _set, "_MISSING": MISSING}
    parameters, lines = ["self"], []
    for i, field in enumerate(fields):
        name, value = field.name, field.name
        if field.default is not MISSING:
            given[f"_{i}"] = field.default
            if field.init:
                parameters.append(f"{name}=_{i}")
            else:
                value = f"_{i}"
        elif field.default_factory is not MISSING:
            given[f"_{i}"] = field.default_factory
            value = f"_{i}()"
            if field.init:
                parameters.append(f"{name}=_MISSING")
                value = f"{value} if {name} is _MISSING else {name}"
        elif field.init:
            parameters.append(name)
        else:
            continue
        lines.append(f" _set(self, {name!r}, {value})")
    if hasattr(cls, "__post_init__"):
        lines.append(" self.__post_init__()")
    exec(f"def __init__({', '.join(parameters)}):\n" + ("\n".join(lines) or " pass"), given)
    init: Callable[..., None] = given["__init__"]
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    init.__module__ = cls.__module__
    init.__annotations__ = {field.name: field.type for field in fields if field.init} | {"return": None}
    return init


def _repr(names: tuple[str, ...]) -> Callable[[Any], str]:
    def show(self: Any) -> str:
        shown = [f"{name}={getattr(self, name)!r}" for name in names]
        return f"{type(self).__qualname__}({', '.join(shown)})"

    return recursive_repr()(show)


def _values_of(names: tuple[str, ...]) -> Callable[[Any], Any]:
    """What stands for an object in comparisons: its values, in a tuple where there are several."""
    return attrgetter(*names) if names else lambda self: ()


def _eq(names: tuple[str, ...]) -> Callable[[Any, Any], Any]:
    values = _values_of(names)

    def equal_one(self: Any, other: Any) -> Any:  # in tuples an object equals itself, even NaN
        return (values(self),) == (values(other),) if other.__class__ is self.__class__ else NotImplemented

    def equal_all(self: Any, other: Any) -> Any:
        return values(self) == values(other) if other.__class__ is self.__class__ else NotImplemented

    return equal_one if len(names) == 1 else equal_all


def _hash(names: tuple[str, ...]) -> Callable[[Any], int]:
    values = _values_of(names)
    if len(names) == 1:
        return lambda self: hash((values(self),))
    return lambda self: hash(values(self))


def _refuse(what: str) -> Callable[..., None]:
    def refuse(self: Any, name: str, *value: Any) -> None:
        raise FrozenInstanceError(f"cannot {what} field {name!r}")

    return refuse


def _getstate(names: tuple[str, ...]) -> Callable[[Any], list[Any]]:
    return lambda self: [getattr(self, name) for name in names]


def _setstate(names: tuple[str, ...]) -> Callable[[Any, list[Any]], None]:
    def restore(self: Any, state: list[Any]) -> None:
        for name, value in zip(names, state, strict=True):
            _set(self, name, value)

    return restore
