"""Patterns: what steps that run the same kernel have in common: the block of its arguments, what runs on it.

A pattern is made once for all steps that are alike; what is a step's own are the cells that it names. So a
program of many steps and few kernels costs a few words and a step of the table for each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from graphc.sizes import Size, SizeExpr
from passes.memory import ALIGNMENT
from runtime.llvm_backend.contractions.kernel import Kernel
from runtime.llvm_backend.loops.loop_kernel import LoopKernel
from runtime.llvm_backend.rows.row_block import Word, share_word
from runtime.llvm_backend.rows.row_code import RowKernel
from runtime.llvm_backend.rows.row_steps import cut_rows, is_brief
from runtime.llvm_backend.rows.row_streams import share_streamed, streamed_results

Addresses = Mapping[str, int]  # of a module's functions


@dataclass(slots=True)
class Pattern:
    """A block, and what runs on it. Words are counted from where the block begins.

    Attributes:
        words: what the block holds before any run, as far as it is known; chunks are counted behind it.
        operands, results: (word, number): words to hold addresses.
        flag, given: the words that point to the flag, and to the size that the step gives; -1: none does.
        sizes: (word, size): words to hold sizes that are known at the run.
        scratch: (word, offset): words to hold addresses in the step's scratch. room: the bytes of that.
        positive, natural: sizes that must not be 0, or negative.
        runs: functions in order, each with the word of how many chunks it has; -1: it runs once.
        is_brief: whether there is one function and one chunk, of a microsecond at most.
        plan: the function that counts chunks; 0: they are counted.
        streams: (word, share), where results may be stored past the caches.
    """

    words: list[int]
    operands: list[tuple[int, int]] = field(default_factory=list)
    results: list[tuple[int, int]] = field(default_factory=list)
    flag: int = -1
    given: int = -1
    sizes: list[tuple[int, SizeExpr]] = field(default_factory=list)
    scratch: list[tuple[int, Size]] = field(default_factory=list)
    room: Size = 0
    positive: Sequence[Size] = ()
    natural: Sequence[Size] = ()
    runs: list[tuple[int, int]] = field(default_factory=list)
    is_brief: bool = False
    plan: int = 0
    streams: tuple[int, int] | None = None

    def fill(self, word: int, size: Size) -> None:
        """Lets `word` hold `size`."""
        if isinstance(size, SizeExpr):
            self.sizes.append((word, size))
        else:
            self.words[word] = size

    def count(self, chunks: Size) -> int:
        """A word behind the block that holds how many `chunks` there are."""
        self.words.append(0)
        self.fill(len(self.words) - 1, chunks)
        return len(self.words) - 1


def rows_pattern(kernel: RowKernel, addresses: Addresses, in_loop: bool, threads: int) -> Pattern:
    """That of a kernel of rows; nothing is streamed in loops."""
    plan = kernel.plan
    cut = cut_rows(plan, kernel.scratch_rows)
    inputs, results = len(plan.body.inputs), len(plan.writes)
    share = share_word(plan)
    made = Pattern([0] * (share + 1), flag=Word.FLAG)
    if not in_loop and streamed_results(plan):
        made.streams = share, share_streamed(plan, threads)
    for word, size in ((Word.ROWS, cut.rows), (Word.PER, cut.per), (Word.INNER, plan.inner)):
        made.fill(word, size)
    if cut.scratch != 0:
        made.scratch.append((Word.SCRATCH, 0))
        made.room = cut.scratch
    made.operands += [(Word.ARRAYS + i, i) for i in range(inputs)]
    made.results += [(Word.ARRAYS + inputs + part, part) for part in range(results)]
    for i, size in enumerate(plan.outer if len(plan.outer) > 1 else ()):
        made.fill(Word.ARRAYS + inputs + results + i, size)
    if plan.has_choices:
        made.positive = (plan.inner,)
    first, *rest = (addresses[name] for name in kernel.functions)
    made.runs = [(first, made.count(cut.chunks)), *((finish, -1) for finish in rest)]
    made.is_brief = not rest and is_brief(plan, cut)
    return made


def contraction_pattern(kernel: Kernel, addresses: Addresses, threads: int) -> Pattern:
    """That of a contraction, or of a block of such."""
    made = Pattern([0] * (kernel.first_word + len(kernel.words) + (kernel.flag >= 0)), flag=kernel.flag)
    for i, buffer in enumerate(kernel.buffers):
        if buffer.startswith("out"):
            made.results.append((i, int(buffer[3:] or 0)))
        elif buffer.startswith("x"):
            made.operands.append((i, int(buffer[1:])))
        else:
            made.scratch.append((i, 0))
    shared = _lines(kernel.shared_size)
    made.scratch.append((kernel.scratch_word, shared))
    made.room = shared + kernel.scratch_size * max(threads, 1)
    for i, size in enumerate(kernel.words):
        made.fill(kernel.first_word + i, size)
    phases = kernel.functions
    if kernel.counted:
        made.plan, phases = addresses[phases[0]], phases[1:]
    else:
        made.words[kernel.first_count : kernel.first_word] = kernel.chunks({})
    made.runs = [(addresses[name], kernel.first_count + i) for i, name in enumerate(phases)]
    return made


def loop_pattern(kernel: LoopKernel, address: int) -> Pattern:
    """That of a kernel of loops."""
    made = Pattern([0] * len(kernel.words), positive=kernel.positive, natural=kernel.natural)
    for i, word in enumerate(kernel.words):
        if word.kind == "operand":
            made.operands.append((i, word.number))
        elif word.kind == "result":
            made.results.append((i, word.number))
        elif word.kind == "scratch":
            made.scratch.append((i, word.size))
        elif word.kind == "flag":
            made.flag = i
        elif word.kind == "given":
            made.given = i
        else:
            made.fill(i, word.size)
    made.room = kernel.scratch
    made.runs = [(address, made.count(kernel.chunks))]
    return made


def _lines(size: Size) -> Size:
    """`size` rounded up to whole cache lines."""
    return (size + (ALIGNMENT - 1)) // ALIGNMENT * ALIGNMENT
