"""Epilogues: elementwise ops that the kernel of a contraction computes on its sums before it stores them.

A contraction takes its elementwise users of its own shape, theirs, and so on: a bias, an activation, a
residual, the slope of an activation. What else such a user
reads may be of any shape that broadcasts; and where nobody but the user needs it, and it is elementwise of
the same shape, it comes along. Every value that others need is stored, so nothing is computed twice.

A user that is not taken has a typed reason in the record: ``op`` (it is not elementwise, or the backend has
no code for it, or none that checks its numbers), ``shape`` (it is of another shape), ``dtype`` (bfloat16,
which is rounded step by step), ``order`` (what it reads needs the contraction by another way), ``size`` (the
kernel would grow beyond MOST_NODES), ``traffic`` (the kernel would read and write more than MOST_ARRAYS
besides, tile by tile: the update of a variable is faster row by row). Of those that are too many, the first
that cost nothing are taken, as a bias.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.function import Function
from graphc.op import OPS
from graphc.ops.region import fused
from graphc.sizes import Size
from graphc.tensor import Tensor
from graphc.types import BFLOAT16, TensorType
from passes.failure import may_fail
from passes.grouping import accept, count_users, enclose, refuse
from passes.prologues import find_prologues
from passes.record import is_watched
from passes.target import Target

MOST_NODES = 32  # of one kernel, the contraction among them
MOST_ARRAYS = 2  # of the shape of the result
_MOST_STEPS = 128  # of a search for another way from a contraction to its user
_BROADCAST = OPS["broadcast_to"]


def fuse_epilogues(function: Function, target: Target) -> Function:
    """`function` with each contraction and what its kernel takes along in a `fused` node. Linear."""
    nodes = function.nodes()
    given = set(function.inputs)
    contractions = [n for n in nodes if n not in given and n.op is not fused and target.contracts(n)]
    if not contractions:
        return function
    return _Epilogues(function, nodes, target, set(contractions)).function()


class _Epilogues:
    def __init__(
        self, function: Function, nodes: Sequence[Tensor], target: Target, contractions: set[Tensor]
    ) -> None:
        self._function, self._nodes, self._target, self._contractions = function, nodes, target, contractions
        self._place = {node: i for i, node in enumerate(nodes)}
        self._users = count_users(function)
        self._given = set(function.inputs)
        self._groups: list[list[Tensor]] = []
        self._group_of: dict[Tensor, int] = {}
        self._unfit: dict[Tensor, str] = {}
        self._late = len(nodes)  # before it no value needs another that comes after it

    def function(self) -> Function:
        """The function with its groups enclosed."""
        group_of, watched = self._group_of, is_watched()
        for node in self._nodes:
            if node in self._contractions:
                self._group_of[node] = len(self._groups)
                self._groups.append([node])
                continue
            if group_of.keys().isdisjoint(node.inputs):
                continue
            near = {group_of[operand] for operand in node.inputs if operand in group_of}
            reasons: dict[int, str] = {}
            for group in sorted(near, reverse=True):  # the later one: what it reads is there
                reasons[group] = self._join(node, group)
                if not reasons[group]:
                    break
            if watched:
                self._report(node, reasons)
        groups = [sorted(group, key=self._place.__getitem__) for group in self._groups if len(group) > 1]
        light = [part for group in groups if (part := self._light_part(group))]
        accepted = [group for group in light if accept(group, "epilogue")]
        before = self._prologues(accepted)
        with_epilogue = {self._root(group) for group in accepted}
        accepted += [[root] for root in before if root not in with_epilogue]
        if not accepted:
            return self._function
        walked = [self._rows(group) for group in accepted]
        roots = list(map(self._root, accepted))
        own = [before.get(root, ()) for root in roots]
        return enclose(self._function, self._nodes, accepted, walked, roots, own)

    def _prologues(self, accepted: Sequence[Sequence[Tensor]]) -> dict[Tensor, list[Tensor]]:
        taken = {node for group in accepted for node in group}
        results = (*self._function.outputs, *self._function.effects)
        return find_prologues(self._nodes, self._contractions, taken, self._given, results, self._target)

    def _root(self, group: Sequence[Tensor]) -> Tensor:
        return next(node for node in group if node in self._contractions)

    def _light_part(self, group: list[Tensor]) -> list[Tensor]:
        """`group` where it is light, else as many of its first nodes as cost nothing, or none."""
        root, traffic = self._root(group), self._traffic(group)
        if traffic[-1] <= MOST_ARRAYS:
            return group
        refuse(root, group[-1], "traffic")
        first = group.index(root) + 2
        return next((group[:end] for end in range(len(group) - 1, first - 1, -1) if not traffic[end - 1]), [])

    def _traffic(self, group: Sequence[Tensor]) -> list[int]:
        """How many arrays of the shape of the result are read and written besides that, up to each node."""
        shape = group[0].result.shape
        left: dict[Tensor, int] = {}  # how many users of each are not inside
        read: set[Tensor] = set()
        besides, found = -1, []
        for node in group:
            for x in {*node.inputs}:
                if x in left:
                    left[x] -= 1
                    besides -= not left[x]  # nobody needs it stored
                elif x not in read and node not in self._contractions:
                    read.add(x)
                    besides += x.result.shape == shape
            left[node] = self._users[node]
            besides += 1
            found.append(besides)
        return found

    def _rows(self, group: Sequence[Tensor]) -> tuple[Size, ...]:
        root = self._root(group)
        return root.result.sizes or (1,)

    def _join(self, node: Tensor, number: int) -> str:
        """Adds `node` to a group; gives the reason why not."""
        group = self._groups[number]
        shape = group[0].result.shape
        if reason := self._reason(node, shape):
            return reason
        first = self._place[group[0]]
        added: dict[Tensor, None] = {node: None}
        late = False
        pending = [node]
        while pending:
            for operand in pending.pop().inputs:
                if operand in added or self._group_of.get(operand) == number:
                    continue
                if self._comes_along(operand, shape):
                    added[operand] = None
                    pending.append(operand)
                    if len(group) + len(added) > MOST_NODES:
                        return "size"  # a chain that comes along may be as long as the graph
                elif self._needs(operand, number):
                    return "order"
                elif operand.inputs and self._place[operand] > first:
                    late = True
        if len(group) + len(added) > MOST_NODES:
            return "size"
        if late:
            self._late = min(self._late, first)
        group.extend(added)
        self._group_of.update(dict.fromkeys(added, number))
        return ""

    def _reason(self, node: Tensor, shape: tuple[Size, ...] | None) -> str:
        """Why `node` can be in no epilogue of values of `shape`; "" where it can."""
        found = self._unfit.get(node)
        if found is None:
            found = self._unfit[node] = self._unfit_of(node)
        if found == "op":
            return found
        return found if node.result.shape == shape else "shape"

    def _unfit_of(self, node: Tensor) -> str:
        """Why `node` can be in no epilogue at all."""
        if (
            not isinstance(node.type, TensorType)
            or node.op.family != "elementwise"
            or node.op.name not in self._target.fusible
            or may_fail(node)
            or not self._target.follows(node)
        ):
            return "op"
        return "dtype" if any(x.dtype is BFLOAT16 for x in (node, *node.inputs)) else ""

    def _comes_along(self, operand: Tensor, shape: tuple[Size, ...] | None) -> bool:
        """Whether only the user of `operand` needs it, and its kernel may compute it."""
        if operand in self._given or operand in self._group_of or self._users[operand] != 1:
            return False
        if operand.op is _BROADCAST:
            return operand.result.shape == shape and operand.dtype is not BFLOAT16
        return bool(operand.inputs) and not self._reason(operand, shape)

    def _needs(self, node: Tensor, number: int) -> bool:
        """Whether `node`, or what is computed with it, needs a value of the group; also where it is far."""
        first = min(self._place[self._groups[number][0]], self._late)
        seen: set[Tensor | int] = set()
        pending = [node]
        while pending:
            current = pending.pop()
            own = self._group_of.get(current)
            if own == number:
                return True
            key = current if own is None else own
            if key in seen or self._place[current if own is None else self._groups[own][0]] < first:
                continue  # it, and the group that it is of, needs only what comes before it
            seen.add(key)
            if len(seen) > _MOST_STEPS:
                return True
            members = [current] if own is None else self._groups[own]
            pending.extend(operand for member in members for operand in member.inputs)
        return False

    def _report(self, node: Tensor, reasons: dict[int, str]) -> None:
        for operand in node.inputs:
            reason = reasons.get(self._group_of.get(operand, -1))
            if reason:
                refuse(operand, node, reason)
