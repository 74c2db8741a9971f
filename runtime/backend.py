"""Backend: who gives the kernels of a program's steps. What it has no kernel for runs by its meaning."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from graphc.errors import ArgumentError
from graphc.explanation import require_flag
from graphc.sizes import Symbol, as_int
from graphc.tensor import Tensor
from passes.memory import MemoryPlan
from passes.program import Program, Step
from passes.stages import stage
from passes.target import Reading, Target
from runtime.counting import Counter, Values

Array = np.ndarray[Any, Any]
Kernel = Callable[..., Any]  # operands as arrays -> the result, or a tuple of results

# ``template(symbols, describe)`` makes what runs a program on what one of the same form was lowered to.
# `symbols`: those of that program by those of this one, where they are others. ``describe()`` gives what
# `Backend.whole` makes of this one; it is called by whoever asks for kinds, runs, kernels or memory.
Template = Callable[[Mapping[Symbol, Symbol], Callable[[], Any]], "Whole"]

DEFAULT_BACKEND = "llvm"


class Backend(Protocol):
    """Makes kernels for one kind of machine."""

    @property
    def name(self) -> str:
        """What users call it: ``"numpy"``."""

    @property
    def fusible(self) -> frozenset[str]:
        """The names of the ops that can go into one kernel with others."""

    @property
    def contracts(self) -> Callable[[Tensor], bool]:
        """Which nodes are contractions, whose kernels take along elementwise ops on their results."""

    @property
    def reads(self) -> Callable[[Tensor, int], Reading | None]:
        """How the kernel of a contraction reads an operand, by number, that it makes of others."""

    @property
    def follows(self) -> Callable[[Tensor], bool]:
        """Which elementwise ops such a kernel may take along."""

    @property
    def has_cells(self) -> bool:
        """Whether there are kernels of few rows at a time, and of results among zeros."""

    @property
    def holds(self) -> Callable[[Tensor], bool]:
        """Which elementwise ops a kernel of few rows at a time may have."""

    @property
    def has_columns(self) -> bool:
        """Whether there are kernels of reductions over the first axes and what makes their elements."""

    def kernel(self, step: Step) -> Kernel | None:
        """What runs `step`: ``kernel(*operands) -> result``. None: the op's NumPy meaning does."""

    def whole(self, program: Program, bound: Any, clocked: bool = False) -> Whole | str:
        """What runs all of `program`, whose steps `bound` has; or why nothing does but step after step.

        `clocked`: what can also time the steps, and is slower for it.
        """

    def is_new(self) -> bool:
        """Whether there is nothing to recall, as far as can be told at once."""

    def recall(self, digest: str, symbols: Sequence[Symbol], arrays: Sequence[Array]) -> Template | None:
        """What another process remembered of a request with that `digest`; None where none did.

        `symbols` and `arrays` are those of the request's fingerprint.
        """

    def remember(self, digest: str, whole: Any, symbols: Sequence[Symbol], arrays: Sequence[Array]) -> None:
        """Lets other processes recall `whole`, which runs such a request, as far as that can be."""

    def postpone(self, work: Callable[[], object]) -> None:
        """Has ``work()`` done once nobody waits for anything."""

    def door(self) -> Door | None:
        """What makes a function that can be led to a native call later; None where there is nothing such."""


class Door(Protocol):
    """A native function that calls one of Python's until it is led to a native call."""

    def function(self, slow: Callable[..., Any]) -> Callable[..., Any]:
        """The function; it calls ``slow(*arrays)``."""

    def lead(self, way: Callable[..., Any], slow: Callable[..., Any]) -> None:
        """Lets it do what `way` does, a `Whole.shortcut`, and ``slow(*arrays)`` where that cannot."""


class Whole(Protocol):
    """A program that runs in one call.

    Attributes:
        is_single: whether there is one result. gives_scalars: whether one that is fetched has no axes.
        variables: the names of those that are fed, in order.
        takes_state: whether the session's seed and run count are fed last.
        fetches: for each output of the program its place among the results; None for operations.
        assigned: the variables that the last results are the new values of.
        adopted: the constants that other variables are assigned, by name: no results, and not copied.
    """

    is_single: bool
    gives_scalars: bool
    variables: tuple[str, ...]
    takes_state: bool
    fetches: tuple[int | None, ...]
    assigned: tuple[str, ...]
    adopted: Mapping[str, Array]

    @property
    def call(self) -> Callable[..., Any]:
        """``call(*inputs, *variables, state?)``: a list of results, the one itself where there is only one.

        NotImplemented where the steps must be walked. Inputs are C-contiguous, of their dtypes.
        """

    def settle(self) -> None:
        """Waits until what nobody waits for is done: files of the cache, say."""

    @property
    def kinds(self) -> Mapping[Any, str]:
        """What runs each step; those of bodies are among them where they run natively."""

    @property
    def kernels(self) -> tuple[Any, ...]:
        """The distinct ones."""

    @property
    def runs(self) -> Mapping[Any, Sequence[Any]]:
        """The kernels of each step that has some."""

    @property
    def memory(self) -> MemoryPlan:
        """Where the values lie in the arena."""

    @property
    def obstacles(self) -> Mapping[Any, str]:
        """The regions that are walked in Python, and why."""

    def template(self) -> Template | None:
        """What makes this of other programs of its form, and holds on to no graph; None where nothing can."""

    @property
    def returns(self) -> int:
        """How many steps run in Python, those in loops counted once."""

    def shortcut(self, form: str, scalars: bool, count: Counter, values: Values) -> Callable[..., Any]:
        """As `call`; gives its results as ``"single"``, ``"tuple"`` or ``"list"``, and counts what went well.

        It takes inputs alone, and variables from `values`.

        `scalars`: what has no axes is given as a NumPy scalar.
        """

    def arena_bytes(self, known: dict[Symbol, int]) -> int:
        """The bytes that a run's arena takes, scratch included."""

    def run_again(self, arrays: Sequence[Any]) -> Any:
        """As `call` after it gave NotImplemented, with more memory, if that was the reason."""

    def run_clocked(self, arrays: Sequence[Any]) -> tuple[Any, Mapping[Any, float]]:
        """As `run_again`, and the seconds of each bound step; of one that was made with clocks."""


def _numpy(threads: int = 1, check_numerics: bool = False) -> Backend:
    from runtime.numpy_backend import NumpyBackend  # loaded when it is asked for, as all are

    return NumpyBackend(check_numerics)


def _llvm(threads: int = 1, check_numerics: bool = False) -> Backend:
    with stage("import"):
        from runtime.llvm_backend.backend import LlvmBackend  # many modules, of this backend alone

    return LlvmBackend(threads, check_numerics)


BACKENDS: dict[str, Callable[..., Backend]] = {"numpy": _numpy, "llvm": _llvm}


def backends() -> tuple[str, ...]:
    """The names of the backends that a session may use."""
    return tuple(BACKENDS)


def target_of(backend: Backend, **options: Any) -> Target:
    """What passes may know of `backend`; `options` are the other fields of a Target."""
    return Target(
        backend.name,
        fusible=backend.fusible,
        contracts=backend.contracts,
        reads=backend.reads,
        follows=backend.follows,
        has_cells=backend.has_cells,
        holds=backend.holds,
        has_columns=backend.has_columns,
        **options,
    )


def choose_backend(name: str | None) -> str:
    """`name`, else what GRAPHC_BACKEND says, else the default. Raises: ArgumentError."""
    origin = "backend"
    if name is None:
        name, origin = os.environ.get("GRAPHC_BACKEND") or DEFAULT_BACKEND, "GRAPHC_BACKEND"
    if not isinstance(name, str) or name not in BACKENDS:
        known = " or ".join(repr(b) for b in BACKENDS)
        raise ArgumentError(f"{origin} is {known}, not {name!r}")
    return name


def check_options(memory_budget: object, **flags: object) -> None:
    """Refuses what is no budget or no flag. Raises: ArgumentError."""
    if memory_budget is not None and (as_int(memory_budget) or 0) < 1:
        raise ArgumentError(f"memory_budget is a number of bytes above 0, not {memory_budget!r}")
    for flag, value in flags.items():
        require_flag(flag, value)


_MOST_THREADS = 1024  # where many more are wanted, the system fails to start them


def choose_threads(threads: int | None) -> int:
    """`threads`, else what GRAPHC_THREADS says, else one a core; not too many. Raises: ArgumentError."""
    if threads is None:
        text = os.environ.get("GRAPHC_THREADS")
        if not text:
            return min(os.cpu_count() or 1, _MOST_THREADS)
        if not (text.isascii() and text.isdigit() and int(text) > 0):
            raise ArgumentError(f"GRAPHC_THREADS is a number above 0, not {text!r}")
        return min(int(text), _MOST_THREADS)
    count = as_int(threads)
    if count is None or count < 1:
        raise ArgumentError(f"threads is a number above 0, not {threads!r}")
    return min(count, _MOST_THREADS)
