"""Classes made by graphc.data are as those of `dataclasses`."""

import copy
import dataclasses
import inspect
import pickle
from dataclasses import dataclass as reference
from dataclasses import field

import pytest

from graphc.data import dataclass


def classes(dataclass):
    @dataclass(frozen=True, slots=True)
    class Empty:
        pass

    @dataclass(frozen=True, slots=True)
    class One:
        x: float

    @dataclass(frozen=True, slots=True, weakref_slot=True)
    class Many:
        """Documented."""

        x: int
        y: str = "y"
        z: dict = field(default_factory=dict, compare=False)
        _hidden: tuple = field(default=(), init=False, compare=False, repr=False)

        def __post_init__(self):
            object.__setattr__(self, "_hidden", (self.x, self.y))

    @dataclass(frozen=True, slots=True, eq=False, repr=False)
    class Same:
        x: int

        def __repr__(self):
            return "same"

    @dataclass(frozen=True, slots=True)
    class Child(One):
        y: int = 2

        def __hash__(self):
            return 7

    @dataclass(frozen=True, slots=True)
    class Alike:
        x: int

        def __eq__(self, other):
            return True

    for cls in (Alike, Empty, One, Many, Same, Child):
        cls.__qualname__ = cls.__name__
    numbers = [Alike(1), Many(1), Many(x=1, y="b"), Same(3), Child(1.0), Child(2.0, 3)]
    return [Empty(), One(float("nan")), One(1.0), *numbers]


def told(x):
    cls = type(x)
    return {
        "repr": repr(x).replace("classes.<locals>.", ""),
        "fields": [(f.name, f.init, f.compare, f.repr) for f in dataclasses.fields(x)],
        "hash": hash(x) if cls.__name__ != "Same" else None,
        "slots": cls.__slots__,
        "match": cls.__match_args__,
        "parameters": [(p.name, p.kind) for p in inspect.signature(cls).parameters.values()],
        "doc": cls.__doc__.partition("(")[0],
        "dict": dataclasses.asdict(x),
    }


def test_they_are_told_alike():
    ours, theirs = classes(dataclass), classes(reference)
    assert [told(x) for x in ours[2:]] == [told(x) for x in theirs[2:]]
    assert [[a == b for b in ours] for a in ours] == [[a == b for b in theirs] for a in theirs]
    assert ours[1] == ours[1]  # as tuples are, NaN or not


def test_nothing_is_assigned_or_deleted():
    for x in classes(dataclass):
        for name in ("x", "other"):
            with pytest.raises(dataclasses.FrozenInstanceError, match=f"cannot assign to field '{name}'"):
                setattr(x, name, 1)
            with pytest.raises(dataclasses.FrozenInstanceError, match=f"cannot delete field '{name}'"):
                delattr(x, name)
        assert not hasattr(x, "__dict__")


def test_they_are_replaced_and_copied():
    x = classes(dataclass)[4]
    y = dataclasses.replace(x, y="c")
    assert (y.x, y.y, y._hidden) == (1, "c", (1, "c"))
    assert copy.copy(x) == x
    assert copy.deepcopy(x) == x


@dataclass(frozen=True, slots=True)
class Point:
    x: int
    y: int = 0


def test_they_are_pickled():
    assert pickle.loads(pickle.dumps(Point(1, 2))) == Point(1, 2)


def test_wrong_arguments_are_errors():
    for make in (lambda: Point(), lambda: Point(1, 2, 3), lambda: Point(1, z=2)):
        with pytest.raises(TypeError, match="__init__"):
            make()


def test_others_are_made_by_dataclasses():
    @dataclass
    class Open:
        x: int = 1

    made = Open()
    made.x = 2
    assert made == Open(2)
    with pytest.raises(TypeError, match="keyword only"):

        @dataclass(frozen=True, slots=True)
        class Keyword:
            x: int = field(kw_only=True)
