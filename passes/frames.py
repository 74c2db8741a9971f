"""Frames: values that are wanted among zeros are stored there by the kernel that makes them.

A convolution that keeps the size of its images reads them with zeros around. What makes an image, the
convolution before it or the gradient of a pooling, need not store it elsewhere first:

    embed(pick(fused(..)))  ->  pick(fused'(..)), whose body embeds that result

Where others need the value too they read it between the zeros: contractions through strides, and a sum over
the axes that got zeros adds those to it.
"""

from __future__ import annotations

from dataclasses import replace

from graphc import ops
from graphc.function import Function, rebuild, with_inputs
from graphc.ops.region import fused
from graphc.ops.state import pick
from graphc.tensor import Tensor
from graphc.types import FLOAT32, FLOAT64, TupleType
from passes.cells import cells_of
from passes.record import Decision, decide
from passes.simplification.vocabulary import einsum
from passes.target import PLAIN, Target


def store_in_frames(function: Function, target: Target = PLAIN) -> Function:
    """`function` with results of contractions, and of cells, stored among the zeros that surround them.

    The same object comes back where there are none. Linear.
    """
    if not target.has_cells:
        return function
    nodes = function.nodes()
    wanted = [node for node in nodes if node.op is ops.embed and node.inputs and _is_piece(node)]
    if not wanted:
        return function
    users: dict[Tensor, list[Tensor]] = {}
    for node in nodes:
        for x in dict.fromkeys(node.inputs):
            users.setdefault(x, []).append(node)
    kept = {*function.outputs, *function.effects}
    frames: dict[Tensor, Tensor] = {}  # by what is framed
    for frame in wanted:
        (value,) = frame.inputs
        others = [user for user in users[value] if user is not frame]
        if value in frames or value in kept or not all(_can_read(user, frame) for user in others):
            continue
        if _can_store(frame, target):
            decision = Decision("fuse", frame.op.name, True, "frame", frame.loc, nodes=(value, frame))
            if decide(decision, frame):
                frames[value] = frame
    return _Storing(frames).run(function) if frames else function


def _is_piece(frame: Tensor) -> bool:
    """Whether `frame` puts a result of a `fused` node in one piece, rows of it whole, at known places."""
    (value,), attrs = frame.inputs, frame.attrs
    if value.op is not pick or value.inputs[0].op is not fused or value.dtype not in (FLOAT32, FLOAT64):
        return False
    own, whole = value.result.shape, frame.result.sizes
    if not own or any(step != 1 for step in attrs["steps"]) or own[-1] != whole[-1]:
        return False
    padded = _padded(frame)
    numbers = (n for axis in padded for n in (own[axis], whole[axis], attrs["starts"][axis]))
    return bool(padded) and all(isinstance(n, int) for n in numbers)


def _padded(frame: Tensor) -> list[int]:
    """The axes that get zeros."""
    sizes = zip(frame.inputs[0].result.sizes, frame.result.sizes, strict=True)
    return [axis for axis, (own, whole) in enumerate(sizes) if own != whole]


def _can_read(user: Tensor, frame: Tensor) -> bool:
    """Whether `user` can have `frame` in place of what that frames."""
    return user.op is einsum or (user.op is ops.sum and set(_padded(frame)) <= set(user.attrs["axis"]))


def _can_store(frame: Tensor, target: Target) -> bool:
    """Whether the kernel that makes what is framed can store it there."""
    (value,) = frame.inputs
    node = value.inputs[0]
    body: Function = node.attrs["body"]
    cells = cells_of(node)
    if cells is not None:
        return cells.steps_in(value, (1,) * len(value.result.sizes)) is not None
    if any(n.op is fused for n in body.nodes()):
        return False
    roots = [n for n in body.nodes() if n.op in (ops.matmul, einsum) and target.contracts(n)]
    return len(roots) == 1 and roots[0].result.sizes == value.result.sizes


class _Storing:
    """Rebuilds a function whose `frames`, by what they put among zeros, are stored by what makes that."""

    def __init__(self, frames: dict[Tensor, Tensor]) -> None:
        self.frames = frames
        self.known = set(frames.values())
        self.parts: dict[Tensor, dict[int, Tensor]] = {}  # by kernel: the frames of its results
        for value, frame in frames.items():
            self.parts.setdefault(value.inputs[0], {})[value.attrs["index"]] = frame

    def run(self, function: Function) -> Function:
        """The function rebuilt."""
        return rebuild(function, self._make)[0]

    def _make(self, node: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
        if node in self.parts:
            return self._framed(node, inputs)
        if node in self.frames:
            return replace(node, inputs=inputs, type=self.frames[node].type, name=None)
        if node in self.known:
            return inputs[0]
        if node.op is einsum:
            pairs = zip(node.inputs, inputs, strict=True)
            return with_inputs(node, tuple([self._between(was, x) for was, x in pairs]))
        return with_inputs(node, inputs)

    def _framed(self, node: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
        body: Function = node.attrs["body"]
        outputs = list(body.outputs)
        for index, frame in self.parts[node].items():
            outputs[index] = replace(frame, inputs=(outputs[index],), name=None)
        types = TupleType(tuple([output.result for output in outputs]))
        attrs = {**node.attrs, "body": Function(body.inputs, tuple(outputs))}
        return replace(node, inputs=inputs, attrs=attrs, type=types)

    def _between(self, was: Tensor, x: Tensor) -> Tensor:
        """What became of an operand: `x`, or of that what is between the zeros."""
        frame = self.frames.get(was)
        if frame is None:
            return x
        sizes, starts = was.result.sizes, frame.attrs["starts"]
        given = {"starts": starts, "sizes": sizes, "steps": (1,) * len(sizes)}
        return ops.strided_slice.make((x,), given, None, was.loc)
