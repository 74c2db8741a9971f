"""Budget: which executable keeps a memory budget with the sizes of a run.

What is computed again depends on the sizes, and one plan serves all sizes with which it fits. So
executables are planned when a run needs one: the first for its very sizes, which often are those of all
runs; others for their sizes rounded up to powers of two, which serves the sizes between as well, or for
the very sizes where the budget has no room for that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from graphc.errors import ArgumentError
from graphc.sizes import Symbol
from passes.cost import cost_of
from passes.pipeline import Request
from passes.rematerialisation import BudgetError, evaluated
from passes.target import Target
from runtime.agreement import Sizes
from runtime.executable import Executable

_MOST_SIZES = 1024  # that are remembered

Compile = Callable[[Request, Target], Executable]


class Choice:
    """The executables that compute what `general` does, which was planned for no sizes."""

    def __init__(self, general: Executable, target: Target, compile: Compile) -> None:
        self._general, self._target, self._compile = general, target, compile
        self._planned = [general]
        self._found: dict[tuple[int | None, ...], Executable] = {}

    def find(self, known: Sizes) -> Executable:
        """What does the least work of those that keep the budget with the sizes `known`.

        Raises: ArgumentError where the budget cannot be kept; what compiling raises.
        """
        key = tuple(known.get(symbol) for symbol in self._general.symbols)
        found = self._found.get(key)
        if found is None:
            if len(self._found) >= _MOST_SIZES:
                self._found.clear()
            found = self._found[key] = self._chosen(known)
        return found

    def _chosen(self, known: Sizes) -> Executable:
        fitting = [each for each in self._planned if self._fits(each, known)]
        if fitting:
            return min(fitting, key=lambda each: evaluated(cost_of(each.function).flops, known))
        bound = {symbol: known[symbol] for symbol in self._general.symbols if symbol in known}
        made = self._rounded(bound, known) if len(self._planned) > 1 else None
        made = made or self._made_for(bound, known)
        self._planned.append(made)
        return made

    def _made_for(self, bound: dict[Symbol, int], known: Sizes) -> Executable:
        try:
            return self._made(bound)
        except BudgetError as error:  # whose plan may take more than what is there before takes natively
            least = min(error.least, *(each.peak_of(known) for each in self._planned))
            raise BudgetError(self._budget, least) from None

    def _rounded(self, bound: Sizes, known: Sizes) -> Executable | None:
        try:
            made = self._made({symbol: 1 << max(size - 1, 0).bit_length() for symbol, size in bound.items()})
        except ArgumentError:
            return None
        return made if self._fits(made, known) else None

    def _made(self, sizes: dict[Symbol, int]) -> Executable:
        return self._compile(self._general.request, replace(self._target, sizes=tuple(sizes.items())))

    def _fits(self, executable: Executable, known: Sizes) -> bool:
        return executable.peak_of(known) <= self._budget

    @property
    def _budget(self) -> int:
        assert self._target.memory_budget is not None  # else there is nothing to choose
        return self._target.memory_budget
