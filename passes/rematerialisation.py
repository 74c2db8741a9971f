"""Rematerialisation: values that would be held for long are computed again, so that a memory budget holds.

A function is split in an early part, the forward one, and a late part, which is what is marked as
backward and what depends on that. Early values with late users are held in between, or computed again
right before their first late use, from others that are held. Which are held is found as

  - Chen, Xu, Zhang, Guestrin, "Training deep nets with sublinear memory cost", 2016: the early part is
    cut into k segments of about as many bytes, where few bytes cross; what is computed again in one
    never begins before it. With k of about the root of the depth the peak is of that order too.
  - within a segment, a minimum cut between what is there anyway and what late users need, each value
    weighing its bytes: Jain et al., "Checkmate: breaking the memory wall with optimal tensor
    rematerialization", 2020, state the problem; the cut is that of PyTorch's partitioner (Horace He,
    "Min-cut optimal recomputation with AOTAutograd", 2022).

Of all k, with and without contractions among what may be computed again, and for the first segments
alone, the plan with the fewest flops is taken whose predicted peak, that of the very program, is within
the budget. Each value is computed at most once more. This pass comes last, so the same ops run again,
in the same kernels: no bit changes.

Accepted decisions have the reason ``budget``. Refused ones say why a value with late users is held:
``cut`` (the cheapest place to begin from), ``effect``, ``sizes`` (it binds some), ``result`` (it is given
back anyway), ``dear`` (the budget is kept without).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from graphc.errors import ArgumentError
from graphc.freezing import frozen
from graphc.function import Function, bodies
from graphc.sizes import Size, SizeExpr, Symbol, evaluate, symbols
from graphc.tensor import Tensor
from graphc.types import TensorType
from passes.lifetimes import find_peak
from passes.program import plan
from passes.recomputation import MOST_NODES, Split, cut_segments, recompute, segments_of
from passes.record import Decision, counters, decide, is_watched
from passes.rewrite import transform_bodies
from passes.scheduling import schedule
from passes.target import PLAIN, Target
from passes.weight import GUESS, parts_of

_MANY = 1000  # values: beyond, fewer plans are tried


class BudgetError(ArgumentError):
    """A memory budget cannot be kept; `least` bytes can, as far as is known."""

    def __init__(self, budget: int, least: int) -> None:
        super().__init__(
            f"memory_budget: {budget} bytes are not enough: the least that this takes is {least} bytes"
        )
        self.least = least


def rematerialise(function: Function, target: Target = PLAIN) -> Function:
    """`function` with values computed again so that ``target.memory_budget`` is kept; the same where it is.

    Nothing is done while sizes that the budget depends on are unknown: ``target.sizes`` gives them.

    Raises: BudgetError where the budget cannot be kept.
    """
    budget, known = target.memory_budget, dict(target.sizes)
    if budget is None or not _all_given(function, known):
        return function
    counters().nodes_visited += len(function.nodes())
    known = _with_guesses(function, known)
    found, least = _within(function, known, budget)
    if found is None:  # not outside of bodies alone
        slim = _with_slim_bodies(function, known)
        if slim is not function:
            found, other = _within(slim, known, budget)
            least = min(least, other)
    if found is None:
        raise BudgetError(budget, least)
    return found


def _within(function: Function, known: dict[Symbol, int], budget: int) -> tuple[Function | None, int]:
    """`function` as it keeps `budget`; where it cannot, None and the least peak that was found."""
    peak = find_peak(plan(function, ()), known)
    if peak.bytes <= budget:
        return function, peak.bytes
    least = peak.bytes
    order = schedule(function)
    for split in (Split.by_mark(function, order, known), Split.by_step(function, order, known, peak.step)):
        best, lowest = _best(split, known, budget)
        if best is not None:
            return _carried_out(best), budget
        least = min(least, lowest)
    return None, least


@frozen
class _Plan:
    """To hold `kept` of the early values that late ones need, in the first `count` segments."""

    split: Split
    segments: tuple[tuple[Tensor, ...], ...]
    dear: bool
    count: int
    kept: frozenset[Tensor]
    flops: int


def _plan_of(split: Split, segments: tuple[tuple[Tensor, ...], ...], dear: bool, count: int) -> _Plan:
    kept = cut_segments(split, segments[:count], segments[count:], dear)
    return _Plan(split, segments, dear, count, kept, sum(split.flops(v) for v in split.again(kept)))


def _best(split: Split, known: dict[Symbol, int], budget: int) -> tuple[_Plan | None, int]:
    """The plan of least work that keeps `budget`; and where none does, the least peak of all."""
    least = sys.maxsize
    for chosen in sorted(_plans(split), key=lambda each: each.flops):
        found = _peak(chosen, known)
        least = min(least, found)
        if found <= budget:
            return _narrowed(chosen, known, budget), least
    return None, least


def _plans(split: Split) -> Iterator[_Plan]:
    """What there is to choose from: every number of segments and kind of op."""
    kinds = (False, True) if any(map(split.is_dear, split.early)) else (True,)
    for count in _counts(len(split.early)) if split.needed else ():
        segments = segments_of(split, count)
        for dear in kinds:  # what late values need of the last segment, they need at once
            yield _plan_of(split, segments, dear, max(len(segments) - 1, 1))


def _counts(values: int) -> list[int]:
    """Numbers of segments: some up to four times the root of the number of values, none too long."""
    counts, most = [1 + values // MOST_NODES], max(2, int(4 * values**0.5))
    factor = 1.5 if values < _MANY else 2
    while counts[-1] < most:
        counts.append(max(counts[-1] + 1, int(counts[-1] * factor)))
    return counts


def _peak(chosen: _Plan, known: dict[Symbol, int]) -> int:
    again = recompute(chosen.split, chosen.kept)
    return find_peak(plan(again, (), frozenset(known)), known).bytes


def _narrowed(chosen: _Plan, known: dict[Symbol, int], budget: int) -> _Plan:
    """`chosen` for as few of the first segments as bisection finds to be enough."""
    low, high = 0, chosen.count
    while high - low > max(1, chosen.count // 16):
        middle = (low + high) // 2
        tried = _plan_of(chosen.split, chosen.segments, chosen.dear, middle)
        if tried.flops < chosen.flops and _peak(tried, known) <= budget:
            chosen, high = tried, middle
        else:
            low = middle
    return chosen


def _carried_out(chosen: _Plan) -> Function:
    """The function of `chosen`, with its decisions; values whose decision is forbidden are held."""
    split, kept = chosen.split, chosen.kept
    if is_watched():
        forbidden = set()
        for node in split.again(kept):
            details = {"bytes": split.bytes(node), "flops": split.flops(node)}
            if not decide(Decision("rematerialise", node.op.name, True, "budget", node.loc, details), node):
                forbidden.add(node)
        for node in split.early:
            if node in kept and node in split.needed:
                reason = split.obstacle(node) or (
                    "dear" if split.is_dear(node) and not chosen.dear else "cut"
                )
                details = {"bytes": split.bytes(node)}
                decide(Decision("rematerialise", node.op.name, False, reason, node.loc, details), node)
        kept = kept | forbidden
    return recompute(split, kept)


def _with_slim_bodies(function: Function, known: dict[Symbol, int]) -> Function:
    """`function` with the bodies of its branches and loops as they take least memory."""

    def slimmed(body: Function) -> Function:
        given = frozenset(known)
        peak = find_peak(plan(body, (), given), known)
        order = schedule(body)
        split = Split.by_mark(body, order, known)
        if not split.needed:
            split = Split.by_step(body, order, known, peak.step)
        best, lowest = _best(split, known, 0)
        if lowest < peak.bytes:
            best, _ = _best(split, known, lowest)
        return body if best is None else _carried_out(best)

    return transform_bodies(function, slimmed)


# Sizes.


def evaluated(size: Size, known: dict[Symbol, int]) -> int:
    """`size` as a number, with a guess for what is not known."""
    return evaluate(size, {symbol: known.get(symbol, GUESS) for symbol in symbols(size)})


def _all_given(function: Function, known: dict[Symbol, int]) -> bool:
    """Whether the sizes of what is there before the run are known."""
    nodes = [*function.inputs, *(n for n in function.nodes() if n.op.name == "variable")]
    return all(node.result.shape is not None and _symbols_of(node) <= known.keys() for node in nodes)


def _with_guesses(function: Function, known: dict[Symbol, int]) -> dict[Symbol, int]:
    found: set[Symbol] = set()
    pending = [function]
    while pending:
        for node in pending.pop().nodes():
            found |= _symbols_of(node)
            pending.extend(body for _, body in bodies(node))
    return {**dict.fromkeys(found, GUESS), **known}


def _symbols_of(node: Tensor) -> set[Symbol]:
    types: list[TensorType] = [type for type in parts_of(node.type) if type.shape is not None]
    return {
        symbol
        for type in types
        for size in type.sizes
        if isinstance(size, SizeExpr)
        for symbol in symbols(size)
    }
