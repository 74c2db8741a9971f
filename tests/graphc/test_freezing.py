"""Frozen classes do what ``@dataclass(frozen=True, slots=True)`` makes."""

import copy
import gc as garbage
import inspect
import pickle
import weakref
from dataclasses import FrozenInstanceError, dataclass, field, fields, replace
from typing import ClassVar

import pytest

from graphc.freezing import frozen


class Pair:
    """A pair."""

    left: int
    right: str = "r"
    count: ClassVar[int] = 0

    @property
    def both(self) -> str:
        return f"{self.left}{self.right}"


class Strict:
    """It looks at what it is given."""

    size: int

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError(self.size)


class Own:
    """It says itself how it is equal, hashed and shown."""

    name: str
    note: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"<{self.name}>"


class Half:
    """It says how it is equal, and is hashed by its fields."""

    name: str

    def __eq__(self, other: object) -> bool:
        return other is self


class Empty:
    """Nothing."""


CLASSES = (Pair, Strict, Own, Half, Empty)


def make(cls: type, how: object) -> type:
    body = {name: of for name, of in vars(cls).items() if name not in ("__dict__", "__weakref__")}
    return how(type(cls.__name__, (), body))


@pytest.fixture(params=(frozen, dataclass(frozen=True, slots=True)), ids=("frozen", "dataclass"))
def made(request):
    return {cls: make(cls, request.param) for cls in CLASSES}


def test_fields_are_given_by_place_name_or_default(made):
    pair = made[Pair]
    assert (pair(1).left, pair(1).right, pair(right="x", left=2).both) == (1, "r", "2x")
    assert [each.name for each in fields(pair)] == ["left", "right"]
    assert pair.count == 0
    assert not hasattr(pair(1), "__dict__")
    for wrong in ((), (1, "a", 2)):
        with pytest.raises(TypeError, match=r"__init__\(\)"):
            pair(*wrong)
    with pytest.raises(TypeError, match="unexpected keyword argument 'up'"):
        pair(1, up=2)


def test_equality_and_hash_are_those_of_the_fields(made):
    pair = made[Pair]
    assert pair(1) == pair(1, "r")
    assert pair(1) != pair(1, "s")
    assert pair(1) != (1, "r")
    assert hash(pair(1)) == hash(pair(1)) == hash((1, "r"))
    assert made[Strict](1) != pair(1)
    assert made[Empty]() == made[Empty]()
    nan = float("nan")
    assert pair(nan) == pair(nan)  # the same object


@pytest.mark.parametrize(
    "how",
    [frozen(eq=False, weakref_slot=True), dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)],
    ids=("frozen", "dataclass"),
)
def test_without_eq_it_is_equal_to_itself_alone(how):
    one, other = (make(Pair, how)(1, "x") for _ in range(2))
    assert one == one
    assert one != other
    assert hash(one) == object.__hash__(one)
    seen = weakref.ref(one)
    assert seen() is one
    del one
    garbage.collect()  # where Python counts no references
    assert seen() is None
    with pytest.raises(FrozenInstanceError):
        other.left = 2


def test_what_the_class_says_itself_stays(made):
    own = made[Own]
    assert own("a", "x") == own("a", "y")
    assert hash(own("a", "x")) == hash("a")
    assert repr(own("a", "x")) == "<a>"
    half = made[Half]
    assert half("a") != half("a")
    assert hash(half("a")) == hash(("a",))


def test_nothing_is_set_or_deleted(made):
    pair = made[Pair](1)
    for change in (
        lambda: setattr(pair, "left", 2),
        lambda: setattr(pair, "new", 2),
        lambda: delattr(pair, "left"),
    ):
        with pytest.raises((FrozenInstanceError, TypeError)):
            change()
    assert pair.left == 1
    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'left'"):
        pair.left = 2
    with pytest.raises(FrozenInstanceError, match="cannot delete field 'left'"):
        del pair.left
    assert pair.left == 1


def test_after_init_it_may_refuse(made):
    assert made[Strict](3).size == 3
    with pytest.raises(ValueError, match="-1"):
        made[Strict](-1)
    with pytest.raises(ValueError, match="-2"):
        replace(made[Strict](3), size=-2)


def test_shown_replaced_copied_and_matched(made):
    pair = made[Pair](1, "x")
    assert repr(pair) == "Pair(left=1, right='x')"
    assert repr(made[Empty]()) == "Empty()"
    assert replace(pair, left=5) == made[Pair](5, "x")
    assert copy.copy(pair) == copy.deepcopy(pair) == pair
    match pair:
        case made_pair if made_pair.__match_args__ == ("left", "right"):
            pass
        case _:
            pytest.fail("fields are not matched by place")


def test_its_signature_is_the_same():
    mine, theirs = make(Pair, frozen), make(Pair, dataclass(frozen=True, slots=True))
    assert str(inspect.signature(mine)) == str(inspect.signature(theirs))
    assert mine.__init__.__qualname__ == theirs.__init__.__qualname__
    assert mine.__doc__ == "A pair."


@frozen
class Kept:
    """One that a pickle finds by its name."""

    left: int
    right: tuple[str, ...] = ()


def test_it_is_pickled():
    kept = Kept(3, ("a", "b"))
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(kept, protocol)) == kept


def test_what_it_cannot_do_it_refuses():
    class Held:
        """A list each."""

        names: list[str] = field(default_factory=list)

    with pytest.raises(TypeError, match=r"Held\.names is made by a function: that is for `dataclass`"):
        frozen(Held)
