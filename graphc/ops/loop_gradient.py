"""The gradient of a loop: the steps again, remembering what each began with; then the steps backwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphc import sizes
from graphc.errors import GraphError
from graphc.function import Function, topological
from graphc.graph import graph_frame
from graphc.location import at_line
from graphc.ops.elementwise import add, identity
from graphc.ops.filling import zeros_like
from graphc.ops.loop import Parts, loop, varies
from graphc.ops.marker import connected, gradients
from graphc.ops.movement import ensure_shape
from graphc.ops.state import pick
from graphc.sizes import Size
from graphc.tensor import Tensor
from graphc.tracing import parameter, without_effects


def run_backwards(
    g: Sequence[Tensor | None], out: Tensor, operands: Sequence[Tensor], attrs: Mapping[str, Any]
) -> Sequence[Tensor | None]:
    """A loop over the remembered steps, carrying the cotangents of what the forward loop carries.

    With ``c', y = body(c, x, w)`` and cotangents ``dc'``, ``dy`` each step back gives ``dc``, ``dx``
    and a share of ``dw``, which adds up.

    Raises: GraphError where a value is needed whose shape changes from step to step.
    """
    carried, scanned = attrs["carried"], attrs["scanned"]
    if attrs["checkpoint"] and not attrs["shape"]:
        return _run_segments_backwards(g, operands, attrs)
    body: Function = attrs["body"]
    parts, formal = Parts.of(operands, carried, scanned), Parts.of(body.inputs, carried, scanned)
    step = _Step.back(g, body, carried, scanned)
    remembered = [t for t in formal.starts if t in step.used]
    for i, (start, taken) in enumerate(zip(parts.starts, formal.starts, strict=True)):
        if (i in step.carries or taken in step.used) and _varying(start, taken):
            raise GraphError(
                f"a gradient needs loop variable {i} of every step, and its shape changes: {taken.type}"
                f"{at_line(out.loc, 'in the loop at')}"
            )
    used = [i for i, x in enumerate(formal.slices) if x in step.used]
    stacked = [cotangent for cotangent in g[carried:] if cotangent is not None]
    if attrs["condition"] is not None and not remembered:  # the number of steps is needed all the same
        remembered = [t for t, start in zip(formal.starts, operands, strict=False) if not _varying(start, t)][
            :1
        ]
    if not (remembered or used or stacked):
        used = [0]
    traces = _remember(operands, attrs, remembered) if remembered else []
    cotangents = [
        cotangent if cotangent is not None else zeros_like(pick(out, index=i))
        for i, cotangent in ((i, g[i]) for i in step.carries)
    ]
    walked = [*traces, *(parts.slices[i] for i in used), *stacked]
    formals = (*step.cotangents, *step.sums, *remembered, *(formal.slices[i] for i in used))
    made = loop(
        *cotangents,
        *(zeros_like(parts.captured[i]) for i in step.captured),
        *walked,
        *parts.captured,
        body=Function((*formals, *step.incoming, *formal.captured), step.outputs),
        carried=len(step.cotangents) + len(step.sums),
        scanned=len(walked),
        reverse=not attrs["reverse"],
    )
    targets = [
        *step.carries,
        *(carried + scanned + i for i in step.captured),
        *(carried + i for i in step.slices),
    ]
    found = {target: pick(made, index=i) for i, target in enumerate(targets)}
    return [found.get(i) for i in range(len(operands))]


def _run_segments_backwards(
    g: Sequence[Tensor | None], operands: Sequence[Tensor], attrs: Mapping[str, Any]
) -> Sequence[Tensor | None]:
    """The gradient of the same steps as a loop over segments, which computes the same values again."""
    from graphc.ops.checkpointing import segmented_scan, segmented_while  # they make loops too

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


@dataclass(frozen=True, slots=True)
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
    def back(cls, g: Sequence[Tensor | None], body: Function, carried: int, scanned: int) -> _Step:
        """The step of `body` backwards, for cotangents where `g` has some."""
        pure = without_effects(body)
        formal = Parts.of(pure.inputs, carried, scanned)
        stacked = [i for i in range(carried, len(g)) if g[i] is not None]
        carries = _needed(g, pure, formal.starts, stacked)
        with graph_frame(body.owner):
            carried_on = [_sized_as(pure.outputs[i], formal.starts[i]) for i in carries]
        ends = [*carried_on, *(pure.outputs[i] for i in stacked)]
        reached = connected(topological(ends), ends, {*formal.captured, *formal.slices}, set())
        captured = tuple(i for i, x in enumerate(formal.captured) if x in reached)
        slices = tuple(i for i, x in enumerate(formal.slices) if x in reached)
        owner = body.owner
        # Sizes of a cotangent may be known that those of what is carried are not.
        starts = {i: formal.starts[i] if (cotangent := g[i]) is None else cotangent for i in carries}
        cotangents = tuple(parameter(f"cotangent{i}", starts[i].result, owner) for i in carries)
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


def _sized_as(x: Tensor, like: Tensor) -> Tensor:
    """`x` in the sizes of `like`: its own may be bound by a `cond` that a step backwards does not run."""
    own, shape = x.result.shape, like.result.shape
    if own == shape or own is None or shape is None or len(own) != len(shape):
        return x
    fits = all(sizes.meet(a, b) is not None for a, b in zip(own, shape, strict=True))
    return ensure_shape(x, shape) if fits else x  # else it changes from step to step


def _varying(start: Tensor, formal: Tensor) -> bool:
    """Whether a value carried changes its shape from step to step."""
    shapes = start.result.shape or (), formal.result.shape or ()
    return any(varies(a, f) for a, f in zip(*shapes, strict=False))


def _remember(
    operands: Sequence[Tensor], attrs: Mapping[str, Any], remembered: Sequence[Tensor]
) -> list[Tensor]:
    """What each step began with, stacked: the forward loop once more, giving it step by step.

    A pass merges the two loops, which differ only in what they stack.
    """
    body: Function = attrs["body"]
    pure = without_effects(body)
    again = loop(
        *operands,
        body=Function(pure.inputs, (*pure.outputs, *remembered)),
        condition=attrs["condition"],
        carried=attrs["carried"],
        scanned=attrs["scanned"],
        reverse=attrs["reverse"],
        shape=_bound_sizes(operands, body, attrs["condition"], attrs["carried"]),
    )
    first = len(body.outputs)
    return [pick(again, index=first + i) for i in range(len(remembered))]


def _bound_sizes(
    operands: Sequence[Tensor], body: Function, condition: Function | None, carried: int
) -> tuple[Size, ...]:
    """New sizes for the number of steps and for every size of a carried value that may change."""
    varying = sum(
        varies(a, f)
        for start, formal in zip(operands[:carried], body.inputs, strict=False)
        for a, f in zip(start.result.shape or (), formal.result.shape or (), strict=False)
    )
    return tuple(sizes.unknown() for _ in range(varying + (condition is not None)))
