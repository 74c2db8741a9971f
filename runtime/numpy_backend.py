"""The NumPy backend: every op by its meaning. It is the reference that other backends agree with."""

from __future__ import annotations

from passes.program import Step
from runtime.backend import Kernel


class NumpyBackend:
    """Has no kernels of its own, so that every step runs by what its op means."""

    name = "numpy"
    fusible: frozenset[str] = frozenset()

    def kernel(self, step: Step) -> Kernel | None:
        """None: the meaning runs."""
        return None
