"""Python's syntax for tensors and variables: ``x + y``, ``x[1:, None]``; and what Python asks in vain."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import graphc  # only its name: the ops build on tensors, and are all there when an operator is used
from graphc.absence import Absent, Hiding, present

if TYPE_CHECKING:
    import graphc.ops
    from graphc.tensor import Tensor


class Operators(metaclass=Hiding):
    """What `Tensor` and `Variable` share: each operator makes the node of the op it stands for.

    ``==`` stays identity, so that tensors can be keys of a dict; `gc.equal` compares values. What asks for
    a value now (``if x``, ``float(x)``, ``np.exp(x)``) is a TypeError that says what to do instead.
    """

    __slots__ = ()

    # NumPy leaves `array + tensor` to the tensor, and asks it for an array where it would compute itself.
    __array_priority__ = 1000.0

    if TYPE_CHECKING:
        _told: Callable[[], str]  # what a message calls it: ``placeholder 'x' (made at train.py:3)``

    def __add__(self, other: Any) -> Tensor:
        return graphc.ops.add(self, other)

    def __radd__(self, other: Any) -> Tensor:
        return graphc.ops.add(other, self)

    def __sub__(self, other: Any) -> Tensor:
        return graphc.ops.sub(self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return graphc.ops.sub(other, self)

    def __mul__(self, other: Any) -> Tensor:
        return graphc.ops.mul(self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return graphc.ops.mul(other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return graphc.ops.div(self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return graphc.ops.div(other, self)

    def __floordiv__(self, other: Any) -> Tensor:
        return graphc.ops.floor_divide(self, other)

    def __rfloordiv__(self, other: Any) -> Tensor:
        return graphc.ops.floor_divide(other, self)

    def __mod__(self, other: Any) -> Tensor:
        return graphc.ops.remainder(self, other)

    def __rmod__(self, other: Any) -> Tensor:
        return graphc.ops.remainder(other, self)

    def __pow__(self, other: Any) -> Tensor:
        return graphc.ops.power(self, other)

    def __rpow__(self, other: Any) -> Tensor:
        return graphc.ops.power(other, self)

    def __matmul__(self, other: Any) -> Tensor:
        return graphc.ops.matmul(self, other)

    def __rmatmul__(self, other: Any) -> Tensor:
        return graphc.ops.matmul(other, self)

    def __and__(self, other: Any) -> Tensor:
        return graphc.ops.bitwise_and(self, other)

    def __rand__(self, other: Any) -> Tensor:
        return graphc.ops.bitwise_and(other, self)

    def __or__(self, other: Any) -> Tensor:
        return graphc.ops.bitwise_or(self, other)

    def __ror__(self, other: Any) -> Tensor:
        return graphc.ops.bitwise_or(other, self)

    def __xor__(self, other: Any) -> Tensor:
        return graphc.ops.bitwise_xor(self, other)

    def __rxor__(self, other: Any) -> Tensor:
        return graphc.ops.bitwise_xor(other, self)

    def __lshift__(self, other: Any) -> Tensor:
        return graphc.ops.left_shift(self, other)

    def __rlshift__(self, other: Any) -> Tensor:
        return graphc.ops.left_shift(other, self)

    def __rshift__(self, other: Any) -> Tensor:
        return graphc.ops.right_shift(self, other)

    def __rrshift__(self, other: Any) -> Tensor:
        return graphc.ops.right_shift(other, self)

    def __neg__(self) -> Tensor:
        return graphc.ops.neg(self)

    def __pos__(self) -> Tensor:
        return graphc.ops.identity(self)

    def __abs__(self) -> Tensor:
        return graphc.ops.abs(self)

    def __invert__(self) -> Tensor:
        return graphc.ops.bitwise_not(self)

    def __lt__(self, other: Any) -> Tensor:
        return graphc.ops.less(self, other)

    def __le__(self, other: Any) -> Tensor:
        return graphc.ops.less_equal(self, other)

    def __gt__(self, other: Any) -> Tensor:
        return graphc.ops.greater(self, other)

    def __ge__(self, other: Any) -> Tensor:
        return graphc.ops.greater_equal(self, other)

    def __getitem__(self, key: Any) -> Tensor:
        return graphc.ops.index(self, key)

    @property
    def T(self) -> Tensor:  # noqa: N802  NumPy's name
        """All axes reversed."""
        return graphc.ops.transpose(self)

    # What only a run knows, or nobody does.

    def __bool__(self) -> bool:
        raise TypeError(
            f"the truth of {self._told()} is known only in session.run: use gc.cond or gc.where instead of "
            "`if`, gc.logical_and instead of `and`, and `is None` to ask for absence"
        )

    def __contains__(self, item: object) -> NoReturn:
        raise TypeError(
            f"`in` asks {self._told()} for a value now, and it has one only in session.run: "
            "gc.any(gc.equal(x, y)) asks there"
        )

    def __array__(self, *_: object, **__: object) -> NoReturn:
        raise TypeError(
            f"{self._told()} has no value yet: session.run gives its array; inside a graph use graphc's "
            "function instead of NumPy's, as gc.exp for np.exp"
        )

    def _refuse_number(self) -> NoReturn:
        raise TypeError(f"{self._told()} has no value yet: session.run gives it")

    __float__ = __int__ = __index__ = __complex__ = _refuse_number

    def __format__(self, spec: str) -> str:
        return self._refuse_number() if spec else str(self)

    def __setitem__(self, key: Any, value: Any) -> NoReturn:
        raise TypeError(
            "elements are not assigned: gc.scatter_update(x, indices, updates) gives another tensor, the "
            "scatter_update of a variable assigns when it runs"
        )

    def __delitem__(self, key: Any) -> NoReturn:
        raise TypeError("elements are not deleted: x[...] and gc.boolean_mask give those that are kept")

    def __dir__(self) -> list[str]:
        return present(type(self), super().__dir__())


def lack(names: Iterable[str], tell: Callable[[Any, str], str]) -> None:
    """Has tensors and variables say by ``tell(held, name)`` that they have no attributes `names`."""
    for name in names:
        if name not in vars(Operators):
            setattr(Operators, name, Absent(name, tell))


def lack_functions(found: Mapping[str, object]) -> None:
    """Has them say of each op in `found` that it is a function."""
    lack((x for x, value in found.items() if callable(value) and not x.startswith("_")), _tell_function)


def _tell_function(held: object, name: str) -> str:
    return f"a {_kind(held).__name__.lower()} has no attribute {name!r}: gc.{name} is a function"


def _tell_value(held: object, name: str) -> str:
    return f"{_told(held)} has no {name!r}, nor a value yet: session.run gives it"


def _tell_assignment(held: object, name: str) -> str:
    return (
        f"only variables have {name!r}, and this is {_told(held)}; "
        "scatter_update(indices, updates) of a variable assigns rows"
    )


def _kind(held: object) -> type:
    return held if isinstance(held, type) else type(held)


def _told(held: Any) -> str:
    return f"the class {held.__name__}" if isinstance(held, type) else str(held._told())


lack(("eval", "numpy", "item", "tolist", "data"), _tell_value)
lack(("assign", "assign_add", "assign_sub", "initializer"), _tell_assignment)
