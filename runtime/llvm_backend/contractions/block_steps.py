"""Block steps: attention as a block: scores, their softmax and the product with it, for some rows at a time.

Where the rows end in a division by a number of the row, the product is divided instead: ``(w / t) v`` is
``(w v) / t``, rounded elsewhere.
"""

from __future__ import annotations

from dataclasses import replace

from graphc.function import Function
from graphc.tensor import Tensor
from graphc.types import BOOL, FLOAT32, FLOAT64
from passes.weight import parts_of
from runtime.llvm_backend.contractions.block_rows import INNER, ROW, BlockRows, NoBlock, divide
from runtime.llvm_backend.contractions.contraction import (
    Access,
    Block,
    Contract,
    Dim,
    Expression,
    Hidden,
    Step,
)
from runtime.llvm_backend.contractions.cuts import LONG_REDUCTION
from runtime.llvm_backend.contractions.fused_contraction import contract_of, is_contraction, is_nested
from runtime.llvm_backend.contractions.strided import Look, Strided, see_dense

_WEIGHTS = "weights"
_FEW_KEYS = 128  # are visited as soon as looked at


def is_kernel_of_sums(node: Tensor) -> bool:
    """Whether `node` is a contraction whose kernel may go on with the sums; or a block of such."""
    return block_of(node) is not None if node.op.name == "fused" else is_contraction(node)


def block_of(node: Tensor, look: Look = see_dense) -> Block | None:
    """What a node that is fused of kernels is as a block; None where it is none.

    Operands are the buffers ``x0``, ``x1``, ...; the results are ``out``, ``out1``, ...
    """
    if not is_nested(node):
        return None
    body: Function = node.attrs["body"]
    given = set(body.inputs)
    members = [n for n in body.nodes() if n not in given and n.op.name != "pick"]
    if len(members) != 3:
        return None
    try:
        return _Blocks(node, members, look).block()
    except NoBlock:
        return None


class _Blocks:
    def __init__(self, node: Tensor, members: list[Tensor], look: Look) -> None:
        body: Function = node.attrs["body"]
        self._outer = dict(zip(body.inputs, node.inputs, strict=True))
        self._number = {given: i for i, given in enumerate(body.inputs)}
        self._members, self._given_look = members, look

    def block(self) -> Block:
        first, rows, last = self._members
        if rows.op.name != "fused" or contract_of(first) is None or contract_of(last) is None:
            raise NoBlock
        scores = parts_of(first.type)[0]
        shape = scores.sizes
        known = len(shape) >= 2 and 0 not in shape and shape[-1] != 1
        if not known or scores.dtype not in (FLOAT32, FLOAT64):
            raise NoBlock
        self._scores = divide(shape, scores.dtype)
        given = {x: (self._buffer(x), self._look(x)) if x in self._number else None for x in rows.inputs}
        self._rows = BlockRows(rows, given, self._scores)
        self._begin(first)
        self._rows.write()
        self._end(last, rows)
        contracts = tuple(self._rows.contracts)
        return Block(self._scores.outer, contracts, tuple(self._rows.scratch), self._hidden(contracts))

    def _hidden(self, contracts: tuple[Contract, ...]) -> Hidden | None:
        """Which keys a mask may hide from a block of queries; None where nothing is known of that."""
        made, product = contracts[0].epilogue, contracts[-1]
        if not made.steps or made.steps[-1].op != "where" or not self._rows.is_softmax:
            return None
        mask, _, other = made.steps[-1].operands
        if not (0 < mask <= len(made.reads) and 0 < other <= len(made.reads)):
            return None
        hides, number = made.reads[mask - 1], made.reads[other - 1]
        values = next((x for x in product.ins if x.buffer.startswith("x")), None)
        if (
            values is None
            or hides.dtype is not BOOL
            or hides.stride(INNER) != 1
            or any(number.strides.values())
        ):
            return None
        known = {*self._scores.within, INNER}
        behind = [dim for dim in product.dims if dim.name not in known and values.stride(dim.name) != 0]
        if len(behind) != 1 or values.stride(behind[0].name) != 1 or self._scores.dims[-2].size == 1:
            return None
        keys, rows = self._scores.dims[-1].size, self._scores.dims[-2].size
        if not isinstance(keys, int) or not _FEW_KEYS < keys <= LONG_REDUCTION:
            return None
        return Hidden(INNER, ROW, keys, rows, hides, number, values, behind[0].size)

    def _look(self, tensor: Tensor) -> Strided:
        return self._given_look(self._outer[tensor]) if tensor in self._outer else see_dense(tensor)

    def _buffer(self, given: Tensor) -> str:
        """What the node calls one of its operands."""
        if given not in self._number:
            raise NoBlock
        return f"x{self._number[given]}"

    def _begin(self, first: Tensor) -> None:
        """The contract of the scores."""
        made = contract_of(first, self._look)
        names = [] if made is None else list(made.out.strides)
        if made is None or len(names) != len(self._scores.axes) or made.also:
            raise NoBlock
        self._rows.begin(self._over(first, made, dict(zip(names, self._scores.axes, strict=True)), "a", None))

    def _over(
        self, member: Tensor, made: Contract, names: dict[str, str], prefix: str, weights: Access | None
    ) -> Contract:
        """A member's contract over the dims of the block; `weights` are what it reads in scratch."""
        names = {dim.name: names.get(dim.name, f"{prefix}{dim.name}") for dim in made.dims}

        def moved(access: Access) -> Access:
            if weights is not None and access.buffer == _WEIGHTS:
                return weights
            buffer = access.buffer
            if buffer.startswith("x"):
                buffer = self._buffer(member.inputs[int(buffer[1:])])
            strides = {names[name]: stride for name, stride in access.strides.items()}
            return self._scores.place(Access(buffer, access.offset, strides, access.dtype))

        def over(expression: Expression) -> Expression:
            return replace(expression, reads=tuple(map(moved, expression.reads)))

        own = {dim.name: dim for dim in self._scores.dims}
        dims = [own.get(names[dim.name], Dim(names[dim.name], dim.size)) for dim in made.dims]
        return Contract(
            (*dims, self._scores.blocks),
            tuple(map(moved, made.ins)),
            moved(made.out),
            made.combine,
            tuple(map(over, made.prologue)),
            over(made.epilogue),
            tuple((value, moved(access)) for value, access in made.also),
            self._scores.within,
        )

    def _end(self, last: Tensor, rows: Tensor) -> None:
        """The product with what the rows come to."""
        weights = next((x for x in last.inputs if x.op.name == "pick" and x.inputs[0] is rows), None)
        made = contract_of(last, self._look)
        if weights is None or made is None or made.combine != "multiply_add" or made.prologue:
            raise NoBlock
        buffer = f"x{last.inputs.index(weights)}"
        used = [access for access in made.accesses if access.buffer == buffer]
        names = list(used[0].strides)
        if len(used) != 1 or used[0] not in made.ins or len(names) != len(self._scores.axes):
            raise NoBlock
        if names[-1] in made.out.strides or any(name not in made.out.strides for name in names[:-1]):
            raise NoBlock
        made = replace(made, ins=tuple(replace(x, buffer=_WEIGHTS) if x is used[0] else x for x in made.ins))
        result, divisor = self._quotient()
        if result not in self._rows.stored:
            self._rows.elementwise(result)
        mapping = dict(zip(names, self._scores.axes, strict=True))
        contract = self._over(last, made, mapping, "b", self._rows.stored[result])
        self._rows.contracts.append(contract if divisor is None else _divided(contract, divisor))

    def _quotient(self) -> tuple[Tensor, Access | None]:
        """What the rows come to: or what that is a quotient of, and where the divisor lies."""
        rows, result = self._rows, self._rows.result
        if result.op.name != "div" or result in rows.stored:
            return result, None
        above, below = map(rows.of, result.inputs)
        if above not in rows.stored or below not in rows.stored or rows.is_number(above):
            return result, None
        return (above, rows.stored[below]) if rows.is_number(below) else (result, None)


def _divided(contract: Contract, divisor: Access) -> Contract:
    """`contract` with its sums divided before the epilogue goes on."""
    old = contract.epilogue
    first = 2 + len(old.reads)  # the quotient's number; that of old reads grows by 1, of old steps by 2

    def number(value: int) -> int:
        if value == 0:
            return first
        return value + (1 if value <= len(old.reads) else 2)

    later = (Step(step.op, tuple(map(number, step.operands)), step.dtype) for step in old.steps)
    steps = (Step("div", (0, 1), contract.accumulator), *later)
    also = tuple((number(value), access) for value, access in contract.also)
    return replace(contract, epilogue=Expression((divisor, *old.reads), steps), also=also)
