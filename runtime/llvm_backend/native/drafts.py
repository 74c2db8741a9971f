"""Drafts: what runs each step, and what the steps of a program need of the library and of the prelude."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field

from graphc.freezing import frozen
from graphc.sizes import Size
from passes.memory import Cell
from runtime.execution import BoundStep
from runtime.llvm_backend.contractions.contraction import Contract
from runtime.llvm_backend.contractions.kernel import Kernel
from runtime.llvm_backend.engine.library import Module
from runtime.llvm_backend.loops.loop_kernel import LoopKernel
from runtime.llvm_backend.native.patterns import Pattern
from runtime.llvm_backend.native.python_steps import Pause
from runtime.llvm_backend.rows.row_code import RowKernel
from runtime.llvm_backend.table.steptable import Jump


@frozen(eq=False)
class NativeKernel:
    """Machine code of a contraction or of loops: its name, its LLVM IR, and the contract."""

    name: str
    text: str
    plan: Contract | None = None

    def __repr__(self) -> str:
        return f"<graphc kernel {self.name}>"


@frozen(eq=False)
class Draft:
    """What runs a step: loops, in order, then its kernel and the module of that, where it has one.

    `kernels` are the same for users to look at.
    """

    kind: str
    module: Module | None = None
    kernel: RowKernel | Kernel | None = None
    loops: tuple[tuple[LoopKernel, Module], ...] = ()
    kernels: tuple[NativeKernel | RowKernel, ...] = ()


@frozen
class Late:
    """A step that gives sizes: the jump from behind it to where they are used, and the place to come back to.

    `homes`: for results that have memory of their own, the word with the address.
    """

    leave: Jump
    back: int
    homes: Mapping[Cell, int]


@dataclass(frozen=True, slots=True)
class Collected:
    """What the steps of a program and of its bodies need, for the prelude and the library.

    Attributes:
        modules: those of the kernels. kernels: the same, for users to look at, each text once.
        watched: the words of fed sizes: while none changes, nor does what depends on them.
        fed: (word, size): a word that a feed writes, and what it must be. equal: sizes that must be alike.
        filled: (word, size): words to hold sizes.
        plans: (address, block): the functions that count the chunks of contractions.
        scratch: (word, offset): words to hold addresses behind the arena.
        room: how many bytes there must be behind the arena: the largest of these.
        positive: sizes that must not be 0. natural: those that must not be negative.
        python: the steps in Python, by number. runs: the kernels of each step.
        late: for each step that gives sizes, in order, where what follows from them is to be computed.
        drafts: by what alike steps share. patterns: by draft, and whether it is in a loop.

    Functions, addresses and room are collected with the number of steps that give sizes before them.
    """

    modules: dict[tuple[str, tuple[str, ...]], Module] = field(default_factory=dict)
    kernels: dict[str, NativeKernel | RowKernel] = field(default_factory=dict)
    watched: list[int] = field(default_factory=list)
    fed: list[tuple[int, Size]] = field(default_factory=list)
    equal: list[tuple[Size, Size]] = field(default_factory=list)
    filled: list[tuple[int, Size]] = field(default_factory=list)
    plans: list[tuple[int, int, int]] = field(default_factory=list)
    scratch: list[tuple[int, Size, int]] = field(default_factory=list)
    room: dict[tuple[Size, int], None] = field(default_factory=dict)
    positive: dict[Size, None] = field(default_factory=dict)
    natural: dict[Size, None] = field(default_factory=dict)
    python: list[Pause] = field(default_factory=list)
    late: list[Late] = field(default_factory=list)
    runs: dict[BoundStep, list[NativeKernel | RowKernel]] = field(default_factory=dict)
    drafts: dict[Hashable, Draft] = field(default_factory=dict)
    patterns: dict[tuple[int, bool], list[Pattern]] = field(default_factory=dict)
