"""Session: runs graphs and keeps the values of variables."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import ExitStack
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from graphc.errors import ArgumentError, FeedError, SessionClosedError, ShapeError, UninitializedError
from graphc.explanation import explains
from graphc.graph import Graph, as_seed, get_default_graph
from graphc.sizes import as_int
from graphc.tensor import Tensor
from graphc.variable import Variable
from passes.running import Pass, choose_pipeline, choose_verify
from runtime.agreement import Sizes
from runtime.backend import BACKENDS, Array, check_options, choose_backend, choose_threads, target_of
from runtime.committed import EMPTY, State
from runtime.counting import Counter, Values
from runtime.direct import ShortWay, give_away, make_step, run_whole, short_way, take, way_key
from runtime.executable import Executable
from runtime.feeds import Feeds, convert_all, feedables, override, resolve_feeds
from runtime.fetches import Fetches, Reads, resolve_fetches
from runtime.ownership import Ownership
from runtime.tiers import choose_compilation

if TYPE_CHECKING:
    from runtime.profile import Profile

_SEED_MASK = 2**64 - 1


class _Ready(NamedTuple):
    """A run that is about to be walked: what runs, on what; `overrides` are the variables that are fed."""

    executable: Executable
    arrays: list[Array]
    known: Sizes
    state: State
    variables: Mapping[str, Array]
    overrides: list[Array]


class Session:
    """Runs tensors and operations of one graph. Close it, or use it in ``with``.

    Args:
        graph: what to run; the current graph where None.
        backend: ``"numpy"`` or ``"llvm"``; None is GRAPHC_BACKEND, else ``"llvm"``.
        threads: how many threads may compute; None is GRAPHC_THREADS, else one for each core. 1024 at most.
        fast_math: whether rewrites may change the last bits of floats.
        check_numerics: whether a NaN or an infinity made of finite operands ends a run.
        seed: makes the draws of this session differ from those of others, repeatably.
        pipeline: the passes to run in place of `passes.pipeline.PIPELINE`, in order; each is a function
            ``(Function, Target) -> Function``.
        verify: whether the result of every pass is verified; None is what GRAPHC_VERIFY says.
        memory_budget: how many bytes may be alive at once in a run, as `Executable.peak_bytes` predicts
            it. Values are computed again rather than kept so that it holds, with the same bits. Where
            sizes are known only at the run, it holds for those of each run. Where it cannot be kept, an
            ArgumentError names the least that can.
        tiered: whether the first runs are on the NumPy backend, while another thread compiles. The last
            bits of floats may change when what is compiled takes over, see `runtime.tiers`.

    Raises: ArgumentError.
    """

    @explains
    def __init__(
        self,
        graph: Graph | None = None,
        backend: str | None = None,
        threads: int | None = None,
        fast_math: bool = False,
        check_numerics: bool = False,
        seed: int | None = None,
        pipeline: Sequence[Pass] | None = None,
        verify: bool | None = None,
        memory_budget: int | None = None,
        tiered: bool = False,
    ) -> None:
        if graph is not None and not isinstance(graph, Graph):
            raise ArgumentError(f"a session runs a gc.Graph, not {graph!r}: name the others, as backend=...")
        seed = as_seed(seed)
        check_options(memory_budget, fast_math=fast_math, check_numerics=check_numerics, tiered=tiered)
        self.graph: Graph = (graph if graph is not None else get_default_graph()).root
        self.backend: str = choose_backend(backend)
        self.threads: int = choose_threads(threads)
        self._backend = BACKENDS[self.backend](self.threads, bool(check_numerics))
        target = target_of(
            self._backend,
            fast_math=bool(fast_math),
            pipeline=choose_pipeline(pipeline),
            verify=choose_verify(verify),
            memory_budget=(budget := as_int(memory_budget)),
        )
        self._compilation = choose_compilation(self._backend, target, bool(check_numerics), tiered)
        self._seed, self._seed_is_given = (seed or 0) & _SEED_MASK, seed is not None
        self._values = Values()
        self._state, self._budget = EMPTY, budget
        self._light_runs = 0  # those that changed no variable
        self._native_runs = Counter()  # of these, those that went the shortest way
        self._ways: dict[Hashable, ShortWay] = {}  # the shortest ways of `run`
        self._closed, self._entered = False, threading.local()
        self._reads = Reads(self.graph)
        self._renew_locks()
        _sessions.add(self)

    def _renew_locks(self) -> None:
        # Re-entrant: a step in Python (`py_func`) may run the session that runs it.
        self._writing = threading.RLock()  # held by a run that changes state, from beginning to end
        self._committing = threading.RLock()  # held while one state replaces another
        self._compilation.renew_lock()

    # Running.

    def run(self, fetches: Any, feed_dict: Any = None) -> Any:
        """Computes `fetches` and returns their values in the same nesting.

        Args:
            fetches: a tensor, operation, Variable or name, or any nesting of list, tuple, dict and
                namedtuple of them.
            feed_dict: from placeholders (or any other tensors, variables, names) to their values:
                arrays, nested lists or numbers.

        Returns: arrays that are the caller's own; NumPy scalars for values without axes; None for
        operations.

        All assignments of a run take effect together when it ends well; one that fails changes nothing.

        Raises: FeedError, FetchError, UnknownNameError, UninitializedError, SessionClosedError, and
        what the ops raise while running.
        """
        key = way_key(fetches, feed_dict)
        way = self._ways.get(key)
        if way is not None:
            result = take(way, () if feed_dict is None else feed_dict.values())
            if result is not NotImplemented:
                return result
        self._refuse_closed()
        wanted = resolve_fetches(self.graph, fetches, self._reads)
        feeds = resolve_feeds(self.graph, feed_dict)
        result = self._run(wanted, feeds)
        if key is not None and (way := self._short_way(wanted, feeds.tensors)) is not None:
            self._ways[key] = way
        return result

    def _short_way(self, wanted: Fetches, tensors: tuple[Tensor, ...]) -> ShortWay | None:
        """The shortest way to `wanted` with `tensors` fed, after a first run."""
        executable = self._compilation.ready(wanted.tensors, tensors)
        if executable is None:
            return None
        return short_way(executable, wanted, tensors, self._native_runs, self._values)

    def make_callable(self, fetches: Any, feed_list: Sequence[Any] = ()) -> Callable[..., Any]:
        """A function ``step(*values)`` that runs `fetches` with `feed_list` fed, position by position.

        Raises: as `run`.
        """
        self._refuse_closed()
        wanted = resolve_fetches(self.graph, fetches, self._reads)
        targets = feedables(self.graph, feed_list)
        tensors = tuple(t for t in targets if isinstance(t, Tensor))

        def run(*values: Any) -> Any:
            self._refuse_closed()
            if len(values) != len(targets):
                raise FeedError(f"{len(targets)} values are to be fed, and {len(values)} were given")
            pairs = tuple(zip(targets, values, strict=True))
            fed = [v for t, v in pairs if isinstance(t, Tensor)]
            overrides = [(t, v) for t, v in pairs if isinstance(t, Variable)]
            return self._run(wanted, Feeds(tensors, fed, overrides))

        def find_way() -> ShortWay | None:
            return self._short_way(wanted, tensors) if len(tensors) == len(targets) else None

        return make_step(run, find_way, self._backend.door())

    def compile(self, fetches: Any, feeds: Any = ()) -> Executable:
        """The executable that `run` uses for `fetches`, compiled where it is not yet.

        Args:
            fetches: as in `run`.
            feeds: the tensors that will be fed, or a dict with their values as in `run`, which is
                needed where a rank is known only from the value.

        Raises: as `run`.
        """
        self._refuse_closed()
        wanted = resolve_fetches(self.graph, fetches, self._reads)
        if isinstance(feeds, Mapping):
            return self._ready(wanted, resolve_feeds(self.graph, feeds)).executable
        tensors = tuple(t for t in feedables(self.graph, feeds) if isinstance(t, Tensor))
        return self._compilation.general(wanted.tensors, tensors)

    def profile(self, fetches: Any, feed_dict: Any = None, runs: int = 20) -> Profile:
        """How long runs of `fetches` take, and each step of them; nothing that they assign is kept.

        It runs them more than `runs` times, each with its effects: what is printed, what Python does.

        Raises: as `run`; ArgumentError for `runs` below 1.
        """
        from runtime.profile import profile_runs  # loaded by those who measure

        self._refuse_closed()
        wanted = resolve_fetches(self.graph, fetches, self._reads)
        ready = self._ready(wanted, resolve_feeds(self.graph, feed_dict))
        count = np.array([self._seed, self._run_count(ready.state)], np.uint64)
        return profile_runs(ready.executable, ready.arrays, ready.known, ready.variables, count, runs)

    @property
    def compile_count(self) -> int:
        """How many executables were built so far."""
        return self._compilation.count

    def _run(self, fetches: Fetches, feeds: Feeds) -> Any:
        executable = self._compilation.direct(fetches.tensors, feeds.tensors, lambda: self._verify(feeds))
        if executable is None and self._budget is not None:
            executable = self._budgeted(fetches, feeds)
        if executable is not None:
            if executable.assigns or executable.draws:
                with self._writing:
                    outcome = self._run_native(executable, fetches, feeds)
            else:
                outcome = self._run_native(executable, fetches, feeds)
            if outcome is not None:
                return outcome[0]
        while True:
            try:
                return self._walk(fetches, feeds)
            except UninitializedError:
                self._refuse_closed()  # meanwhile
                raise
            except ShapeError as error:
                if not self._compilation.widen(fetches.tensors, feeds, error):
                    raise

    def _budgeted(self, fetches: Fetches, feeds: Feeds) -> Executable | None:
        """What keeps the memory budget with the sizes of `feeds`, where it can run natively."""
        executable = self._ready(fetches, feeds).executable
        return executable if executable.native is not None else None

    def _ready(self, fetches: Fetches, feeds: Feeds) -> _Ready:
        """A run on the state as it is now, with whatever executable fits what is fed."""
        arrays, state = convert_all(feeds), self._state
        variables, overrides = override(state.variables, feeds)
        executable, known = self._compilation.find(fetches.tensors, feeds.tensors, arrays, variables)
        return _Ready(executable, arrays, known, state, variables, overrides)

    def _verify(self, feeds: Feeds) -> None:
        """Raises FeedError for what cannot be fed."""
        convert_all(feeds)
        override(self._state.variables, feeds)

    def _run_native(self, executable: Executable, fetches: Fetches, feeds: Feeds) -> tuple[Any] | None:
        """Runs natively and commits; None where the steps must be walked."""
        state = self._state
        variables, _ = override(state.variables, feeds)
        results = run_whole(executable, feeds, variables, (self._seed, self._run_count(state)))
        if results is None:
            return None
        result = fetches.arrange(give_away(results[0], fetches.places))
        self._commit(results[1])
        return (result,)

    def _walk(self, fetches: Fetches, feeds: Feeds) -> Any:
        """Runs step after step."""
        ready = self._ready(fetches, feeds)
        if not (ready.executable.assigns or ready.executable.draws):
            return self._finish(fetches, ready)
        with self._writing:
            if self._state is not ready.state:  # another run has committed in between
                ready = self._ready(fetches, feeds)
            return self._finish(fetches, ready)

    def _finish(self, fetches: Fetches, ready: _Ready) -> Any:
        """Runs, then commits: all that can fail comes before the one exchange of states."""
        executable, arrays, known, state, variables, overrides = ready
        count = np.array([self._seed, self._run_count(state)], np.uint64)
        values, assigned = executable.run(arrays, known, variables, count)
        ownership = Ownership([*arrays, *overrides, count])
        fetched = [ownership.fetched(values[i]) for i in fetches.places]
        stored = {name: ownership.stored(array) for name, array in assigned.items()}
        result = fetches.arrange(fetched)
        self._commit(stored)
        return result

    def _commit(self, stored: Mapping[str, Array]) -> None:
        """The one exchange of states at the end of a run that went well."""
        with self._committing:
            if not stored:
                self._light_runs += 1
            elif not self._closed:  # by another thread, meanwhile: it has let go of its variables
                self._state = self._state.after(stored)

    @property
    def _state(self) -> State:
        """What was committed last."""
        return self._committed

    @_state.setter
    def _state(self, state: State) -> None:
        self._committed, self._values.of = state, state.variables

    def _run_count(self, state: State) -> int:
        """How many runs went well before."""
        return state.run_count + self._light_runs + self._native_runs.value

    # Checkpoints.

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes all variables that have a value, the run count and the seed to `path`.

        A warning names those that have none, and so are not in it: `restore` would ask for them.
        The suffix says the form: ``.npz``, or ``.safetensors`` with that library. The file appears
        whole or not at all; an old one stays as it was when writing fails.

        Raises: ArgumentError for another suffix; OSError.
        """
        from runtime.checkpoint import save_values  # with zipfile: loaded by those who save

        self._refuse_closed()
        state = self._state
        save_values(path, self.graph, state.variables, self._run_count(state), self._seed)

    def restore(self, path: str | os.PathLike[str], variables: Sequence[Any] | None = None) -> None:
        """Gives variables the values that `save` wrote to `path`; they count as initialised.

        Args:
            path: what `save` wrote.
            variables: those to restore, Variables or names; None is all of the graph's, and the run
                count (and the seed, where this session was given none).

        Everything is checked before anything is applied.

        Raises: FormatError for a damaged or foreign file, missing names, other shapes or dtypes;
        ArgumentError, UnknownNameError, OSError.
        """
        from runtime.checkpoint import choose_variables, read_checkpoint  # as above

        self._refuse_closed()
        chosen = choose_variables(self.graph, variables)
        found = read_checkpoint(path, {v.name: v.type for v in chosen})
        with self._writing, self._committing:
            now = self._state
            after = MappingProxyType({**now.variables, **found.values})
            if variables is None:
                self._light_runs = self._native_runs.value = 0
            self._state = State(after, now.run_count if variables is not None else found.run_count)
            if variables is None and not self._seed_is_given:
                self._seed = found.seed

    # Being open.

    def close(self) -> None:
        """Ends the session and lets go of its variables. Closing twice is no error."""
        with self._committing:
            self._closed, self._ways, self._state = True, {}, EMPTY
            self._native_runs.stop()

    def _refuse_closed(self) -> None:
        if self._closed:
            raise SessionClosedError("the session is closed: open a new one")

    def __enter__(self) -> Self:
        self._refuse_closed()
        stacks = self._entered.__dict__.setdefault("stacks", [])
        stack = ExitStack()
        stack.enter_context(self.graph.as_default())
        stacks.append(stack)
        return self

    def __exit__(self, *_: object) -> None:
        self._entered.stacks.pop().close()
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self._state.variables)} variables have values"
        return f"<graphc Session on {self.backend}: {state}>"


_sessions: weakref.WeakSet[Session] = weakref.WeakSet()


def _renew_all_locks() -> None:
    for session in list(_sessions):
        session._renew_locks()


if hasattr(os, "register_at_fork"):  # a lock held by a thread that the child does not have is never freed
    os.register_at_fork(after_in_child=_renew_all_locks)
