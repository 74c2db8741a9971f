"""Tiers: the first runs by meaning, while another thread compiles; then compiled, once both agreed.

The first run after the compiling is done is made both ways, and gives what the meaning gave. Where both
agree, what was compiled runs from then on; where they do not, a warning says so and the meaning stays.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.errors import ArgumentError, GraphError, ShapeError
from graphc.function import Function, all_nodes
from graphc.tensor import Tensor
from graphc.types import BFLOAT16, TensorType
from passes.target import Target
from passes.weight import parts_of
from runtime.agreement import Sizes
from runtime.backend import BACKENDS, Array, Backend
from runtime.compilation import GENERAL, Compilation
from runtime.direct import run_whole
from runtime.executable import Executable
from runtime.feeds import Feeds, ranks

_NOTICED = frozenset(("print", "call_python"))  # whoever runs them twice is noticed
_COARSE = 2**-4  # how far apart they may be where bfloat16 occurs, which arrays hold as float32
_PRECISIONS = 2**10  # how many times the precision of a dtype two orders of summing may differ by

Results = tuple[list[Any], dict[str, Array]]


def choose_compilation(backend: Backend, target: Target, check_numerics: bool, tiered: bool) -> Compilation:
    """The compilation of a session. Raises: ArgumentError for tiers under a memory budget."""
    if tiered and target.memory_budget is not None:
        raise ArgumentError("tiered sessions keep no memory_budget: their first runs are as they come")
    if not tiered or backend.name == "numpy":
        return Compilation(backend, target, check_numerics)
    return TieredCompilation(backend, target, check_numerics)


@dataclass(slots=True)
class _Tier:
    """One choice of fetches, feeds and ranks. `chosen`: None while it is by meaning for the time being."""

    thread: threading.Thread | None = None
    chosen: str | None = None  # "compiled" or "meant"


class TieredCompilation(Compilation):
    """As `Compilation`, but what is not compiled yet runs by its meaning, which `count` leaves out."""

    def __init__(self, backend: Backend, target: Target, check_numerics: bool) -> None:
        self._tiers: dict[Any, _Tier] = {}
        plain = Target("numpy", target.fast_math, pipeline=target.pipeline, verify=target.verify)
        self._meant = Compilation(BACKENDS["numpy"](1), plain, check_numerics)
        super().__init__(backend, target, check_numerics)

    def renew_lock(self) -> None:
        """New locks, and the threads of the parent process are not waited for."""
        super().renew_lock()
        self._meant.renew_lock()
        for tier in self._tiers.values():
            tier.thread = None

    def find(
        self,
        fetches: tuple[Tensor, ...],
        feeds: tuple[Tensor, ...],
        arrays: Sequence[Array],
        variables: Mapping[str, Array],
    ) -> tuple[Executable, Sizes]:
        """What runs `fetches` on `arrays` now, and what the symbols in its types are then.

        Raises: as that of `Compilation`.
        """
        fed = ranks(feeds, arrays)
        tier = self._tiers.setdefault((fetches, feeds, fed), _Tier())
        if tier.chosen == "compiled":
            return super().find(fetches, feeds, arrays, variables)
        meant, known = self._meant.find(fetches, feeds, arrays, variables)
        if tier.chosen == "meant":
            return meant, known
        if _is_noticed(meant.function):
            tier.chosen = "compiled"
            return super().find(fetches, feeds, arrays, variables)
        if tier.thread is None:
            family = self._family(fetches, feeds, fed)
            thread = threading.Thread(target=self._prepare, args=(family, tier), name="graphc-tier")
            try:
                thread.start()
            except RuntimeError:  # the system gives no thread: this one compiles
                tier.chosen = "compiled"
                return super().find(fetches, feeds, arrays, variables)
            tier.thread = thread
            return meant, known
        if tier.thread.is_alive():
            return meant, known
        compiled, _ = super().find(fetches, feeds, arrays, variables)
        return (compiled if tier.chosen == "compiled" else _Trial(meant, compiled, tier)), known

    def widen(self, fetches: tuple[Tensor, ...], feeds: Feeds, error: ShapeError) -> bool:
        """As that of `Compilation`, for what is compiled and for what runs meanwhile."""
        meant = self._meant.widen(fetches, feeds, error)
        return super().widen(fetches, feeds, error) or meant

    def _prepare(self, family: Any, tier: _Tier) -> None:
        try:
            self._executable(family, GENERAL)
        except Exception:  # the next run meets it again, in the thread of whoever asked for it
            tier.chosen = "compiled"

    def direct(
        self, fetches: tuple[Tensor, ...], feeds: tuple[Tensor, ...], first: Callable[[], object]
    ) -> Executable | None:
        """As that of `Compilation`, once what was compiled has been seen to agree."""
        tier = self._tiers.get((fetches, feeds, ()))
        return super().direct(fetches, feeds, first) if tier and tier.chosen == "compiled" else None


class _Trial(Executable):
    """As `meant` in all, but a run is made by `compiled` too, and settles which of them runs from then on."""

    def __init__(self, meant: Executable, compiled: Executable, tier: _Tier) -> None:
        self.__dict__.update(vars(meant))
        self._meant, self._compiled, self._tier = meant, compiled, tier

    def run(
        self, arrays: Sequence[Array], known: Sizes, variables: Mapping[str, Array], state: Array
    ) -> Results:
        """What `meant` gives."""
        found = self._meant.run(arrays, known, variables, state)
        reason = _disagreement(found, self._compiled, arrays, variables, state)
        if reason:
            warnings.warn(f"compiled code is not used: {reason}", RuntimeWarning, stacklevel=2)
        self._tier.chosen = "meant" if reason else "compiled"
        return found


def _disagreement(
    found: Results,
    compiled: Executable,
    arrays: Sequence[Array],
    variables: Mapping[str, Array],
    state: Array,
) -> str:
    """What of the run of `compiled` is not as `found`; "" where all is."""
    seed, count = (int(number) for number in state)
    try:
        other = None
        if compiled.native is not None:
            other = run_whole(compiled, Feeds(compiled.feeds, arrays, ()), variables, (seed, count))
        if other is None:
            other = compiled.run(arrays, compiled.agreement.sizes_of(arrays, variables), variables, state)
    except GraphError as error:
        return f"it fails: {error}"
    values, assigned = found
    least = _COARSE if _has_bfloat16(compiled.function) else 0.0
    for number, (x, y) in enumerate(zip(values, other[0], strict=True)):
        node = compiled.function.outputs[number]
        if isinstance(node.type, TensorType) and not _agree(x, y, least):
            return f"fetch {number} ({node.op.name}) differs from its meaning"
    for name, x in assigned.items():
        if not _agree(x, other[1][name], least):
            return f"what is assigned to {name!r} differs from its meaning"
    return ""


def _agree(x: Any, y: Any, least: float = 0.0) -> bool:
    """Whether two values differ by no more than orders of summing do, or `least`, of the largest of them."""
    x, y = np.asarray(x), np.asarray(y)
    if x.shape != y.shape or x.dtype != y.dtype:
        return False
    if x.dtype.kind not in "fc":
        return bool(np.array_equal(x, y))
    finite = np.isfinite(x)
    if not np.array_equal(x[~finite], y[~finite], equal_nan=True):
        return False
    if not finite.any():
        return True
    scale = float(np.abs(x[finite]).max())
    share = max(_PRECISIONS * float(np.finfo(x.dtype).eps), least)
    return bool(np.all(np.abs(x[finite] - y[finite]) <= share * scale))


def _has_bfloat16(function: Function) -> bool:
    return any(type.dtype is BFLOAT16 for node in all_nodes(function) for type in parts_of(node.type))


def _is_noticed(function: Function) -> bool:
    """Whether a run does what is seen from outside, and so is not to be made twice."""
    return any(node.op.name in _NOTICED for node in all_nodes(function))
