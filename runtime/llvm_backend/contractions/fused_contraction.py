"""Fused contractions: `fused` nodes whose body is a contraction and what is done with its sums."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

from graphc.function import Function
from graphc.sizes import Size
from graphc.tensor import Tensor
from graphc.types import TensorType
from passes.deduplication import call_key
from passes.fusion import REDUCTIONS
from runtime.llvm_backend.contractions.contraction import Access, Contract, Expression, Step
from runtime.llvm_backend.contractions.contraction_steps import plain_contract
from runtime.llvm_backend.contractions.strided import Look, Strided, is_strided, see_dense
from runtime.llvm_backend.rows.column_steps import is_of_columns

_contracts: dict[Hashable, bool] = {}  # whether calls are contractions; graphs have many that are alike
_MOST_CONTRACTS = 1024
_ROOTS = frozenset(("matmul", "einsum", "sum", "max", "min"))


def is_contraction(node: Tensor) -> bool:
    """Whether the kernel of `node` may go on with the sums; reductions of rows and columns have others."""
    if node.op.name not in _ROOTS or not isinstance(node.type, TensorType):
        return False
    if node.op in REDUCTIONS and node.attrs["axis"] == (len(node.inputs[0].result.sizes) - 1,):
        return False
    if is_of_columns(node) and not is_strided(node.inputs[0]):
        return False
    key = call_key(node)
    found = _contracts.get(key)
    if found is None:
        if len(_contracts) >= _MOST_CONTRACTS:
            _contracts.clear()
        found = _contracts[key] = plain_contract(node) is not None
    return found


def find_root(node: Tensor) -> Tensor | None:
    """The contraction in the body of a `fused` node; None where there is none."""
    body: Function = node.attrs["body"]
    given = set(body.inputs)
    return next((n for n in body.nodes() if n not in given and is_contraction(n)), None)


def is_nested(node: Tensor) -> bool:
    """Whether `node` is fused of kernels."""
    return node.op.name == "fused" and any(n.op.name == "fused" for n in node.attrs["body"].nodes())


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
        self._root, self._look = root, look
        self._number = {given: i for i, given in enumerate(self._body.inputs)}
        self._outer = dict(zip(self._body.inputs, node.inputs, strict=True))

    def contract(self) -> Contract | None:
        root = self._root
        plain = plain_contract(root, lambda x: self._look(self._outer[x]))
        if plain is None:
            return None
        ins = tuple(
            replace(access, buffer=f"x{self._number[root.inputs[int(access.buffer[1:])]]}")
            for access in plain.ins
        )
        self._names = _axes(root, plain)
        inside = [n for n in self._body.nodes() if n not in self._number and n is not root]
        seen = {n: n.inputs[0] for n in inside if n.op.name == "broadcast_to"}  # reads do it themselves
        steps = [n for n in inside if n not in seen]
        wanted = (seen.get(x, x) for n in steps for x in n.inputs)
        reads = list(dict.fromkeys(x for x in wanted if x in self._number))
        value: dict[Tensor, int] = {x: 1 + i for i, x in enumerate(reads)}
        made: list[Step] = list(plain.epilogue.steps)  # what makes the root's dtype of the sum
        value[root] = len(reads) + len(made) if made else 0
        for n in steps:
            operands = tuple(value[seen.get(x, x)] for x in n.inputs)
            made.append(Step(n.op.name, operands, n.dtype))
            value[n] = len(reads) + len(made)
        stored = {value[n]: (n, i) for i, n in enumerate(self._body.outputs)}
        last, part = stored.pop(max(stored))
        return Contract(
            plain.dims,
            ins,
            self._result(plain.out, last, part),
            plain.combine,
            plain.prologue,
            Expression(tuple(map(self._read, reads)), tuple(made)),
            tuple((number, self._result(plain.out, n, i)) for number, (n, i) in stored.items()),
        )

    def _result(self, out: Access, node: Tensor, part: int) -> Access:
        return replace(out, buffer=f"out{part or ''}", dtype=node.dtype)

    def _read(self, given: Tensor) -> Access:
        """An operand whose axes line up with the last ones of the result; those of one element repeat."""
        seen: Strided = self._look(self._outer[given])
        sizes = given.result.sizes
        names = self._names[len(self._names) - len(sizes) :]
        strides: dict[str, Size] = {
            name: stride
            for name, size, stride in zip(names, sizes, seen.strides, strict=True)
            if name is not None and size != 1
        }
        return Access(f"x{self._number[given]}", seen.offset, strides, given.dtype)


def _axes(root: Tensor, contract: Contract) -> list[str | None]:
    """The dim of each axis of the result; None for one that a reduction has left."""
    names = iter(contract.out.strides)
    rank = len(root.result.sizes)
    if rank == len(contract.out.strides):
        return list(names)
    axes = root.attrs["axis"]
    return [None if axes is None or i in axes else next(names) for i in range(rank)]
