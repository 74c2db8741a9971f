"""Totals: what the reductions of a row gather in, across vectors, then across lanes.

Floats up to 32 bits are added up in float in blocks of at most `BLOCK` vectors a lane, and the blocks in
double: no sum within a block is longer than those of a pairwise one, and between blocks nothing is lost.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.freezing import frozen
from graphc.tensor import Tensor
from graphc.types import BOOL, FLOAT32, FLOAT64, DType
from runtime.llvm_backend.ir.scalars import emit_op
from runtime.llvm_backend.ir.text import Emitter, halves
from runtime.llvm_backend.ir.values import register_scalar

BLOCK = 16  # vectors that one lane adds up in float

State = list[str]  # the registers of one total


@frozen
class Total:
    """How a reduction gathers.

    Attributes:
        given: of what is gathered.
        dtype: of what it ends as.
        lanes: of what lanes gather in; where that is another, blocks of it are added up in `dtype`.
        starts: what the registers hold first; those of a look behind the first are values still to be seen.
        meet: the op by which two meet.
        is_extremum: whether it is a maximum or minimum of floats; a second register remembers NaN.
        counts: of a look, the condition under which it counts; None: it does.
    """

    given: DType
    dtype: DType
    lanes: DType
    starts: tuple[str, ...]
    meet: str
    is_extremum: bool = False
    counts: str | None = None

    @property
    def is_blocked(self) -> bool:
        """Whether lanes gather in less than the total is."""
        return self.lanes is not self.dtype

    @property
    def is_look(self) -> bool:
        """Whether it is what a look gathers."""
        return self.meet == LOOK

    @property
    def scalar(self) -> str:
        """The LLVM type of what lanes gather in."""
        return register_scalar(self.lanes)

    @property
    def remembers(self) -> bool:
        """Whether NaN wins."""
        return self.is_extremum and len(self.starts) > 1

    @property
    def scalars(self) -> tuple[str, ...]:
        """The LLVM type of a lane of each register."""
        return (self.scalar, *("i1" if self.is_extremum else self.scalar for _ in self.starts[1:]))

    def types(self, em: Emitter) -> tuple[str, ...]:
        """The LLVM types of the registers."""
        return tuple(map(em.type, self.scalars))

    def types_of_whole(self, em: Emitter) -> tuple[str, ...]:
        """The LLVM types of the registers once blocks are added up."""
        if self.is_blocked or self.is_look:
            return (em.type(register_scalar(self.dtype)),)
        return self.types(em)

    def gather(self, em: Emitter, state: Sequence[str], value: str) -> State:
        """`value`, a register of `given`, added to the state.

        An extremum forgets NaN, in one instruction; its second register remembers which lanes met one.
        """
        if self.meet == LOOK:
            *late, last = value, *state[1:]
            return [self.looked(em, state[0], last), *late]
        if not self.is_extremum:
            if register_scalar(self.given) != self.scalar:
                value = emit_op(em, "cast", [value], [self.given], self.lanes)
            return [self.join(em, state[0], value, self.lanes)]
        best = self.better(em, state[0], value)
        if not self.remembers:
            return [best]
        return [best, em.either(state[1], em.compare("uno", self.scalar, value, value))]

    def looked(self, em: Emitter, seen: str, value: str) -> str:
        """What a look has seen, `value` included."""
        return em.intrinsic("fmuladd", self.scalar, value, em.number(self.scalar, 0.0), seen)

    def settled(self, em: Emitter, state: Sequence[str]) -> State:
        """A state in which nothing is still to be seen."""
        if not self.is_look:
            return list(state)
        seen = state[0]
        for value in state[1:]:
            seen = self.looked(em, seen, value)
        return [seen]

    def better(self, em: Emitter, x: str, y: str) -> str:
        """The larger of two, or the smaller; of NaN it says nothing."""
        predicate = "ogt" if self.meet == "maximum" else "olt"
        return em.select(em.compare(predicate, self.scalar, x, y), self.scalar, x, y)

    def kept(self, em: Emitter, mask: str, new: Sequence[str], old: Sequence[str]) -> State:
        """`new` where `mask` holds, else `old`."""
        found = zip(self.scalars, new, old, strict=True)
        return [em.select(mask, scalar, x, y) for scalar, x, y in found]

    def merge(self, em: Emitter, states: Sequence[Sequence[str]]) -> State:
        """Several states into one that is settled, neighbours first."""
        found = [self.settled(em, state) for state in states]
        while len(found) > 1:
            pairs = zip(found[::2], found[1::2], strict=False)
            odd = found[-1:] if len(found) % 2 else []
            found = [self._met(em, x, y) for x, y in pairs] + odd
        return found[0]

    def _met(self, em: Emitter, x: Sequence[str], y: Sequence[str]) -> State:
        if self.is_extremum:
            return [self.better(em, x[0], y[0]), *map(em.either, x[1:], y[1:])]
        return [self.join(em, x[0], y[0], self.lanes)]

    def join(self, em: Emitter, x: str, y: str, dtype: DType) -> str:
        """Two totals of `dtype` as one."""
        if self.meet == LOOK:
            return em.binary("fadd", register_scalar(dtype), x, y)
        return emit_op(em, self.meet, [x, y], [dtype] * 2, dtype)

    def widened(self, em: Emitter, value: str) -> str:
        """A register of `lanes` as one of `dtype`."""
        return (
            em.convert("fpext", self.scalar, register_scalar(self.dtype), value) if self.is_blocked else value
        )

    def number(self, one: Emitter, wide: Emitter, state: Sequence[str]) -> str:
        """What all lanes of a state, in `dtype`, are together."""
        best = across(one, wide.width, self, self.settled(wide, state)[0])
        if not self.remembers:
            return best
        return one.let(f"select i1 {wide.any(state[1])}, {self.scalar} {_NAN}, {self.scalar} {best}")


def look_of(em: Emitter, dtype: DType, late: int = 0) -> Total:
    """What a look at values of `dtype` gathers: 0, or NaN once one was NaN or infinite.

    Each value is seen so many vectors `late`.
    """
    return Total(dtype, dtype, dtype, (em.number(register_scalar(dtype), 0.0),) * (1 + late), LOOK)


LOOK = "look"  # in place of an op
_NAN = "0x7FF8000000000000"


def total_of(em: Emitter, node: Tensor, remembers: bool = True) -> Total:
    """The total of a reduction; an extremum of floats `remembers` NaN, or may forget it."""
    dtype = node.inputs[0].dtype
    scalar = register_scalar(dtype)
    if dtype is BOOL and node.op.name in _TRUTH:
        meet = _TRUTH[node.op.name]
        return Total(dtype, dtype, dtype, ("true" if meet == "logical_and" else "false",), meet)
    if node.op.name == "prod":
        lanes = FLOAT64 if dtype.is_floating else node.dtype
        one = em.number("double", 1.0) if dtype.is_floating else "1"
        return Total(dtype, lanes, lanes, (one,), "mul")
    if node.op.name in ("sum", "mean"):
        if dtype.is_floating or node.op.name == "mean":
            lanes = FLOAT32 if dtype.is_floating and dtype is not FLOAT64 else FLOAT64
            return Total(dtype, FLOAT64, lanes, (em.number(register_scalar(lanes), 0.0),), "add")
        return Total(dtype, node.dtype, node.dtype, ("0",), "add")
    largest = node.op.name == "max"
    meet = "maximum" if largest else "minimum"
    if dtype.is_floating:
        worst = float("-inf") if largest else float("inf")
        starts = (em.number(scalar, worst), "false")[: 1 + remembers]
        return Total(dtype, dtype, dtype, starts, meet, is_extremum=True)
    bits = 8 * dtype.itemsize
    low, high = (0, 2**bits - 1) if dtype.kind == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return Total(dtype, dtype, dtype, (str(low if largest else high),), meet)


_TRUTH = {"any": "logical_or", "max": "logical_or", "all": "logical_and", "min": "logical_and"}


def across(one: Emitter, width: int, total: Total, value: str) -> str:
    """All lanes into one: halves onto halves, an order that depends on the width alone."""
    scalar = register_scalar(total.dtype)
    while width > 1:
        low, high = halves(one.let, scalar, value, width)
        width //= 2
        em = Emitter(one.module, width, prefix=f"h{one.name()[2:]}.")
        em.lines = one.lines
        value = total.better(em, low, high) if total.is_extremum else total.join(em, low, high, total.dtype)
    return value


def finish(one: Emitter, node: Tensor, total: str, count: str) -> str:
    """The number that a total over `count` elements stands for."""
    gathered, dtype = total_of(one, node).dtype, node.dtype
    if node.op.name == "mean":
        total = one.let(f"fdiv double {total}, {one.let(f'sitofp i64 {count} to double')}")
    if gathered is dtype:
        return total
    return emit_op(one, "cast", [total], [gathered], dtype)
