"""Scheduling: an order of the nodes, operands before users, that keeps few bytes alive at once.

For each node the operand that needs more memory to be computed than it leaves behind comes first: on a
tree that is the order of Sethi and Ullman (1970). On a graph with shared nodes it is a guess, so the
order is used only where it keeps less alive than the order of definition does, and than the one that
takes the operand first which can be had first. Small updates of variables come last of all (`updates`).
Linear.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import accumulate, chain

from graphc.function import Function, in_order
from graphc.laziness import Lazy
from graphc.ops.state import after, pick
from graphc.tensor import Tensor
from passes.updates import find_late
from passes.weight import guess_bytes_of, parts_of

Order = list[int]  # nodes by their number in the order of definition


def schedule(function: Function) -> list[Tensor]:
    """The nodes of `function` in the order in which they are to run; its inputs come first."""
    return _Schedule(function).best()


class _Schedule:
    """The nodes by number: `operands` of each, its guessed `size`, whether something keeps it (`fixed`)."""

    def __init__(self, function: Function) -> None:
        self.nodes = nodes = function.nodes()
        number = {node: i for i, node in enumerate(nodes)}.__getitem__
        self.inputs = list(map(number, function.inputs))
        self.roots = list(map(number, (*function.outputs, *function.effects)))
        self.operands = operands = [list(map(number, node.inputs)) for node in nodes]
        self.fixed = {*self.inputs, *self.roots}
        self.picks: dict[int, list[int]] = {}
        root = list(range(len(nodes)))  # whose memory each is: `after` is that of its operand
        for i, node in enumerate(nodes):
            if node.op is pick:
                self.picks.setdefault(operands[i][0], []).append(i)
            elif node.op is after:
                root[i] = root[operands[i][0]]
        self.picked = set(chain.from_iterable(self.picks.values()))
        self.size = self._guessed_sizes()
        self.reads = [[root[j] for j in given] for given in operands]  # whose memory
        kept = {root[i] for i in self.roots}
        self.dying = [i for i, size in enumerate(self.size) if size and i not in kept]

    def best(self) -> list[Tensor]:
        depth, nodes = self._depths(), self.nodes
        defined = list(range(len(nodes)))
        found = self._with_picks(defined)
        least = self._held(found)
        walks = (
            (self.roots, self._gains().__getitem__),
            # What can be had first is: of the gradients of layers, that of the last one.
            (sorted(self.roots, key=depth.__getitem__), depth.__getitem__),
        )
        tried = [defined]
        for roots, key in walks:
            walk = self._sunk(self._walked(roots, key))
            if walk not in tried:
                tried.append(walk)
                walk = self._with_picks(walk)
                held = self._held(walk)
                if held < least:
                    found, least = walk, held
        late = find_late(nodes, self.operands, self.size)
        if late:
            found = [*(i for i in found if i not in late), *(i for i in found if i in late)]
        return [nodes[i] for i in found]

    def _walked(self, roots: Sequence[int], key: Callable[[int], int]) -> Order:
        """The order in which what `roots` reach is had, operands by `key`."""
        needs = [given if len(given) < 2 else sorted(given, key=key) for given in self.operands]
        if roots == self.roots and needs == self.operands:
            return list(range(len(needs)))  # that of definition
        return in_order(roots, needs.__getitem__, self.inputs)

    def _sunk(self, order: Order) -> Order:
        """`order` with nodes that take more memory than their operands, as draws do, right before use."""
        sinking = self._sinking
        if not sinking:
            return order
        below = self._sinking_operands
        users = Counter(chain.from_iterable(below.values()))
        backwards = []
        for last in reversed(order):
            stack = [] if last in sinking else [last]
            while stack:
                i = stack.pop()
                backwards.append(i)
                for j in below.get(i, ()):
                    users[j] -= 1
                    if not users[j]:
                        stack.append(j)
        return backwards[::-1]

    @Lazy
    def _sinking(self) -> set[int]:
        nodes, operands, size = self.nodes, self.operands, self.size
        found = set()
        for i, given in enumerate(operands):
            if not given or not size[i] or i in self.fixed:
                continue
            held = 0
            for j in given:
                held += size[operands[j][0]] if nodes[j].op is after else size[j]
            if held < size[i]:
                found.add(i)
        return found

    @Lazy
    def _sinking_operands(self) -> dict[int, list[int]]:
        """Of each node that has some: those of its operands that sink."""
        sinking = self._sinking
        return {
            i: [j for j in dict.fromkeys(given) if j in sinking]
            for i, given in enumerate(self.operands)
            if not sinking.isdisjoint(given)
        }

    def _with_picks(self, order: Order) -> Order:
        """`order` with every pick right behind what it picks from, so that no other result is held for it."""
        if not self.picks:
            return order
        place = dict(zip(order, range(len(order)), strict=True))
        result = []
        for i in order:
            if i not in self.picked:
                result.append(i)
                if i in self.picks:
                    result += sorted(self.picks[i], key=place.__getitem__)
        return result

    def _depths(self) -> list[int]:
        """The length of the longest way from a source to each node."""
        depth: list[int] = []
        for given in self.operands:
            depth.append(1 + max(map(depth.__getitem__, given), default=0))
        return depth

    def _guessed_sizes(self) -> list[int]:
        """The guessed bytes of each node; of a tuple's, what is picked counts for the pick."""
        size = [0 if node.op is after else _guessed_bytes(node) for node in self.nodes]
        for whole, picks in self.picks.items():
            for i in picks:
                size[whole] = max(size[whole] - size[i], 0)
        return size

    def _gains(self) -> list[int]:
        """The bytes of each node, less those alive at once while it is computed, were it alone and a tree."""
        size = self.size
        gain: list[int] = []
        for own, given in zip(size, self.operands, strict=True):
            held = most = 0
            for j in given if len(given) < 2 else sorted({*given}, key=gain.__getitem__):
                held += size[j]
                if held - gain[j] > most:
                    most = held - gain[j]
            gain.append(own - max(most, held + own))
        return gain

    def _held(self, order: Order) -> tuple[int, int]:
        """The most bytes alive at once, and the sum over all steps."""
        size, reads = self.size, self.reads
        last = [0] * len(order)  # when each is read for the last time
        for at, i in enumerate(order):
            last[i] = at
            for j in reads[i]:
                last[j] = at
        change = [*map(size.__getitem__, order), 0]
        for i in self.dying:
            change[last[i] + 1] -= size[i]
        *alive, _ = accumulate(change)
        return max(alive, default=0), sum(alive)


def _guessed_bytes(node: Tensor) -> int:
    if not node.inputs:  # sources are there anyway
        return 0
    return sum(map(guess_bytes_of, parts_of(node.type)))
