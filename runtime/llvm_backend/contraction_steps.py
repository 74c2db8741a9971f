"""Contraction steps: which ops of a program are contractions, and of what strides.

Operands are the buffers ``x0``, ``x1``; the result is ``out``. All of them are dense.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
from runtime.llvm_backend.contraction import Access, Combine, Contract, Dim, Expression, Step
from runtime.llvm_backend.frontends import row_major

_BITS = {1: UINT8, 2: UINT16, 4: UINT32, 8: UINT64}


def contract_of(node: Tensor) -> Contract | None:
    """What `node` is as a contraction; None where it is none."""
    make = _FRONT.get(node.op.name)
    types = [each.type for each in (node, *node.inputs)]
    if make is None or any(not isinstance(t, TensorType) or t.shape is None for t in types):
        return None
    return make(node)


def _multiplies(dtype: DType) -> bool:
    """Whether products of `dtype` are as NumPy has them; bfloat16 is held as float32 and rounded."""
    return dtype not in (BFLOAT16, BOOL)


def _matmul(node: Tensor) -> Contract | None:
    x, y = (operand.result.sizes for operand in node.inputs)
    if len(x) == 1 and len(y) == 1:
        return _equation(node, "k,k->")
    left = "k" if len(x) == 1 else "...mk"
    right = "k" if len(y) == 1 else "...kn"
    rest = ("m" if len(x) > 1 else "") + ("n" if len(y) > 1 else "")
    return _equation(node, f"{left},{right}->...{rest}")


def _einsum(node: Tensor) -> Contract | None:
    equation: str = node.attrs["equation"]
    return _equation(node, equation) if len(node.inputs) <= 2 else None


def _equation(node: Tensor, equation: str) -> Contract | None:
    if not _multiplies(node.dtype) or any(x.dtype is not node.dtype for x in node.inputs):
        return None
    terms, output = split(equation)
    types = [operand.result for operand in node.inputs]
    rows = [label(term, type) for term, type in zip(terms, types, strict=True)]
    extents = measure(rows, types)
    kept = order(output, extents)
    accesses = [
        _access(f"x{i}", row, type, extents) for i, (row, type) in enumerate(zip(rows, types, strict=True))
    ]
    if len(accesses) == 1:
        return _combined("add", kept, extents, accesses[0], node.dtype)
    return Contract(_dims(kept, extents), tuple(accesses), _out(kept, extents, node.dtype), "multiply_add")


def _access(
    buffer: str,
    row: Sequence[Label],
    type: TensorType,
    extents: dict[Label, Size],
    dtype: DType | None = None,
) -> Access:
    """A dense operand whose axes have these labels; a label twice is a diagonal, a size of 1 repeats."""
    strides: dict[str, Size] = {}
    dense = row_major([str(i) for i in range(len(row))], type.sizes)
    for axis, x in enumerate(row):
        if type.sizes[axis] == 1 and extents[x] != 1:
            continue
        strides[_name(x)] = strides.get(_name(x), 0) + dense[str(axis)]
    return Access(buffer, 0, strides, dtype or type.dtype)


def _name(label: Label) -> str:
    return f"d{label}".replace("-", "_")


def _dims(kept: Sequence[Label], extents: dict[Label, Size]) -> tuple[Dim, ...]:
    return tuple(Dim(_name(x), extents[x]) for x in dict.fromkeys((*kept, *extents)))


def _out(kept: Sequence[Label], extents: dict[Label, Size], dtype: DType) -> Access:
    return Access("out", 0, row_major([_name(x) for x in kept], [extents[x] for x in kept]), dtype)


def _reduction(combine: Combine) -> Callable[[Tensor], Contract | None]:
    def make(node: Tensor) -> Contract | None:
        (x,) = node.inputs
        axes = node.attrs["axis"]
        rank = len(x.result.sizes)
        axes = tuple(range(rank)) if axes is None else axes
        if x.dtype in (BFLOAT16, BOOL) or node.dtype in (BFLOAT16, BOOL):
            return None
        row: tuple[Label, ...] = tuple(range(rank))
        extents = dict(zip(row, x.result.sizes, strict=True))
        kept = [i for i in row if i not in axes]
        if combine != "add" and any(extents[i] == 0 for i in axes):
            return None
        return _combined(combine, kept, extents, _access("x0", row, x.result, extents), node.dtype)

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


def _moved(node: Tensor, row: Sequence[Label]) -> Contract:
    """The operand, whose axes have the labels `row`, as a result whose axes are 0, 1, ..."""
    (x,) = node.inputs
    bits = _BITS[node.dtype.numpy.itemsize]
    kept: list[Label] = list(range(len(node.result.sizes)))
    extents: dict[Label, Size] = dict(zip(kept, node.result.sizes, strict=True))
    access = _access("x0", row, x.result, extents, bits)
    return Contract(_dims(kept, extents), (access,), _out(kept, extents, bits), "add")


def _broadcast(node: Tensor) -> Contract:
    rank, own = len(node.result.sizes), len(node.inputs[0].result.sizes)
    return _moved(node, range(rank - own, rank))


def _transpose(node: Tensor) -> Contract:
    axes = node.attrs["axes"]
    return _moved(node, [axes.index(axis) for axis in range(len(axes))])


_FRONT: dict[str, Callable[[Tensor], Contract | None]] = {
    "matmul": _matmul,
    "einsum": _einsum,
    "sum": _reduction("add"),
    "max": _reduction("max"),
    "min": _reduction("min"),
    "broadcast_to": _broadcast,
    "transpose": _transpose,
}
