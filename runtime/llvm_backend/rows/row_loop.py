"""Row loop: the loops of one phase over the elements of a row.

Whole vectors come first, several at a time where there is little to do for each; then what is left, in
vectors of which some lanes count, or one by one where masks are dear. What is added up in blocks is a loop
in a loop. Everything that a result depends on is a matter of the row's length alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

from graphc.types import DType
from runtime.llvm_backend.ir.text import Emitter, Module, Target, numbered
from runtime.llvm_backend.ir.values import register_bytes, register_scalar
from runtime.llvm_backend.ir.writer import Carried
from runtime.llvm_backend.rows.row_looks import RowLooks
from runtime.llvm_backend.rows.totals import BLOCK, State, Total

CHUNK = "ptr %block, i64 %chunk"  # the parameters of a kernel

# elements(em, j, mask): writes the elements from j on and gives what each total gathers of them.
Elements = Callable[[Emitter, str, str | None], Sequence[str]]
Body = Callable[[str, list[str]], Sequence[str]]
Walk = Callable[[str, str, int, Carried, Body], list[str]]


class Span(NamedTuple):
    """The elements of a row from `begin` to below `end`.

    Attributes:
        length: how many they are, where that is known.
        rest_of: a length that leaves as much behind whole steps as they do, or more.
    """

    begin: str
    end: str
    length: int | None = None
    rest_of: int | None = None

    def left(self, step: int) -> int | None:
        """How many whole steps leave; None where only the run knows."""
        if self.rest_of is not None and self.rest_of % step == 0:
            return 0
        return self.length % step if self.length else None


class Visit(NamedTuple):
    """What is done at every element: `elements` are written, and the `totals` gather of them.

    With `either`, whole vectors are of those elements instead where that condition holds.
    """

    elements: Elements
    totals: Sequence[Total] = ()
    either: tuple[str, Elements] | None = None


def lanes_of(target: Target, dtypes: Iterable[DType]) -> int:
    """How many elements a vector has that holds any of `dtypes`."""
    return max(target.vector_bits // 8 // max(map(register_bytes, dtypes), default=8), 1)


class RowLoop:
    """A function whose loops walk along rows, written by two emitters that share their lines.

    Attributes:
        one, wide: those of single elements, and of whole vectors; they are the same where `width` is 1.
        looks: what gathers looks over many rows, where something does.
    """

    def __init__(self, module: Module, width: int) -> None:
        self.width = width
        self.one = Emitter(module, 1, prefix="s")
        self.wide = Emitter(module, width, prefix="v") if width > 1 else self.one
        self.wide.lines = self.one.lines
        self.looks: RowLooks | None = None
        self._masks: dict[tuple[str, str], str] = {}  # lanes that count, by where they begin and end

    def word(self, number: int, type: str = "i64") -> str:
        """What a word of the function's block says."""
        at = self.one.let(f"getelementptr i64, ptr %block, i64 {number}")
        return self.one.let(f"load {type}, ptr {at}, align 8")

    @property
    def body(self) -> str:
        """What the function does."""
        return "\n".join([*self.one.lines, "  ret void"])

    def define(self, name: str = "kernel", parameters: str = CHUNK, effort: str = "") -> None:
        """Adds the function to the module."""
        head = f"define void @{name}({parameters}) {effort}{{\nentry:"
        self.one.module.define(name, lambda: f"{head}\n{self.body}\n}}")

    def begin(self, label: str) -> None:
        """Begins a block, for both emitters."""
        self.one.begin(label)
        self.wide.label = label

    def walk(self, begin: str, end: str, step: int, carried: Carried, body: Body) -> list[str]:
        """``for j in range(begin, end, step)`` with values carried along, each with its type and start."""
        one = self.one
        before = one.label
        head, latch, done = (one.fresh_label(x) for x in ("loop", "loop.next", "loop.done"))
        some = one.let(f"icmp slt i64 {begin}, {end}")
        one.do(f"br i1 {some}, label %{head}, label %{done}")
        self.begin(head)
        count, after = one.name(), one.name()
        one.do(f"{count} = phi i64 [{begin}, %{before}], [{after}, %{latch}]")
        inside = [one.name() for _ in carried]
        here = len(one.lines)  # where the phis go, once it is known what they become
        j = one.counter(count)
        found = body(j, inside)
        one.lines[here:here] = [
            f"  {name} = phi {type} [{start}, %{before}], [{x}, %{latch}]"
            for name, (type, start), x in zip(inside, carried, found, strict=True)
        ]
        one.do(f"br label %{latch}")
        self.begin(latch)
        one.do(f"{after} = add i64 {j}, {step}")
        more = one.let(f"icmp slt i64 {after}, {end}")
        one.do(f"br i1 {more}, label %{head}, label %{done}")
        return self._behind(done, before, latch, carried, found)

    def once(self, begin: str, end: str, step: int, carried: Carried, body: Body) -> list[str]:
        """`walk` for what is one step at most."""
        one = self.one
        before = one.label
        some, done = one.fresh_label("some"), one.fresh_label("some.done")
        one.do(f"br i1 {one.let(f'icmp slt i64 {begin}, {end}')}, label %{some}, label %{done}")
        self.begin(some)
        found = body(begin, [start for _, start in carried])
        after = one.label
        one.do(f"br label %{done}")
        return self._behind(done, before, after, carried, found)

    def _behind(self, done: str, before: str, last: str, carried: Carried, found: Sequence[str]) -> list[str]:
        """Begins the block behind a loop; what is carried there, or is as it was `before`, if none ran."""
        self.begin(done)
        return [
            self.one.let(f"phi {type} [{start}, %{before}], [{x}, %{last}]")
            for (type, start), x in zip(carried, found, strict=True)
        ]

    def keep_mask(self, end: str) -> None:
        """From here on, knows which lanes of a vector from 0 on are below `end`."""
        self._masks["0", end] = self._mask("0", end)

    def _mask(self, begin: str, end: str) -> str:
        known = self._masks.get((begin, end))
        if known is not None:
            return known
        left = self.one.let(f"trunc i64 {self.one.let(f'sub i64 {end}, {begin}')} to i32")
        numbers, limit = numbered(self.width, "i32"), self.wide.broadcast("i32", left)
        return self.wide.let(f"icmp ult <{self.width} x i32> {numbers}, {limit}")

    def write(self, visit: Visit, span: Span, copies: int = 1) -> list[str]:
        """The loops over `span`, `copies` vectors at a time; gives each total as a number.

        Where the length is known, what never runs is not written, nor a loop around what runs once: lengths
        that need the same loops have the same text. A total is the same, whether its length is known or not.
        """
        one, wide, totals = self.one, self.wide, visit.totals
        begin, end, step = span.begin, span.end, copies * self.width
        length = span.length or None  # of an empty row all loops are written, and none runs
        left = span.left(step)
        main, states = begin, None
        all = "" if left == 0 else one.let(f"sub i64 {end}, {begin}")
        if length is None or length >= step:
            main = end if left == 0 else one.let(f"sub i64 {end}, {one.let(f'urem i64 {all}, {step}')}")
            rounds = None if length is None else length // step
            states = self._either(visit, begin, main, copies, rounds)
        if left == 0:
            return self._numbers(totals, states or [])
        if self.width > 1 and self.has_masks:
            walk: Walk = self.once if copies == 1 else self.walk
            if left is not None and left <= self.width:
                walk = _directly
            rest = self._rest(wide, visit, main, end, walk, masked=True)
            return self._numbers(totals, self._met(wide, totals, states, rest))
        if self.width > 1 and copies > 1 and (left is None or left >= self.width):
            whole = one.let(f"sub i64 {end}, {one.let(f'urem i64 {all}, {self.width}')}")
            rest = self._rest(wide, visit, main, whole, self.walk)
            states, main = self._met(wide, totals, states, rest), whole
        if states is not None and (step == 1 or (left is not None and left % self.width == 0)):
            return self._numbers(totals, states)
        numbers = None if states is None else self._numbers(totals, states)
        last = self._numbers(totals, self._rest(one, visit, main, end, self.walk), one)
        if numbers is None:
            return last
        return [t.join(one, x, y, t.dtype) for t, x, y in zip(totals, numbers, last, strict=True)]

    @property
    def has_masks(self) -> bool:
        """Whether some lanes of a vector may count and others not."""
        return self.one.module.target.masks

    def _numbers(
        self, totals: Sequence[Total], states: Sequence[State], em: Emitter | None = None
    ) -> list[str]:
        """What states come to, in the lanes of `em`; looks are added to those at other rows."""
        return [self._number(em or self.wide, t, state) for t, state in zip(totals, states, strict=True)]

    def _number(self, em: Emitter, total: Total, state: State) -> str:
        if not total.is_look or self.looks is None:
            return total.number(self.one, em, state)
        self.looks.note(em, total.dtype, total.settled(em, state)[0], total.counts)
        return self.one.number(total.scalar, 0.0)

    def _met(
        self, em: Emitter, totals: Sequence[Total], x: Sequence[State] | None, y: list[State]
    ) -> list[State]:
        """States in the totals' own dtypes as one; there may be no `x`."""
        if x is None:
            return y
        return [
            [t.join(em, a[0], b[0], t.dtype)] if t.is_blocked else t.merge(em, [a, b])
            for t, a, b in zip(totals, x, y, strict=True)
        ]

    def _either(self, visit: Visit, begin: str, end: str, copies: int, rounds: int | None) -> list[State]:
        """Whole vectors of the one kind of elements or the other."""
        if visit.either is None:
            return self._whole(visit, begin, end, copies, rounds)
        condition, elements = visit.either
        visits = visit._replace(elements=elements), visit
        return self._chosen(
            condition,
            visit.totals,
            *(partial(self._whole, each, begin, end, copies, rounds) for each in visits),
        )

    def _chosen(
        self, condition: str, totals: Sequence[Total], *ways: Callable[[], list[State]]
    ) -> list[State]:
        """What the first way gives where `condition` holds, else the second."""
        one = self.one
        *labels, met = (one.fresh_label(x) for x in ("first", "second", "met"))
        one.do(f"br i1 {condition}, label %{labels[0]}, label %{labels[1]}")
        found, ends = [], []
        for label, way in zip(labels, ways, strict=True):
            self.begin(label)
            found.append(way())
            ends.append(one.label)
            one.do(f"br label %{met}")
        self.begin(met)
        return [
            [
                one.let(f"phi {type} [{x}, %{ends[0]}], [{y}, %{ends[1]}]")
                for type, x, y in zip(total.types_of_whole(self.wide), *states, strict=True)
            ]
            for total, *states in zip(totals, *found, strict=True)
        ]

    def _whole(self, visit: Visit, begin: str, end: str, copies: int, rounds: int | None) -> list[State]:
        """Whole vectors, in so many rounds; gives states in the totals' own dtypes."""
        wide, totals = self.wide, visit.totals
        if any(t.is_blocked for t in totals):
            return self._in_blocks(visit, begin, end, copies, rounds)
        walk: Walk = _directly if rounds == 1 else self.walk
        carried = self._fresh(wide, totals, copies)
        found = walk(begin, end, copies * self.width, carried, self._vectors(visit, copies))
        return [t.merge(wide, s) for t, s in zip(totals, _cut(totals, found, copies), strict=True)]

    def _vectors(self, visit: Visit, copies: int) -> Body:
        """One step of a loop over whole vectors."""

        def vectors(j: str, inside: Sequence[str]) -> list[str]:
            states = _cut(visit.totals, inside, copies)
            for copy in range(copies):
                at = self.one.let(f"add i64 {j}, {copy * self.width}") if copy else j
                values = visit.elements(self.wide, at, None)
                for i, (total, value) in enumerate(zip(visit.totals, values, strict=True)):
                    states[i][copy] = total.gather(self.wide, states[i][copy], value)
            return _joined(states)

        return vectors

    def _in_blocks(self, visit: Visit, begin: str, end: str, copies: int, rounds: int | None) -> list[State]:
        """`_whole` where totals are added up in blocks: a loop over each in a loop over all."""
        wide, one, totals = self.wide, self.one, visit.totals
        step = copies * self.width
        blocked = [t for t in totals if t.is_blocked]
        plain = [t for t in totals if not t.is_blocked]
        zeros = self._fresh(wide, blocked, copies)
        vectors = self._vectors(visit, copies)
        walk: Walk = _directly if rounds == 1 else self.walk
        is_block = rounds is not None and rounds <= BLOCK

        def blocks(j: str, inside: Sequence[str]) -> list[str]:
            last = end
            if not is_block:
                last = one.intrinsic("smin", "i64", one.let(f"add i64 {j}, {BLOCK * step}"), end)
            sums, others = inside[: len(blocked)], iter(_cut(plain, inside[len(blocked) :], copies))
            fresh = iter(_cut(blocked, [start for _, start in zeros], copies))
            begun = [next(fresh) if t.is_blocked else next(others) for t in totals]
            types = [type for t in totals for _ in range(copies) for type in t.types(wide)]
            carried = list(zip(types, _joined(begun), strict=True))
            states = _cut(totals, walk(j, last, step, carried, vectors), copies)
            ended = [
                t.widened(wide, t.merge(wide, s)[0])
                for t, s in zip(totals, states, strict=True)
                if t.is_blocked
            ]
            added = [t.join(wide, x, y, t.dtype) for t, x, y in zip(blocked, sums, ended, strict=True)]
            return [*added, *_joined([s for t, s in zip(totals, states, strict=True) if not t.is_blocked])]

        scalars = [register_scalar(t.dtype) for t in blocked]
        carried = [(wide.type(scalar), wide.number(scalar, 0.0)) for scalar in scalars]
        carried += self._fresh(wide, plain, copies)
        outer: Walk = _directly if is_block else self.walk
        found = outer(begin, end, BLOCK * step, carried, blocks)
        sums = iter(found[: len(blocked)])
        kept = iter(_cut(plain, found[len(blocked) :], copies))
        return [[next(sums)] if t.is_blocked else t.merge(wide, next(kept)) for t in totals]

    def _rest(
        self, em: Emitter, visit: Visit, begin: str, end: str, walk: Walk, masked: bool = False
    ) -> list[State]:
        """What whole vectors left, fewer than they were: where `masked`, lanes beyond `end` do not count."""
        totals = visit.totals

        def some(j: str, inside: Sequence[str]) -> list[str]:
            em.active = mask = self._mask(j, end) if masked else None
            values = visit.elements(em, j, mask)
            em.active = None
            found = []
            for total, value, (state,) in zip(totals, values, _cut(totals, inside, 1), strict=True):
                grown = total.gather(em, state, value)
                found += grown if mask is None else total.kept(em, mask, grown, state)
            return found

        last = walk(begin, end, em.width, self._fresh(em, totals, 1), some)
        states = [state for (state,) in _cut(totals, last, 1)]
        return [
            [t.widened(em, state[0])] if t.is_blocked else state
            for t, state in zip(totals, states, strict=True)
        ]

    def _fresh(self, em: Emitter, totals: Sequence[Total], copies: int) -> list[tuple[str, str]]:
        """Type and start of every register that is gathered in."""
        starts = {t: [em.broadcast(s, x) for s, x in zip(t.scalars, t.starts, strict=True)] for t in totals}
        return [
            pair for t in totals for _ in range(copies) for pair in zip(t.types(em), starts[t], strict=True)
        ]


def _directly(begin: str, end: str, step: int, carried: Carried, body: Body) -> list[str]:
    """`RowLoop.walk` of one step."""
    return list(body(begin, [start for _, start in carried]))


def _cut(totals: Sequence[Total], registers: Sequence[str], copies: int) -> list[list[State]]:
    """Registers in a row as the states of each total, one for each copy."""
    rest = iter(registers)
    return [[[next(rest) for _ in t.starts] for _ in range(copies)] for t in totals]


def _joined(states: Sequence[Sequence[Sequence[str]]]) -> list[str]:
    return [register for of_total in states for state in of_total for register in state]
