"""Clocks: how long each step takes, in a variant of a native program that looks at the clock between steps.

A tick before each step adds the time since the last tick to the step that ran in between, wherever jumps
have led; so steps in loops add up. A tick costs two looks at the clock, some 50 ns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runtime.execution import BoundStep
from runtime.llvm_backend.engine.library import Library, Module, load
from runtime.llvm_backend.table.polling import clock_imports, now_text
from runtime.llvm_backend.table.steptable import RunWords, TableBuilder

_TICK = """
define void @kernel(ptr %block) {
  %next.at = getelementptr i64, ptr %block, i64 1
  %state = load ptr, ptr %block
  %next = load ptr, ptr %next.at
  %current.at = getelementptr i64, ptr %state, i64 1
  %current = load ptr, ptr %current.at
  %none = icmp eq ptr %current, null
  br i1 %none, label %go, label %add
add:
  %then = load i64, ptr %state
  %now = call i64 @now()
  %spent = sub i64 %now, %then
  %sum = load i64, ptr %current
  %more = add i64 %sum, %spent
  store i64 %more, ptr %current
  br label %go
go:
  store ptr %next, ptr %current.at
  %begin = call i64 @now()
  store i64 %begin, ptr %state
  ret void
}
"""


class Clocks:
    """Adds ticks to a table. `words` are those in which the nanoseconds of each step add up."""

    def __init__(self, builder: TableBuilder) -> None:
        self.words: dict[BoundStep, int] = {}
        self._builder = builder
        self._state = builder.block((0, 0))  # when the last tick was, and where its time goes
        self.library: Library = load([Module("clock", now_text() + _TICK, imports=clock_imports())])

    def tick(self, step: BoundStep | None) -> None:
        """From here on time is spent on `step`; on none that counts where it is None."""
        builder = self._builder
        block = builder.block((0, 0))
        builder.point(block, self._state)
        if step is not None:
            self.words[step] = word = builder.word()
            builder.point(block + 1, word)
        builder.kernel(self.library.address("clock"), block)


class Reading:
    """What the clocks of one run say: looked at before and after it."""

    def __init__(self, words: Mapping[BoundStep, int]) -> None:
        self._words = words
        self._before: dict[BoundStep, int] | None = None
        self.seconds: dict[BoundStep, float] = {}

    def __call__(self, state: RunWords) -> None:
        """Looks at the words of the run."""
        words: Any = state.words
        now = {step: int(words[word]) for step, word in self._words.items()}
        if self._before is not None:
            self.seconds = {step: (now[step] - self._before[step]) * 1e-9 for step in now}
        self._before = now
