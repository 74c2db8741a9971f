"""Row bodies: what a row kernel computes in place of a reduction of several steps.

``logsumexp(x)`` is ``m + log(sum(exp(x - m)))``, with m the largest element, or 0 where that is not finite.
As its meaning does, it takes the logarithm of the sum in double; exponentials are computed in float, or in
double where `x` is.
"""

from __future__ import annotations

from typing import Any

from graphc.function import Function, rebuild, with_inputs
from graphc.op import OPS
from graphc.sizes import Size
from graphc.tensor import Tensor
from graphc.types import BOOL, FLOAT32, FLOAT64, DType, TensorType

_LOGSUMEXP = OPS["logsumexp"]


def open_reductions(body: Function) -> Function:
    """`body` with each `logsumexp` opened; that very one where there is none.

    What stands for it is nothing but a plan: numbers of a row are of the outer sizes, whatever they meet.
    """

    def make(node: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
        return _opened(node, inputs[0]) if node.op is _LOGSUMEXP else with_inputs(node, inputs)

    return rebuild(body, make)[0] if any(node.op is _LOGSUMEXP for node in body.nodes()) else body


def _opened(node: Tensor, x: Tensor) -> Tensor:
    whole = x.result.sizes
    wide = FLOAT32 if x.dtype.is_floating and x.dtype is not FLOAT64 else FLOAT64

    def made(op: str, dtype: DType, sizes: tuple[Size, ...], *inputs: Tensor) -> Tensor:
        attrs: dict[str, Any] = {"dtype": dtype} if op == "cast" else {}
        if OPS[op].family == "reduction":
            attrs = {"axis": (len(whole) - 1,), "keepdims": False}
        return Tensor(OPS[op], inputs, attrs, TensorType(dtype, sizes), node.loc, None, node.owner)

    def number(op: str, dtype: DType, *inputs: Tensor) -> Tensor:
        return made(op, dtype, whole[:-1], *inputs)

    given = x if x.dtype is wide else made("cast", wide, whole, x)
    largest = number("max", wide, given)
    is_finite = number("cast", wide, number("isfinite", BOOL, largest))
    shift = number("guarded_multiply", wide, is_finite, largest)  # 0 where that is not finite
    power = made("exp", wide, whole, made("sub", wide, whole, given, shift))
    exact = shift if wide is FLOAT64 else number("cast", FLOAT64, shift)
    found = number("add", FLOAT64, number("log", FLOAT64, number("sum", FLOAT64, power)), exact)
    return Tensor(OPS["cast"], (found,), {"dtype": node.dtype}, node.type, node.loc, node.name, node.owner)
