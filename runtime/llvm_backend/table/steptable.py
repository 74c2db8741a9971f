"""Step table: a program as data, which one native loop walks (`steploop`).

**Words.** Whatever changes from run to run stands in 8-byte words, a block of them for each run in flight:
addresses of buffers, sizes, counters, scalar arguments. The first `HEADER` belong to the loop:

    0 FLAG       0, or why the run failed: set by a kernel that fails, once (`FAIL_TEXT`)
    1 VALUE      the offending value
    2 DETAIL     of a step that hands over to Python or refuses: its number or code
    3 BUSY       a run is using these words (`RunWords.claim`)
    4 POSITION   byte offset of the step to go on with
    5 CHUNK      what is done of a parallel step that was interrupted: see `forkjoin.fork`
    6 FORK       how to fork (`Pool.fork`); 0: parallel steps run on the calling thread alone
    7 POOL       what `FORK` takes
    8, 9         the clock of `polling`

**Steps.** 64 bytes each: kind, function, a, b, c, d. The words that a, b and d mean are given as byte
offsets from the first word, and where d is a step it is the byte offset of that.

    kernel     void f(ptr a, i64 0): a block of words is all that a kernel is given
    parallel   void f(ptr a, i64 chunk) for each chunk below b, on the threads of the pool
    joint      parallel, for what is told of the parts behind the next step, a jump over them: see `joints`
    part       of a joint step: void f(ptr a, i64 chunk) for each chunk from b to below c; nothing by itself
    python     returns to Python, which runs step number c and comes back
    jump d; branch d where the byte that a points to is 0; unless: d where a is 0; until: d where a >= b
    repeat     a back edge to d; count: a += 1 and then a back edge to d while a < b
    check      fails where FLAG is set
    at_most    refuses with code c unless a <= b; equal: unless a == b
    move, add, sub, mul, div, mod, maximum, minimum     d = a op b
    load       d = what a points to; store: what d points to = a
    copy       of bytes: the words of a are where to, where from, how many; clear: where, how many
    end        fails where FLAG is set

FLAG is read at back edges, before steps in Python, by ``check`` and at the end. At back edges, and
between the chunks of a parallel step, the clock is polled: every 50 ms Python may look for signals.
Control flow is jumps in one flat table, so a run can be left and entered anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from graphc.alignment import data_address
from graphc.errors import VerificationError
from graphc.freezing import frozen
from runtime.llvm_backend.table import steploop
from runtime.llvm_backend.table.polling import DEADLINE
from runtime.llvm_backend.table.steploop import (
    ARITHMETIC,
    BUSY,
    CHUNK,
    FLAG,
    FORK,
    HEADER,
    KINDS,
    PAUSED,
    POOL,
    POSITION,
    PYTHON_STEP,
)

Words = np.ndarray[Any, np.dtype[np.int64]]
_CODES = {kind: code for code, kind in enumerate(KINDS)}
_BRIEF = {_CODES["kernel"], _CODES["end"]}
_SPARE = [0] * (steploop.STEP // 8 - 6)
_LINE = 64
_FEW = 16

# For kernels that may fail: the first failure of a run is kept, whichever thread it is on.
FAIL_TEXT = """
define internal void @fail(ptr %flag, i64 %code, i64 %value) {
  %pair = cmpxchg ptr %flag, i64 0, i64 %code acq_rel monotonic
  %first = extractvalue {i64, i1} %pair, 1
  br i1 %first, label %note, label %done
note:
  %value.at = getelementptr i64, ptr %flag, i64 1
  store i64 %value, ptr %value.at
  br label %done
done:
  ret void
}
"""


class RunWords:
    """The words of one run at a time.

    Attributes:
        words: all of them, as int64.
        address: where they begin.
        memory: what it took beside the arena, by the word with its address; kept for the next run.
    """

    __slots__ = ("_holder", "address", "memory", "words")

    def __init__(self, table: StepTable) -> None:
        size = len(table.template)
        self._holder = np.empty(size + _LINE // 8, np.int64)
        skip = -data_address(self._holder) % _LINE // 8
        self.words: Words = self._holder[skip : skip + size]
        self.address = data_address(self.words)
        self.memory: dict[int, np.ndarray[Any, Any]] = {}
        self.words[:] = table.template
        for word, target in table.pointers:
            self.words[word] = self.address + 8 * target

    def begin(self, position: int = 0) -> None:
        """Makes them ready to run from the step at the byte offset `position`."""
        words = self.words
        words[FLAG] = words[CHUNK] = words[DEADLINE] = 0
        words[POSITION] = position

    def claim(self) -> bool:
        """Makes them the caller's, unless a run is using them."""
        return bool(steploop.claim_function()(self.address))

    def release(self) -> None:
        """Gives them back after `claim`."""
        self.words[BUSY] = 0

    def use_pool(self, fork: int, pool: int) -> None:
        """Parallel steps run by `fork` (`Pool.fork`) on `pool` (`Pool.state`)."""
        self.words[POOL], self.words[FORK] = pool, fork  # in this order: a run may be under way


@frozen(eq=False)
class StepTable:
    """Steps, ready to be walked; any number of runs may walk them at once, each on words of its own.

    Attributes:
        steps: the table. `address` is where it begins.
        template: what the words are before a run.
        pointers: (word, target): the word holds the address of the word `target`.
        marks: the byte offset of each place that was marked with a name.
        keeps: what must live as long as the table, such as the library of its functions.
    """

    steps: Words
    template: Words
    pointers: tuple[tuple[int, int], ...]
    marks: dict[str, int]
    keeps: tuple[Any, ...]

    @property
    def address(self) -> int:
        """Where the steps begin."""
        return data_address(self.steps)

    @property
    def is_brief(self) -> bool:
        """Whether it is a few kernels of one chunk and no more, so that a run takes some microseconds."""
        return len(self.steps) <= _FEW and set(self.steps[:, 0].tolist()) <= _BRIEF

    def run(self, state: RunWords, python: Callable[[int, RunWords], object] | None = None) -> int:
        """Walks the table on `state`, which has begun; returns DONE, FAILED or REFUSED.

        ``python(number, state)`` runs the steps in Python; what it raises ends the run, as Ctrl-C does.
        The reason of FAILED stands in the words FLAG and VALUE, the code of REFUSED in DETAIL.
        """
        while True:
            status = steploop.run_function()(state.address, self.address)
            if status == PYTHON_STEP and python is not None:
                python(int(state.words[steploop.DETAIL]), state)
            elif status != PAUSED:  # else Python itself has just looked for signals
                return status


class Jump:
    """A step that jumps to where nobody knows yet; `TableBuilder.land` says it."""

    __slots__ = ("step",)

    def __init__(self, step: int) -> None:
        self.step = step


class Choice:
    """What `TableBuilder.when` opened: `otherwise` gives it its other half."""

    def __init__(self, builder: TableBuilder, place: Jump) -> None:
        self._builder, self._place, self.end = builder, place, -1

    @contextmanager
    def otherwise(self) -> Iterator[None]:
        """The steps that run where the condition is false; it comes right after those of `when`."""
        builder = self._builder
        if self.end != len(builder.steps):
            raise VerificationError("otherwise does not come right after the steps of its when")
        over = builder.jump()
        builder.land(self._place)
        yield
        builder.land(over)


class TableBuilder:
    """Makes a StepTable, step by step. A word is meant by its number; `word` and `block` give new ones."""

    def __init__(self) -> None:
        self.steps: list[list[int]] = []
        self._template = [0] * HEADER
        self._pointers: list[tuple[int, int]] = []
        self._constants: dict[int, int] = {}
        self._open: set[int] = set()  # jumps that are to be landed
        self._marks: dict[str, int] = {}

    # Words.

    def word(self, value: int = 0) -> int:
        """A new word, which a run finds as `value` or as the run before it left it."""
        self._template.append(value)
        return len(self._template) - 1

    def block(self, values: Iterable[int]) -> int:
        """New words, one after the other: the first of them."""
        first = len(self._template)
        self._template.extend(values)
        return first

    def constant(self, value: int) -> int:
        """A word that holds `value` for ever; one for each value."""
        word = self._constants.get(value)
        if word is None:
            word = self._constants[value] = self.word(value)
        return word

    def preset(self, word: int, value: int) -> None:
        """Lets a run find `word` as `value`."""
        self._template[word] = value

    def point(self, word: int, target: int) -> None:
        """Lets `word` hold the address of the word `target` of the same run."""
        self._pointers.append((word, target))

    # Steps.

    def kernel(self, function: int, block: int) -> None:
        """``void f(ptr block, i64 0)``, which takes a few microseconds."""
        self._add("kernel", function, a=8 * block)

    def parallel(self, function: int, block: int, chunks: int) -> None:
        """``void f(ptr block, i64 chunk)`` for each chunk below what the word `chunks` says."""
        self._add("parallel", function, a=8 * block, b=8 * chunks)

    def joint(self, parts: Iterable[tuple[int, int, int, int]], starts: Sequence[int]) -> None:
        """As many chunks as `starts` has, less one, made of `parts`.

        A part is a function, its block, its first chunk and one past its last. Chunk i has the parts from
        ``starts[i]`` to below ``starts[i + 1]``.
        """
        block = self.block((0, 0, *starts))
        self.preset(block + 1, 8 * block)
        self._add("joint", a=8 * block, b=8 * self.constant(len(starts) - 1))
        over = self.jump()
        for kernel, words, first, last in parts:
            self._add("part", kernel, a=8 * words, b=first, c=last)
        self.land(over)

    def python(self, number: int) -> None:
        """A step in Python."""
        self._add("python", c=number)

    def check(self) -> None:
        """Nothing after it happens once a kernel has failed."""
        self._add("check")

    def at_most(self, a: int, b: int, code: int) -> None:
        """Refuses to go on with `code` unless ``a <= b``."""
        self._add("at_most", a=8 * a, b=8 * b, c=code)

    def equal(self, a: int, b: int, code: int) -> None:
        """Refuses to go on with `code` unless ``a == b``."""
        self._add("equal", a=8 * a, b=8 * b, c=code)

    def move(self, to: int, source: int) -> None:
        """``to = source``."""
        self._add("move", a=8 * source, d=8 * to)

    def compute(self, operation: str, to: int, a: int, b: int) -> None:
        """``to = a op b`` on sizes: add, sub, mul, div, mod (both rounded down), maximum, minimum."""
        if operation not in ARITHMETIC:
            raise VerificationError(f"words know no {operation}")
        self._add(operation, a=8 * a, b=8 * b, d=8 * to)

    def load(self, to: int, pointer: int) -> None:
        """``to = *pointer``, of 8 bytes."""
        self._add("load", a=8 * pointer, d=8 * to)

    def store(self, pointer: int, source: int) -> None:
        """``*pointer = source``, of 8 bytes."""
        self._add("store", a=8 * source, d=8 * pointer)

    def copy(self, block: int) -> None:
        """Copies bytes: the words of `block` say where to, where from and how many."""
        self._add("copy", a=8 * block)

    def clear(self, block: int) -> None:
        """Makes bytes 0: the words of `block` say where and how many."""
        self._add("clear", a=8 * block)

    def end(self) -> None:
        """The run is done: of what follows, only what is marked is ever entered."""
        self._add("end")

    # Control flow.

    def mark(self, name: str) -> None:
        """Calls the place of the next step `name`: `RunWords.begin` may begin there."""
        self._marks[name] = self.here()

    def jump(self) -> Jump:
        """A jump to a place to be landed."""
        return self._jump("jump")

    def leave_unless(self, pointer: int) -> Jump:
        """A jump, to a place to be landed, where the byte that the word `pointer` points to is 0."""
        return self._jump("branch", a=8 * pointer)

    def leave_at_zero(self, word: int) -> Jump:
        """A jump, to a place to be landed, where `word` is 0."""
        return self._jump("unless", a=8 * word)

    def land(self, place: Jump) -> None:
        """Lets the jump of `place` end at the next step."""
        self.steps[place.step][5] = self.here()
        self._open.discard(place.step)

    @contextmanager
    def when(self, pointer: int) -> Iterator[Choice]:
        """The steps that run where the byte that the word `pointer` points to is not 0."""
        choice = Choice(self, self.leave_unless(pointer))
        yield choice
        self.land(choice._place)
        choice.end = len(self.steps)

    @contextmanager
    def counted(self, counter: int, limit: int) -> Iterator[None]:
        """The steps that run for each value of the word `counter` from 0 to below that of `limit`."""
        self.move(counter, self.constant(0))
        over = self.leave_at_least(counter, limit)
        top = self.here()
        yield
        self._add("count", a=8 * counter, b=8 * limit, d=top)
        self.land(over)

    @contextmanager
    def repeated(self) -> Iterator[list[Jump]]:
        """The steps that run again and again: add to the list what `leave_unless` gives."""
        places: list[Jump] = []
        top = self.here()
        yield places
        self._add("repeat", d=top)
        for place in places:
            self.land(place)

    def leave_at_least(self, word: int, limit: int) -> Jump:
        """A jump, to a place to be landed, where `word` is at least what the word `limit` says."""
        return self._jump("until", a=8 * word, b=8 * limit)

    def again(self, top: int) -> None:
        """A back edge to the step at `top`."""
        self._add("repeat", d=top)

    def keep(self, promised: Mapping[int, int]) -> None:
        """Lets steps call the functions at the addresses that the numbers stand for which they were given."""
        for step in self.steps:
            step[1] = promised.get(step[1], step[1])

    def build(self, keeps: Iterable[Any] = ()) -> StepTable:
        """The table, with an end after the last step."""
        self.end()
        if self._open:
            raise VerificationError(f"step {min(self._open)} of the table jumps nowhere")
        steps, template = np.array(self.steps, np.int64), np.array(self._template, np.int64)
        return StepTable(steps, template, tuple(self._pointers), dict(self._marks), tuple(keeps))

    def here(self) -> int:
        """The place of the next step, for `again`."""
        return len(self.steps) * steploop.STEP

    def _jump(self, kind: str, a: int = 0, b: int = 0) -> Jump:
        """Adds a step that jumps to where nobody knows yet."""
        place = Jump(len(self.steps))
        self._open.add(place.step)
        self._add(kind, a=a, b=b)
        return place

    def _add(self, kind: str, function: int = 0, a: int = 0, b: int = 0, c: int = 0, d: int = -1) -> None:
        self.steps.append([_CODES[kind], function, a, b, c, d, *_SPARE])
