"""The NumPy backend: every op by its meaning. It is the reference that other backends agree with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphc.sizes import Symbol
from graphc.tensor import Tensor
from passes.program import Program, Step
from passes.target import PLAIN
from runtime.backend import Array, Kernel


class NumpyBackend:
    """Has no kernels of its own, so that every step runs by what its op means."""

    name = "numpy"
    fusible: frozenset[str] = frozenset()
    has_cells = has_columns = False

    def __init__(self, check_numerics: bool = False) -> None:
        # What is walked so that an op is named is to be as it was defined.
        self.contracts = PLAIN.contracts if check_numerics else self._contracts

    def _contracts(self, node: Tensor) -> bool:
        """No op: each runs by its meaning."""
        return False

    def follows(self, node: Tensor) -> bool:
        """Nothing is taken along."""
        return False

    def holds(self, node: Tensor) -> bool:
        """Nothing is held."""
        return False

    def reads(self, node: Tensor, number: int) -> None:
        """It has no kernels."""

    def kernel(self, step: Step) -> Kernel | None:
        """None: the meaning runs."""
        return None

    def whole(self, program: Program, bound: Any, clocked: bool = False) -> str:
        """Nothing but step after step."""
        return "NumPy runs step after step"

    def is_new(self) -> bool:
        """There is never anything to recall."""
        return True

    def recall(self, digest: str, symbols: Sequence[Symbol], arrays: Sequence[Array]) -> None:
        """None: there is nothing that is kept."""

    def remember(self, digest: str, whole: Any, symbols: Sequence[Symbol], arrays: Sequence[Array]) -> None:
        """Keeps nothing."""

    def postpone(self, work: Callable[[], object]) -> None:
        """Does it at once."""
        work()

    def door(self) -> None:
        """None: there are no native calls."""
