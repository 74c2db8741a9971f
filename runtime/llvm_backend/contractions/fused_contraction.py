"""Fused contractions: `fused` nodes whose body is a contraction, what is done to its operands and its sums.

What the contraction needs of the body is the prologue of an operand: elementwise ops on values that lie as
the operand does, seen through the same transposes, or repeat along some of its axes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from graphc.function import Function
from graphc.sizes import Size
from graphc.tensor import Tensor
from graphc.types import BFLOAT16, FLOAT32
from passes.cells import cells_of
from passes.columns import columns_in, is_of_columns
from passes.fusion import REDUCTIONS
from runtime.llvm_backend.contractions.contraction import AS_IT_IS, Access, Contract, Expression, Step
from runtime.llvm_backend.contractions.contraction_steps import has_contract, plain_contract
from runtime.llvm_backend.contractions.strided import (
    Look,
    Strided,
    is_strided,
    see,
    see_dense,
    see_within,
)
from runtime.llvm_backend.ir.scalars import spelled

_ROOTS = frozenset(("matmul", "einsum", "sum", "max", "min"))


def is_contraction(node: Tensor) -> bool:
    """Whether the kernel of `node` may go on with the sums; reductions of rows and columns have others."""
    if node.op.name not in _ROOTS or not has_contract(node):
        return False
    if node.op in REDUCTIONS and node.attrs["axis"] == (len(node.inputs[0].result.sizes) - 1,):
        return False
    return not is_of_columns(node) or is_strided(node.inputs[0])


def find_root(node: Tensor) -> Tensor | None:
    """The contraction in the body of a `fused` node; None where there is none."""
    if cells_of(node) is not None or columns_in(node) is not None:
        return None
    body: Function = node.attrs["body"]
    given = set(body.inputs)
    roots = [n for n in body.nodes() if n.op.name in _ROOTS and n not in given]
    return next(filter(is_contraction, roots), None)


def is_nested(node: Tensor) -> bool:
    """Whether `node` is fused of kernels."""
    return node.op.name == "fused" and "fused" in [n.op.name for n in node.attrs["body"].nodes()]


def name_of(node: Tensor) -> str:
    """What a step is called: its ops and the types of its operands."""
    names = [node.op.name]
    if node.op.name == "fused":
        names = [n.op.name for n in node.attrs["body"].nodes() if n.inputs and n.op.name != "pick"]
    return f"{'.'.join(names)}({', '.join(str(x.type) for x in node.inputs)})"


def contract_of(node: Tensor, look: Look = see_dense) -> Contract | None:
    """What `node` is as a contraction of operands that are seen as `look` says; None where it is none.

    Operands are the buffers ``x0``, ``x1``, ...; the results are ``out``, ``out1``, ...
    """
    if node.op.name != "fused":
        return plain_contract(node, look)
    root = None if is_nested(node) else find_root(node)
    return None if root is None else _Fused(node, root, look).contract()


class _Fused:
    def __init__(self, node: Tensor, root: Tensor, look: Look) -> None:
        self._body: Function = node.attrs["body"]
        self._root, self._given = root, look
        self._number = {given: i for i, given in enumerate(self._body.inputs)}
        self._outer = dict(zip(self._body.inputs, node.inputs, strict=True))
        self._before = {x for operand in root.inputs for x in self._below(operand)}

    def contract(self) -> Contract | None:
        root = self._root
        plain = plain_contract(root, self._look)
        if plain is None:
            return None
        prepared = [self._prepared(i, access) for i, access in enumerate(plain.ins)]
        ins = tuple(access for access, _ in prepared)
        prologue = tuple(expression for _, expression in prepared)
        if any(expression.steps for expression in prologue):
            if plain.prologue or plain.epilogue.steps or not all(_moves(*each) for each in prepared):
                return None  # sums are widened, and bfloat16 is rounded, by themselves
        else:
            prologue = plain.prologue
        self._names = _axes(root, plain)
        inside = [n for n in self._body.nodes() if n not in self._number and n not in self._before]
        framed = {n: n.inputs[0] for n in inside if n.op.name == "embed"}
        chain = _Chain([n for n in inside if n is not root and n not in framed], self._number)
        made = list(plain.epilogue.steps)  # what makes the root's dtype of the sum
        value = {x: 1 + i for i, x in enumerate(chain.reads)}
        value[root] = len(chain.reads) + len(made) if made else 0
        made += chain.steps(value, 1 + len(chain.reads) + len(made))
        stored = {value[framed.get(n, n)]: (n, i) for i, n in enumerate(self._body.outputs)}
        last, part = stored.pop(max(stored))
        return Contract(
            plain.dims,
            ins,
            self._result(plain.out, last, part),
            plain.combine,
            prologue,
            Expression(tuple(map(self._read, chain.reads)), tuple(made)),
            tuple((number, self._result(plain.out, n, i)) for number, (n, i) in stored.items()),
        )

    def _result(self, out: Access, node: Tensor, part: int) -> Access:
        offset, strides = out.offset, out.strides
        if node.op.name == "embed":
            seen = see_within(node)
            offset, strides = seen.offset, dict(zip(out.strides, seen.strides, strict=True))
        return Access(f"out{part or ''}", offset, strides, node.dtype)

    def _read(self, given: Tensor) -> Access:
        """An operand whose axes line up with the last ones of the result; those of one element repeat."""
        seen: Strided = self._look(given)
        sizes = given.result.sizes
        names = self._names[len(self._names) - len(sizes) :]
        strides: dict[str, Size] = {
            name: stride
            for name, size, stride in zip(names, sizes, seen.strides, strict=True)
            if name is not None and size != 1
        }
        return Access(f"x{self._number[given]}", seen.offset, strides, given.dtype)

    # What comes before the contraction.

    def _below(self, operand: Tensor) -> set[Tensor]:
        """What the body computes for an operand of the contraction, itself included."""
        found: set[Tensor] = set()
        pending = [operand]
        while pending:
            x = pending.pop()
            if x not in self._number and x not in found:
                found.add(x)
                pending.extend(x.inputs)
        return found

    def _look(self, x: Tensor, base: Tensor | None = None, seen: Strided | None = None) -> Strided:
        """How an operand is seen; what the body computes, as if it lay there; `base` itself as `seen`."""
        if x is base and seen is not None:
            return seen
        if x in self._number:
            return self._given(self._outer[x])
        return see(x, self._look(x.inputs[0], base, seen)) if x.op.name == "transpose" else see_dense(x)

    def _prepared(self, number: int, access: Access) -> tuple[Access, Expression]:
        """What is read for an operand of the contraction, and what is done with it."""
        base = self._root.inputs[number]
        while base not in self._number and base.op.name == "transpose":
            base = base.inputs[0]
        if base in self._number:
            return Access(f"x{self._number[base]}", access.offset, access.strides, access.dtype), AS_IT_IS
        inside = self._below(base)
        chain = _Chain([n for n in self._body.nodes() if n in inside], self._number)
        shape = base.result.sizes
        reads = sorted(chain.reads, key=lambda x: x.result.sizes != shape)  # the first is value 0
        value = {x: i for i, x in enumerate(reads)}
        steps = tuple(chain.steps(value, len(reads)))
        accesses = [self._along(number, base, x) for x in reads]
        return accesses[0], Expression(tuple(accesses[1:]), steps)

    def _along(self, number: int, base: Tensor, x: Tensor) -> Access:
        """An operand that lies, or repeats, as `base` of operand `number` does."""
        own = self._look(x)
        sizes, rank = x.result.sizes, len(base.result.sizes)
        strides = (0 if size == 1 else stride for size, stride in zip(sizes, own.strides, strict=True))
        seen = Strided(own.offset, (*[0] * (rank - len(sizes)), *strides))
        made = plain_contract(self._root, lambda other: self._look(other, base, seen))
        assert made is not None  # as it was where the operand lay there
        held = FLOAT32 if x.dtype is BFLOAT16 else x.dtype  # arrays hold it so
        strided = {name: stride for name, stride in made.ins[number].strides.items() if stride != 0}
        return Access(f"x{self._number[x]}", made.ins[number].offset, strided, held)


class _Chain:
    """Elementwise nodes of a body as steps of an expression; broadcasts are how values are read."""

    def __init__(self, nodes: Sequence[Tensor], given: Collection[Tensor]) -> None:
        self._seen = {n: n.inputs[0] for n in nodes if n.op.name == "broadcast_to"}
        self._nodes = [n for n in nodes if n not in self._seen]
        wanted = (self._seen.get(x, x) for n in self._nodes for x in n.inputs)
        self.reads = list(dict.fromkeys(x for x in wanted if x in given))

    def steps(self, value: dict[Tensor, int], first: int) -> list[Step]:
        """The steps, whose results are the values from `first` on; they are added to `value`."""
        made = []
        for n in self._nodes:
            operands = tuple(value[self._seen.get(x, x)] for x in n.inputs)
            made.append(Step(spelled(n.op.name, n.attrs), operands, n.dtype))
            value[n] = first + len(made) - 1
        return made


def _moves(access: Access, expression: Expression) -> bool:
    """Whether the first value read moves along all dims that the others do."""
    return all(set(read.strides) <= set(access.strides) for read in expression.reads)


def _axes(root: Tensor, contract: Contract) -> list[str | None]:
    """The dim of each axis of the result; None for one that a reduction has left."""
    names = iter(contract.out.strides)
    rank = len(root.result.sizes)
    if rank == len(contract.out.strides):
        return list(names)
    axes = root.attrs["axis"]
    return [None if axes is None or i in axes else next(names) for i in range(rank)]
