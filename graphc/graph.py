"""Graph: the user's registry of names, variables, scopes and seed; which graph is current."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from operator import index
from threading import local
from typing import TYPE_CHECKING, Any, NoReturn

from graphc.drawing.display import Displayed
from graphc.errors import ArgumentError, GraphMismatchError, UnknownNameError
from graphc.freezing import frozen
from graphc.location import Location
from graphc.operators import Operators
from graphc.suggestion import suggest
from graphc.tensor import Tensor, describe
from graphc.types import TupleType, Type

if TYPE_CHECKING:
    from graphc.function import Function
    from graphc.op import Op
    from graphc.variable import Variable


class Graph(Displayed):
    """What a user opens to define in: names, variables, a seed. The nodes themselves are frozen.

    Args:
        seed: makes every random op of the graph repeatable. None draws a new seed for this graph.
        parent: the graph around, for the body of a region (`cond`, a loop).

    A graph read from a text holds its `function`.
    """

    def __init__(self, seed: int | None = None, *, parent: Graph | None = None) -> None:
        seed = as_seed(seed)
        self.parent = parent
        self.root: Graph = self if parent is None else parent.root
        self.depth: int = 0 if parent is None else parent.depth + 1  # of bodies within bodies
        self.is_seeded: bool = seed is not None or (parent is not None and parent.is_seeded)
        if seed is None:
            seed = int.from_bytes(os.urandom(8), "little") >> 1 if parent is None else parent.seed
        self.seed: int = seed
        self.variables: dict[str, Variable] = {}
        self.effects: list[Tensor] = []  # in order of definition; a body runs all of its own
        self.reads: set[Tensor] = set()  # of variables, that a body takes from around it to read them anew
        self.function: Function | None = None
        self._named: dict[str, Tensor] = {}
        self._next_suffix: dict[str, int] = {}
        self._random_ops: dict[str, int] = {}

    @contextmanager
    def as_default(self) -> Iterator[Graph]:
        """Makes it the current graph inside. Re-entrant; each thread has a stack of its own."""
        with framed(Frame(self, "", ())):
            yield self

    def __enter__(self) -> NoReturn:
        raise TypeError("a graph is opened by `with graph.as_default():`")

    def __exit__(self, *_: object) -> None:
        """Python looks for it before it enters."""

    def get_tensor(self, name: str) -> Tensor:
        """The tensor that bears `name`; for a variable, a new read. Raises: UnknownNameError."""
        if not isinstance(name, str):
            raise ArgumentError(f"get_tensor: a name is a text, not {name!r}")
        if name in self._named:
            return self._named[name]
        if name in self.variables:
            return self.variables[name].value()
        raise UnknownNameError(f"no tensor or variable is named {name!r}{suggest(name, self.names())}")

    def names(self) -> list[str]:
        """The names of all named tensors and variables, in order of definition."""
        return [*self._named, *self.variables]

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """The named tensors."""
        return dict(self._named)

    def unique_name(self, name: str) -> str:
        """`name`, or ``name_1``, ``name_2``, ... where it is taken; it is taken from now on."""
        check_name(name)
        taken = self.root._next_suffix
        if name not in taken:
            taken[name] = 1
            return name
        while (candidate := f"{name}_{taken[name]}") in taken:
            taken[name] += 1
        taken[candidate] = 1
        return candidate

    def register(self, tensor: Tensor) -> None:
        """Makes `tensor` known under its name, which must be unique here."""
        assert tensor.name is not None
        self._named[tensor.name] = tensor

    def number_random_op(self, scope: str) -> int:
        """The number of the next unnamed random op in `scope`."""
        number = self.root._random_ops.get(scope, 0)
        self.root._random_ops[scope] = number + 1
        return number

    def holds(self, other: Graph | None) -> bool:
        """Whether tensors of `other` may be used here: it is this graph or one around it."""
        graph: Graph | None = self
        while graph is not None:
            if graph is other:
                return True
            graph = graph.parent
        return False

    def __repr__(self) -> str:
        return f"<graphc Graph: {len(self._named)} named tensors, {len(self.variables)} variables>"

    def __deepcopy__(self, memo: object) -> Graph:
        return self

    def __str__(self) -> str:
        from graphc.text import show  # the text form builds on Graph

        return show(self)


def as_seed(given: Any) -> int | None:
    """A seed as an int, None as it is. Raises: ArgumentError."""
    if given is None or type(given) is int:
        return given
    if isinstance(given, bool) or not hasattr(given, "__index__"):
        raise ArgumentError(f"a seed is an int, not {given!r}")
    return index(given)


def check_name(name: object) -> None:
    """Raises ArgumentError for what is no name: not a text, empty, or not valid Unicode."""
    if not isinstance(name, str) or not name:
        raise ArgumentError(f"a name is a text that is not empty, not {name!r}")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ArgumentError(f"a name must be valid Unicode, and {name!r} is not") from None


# The current graph, scope and control dependencies: one immutable frame on a stack per thread.


@frozen
class Frame:
    """Where nodes are being made: the graph, the scope (``"a/b/"``), what must run before them."""

    graph: Graph
    scope: str
    dependencies: tuple[Tensor, ...]


class _Thread(local):
    def __init__(self) -> None:
        self.frames: list[Frame] = []


_thread = _Thread()
_default: list[Graph] = []  # the graph at the bottom of every thread's stack, made when first needed


def current() -> Frame:
    """The innermost frame of this thread."""
    if _thread.frames:
        return _thread.frames[-1]
    return Frame(get_default_graph(), "", ())


def frame_of(graph: Graph) -> Frame:
    """The innermost frame of this thread in which `graph` itself is current."""
    for frame in reversed(_thread.frames):
        if frame.graph is graph:
            return frame
    return Frame(graph, "", ())


@contextmanager
def framed(frame: Frame) -> Iterator[Frame]:
    """Nodes of this thread are made in `frame` inside."""
    frames = _thread.frames  # a child after fork ends what other threads were in, and its own stay
    depth = len(frames)
    try:
        frames.append(frame)
        yield frame
    finally:
        del frames[depth:]


def get_default_graph() -> Graph:
    """The graph that nodes are made in now."""
    if _thread.frames:
        return _thread.frames[-1].graph
    if not _default:
        _default.append(Graph())
    return _default[0]


def reset_default_graph() -> None:
    """Starts a new, empty default graph. Raises: ArgumentError inside ``graph.as_default()``."""
    if _thread.frames:
        raise ArgumentError("the default graph cannot be reset inside `with graph.as_default()`")
    _default[:] = [Graph()]


@contextmanager
def body_graph() -> Iterator[Graph]:
    """A graph for the body of a region, current inside; it sees the tensors of the graphs around."""
    frame = current()
    body = Graph(parent=frame.graph)
    with framed(Frame(body, frame.scope, ())):
        yield body


@contextmanager
def graph_frame(graph: Graph | None) -> Iterator[None]:
    """Nodes made inside belong to `graph`, outside every scope and control dependency: for passes."""
    if graph is None:
        yield
        return
    with framed(Frame(graph, "", ())):
        yield


# Entering a node.


def enter(
    made: Op,
    inputs: tuple[Tensor, ...],
    attrs: Mapping[str, Any],
    name: str | None,
    location: Location | None,
    type: Type | None = None,
) -> Tensor:
    """A new node in the current graph, behind its control dependencies, registered if it has a name.

    Its type is what its op infers, where none is given.
    """
    frame = current()
    graph = frame.graph
    location = placed(location, frame)
    for operand in inputs:
        if operand.owner is not graph:
            graph = _meeting_graph(graph, inputs)
            break
    full_name = None if name is None else graph.unique_name(_scoped(frame, graph, name))
    after = frame.dependencies if graph is frame.graph else ()
    ordered = made.effect or made.has_bodies or made.name == "group"
    if after and ordered:
        inputs = _behind(inputs, after, graph, location)
    attrs = made.canonical(inputs, attrs)
    if type is None:
        type = made.infer(inputs, attrs)
    leaf = made.family == "source" and made.name != "constant"  # a read has its dependencies already
    wrapped = after and not ordered and not leaf and not isinstance(type, TupleType)
    node = Tensor(made, inputs, attrs, type, location, None if wrapped else full_name, graph)
    if wrapped:
        node = _after(node, after, full_name)
    if graph.parent is not None and (made.effect or (made.has_bodies and has_effects(node))):
        graph.effects.append(node)
    if full_name is not None:
        graph.register(node)
    return node


def placed(location: Location | None, frame: Frame) -> Location | None:
    """`location` in the scope of `frame`; one that was handed on keeps its own."""
    if not frame.scope or location is None or location.scope:
        return location
    return replace(location, scope=frame.scope[:-1])


def has_effects(node: Tensor) -> bool:
    """Whether running `node` is seen from outside: an effect, or a region whose bodies have some."""
    if node.op.effect:
        return True
    from graphc.function import bodies  # function knows Tensor, and this is rarely asked

    return any(body.effects for _, body in bodies(node))


def scoped_name(frame: Frame, name: object, default: str) -> str:
    """`name`, or `default` where it is None, within the scope of `frame`. Raises: ArgumentError."""
    name = default if name is None else name
    check_name(name)
    return f"{frame.scope}{name}"


def _scoped(frame: Frame, graph: Graph, name: str) -> str:
    check_name(name)
    return frame.scope + name if graph is frame.graph else name


def _after(node: Tensor, dependencies: tuple[Tensor, ...], name: str | None = None) -> Tensor:
    from graphc.ops.state import after  # the op builds on this module

    return Tensor(after, (node, *dependencies), {}, node.type, node.loc, name, node.owner)


def _behind(
    inputs: tuple[Tensor, ...], after: tuple[Tensor, ...], graph: Graph, location: Location | None
) -> tuple[Tensor, ...]:
    """Operands of an effect, such that it runs after `after`."""
    if inputs and not isinstance(inputs[0].type, TupleType):
        first = replace(_after(inputs[0], after), loc=location, owner=graph)
        return (first, *inputs[1:])
    return (*inputs, *after)


def home_of(values: Iterable[Any]) -> Graph | None:
    """The graph of what `values`, or lists among them, hold, where the current one sees none of it.

    What is made of that belongs there: ``x + 1`` is a node of the graph of `x`, and so is what 1 becomes.
    """
    inner, home = current().graph, None
    for value in values:
        if value.__class__ is Tensor and value.owner is inner:  # nearly always, and this is quicker
            return None
        for held in value if isinstance(value, list | tuple) else (value,):
            graph = getattr(held, "graph", None) if isinstance(held, Operators) else None
            if inner.holds(graph):
                return None
            home = home or graph
    return home if home is None or home.parent is None else None


def _meeting_graph(graph: Graph, inputs: Sequence[Tensor]) -> Graph:
    """The graph that a node on `inputs` belongs to: the current one, else the one of all of them."""
    if all(graph.holds(operand.owner) for operand in inputs):
        return graph
    strangers = [operand for operand in inputs if not graph.holds(operand.owner)]
    home = strangers[0].owner
    for operand in strangers:
        if operand.owner is not None and operand.owner.parent is not None:
            raise GraphMismatchError(
                f"{describe(operand)} was made inside a body and is used outside of it; "
                "return it from the body instead"
            )
    for operand in inputs:
        if operand.owner is not home:
            place = f" (made at {operand.loc.short})" if operand.loc else ""
            raise GraphMismatchError(
                f"{describe(strangers[0])} and {describe(operand)}{place} belong to different graphs"
            )
    assert home is not None
    return home
