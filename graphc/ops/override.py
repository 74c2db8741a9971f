"""Values whose gradient the user gives: the op under `custom_gradient`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from graphc.errors import ArgumentError
from graphc.function import Function, rebuild
from graphc.op import op
from graphc.ops.filling import zeros_like
from graphc.ops.state import pick
from graphc.tensor import Tensor
from graphc.types import TupleType


@op("marker")
def override_gradient(
    *operands: Tensor, values: int, slopes: tuple[int, ...], backward: Function
) -> TupleType:
    """The first `values` operands, whose cotangents `backward` takes to those of the operands in `slopes`.

    `backward` takes the operands behind the values and then a cotangent for each value. Nothing flows
    to the other operands. `passes/differentiation.py` takes it away once gradients are answered.

    Shapes: ``values, ... -> values``.
    """
    taken = len(operands)
    if len(backward.inputs) != taken or len(backward.outputs) != len(slopes):
        raise ArgumentError(
            f"the backward body takes {len(backward.inputs)} values and gives {len(backward.outputs)}, "
            f"for {taken} operands of which {len(slopes)} have a slope"
        )
    if not all(values <= i < taken for i in slopes):
        raise ArgumentError(f"slopes go to operands behind the first {values}, not to {slopes}")
    return TupleType(tuple(x.result for x in operands[:values]))


override_gradient.feeds_bodies(
    lambda *operands, values, **_: {
        "backward": [*(x.type for x in operands[values:]), *(x.type for x in operands[:values])]
    }
)


def _given_gradient(
    g: Sequence[Tensor | None], out: Tensor, *operands: Tensor, values: int, **attrs: Any
) -> Sequence[Tensor | None]:
    cotangents = [
        zeros_like(pick(out, index=i)) if cotangent is None else cotangent for i, cotangent in enumerate(g)
    ]
    backward: Function = attrs["backward"]
    start = dict(zip(backward.inputs, (*operands[values:], *cotangents), strict=True))

    def make(node: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
        return replace(node, inputs=inputs, owner=out.owner, name=None)

    inlined, _ = rebuild(backward, make, start)
    found = dict(zip(attrs["slopes"], inlined.outputs, strict=True))
    return [found.get(i) for i in range(len(operands))]


override_gradient.gradient(_given_gradient)
