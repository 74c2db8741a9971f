"""Variable: state that outlives a run, under a name; reads and assignments of it are nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from graphc.errors import ArgumentError, DTypeError, GraphMismatchError, ShapeError, StateError
from graphc.explanation import explains
from graphc.graph import Graph, current, frame_of, scoped_name
from graphc.location import Location, here, made_at, on_behalf_of
from graphc.operators import Operators
from graphc.tensor import Tensor, public_size
from graphc.types import DType, TensorType


class Variable(Operators):
    """State of a session, kept from run to run. Used like a tensor: every use is a new read.

    Args:
        value: the initial value, a number, array or tensor (such as a draw of an initializer); of a
            Variable, that which it begins with.
        dtype: what to cast the value to; None keeps its own.
        name: unique in the graph; a name used twice becomes ``name_1``.
        trainable: whether optimizers change it when not told which variables to change.

    A read sees the value as it was when the run began, or what an assignment among its control
    dependencies gave it. Assignments take effect together when the run ends well.
    """

    @explains
    def __init__(
        self, value: Any, dtype: Any = None, name: str | None = None, trainable: bool = True
    ) -> None:
        from graphc.conversion import as_tensor  # conversion knows variables

        frame = current()
        if frame.graph.parent is not None:
            raise ArgumentError("a variable cannot be made inside a body: make it before the region")
        self.loc: Location | None = here()
        if isinstance(value, Variable) and value.has_initial_value:
            value = value.initial_value  # which is there before any variable has a value
        self.initial_value: Tensor = as_tensor(value, dtype)
        owner = self.initial_value.owner
        assert owner is not None
        self.graph: Graph = owner
        self.name: str = owner.unique_name(scoped_name(frame, name, "variable"))
        self.type: TensorType = self.initial_value.result
        if self.type.shape is None:
            raise ShapeError(f"variable {self.name!r} needs an initial value of known rank")
        self.trainable = bool(trainable)
        owner.variables[self.name] = self
        with on_behalf_of(self.loc):
            self.initializer: Tensor = self._assign(self.initial_value)

    @classmethod
    def declare(
        cls,
        graph: Graph,
        name: str,
        type: TensorType,
        initializer: Tensor | None = None,
        trainable: bool = True,
        loc: Location | None = None,
    ) -> Variable:
        """The variable that a text or a file tells of; `initializer` is the assignment it begins with.

        Without one it gets its value by assigning or restoring only.
        """
        self = cls.__new__(cls)
        self.loc, self.graph, self.name, self.type, self.trainable = loc, graph, name, type, trainable
        if initializer is not None:
            self.initializer, self.initial_value = initializer, initializer.inputs[0]
        graph.variables[name] = self
        return self

    @property
    def has_initial_value(self) -> bool:
        """Whether the graph says what it begins with; one read from a text may leave that out."""
        return "initializer" in self.__dict__

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name in ("initializer", "initial_value") and "name" in self.__dict__:
                raise StateError(
                    f"{self.describe()} was read without its initial value: restore it from a checkpoint"
                )
            return super().__getattribute__(name)  # which says what there is not

    @property
    def dtype(self) -> DType:
        """The dtype of the value."""
        return self.type.dtype

    @property
    def shape(self) -> tuple[int | str | None, ...]:
        """The sizes: an int, the text of a named size, or None."""
        return tuple(public_size(size) for size in self.type.sizes)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.type.sizes)

    def value(self) -> Tensor:
        """A new read, which sees the assignments among the current control dependencies.

        A body captures the read that is made outside of it, which is what gradients towards the
        variable are of; what it depends on in the body stands behind that.
        """
        graph, outer = current().graph, frame_of(self.graph)
        inner = []  # the bodies that we are in, the innermost first
        while graph.parent is not None and graph is not self.graph:
            inner.append(frame_of(graph))
            graph = graph.parent
        if graph is not self.graph or not inner:
            return self._read(outer.dependencies, outer.graph)
        ordered = next((frame for frame in inner if frame.dependencies), None)
        behind = () if ordered is None else ordered.dependencies
        read = self._read((*outer.dependencies, *(d for d in behind if d.owner is graph)), graph)
        seen = read if ordered is None else self._read((read, *behind), ordered.graph)
        for frame in inner:
            frame.graph.reads.update((read, seen))
        return seen

    def _read(self, after: tuple[Tensor, ...], graph: Graph) -> Tensor:
        from graphc.ops.state import variable  # ops build on variables

        attrs = {"name": self.name, "dtype": self.type.dtype, "shape": self.type.shape}
        return Tensor(variable, after, attrs, self.type, self.loc, None, graph)

    @explains
    def assign(self, value: Any) -> Tensor:
        """Gives it `value` when the run ends well; the result is the new value.

        Raises: DTypeError, ShapeError where `value` does not fit.
        """
        from graphc.conversion import as_tensor, promoted  # conversion knows variables

        given = as_tensor(self._own(value))
        if given.dtype is not self.dtype and promoted((given, self.value()))[0].dtype is self.dtype:
            given = as_tensor(given, self.dtype)
        return self._assign(given)

    @explains
    def assign_add(self, value: Any) -> Tensor:
        """Adds `value` to it; the result is the new value."""
        return self.assign(self.value() + self._own(value))

    @explains
    def assign_sub(self, value: Any) -> Tensor:
        """Subtracts `value` from it; the result is the new value."""
        return self.assign(self.value() - self._own(value))

    @explains
    def scatter_update(self, indices: Any, updates: Any) -> Tensor:
        """Sets the rows at `indices` to `updates`; the result is the new value."""
        from graphc.ops.scattering import scatter_update  # ops build on variables

        return self.assign(scatter_update(self.value(), indices, self._own(updates)))

    @explains
    def scatter_add(self, indices: Any, updates: Any) -> Tensor:
        """Adds `updates` to the rows at `indices`, duplicates adding up; the result is the new value."""
        from graphc.ops.scattering import scatter_add  # ops build on variables

        return self.assign(scatter_add(self.value(), indices, self._own(updates)))

    def describe(self) -> str:
        """What an error message calls it."""
        return f"variable {self.name!r}: {self.type}{made_at(self.loc)}"

    def _own(self, value: Any) -> Any:
        """A number, a list or an array in its dtype; tensors and variables keep theirs."""
        from graphc.conversion import as_tensor  # conversion knows variables

        return value if isinstance(value, Tensor | Variable) else as_tensor(value, self.dtype)

    def _assign(self, value: Tensor) -> Tensor:
        from graphc.ops.state import assign  # ops build on variables

        if value.owner is None or value.owner.root is not self.graph.root:
            raise GraphMismatchError(f"{self.describe()} and the value belong to different graphs")
        if value.dtype is not self.dtype:
            raise DTypeError(f"{self.describe()} cannot hold {value.type}: cast it")
        return assign(value, variable=self.name, dtype=self.type.dtype, shape=self.type.shape)

    def _told(self) -> str:
        place = f" (made at {self.loc.short})" if self.loc else ""
        return f"variable {self.name!r}{place}"

    def __repr__(self) -> str:
        return f"<graphc {self.describe()}>"

    def __len__(self) -> int:
        return len(self.value())

    def __iter__(self) -> Any:
        return iter(self.value())

    def __deepcopy__(self, memo: object) -> Variable:
        return self

    def __reduce__(self) -> Any:
        raise TypeError("a variable cannot be pickled: session.save writes its value to a file")


@explains
def assign(target: Any, value: Any) -> Tensor:
    """Gives the variable `target` the `value`. Raises: ArgumentError for what is no variable."""
    if not isinstance(target, Variable):
        raise ArgumentError(f"only a variable can be assigned to, not {target!r}")
    return target.assign(value)


def global_variables_initializer() -> Tensor:
    """An operation that gives every variable of the current graph its initial value."""
    from graphc.ops.state import group  # ops build on variables

    return group(*(v.initializer for v in current().graph.root.variables.values()))


def trainable_variables() -> list[Variable]:
    """The variables of the current graph that optimizers may change, in order of definition."""
    return [v for v in current().graph.root.variables.values() if v.trainable]
