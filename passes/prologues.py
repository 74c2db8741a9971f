"""Prologues: elementwise ops that the kernel of a contraction computes on an operand where it reads it.

An operand that is packed, or read in vectors for one tile of rows, is read a few times in all; what makes it
of others can be computed then, and it never lies in memory: a cast from a narrow dtype, a scale, a mask.
It is taken where all who use the operand are contractions that take it too, each for itself. The casts of a
product of bytes, ``matmul(cast(x), cast(y))`` in integers, are taken together where the kernel packs both
operands (for dot instructions), whoever else needs them.

One that is not taken has a typed reason in the record: ``used`` (others need its result, so that it is made
anyway), ``rows`` (it reads what a kernel of rows makes, which computes it on the way), ``packed`` (the
kernel reads this operand one element at a time, or copies it for each group of columns), ``repeats`` (the
operand is computed more often than its ops are worth: MOST_REPEATED), ``registers`` (it is not packed, and
dear ops or a second array would take the registers of the sums), ``traffic`` (more would be read than is
saved), ``dtype`` (bfloat16, which is rounded step by step; or bytes, for which the contraction may have
instructions), ``size`` (more than MOST_NODES).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence, Set

from graphc.freezing import frozen
from graphc.op import OPS, Op
from graphc.tensor import Tensor
from graphc.types import BFLOAT16, INT8, UINT8, TensorType
from passes.failure import may_fail
from passes.grouping import fuse_alone
from passes.record import Decision, decide
from passes.target import Target

MOST_NODES = 8  # of one prologue
MOST_REPEATED = 16  # cheap ops for each element beyond those of computing it once
_DEAR = 6  # cheap ops that another one costs
CHEAP = frozenset(
    OPS[name]
    for name in (
        *("cast", "add", "sub", "mul", "neg", "abs", "square", "maximum", "minimum", "relu", "where"),
        *("greater", "greater_equal", "less", "less_equal", "equal", "not_equal"),
        *("logical_and", "logical_or", "logical_not", "clip"),
    )
)
_BYTES = (INT8, UINT8)
_BROADCAST, _CAST, _TRANSPOSE = OPS["broadcast_to"], OPS["cast"], OPS["transpose"]


@frozen
class _Chain:
    """What makes an operand: the nodes, the transposes between them and the contraction, and the rest."""

    base: Tensor
    nodes: tuple[Tensor, ...]
    views: tuple[Tensor, ...]


_Use = tuple[Tensor, int, _Chain]  # a contraction, the number of the operand, and what makes that


def find_prologues(
    nodes: Sequence[Tensor],
    contractions: Set[Tensor],
    taken: Collection[Tensor],
    given: Set[Tensor],
    results: Collection[Tensor],
    target: Target,
) -> dict[Tensor, list[Tensor]]:
    """For each of `contractions` with prologues, what makes its operands, in the order of `nodes`. Linear.

    Args:
        nodes: those of the function, each after what it needs.
        contractions: those of them whose kernels may compute operands.
        taken: what kernels of contractions compute already.
        given: the inputs of the function.
        results: its outputs and effects.
        target: says how kernels read operands.
    """
    finder = _Prologues(nodes, contractions, set(taken), given, results, target)
    return finder.find()


class _Prologues:
    def __init__(
        self,
        nodes: Sequence[Tensor],
        contractions: Set[Tensor],
        taken: set[Tensor],
        given: Set[Tensor],
        results: Collection[Tensor],
        target: Target,
    ) -> None:
        self._contractions, self._taken, self._given, self._target = contractions, taken, given, target
        self._nodes, self._results = nodes, results
        self._place: dict[Tensor, int] = {}
        self._users: dict[Tensor, set[Tensor | None]] = {}
        self._made_of: dict[Tensor, tuple[Tensor, ...]] = {}

    def find(self) -> dict[Tensor, list[Tensor]]:
        """The prologues."""
        made = [
            (root, number, base, views)
            for root in self._nodes
            if root in self._contractions
            for number, operand in enumerate(root.inputs)
            for base, views in self._base(operand)
        ]
        if not made:
            return {}
        self._look()
        found: dict[Tensor, list[Tensor]] = {}
        together = self._bytes(made)
        wanted: dict[Tensor, list[_Use]] = {}  # by what the operands are made of
        for root, number, base, views in made:
            if root in together:
                chain = _Chain(base, (base,), views)
                self._decide("", root, number, chain, found)
                continue
            if base not in self._made_of:
                self._made_of[base] = self._nodes_of(base)
            wanted.setdefault(base, []).append((root, number, _Chain(base, self._made_of[base], views)))
        for base, uses in wanted.items():
            reason = self._reason(base, uses)
            for root, number, chain in uses:
                self._decide(reason, root, number, chain, found)
        return {
            root: sorted(dict.fromkeys(members), key=self._place.__getitem__)
            for root, members in found.items()
        }

    def _decide(
        self, reason: str, root: Tensor, number: int, chain: _Chain, found: dict[Tensor, list[Tensor]]
    ) -> None:
        """Adds a chain to what is `found`, or reports the `reason` why not."""
        subject, details = f"{chain.base.op.name} with {root.op.name}", {"nodes": len(chain.nodes)}
        if reason:
            operands = root.inputs[number], root
            decide(Decision("fuse", subject, False, reason, root.loc, details, operands))
            return
        members = (*chain.nodes, *chain.views)
        done = Decision("fuse", subject, True, "prologue", root.loc, details, (*members, root))
        if decide(done, root):
            found.setdefault(root, []).extend(members)

    def _bytes(self, made: Sequence[tuple[Tensor, int, Tensor, tuple[Tensor, ...]]]) -> set[Tensor]:
        """The products of two operands that are bytes cast to integers, where the kernel packs the bytes.

        Others may need the casts too: bytes are read as fast as what is cast.
        """
        casts: dict[Tensor, list[tuple[int, tuple[Tensor, ...]]]] = {}
        for root, number, base, views in made:
            if base.op is _CAST and base.dtype.is_integer and base.inputs[0].dtype in _BYTES:
                casts.setdefault(root, []).append((number, (base, *reversed(views))))
        found = set()
        for root, operands in casts.items():
            if len(operands) == len(root.inputs) == 2:
                group = dict.fromkeys(x for _, members in operands for x in members)
                candidate = fuse_alone((*sorted(group, key=self._place.__getitem__), root), (root,), ())
                readings = [self._target.reads(candidate, number) for number, _ in operands]
                if all(reading is not None and reading.packed for reading in readings):
                    found.add(root)
        return found

    def _look(self) -> None:
        """Learns where nodes stand, and who uses them."""
        for i, node in enumerate(self._nodes):
            self._place[node] = i
            for operand in node.inputs:
                self._users.setdefault(operand, set()).add(node)
        for node in self._results:
            self._users.setdefault(node, set()).add(None)

    def _base(self, operand: Tensor) -> Iterator[tuple[Tensor, tuple[Tensor, ...]]]:
        """The elementwise op that makes `operand`, if one does, and the transposes between them."""
        views: list[Tensor] = []
        while operand.op is _TRANSPOSE and operand not in self._given:
            views.append(operand)
            operand = operand.inputs[0]
        if self._computes(operand, operand) and operand.op is not _BROADCAST:
            yield operand, tuple(views)

    def _nodes_of(self, operand: Tensor) -> tuple[Tensor, ...]:
        """What makes `operand` and nothing else, in order; one more than may be, where it is too much."""
        found = {operand: None}
        pending = [operand]
        while pending and len(found) <= MOST_NODES:
            for x in pending.pop().inputs:
                alone = x not in found and self._users[x] <= found.keys()
                if alone and self._computes(x, operand):
                    found[x] = None
                    pending.append(x)
        return tuple(sorted(found, key=self._place.__getitem__))

    def _computes(self, x: Tensor, base: Tensor) -> bool:
        """Whether `x` may be computed where `base` is read."""
        if x in self._given or x in self._taken or not x.inputs or not isinstance(x.type, TensorType):
            return False
        if x.result.shape != base.result.shape or may_fail(x):
            return False
        return x.op is _BROADCAST or (x.op.family == "elementwise" and x.op.name in self._target.fusible)

    def _reason(self, base: Tensor, uses: Sequence[_Use]) -> str:
        """Why what makes `base` is not computed by those that use it; "" where it is."""
        chain = uses[0][2]
        users = {view for _, _, each in uses for view in each.views} | {root for root, _, _ in uses}
        if any(not self._users[x] <= users for _, _, each in uses for x in (base, *each.views)):
            return "used"
        if len(chain.nodes) > MOST_NODES:
            return "size"
        read = dict.fromkeys(x for node in chain.nodes for x in node.inputs if x not in chain.nodes)
        if any(not _holds(x, chain.nodes) for x in (*chain.nodes, *read)) or base.dtype.itemsize == 1:
            return "dtype"
        whole = [x for x in read if x.result.shape == base.result.shape]
        if not whole or any(self._is_of_rows(x) for x in whole):
            return "rows"
        return self._cost(base, uses, [node.op for node in chain.nodes], whole)

    def _cost(self, base: Tensor, uses: Sequence[_Use], ops: Sequence[Op], whole: Sequence[Tensor]) -> str:
        """Why what makes `base`, by `ops` of arrays as `whole` as it is, costs too much where it is read."""
        read, made = (sum(x.dtype.itemsize for x in each) for each in (whole, (base,)))
        work = sum(1 if op in CHEAP else _DEAR for op in ops if op is not _BROADCAST)
        times = 0
        for root, number, chain in uses:
            candidate = fuse_alone((*chain.nodes, *chain.views[::-1], root), (root,), ())
            reading = self._target.reads(candidate, number)
            if reading is None:
                return "packed"
            if not reading.packed and (read > made or not CHEAP.issuperset({*ops} - {_BROADCAST})):
                return "registers"
            times += reading.times
            if (times - 1) * work > MOST_REPEATED:
                return "repeats"
        return "traffic" if (times - 1) * read >= (times + 1) * made else ""

    def _is_of_rows(self, x: Tensor) -> bool:
        """Whether a kernel of rows makes `x`."""
        return (
            bool(x.inputs)
            and x not in self._given
            and x not in self._taken
            and (x.op.name in self._target.fusible and x not in self._contractions)
        )


def _holds(x: Tensor, chain: Collection[Tensor]) -> bool:
    """Whether a kernel has `x` as arrays hold it: bfloat16 only where it is read to be cast."""
    if x.dtype is not BFLOAT16:
        return True
    return x not in chain and all(
        node.op is _CAST and node.dtype.is_floating for node in chain if x in node.inputs
    )
