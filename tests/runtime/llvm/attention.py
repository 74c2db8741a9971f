"""Attention as a block: ``softmax(scale q kT + mask) v`` for each head, its scores in scratch."""

from __future__ import annotations

from graphc.sizes import Size
from graphc.types import FLOAT32, DType
from runtime.llvm_backend.contractions.contraction import (
    Access,
    Block,
    Contract,
    Dim,
    Expression,
    Scratch,
    Step,
)


def attend(
    heads: Size,
    queries: Size,
    keys: Size,
    depth: Size,
    values_depth: Size,
    *,
    masked: bool = False,
    dtype: DType = FLOAT32,
) -> Block:
    """The weighted mean of values: ``out[h] = softmax(scale * q[h] @ k[h].T + mask, axis=-1) @ v[h]``.

    Shapes: q ``[heads, queries, depth]``, k ``[heads, keys, depth]``, v ``[heads, keys, values_depth]``,
    scale ``[]``, mask ``[queries, keys]`` where `masked`. Buffers: q, k, v, scale, mask, out.
    """
    h, i, j = Dim("h", heads), Dim("q", queries), Dim("k", keys)
    q = Access("q", 0, {"h": queries * depth, "q": depth, "d": 1}, dtype)
    k = Access("k", 0, {"h": keys * depth, "k": depth, "d": 1}, dtype)
    v = Access("v", 0, {"h": keys * values_depth, "k": values_depth, "e": 1}, dtype)
    out = Access("out", 0, {"h": queries * values_depth, "q": values_depth, "e": 1}, dtype)
    scores, weights = (Access(name, 0, {"q": keys, "k": 1}, dtype) for name in ("scores", "weights"))
    highest, total = (Access(name, 0, {"q": 1}, dtype) for name in ("highest", "total"))
    scale, mask = Access("scale", 0, {}, dtype), Access("mask", 0, {"q": keys, "k": 1}, dtype)
    scaled = Expression((scale,), (Step("mul", (0, 1), dtype),))
    if masked:
        scaled = Expression((scale, mask), (Step("mul", (0, 1), dtype), Step("add", (3, 2), dtype)))
    exp = Expression((highest,), (Step("sub", (0, 1), dtype), Step("exp", (2,), dtype)))
    divided = Expression((total,), (Step("div", (0, 1), dtype),))
    return Block(
        (h,),
        (
            Contract((h, i, j, Dim("d", depth)), (q, k), scores, epilogue=scaled),
            Contract((h, i, j), (scores,), highest, "max"),
            Contract((h, i, j), (scores,), weights, "add", epilogue=exp),
            Contract((h, i, j), (weights,), total, "add"),
            Contract((h, i, j, Dim("e", values_depth)), (weights, v), out, epilogue=divided),
        ),
        (
            *(Scratch(name, queries * keys, dtype) for name in ("scores", "weights")),
            *(Scratch(name, queries, dtype) for name in ("highest", "total")),
        ),
    )
