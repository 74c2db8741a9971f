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

from collections.abc import Mapping, Sequence
from typing import Any

from graphc import ops
from graphc.conversion import as_tensor
from graphc.function import Function
from graphc.ops.equation import ELLIPSIS, LETTERS, split
from graphc.sizes import Size, product
from graphc.tensor import Tensor
from graphc.types import BFLOAT16, BOOL, FLOAT32, FLOAT64
from passes.cells import are_held
from passes.phases import Phase, all_phases, among_zeros, flip_cells, join_phases, see_windows
from passes.rewrite import Match, index, rewrite, rule
from passes.simplification.matching import alike
from passes.simplification.vocabulary import broadcast_to, einsum, reshape
from passes.target import PLAIN, Target


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
    return alike(match, among_zeros(flat, attrs["shape"], (0,) * len(attrs["shape"])))


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
    phases = all_phases(attrs, sizes)
    if phases is None:
        return None
    result = output[:last] + output[last + len(cells) :]
    places = [spread.index(x) for x in along]

    def one(phase: Sequence[Phase], counts: Sequence[Size]) -> Tensor:
        seen = see_windows(made.inputs[own], places, phase, counts)
        at = max(places) + 1
        order = sorted(range(len(places)), key=places.__getitem__)
        term = spread[:at] + "".join(cells[k] for k in order) + spread[at:]
        taps = flip_cells(holder, [held.index(x) for x in cells], phase)
        pair = ((term, seen), (held, taps)) if own == 0 else ((held, taps), (term, seen))
        return einsum(pair[0][1], pair[1][1], equation=f"{pair[0][0]},{pair[1][0]}->{result}")

    return alike(match, join_phases(match, phases, one))


@rule(ops.overlap_add, of=(broadcast_to,))
def overlap_of_alike(match: Match) -> Tensor | None:
    """``overlap_add(broadcast_to(x)) -> sum(windows(x))``: row y gets x of all windows that it meets."""
    (made,), attrs = match.inputs, match.attrs
    if made.op is not broadcast_to:
        return None
    x, phases = _one_a_window(made.inputs[0], made, attrs), _few_phases(made, attrs)
    if x is None or phases is None:
        return None

    def one(phase: Sequence[Phase], counts: Sequence[Size]) -> Tensor:
        return ops.sum(see_windows(x, attrs["axes"], phase, counts), axis=_cells(attrs))

    return alike(match, join_phases(match, phases, one))


@rule(ops.overlap_add, of=(ops.mul,))
def overlap_of_shares(match: Match) -> Tensor | None:
    """``overlap_add((windows(x) == m) * s) -> sum((x == windows(m)) * windows(s))`` for windows one apart.

    Row y looks at the windows that it meets, and nothing is written for each cell of each. Where there is
    no window s is 0.
    """
    (made,), attrs = match.inputs, match.attrs
    if made.op is not ops.mul or any(stride != 1 for stride in attrs["strides"]):
        return None
    chosen, given = made.inputs if made.inputs[0].op is ops.cast else made.inputs[::-1]
    if chosen.op is not ops.cast or chosen.inputs[0].op is not ops.equal:
        return None
    seen, other = chosen.inputs[0].inputs
    whole, phases = attrs["shape"], _few_phases(made, attrs)
    if seen.op is not ops.windows or seen.inputs[0].result.sizes != whole or phases is None:
        return None
    if any(seen.attrs[key] != attrs[key] for key in ("axes", "strides", "dilations")):
        return None
    largest, share = (_one_a_window(x, made, attrs) for x in (other, given))
    if largest is None or share is None:
        return None
    cells = _cells(attrs)
    x = reshape(seen.inputs[0], shape=(*whole[: cells[0]], *(1,) * len(cells), *whole[cells[0] :]))

    def one(phase: Sequence[Phase], counts: Sequence[Size]) -> Tensor:
        of, shares = (see_windows(each, attrs["axes"], phase, counts) for each in (largest, share))
        return ops.sum(ops.mul(ops.cast(ops.equal(x, of), dtype=made.dtype), shares), axis=cells)

    return alike(match, join_phases(match, phases, one))


@rule(ops.overlap_add)
def overlap_of_cells(match: Match) -> Tensor | None:
    """``overlap_add(x) -> einsum('nhiic->nhc', windows(flip(x)))``: window h gives cell i to row h + i."""
    (x,), attrs = match.inputs, match.attrs
    axes, last = list(attrs["axes"]), max(attrs["axes"]) + 1
    places = [last + i for i in range(len(axes))]
    phases = all_phases(attrs, [x.result.sizes[place] for place in places])
    if phases is None or not _is_number(x) or len(x.result.sizes) > len(LETTERS):
        return None
    letters = LETTERS[: len(x.result.sizes)]
    order = sorted(range(len(axes)), key=axes.__getitem__)
    twice = letters[:last] + "".join(letters[places[k]] for k in order) + letters[last:]
    result = letters[:last] + letters[last + len(axes) :]

    def one(phase: Sequence[Phase], counts: Sequence[Size]) -> Tensor:
        return einsum(
            see_windows(flip_cells(x, places, phase), axes, phase, counts), equation=f"{twice}->{result}"
        )

    return alike(match, join_phases(match, phases, one))


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


@rule(ops.strided_slice, of=(ops.sum,))
def slice_of_sum(match: Match) -> Tensor | None:
    """``slice(sum(windows(x))) -> sum(slice(windows(x)))``: less is added up."""
    (made,), attrs = match.inputs, match.attrs
    if made.op is not ops.sum or made.attrs["keepdims"] or not match.used_once(made):
        return None
    (seen,) = made.inputs
    if seen.op is not ops.windows or not match.used_once(seen):
        return None
    kept = [axis for axis in range(len(seen.result.sizes)) if axis not in made.attrs["axis"]]
    starts, steps = [0] * len(seen.result.sizes), [1] * len(seen.result.sizes)
    sizes = list(seen.result.sizes)
    for axis, *own in zip(kept, attrs["starts"], attrs["sizes"], attrs["steps"], strict=True):
        starts[axis], sizes[axis], steps[axis] = own
    less = ops.strided_slice(seen, starts=tuple(starts), sizes=tuple(sizes), steps=tuple(steps))
    return alike(match, ops.sum(less, axis=made.attrs["axis"]))


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
        overlap_of_alike,
        overlap_of_shares,
        overlap_of_cells,
        slice_of_product,
        slice_of_sum,
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


def _cells(attrs: Mapping[str, Any]) -> tuple[int, ...]:
    """The axes of the cells among those of the windows."""
    last = max(attrs["axes"]) + 1
    return tuple(range(last, last + len(attrs["axes"])))


def _one_a_window(x: Tensor, made: Tensor, attrs: Mapping[str, Any]) -> Tensor | None:
    """`x` without the axes of cells, if it has one element for all of them, and is whole otherwise."""
    whole, cells = made.result.sizes, _cells(attrs)
    kept = tuple(1 if axis in cells else size for axis, size in enumerate(whole))
    return reshape(x, shape=(*kept[: cells[0]], *kept[cells[-1] + 1 :])) if x.result.sizes == kept else None


def _few_phases(made: Tensor, attrs: Mapping[str, Any]) -> list[list[Phase | None]] | None:
    """The phases, where a kernel can hold a vector for each cell of one (`cells`)."""
    cells = [made.result.sizes[axis] for axis in _cells(attrs)]
    return all_phases(attrs, cells) if are_held(made, cells) else None
