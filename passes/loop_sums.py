"""Loop sums: what a loop only adds up, product by product, is one product over all its steps afterwards.

The gradient of a matrix that every step uses is such a sum: ``dw = sum of x_t' dz_t`` over the steps t.
Inside the loop it would be read and written once a step; afterwards the steps are one more axis to sum over.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from graphc import ops
from graphc.freezing import frozen
from graphc.function import Function, rebuild, topological, with_inputs
from graphc.graph import graph_frame
from graphc.location import on_behalf_of
from graphc.ops.contraction import _einsum as einsum
from graphc.ops.equation import LETTERS, split
from graphc.ops.loop import Parts, loop
from graphc.ops.state import pick
from graphc.tensor import Tensor
from graphc.types import FLOAT32, FLOAT64
from passes.dead_results import drop_dead_results
from passes.record import Decision, decide
from passes.rewrite import transform_all
from passes.target import PLAIN, Target


def sum_after_loops(function: Function, target: Target = PLAIN) -> Function:
    """`function` whose counted loops carry no sums of products; the same object where none does.

    A value carried counts if every step does nothing with it but to add to it: a product of two matrices, or
    what is summed over axes of a value that such a product uses too. Those factors are stacked. In the record
    it is a ``hoist``, ``summed after the loop``.
    """
    if not function.has_regions():
        return function
    smaller = transform_all(function, _summed_after)
    return function if smaller is function else drop_dead_results(smaller)


def _summed_after(function: Function) -> Function:
    totals: dict[Tensor, dict[int, Tensor]] = {}

    def make(node: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
        if node.op is pick:
            found = totals.get(inputs[0], {}).get(node.attrs["index"])
            if found is not None:
                return (
                    found if node.name is None else replace(node, op=ops.identity, inputs=(found,), attrs={})
                )
        made = with_inputs(node, inputs)
        if node.op is loop and node.attrs["condition"] is None:
            made, sums = _parted(made)
            totals[made] = sums
        return made

    result, _ = rebuild(function, make)
    return result if any(totals.values()) else function


@frozen
class _Share:
    """What each step adds to the value carried `number`: a product, as an equation, or a sum over axes."""

    number: int
    node: Tensor
    equation: str


def _parted(node: Tensor) -> tuple[Tensor, dict[int, Tensor]]:
    """`node`, a loop, with the factors of its sums stacked, and the sums by the numbers of the results."""
    body: Function = node.attrs["body"]
    carried, scanned = node.attrs["carried"], node.attrs["scanned"]
    formal = Parts.of(body.inputs, carried, scanned)
    varying = _varying(body, formal)
    kept = {*varying, *formal.captured}
    shares = [s for s in _shares(body, carried) if all(i in kept for i in s.node.inputs)]
    products = [s for s in shares if s.equation and any(i in varying for i in s.node.inputs)]
    walked = {*formal.slices, *(i for s in products for i in s.node.inputs)}
    sums = [
        s for s in shares if not s.equation and s.node.inputs[0] in walked and s.node.inputs[0] in varying
    ]
    shares = [
        s
        for s in (*products, *sums)
        if decide(Decision("hoist", s.node.op.name, True, "summed after the loop", s.node.loc), s.node)
    ]
    if not shares:
        return node, {}
    outputs = list(body.outputs)
    for share in shares:
        outputs[share.number] = formal.starts[share.number]
    place: dict[Tensor, int] = {value: i for i, value in enumerate(outputs) if i >= carried}
    for factor in dict.fromkeys(i for share in shares for i in share.node.inputs):
        if factor in varying and factor not in formal.slices and factor not in place:
            place[factor] = len(outputs)
            outputs.append(factor)
    attrs = {**node.attrs, "body": replace(body, outputs=tuple(outputs))}
    made = replace(node, attrs=attrs, type=loop.infer(node.inputs, attrs))
    operands = Parts.of(node.inputs, carried, scanned)
    outer = dict(zip((*formal.slices, *formal.captured), (*operands.slices, *operands.captured), strict=True))
    with graph_frame(node.owner):
        for factor, number in place.items():
            outer.setdefault(factor, pick(made, index=number))
        found = {}
        for share in shares:
            with on_behalf_of(share.node.loc):
                total = _total(share, [outer[i] for i in share.node.inputs], varying)
                found[share.number] = ops.add(operands.starts[share.number], total)
    return made, found


def _varying(body: Function, formal: Parts) -> set[Tensor]:
    """The values that differ from step to step."""
    found = {*formal.starts, *formal.slices}
    for node in body.nodes():
        if any(i in found for i in node.inputs):
            found.add(node)
    return found


def _shares(body: Function, carried: int) -> list[_Share]:
    """What is only added to values carried."""
    nodes = topological((*body.outputs, *body.effects))
    uses = Counter(i for node in nodes for i in node.inputs)
    uses.update((*body.outputs, *body.effects))
    found = []
    for number, (formal, total) in enumerate(zip(body.inputs[:carried], body.outputs, strict=False)):
        if total.op is not ops.add or formal not in total.inputs or formal.dtype not in (FLOAT32, FLOAT64):
            continue
        share = total.inputs[total.inputs.index(formal) == 0]
        same = share.type == formal.type == total.type
        if same and uses[formal] == uses[total] == uses[share] == 1:
            equation = _equation(share)
            if equation is not None:
                found.append(_Share(number, share, equation))
    return found


def _equation(share: Tensor) -> str | None:
    """The equation of a product, "" for a sum over axes, None for anything else."""
    if share.op not in (einsum, ops.matmul) and share.op.name != "sum":
        return None
    if any(i.dtype is not share.dtype for i in share.inputs):
        return None
    if share.op is einsum and len(share.inputs) == 2:
        equation: str = share.attrs["equation"]
        return equation
    if share.op is ops.matmul and all(i.result.rank == 2 for i in share.inputs):
        return "mk,kn->mn"
    return "" if share.op.name == "sum" and share.attrs["axis"] is not None else None


def _total(share: _Share, factors: list[Tensor], varying: set[Tensor]) -> Tensor:
    """The sum over all steps, `factors` being those of all steps."""
    if not share.equation:
        axes = tuple(axis + 1 for axis in share.node.attrs["axis"])
        kept = share.node.attrs["keepdims"]
        summed = ops.sum(factors[0], axis=axes, keepdims=kept) if axes else factors[0]
        return ops.sum(summed, axis=0)
    step = next(x for x in LETTERS if x not in share.equation)
    terms, output = split(share.equation)
    pairs = zip(terms, share.node.inputs, strict=True)
    spelled = ",".join(step + term if x in varying else term for term, x in pairs)
    return einsum(*factors, equation=f"{spelled}->{output}")
