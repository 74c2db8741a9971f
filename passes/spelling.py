"""Spelling: a contraction as an equation in which every axis bears a letter of its own.

So spelled, a product of matrices or an Einstein sum takes each operand in any order of its axes and gives
its result in any: the letters move, the terms that are added do not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from graphc import ops
from graphc.errors import GraphError
from graphc.freezing import frozen
from graphc.ops.equation import LETTERS, Label, label, measure, order, split
from graphc.sizes import Size
from graphc.tensor import Tensor
from graphc.types import TensorType
from passes.axis_order import Order, identity, permuted
from passes.simplification.vocabulary import einsum, reshape


@frozen
class Spelling:
    """The letters of the axes of each operand ("" for one of size 1 that broadcasts) and of the result."""

    operands: tuple[tuple[str, ...], ...]
    result: tuple[str, ...]


def spell(node: Tensor) -> Spelling | None:
    """The spelling of a contraction; None where letters cannot say it: sizes that may broadcast or not."""
    if node.op is not ops.matmul and node.op is not einsum:
        return None
    types = [x.type for x in (*node.inputs, node)]
    if not all(isinstance(type, TensorType) and type.shape is not None for type in types):
        return None
    equation = node.attrs["equation"] if node.op is einsum else _equation(node)
    terms, output = split(equation)
    rows = [label(term, x.result) for term, x in zip(terms, node.inputs, strict=True)]
    extents = measure(rows, [x.result for x in node.inputs])
    wanted = order(output, extents)
    names = _names(extents)
    if names is None:
        return None
    operands = []
    for row, x in zip(rows, node.inputs, strict=True):
        spelled = []
        for at, size in zip(row, x.result.sizes, strict=True):
            letter = _letter(at, size, extents[at], names)
            if letter is None:
                return None
            spelled.append(letter)
        operands.append(tuple(spelled))
    found = Spelling(tuple(operands), tuple(names[at] for at in wanted))
    given = {letter for term in found.operands for letter in term}
    return found if given.issuperset(found.result) and _says_the_same(node, found) else None


def _equation(node: Tensor) -> str:
    """What a product of matrices means: ``...ij,...jk->...ik``; operands with one axis lack their other."""
    x, y = (len(operand.result.sizes) for operand in node.inputs)
    lead = "..." if max(x, y) > 2 else ""
    left = f"{lead if x > 2 else ''}ij" if x > 1 else "j"
    right = f"{lead if y > 2 else ''}jk" if y > 1 else "j"
    return f"{left},{right}->{lead}{'i' if x > 1 else ''}{'k' if y > 1 else ''}"


def _names(extents: Sequence[Label] | dict[Label, Size]) -> dict[Label, str] | None:
    """A letter for each label: letters keep theirs, those under the ellipsis take the first that are free."""
    free = iter([letter for letter in LETTERS if letter not in extents])
    names = {at: at if isinstance(at, str) else next(free, "") for at in extents}
    return names if all(names.values()) else None


def _letter(at: Label, size: Size, extent: Size, names: dict[Label, str]) -> str | None:
    if size == 1 != extent:
        return ""
    return names[at] if isinstance(at, str) or size == extent else None


def _says_the_same(node: Tensor, spelling: Spelling) -> bool:
    """Whether the spelled equation has the very type of `node`: sizes may meet under other names."""
    try:
        made = respelled(node, spelling, node.inputs, [identity(len(term)) for term in spelling.operands])
    except GraphError:
        return False
    return made.type == node.type


def respelled(
    node: Tensor,
    spelling: Spelling,
    operands: Sequence[Tensor],
    orders: Sequence[Order],
    result: Order | None = None,
) -> Tensor:
    """`node` as an Einstein sum of `operands` that stand in `orders`, its result in the order `result`."""
    terms = [permuted(term, order) for term, order in zip(spelling.operands, orders, strict=True)]
    given = tuple(_lettered(x, term) for x, term in zip(operands, terms, strict=True))
    wanted = spelling.result if result is None else permuted(spelling.result, result)
    equation = f"{','.join(map(''.join, terms))}->{''.join(wanted)}"
    return einsum.make(given, {"equation": equation}, None, node.loc)


def _lettered(x: Tensor, term: Sequence[str]) -> Tensor:
    """`x` without the axes that bear no letter."""
    if all(term):
        return x
    return reshape.make((x,), {"shape": tuple(_kept(x.result.sizes, term))}, None, x.loc)


def _kept(sizes: Sequence[Size], term: Sequence[str]) -> Iterator[Size]:
    return (size for size, letter in zip(sizes, term, strict=True) if letter)
