"""Tensor: a frozen node of the graph and the one value it makes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import FrozenInstanceError
from typing import TYPE_CHECKING, Any, NoReturn

from graphc.drawing.display import Displayed
from graphc.errors import GraphError
from graphc.freezing import frozen
from graphc.location import Location, made_at
from graphc.operators import Operators
from graphc.sizes import Size, is_unknown, sole_symbol
from graphc.types import DType, TensorType, TupleType, Type

if TYPE_CHECKING:
    from graphc.graph import Graph
    from graphc.op import Op


@frozen(eq=False, weakref_slot=True)
class Tensor(Operators, Displayed):
    """One node, which is also the one value it makes.

    Invariants: nothing here ever changes; equality is identity; `type` is what the op's rule says
    of `inputs` and `attrs`; attributes are data or Functions. `loc`, `name` and `owner` say where it
    came from and are no part of what it computes.
    """

    op: Op
    inputs: tuple[Tensor, ...]
    attrs: Mapping[str, Any]
    type: Type
    loc: Location | None
    name: str | None
    owner: Graph | None

    @property
    def result(self) -> TensorType:
        """The type of the value. Raises: GraphError for an op with several results or none."""
        if isinstance(self.type, TupleType):
            raise GraphError(f"{describe(self)} has {self.type} for results; it is no single value")
        return self.type

    @property
    def dtype(self) -> DType:
        """The dtype of the value."""
        return self.result.dtype

    @property
    def shape(self) -> tuple[int | str | None, ...] | None:
        """The sizes: an int, the text of a named size, or None; None for an unknown rank."""
        shape = self.result.shape
        return None if shape is None else tuple(public_size(size) for size in shape)

    @property
    def ndim(self) -> int | None:
        """The number of axes, None where it is unknown."""
        return self.result.rank

    @property
    def graph(self) -> Graph | None:
        """The graph that it was made in."""
        return self.owner

    def _told(self) -> str:
        return f"{describe(self)} (made at {self.loc.short})" if self.loc else describe(self)

    def __repr__(self) -> str:
        name = f"{self.name!r} " if self.name else ""
        return f"<graphc {self.op.name} {name}: {self.type}{made_at(self.loc)}>"

    def __len__(self) -> int:
        shape = self.result.shape
        if not shape:
            why = "has no axes" if shape == () else "has a rank that only the run knows"
            raise TypeError(f"{self._told()} has no len(): it {why}")
        if not isinstance(shape[0], int):
            raise TypeError(
                f"{self._told()} has no len() yet: only the run knows it; gc.shape(x)[0] is its size there"
            )
        return shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        try:
            length = len(self)
        except TypeError as error:
            raise TypeError(f"cannot iterate: {error}; gc.scan or gc.map_fn walk an axis") from None
        return (self[i] for i in range(length))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise FrozenInstanceError(f"{describe(self)} never changes: its {name!r} cannot be set")

    def __reduce__(self) -> NoReturn:
        raise TypeError("a tensor cannot be pickled: gc.save_graph writes a graph to a file")

    def __copy__(self) -> Tensor:
        return self

    def __deepcopy__(self, memo: object) -> Tensor:
        return self


def public_size(size: Size) -> int | str | None:
    """How a user sees a size: a number, the text of named sizes, None for what is unknown."""
    if isinstance(size, int):
        return size
    symbol = sole_symbol(size)
    if symbol is not None:
        return symbol.name
    return None if is_unknown(size) else str(size)


def describe(tensor: Tensor) -> str:
    """What a user would call it: ``placeholder 'x'``, ``the result of matmul``."""
    name = tensor.name or tensor.attrs.get("name")
    if tensor.owner is not None and tensor.owner.parent is not None and tensor.op.name == "placeholder":
        return f"argument {str(name).removeprefix('arg')} of a body"  # see `graphc.tracing`
    if tensor.op.family == "source" and isinstance(name, str):
        return f"{tensor.op.name} {name!r}"
    return f"the result of {tensor.op.name}" + (f" {name!r}" if isinstance(name, str) else "")
