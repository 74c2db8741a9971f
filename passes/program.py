"""Program: steps in order over numbered buffers, which is what the runtime runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from graphc import sizes
from graphc.errors import GraphError
from graphc.freezing import frozen
from graphc.function import Function, all_functions, bodies
from graphc.location import at_line
from graphc.sizes import Size, SizeExpr, Symbol, sole_symbol, symbols
from graphc.tensor import Tensor
from graphc.types import TensorType, TupleType
from passes.scheduling import schedule
from passes.stages import stage
from passes.symbols import find_symbols

_CONSTANT, _VARIABLE, _RUN_STATE, _ASSIGN = "constant", "variable", "run_state", "assign"
_FUSED = "fused"


@frozen
class Check:
    """Two sizes that `node` takes as equal, which is checked once both are known.

    `inside` says that the node stands in a body, which may not run.
    """

    x: Size
    y: Size
    node: Tensor
    inside: bool = False

    @property
    def symbols(self) -> tuple[Symbol, ...]:
        """The symbols in both."""
        return (*symbols(self.x), *symbols(self.y))


@frozen
class Binding:
    """The size on `axis` of a buffer is the value of `symbol`; `part` is the result's number in a tuple."""

    axis: int
    symbol: Symbol
    part: int | None = None


@frozen
class Step:
    """One node to run: read `inputs`, write `output`.

    `sized` names the attributes that hold symbolic sizes; they are evaluated before the step runs.
    `bindings` are the sizes that its result gives; `checks` must hold before it runs; the buffers in
    `frees` are dead after it. `programs` are those of its bodies, planned when they are first looked at.
    """

    node: Tensor
    inputs: tuple[int, ...]
    output: int
    frees: tuple[int, ...]
    sized: tuple[str, ...]
    bindings: tuple[Binding, ...]
    checks: tuple[Check, ...]
    programs: Mapping[str, Program]

    @property
    def regions(self) -> Iterable[Program]:
        """The programs of bodies that may hold anything: what is `fused` holds elementwise ops and sums."""
        return () if self.node.op.name == _FUSED else self.programs.values()


class Bodies(Mapping[str, "Program"]):
    """The programs of a node's bodies, by name; each is planned when it is first asked for.

    Most are bodies of `fused`, and a backend that has a kernel for one never asks. Regions share bodies, as
    those of a gradient those of what it is of: what is `planned` is shared too, by all in one program.
    """

    __slots__ = ("_functions", "_known", "_planned")

    def __init__(self, functions: Mapping[str, Function], known: frozenset[Symbol], planned: Planned) -> None:
        self._functions, self._known, self._planned = functions, known, planned

    def __getitem__(self, name: str) -> Program:
        """The program of that body."""
        function = self._functions[name]
        key = function, self._known & find_symbols(function) if self._known else self._known
        found = self._planned.get(key)
        if found is None:
            found = self._planned.setdefault(key, plan(function, None, self._known, self._planned))
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._functions)

    def __len__(self) -> int:
        return len(self._functions)


Planned = dict[tuple[Function, frozenset[Symbol]], "Program"]  # by what is known of the symbols in a body
_NO_BODIES: Mapping[str, Program] = MappingProxyType({})


@frozen
class Program:
    """`function` as steps over `buffers` numbered buffers; buffer i holds the value of `nodes[i]`.

    Before the steps run, `inputs` hold what is fed, `constants` their arrays, `variables` the values
    as of the beginning of the run, `run_states` the session's seed and run count. Afterwards
    `outputs` hold the results and `assignments` the new values of variables, by name.
    `bindings` (of an input each: its number, then the axis) give the symbols; `checks` follow them.
    """

    function: Function
    nodes: tuple[Tensor, ...]
    steps: tuple[Step, ...]
    buffers: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    constants: tuple[tuple[int, np.ndarray[Any, Any]], ...]
    variables: tuple[tuple[str, int, TensorType], ...]
    run_states: tuple[int, ...]
    assignments: tuple[tuple[str, int], ...]
    bindings: tuple[tuple[int, Binding], ...]
    variable_bindings: tuple[tuple[str, Binding], ...]
    checks: tuple[Check, ...]


def plan(
    function: Function,
    guards: tuple[Check, ...] | None = None,
    known: frozenset[Symbol] = frozenset(),
    planned: Planned | None = None,
) -> Program:
    """The steps of `function`, operands before users, and which buffers die where.

    `guards` are what `size_guards` found before the passes; without them they are found here.
    `known` are the symbols bound around a body, `planned` the programs of bodies that are there already.
    """
    with stage("schedule"):
        nodes = schedule(function)
    number = {node: i for i, node in enumerate(nodes)}
    bound = set(known)
    bindings = tuple(
        (i, binding) for i, node in enumerate(function.inputs) for binding in _bindings(node.type, bound)
    )
    leaves: dict[str, list[Tensor]] = {_CONSTANT: [], _VARIABLE: [], _RUN_STATE: []}
    computed: list[Tensor] = []
    inputs = set(function.inputs)
    for node in nodes:
        if node not in inputs:
            leaves.get(node.op.name, computed).append(node)
    variable_bindings = tuple(
        (node.attrs["name"], binding) for node in leaves[_VARIABLE] for binding in _bindings(node.type, bound)
    )
    checks = _Checks(guards, frozenset(bound))
    last_uses = _last_uses(function, nodes)
    steps = tuple(_steps(computed, number, last_uses, checks, bound, {} if planned is None else planned))
    _refuse_unbound(steps, bound)
    return Program(
        function,
        tuple(nodes),
        steps,
        len(nodes),
        tuple(number[node] for node in function.inputs),
        tuple(number[node] for node in function.outputs),
        tuple((number[node], node.attrs["value"]) for node in leaves[_CONSTANT]),
        tuple((node.attrs["name"], number[node], node.result) for node in leaves[_VARIABLE]),
        tuple(number[node] for node in leaves[_RUN_STATE]),
        tuple((node.attrs["variable"], number[node]) for node in nodes if node.op.name == _ASSIGN),
        bindings,
        variable_bindings,
        checks.at_first(),
    )


def _steps(
    nodes: Sequence[Tensor],
    number: Mapping[Tensor, int],
    last_uses: Mapping[Tensor, Sequence[Tensor]],
    checks: _Checks,
    bound: set[Symbol],
    planned: Planned,
) -> Iterator[Step]:
    """A step for each of `nodes`, in order; `bound` grows by the symbols that they give."""
    of = number.__getitem__
    for node in nodes:
        checked = checks.before(node)
        inner = dict(bodies(node)) if node.op.has_bodies else {}
        # Without what the node itself binds: a body of it may bind that as well.
        programs = Bodies(inner, frozenset(bound), planned) if inner else _NO_BODIES
        binds = node.op.binds or (inner and node.op.name != _FUSED)
        own = tuple(_bindings(node.type, bound)) if binds else ()
        checks.bind(own)
        reads, frees = tuple(map(of, node.inputs)), tuple(map(of, last_uses.get(node, ())))
        yield Step(node, reads, of(node), frees, _sized(node, own), own, checked, programs)


class _Checks:
    """Which sizes are compared before the first step, and which later: those of which a step gives one.

    `guards` are checked whoever needs them; None: all are that any step asks for. `given` are the symbols
    known before the first step.
    """

    def __init__(self, guards: tuple[Check, ...] | None, given: frozenset[Symbol]) -> None:
        self._given, self._late = given, set[Symbol]()  # those that steps give
        self._found = {(c.x, c.y): c for c in guards or ()}
        self._is_guarded = guards is not None
        self._waiting = [c for c in self._found.values() if not c.inside]

    def before(self, node: Tensor) -> tuple[Check, ...]:
        """The checks that come right before `node`."""
        if not self._late and self._is_guarded:
            return ()
        met = {pair: Check(*pair, node) for pair in meetings_of(node)}
        late = {pair: c for pair, c in met.items() if self._late.intersection(c.symbols)}
        for pair, check in met.items():
            if pair not in late:
                self._found.setdefault(pair, check)
        known = self._given | self._late
        ready = [c for c in self._waiting if known.issuperset(c.symbols)] if self._late else []
        if ready:
            self._waiting = [c for c in self._waiting if c not in ready]
            late.update({(c.x, c.y): c for c in ready if (c.x, c.y) not in met and not self._is_given(c)})
        return tuple(late.values())

    def bind(self, bindings: Sequence[Binding]) -> None:
        """Notes what a step gives."""
        for binding in bindings:
            self._late.add(binding.symbol)

    def at_first(self) -> tuple[Check, ...]:
        """The checks that come before all steps."""
        return tuple(filter(self._is_given, self._found.values()))

    def _is_given(self, check: Check) -> bool:
        return self._given.issuperset(check.symbols)


def size_guards(function: Function) -> tuple[Check, ...]:
    """The sizes that `function` and its bodies take as equal, each pair once.

    Found before passes rewrite the nodes that ask for it: what a user defined is checked, whatever
    is left of it.
    """
    found: dict[tuple[Size, Size], Check] = {}
    for current in all_functions(function):
        nodes = current.nodes()
        symbolic = _symbolic(nodes)
        for node in nodes:
            if not symbolic.isdisjoint(node.inputs) or (node.attrs and _says_sizes(node)):
                for x, y in meetings_of(node):
                    found.setdefault((x, y), Check(x, y, node, current is not function))
    return tuple(found.values())


def meetings_of(node: Tensor) -> list[tuple[Size, Size]]:
    """The pairs of sizes that the type rule of `node` takes as equal without knowing it."""
    if node.op.family == "elementwise" and _alike(node.inputs):
        return []  # by far the most frequent: nothing there to meet
    if not any(map(_is_symbolic, node.inputs)) and not _sized(node, ()):
        return []
    if any(isinstance(i.type, TensorType) and i.type.shape is None for i in node.inputs):
        return []  # the rule is tried on made-up ranks, and what meets there says nothing of the run
    with sizes.meetings() as met:
        node.op.infer(node.inputs, node.attrs)
    return met


def _alike(operands: tuple[Tensor, ...]) -> bool:
    """Whether all of `operands` that are no scalars have one shape."""
    shape = operands[0].result.shape
    return all(i.result.shape == shape or i.result.shape == () for i in operands)


def _symbolic(nodes: Sequence[Tensor]) -> set[Tensor]:
    """Those of `nodes` that have symbolic sizes; each shape is looked at once."""
    known: dict[Any, bool] = {}
    found = set()
    for node in nodes:
        type = node.type
        key = type.shape if isinstance(type, TensorType) else type
        symbolic = known.get(key)
        if symbolic is None:
            symbolic = known[key] = _is_symbolic(node)
        if symbolic:
            found.add(node)
    return found


def _is_symbolic(node: Tensor) -> bool:
    types = node.type.elements if isinstance(node.type, TupleType) else (node.type,)
    for type in types:
        for size in type.shape or ():
            if size.__class__ is SizeExpr:
                return True
    return False


def _says_sizes(node: Tensor) -> bool:
    """Whether an attribute of `node` holds symbolic sizes."""
    for value in node.attrs.values():
        if value.__class__ is tuple:
            for size in value:
                if size.__class__ is SizeExpr:
                    return True
    return False


def _bindings(type: TensorType | TupleType, bound: set[Symbol]) -> Iterator[Binding]:
    """The symbols not yet in `bound` that a value of `type` gives, each once; `bound` grows."""
    parts = enumerate(type.elements) if isinstance(type, TupleType) else [(None, type)]
    for part, element in parts:
        for axis, size in enumerate(element.shape or ()):
            symbol = sole_symbol(size)
            if symbol is not None and symbol not in bound:
                bound.add(symbol)
                yield Binding(axis, symbol, part)


def _sized(node: Tensor, own: tuple[Binding, ...]) -> tuple[str, ...]:
    """The attributes of `node` that hold symbolic sizes, those that it binds itself left out."""
    if not node.attrs or not _says_sizes(node):
        return ()
    if node.op.binds and isinstance(node.type, TensorType) and node.type.shape is None:
        return ()  # it says what its result is to bind, which has no axes to bind it by
    mine = {binding.symbol for binding in own}
    return tuple(
        name
        for name, value in node.attrs.items()
        if isinstance(value, tuple)
        and any(isinstance(size, SizeExpr) and not mine.issuperset(symbols(size)) for size in value)
    )


def _last_uses(function: Function, nodes: Sequence[Tensor]) -> dict[Tensor, list[Tensor]]:
    """For each node that is the last to read some others: those. What is kept is in none."""
    kept = {*function.outputs, *function.effects}
    last = {operand: node for node in nodes for operand in node.inputs}
    dead: dict[Tensor, list[Tensor]] = {}
    for operand, user in last.items():
        if operand not in kept and operand.op.name != _ASSIGN:
            dead.setdefault(user, []).append(operand)
    return dead


def _refuse_unbound(steps: Iterable[Step], bound: set[Symbol]) -> None:
    for step in steps:
        for name in step.sized:
            for size in step.node.attrs[name]:
                for symbol in symbols(size):
                    if symbol not in bound:
                        raise GraphError(
                            f"{step.node.op.name} needs the size {symbol.name or '?'} of {step.node.type}, "
                            f"which nothing that is fed or computed gives{at_line(step.node.loc)}"
                        )
