"""Scheduling: an order of the nodes, operands before users, that keeps few bytes alive at once.

For each node the operand that needs more memory to be computed than it leaves behind comes first: on a
tree that is the order of Sethi and Ullman (1970). On a graph with shared nodes it is a guess, so the
order is used only where it keeps less alive than the order of definition does, and than the one that
takes the operand first which can be had first. Small updates of variables come last of all (`updates`).
Linear.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from graphc.function import Function
from graphc.laziness import Lazy
from graphc.ops.state import after, pick
from graphc.tensor import Tensor
from passes.updates import find_late
from passes.weight import bytes_of, guess_bytes, parts_of

Order = list[int]  # nodes by their number in the order of definition


def schedule(function: Function) -> list[Tensor]:
    """The nodes of `function` in the order in which they are to run; its inputs come first."""
    return _Schedule(function).best()


class _Schedule:
    """The nodes by number: `operands` of each, its guessed `size`, whether something keeps it (`fixed`)."""

    def __init__(self, function: Function) -> None:
        self.nodes = nodes = function.nodes()
        number = {node: i for i, node in enumerate(nodes)}
        self.inputs = [number[node] for node in function.inputs]
        self.roots = [number[node] for node in (*function.outputs, *function.effects)]
        self.operands = [[number[i] for i in node.inputs] for node in nodes]
        self.fixed = {*self.inputs, *self.roots}
        self.picks: dict[int, list[int]] = {}
        for i, node in enumerate(nodes):
            if node.op is pick:
                self.picks.setdefault(self.operands[i][0], []).append(i)
        self.size = self._guessed_sizes()
        # `after` is the memory of its operand: whose memory each node reads, and how often it is read.
        self.root = list(range(len(nodes)))
        for i, node in enumerate(nodes):
            if node.op is after:
                self.root[i] = self.root[self.operands[i][0]]
        root = self.root
        self.uses = [
            (root[given[0]],) if len(given) == 1 else tuple({root[j] for j in given})
            for given in self.operands
        ]
        self.readers = [0] * len(nodes)
        for used in self.uses:
            for j in used:
                self.readers[j] += 1
        for j in {root[i] for i in self.roots}:
            self.readers[j] += 1

    def best(self) -> list[Tensor]:
        size, depth = self.size, self._depths()
        defined = list(range(len(self.nodes)))
        need = self._needs()
        found = self._with_picks(defined)
        least = self._held(found)
        walks = (
            (self.roots, lambda i: size[i] - need[i]),
            # What can be had first is: of the gradients of layers, that of the last one.
            (sorted(self.roots, key=depth.__getitem__), depth.__getitem__),
        )
        for roots, key in walks:
            walk = self._sunk(self._walked(roots, key))
            if walk is not None:
                walk = self._with_picks(walk)
                held = self._held(walk)
                if held < least:
                    found, least = walk, held
        nodes = self.nodes
        late = find_late(nodes, self.operands, self.size)
        if late:
            found = [*(i for i in found if i not in late), *(i for i in found if i in late)]
        return [nodes[i] for i in found]

    def _walked(self, roots: Sequence[int], key: Callable[[int], int]) -> Order | None:
        """The order in which what `roots` reach is had, operands by `key`; None for that of definition."""
        needs, same = [], roots == self.roots
        for given in self.operands:
            ordered = given if len(given) < 2 else sorted(given, key=key)
            same = same and ordered == given
            needs.append(ordered)
        return None if same else _in_order(roots, needs, self.inputs)

    def _sunk(self, order: Order | None) -> Order | None:
        """`order` with nodes that take more memory than their operands, as draws do, right before their use.

        None for that of definition, where nothing sinks.
        """
        sinking, operands = self._sinking, self.operands
        if not sinking:
            return order
        users = [0] * len(operands)
        for given in operands:
            for i in set(given):
                users[i] += 1
        backwards = []
        for last in reversed(range(len(operands)) if order is None else order):
            stack = [] if last in sinking else [last]
            while stack:
                i = stack.pop()
                backwards.append(i)
                for j in dict.fromkeys(operands[i]):
                    users[j] -= 1
                    if not users[j] and j in sinking:
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

    def _with_picks(self, order: Order) -> Order:
        """`order` with every pick right behind what it picks from, so that no other result is held for it."""
        if not self.picks:
            return order
        place = {i: at for at, i in enumerate(order)}
        result = []
        for i in order:
            if self.nodes[i].op is not pick:
                result.append(i)
                result.extend(sorted(self.picks.get(i, ()), key=place.__getitem__))
        return result

    def _depths(self) -> list[int]:
        """The length of the longest way from a source to each node."""
        depth: list[int] = []
        for given in self.operands:
            most = 0
            for j in given:
                if depth[j] > most:
                    most = depth[j]
            depth.append(1 + most)
        return depth

    def _guessed_sizes(self) -> list[int]:
        """The guessed bytes of each node; of a tuple's, what is picked counts for the pick."""
        size = [0 if node.op is after else _guessed_bytes(node) for node in self.nodes]
        for whole, picks in self.picks.items():
            for i in picks:
                size[whole] = max(size[whole] - size[i], 0)
        return size

    def _needs(self) -> list[int]:
        """The bytes alive at once while each node is computed, were it alone and a tree."""
        size = self.size
        need: list[int] = []
        for i, given in enumerate(self.operands):
            held = most = 0
            if len(given) == 1:
                held, most = size[given[0]], need[given[0]]
            elif given:
                for j in sorted(dict.fromkeys(given), key=lambda j: size[j] - need[j]):
                    most = max(most, held + need[j])
                    held += size[j]
            need.append(max(most, held + size[i]))
        return need

    def _held(self, order: Iterable[int]) -> tuple[int, int]:
        """The most bytes alive at once, and the sum over all steps."""
        size, uses, root = self.size, self.uses, self.root
        left = self.readers.copy()
        alive = peak = total = 0
        for i in order:
            alive += size[i]
            if alive > peak:
                peak = alive
            total += alive
            for j in uses[i]:
                left[j] -= 1
                if not left[j]:
                    alive -= size[j]
            if root[i] == i and not left[i]:
                alive -= size[i]
        return peak, total


def _guessed_bytes(node: Tensor) -> int:
    if not node.inputs:  # sources are there anyway
        return 0
    return sum([guess_bytes(bytes_of(type)) for type in parts_of(node.type)])


def _in_order(roots: Sequence[int], needs: Sequence[Sequence[int]], first: Sequence[int]) -> Order:
    """What `roots` reach, each after what it needs, depth first; `first` come first."""
    order = list(dict.fromkeys(first))
    done = bytearray(len(needs))
    for i in order:
        done[i] = 1
    stack = [*roots][::-1]
    while stack:
        i = stack[-1]
        if not done[i]:
            waiting = [j for j in needs[i] if not done[j]]
            if waiting:
                waiting.reverse()
                stack += waiting
                continue
            done[i] = 1
            order.append(i)
        stack.pop()
    return order
