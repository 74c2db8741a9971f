"""Compilation: which executable serves a run, compiled when first needed."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from graphc import sizes
from graphc.collector import resting
from graphc.errors import FeedError, ShapeError
from graphc.location import at_line
from graphc.sizes import Symbol
from graphc.tensor import Tensor
from graphc.types import TensorType
from passes.pipeline import Request
from passes.rematerialisation import BudgetError
from passes.target import Target
from runtime.agreement import Mismatch, Sizes
from runtime.backend import Array, Backend
from runtime.budget import Choice
from runtime.executable import Executable
from runtime.feeds import Feeds, convert_all, label, ranks
from runtime.recognition import compile_request

Pattern = frozenset[tuple[Symbol, int]]
GENERAL: Pattern = frozenset()
_EARLY = 4  # programs of a process: much of what they make is tables that later ones read
_programs = itertools.count()


@dataclass(frozen=True, slots=True)
class _Family:
    """The executables for one choice of fetches, feeds and ranks, by the sizes they are specialised to."""

    fetches: tuple[Tensor, ...]
    feeds: tuple[Tensor, ...]
    types: Mapping[Tensor, TensorType]
    executables: dict[Pattern, Executable] = field(default_factory=dict)
    late: set[Pattern] = field(default_factory=set)  # that a size which only the run knows called for


class Compilation:
    """The executables of one session. `count` is how many were built so far.

    One executable serves all sizes. Only a 1 fed for an unknown size that meets another size has one
    of its own, in which that size is 1 and broadcasts; and under a memory budget, sizes with which the
    one for all would break it have others, see `runtime.budget`.
    """

    def __init__(self, backend: Backend, target: Target, check_numerics: bool) -> None:
        self.count = 0
        self._backend, self._target, self._check_numerics = backend, target, check_numerics
        self._families: dict[Any, _Family] = {}
        self._direct: dict[Any, Executable | None] = {}
        self._choices: dict[Executable, Choice] = {}
        self.renew_lock()

    def renew_lock(self) -> None:
        """A new lock, for a process that forked while another thread held it."""
        self._lock = threading.RLock()

    def find(
        self,
        fetches: tuple[Tensor, ...],
        feeds: tuple[Tensor, ...],
        arrays: Sequence[Array],
        variables: Mapping[str, Array],
    ) -> tuple[Executable, Sizes]:
        """What runs `fetches` on `arrays`, and what the symbols in its types are then.

        Raises: FeedError, ShapeError where the sizes do not fit; what compiling raises.
        """
        family = self._family(fetches, feeds, ranks(feeds, arrays))
        pattern = GENERAL
        executable = self._executable(family, pattern)
        while True:
            try:
                known = executable.agreement.sizes_of(arrays, variables)
            except Mismatch as mismatch:
                wider = pattern | broadcasting(mismatch)
                if wider == pattern:
                    raise mismatch.error from None
                executable, pattern = self._broadcast(family, wider, mismatch)
                continue
            wider = pattern.union(*(late for late in family.late if known.items() >= late))
            if wider == pattern:
                return self._within(executable, known), known
            executable, pattern = self._executable(family, wider), wider

    def _broadcast(self, family: _Family, pattern: Pattern, mismatch: Mismatch) -> tuple[Executable, Pattern]:
        """What runs with a 1 broadcast, by `pattern` or, where ops then differ, by all sizes of the run.

        Raises: the error of `mismatch` where an op does not broadcast there.
        """
        whole = pattern | {(s, size) for s, size in mismatch.known.items() if s.name is None}
        for wider in (pattern, whole):
            with suppress(ShapeError):
                return self._executable(family, wider), wider
        raise mismatch.error from None

    def widen(self, fetches: tuple[Tensor, ...], feeds: Feeds, error: ShapeError) -> bool:
        """Whether `error`, of a run of `fetches`, had a 1 that is fed meet a size that only the run knows.

        If so, what `find` gives for such feeds from now on has that 1 broadcast.
        """
        if error.differing is None:
            return False
        check, known = error.differing
        family = self._family(fetches, feeds.tensors, ranks(feeds.tensors, convert_all(feeds)))
        types = [family.types.get(t, t.result) for t in feeds.tensors]
        fed = {symbol for type in types for size in type.sizes for symbol in sizes.symbols(size)}
        for size in (check.x, check.y):
            if (
                sizes.evaluate(size, known) != 1
                or not sizes.may_broadcast(size)
                or not fed.issuperset(sizes.symbols(size))
            ):
                continue
            late = frozenset((symbol, known[symbol]) for symbol in sizes.symbols(size))
            if late not in family.late:
                try:
                    self._executable(family, late)
                except ShapeError:  # the op does not broadcast there
                    return False
                family.late.add(late)
                return True
        return False

    def direct(
        self, fetches: tuple[Tensor, ...], feeds: tuple[Tensor, ...], first: Callable[[], object]
    ) -> Executable | None:
        """What may run `fetches` natively, whatever is fed; None where that must be looked at first.

        `first` is called before anything is compiled.
        """
        key = (fetches, feeds)
        if key not in self._direct:
            first()
            found = None
            if all(t.result.shape is not None for t in feeds):
                found = self._executable(self._family(fetches, feeds, ()), GENERAL)
            if found is not None and (found.native is None or self.is_chosen_by_sizes(found)):
                found = None
            self._direct[key] = found
        return self._direct[key]

    def ready(self, fetches: tuple[Tensor, ...], feeds: tuple[Tensor, ...]) -> Executable | None:
        """What `direct` gave before; None where it gave nothing, or was not asked."""
        return self._direct.get((fetches, feeds))

    def general(self, fetches: tuple[Tensor, ...], feeds: tuple[Tensor, ...]) -> Executable:
        """What runs `fetches` for the most sizes of `feeds`.

        Raises: FeedError where even a rank is known only from a value.
        """
        for tensor in feeds:
            if tensor.result.shape is None:
                raise FeedError(
                    f"the rank of {label(tensor)} is known only from a value: compile with a dict"
                    f"{at_line(tensor.loc)}"
                )
        return self._executable(self._family(fetches, feeds, ()), GENERAL)

    def _family(
        self, fetches: tuple[Tensor, ...], feeds: tuple[Tensor, ...], fed_ranks: tuple[int, ...]
    ) -> _Family:
        key = (fetches, feeds, fed_ranks)
        family = self._families.get(key)
        if family is None:
            unranked = [t for t in feeds if t.result.shape is None]
            types = {
                t: TensorType(t.dtype, tuple(sizes.unknown() for _ in range(rank)))
                for t, rank in zip(unranked, fed_ranks, strict=True)
            }
            family = self._families.setdefault(key, _Family(fetches, feeds, types))
        return family

    def _executable(self, family: _Family, pattern: Pattern) -> Executable:
        found = family.executables.get(pattern)
        if found is None:
            with self._lock:
                found = family.executables.get(pattern)
                if found is None:
                    request = Request(family.fetches, family.feeds, family.types, dict(pattern))
                    found = self._compiled(request, self._target)
                    family.executables[pattern] = found
        return found

    def _compiled(self, request: Request, target: Target) -> Executable:
        budget, make = target.memory_budget, partial(self._built, request)
        if budget is None or target.sizes:
            found = make(target)
        else:  # nothing is computed again where all fits as it is
            found = make(replace(target, memory_budget=None))
            if not found.symbols and (peak := found.peak_of({})) > budget:
                try:
                    found = make(target)
                except BudgetError as error:  # whose plan may take more than what runs natively
                    raise BudgetError(budget, min(error.least, peak)) from None
        self.count += 1
        return found

    def _built(self, request: Request, target: Target) -> Executable:
        within = None if self._target.memory_budget is None else self._within
        with resting(lasting=next(_programs) < _EARLY):
            return compile_request(request, self._backend, target, self._check_numerics, within)

    def is_chosen_by_sizes(self, executable: Executable) -> bool:
        """Whether, under a memory budget, sizes known only at the run say what runs in its place."""
        return self._target.memory_budget is not None and bool(executable.symbols)

    def _within(self, executable: Executable, known: Sizes) -> Executable:
        """What runs in place of `executable` with the sizes `known`, so that the memory budget holds."""
        if not self.is_chosen_by_sizes(executable):
            return executable
        with self._lock:
            choice = self._choices.get(executable)
            if choice is None:
                choice = self._choices[executable] = Choice(executable, self._target, self._compiled)
            return choice.find(known)


def broadcasting(mismatch: Mismatch) -> Pattern:
    """The sizes that are to be what they are in this run, so that a 1 broadcasts; empty where that cannot be.

    A name never does; what is computed of one, as the size of ``x[:1]``, is no name.
    """
    for size in (mismatch.check.x, mismatch.check.y):
        if sizes.evaluate(size, mismatch.known) == 1 and sizes.may_broadcast(size):
            return frozenset((symbol, mismatch.known[symbol]) for symbol in sizes.symbols(size))
    return GENERAL
