"""The IR of contractions: each is a contraction of strided accesses.

    Access   = (buffer, offset, {dim: stride}, dtype)    element offset + sum(index[d] * stride[d])
    Dim      = (name, size)                              a size is an int, or known at the run
    Contract = (dims, ins, out, combine, prologue, epilogue, also)
    Block    = (outer dims, [Contract ...], scratch)     contracts that share outer dims

The algebra: let O be the dims of `out` and R all others. A contract means

    out[o] = epilogue( combine over r in R of  product of prologue_i(in_i[o, r]) )     for every o in O

Strides of an input may overlap (windows), be 0 (broadcast) or negative (flip); so transposes, slices,
broadcasts, convolution windows and flipped filters are accesses, never kernels. Without reduced dims a
contract is elementwise; with one input it is a reduction; with two a matrix product, a convolution or
either of its gradients. Tiling is splitting a dim: ``k -> (ko, ki)`` with strides ``(n s, s)``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from graphc.errors import ArgumentError
from graphc.freezing import frozen
from graphc.sizes import Size, product
from graphc.types import BFLOAT16, BOOL, FLOAT16, FLOAT32, DType
from runtime.llvm_backend.ir.lanes import Combine

_INPUTS: Mapping[Combine, int] = {"multiply_add": 2, "add": 1, "max": 1, "min": 1}


@frozen
class Dim:
    """An index of a contract and how far it runs."""

    name: str
    size: Size


@frozen
class Access:
    """Elements of a buffer: ``offset + sum(index * stride)``. A dim that is not named has stride 0.

    A stride known only at the run is not negative.

    In `Contract.out` the named dims are the output dims: naming a dim there makes it one.
    """

    buffer: str
    offset: Size
    strides: Mapping[str, Size]
    dtype: DType = FLOAT32

    def stride(self, dim: str) -> Size:
        """How far one step of `dim` moves, in elements."""
        return self.strides.get(dim, 0)

    def __hash__(self) -> int:
        return hash((self.buffer, self.offset, tuple(self.strides.items()), self.dtype))


@frozen
class Step:
    """One elementwise op of an `Expression`; operands count its values; `dtype` is the result's."""

    op: str
    operands: tuple[int, ...]
    dtype: DType


@frozen
class Expression:
    """Elementwise ops on one value: value 0 is given, then come the reads, then the steps' results.

    The last value is the result, and without steps value 0 is.
    """

    reads: tuple[Access, ...] = ()
    steps: tuple[Step, ...] = ()

    def result_dtype(self, given: DType) -> DType:
        """The dtype of the result where value 0 is of dtype `given`."""
        return self.steps[-1].dtype if self.steps else given


AS_IT_IS = Expression()  # the value that is given


@frozen
class Contract:
    """A contraction: see the module's equation.

    `prologue` has one expression for each input, or is empty; its reads move along dims that move the
    input. The `epilogue` runs once on each finished element; its reads use output dims. `also` are
    values of the epilogue (by number) that are stored too, each along the output dims. `within` names the
    dims of the block that it is a member of: they are not reduced, where `out` has no strides for them.
    `values` is a narrower dtype that holds all numbers of the inputs: kernels may rest on it.
    Raises: ArgumentError where the parts do not fit.
    """

    dims: tuple[Dim, ...]
    ins: tuple[Access, ...]
    out: Access
    combine: Combine = "multiply_add"
    prologue: tuple[Expression, ...] = ()
    epilogue: Expression = AS_IT_IS
    also: tuple[tuple[int, Access], ...] = ()
    within: frozenset[str] = frozenset()
    values: DType | None = None

    def __post_init__(self) -> None:
        _check(self)

    @property
    def output_dims(self) -> tuple[Dim, ...]:
        """The dims of `out`."""
        return tuple(dim for dim in self.dims if dim.name in self.out.strides)

    @property
    def reduced_dims(self) -> tuple[Dim, ...]:
        """The dims that are combined away."""
        return tuple(dim for dim in self.dims if dim.name not in self.out.strides)

    @property
    def accumulator(self) -> DType:
        """The dtype that is combined in: float32 for the 16-bit floats, else that of the inputs."""
        dtype = self.input_expression(0).result_dtype(self.ins[0].dtype)
        return FLOAT32 if dtype is FLOAT16 or dtype is BFLOAT16 else dtype

    def input_expression(self, index: int) -> Expression:
        """The prologue of one input."""
        return self.prologue[index] if self.prologue else AS_IT_IS

    @property
    def accesses(self) -> tuple[Access, ...]:
        """Out, the inputs, the reads of the prologues and of the epilogue, what else is stored."""
        reads = (access for expression in self.prologue for access in expression.reads)
        return (self.out, *self.ins, *reads, *self.epilogue.reads, *(access for _, access in self.also))


def without_numbers(contract: Contract) -> Contract:
    """`contract` without its dims, strides and offsets: what is left for who has a schedule of it."""

    def bare(access: Access) -> Access:
        return Access(access.buffer, 0, {}, access.dtype)

    def bared(expression: Expression) -> Expression:
        return Expression(tuple(map(bare, expression.reads)), expression.steps)

    return Contract(
        (),
        tuple(map(bare, contract.ins)),
        bare(contract.out),
        contract.combine,
        tuple(map(bared, contract.prologue)),
        bared(contract.epilogue),
        tuple((number, bare(access)) for number, access in contract.also),
        values=contract.values,
    )


@frozen
class Scratch:
    """A buffer that lives within one iteration of a `Block`."""

    buffer: str
    size: Size
    dtype: DType


@frozen
class Hidden:
    """Keys that a mask hides: there each score is `other`, and where that is -inf, each weight is 0.

    Attributes:
        key, row: the dims of the scores within an outer index. keys, rows: how far they run.
        mask: a bool for each score, one key after the other. other: one number.
        values: what weights are multiplied by, `width` neighbours for each key.
    """

    key: str
    row: str
    keys: Size
    rows: Size
    mask: Access
    other: Access
    values: Access
    width: Size


@frozen
class Block:
    """Contracts run one after another for each index of the outer dims: softmax, attention.

    An access of a member may use the outer dims, which no member reduces; what members hand each other
    lies in scratch. Of `hidden` keys no member need visit those behind the last one that is seen.
    Raises: ArgumentError where a member redefines an outer dim or reads scratch nobody has written.
    """

    outer: tuple[Dim, ...]
    contracts: tuple[Contract, ...]
    scratch: tuple[Scratch, ...] = ()
    hidden: Hidden | None = None

    def __post_init__(self) -> None:
        outer = {dim.name for dim in self.outer}
        unwritten = {scratch.buffer for scratch in self.scratch}
        for contract in self.contracts:
            if not outer <= set(contract.out.strides) | {dim.name for dim in contract.dims}:
                raise ArgumentError("every contract of a block has the outer dims among its own")
            for access in contract.accesses[1:]:
                if access.buffer in unwritten:
                    raise ArgumentError(f"scratch {access.buffer!r} is read before it is written")
            unwritten.discard(contract.out.buffer)


def _check(contract: Contract) -> None:
    names, out = {dim.name for dim in contract.dims}, contract.out.strides
    if len(names) != len(contract.dims):
        raise ArgumentError(f"dims {[dim.name for dim in contract.dims]} are not distinct")
    for dim in contract.dims:
        if isinstance(dim.size, int) and dim.size < 0:
            raise ArgumentError(f"dim {dim.name!r} has the size {dim.size}")
    if len(contract.ins) != _INPUTS.get(contract.combine, 0):
        raise ArgumentError(f"{contract.combine!r} does not combine {len(contract.ins)} inputs")
    if contract.prologue and len(contract.prologue) != len(contract.ins):
        raise ArgumentError("there is one prologue for each input, or none at all")
    for access in contract.accesses:
        if not access.strides.keys() <= names:
            unknown = sorted(access.strides.keys() - names)
            raise ArgumentError(f"{access.buffer!r} has strides for {unknown}, which are no dims")
    if contract.accumulator is BOOL:
        raise ArgumentError(f"{contract.ins[0].buffer!r} is bool, which is not combined")
    if 0 in out.values():
        _check_addresses(contract)
    values = 1 + len(contract.epilogue.reads) + len(contract.epilogue.steps)
    for number, access in contract.also:
        if not 0 <= number < values or access.strides.keys() != out.keys():
            raise ArgumentError(f"{access.buffer!r} is no value of the epilogue along the output dims")
    for access in contract.epilogue.reads:
        if not access.strides.keys() <= out.keys() | contract.within:
            raise ArgumentError(f"the epilogue reads {access.buffer!r} along a reduced dim")
    _check_expression(contract.out, contract.epilogue)
    for access, expression in zip(contract.ins, contract.prologue, strict=False):
        for read in expression.reads:
            if any(read.stride(name) != 0 and access.stride(name) == 0 for name in names):
                raise ArgumentError(f"{read.buffer!r} moves along a dim that {access.buffer!r} does not")
        _check_expression(access, expression)


def _check_addresses(contract: Contract) -> None:
    """That different elements of the output lie at different places."""
    dims = contract.output_dims
    still = [dim.name for dim in dims if dim.size != 1 and contract.out.stride(dim.name) == 0]
    if still and all(dim.size != 0 for dim in dims):
        raise ArgumentError(f"every {still[0]!r} of the output has the same address")


def _check_expression(given: Access, expression: Expression) -> None:
    values = 1 + len(expression.reads)
    for number, step in enumerate(expression.steps):
        if not step.operands or not all(0 <= i < values + number for i in step.operands):
            raise ArgumentError(f"step {step.op!r} has operands {step.operands}, not yet computed")
    if expression.reads and not expression.steps:
        raise ArgumentError(f"reads of an expression on {given.buffer} without a step")


def row_major(names: Sequence[str], sizes: Sequence[Size]) -> dict[str, Size]:
    """The strides of a dense array with these axes."""
    return {name: product(sizes[i + 1 :]) for i, name in enumerate(names)}
