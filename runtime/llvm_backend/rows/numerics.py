"""Numerics: where a native program looks for NaN and infinity, under ``check_numerics=True``.

Arithmetic hands them on: ``x + y`` of a NaN is NaN, so it is enough to look at its result. A value needs a
look of its own only where it may be made of finite numbers and nothing hands it on: where it is a result,
or where all that read it may *hide* it, as comparisons, selections, ``exp(-inf) = 0`` and ``1 / inf = 0`` do.
What no operand can make infinite (`ranges`) needs none: then only NaN may be hidden, which few ops do.
A look is one multiply-add for each vector: ``0 x`` added up is 0, or NaN. What the CPU notes by itself
(`row_notes`) needs none. Where a `relu` or a `sigmoid` would
hide a value, and what it gives is seen, that op *shows* it instead, by a NaN: that costs nothing.

A run in which one is seen is walked again op by op, by the meanings: that walk says which op made it of
finite operands, or that none did, since it was fed. So a look may see too much, never too little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from graphc.freezing import frozen
from graphc.function import Function
from graphc.tensor import Tensor
from graphc.types import TensorType
from passes.cells import cells_of
from passes.program import Program
from passes.weight import parts_of
from runtime.llvm_backend.rows.infinities import NONE, Infinities, Kinds, spread
from runtime.llvm_backend.rows.ranges import (
    ANY,
    Range,
    is_bounded,
    is_share,
    range_of_input,
    spread_ranges,
)
from runtime.llvm_backend.rows.row_notes import TELLING, find_unchosen, may_tell

NONFINITE = 9  # the kind of failure

_SAME = ("reshape", "transpose", "expand_dims", "squeeze", "broadcast_to", "stack", "concat", "identity")
# What hands on all operands, or the first.
_ALL = frozenset((*_SAME, "add", "sub", "mul", "neg", "square", "sqrt", "log", "log1p", "abs", "sin", "cos"))
_ALL |= frozenset(("sum", "mean", "prod", "matmul", "einsum", "cast", "floor", "ceil", "round", "trunc"))
_FIRST = frozenset(("div", "guarded_multiply", "after", "pick", "assign"))
# What is finite wherever the operands are.
_HARMLESS = frozenset((*_SAME, "neg", "abs", "floor", "ceil", "round", "trunc", "sign", "sin", "cos", "atan"))
_HARMLESS |= frozenset(("where", "maximum", "minimum", "clip", "relu", "max", "min", "tanh", "sigmoid"))
_HARMLESS |= frozenset(
    ("erf", "erfc", "normal_cdf", "pick", "after", "group", "assign", "check", "print", "iota")
)
_HARMLESS |= frozenset(("strided_slice", "embed", "filled_like", "ensure_shape", "gather", "gather_nd"))
_HARMLESS |= frozenset(("take_along_axis", "pick_class", "windows", "run_state", "random_uniform", "sort"))
_HARMLESS |= frozenset(
    ("put_class", "scatter_update", "scatter_along_axis", "top_k", "constant", "variable", "extent")
)

# What hands on a NaN among all operands.
_NAN = _ALL | frozenset(
    ("div", "maximum", "minimum", "max", "min", "relu", "exp", "expm1", "tanh", "sigmoid")
)
_NAN |= frozenset(("erf", "erfc", "normal_cdf", "atan", "sign", "rsqrt", "reciprocal", "softplus"))
# What is finite where its range is, of finite operands.
_BY_RANGE = frozenset(
    ("add", "sub", "mul", "div", "square", "exp", "log", "sqrt", "rsqrt", "reciprocal", "cast", "sum")
)

NOTED = ("matmul", "einsum")  # by their kernels, for the most part; else they are looked at, if not shown
_WITH_BODIES = ("fused", "cond", "loop")  # they are looked into


def _hands_on(node: Tensor, place: int) -> bool:
    """Whether a NaN or infinity in operand number `place` is always one in the result."""
    if not _is_float(node):
        return False
    return node.op.name in _ALL or (place == 0 and node.op.name in _FIRST)


def _is_float(node: Tensor) -> bool:
    return any(type.dtype.is_floating for type in parts_of(node.type))


def _makes(node: Tensor) -> bool:
    """Whether finite operands may give what is not."""
    if not _is_float(node) or node.op.name in _HARMLESS:
        return False
    if node.op.name == "cast" and isinstance(node.type, TensorType):
        given = node.inputs[0].dtype
        return node.dtype.itemsize < given.itemsize or node.dtype.itemsize < 4
    return True


# Which infinities an input may rightly hold, its range, whether what is wrong with it was seen before.
Given = tuple[Kinds, Range, bool]


def given_of(node: Tensor, infinities: Infinities) -> tuple[Given, ...]:
    """For each operand of a fused `node`."""
    return tuple((infinities.of(x), range_of_input(x), _is_seen(x)) for x in node.inputs)


def _is_seen(x: Tensor) -> bool:
    """Whether all that may be wrong with `x` is known where it is made: in rows, products, bodies."""
    pending = [x]
    while pending:
        node = pending.pop()
        if node.inputs and not node.op.has_bodies:
            if node.op.name in NOTED:
                continue
            if _makes(node):
                return False
            pending.extend(x for i, x in enumerate(node.inputs) if _hands_on(node, i))
    return True


SHOWING = frozenset(("relu", "sigmoid"))  # they may give NaN of what they otherwise hide


@frozen
class Looks:
    """How numbers are checked in a fused body.

    Attributes:
        at: what is looked at, but where one of these operands is not finite.
        showing: the nodes that give NaN of an infinity.
        inputs: the numbers of the inputs all that is wrong with which is seen.
        noted: whether the CPU's notes say the rest.
    """

    at: Mapping[Tensor, tuple[int, ...]]
    showing: frozenset[Tensor]
    inputs: frozenset[int]
    noted: bool = False


NO_LOOKS = Looks({}, frozenset(), frozenset())


def find_looks(body: Function, given: Sequence[Given] = (), may_note: bool = True) -> Looks:
    """What is looked at in a fused body whose inputs have those `given`; the CPU `may_note` what it meets."""
    own = set(body.inputs)
    given = given or [(NONE, ANY, True)] * len(own)
    kinds = spread(body, [kinds for kinds, _, _ in given])
    ranges = spread_ranges(body, [range for _, range, _ in given])
    noted = may_note and all(is_seen for _, _, is_seen in given) and may_tell(body, kinds)
    unchosen = find_unchosen(body) if noted else frozenset()

    def makes(node: Tensor) -> bool:
        if noted and node.op.name in TELLING and node not in unchosen:
            return False
        if not _makes(node) or is_share(node, ranges):
            return False
        return node.op.name not in _BY_RANGE or not is_bounded(node, ranges[node])

    def hands_on(node: Tensor, place: int) -> bool:
        if _hands_on(node, place):
            return True
        x = node.inputs[place]
        return _is_float(node) and node.op.name in _NAN and x not in own and is_bounded(x, ranges[x])

    shown: set[Tensor] = set()
    looks: dict[Tensor, tuple[int, ...]] = {}
    showing: set[Tensor] = set()
    shows: dict[Tensor, Tensor] = {}  # what could show a value, and is seen
    for node in reversed(body.nodes()):
        if node in own:
            continue
        if node not in shown and makes(node):
            apart = node.op.family == "elementwise"
            left_out = tuple(i for i, x in enumerate(node.inputs) if apart and kinds[x])
            if node in shows and not left_out and not kinds[node]:
                showing.add(shows[node])
                shown.add(node)
            else:
                looks[node] = left_out
        if _is_shown(node, looks, shown):
            shown.update(x for i, x in enumerate(node.inputs) if hands_on(node, i))
            if node.op.name in SHOWING and _is_float(node):
                shows[node.inputs[0]] = node
    inputs = frozenset(i for i, x in enumerate(body.inputs) if x in shown)
    return Looks(looks, frozenset(showing), inputs, noted)


def _is_shown(node: Tensor, looks: Mapping[Tensor, tuple[int, ...]], shown: set[Tensor]) -> bool:
    """Whether all that is wrong with `node` is seen; a look that leaves elements out says little."""
    return node in shown or (node in looks and not looks[node])


def find_checks(program: Program) -> frozenset[int]:
    """The buffers of `program` that are looked at once they are written; fused nodes look by themselves."""
    shown: set[int] = set()
    checks: set[int] = set()
    infinities = Infinities()
    for step in reversed(program.steps):
        node = step.node
        if node.op.name == "fused":
            shown.update(step.inputs[i] for i in _shown_in(node, infinities))
            continue
        if node.op.has_bodies:
            continue
        if step.output not in shown and _makes(node):
            checks.add(step.output)
            shown.add(step.output)
        if step.output in shown:
            shown.update(buffer for i, buffer in enumerate(step.inputs) if _hands_on(node, i))
    return frozenset(checks)


def _shown_in(node: Tensor, infinities: Infinities) -> frozenset[int]:
    body: Function = node.attrs["body"]
    if cells_of(node) or any(inside.op.name in NOTED for inside in body.nodes()):  # it looks at nothing
        return frozenset()
    return find_looks(body, given_of(node, infinities)).inputs


def find_unchecked(program: Program) -> str:
    """Why nothing native could look at all numbers of `program`; "" where it can."""
    pending = [program]
    while pending:
        current = pending.pop()
        for step in current.steps:
            if step.node.op.has_bodies and step.node.op.name not in _WITH_BODIES:
                return f"numbers within {step.node.op.name} are checked op by op"
            pending.extend(step.programs.values() if step.node.op.name != "fused" else ())
    return ""
