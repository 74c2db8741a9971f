"""The driver of rules: one sweep, leaves first, in which each node becomes what the rules make of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from operator import attrgetter
from threading import local

from graphc.errors import VerificationError
from graphc.freezing import frozen
from graphc.function import Function, bodies, follow, in_known_order, in_order, rebuild, with_inputs
from graphc.graph import graph_frame
from graphc.laziness import Lazy
from graphc.location import at_line, on_behalf_of
from graphc.op import Op
from graphc.ops.region import fused
from graphc.tensor import Tensor
from graphc.types import TensorType, TupleType
from passes.match import Match as Match
from passes.match import Surroundings
from passes.record import Decision, counters, decide

Apply = Callable[[Match], Tensor | None]
_op: Callable[[Tensor], Op] = attrgetter("op")
_MOST_STEPS = 64  # of rewriting one node: rules that undo one another would never end
_MOST_SWEEPS = 8  # over one function: the later ones see what the earlier ones left with one user


@frozen
class Rule:
    """An equation between nodes: `apply` gives the right-hand side, or None where it does not hold.

    `ops` are the ops that its left-hand side can begin with. `equation` is its docstring. Nodes whose
    operands cannot be those of the left-hand side are not given to `apply`: where `of` or `repeated` is
    said, some operand is of an op in `of`, or (if `repeated`) the same as another; where `integers` is, the
    first one is of integers or bools.
    """

    name: str
    equation: str
    ops: tuple[Op, ...]
    apply: Apply
    of: frozenset[Op] = frozenset()
    repeated: bool = False
    integers: bool = False

    def may_hold(self, operands: Sequence[Tensor]) -> bool:
        """Whether a node on `operands` may be its left-hand side."""
        if self.integers and _are_floats(operands):
            return False
        if not (self.of or self.repeated):
            return True
        return not self.of.isdisjoint(map(_op, operands)) or (self.repeated and _repeats(operands))


def _repeats(operands: Sequence[Tensor]) -> bool:
    return len(set(operands)) < len(operands)


def _are_floats(operands: Sequence[Tensor]) -> bool:
    type = operands[0].type
    return isinstance(type, TensorType) and type.dtype.kind == "f"


def rule(
    *ops: Op, of: Iterable[Op] = (), repeated: bool = False, integers: bool = False
) -> Callable[[Apply], Rule]:
    """Makes a `Rule` of a function whose docstring is its equation.

    Raises: TypeError for a public function that only calls an op: no node would ever match.
    """
    under = frozenset(of)
    for given in (*ops, *under):
        if not isinstance(given, Op):
            raise TypeError(f"a rule begins with ops, and {given!r} is none")

    def declare(apply: Apply) -> Rule:
        name = getattr(apply, "__name__", "rule")
        equation = (apply.__doc__ or name).strip().splitlines()[0]  # python -OO leaves no docstrings
        return Rule(name, equation, ops, apply, under, repeated, integers)

    return declare


class Index:
    """Rules by the nodes that they may hold for, in order. What it has once found it remembers."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._by_op: dict[Op, list[Rule]] = {}
        self.ops = self._by_op.keys()  # those that a rule begins with
        self._known: dict[Hashable, tuple[Rule, ...]] = {}
        self._of_integers: set[Op] = set()
        for each in rules:
            for op in each.ops:
                self._by_op.setdefault(op, []).append(each)
            if each.integers:
                self._of_integers.update(each.ops)

    def knows_some(self, nodes: Iterable[Tensor]) -> bool:
        """Whether there is a rule for the op of one of `nodes`."""
        return not self.ops.isdisjoint(map(_op, nodes))

    def rules_for(self, node: Tensor) -> tuple[Rule, ...]:
        """The rules that may hold for `node`, by its op and those of its operands."""
        op, operands = node.op, node.inputs
        if op not in self.ops:
            return ()
        key: Hashable
        floats = op in self._of_integers and _are_floats(operands)
        if len(operands) == 1:
            key = (op, floats, operands[0].op)
        elif len(operands) == 2:
            x, y = operands
            key = (op, floats, x.op, y.op, x is y)
        else:
            key = (op, floats, frozenset(map(_op, operands)), _repeats(operands))
        found = self._known.get(key)
        if found is None:
            rules = [each for each in self._by_op[op] if not (floats and each.integers)]
            found = tuple([each for each in rules if each.may_hold(operands)])
            self._known[key] = found
        return found


def index(rules: Iterable[Rule]) -> Index:
    """`rules` by the nodes that they may hold for, in order."""
    return Index(rules)


class _Thread(local):
    def __init__(self) -> None:
        self.inert: dict[int, tuple[Index, set[Tensor]]] | None = None


_thread = _Thread()


@contextmanager
def remembering() -> Iterator[None]:
    """Within it, sweeps pass over the nodes to which none of their rules applied in sweeps before.

    What a node has below it never changes, so only a rule that asked who else uses an operand may come
    to another answer; nodes that such a rule was refused for are looked at again.
    """
    before, _thread.inert = _thread.inert, _thread.inert or {}
    try:
        yield
    finally:
        _thread.inert = before


def _inert_under(rules: Index) -> set[Tensor]:
    if _thread.inert is None:
        return set()
    return _thread.inert.setdefault(id(rules), (rules, set()))[1]


def rewrite(function: Function, rules: Index) -> Function:
    """`function` and its bodies rewritten by `rules` until none applies; the same object where none did.

    Nodes that a rule makes are rewritten at once. The work is linear in the nodes seen and made.
    Locations and names are handed on here, never by a rule.

    Raises: VerificationError, naming the rule, for a right-hand side of another type, and for rules
    that undo one another.
    """
    inert = _inert_under(rules)
    return transform_all(function, lambda body: _rewrite(body, rules, inert))


def _rewrite(function: Function, rules: Index, inert: set[Tensor]) -> Function:
    for _ in range(_MOST_SWEEPS):
        with graph_frame(function.owner):
            sweep = _Sweep(function, rules, inert)
            result = sweep.run()
        if result is function or not sweep.was_refused:
            return result
        function = result  # nodes that had other users may have lost them
    return function


class _Sweep:
    def __init__(self, function: Function, rules: Index, inert: set[Tensor]) -> None:
        self.function, self.rules, self.inert = function, rules, inert
        self.nodes = function.nodes()
        self.done: dict[Tensor, Tensor] = {node: node for node in function.inputs}
        self.becomes: dict[Tensor, Tensor] = {}  # a node on the stack waits for what a rule made of it
        self.steps: Counter[Tensor] = Counter()
        self.has_changed = False
        self.tally = counters()
        self.tally.nodes_visited += len(self.nodes)

    @Lazy
    def around(self) -> Surroundings:
        """What is known of users; first asked for before anything has changed."""
        uses = Counter(chain.from_iterable(map(attrgetter("inputs"), self.nodes)))
        uses.update((*self.function.outputs, *self.function.effects))
        return Surroundings(uses)

    @Lazy
    def seen(self) -> set[Tensor]:
        """The nodes of the function, and what rules have made."""
        return set(self.nodes)

    @property
    def was_refused(self) -> bool:
        """Whether some rule was told that a node has other users."""
        return "around" in self.__dict__ and self.around.refused

    def run(self) -> Function:
        function = self.function
        if not self.rules.knows_some(self.nodes):
            return function
        if self.inert.issuperset(self.nodes):
            return function
        done, inert = self.done, self.inert
        for node in self.nodes:
            if node in inert and not self.has_changed:
                done[node] = node
            elif node not in done:
                self.step(node)
                if node not in done:
                    self.settle(node)
        outputs = tuple([done[node] for node in function.outputs])
        effects = tuple([done[node] for node in function.effects])
        if (outputs, effects) == (function.outputs, function.effects):
            return function
        return Function(function.inputs, outputs, effects)

    def settle(self, root: Tensor) -> None:
        """Finds what `root` becomes, everything below it settled first; without recursion."""
        stack, done = [root], self.done
        while stack:
            node = stack[-1]
            if node in done:
                stack.pop()
            elif node in self.becomes:
                made = self.becomes[node]
                if made in done:
                    done[node] = done[made]
                    stack.pop()
                else:
                    stack.append(made)
            elif waiting := [i for i in node.inputs if i not in done]:
                stack.extend(reversed(waiting))
            else:
                self.step(node)

    def hand_on(self, node: Tensor, heir: Tensor) -> None:
        """Makes the users of `node` users of `heir`."""
        if heir is not node:
            uses = self.around.uses
            uses[heir] = uses.get(heir, 0) + uses.pop(node, 0)

    def release(self, operands: tuple[Tensor, ...]) -> None:
        """Takes one use from each of `operands`, and from what only they used."""
        uses, stack = self.around.uses, list(operands)
        while stack:
            node = stack.pop()
            uses[node] -= 1
            if uses[node] == 0:
                stack.extend(node.inputs)

    def step(self, node: Tensor) -> None:
        """One attempt on `node`, its operands settled."""
        done, inert = self.done, self.inert
        ready, made = node, None
        if self.has_changed:
            ready = with_inputs(node, tuple([done[i] for i in node.inputs]))
        if ready not in inert:
            rules = self.rules.rules_for(ready) if ready.op in self.rules.ops else ()
            if rules and _have_ranks(ready):
                made = self.attempt(ready, rules)
            else:
                inert.add(ready)
        if made is None:
            done[node] = ready
            if ready is not node:
                self.has_changed = True
                done[ready] = ready
                self.hand_on(node, ready)
            return
        self.has_changed = True
        self.count(made)
        self.steps[made] = self.steps[node] + 1
        if self.steps[made] > _MOST_STEPS:
            raise VerificationError(f"rules undo one another at {node.op.name}{at_line(node.loc)}")
        self.becomes[node] = made
        self.hand_on(node, self.done.get(made, made))
        self.release(ready.inputs)

    def count(self, made: Tensor) -> None:
        """Counts the operands of what a rule made."""
        seen, done, uses = self.seen, self.done, self.around.uses
        stack = [made]
        while stack:
            node = stack.pop()
            if node not in seen and node not in done:
                seen.add(node)
                for operand in node.inputs:
                    uses[operand] += 1
                self.tally.nodes_made += 1
                stack.extend(node.inputs)

    def attempt(self, node: Tensor, rules: Iterable[Rule]) -> Tensor | None:
        """What the first of `rules` that applies makes of `node`."""
        tally, around = self.tally, self.around
        refused, around.refused = around.refused, False
        with on_behalf_of(node.loc):
            match = Match(node, around)
            for each in rules:
                tally.rules_tried += 1
                try:
                    made = each.apply(match)
                except Exception as error:
                    error.add_note(f"in the rule {each.name} ({each.equation})")
                    raise
                if made is not None and made is not node:
                    tally.rules_fired += 1
                    found = Decision("rewrite", each.name, True, each.equation, node.loc)
                    around.refused |= refused
                    return self.accept(node, made, each) if decide(found, node, made) else None
        if not around.refused:  # what a node has below it never changes
            self.inert.add(node)
        around.refused |= refused
        return None

    def accept(self, node: Tensor, made: Tensor, by: Rule) -> Tensor:
        if made.type != node.type:
            raise VerificationError(
                f"the rule {by.name} ({by.equation}) made {made.type} of {node.type}{at_line(node.loc)}"
            )
        new = made not in self.done and made not in self.seen
        if new and node.name is not None and made.name is None:
            named = replace(made, name=node.name)
            follow(made, named)
            return named
        return made


def _have_ranks(node: Tensor) -> bool:
    """Whether the ranks of `node` and its operands are known."""
    for given in (node, *node.inputs):
        type = given.type
        if type.__class__ is not TupleType and type.shape is None:  # type: ignore[union-attr]  # the other one
            return False
    return True


def transform_all(function: Function, transform: Callable[[Function], Function]) -> Function:
    """`function` transformed, the bodies of its regions before it, however deep, and each once.

    What is `fused` is one kernel, as it was decided: no region, and not for `transform` to look into.
    """
    return transform(transform_bodies(function, transform))


def transform_bodies(function: Function, transform: Callable[[Function], Function]) -> Function:
    """As `transform_all`, but for the outermost one itself."""
    made: dict[Function, Function] = {}
    for each in in_order([function], bodies_of)[:-1] if function.has_regions() else ():
        made[each] = transform(with_bodies(each, made))
    return with_bodies(function, made) if made else function


def with_bodies(function: Function, made: Mapping[Function, Function]) -> Function:
    """`function` with what was `made` of the bodies of its regions; the same object where nothing was."""
    if all(made.get(body, body) is body for body in bodies_of(function)):
        return function

    def make(node: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
        new = with_inputs(node, inputs)
        if not node.op.has_bodies or node.op is fused:
            return new
        changed = {name: made[body] for name, body in bodies(node) if made.get(body, body) is not body}
        return replace(new, attrs={**new.attrs, **changed}) if changed else new

    result, heirs = rebuild(function, make)
    return in_known_order(
        result, map(heirs.__getitem__, function.nodes())
    )  # each on what its operands became


def bodies_of(function: Function) -> Sequence[Function]:
    """The bodies of the regions in `function`, those within them left out."""
    return [body for node in function.regions() if node.op is not fused for _, body in bodies(node)]
