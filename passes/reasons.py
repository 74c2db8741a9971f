"""Reasons: what each reason of a refused decision means, in a sentence for people."""

from __future__ import annotations

from collections.abc import Mapping

REASONS: Mapping[str, Mapping[str, str]] = {
    "fuse": {
        "op": "one of the two does not run inside the kernel of others: it is a kernel of its own, "
        "or a step in Python",
        "rows": "they walk other rows: no one loop passes over both",
        "order": "something that is not fused stands between them, and needs the one before the other",
        "shape": "it is of another shape than what the contraction gives",
        "dtype": "it is of bfloat16, which is rounded step by step, or of bytes, whose products have "
        "instructions of their own",
        "traffic": "the kernel of the contraction would read and write more arrays besides than pays",
        "view": "neither computes anything: what reads them does so through strides",
        "size": "the kernel would hold more nodes than fit the registers",
        "used": "others need its result too, so it is made anyway",
        "packed": "the kernel of the contraction reads this operand one element at a time",
        "repeats": "the contraction packs the operand too often to compute it each time",
        "registers": "computing it where it is read would take the registers of the sums",
        "result": "what stands between is a result that others need too, so it is made anyway",
    },
    "fork": {
        "bytes": "the variable is large enough to fill the threads, and waiting would hold its gradient",
        "held": "the gradients that wait for the updates that run together would take too much memory",
    },
    "fold": {
        "splat": "kept symbolic: it says in a few bytes what would be a large array",
        "growth": "the result holds much more than its operands",
        "budget": "folding has used up its time",
        "fails": "it fails when it is computed, which is left to the run, where its line is named",
    },
    "layout": {
        "op": "the ops on both sides of the transpose want their own order of axes",
        "cost": "moving the transpose would cost more than it saves",
    },
    "rematerialise": {
        "dear": "computing it again costs too much",
        "result": "it is a result, which is held anyway",
        "effect": "running it twice would be noticed",
        "sizes": "it binds sizes of its own",
        "cut": "it lies on the cheapest cut: others are computed again from it",
    },
}
