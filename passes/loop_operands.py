"""Loop operands: matrices that all steps multiply by lie as products read them, turned before the loop.

A product ``ik = sum ij kj`` reads its second operand across its rows, and brings it into order whenever it
runs; ``ij jk`` reads it as it lies. The gradient of a recurrent layer is such a product with its weights.
"""

from __future__ import annotations

from dataclasses import replace

from graphc import ops
from graphc.function import Function, rebuild, with_inputs
from graphc.graph import graph_frame
from graphc.location import on_behalf_of
from graphc.ops.contraction import _einsum as einsum
from graphc.ops.equation import split
from graphc.ops.loop import Parts, loop
from graphc.tensor import Tensor
from graphc.tracing import parameter
from graphc.types import TensorType
from passes.dead_results import drop_dead_results
from passes.record import Decision, decide
from passes.rewrite import transform_all
from passes.target import PLAIN, Target


def turn_operands(function: Function, target: Target = PLAIN) -> Function:
    """`function` whose loops capture matrices transposed where their products take them across their rows.

    Runs after what chooses layouts, which sees no loops and would turn none of them back. The same object
    comes back where there are none.
    """
    if not function.has_regions():
        return function
    result = transform_all(function, _with_turned)
    return function if result is function else drop_dead_results(result)


def _with_turned(function: Function) -> Function:
    def make(node: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
        made = with_inputs(node, inputs)
        return _turned(made) if node.op is loop else made

    return rebuild(function, make)[0]


def _turned(node: Tensor) -> Tensor:
    body: Function = node.attrs["body"]
    carried, scanned = node.attrs["carried"], node.attrs["scanned"]
    captured = Parts.of(body.inputs, carried, scanned).captured
    products = {
        each: [i for i in (0, 1) if each.inputs[i] in captured and _is_across(each, i)]
        for each in body.nodes()
        if each.op is einsum and len(each.inputs) == 2
    }
    wanted = dict.fromkeys(each.inputs[i] for each, across in products.items() for i in across)
    wanted = {
        x: None
        for x in wanted
        if decide(Decision("layout", "transpose", True, "before the loop", node.loc), node)
    }
    if not wanted:
        return node
    formals: dict[Tensor, Tensor] = {}
    operands = []
    for x in wanted:
        m, n = x.result.sizes
        formals[x] = parameter("turned", TensorType(x.dtype, (n, m)), x.owner, x.loc)
        with graph_frame(node.owner), on_behalf_of(node.loc):
            operands.append(ops.transpose(node.inputs[carried + scanned + captured.index(x)], axes=(1, 0)))

    def make(each: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
        across = [i for i in products.get(each, ()) if each.inputs[i] in formals]
        if not across:
            return with_inputs(each, inputs)
        terms, output = split(each.attrs["equation"])
        taken = list(inputs)
        for i in across:
            terms[i], taken[i] = terms[i][::-1], formals[each.inputs[i]]
        return replace(
            each, inputs=tuple(taken), attrs={**each.attrs, "equation": f"{','.join(terms)}->{output}"}
        )

    smaller, _ = rebuild(body, make)
    attrs = {**node.attrs, "body": replace(smaller, inputs=(*body.inputs, *formals.values()))}
    condition: Function | None = node.attrs["condition"]
    if condition is not None:
        unread = tuple(parameter("turned", t.result, t.owner, t.loc) for t in formals.values())
        attrs["condition"] = replace(condition, inputs=(*condition.inputs, *unread))
    inputs = (*node.inputs, *operands)
    return replace(node, inputs=inputs, attrs=attrs, type=loop.infer(inputs, attrs))


def _is_across(product: Tensor, i: int) -> bool:
    """Whether operand `i`, a matrix, is summed along its rows, and the other one is not along its columns."""
    terms, output = split(product.attrs["equation"])
    own, other = terms[i], terms[1 - i]
    return (
        len(own) == 2
        and own.isalpha()
        and own[1] in other
        and own[1] not in output
        and own[0] not in other
        and output.endswith(own[0])
    )
