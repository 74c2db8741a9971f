"""The gradient of a loop: the steps again, remembering what each began with; then the steps backwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graphc import sizes
from graphc.freezing import frozen
from graphc.function import Function, rebuild, topological, with_inputs
from graphc.graph import Graph, graph_frame
from graphc.ops.checkpointing import segmented_scan, segmented_while
from graphc.ops.elementwise import add, identity
from graphc.ops.filling import zeros_like
from graphc.ops.loop import Parts, loop, slice_type
from graphc.ops.marker import connected, gradients
from graphc.ops.movement import sized_as
from graphc.ops.ragged import Remembered, bound_sizes, is_ragged, remember, take_last
from graphc.ops.sizing import size
from graphc.ops.state import pick
from graphc.tensor import Tensor
from graphc.tracing import parameter, without_effects
from graphc.types import INT64, TensorType


def run_backwards(
    g: Sequence[Tensor | None], out: Tensor, operands: Sequence[Tensor], attrs: Mapping[str, Any]
) -> Sequence[Tensor | None]:
    """A loop over the remembered steps, carrying the cotangents of what the forward loop carries.

    With ``c', y = body(c, x, w)`` and cotangents ``dc'``, ``dy`` each step back gives ``dc``, ``dx``
    and a share of ``dw``, which adds up.
    Values whose shape changes from step to step are remembered in a vector, and taken from its end.
    """
    if attrs["checkpoint"] and not attrs["shape"]:
        return _run_segments_backwards(g, operands, attrs)
    body: Function = attrs["body"]
    carried, scanned = attrs["carried"], attrs["scanned"]
    parts, formal = Parts.of(operands, carried, scanned), Parts.of(body.inputs, carried, scanned)
    pairs = list(zip(parts.starts, formal.starts, strict=True))
    changing = [i for i, pair in enumerate(pairs) if is_ragged(*pair)]
    step = _Step.back(g, body, carried, scanned, changing)
    stacked = [cotangent for cotangent in g[carried:] if cotangent is not None]
    alike, ragged = _to_remember(step, pairs, changing, counts=attrs["condition"] is not None)
    used = [i for i, x in enumerate(formal.slices) if x in step.used]
    if not (alike or ragged or used or stacked):
        used = [0]  # there has to be something to walk
    found = remember(operands, attrs, alike, [t for _, t in ragged])
    cotangents = [
        cotangent if cotangent is not None else zeros_like(pick(out, index=i))
        for i, cotangent in ((i, g[i]) for i in step.carries)
    ]
    last = _Lasts.of(step, ragged, found, body.owner)
    begun = [*cotangents, *(zeros_like(parts.captured[i]) for i in step.captured), *map(size, found.vectors)]
    walked = [*found.alike, *found.shapes, *(parts.slices[i] for i in used), *stacked]
    formals = (
        *step.cotangents,
        *step.sums,
        *last.ends,
        *alike,
        *last.rows,
        *(formal.slices[i] for i in used),
    )
    made = loop(
        *begun,
        *walked,
        *parts.captured,
        *found.vectors,
        body=Function((*formals, *step.incoming, *formal.captured, *last.vectors), last.outputs),
        carried=len(begun),
        scanned=len(walked),
        reverse=not attrs["reverse"],
        shape=bound_sizes(begun, formals, False),
    )
    targets = [*step.carries, *(carried + scanned + i for i in step.captured)]
    results = [*range(len(targets)), *range(len(begun), len(begun) + len(step.slices))]
    targets += (carried + i for i in step.slices)
    slopes = {target: pick(made, index=i) for target, i in zip(targets, results, strict=True)}
    slopes |= {i: sized_as(slopes[i], operands[i]) for i in changing if i in slopes}
    return [slopes.get(i) for i in range(len(operands))]


_Pair = tuple[Tensor, Tensor]  # what a loop begins with, and the input of its body that it is in a step


def _to_remember(
    step: _Step, pairs: Sequence[_Pair], changing: Sequence[int], counts: bool
) -> tuple[Sequence[Tensor], Sequence[_Pair]]:
    """What is remembered of each forward step: inputs that keep their shape, and those pairs that do not.

    The latter are all `changing` ones, where one is needed. With `counts` there is something in any case: it
    says how many steps there were.
    """
    alike = [t for i, (_, t) in enumerate(pairs) if i not in changing]
    used = [t for t in alike if t in step.used]
    ragged = [pairs[i] for i in changing]
    if any(pairs[i][1] in step.used or i in step.carries for i in changing):
        return used, ragged
    if counts and not used:
        return (alike[:1], ()) if alike else ((), pairs[:1])
    return used, ()


@frozen
class _Lasts:
    """The inputs and outputs of a step back that takes values of changing shapes from the ends of vectors.

    `vectors` hold the elements, `ends` say where those of the step end, `rows` which sizes they have.
    """

    ends: tuple[Tensor, ...]
    rows: tuple[Tensor, ...]
    vectors: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    @classmethod
    def of(cls, step: _Step, ragged: Sequence[_Pair], found: Remembered, owner: Graph | None) -> _Lasts:
        """`step` with the values of `ragged`, which are `found`, taken so; it carries where they begin."""
        ends = tuple(parameter(f"end{i}", TensorType(INT64, ()), owner) for i in range(len(ragged)))
        rows = tuple(parameter(f"shape{i}", slice_type(t.result), owner) for i, t in enumerate(found.shapes))
        vectors = tuple(parameter(f"vector{i}", t.result, owner) for i, t in enumerate(found.vectors))
        if not ragged:
            return cls(ends, rows, vectors, step.outputs)
        with graph_frame(owner):
            lasts = [
                take_last(vector, end, row, *pair)
                for vector, end, row, pair in zip(vectors, ends, rows, ragged, strict=True)
            ]
        stand_ins = {taken: value for (_, taken), (value, _) in zip(ragged, lasts, strict=True)}
        outputs = rebuild(Function((), step.outputs), with_inputs, stand_ins)[0].outputs
        carries = len(step.cotangents) + len(step.sums)
        begins = (begin for _, begin in lasts)
        return cls(ends, rows, vectors, (*outputs[:carries], *begins, *outputs[carries:]))


def _run_segments_backwards(
    g: Sequence[Tensor | None], operands: Sequence[Tensor], attrs: Mapping[str, Any]
) -> Sequence[Tensor | None]:
    """The gradient of the same steps as a loop over segments, which computes the same values again."""
    points = [identity(x) for x in operands]  # so that no path leads from one operand to another
    parts, pure = Parts.of(points, attrs["carried"], attrs["scanned"]), without_effects(attrs["body"])
    if attrs["condition"] is None:
        again = segmented_scan(parts, pure, attrs["reverse"], attrs["checkpoint"])
    else:
        again = segmented_while(parts, pure, without_effects(attrs["condition"]), attrs["checkpoint"])
    pairs = [(y, cotangent) for y, cotangent in zip(again, g, strict=True) if cotangent is not None]
    floats = [i for i, x in enumerate(points) if x.dtype.is_floating]
    slopes = gradients([y for y, _ in pairs], [points[i] for i in floats], grad_ys=[c for _, c in pairs])
    found = dict(zip(floats, slopes, strict=True))
    return [found.get(i) for i in range(len(operands))]


@frozen
class _Step:
    """One step backwards: what it takes and gives, and which values of the forward step it uses.

    `carries`, `captured` and `slices` number what a gradient flows to. The outputs are the cotangents
    of the carries, the sums of those of what is captured, and the cotangents of the slices.
    """

    carries: tuple[int, ...]
    captured: tuple[int, ...]
    slices: tuple[int, ...]
    cotangents: tuple[Tensor, ...]
    sums: tuple[Tensor, ...]
    incoming: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    used: frozenset[Tensor]

    @classmethod
    def back(
        cls,
        g: Sequence[Tensor | None],
        body: Function,
        carried: int,
        scanned: int,
        changing: Sequence[int],
    ) -> _Step:
        """The step of `body` backwards, for cotangents where `g` has some; `changing` ones change shape."""
        pure = without_effects(body)
        formal = Parts.of(pure.inputs, carried, scanned)
        stacked = [i for i in range(carried, len(g)) if g[i] is not None]
        carries = _needed(g, pure, formal.starts, stacked)
        with graph_frame(body.owner):
            carried_on = [
                pure.outputs[i] if i in changing else sized_as(pure.outputs[i], formal.starts[i])
                for i in carries
            ]
        ends = [*carried_on, *(pure.outputs[i] for i in stacked)]
        reached = connected(topological(ends), ends, {*formal.captured, *formal.slices}, set())
        captured = tuple(i for i, x in enumerate(formal.captured) if x in reached)
        slices = tuple(i for i, x in enumerate(formal.slices) if x in reached)
        owner = body.owner
        # Sizes of a cotangent may be known that those of what is carried are not.
        starts = {i: formal.starts[i] if (cotangent := g[i]) is None else cotangent for i in carries}
        types = {
            i: _own_sizes(formal.starts[i].result) if i in changing else starts[i].result for i in carries
        }
        cotangents = tuple(parameter(f"cotangent{i}", types[i], owner) for i in carries)
        sums = tuple(parameter(f"sum{i}", formal.captured[i].result, owner) for i in captured)
        incoming = tuple(parameter(f"slice{i}", pure.outputs[i].result, owner) for i in stacked)
        with graph_frame(owner):
            found = gradients(
                ends,
                [
                    *(formal.starts[i] for i in carries),
                    *(formal.captured[i] for i in captured),
                    *(formal.slices[i] for i in slices),
                ],
                grad_ys=[*cotangents, *incoming],
                unconnected="zero",
            )
            slopes = [slope for slope in found if slope is not None]
            shares = slopes[len(carries) : len(carries) + len(captured)]
            added = [add(total, share) for total, share in zip(sums, shares, strict=True)]
        outputs = (*slopes[: len(carries)], *added, *slopes[len(carries) + len(captured) :])
        used = frozenset(topological(outputs))
        return cls(carries, captured, slices, cotangents, sums, incoming, outputs, used)


def _needed(
    g: Sequence[Tensor | None], body: Function, starts: Sequence[Tensor], stacked: Sequence[int]
) -> tuple[int, ...]:
    """The values carried that have a cotangent at some step: those that lead, in time, to one in `g`."""
    needed = {i for i in range(len(starts)) if g[i] is not None and starts[i].dtype.is_floating}
    nodes = topological(body.outputs)
    while True:
        ends = [body.outputs[i] for i in (*sorted(needed), *stacked)]
        reached = connected(nodes, ends, set(starts), set())
        grown = needed | {i for i, start in enumerate(starts) if start in reached}
        if grown == needed:
            return tuple(sorted(needed))
        needed = grown


def _own_sizes(type: TensorType) -> TensorType:
    """`type`, with unknowns of its own for its unknowns."""
    return TensorType(
        type.dtype, tuple(sizes.unknown() if sizes.is_unknown(size) else size for size in type.sizes)
    )
