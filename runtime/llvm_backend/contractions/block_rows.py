"""Block rows: what stands between two contractions of a block, as contractions of one input.

Of the rows only what is read again is stored, in scratch: a value of each score, or one of each row, with
what is computed of that before the scores are met again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import count

from graphc.freezing import frozen
from graphc.function import Function
from graphc.sizes import Size
from graphc.tensor import Tensor
from graphc.types import DType
from runtime.llvm_backend.contractions.contraction import (
    Access,
    Contract,
    Dim,
    Expression,
    Scratch,
    Step,
)
from runtime.llvm_backend.contractions.strided import Strided
from runtime.llvm_backend.ir.lanes import Combine
from runtime.llvm_backend.ir.scalars import has_code, spelled

ROW, INNER, BLOCK = "row", "inner", "block"  # dims: rows of a block, scores of a row, blocks of rows
_MOST_ROWS = 128  # of a block: its scores stay in the cache, and its keys are packed for many of them
_REDUCTIONS: Mapping[str, Combine] = {"max": "max", "min": "min", "sum": "add"}
_VIEWS = frozenset(("reshape", "expand_dims", "squeeze", "broadcast_to"))


class NoBlock(Exception):  # noqa: N818 - it is no error: the node runs another way
    """There is no code for these rows."""


@frozen
class Scores:
    """The shape of the scores, and the dims that it is in a block: blocks of `per` rows."""

    shape: tuple[Size, ...]
    dtype: DType
    per: Size
    axes: tuple[str, ...]
    dims: tuple[Dim, ...]
    blocks: Dim

    @property
    def outer(self) -> tuple[Dim, ...]:
        """The dims that the members of the block share."""
        return (*self.dims[:-2], self.blocks)

    @property
    def within(self) -> frozenset[str]:
        """Their names."""
        return frozenset(dim.name for dim in self.outer)

    def place(self, access: Access) -> Access:
        """An access along the dims of the block, where its rows are one dim."""
        if ROW not in access.strides:
            return access
        return replace(access, strides={**access.strides, BLOCK: access.stride(ROW) * self.per})


def divide(shape: tuple[Size, ...], dtype: DType) -> Scores:
    """Scores of a shape, in blocks of rows."""
    *batch, height, width = shape
    per = _even_rows(height)
    axes = (*(f"batch{i}" for i in range(len(batch))), ROW, INNER)
    dims = tuple(Dim(name, size) for name, size in zip(axes, (*batch, per, width), strict=True))
    return Scores(shape, dtype, per, axes, dims, Dim(BLOCK, 1 if per == height else height // per))


def _even_rows(height: Size) -> Size:
    """How many rows a block has: all of them, or an even part."""
    if not isinstance(height, int) or height <= _MOST_ROWS:
        return height
    parts = [n for n in range(_MOST_ROWS, _MOST_ROWS // 8, -1) if height % n == 0]
    return parts[0] if parts else height


class BlockRows:
    """Writes the contracts of the rows.

    Args:
        node: the fused rows.
        given: where an operand of `node` lies, with its buffer; None for the scores.
        scores: their dims.
    """

    def __init__(
        self, node: Tensor, given: Mapping[Tensor, tuple[str, Strided] | None], scores: Scores
    ) -> None:
        self._shown = scores
        self._body: Function = node.attrs["body"]
        self._scores = self._formal(node, given)
        self.contracts: list[Contract] = []
        self.scratch: list[Scratch] = []
        self.stored: dict[Tensor, Access] = {}  # values of the rows, where they lie
        self._names = (f"scratch{i}" for i in count())
        self._source = self._views()

    def _formal(self, node: Tensor, given: Mapping[Tensor, tuple[str, Strided] | None]) -> Tensor:
        formals = dict(zip(self._body.inputs, (given[x] for x in node.inputs), strict=True))
        self._given = {formal: place for formal, place in formals.items() if place is not None}
        scores: list[Tensor] = [formal for formal, place in formals.items() if place is None]
        if len(scores) != 1 or scores[0].result.sizes != self._shown.shape:
            raise NoBlock
        return scores[0]

    def _views(self) -> dict[Tensor, Tensor]:
        """What each view shows."""
        source: dict[Tensor, Tensor] = {}
        for node in self._body.nodes():
            if node.op.name in _VIEWS and node.inputs:
                below = source[node] = source.get(node.inputs[0], node.inputs[0])
                if below in self._given and _line_up(below) != _line_up(node):
                    raise NoBlock
            elif node.inputs and node.op.name not in _REDUCTIONS and not has_code(node.op.name):
                raise NoBlock
        return source

    def of(self, node: Tensor) -> Tensor:
        """What `node` shows."""
        return self._source.get(node, node)

    @property
    def result(self) -> Tensor:
        """The last value of the rows."""
        return self.of(self._body.outputs[0])

    def begin(self, contract: Contract) -> None:
        """The contract whose results are the scores."""
        self.contracts.append(replace(contract, out=self._keep(self._scores, ROW, INNER)))

    def is_number(self, node: Tensor) -> bool:
        """Whether it is one value for each row."""
        shape = self._shown.shape
        return node.result.sizes in ((*shape[:-1], 1), shape[:-1])

    def _keep(self, node: Tensor, *axes: str) -> Access:
        """Room in scratch for a value of each score, or of each row."""
        sizes: dict[str, Size] = {ROW: self._shown.per, INNER: self._shown.shape[-1]}
        strides: dict[str, Size] = {}
        step: Size = 1
        for axis in reversed(axes):
            strides[axis] = step
            step = step * sizes[axis]
        access = Access(next(self._names), 0, dict(reversed(strides.items())), self._shown.dtype)
        self.scratch.append(Scratch(access.buffer, step, self._shown.dtype))
        if node.dtype is not self._shown.dtype:
            raise NoBlock
        self.stored[node] = access
        return access

    def write(self) -> None:
        """All reductions of the rows, in order, and what they need."""
        nodes = [n for n in self._body.nodes() if n.inputs and n not in self._source]
        users: dict[Tensor, list[Tensor]] = {}
        for node in nodes:
            for operand in node.inputs:
                users.setdefault(self.of(operand), []).append(node)
        for node in nodes:
            if node.op.name not in _REDUCTIONS:
                continue
            if node.attrs["axis"] != (len(self._shown.shape) - 1,):
                raise NoBlock
            operand = self.of(node.inputs[0])
            if operand not in self.stored:
                self.elementwise(operand)
            self._reduce(node, operand, nodes, users)

    def elementwise(self, node: Tensor) -> None:
        """Stores a value of each score."""
        base = next(
            (x for x in self._below(node) if x in self.stored and not self.is_number(x)),
            None,
        )
        if base is None or node.result.sizes != self._shown.shape:
            raise NoBlock
        expression = self._expression(node, base)
        out = self._keep(node, ROW, INNER)
        dims = (*self._shown.dims, self._shown.blocks)
        self.contracts.append(
            Contract(dims, (self.stored[base],), out, "add", (), expression, (), self._shown.within)
        )

    def _expression(self, node: Tensor, base: Tensor) -> Expression:
        """How `node` is computed from `base` and what is stored or given."""
        order = [x for x in self._body.nodes() if x in set(self._between(node))]
        reads: list[Access] = []
        value: dict[Tensor, int] = {base: 0}
        for x in order:
            for operand in map(self.of, x.inputs):
                if operand not in value and operand not in order:
                    reads.append(self._read(operand))
                    value[operand] = len(reads)
        steps: list[Step] = []
        for x in order:
            operands = tuple(value[self.of(operand)] for operand in x.inputs)
            steps.append(Step(spelled(x.op.name, x.attrs), operands, x.dtype))
            value[x] = len(reads) + len(steps)
        return Expression(tuple(reads), tuple(steps))

    def _read(self, node: Tensor) -> Access:
        """A value that is stored, or given and lined up with the last axes."""
        if node in self.stored:
            return self.stored[node]
        if node not in self._given:
            raise NoBlock
        buffer, seen = self._given[node]
        sizes, axes = node.result.sizes, self._shown.axes
        names = axes[len(axes) - len(sizes) :]
        strides = {n: s for n, size, s in zip(names, sizes, seen.strides, strict=True) if size != 1}
        return self._shown.place(Access(buffer, seen.offset, strides, node.dtype))

    def _reduce(
        self,
        node: Tensor,
        operand: Tensor,
        nodes: list[Tensor],
        users: Mapping[Tensor, list[Tensor]],
    ) -> None:
        """A value of each row, and what is computed of it before the scores are met again."""
        value: dict[Tensor, int] = {node: 0}
        steps: list[Tensor] = []
        reads: list[Tensor] = []
        for other in nodes:
            inputs = [self.of(x) for x in other.inputs]
            known = all(x in value or x in self._given or x in self.stored for x in inputs)
            if not (self.is_number(other) and other.op.name not in _REDUCTIONS and known):
                continue
            if not any(x in value for x in inputs) or any(not self._is_row(x) for x in inputs):
                continue
            reads += [x for x in inputs if x not in value and x not in reads]
            steps.append(other)
            value[other] = 0
        value = {node: 0, **{x: 1 + i for i, x in enumerate(reads)}}
        made: list[Step] = []
        for step in steps:
            operands = tuple(value[self.of(x)] for x in step.inputs)
            made.append(Step(spelled(step.op.name, step.attrs), operands, step.dtype))
            value[step] = len(reads) + len(made)
        expression = Expression(tuple(map(self._read, reads)), tuple(made))
        inside = {node, *steps}
        results = {self.of(x) for x in self._body.outputs}
        wanted = [x for x in (node, *steps) if x in results or any(u not in inside for u in users.get(x, ()))]
        if not wanted or (steps and wanted[-1] is not steps[-1]):
            raise NoBlock
        *others, last = wanted
        also = tuple((value[x], self._keep(x, ROW)) for x in others)
        source, out = self.stored[operand], self._keep(last, ROW)
        dims = (*self._shown.dims, self._shown.blocks)
        combine = _REDUCTIONS[node.op.name]
        self.contracts.append(
            Contract(dims, (source,), out, combine, (), expression, also, self._shown.within)
        )

    @property
    def is_softmax(self) -> bool:
        """Whether scores of -inf come to 0, and change nothing else: ``exp(x - max)`` and its quotients."""
        exp: list[Tensor] = []
        for node in self._body.nodes():
            if not node.inputs or node in self._source:
                continue
            first, *others = map(self.of, node.inputs)
            numbers = all(map(self._is_row, others))
            if node.op.name in _REDUCTIONS:
                known = (
                    first is self._scores if node.op.name == "max" else node.op.name == "sum" and first in exp
                )
            elif self.is_number(node):
                known = True
            elif node.op.name == "sub":
                known = first is self._scores and numbers
            elif node.op.name == "exp":
                known = first.op.name == "sub"
                exp.append(node)
            else:
                known = node.op.name == "div" and first in exp and numbers and node is self.result
            if not known:
                return False
        return bool(exp) and self.result.op.name in ("exp", "div")

    def _is_row(self, node: Tensor) -> bool:
        """Whether it is known for each row: a value of it, or one for all."""
        sizes = node.result.sizes
        return self.is_number(node) or not sizes or sizes[-1] == 1

    def _below(self, node: Tensor) -> Iterator[Tensor]:
        """What the computation of `node` begins with."""
        for x in self._between(node):
            yield from map(self.of, x.inputs)

    def _between(self, node: Tensor) -> list[Tensor]:
        """`node` and what it is computed of that is not stored."""
        found: dict[Tensor, None] = {}
        pending = [node]
        while pending:
            current = pending.pop()
            if current in found or current in self.stored or not current.inputs:
                continue
            if current.op.name in _REDUCTIONS:
                raise NoBlock
            found[current] = None
            pending.extend(map(self.of, current.inputs))
        return list(found)


def _line_up(x: Tensor) -> tuple[Size, ...]:
    """The sizes of `x` from the first that is not 1 on: what lines up with the last axes."""
    sizes = list(x.result.sizes)
    while sizes and sizes[0] == 1:
        del sizes[0]
    return tuple(sizes)
