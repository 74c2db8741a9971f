"""Stages of a row: from what its rounds told, in the order in which a graph goes through them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphc.freezing import frozen
from passes.pipeline import DEFINED, PIPELINE, REQUIRED
from passes.running import names_of

FIRST = ("import", "build", "define")
LAST = (
    "schedule",
    "plan",
    "bind",
    "lowering",
    "IR text",
    "codegen",
    "load",
    "first run",
)  # passes in between
_PASSES = frozenset((*names_of((*DEFINED, *REQUIRED, *PIPELINE)), "define", "schedule", "plan"))
LEAST_COST = 0.01  # microseconds a node, below which a pass is not shown


@frozen
class Times:
    """Of a stage: seconds on the clock and of all processors, and how often it was entered."""

    wall: float
    cpu: float
    entered: int


def spell_seconds(seconds: float | None) -> str:
    """A time in the unit that suits it; "-" for none."""
    if seconds is None:
        return "-"
    for unit, scale, digits in (("s", 1.0, 2), ("ms", 1e3, 1), ("us", 1e6, 1)):
        if seconds * scale >= 1:
            return f"{seconds * scale:.{digits}f} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def stages_of(row: Mapping[str, Any]) -> dict[str, Times]:
    """The least times of each stage over the rounds; {} for a library that tells none."""
    told = [found["stages"] for found in row["cold"] if "stages" in found]
    names = dict.fromkeys(name for found in told for name in found)
    middle = [name for name in names if name not in FIRST and name not in LAST]
    order = [name for name in (*FIRST, *middle, *LAST) if name in names]
    return {
        name: Times(*map(min, zip(*(found[name] for found in told if name in found), strict=True)))
        for name in order
    }


def cost_of_nodes(row: Mapping[str, Any]) -> dict[str, float]:
    """Microseconds of processors for each node that was defined: of each pass, of order and plan, of all.

    ``"passes"`` is the sum of them; {} where the nodes were not counted.
    """
    nodes = max((found.get("counts", {}).get("nodes", 0) for found in row["cold"]), default=0)
    if not nodes:
        return {}
    counted = {name: times.cpu / nodes * 1e6 for name, times in stages_of(row).items() if name in _PASSES}
    return {**counted, "passes": sum(counted.values())}


def least(row: Mapping[str, Any] | None) -> float | None:
    """The least cold time of a row; None where there is none."""
    return min((cold["seconds"] for cold in row["cold"]), default=None) if row else None


def break_even(compiled: Mapping[str, Any] | None, meant: Mapping[str, Any] | None) -> float | None:
    """After how many runs compiling has paid, against a backend that compiles nothing.

    0: it is ahead from the first; None: never, or not known.
    """
    first, other = least(compiled), least(meant)
    if compiled is None or meant is None or first is None or other is None:
        return None
    if "hot" not in compiled or "hot" not in meant:
        return None
    behind, gain = first - other, meant["hot"]["seconds"] - compiled["hot"]["seconds"]
    if behind <= 0:
        return 0.0
    return behind / gain if gain > 0 else None
