"""Overlaps: sums of overlapping windows as windows themselves, for backends that contract windows in place.

`overlap_add` is what the gradient of a convolution towards its images comes to, and a transposed
convolution. Row y of the sum meets window h in cell i where ``y = s h + d i`` for stride s and dilation d.
So the rows ``y = s p + r`` of a phase r meet the cells ``d i = r (mod s)`` only, those are evenly spaced,
and each phase is a sum over cells of *windows* of what is spread, flipped, with zeros around it:

    y[s p + r] = sum over t of x[p - a - b t, cell i0 + q t]

where ``a = (d i0 - r) / s`` and ``b = d q / s``. With stride 1 there is one phase; otherwise the phases are
put side by side and reshaped. Where windows do not overlap, the sum is a transpose. Floats are added up in
another order than `overlap_add` does, which leaves that order open as einsum does.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from math import gcd
from typing import Any

from graphc import ops
from graphc.conversion import as_tensor
from graphc.freezing import frozen
from graphc.function import Function
from graphc.ops.equation import ELLIPSIS, LETTERS, split
from graphc.sizes import Size, product
from graphc.tensor import Tensor
from graphc.types import BFLOAT16, BOOL, FLOAT32, FLOAT64
from passes.rewrite import Match, index, rewrite, rule
from passes.simplification.matching import alike
from passes.simplification.vocabulary import broadcast_to, einsum, reshape, stack
from passes.target import PLAIN, Target


@frozen
class _Phase:
    """The rows ``s p + r``: the first cell and the step to the next, how many; lags of windows likewise."""

    first: int
    step: int
    many: int
    lag: int
    apart: int

    @property
    def zeros(self) -> int:
        """How many there are before what is spread."""
        return self.lag + (self.many - 1) * self.apart


_One = Callable[[Sequence[_Phase], Sequence[Size]], Tensor]  # a phase, and how many rows it has


def _phases(cells: int, stride: int, dilation: int) -> list[_Phase | None]:
    """For each phase of a stride its cells; None where it has none."""
    found: list[_Phase | None] = []
    step = stride // gcd(stride, dilation)
    for rest in range(stride):
        met = [i for i in range(cells) if (i * dilation - rest) % stride == 0]
        if not met:
            found.append(None)
            continue
        lag = (met[0] * dilation - rest) // stride
        found.append(_Phase(met[0], step, len(met), lag, step * dilation // stride))
    return found


@rule(ops.overlap_add, of=(reshape,))
def overlap_of_reshape(match: Match) -> Tensor | None:
    """``overlap_add(reshape(x)) -> reshape(overlap_add(x))`` for axes behind the cells."""
    (made,), attrs = match.inputs, match.attrs
    if made.op is not reshape or not match.used_once(made):
        return None
    x, last = made.inputs[0], max(attrs["axes"]) + 1
    behind = last + len(attrs["axes"])
    if x.result.sizes[:behind] != made.result.sizes[:behind]:
        return None
    whole = (*attrs["shape"][:last], *x.result.sizes[behind:])
    return alike(match, reshape(ops.overlap_add(x, **{**attrs, "shape": whole}), shape=attrs["shape"]))


@rule(ops.overlap_add)
def overlap_of_apart(match: Match) -> Tensor | None:
    """``overlap_add(x) -> reshape(transpose(x))`` where windows lie side by side; zeros may follow."""
    (x,), attrs = match.inputs, match.attrs
    axes, last = attrs["axes"], max(attrs["axes"]) + 1
    cells = x.result.sizes[last : last + len(axes)]
    if cells != tuple(attrs["strides"]) or any(d != 1 for d in attrs["dilations"]):
        return None
    order: list[int] = []
    whole: list[Size] = []
    for axis in range(last):
        order.append(axis)
        size = x.result.sizes[axis]
        if axis in axes:
            order.append(last + axes.index(axis))
            size = size * cells[axes.index(axis)]
        whole.append(size)
    rest = range(last + len(axes), len(x.result.sizes))
    flat = reshape(
        ops.transpose(x, axes=(*order, *rest)), shape=(*whole, *(x.result.sizes[axis] for axis in rest))
    )
    return alike(match, _among_zeros(flat, attrs["shape"], (0,) * len(attrs["shape"])))


@rule(ops.overlap_add, of=(einsum,))
def overlap_of_product(match: Match) -> Tensor | None:
    """``overlap_add(einsum('nha,iac->nhic', x, w)) -> einsum('nhia,iac->nhc', windows(x), flip(w))``."""
    (made,), attrs = match.inputs, match.attrs
    if made.op is not einsum or len(made.inputs) != 2 or not match.used_once(made):
        return None
    terms, output = split(made.attrs["equation"])
    if any(ELLIPSIS in term for term in (*terms, output)) or not _is_number(made):
        return None
    last = max(attrs["axes"]) + 1
    along = [output[axis] for axis in attrs["axes"]]
    cells = list(output[last : last + len(along)])
    for own, other in ((0, 1), (1, 0)):
        spread, held = terms[own], terms[other]
        if all(spread.count(x) == 1 and x not in held for x in along) and all(
            held.count(x) == 1 and x not in spread for x in cells
        ):
            break
    else:
        return None
    holder = made.inputs[other]
    sizes = [holder.result.sizes[held.index(x)] for x in cells]
    phases = _all_phases(attrs, sizes)
    if phases is None:
        return None
    result = output[:last] + output[last + len(cells) :]
    places = [spread.index(x) for x in along]

    def one(phase: Sequence[_Phase], counts: Sequence[Size]) -> Tensor:
        seen = _windows(made.inputs[own], places, phase, counts)
        at = max(places) + 1
        order = sorted(range(len(places)), key=places.__getitem__)
        term = spread[:at] + "".join(cells[k] for k in order) + spread[at:]
        taps = _flipped(holder, [held.index(x) for x in cells], phase)
        pair = ((term, seen), (held, taps)) if own == 0 else ((held, taps), (term, seen))
        return einsum(pair[0][1], pair[1][1], equation=f"{pair[0][0]},{pair[1][0]}->{result}")

    return alike(match, _joined(match, phases, one))


@rule(ops.overlap_add)
def overlap_of_cells(match: Match) -> Tensor | None:
    """``overlap_add(x) -> einsum('nhiic->nhc', windows(flip(x)))``: window h gives cell i to row h + i."""
    (x,), attrs = match.inputs, match.attrs
    axes, last = list(attrs["axes"]), max(attrs["axes"]) + 1
    places = [last + i for i in range(len(axes))]
    phases = _all_phases(attrs, [x.result.sizes[place] for place in places])
    if phases is None or not _is_number(x) or len(x.result.sizes) > len(LETTERS):
        return None
    letters = LETTERS[: len(x.result.sizes)]
    order = sorted(range(len(axes)), key=axes.__getitem__)
    twice = letters[:last] + "".join(letters[places[k]] for k in order) + letters[last:]
    result = letters[:last] + letters[last + len(axes) :]

    def one(phase: Sequence[_Phase], counts: Sequence[Size]) -> Tensor:
        return einsum(
            _windows(_flipped(x, places, phase), axes, phase, counts), equation=f"{twice}->{result}"
        )

    return alike(match, _joined(match, phases, one))


@rule(ops.strided_slice, of=(einsum,))
def slice_of_product(match: Match) -> Tensor | None:
    """``slice(einsum('nha,ac->nhc', x, w)) -> einsum('nha,ac->nhc', slice(x), w)``: less is computed."""
    (made,), attrs = match.inputs, match.attrs
    if made.op is not einsum or not match.used_once(made):
        return None
    terms, output = split(made.attrs["equation"])
    if any(ELLIPSIS in term for term in (*terms, output)):
        return None
    operands = list(made.inputs)
    kept = zip(attrs["starts"], attrs["sizes"], attrs["steps"], made.result.sizes, strict=True)
    for letter, (start, count, step, size) in zip(output, kept, strict=True):
        if (start, count, step) == (0, size, 1):
            continue
        for number, term in enumerate(terms):
            for axis in [axis for axis, other in enumerate(term) if other == letter]:
                x = operands[number]
                starts, steps = [0] * len(term), [1] * len(term)
                sizes = list(x.result.sizes)
                starts[axis], sizes[axis], steps[axis] = start, count, step
                operands[number] = ops.strided_slice(
                    x, starts=tuple(starts), sizes=tuple(sizes), steps=tuple(steps)
                )
    return alike(match, einsum(*operands, equation=made.attrs["equation"]))


@rule(ops.strided_slice, of=(ops.windows,))
def slice_of_framed_windows(match: Match) -> Tensor | None:
    """``slice(windows(embed(x))) -> windows(embed(x))``, with fewer zeros around it."""
    (seen,), attrs = match.inputs, match.attrs
    frame = seen.inputs[0] if seen.op is ops.windows else seen
    if frame.op is not ops.embed or not (match.used_once(seen) and match.used_once(frame)):
        return None
    given, shape, starts = frame.attrs, list(frame.attrs["shape"]), list(frame.attrs["starts"])
    if any(step != 1 for step in (*attrs["steps"], *seen.attrs["strides"], *given["steps"])):
        return None
    kept = zip(attrs["starts"], attrs["sizes"], seen.result.sizes, strict=True)
    for axis, (first, count, size) in enumerate(kept):
        if (first, count) == (0, size):
            continue
        own = frame.inputs[0].result.sizes[axis] if axis in seen.attrs["axes"] else None
        if not all(isinstance(n, int) for n in (first, count, size, own, shape[axis], starts[axis])):
            return None
        shape[axis], starts[axis] = shape[axis] - (size - count), starts[axis] - first
        if starts[axis] < 0 or starts[axis] + own > shape[axis]:
            return None
    less = ops.embed(frame.inputs[0], shape=tuple(shape), starts=tuple(starts), steps=given["steps"])
    return alike(match, ops.windows(less, **seen.attrs))


@rule(ops.mean)
def mean_of_sum(match: Match) -> Tensor | None:
    """``mean(x) -> sum(x) / n``, but for the mean of rows, which is made with what is around it."""
    (x,), attrs = match.inputs, match.attrs
    axes = attrs["axis"]
    many = product(x.result.sizes[axis] for axis in axes)
    if axes == (len(x.result.sizes) - 1,) or x.dtype not in (FLOAT32, FLOAT64) or not isinstance(many, int):
        return None
    total = ops.sum(x, axis=axes, keepdims=attrs["keepdims"])
    return alike(match, ops.div(total, as_tensor(float(many), x.dtype))) if many else None


_RULES = index(
    (
        overlap_of_reshape,
        overlap_of_apart,
        overlap_of_product,
        overlap_of_cells,
        slice_of_product,
        slice_of_framed_windows,
        mean_of_sum,
    )
)


def open_overlaps(function: Function, target: Target = PLAIN) -> Function:
    """`function` without sums of overlapping windows, where the backend contracts windows in place.

    What is cut out of a product is not computed, and means over other axes than the last are sums.
    """
    return function if target.contracts is PLAIN.contracts else rewrite(function, _RULES)


def _is_number(x: Tensor) -> bool:
    return x.dtype not in (BFLOAT16, BOOL)


def _all_phases(attrs: Mapping[str, Any], cells: Sequence[Size]) -> list[list[_Phase | None]] | None:
    """The phases along each axis; None where a window has a size known only at the run."""
    strides, dilations = attrs["strides"], attrs["dilations"]
    found = []
    for size, stride, dilation in zip(cells, strides, dilations, strict=True):
        if not isinstance(size, int):
            return None
        found.append(_phases(size, stride, dilation))
    return found


def _among_zeros(x: Tensor, shape: Sequence[Size], starts: Sequence[int]) -> Tensor:
    if tuple(shape) == x.result.sizes:
        return x
    return ops.embed(x, shape=tuple(shape), starts=tuple(starts), steps=(1,) * len(starts))


def _windows(x: Tensor, axes: Sequence[int], phase: Sequence[_Phase], counts: Sequence[Size]) -> Tensor:
    """The windows of `x` among zeros, `counts` of them along `axes`; the cells in the order of the axes."""
    shape, starts = list(x.result.sizes), [0] * len(x.result.sizes)
    for axis, each, count in zip(axes, phase, counts, strict=True):
        shape[axis], starts[axis] = count + (each.many - 1) * each.apart, each.zeros
    order = sorted(range(len(axes)), key=axes.__getitem__)
    return ops.windows(
        _among_zeros(x, shape, starts),
        axes=tuple(axes[k] for k in order),
        size=tuple(phase[k].many for k in order),
        strides=(1,) * len(order),
        dilations=tuple(max(phase[k].apart, 1) for k in order),
    )


def _flipped(x: Tensor, axes: Sequence[int], phase: Sequence[_Phase]) -> Tensor:
    """The cells of a phase, the last one first."""
    sizes, rank = list(x.result.sizes), len(x.result.sizes)
    starts, steps = [0] * rank, [1] * rank
    for axis, each in zip(axes, phase, strict=True):
        starts[axis] = each.first + (each.many - 1) * each.step
        sizes[axis], steps[axis] = each.many, -each.step
    return ops.strided_slice(x, starts=tuple(starts), sizes=tuple(sizes), steps=tuple(steps))


def _joined(match: Match, phases: Sequence[Sequence[_Phase | None]], one: _One) -> Tensor:
    """All phases side by side, along the last axis first."""
    attrs = match.attrs
    axes, strides, shape = attrs["axes"], attrs["strides"], attrs["shape"]
    counts = [(shape[axis] + (s - 1)) // s for axis, s in zip(axes, strides, strict=True)]
    size = list(shape)
    for axis, count in zip(axes, counts, strict=True):
        size[axis] = count
    zero = as_tensor(0, match.node.dtype)
    made: dict[tuple[int, ...], Tensor] = {}
    for number in itertools.product(*(range(s) for s in strides)):
        chosen = [each[r] for each, r in zip(phases, number, strict=True)]
        full = [each for each in chosen if each is not None]
        made[number] = (
            one(full, counts) if len(full) == len(chosen) else broadcast_to(zero, shape=tuple(size))
        )
    for k in reversed(range(len(axes))):
        made, size[axes[k]] = _beside(made, axes[k], strides[k], counts[k] * strides[k], tuple(size))
    (whole,) = made.values()
    if whole.result.sizes == tuple(shape):
        return whole
    rank = len(shape)
    return ops.strided_slice(whole, starts=(0,) * rank, sizes=tuple(shape), steps=(1,) * rank)


def _beside(
    made: dict[tuple[int, ...], Tensor], axis: int, stride: int, count: Size, size: tuple[Size, ...]
) -> tuple[dict[tuple[int, ...], Tensor], Size]:
    """Neighbours along `axis`, by the last of their numbers, as one."""
    shape = (*size[:axis], count, *size[axis + 1 :])
    found: dict[tuple[int, ...], Tensor] = {}
    for number in made:
        if number[-1] == 0:
            parts = [made[*number[:-1], r] for r in range(stride)]
            joined = parts[0] if stride == 1 else reshape(stack(*parts, axis=axis + 1), shape=shape)
            found[number[:-1]] = joined
    return found, count
