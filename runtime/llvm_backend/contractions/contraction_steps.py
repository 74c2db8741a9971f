"""Contraction steps: which ops of a program are contractions, and of what strides.

Operands are the buffers ``x0``, ``x1``; the result is ``out``, which is dense, but for `embed`, which writes
among zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from graphc.ops.equation import Label, label, measure, order, split
from graphc.sizes import Size
from graphc.tensor import Tensor
from graphc.types import (
    BFLOAT16,
    BOOL,
    FLOAT16,
    FLOAT32,
    FLOAT64,
    UINT8,
    UINT16,
    UINT32,
    UINT64,
    DType,
    TensorType,
)
from runtime.llvm_backend.contractions.contraction import (
    Access,
    Contract,
    Dim,
    Expression,
    Step,
    row_major,
)
from runtime.llvm_backend.contractions.pairs import ROUNDED
from runtime.llvm_backend.contractions.strided import (
    Look,
    Strided,
    have_ranks,
    is_inside,
    is_strided,
    see,
    see_dense,
    see_within,
)
from runtime.llvm_backend.ir.lanes import Combine

Front = Callable[[Tensor, Look], Contract]
_BITS = {1: UINT8, 2: UINT16, 4: UINT32, 8: UINT64}


def has_contract(node: Tensor) -> bool:
    """Whether there is a `plain_contract` of `node`, which takes longer to make."""
    front = _FRONTS.get(node.op.name)
    if front is None:
        return is_strided(node)
    return have_ranks(node, *node.inputs) and front[0](node)


def plain_contract(node: Tensor, look: Look = see_dense) -> Contract | None:
    """What `node` is as a contraction of operands that are seen as `look` says; None where it is none."""
    if not has_contract(node):
        return None
    if is_strided(node):
        return _moved(node, range(len(node.result.sizes)), see(node, look(node.inputs[0])))
    return _FRONTS[node.op.name][1](node, look)


def _is_product(node: Tensor) -> bool:
    """Whether there are one or two operands, whose products are as NumPy has them."""
    dtype, many = node.dtype, len(node.inputs)
    if dtype is BOOL or many > 2 or (many == 1 and dtype is BFLOAT16):
        return False
    return all(x.dtype is dtype for x in node.inputs)


def _matmul(node: Tensor, look: Look) -> Contract:
    x, y = (operand.result.sizes for operand in node.inputs)
    if len(x) == 1 and len(y) == 1:
        return _equation(node, "k,k->", look)
    left = "k" if len(x) == 1 else "...mk"
    right = "k" if len(y) == 1 else "...kn"
    rest = ("m" if len(x) > 1 else "") + ("n" if len(y) > 1 else "")
    return _equation(node, f"{left},{right}->...{rest}", look)


def _einsum(node: Tensor, look: Look) -> Contract:
    return _equation(node, node.attrs["equation"], look)


def _equation(node: Tensor, equation: str, look: Look) -> Contract:
    terms, output = split(equation)
    types = [operand.result for operand in node.inputs]
    rows = [label(term, type) for term, type in zip(terms, types, strict=True)]
    extents = measure(rows, types)
    kept = order(output, extents)
    narrow = node.dtype is BFLOAT16  # which arrays hold as float32, and whose sums are rounded
    held = FLOAT32 if narrow else node.dtype
    accesses = [
        _access(f"x{i}", row, x.result, extents, look(x), held)
        for i, (row, x) in enumerate(zip(rows, node.inputs, strict=True))
    ]
    if len(accesses) == 1:
        return _combined("add", kept, extents, accesses[0], node.dtype)
    made = Contract(_dims(kept, extents), tuple(accesses), _out(kept, extents, held), "multiply_add")
    return replace(made, epilogue=ROUNDED, values=BFLOAT16) if narrow else made


def _access(
    buffer: str,
    row: Sequence[Label],
    type: TensorType,
    extents: dict[Label, Size],
    seen: Strided,
    bits: DType | None = None,
) -> Access:
    """An operand whose axes have these labels; a label twice is a diagonal, a size of 1 repeats."""
    strides: dict[str, Size] = {}
    for x, size, stride in zip(row, type.sizes, seen.strides, strict=True):
        if size != 1 or extents[x] == 1:
            strides[_name(x)] = strides.get(_name(x), 0) + stride
    return Access(buffer, seen.offset, strides, bits or type.dtype)


def _name(label: Label) -> str:
    return f"d{label}".replace("-", "_")


def _dims(kept: Sequence[Label], extents: dict[Label, Size]) -> tuple[Dim, ...]:
    return tuple(Dim(_name(x), extents[x]) for x in dict.fromkeys((*kept, *extents)))


def _out(kept: Sequence[Label], extents: dict[Label, Size], dtype: DType) -> Access:
    return Access("out", 0, row_major([_name(x) for x in kept], [extents[x] for x in kept]), dtype)


def _is_sum(node: Tensor) -> bool:
    """Whether a kernel counts in what it adds up: a sum of bool counts in integers."""
    dtype = node.dtype
    return node.inputs[0].dtype is not BFLOAT16 and dtype is not BFLOAT16 and dtype is not BOOL


def _is_extreme(node: Tensor) -> bool:
    return _is_sum(node) and all(node.inputs[0].result.sizes[axis] != 0 for axis in _reduced(node))


def _reduced(node: Tensor) -> Sequence[int]:
    """The axes that are reduced."""
    axes: tuple[int, ...] | None = node.attrs["axis"]
    return range(len(node.inputs[0].result.sizes)) if axes is None else axes


def _reduction(combine: Combine) -> Front:
    def make(node: Tensor, look: Look) -> Contract:
        (x,) = node.inputs
        row: tuple[Label, ...] = tuple(range(len(x.result.sizes)))
        extents = dict(zip(row, x.result.sizes, strict=True))
        kept = [i for i in row if i not in _reduced(node)]
        return _combined(combine, kept, extents, _access("x0", row, x.result, extents, look(x)), node.dtype)

    return make


def _combined(
    combine: Combine, kept: Sequence[Label], extents: dict[Label, Size], x: Access, dtype: DType
) -> Contract:
    """One operand combined over what is not kept; sums of floats go through float64."""
    total = dtype
    if combine == "add":
        total = FLOAT64 if dtype.is_floating else dtype
    elif dtype is FLOAT16:
        total = FLOAT32
    widen = Expression((), (Step("cast", (0,), total),)) if total is not x.dtype else Expression()
    narrow = Expression((), (Step("cast", (0,), dtype),)) if total is not dtype else Expression()
    return Contract(_dims(kept, extents), (x,), _out(kept, extents, dtype), combine, (widen,), narrow)


# Movement: elements of any dtype are copied as bits.


def _moved(node: Tensor, row: Sequence[Label], seen: Strided) -> Contract:
    """What is `seen`, with axes of the labels `row`, as a result whose axes are 0, 1, ..."""
    kept: list[Label] = list(range(len(node.result.sizes)))
    extents: dict[Label, Size] = dict(zip(kept, node.result.sizes, strict=True))
    bits = _BITS[node.dtype.numpy.itemsize]
    type = node.result if is_strided(node) else node.inputs[0].result
    access = _access("x0", row, type, extents, seen, bits)
    return Contract(_dims(kept, extents), (access,), _out(kept, extents, bits), "add")


def _broadcast(node: Tensor, look: Look) -> Contract:
    (x,) = node.inputs
    rank, own = len(node.result.sizes), len(x.result.sizes)
    return _moved(node, range(rank - own, rank), look(x))


def _lies_inside(node: Tensor) -> bool:
    attrs = node.attrs
    return is_inside(attrs["shape"], attrs["starts"], node.inputs[0].result.sizes, attrs["steps"])


def _embed(node: Tensor, look: Look) -> Contract:
    """The operand among zeros: those are written before."""
    (x,) = node.inputs
    row: list[Label] = list(range(len(x.result.sizes)))
    extents: dict[Label, Size] = dict(zip(row, x.result.sizes, strict=True))
    bits = _BITS[node.dtype.numpy.itemsize]
    seen = see_within(node)
    offset = 0 if any(size == 0 for size in x.result.sizes) else seen.offset
    strides = {_name(i): stride for i, stride in enumerate(seen.strides)}
    access = _access("x0", row, x.result, extents, look(x), bits)
    return Contract(_dims(row, extents), (access,), Access("out", offset, strides, bits), "add")


_FRONTS: dict[str, tuple[Callable[[Tensor], bool], Front]] = {  # whether there is a contract, and which
    "matmul": (_is_product, _matmul),
    "einsum": (_is_product, _einsum),
    "sum": (_is_sum, _reduction("add")),
    "max": (_is_extreme, _reduction("max")),
    "min": (_is_extreme, _reduction("min")),
    "broadcast_to": (lambda node: True, _broadcast),
    "embed": (_lies_inside, _embed),
}
