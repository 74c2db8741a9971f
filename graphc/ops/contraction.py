"""Sums of products in Einstein's notation: the one contraction that convolution and attention are."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np

from graphc.conversion import as_tensor, promoted
from graphc.errors import ArgumentError
from graphc.explanation import explains
from graphc.op import op
from graphc.ops.comparison import equal, where
from graphc.ops.equation import ELLIPSIS, Label, label, label_axes, measure, order, parse_equation, split
from graphc.ops.movement import broadcast_to, ensure_shape, expand_dims, transpose
from graphc.ops.source import iota
from graphc.tensor import Tensor
from graphc.types import TensorType


@op("linear", promotes=True)
def _einsum(*xs: Tensor, equation: str) -> TensorType:
    """The sum over the letters of `equation` that its output lacks of the product of `xs`.

    The equation is explicit (``ij,jk->ik``). Axes of one letter, or that line up under ``...``, broadcast;
    the latter are summed where the output has no ``...``. A letter twice in one operand is its
    diagonal. float16 and bfloat16 are summed in float32; integers wrap.

    Shapes: as the equation says, e.g. ``[i, j], [j, k] -> [i, k]``.
    Raises: ShapeError for operands of another rank or sizes of one letter that differ.
    """
    terms, output = split(equation)
    if len(terms) != len(xs):
        raise ArgumentError(f"{equation!r} is about {len(terms)} operands, and {len(xs)} are given")
    rows = [label(term, x.result) for term, x in zip(terms, xs, strict=True)]
    extents = measure(rows, [x.result for x in xs])
    kept = [x for x in output.replace(ELLIPSIS, "") if x not in extents]
    if kept:
        raise ArgumentError(f"letter {kept[0]!r} of the output is in no operand of {equation!r}")
    return TensorType(xs[0].dtype, tuple(extents[x] for x in order(output, extents)))


# What it means.


def contract(*arrays: Any, equation: str) -> Any:
    """The NumPy meaning: operands are taken in pairs, each pair as one product of matrices."""
    terms, output = split(equation)
    half = arrays[0].dtype == np.float16
    values = [a.astype(np.float32) if half else a for a in arrays]
    rows = [label_axes(t, a.ndim - len(t.replace(ELLIPSIS, ""))) for t, a in zip(terms, arrays, strict=True)]
    wanted = order(output, [x for row in rows for x in row])
    value, row = values[0], rows[0]
    for i in range(1, len(values)):
        later = {*wanted}.union(*rows[i + 1 :])
        last = i == len(values) - 1
        kept = wanted if last else tuple(x for x in dict.fromkeys((*row, *rows[i])) if x in later)
        value, row = _product(value, row, values[i], rows[i], kept), kept
    if len(values) == 1:
        value, row = _reduced(value, row, {*wanted})
        value = value.transpose([row.index(x) for x in wanted])
    return value.astype(np.float16) if half else value


def _reduced(value: Any, row: tuple[Label, ...], kept: set[Label]) -> tuple[Any, tuple[Label, ...]]:
    """`value` with diagonals taken and the labels outside `kept` summed away."""
    for x, count in Counter(row).items():
        for _ in range(count - 1):
            i = row.index(x)
            j = row.index(x, i + 1)
            row = (*row[:i], *row[i + 1 : j], *row[j + 1 :], x)
            value = np.diagonal(value, axis1=i, axis2=j)
    axes = tuple(i for i, x in enumerate(row) if x not in kept)
    if axes:
        value = sum_exactly(value, axes)
    return value, tuple(x for x in row if x in kept)


def sum_exactly(value: Any, axes: tuple[int, ...]) -> Any:
    """The sum over `axes` in the dtype of `value`: floats through float64, integers wrap, bool is any."""
    if value.dtype == np.bool_:
        return value.any(axis=axes)
    wide = np.float64 if value.dtype.kind == "f" else value.dtype
    return value.sum(axis=axes, dtype=wide).astype(value.dtype)


def _product(x: Any, xs: tuple[Label, ...], y: Any, ys: tuple[Label, ...], kept: tuple[Label, ...]) -> Any:
    """Two operands as one (batched) product of matrices; the result has the labels `kept`, in order.

    Of floats, what one operand alone has is summed last: its sum may be infinite where no product is.
    """
    x, xs, y, ys = _unstretched(*_reduced(x, xs, {*xs}), *_reduced(y, ys, {*ys}))
    alone = tuple(i for i in (*xs, *ys) if i not in kept and not (i in xs and i in ys))
    if alone and x.dtype.kind == "f":
        return _summed_last(x, xs, y, ys, kept, alone)
    x, xs = _reduced(x, xs, {*kept, *ys})
    y, ys = _reduced(y, ys, {*kept, *xs})
    shared = [i for i in xs if i in ys]
    inner = [i for i in (xs if x.size > y.size else ys) if i in shared and i not in kept]
    if not inner:
        return _placed(x, xs, kept) * _placed(y, ys, kept)
    batch = [i for i in kept if i in shared]
    rows = [i for i in kept if i in xs and i not in shared]
    columns = [i for i in kept if i in ys and i not in shared]
    extent = {**dict(zip(ys, y.shape, strict=True)), **dict(zip(xs, x.shape, strict=True))}
    inner = _cheapest(inner, x, xs, rows, y, ys, columns)
    left = _matrices(x, xs, (batch, rows, inner), extent)
    right = _matrices(y, ys, (batch, inner, columns), extent)
    made = [*batch, *rows, *columns]
    result = np.matmul(left, right).reshape([extent[i] for i in made])
    result = result.transpose([made.index(i) for i in kept if i in made])
    return _placed(result, tuple(i for i in kept if i in made), kept)


_MOST_HELD = 1 << 21  # products that are held at once


def _summed_last(
    x: Any,
    xs: tuple[Label, ...],
    y: Any,
    ys: tuple[Label, ...],
    kept: tuple[Label, ...],
    alone: tuple[Label, ...],
) -> Any:
    """The product of both, summed over the labels `alone`: part by part along the longest, in float64."""
    extent = {**dict(zip(ys, y.shape, strict=True)), **dict(zip(xs, x.shape, strict=True))}
    longest = max(alone, key=lambda i: extent[i])
    row = (*kept, *alone)
    others = math.prod(extent.get(i, 1) for i in row if i != longest)
    step = max(_MOST_HELD // max(others, 1), 1)
    total: Any = 0.0
    for begin in range(0, max(extent[longest], 1), step):
        own = slice(begin, begin + step)
        left = x[tuple(own if i == longest else slice(None) for i in xs)]
        right = y[tuple(own if i == longest else slice(None) for i in ys)]
        part = _product(left, xs, right, ys, row)
        total = total + part.sum(axis=tuple(range(len(kept), len(row))), dtype=np.float64)
    return np.asarray(total, x.dtype)


def _unstretched(x: Any, xs: tuple[Label, ...], y: Any, ys: tuple[Label, ...]) -> tuple[Any, ...]:
    """Both operands without the axes of size 1 that the other stretches."""
    for i in [i for i in xs if i in ys]:
        a, b = xs.index(i), ys.index(i)
        if x.shape[a] == 1 != y.shape[b]:
            x, xs = x.squeeze(a), (*xs[:a], *xs[a + 1 :])
        elif y.shape[b] == 1 != x.shape[a]:
            y, ys = y.squeeze(b), (*ys[:b], *ys[b + 1 :])
    return x, xs, y, ys


def _cheapest(
    inner: list[Label],
    x: Any,
    xs: tuple[Label, ...],
    rows: list[Label],
    y: Any,
    ys: tuple[Label, ...],
    columns: list[Label],
) -> list[Label]:
    """The order of the summed labels that copies best: that of an operand which need not be copied."""
    for value, row, outer in ((x, xs, rows), (y, ys, columns)):
        ordered = [i for i in row if i in inner]
        if value.flags.c_contiguous and row in ((*outer, *ordered), (*ordered, *outer)):
            return ordered
    return inner


def _matrices(
    value: Any, row: tuple[Label, ...], groups: tuple[list[Label], ...], extent: dict[Label, int]
) -> Any:
    """`value` with the axes of each group made one; no batch axis where there is no batch."""
    axes = [row.index(i) for group in groups for i in group]
    shape = [math.prod(extent[i] for i in group) for group in groups]
    return value.transpose(axes).reshape(shape if groups[0] else shape[1:])


def _placed(value: Any, row: tuple[Label, ...], kept: tuple[Label, ...]) -> Any:
    """`value` with its axes in the order of `kept`, of size 1 where it has none."""
    value = value.transpose([row.index(i) for i in kept if i in row])
    lacking = tuple(n for n, i in enumerate(kept) if i not in row)
    return np.expand_dims(value, lacking) if lacking else value


# How it slopes.


def _slope(g: Tensor, out: Tensor, *xs: Tensor, equation: str) -> tuple[Tensor, ...]:
    """The cotangent of an operand is the einsum of `g` and the others, onto its letters."""
    terms, output = split(equation)
    answers = []
    for i in range(len(xs)):
        others = [*zip(terms[:i], xs[:i], strict=True), *zip(terms[i + 1 :], xs[i + 1 :], strict=True)]
        answers.append(_cotangent(terms[i], xs[i], [(output, g), *others]))
    return tuple(answers)


def _cotangent(term: str, x: Tensor, factors: list[tuple[str, Tensor]]) -> Tensor:
    wanted = label(term, x.result)
    available = [i for t, f in factors for i in label(t, f.result)]
    spelled = "".join(dict.fromkeys(c for c in term.replace(ELLIPSIS, ".") if c == "." or c in available))
    if not any(ELLIPSIS in t for t, _ in factors):
        spelled = spelled.replace(".", "")
    target = spelled.replace(".", ELLIPSIS)
    partial = einsum_of(factors, target)
    return _spread(partial, order(target, available), x, wanted)


def _spread(partial: Tensor, row: tuple[Label, ...], x: Tensor, wanted: tuple[Label, ...]) -> Tensor:
    """`partial` with the labels of `x`: summed letters repeat, those of a diagonal stand on it."""
    made = dict(zip(row, partial.result.sizes, strict=True))
    own = dict(zip(wanted, x.result.sizes, strict=True))
    places = [i for i in row if i not in own]  # under the ellipsis, where x has fewer axes
    if places:
        partial = transpose(partial, [row.index(i) for i in (*places, *(i for i in row if i in own))])
    full: list[Label] = [*places, *wanted]
    if tuple(full) == row or (places and len(full) == len(row)):
        return partial
    seen: set[Label] = set()
    repeats: list[tuple[int, int]] = []
    for n, i in enumerate(full):
        if i in seen:
            repeats.append((full.index(i), n))
        elif i not in made:
            partial = expand_dims(partial, n)
        seen.add(i)
    for _, n in repeats:
        partial = expand_dims(partial, n)
    shape = tuple(made[i] if i not in own or made.get(i, 1) != 1 else own[i] for i in full)
    if not repeats:
        return broadcast_to(partial, shape)
    zero = as_tensor(0, partial.dtype)
    rank = len(full)
    for a, b in repeats:
        positions = iota(shape=(shape[a],))
        partial = where(equal(_standing(positions, a, rank), _standing(positions, b, rank)), partial, zero)
    return broadcast_to(partial, shape)


def _standing(positions: Tensor, axis: int, rank: int) -> Tensor:
    """A vector along `axis` of a value of `rank`."""
    return expand_dims(positions, [i for i in range(rank) if i != axis]) if rank > 1 else positions


_einsum.evaluate(contract)
_einsum.gradient(_slope)
_einsum.example("f64[2,3]", "f64[3,4]", equation="ij,jk->ik")
_einsum.example("f64[2,3]", equation="ij->j")
_einsum.example("f64[2,3]", equation="ij->ji")
_einsum.example("f64[3,3]", equation="ii->i")
_einsum.example("f64[3,2,3]", equation="iji->j")
_einsum.example("f64[3]", "f64[2]", equation="i,j->ij")
_einsum.example("f64[2,3]", "f64[2,3]", equation="ij,ij->i")
_einsum.example("f64[2,1,2,3]", "f64[4,3,2]", equation="...ij,...jk->...ik")
_einsum.example("f64[2,2,3]", "f64[2,2,3,2]", equation="...k,...kn->...n")
_einsum.example("f64[2,3]", "f64[3,2]", equation="ab,bc->")
_einsum.example("f64[2,2,3]", "f64[2,2,4]", equation="...k,...n->kn")
_einsum.example("f64[1,2,2,2,2,3]", "f64[2,2,3,2]", equation="nhwijc,ijco->nhwo")
_einsum.example("f64[0,3]", "f64[3,4]", equation="ij,jk->ik")
_einsum.example("f64[1,3]", "f64[2,3]", equation="ij,ij->ij")
_einsum.example("f64[2,1]", "f64[3,4]", equation="ij,jk->ik")
_einsum.example("f64[2,1,3]", "f64[1,4,3]", equation="abc,abc->b")
_einsum.example("f64[2,2,1]", "f64[3,3,2]", equation="iij,jjk->k")
_einsum.example("f64[2,3,2]", "f64[2,3]", equation="abc,cd->bd")
_einsum.example("f32[1,1]", "f32[0,3]", equation="ij,ij->j")
_einsum.example("f32[2,3]", "f32[3,4]", equation="ij,jk->ki")
_einsum.example("f16[2,3]", "f16[3,4]", equation="ij,jk->ik")
_einsum.example("i32[2,3]", "i64[3,1]", equation="ij,jk->ik")
_einsum.example("bool[2,3]", "bool[3,2]", equation="ij,jk->ik")


@explains
def einsum(equation: str, *xs: Any, name: str | None = None) -> Tensor:
    """A sum of products, as ``numpy.einsum``: ``einsum("bij,bjk->bik", x, y)``.

    Without ``->`` the output has the letters that occur once, in alphabetical order, after ``...``.
    Axes of one letter are alike or 1, which repeats; axes under ``...`` broadcast. More than two operands
    are taken in pairs, the pair with the smallest result first.

    Shapes: as the equation says.

    Raises: ShapeError for sizes or ranks that do not fit; ArgumentError for what is no equation.
    """
    terms, output = parse_equation(equation, len(xs))
    operands = [
        x if ELLIPSIS in term or x.result.shape is not None else ensure_shape(x, (None,) * len(term))
        for term, x in zip(terms, promoted(xs), strict=True)
    ]
    return einsum_of(list(zip(terms, operands, strict=True)), output, name)


def einsum_of(factors: list[tuple[str, Tensor]], output: str, name: str | None = None) -> Tensor:
    """The einsum of tensors with their terms onto `output`, two at a time."""
    factors = list(factors)
    while len(factors) > 2:
        pairs = [(i, j) for j in range(len(factors)) for i in range(j)]
        i, j = min(pairs, key=lambda pair: _cost(factors, pair[0], pair[1], output))
        rest = [f for n, f in enumerate(factors) if n not in (i, j)]
        term = _kept(factors, i, j, output)
        product = _einsum(factors[i][1], factors[j][1], equation=f"{factors[i][0]},{factors[j][0]}->{term}")
        factors = [*rest, (term, product)]
    equation = f"{','.join(t for t, _ in factors)}->{output}"
    return _einsum(*(x for _, x in factors), equation=equation, name=name)


def _kept(factors: list[tuple[str, Tensor]], i: int, j: int, output: str) -> str:
    """The term of the product of two factors: what the output or another factor still needs."""
    pair = factors[i][0] + factors[j][0]
    later = output + "".join(t for n, (t, _) in enumerate(factors) if n not in (i, j))
    letters = dict.fromkeys(pair.replace(ELLIPSIS, ""))
    return ELLIPSIS * (ELLIPSIS in pair) + "".join(x for x in letters if x in later)


_TYPICAL = 32  # what an unknown size counts for where an order is chosen


def _cost(factors: list[tuple[str, Tensor]], i: int, j: int, output: str) -> tuple[int, int]:
    """The size of the product of two factors, and the work to make it."""
    extent: dict[Label, int] = {}
    for term, x in (factors[i], factors[j]):
        if x.result.shape is not None:
            for at, size in zip(label(term, x.result), x.result.shape, strict=True):
                extent[at] = max(extent.get(at, 1), size if isinstance(size, int) else _TYPICAL)
    kept = order(_kept(factors, i, j, output), extent)
    return math.prod(extent.get(at, _TYPICAL) for at in kept), math.prod(extent.values())
