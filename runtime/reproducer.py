"""Reproducers: the few nodes around a rewrite that does harm, as text and as a script to run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from graphc.function import Function, rebuild, topological, with_inputs
from graphc.graph import has_effects
from graphc.ops.source import _constant as constant
from graphc.ops.source import _placeholder as placeholder
from graphc.ops.state import pick
from graphc.tensor import Tensor
from graphc.text import show, spell_function
from graphc.types import TensorType, TupleType
from passes.record import Change
from runtime.backend import Array
from runtime.trial import Trial
from runtime.values import drawn

_MOST_LINES = 20
_DEPTHS = range(1, 7)
Finds = Callable[[Function, Sequence[Array]], bool]


def excerpt(before: Tensor, after: Tensor | None) -> tuple[str, str | None]:
    """The texts of a node with its operands, and of what it became of the same operands."""
    for depth in _DEPTHS:
        cut, formal = cut_out((before,), depth)
        if after is None:
            return show(cut), None
        became = _on(after, formal)
        if became is not None:
            return show(cut), show(became)
    return show(cut_out((before,), 1)[0]), show(cut_out((after,), 2)[0]) if after is not None else None


def _on(after: Tensor, formal: Mapping[Tensor, Tensor]) -> Function | None:
    """`after` of the inputs `formal`; None where it needs what lies behind them."""
    order = topological((after,), stop=formal.__contains__)
    if any(not n.inputs and n not in formal and n.op is not constant for n in order):
        return None
    inputs = tuple(formal.values())
    return replace(rebuild(Function((), _values(after)), with_inputs, formal)[0], inputs=inputs)


def cut_out(roots: Sequence[Tensor], depth: int) -> tuple[Function, dict[Tensor, Tensor]]:
    """`roots` with `depth` levels of what they are computed from; and the inputs that stand for the rest."""
    level = dict.fromkeys(roots, 0)
    for node in reversed(topological(roots)):
        for operand in node.inputs if node in level else ():
            step = 0 if isinstance(operand.type, TupleType) or node.op is pick else 1
            level[operand] = min(level.get(operand, depth + 1), level[node] + step)
    formal: dict[Tensor, Tensor] = {}

    def is_cut(node: Tensor) -> bool:
        if node.op is constant or not isinstance(node.type, TensorType):
            return False
        return node not in roots and (level.get(node, depth + 1) >= depth or not node.inputs)

    for node in topological(roots, stop=is_cut):
        if is_cut(node):
            formal[node] = _as_input(node, f"x{len(formal)}")
    outputs = tuple(dict.fromkeys(value for root in roots for value in _values(root)))
    effects = tuple(node for node in roots if has_effects(node))
    function, _ = rebuild(Function((), outputs, effects), with_inputs, formal)
    return replace(function, inputs=tuple(formal.values())), formal


def _values(node: Tensor) -> tuple[Tensor, ...]:
    """What is to be looked at of `node`: its value, or each of its results."""
    if not isinstance(node.type, TupleType):
        return (node,)
    return tuple(
        Tensor(pick, (node,), {"index": i}, element, node.loc, None, node.owner)
        for i, element in enumerate(node.type.elements)
    )


def _as_input(node: Tensor, name: str) -> Tensor:
    type = node.result
    attrs = {"name": name, "dtype": type.dtype, "shape": type.shape}
    return Tensor(placeholder, (), attrs, type, node.loc, name, node.owner)


def reproduce(change: Change, before: Function, trial: Trial, finds: Finds) -> str | None:
    """A script that shows what `change`, made in `before`, does; None where no part of `before` shows it.

    The part grows until `finds` says that the fault is in it; values are drawn where that is enough,
    else those of the trial.
    """
    assert change.before is not None
    nodes = set(before.nodes())
    roots = [change.before]
    if change.after in nodes and change.after not in topological(roots):  # two nodes that became one
        roots.append(change.after)
    for depth in _DEPTHS:
        function, formal = cut_out(roots, depth)
        values = _values_of(list(formal), before, trial)
        if values is None:
            continue
        plain = [drawn(v.dtype, v.shape, i) for i, v in enumerate(values)]
        for arrays in (plain, values):
            if finds(function, arrays):
                script = _script(function, arrays, arrays is plain)
                return script if script.count("\n") < _MOST_LINES else None
    return None


def _values_of(nodes: Sequence[Tensor], before: Function, trial: Trial) -> list[Array] | None:
    if not set(before.nodes()).issuperset(nodes):
        return [_made_up(node) for node in nodes] if all(map(_is_known, nodes)) else None
    outcome = trial.run(Function(before.inputs, tuple(nodes)))
    return None if outcome.error else [np.asarray(value) for value in outcome.outputs]


def _is_known(node: Tensor) -> bool:
    shape = node.result.shape
    return shape is not None and all(isinstance(size, int) for size in shape)


def _made_up(node: Tensor) -> Array:
    return drawn(node.result.dtype.numpy, tuple(int(str(size)) for size in node.result.sizes), 0)


def _script(function: Function, arrays: Sequence[Array], is_drawn: bool) -> str:
    text, data, _ = spell_function(function)
    names = [node.attrs["name"] for node in function.inputs]
    lines = ["import graphc as gc", "", 'text = """', *text.splitlines(), '"""']
    beside = ""
    if data:
        given = ", ".join(f"{key!r}: {_spelled(value)}" for key, value in data.items())
        beside = f", data={{{given}}}"
    lines.append(f"graph = gc.parse(text{beside})")
    if is_drawn:  # in the same way as here
        lines.append("print(gc.check_passes(graph))")
    else:
        fed = ", ".join(f"{name!r}: {_spelled(array)}" for name, array in zip(names, arrays, strict=True))
        lines += [f"feeds = {{{fed}}}", "print(gc.check_passes(graph, feeds))"]
    if data or not is_drawn:
        lines[:0] = ["import numpy as np", ""]
    return "\n".join(lines) + "\n"


def _spelled(array: Array) -> str:
    body = repr(array.tolist()).replace("nan", "np.nan").replace("inf", "np.inf")
    return f"np.array({body}, {array.dtype.name!r})"
