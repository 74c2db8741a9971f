"""Row frame: what a row kernel has at hand: the words of its block, its arrays, the numbers of a row."""

from __future__ import annotations

from collections.abc import Collection

from graphc.tensor import Tensor
from runtime.llvm_backend.ir.divisors import DIVISIONS, Divisor, make_divisor
from runtime.llvm_backend.ir.text import Module
from runtime.llvm_backend.ir.values import load, load_single, memory_dtype
from runtime.llvm_backend.rows.numerics import Looks
from runtime.llvm_backend.rows.row_block import SCRATCH_BYTES, Word, share_word
from runtime.llvm_backend.rows.row_labels import as_index
from runtime.llvm_backend.rows.row_loop import RowLoop, lanes_of
from runtime.llvm_backend.rows.row_order import fits_vector
from runtime.llvm_backend.rows.row_plan import Access, Operand, RowPlan
from runtime.llvm_backend.rows.row_streams import claimed_results, is_streamed
from runtime.llvm_backend.rows.row_wave import spare_rows


class RowFrame:
    """The function of one kernel, and where it is.

    Attributes:
        in_order: whether a row is walked whole before the next one, and nothing else is.
        in_vector: whether a row is one vector, so that what is computed of it stays in registers.
        streams, claimed: the numbers of results that may be streamed, and of those that are asked for.
        inputs, written: the numbers of operands, and of results, by node.
        slots: the numbers of the rows of scratch by what is kept there.
    """

    in_order = True

    def __init__(self, plan: RowPlan, module: Module, looks: Looks, streams: Collection[int] = ()) -> None:
        self.plan, self.streams, self.claimed = plan, streams, claimed_results(plan)
        self.showing, self.noted = looks.showing, looks.noted
        self.loops = RowLoop(module, lanes_of(module.target, plan.dtypes))
        self.one, self.wide = self.loops.one, self.loops.wide
        self.inputs = {node: i for i, node in enumerate(plan.body.inputs)}
        self.written = {node: i for i, node in enumerate(plan.body.outputs)}
        self.in_vector = self.in_order and fits_vector(plan, module.target)
        own = (node for node in plan.kept if node not in self.written and not self.in_vector)
        self.slots = {node: i for i, node in enumerate(own)}
        self.numbers: dict[Tensor, str] = {}  # one a row, in a register
        self.labels: dict[Tensor, str] = {}  # of what is by labels, one a row
        self.divisors: dict[Tensor, tuple[Divisor, Divisor]] = {}  # of one element, and of whole vectors
        self.offsets: dict[Access, str] = {}  # where the row begins, in elements

    def open(self) -> None:
        """Reads the block."""
        one, plan, word = self.one, self.plan, self.loops.word
        self.rows, self.per, self.inner = (word(i) for i in (Word.ROWS, Word.PER, Word.INNER))
        self.flag = word(Word.FLAG, "ptr")
        count = len(plan.body.inputs)
        self.arrays = [word(Word.ARRAYS + i, "ptr") for i in range(count)]
        self.results = [word(Word.ARRAYS + count + i, "ptr") for i in range(len(plan.body.outputs))]
        self.sizes = (
            [word(Word.ARRAYS + count + len(self.results) + i) for i in range(len(plan.outer))]
            if len(plan.outer) > 1
            else []
        )
        spare = spare_rows(plan)
        if self.slots or spare:
            self.spare = word(Word.SCRATCH, "ptr")
            bytes_a_row = one.let(f"mul i64 {self.inner}, {SCRATCH_BYTES}")
            own = one.let(f"mul i64 %chunk, {one.let(f'mul i64 {bytes_a_row}, {len(self.slots)}')}")
            self.kept = [
                one.let(
                    f"getelementptr i8, ptr {self.spare}, i64 "
                    + one.let(f"add i64 {own}, {one.let(f'mul i64 {bytes_a_row}, {spare + i}')}")
                )
                for i in range(len(self.slots))
            ]
        if self.streams:
            past = [self.results[i] for i in self.streams]
            self.streamed = is_streamed(self.one, word(share_word(plan)), past)
        self.load_numbers()

    def load_numbers(self) -> None:
        """Operands that are one number for the whole kernel."""
        whole = {access for access in self.plan.accesses if access.is_number}
        for (user, i), access in self.plan.reads.items():
            operand = user.inputs[i]
            if access in whole and operand not in self.numbers:
                array = self.arrays[self.inputs[operand]]
                self.numbers[operand] = load_single(self.one, memory_dtype(operand.dtype), array)
        for node in (node for phase in self.plan.phases for node in phase.vectors):
            d = self.divisor(node)
            if d is not None and d not in self.divisors:
                made = make_divisor(self.one, self.loops.walk, d.dtype, self.numbers[d])
                self.divisors[d] = made, made.broadcast(self.wide, d.dtype)

    def divisor(self, node: Tensor) -> Tensor | None:
        """What integers are divided by in `node`, where it is one number that the kernel is given."""
        if node.op.name not in DIVISIONS or not node.dtype.is_integer:
            return None
        d, access = self.plan.operands[node, 1]
        return d if access is not None and access.is_number else None

    def index(self, node: Tensor) -> str:
        """The label of `node`, which is one number a row."""
        if node not in self.labels:
            self.labels[node] = as_index(
                self.one, self.number(self.plan.operands[node, 1]), node.inputs[1].dtype
            )
        return self.labels[node]

    def number(self, operand: Operand) -> str:
        """What is one number a row."""
        below, access = operand
        if access is not None and below not in self.numbers:
            array = self.arrays[self.inputs[below]]
            return load(self.one, memory_dtype(below.dtype), array, self.offsets[access])
        return self.numbers[below]

    def is_number(self, operand: Operand) -> bool:
        """Whether `operand` is one number a row."""
        below, access = operand
        return below in self.numbers if access is None else not access.inner
