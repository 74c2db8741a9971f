"""The pipeline: from what a session is asked for to the function that is planned and run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from graphc.errors import ShapeError
from graphc.freezing import frozen
from graphc.function import Function, all_nodes, in_known_order, topological
from graphc.ops.source import _constant as constant
from graphc.ops.state import _group as group
from graphc.ops.state import assign
from graphc.sizes import Symbol
from graphc.tensor import Tensor
from graphc.types import OPERATION, TensorType
from graphc.verification import verify
from passes.apart import open_apart
from passes.branches import resolve_branches
from passes.constant_folding import fold_constants
from passes.cutting import cut_feeds, refuse_unranked
from passes.dead_results import drop_dead_results
from passes.deduplication import deduplicate
from passes.differentiation import differentiate
from passes.distinct import sort_distinct
from passes.flattening import flatten
from passes.frames import store_in_frames
from passes.fusion import fuse
from passes.layout import lay_out
from passes.lifting import lift_assignments
from passes.loop_invariants import hoist_invariants
from passes.loop_merging import merge_loops
from passes.loop_operands import turn_operands
from passes.loop_sums import sum_after_loops
from passes.loop_traces import keep_traces
from passes.overlaps import open_overlaps
from passes.program import Check, size_guards
from passes.rematerialisation import rematerialise
from passes.rewrite import remembering
from passes.running import AfterEach, Pass, Repeated, walk
from passes.simplification import simplify
from passes.sizing import bind_sizes
from passes.specialisation import specialise
from passes.stages import count, is_counted, stage
from passes.state import thread_state
from passes.target import PLAIN, Target

# On the graph as it was defined, before feeds cut it.
DEFINED: tuple[Pass, ...] = (
    lift_assignments,  # bodies become values, which is what gradients are of
    differentiate,  # what follows sees no requests
    merge_loops,  # while the loops of a gradient still share nodes with those that they remember
)


clean = Repeated("clean", (fold_constants, simplify, deduplicate))  # each finds work for the others

# Always, after the feeds have cut the graph: what it means does not depend on the order of steps then.
REQUIRED: tuple[Pass, ...] = (
    thread_state,  # reads meet the assignments that they see, so that order is data from here on
)

# In this order, each for a reason.
PIPELINE: tuple[Pass, ...] = (
    resolve_branches,  # a branch never taken brings nothing with it
    clean,  # less is left for whatever comes
    drop_dead_results,  # before anything is moved for the sake of a result that nobody reads
    hoist_invariants,  # out of the steps, once clean bodies show what is invariant
    drop_dead_results,  # what was moved out may leave a body without use for what it was made of
    clean,  # what came out of the bodies meets what was outside
    keep_traces,  # of what came out of a gradient's steps, what the steps forwards have made already
    sum_after_loops,  # what is left of gradients in the steps, and what they only add up
    lay_out,  # once all is there that is moved, and before fusion binds ops to rows
    open_apart,  # once it is known that windows do not lie along the last axis
    turn_operands,  # after that: it would take the transposes back
    open_overlaps,  # after that: how windows lie is settled
    sort_distinct,  # once nobody asks for more of its results
    clean,  # reshapes meet where a transpose stood between them
    flatten,  # after that: it makes reshapes that simplification would move
    fuse,  # after those that look at single ops
    store_in_frames,  # once it is known which kernel makes what
    rematerialise,  # last: the very kernels run again, so no bit changes, and its prediction is what runs
)


_MOVING = frozenset((constant, assign, group))  # ops that hand on what is there


@frozen
class Prepared:
    """A function ready to be planned, and the sizes that the user's definition takes as equal."""

    function: Function
    guards: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """What a session wants compiled.

    Args:
        fetches: tensors and operations.
        feeds: what is fed: placeholders, or any other tensors.
        types: fed tensors whose rank was unknown, with their type for the rank that is fed.
        sizes: unknown sizes specialised to a number, because a 1 that is fed there must broadcast.
    """

    fetches: tuple[Tensor, ...]
    feeds: tuple[Tensor, ...]
    types: Mapping[Tensor, TensorType] = field(default_factory=dict)
    sizes: Mapping[Symbol, int] = field(default_factory=dict)
    _order: tuple[Tensor, ...] | None = field(default=None, init=False, repr=False, compare=False)

    def nodes(self) -> tuple[Tensor, ...]:
        """Every node that fetches and feeds reach, operands before users."""
        if self._order is None:  # walked once, as of a `Function`
            object.__setattr__(self, "_order", tuple(topological((*self.fetches, *self.feeds))))
        return self._order or ()


def prepare(request: Request, target: Target = PLAIN, after_each: AfterEach | None = None) -> Prepared:
    """The function of `request`: inputs in the order of its feeds, outputs in the order of its fetches.

    Differentiation comes first, then what is fed cuts the graph, then `REQUIRED` and the target's
    pipeline (`PIPELINE` where it has none of its own): a gradient through a fed tensor uses the fed
    value and still reaches back.

    Raises: FeedError for a placeholder that is needed and not fed; StateError; ShapeError; what a
    pass raises, with a note that names it; VerificationError where ``target.verify``.
    """
    tell = after_each or (lambda name, function: None)
    with stage("define"):
        function = define(request, target, tell)
        guards = size_guards(function)
    if is_counted():
        count("nodes", sum(1 for _ in all_nodes(function)))
    passes = REQUIRED + (_pipeline_for(function) if target.pipeline is None else target.pipeline)
    return Prepared(run(passes, function, target, tell), guards)


def _pipeline_for(function: Function) -> tuple[Pass, ...]:
    """None where nothing is computed, as where variables get constants: there is nothing to make better."""
    return PIPELINE if any(node.op not in _MOVING for node in function.nodes()) else ()


def define(request: Request, target: Target, tell: AfterEach, passes: tuple[Pass, ...] = DEFINED) -> Function:
    """The function of `request` as defined: no requests for gradients are left, and feeds have cut it."""
    fetches, feeds = request.fetches, request.feeds
    function = in_known_order(Function((), (*fetches, *feeds), effects_of(fetches)), request.nodes())
    binders = [node for node in function.nodes() if node.op.binds]
    if binders:
        function = replace(function, outputs=(*function.outputs, *binders))
    tell("define", function)
    function, _ = specialise(function, request.types, request.sizes)
    tell("specialise", function)
    try:
        function = run(passes, function, replace(target, verify=False), tell)  # not yet of its inputs
    except ShapeError as error:  # a gradient needs ranks
        refuse_unranked(function, feeds, error)
        raise
    outputs = function.outputs
    wanted, fed = outputs[: len(fetches)], outputs[len(fetches) : len(fetches) + len(feeds)]
    binding = outputs[len(fetches) + len(feeds) :]
    rest = Function((), wanted, function.effects)
    function, new = cut_feeds(rest, fed)
    tell("cut_feeds", function)
    function = bind_sizes(function, tuple(new.get(node, node) for node in binding))
    tell("bind_sizes", function)
    function = _keeping_effects(function)
    return verify(function) if target.verify else function


def _keeping_effects(function: Function) -> Function:
    """`function` with all it assigns, prints and checks as effects: no rewrite of a value drops them."""
    nodes = function.nodes()
    effects = dict.fromkeys((*function.effects, *[node for node in nodes if node.op.effect]))
    if len(effects) == len(function.effects):
        return function
    return in_known_order(replace(function, effects=tuple(effects)), nodes)  # which reach them anyway


def run(passes: Sequence[Pass], function: Function, target: Target, tell: AfterEach) -> Function:
    """`function` after each of `passes` in turn."""
    with remembering():
        for done in walk(passes, function, target):
            function = done.after
            tell(done.name, function)
    return function


def effects_of(fetches: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The operations among `fetches`, which have no value but are to run."""
    return tuple(node for node in fetches if node.type == OPERATION)
